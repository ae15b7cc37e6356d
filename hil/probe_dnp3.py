"""What is at a DNP3 address: link, static points by type, waiting events, device attributes. Reads only, and confirms no event."""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.address import DeviceAddress
from hil.dnp3_line import Dnp3Line
from hil.drivers.base import DeviceError
from protocols.dnp3 import Flag, PointType
from protocols.dnp3.application import IIN
from protocols.dnp3.inquiry import ALL_ATTRIBUTES, ATTRIBUTE_NAMES, CLASS_0, StaticValue


@dataclass(frozen=True, slots=True)
class TypeReport:
    """The points of one type: how many, which, in which variations, how many of them online."""

    kind: PointType
    indexes: tuple[int, ...]
    variations: tuple[int, ...]
    online: int

    @property
    def ranges(self) -> str:
        """`0-4, 7`"""
        parts: list[list[int]] = []
        for index in self.indexes:
            if parts and parts[-1][-1] == index - 1:
                parts[-1][1:] = [index]
            else:
                parts.append([index])
        return ", ".join("-".join(map(str, part)) for part in parts)


@dataclass(slots=True)
class Dnp3Report:
    """`iin` are the indications of the last answer; `attributes` by name."""

    outstation: int
    iin: IIN
    types: list[TypeReport] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    values: list[StaticValue] = field(default_factory=list)
    fragments: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def waiting_classes(self) -> list[int]:
        """Event classes that have something to tell their master."""
        bits = ((1, IIN.CLASS_1_EVENTS), (2, IIN.CLASS_2_EVENTS), (3, IIN.CLASS_3_EVENTS))
        return [number for number, bit in bits if self.iin & bit]


async def probe_dnp3(address: DeviceAddress, *, timeout_s: float = 2.0) -> Dnp3Report:
    """Looks at the outstation. DeviceError where it does not answer as one."""
    line = Dnp3Line(address, timeout_s)
    await line.open()
    try:
        await line.link_is_up()
        answers = await line.read(CLASS_0)
        report = Dnp3Report(line.inquiry.outstation, iin=answers[-1].iin, fragments=len(answers))
        report.values = [value for answer in answers for value in answer.values]
        report.types = _types(report.values)
        report.attributes = await _attributes(line)
        report.problems = line.inquiry.problems
    finally:
        line.close()
    return report


def _types(values: list[StaticValue]) -> list[TypeReport]:
    reports = []
    for kind in PointType:
        own = [value for value in values if value.kind is kind]
        if own:
            online = sum(bool(value.reading.flags & Flag.ONLINE) for value in own)
            variations = tuple(sorted({value.variation for value in own}))
            reports.append(TypeReport(kind, tuple(sorted({value.point for value in own})), variations, online))
    return reports


async def _attributes(line: Dnp3Line) -> dict[str, str]:
    """Device attributes, of the many outstations that have none an empty mapping."""
    try:
        answers = await line.read(ALL_ATTRIBUTES)
    except DeviceError:  # some old outstations do not answer what they do not know; that is no fault of the line
        return {}
    found = {variation: text for answer in answers for variation, text in answer.attributes.items()}
    return {
        ATTRIBUTE_NAMES.get(variation, f"attribute {variation}"): text for variation, text in sorted(found.items(), reverse=True)
    }
