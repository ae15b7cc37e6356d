"""A point map from a DNP3 XML device profile (IEEE 1815-2012 clause 14.8; schemas 2.07 to 2.12, whose namespaces differ).

Taken from `referenceDevice/dataPointsList`: index, name, class, default variations, scale, dead band, units, limits, and which
operations an output supports. What a profile cannot know is left for people: the signals. Outputs become a row that is read and,
where operations (and for a number, limits) are listed, a row that is written, with fallback `hold`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.parsers import expat

from federates.runtime.units import UNITS
from hil.point_dnp3 import variation_exists
from hil.point_rules import check_map
from hil.points import (
    Direction,
    Fallback,
    FallbackKind,
    MapError,
    MapPoint,
    MapProblem,
    Operate,
    PointMap,
    PointTable,
)

_ROOT = "DNP3DeviceProfileDocument"
_LISTS = (
    ("binaryInputPoints", "binaryInput", PointTable.BINARY_INPUT),
    ("doubleBitInputPoints", "doubleBitInput", PointTable.DOUBLE_BIT_INPUT),
    ("binaryOutputPoints", "binaryOutput", PointTable.BINARY_OUTPUT),
    ("counterPoints", "counter", PointTable.COUNTER),
    ("analogInputPoints", "analogInput", PointTable.ANALOG_INPUT),
    ("analogOutputPoints", "analogOutput", PointTable.ANALOG_OUTPUT),
    ("octetStringPoints", "octetString", PointTable.OCTET_STRING),
)
_NUMBERS = {"none": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_CODES = {
    "supportClose": "close", "supportTrip": "trip", "supportLatchOn": "latch_on", "supportLatchOff": "latch_off",
    "supportPulseOn": "pulse_on", "supportPulseOff": "pulse_off",
}  # fmt: skip
_UNIT_NAMES = {
    "watt": "W", "watts": "W", "vars": "var", "volt": "V", "volts": "V", "amp": "A", "amps": "A", "ampere": "A", "amperes": "A",
    "hertz": "Hz", "seconds": "s", "sec": "s", "percent": "%", "c": "degC", "deg c": "degC", "°c": "degC", "none": "1", "": "1",
}  # fmt: skip
_PREFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3}


@dataclass(slots=True)
class _Element:
    """An element with the line it begins on, which the standard library's trees do not keep."""

    tag: str
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def find(self, tag: str) -> _Element | None:
        return next((child for child in self.children if child.tag == tag), None)

    def value(self, *tags: str) -> str:
        """Text of the first of the elements that has any."""
        found = (self.find(tag) for tag in tags)
        return next((each.text.strip() for each in found if each is not None and each.text.strip()), "")

    def walk(self) -> Iterator[_Element]:
        yield self
        for child in self.children:
            yield from child.walk()


def load_profile(path: Path | str) -> PointMap:
    """The points of a device profile as a map. MapError with all problems; for this file a problem's column is an element."""
    file = str(path)
    try:
        octets = Path(path).read_bytes()
    except OSError as error:
        raise MapError([MapProblem(file, 1, "file", f"cannot be read: {error.strerror or error}")]) from error
    return parse_profile(octets, file)


def parse_profile(octets: bytes, file: str = "profile.xml") -> PointMap:
    """As `load_profile`, from the octets of a document."""
    try:
        root = _tree(octets)
    except expat.ExpatError as error:
        raise MapError([MapProblem(file, error.lineno, "file", f"is no XML: {error}")]) from error
    if root.tag != _ROOT:
        raise MapError([MapProblem(file, root.line, root.tag, f"is no DNP3 device profile, which begins with {_ROOT}")])
    listed = next((each for each in root.walk() if each.tag == "dataPointsList"), None)
    if listed is None:
        raise MapError([MapProblem(file, root.line, "dataPointsList", "is missing: this profile lists no points")])
    problems: list[MapProblem] = []
    points: list[MapPoint] = []
    for list_tag, tag, table in _LISTS:
        container = listed.find(list_tag)
        for element in container.walk() if container is not None else ():
            if element.tag == tag:
                points += _points(element, table, file, problems)
    if not points and not problems:
        problems.append(MapProblem(file, listed.line, "dataPointsList", "has no points"))
    found = PointMap(tuple(_named(points)), file)
    problems += check_map(found) if points else []
    if problems:
        raise MapError(problems)
    return found


def _tree(octets: bytes) -> _Element:
    document = _Element("", 0)
    stack = [document]
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, _attributes: dict[str, str]) -> None:
        element = _Element(name.rpartition(" ")[2], parser.CurrentLineNumber)
        stack[-1].children.append(element)
        stack.append(element)

    def text(characters: str) -> None:
        stack[-1].text += characters

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _name: stack.pop()
    parser.CharacterDataHandler = text
    parser.Parse(octets, True)
    return document.children[0]


class _Reader:
    """Reads values of one point's element; what cannot be read becomes a problem and the default."""

    def __init__(self, element: _Element, file: str, problems: list[MapProblem]) -> None:
        self.element, self._file, self._problems = element, file, problems

    def problem(self, tag: str, message: str) -> None:
        where = self.element.find(tag) or self.element
        self._problems.append(MapProblem(self._file, where.line, f"{self.element.tag}.{tag}", message))

    def number(self, default: float | None, *tags: str) -> float | None:
        text = self.element.value(*tags)
        if not text:
            return default
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.problem(tags[0], f"{text!r} is no finite number")
            return default
        return number

    def word(self, default: int, *tags: str) -> int:
        """A class or variation: one, two, ..., or a figure, or the last figure of g30v5."""
        text = self.element.value(*tags).lower()
        if not text:
            return default
        figure = re.fullmatch(r"(?:g\d+v)?(\d+)", text)
        if figure is None and text not in _NUMBERS:
            self.problem(tags[0], f"{text!r} is not known; write one of {', '.join(_NUMBERS)}")
            return default
        return int(figure[1]) if figure else _NUMBERS[text]


def _points(element: _Element, table: PointTable, file: str, problems: list[MapProblem]) -> Iterator[MapPoint]:
    reader = _Reader(element, file, problems)
    index = element.value("index")
    if not re.fullmatch(r"\d+", index):
        reader.problem("index", f"{index!r} is no index; every point needs one")
        return
    unit, factor, note = _unit(element.value("units"))
    scale, offset = reader.number(1.0, "scaleFactor") or 0.0, reader.number(0.0, "scaleOffset") or 0.0
    counting = table is PointTable.COUNTER
    name = re.sub(r"\s+", "_", element.value("name")) or f"{table}_{index}"
    point = MapPoint(
        name=name,
        table=table,
        address=int(index),
        scale=scale * factor if _is_scaled(table) else 1.0,
        offset=offset * factor if _is_scaled(table) else 0.0,
        unit=unit,
        event_class=reader.word(0 if counting else 1, "counterEventClass" if counting else "changeEventClass"),
        static_variation=_variation(reader, table, event=False),
        event_variation=_variation(reader, table, event=True),
        note="; ".join(part for part in (" ".join(element.value("description").split()), note) if part),
        line=element.line,
    )
    if table is PointTable.ANALOG_INPUT:
        band = _Reader(element.find("dnpData") or element, file, problems).number(0.0, "deadband") or 0.0
        point = replace(point, deadband=band * abs(point.scale))
    yield point
    if counting and element.value("frozenCounterExists") == "true":
        frozen_class = reader.word(0, "frozenCounterEventClass")
        frozen = replace(point, name=f"{name}_frozen", table=PointTable.FROZEN_COUNTER, event_class=frozen_class)
        yield replace(frozen, static_variation=0, event_variation=0)
    command = _command(point, element, reader)
    if command is not None:
        yield command


def _is_scaled(table: PointTable) -> bool:
    return table in (PointTable.ANALOG_INPUT, PointTable.ANALOG_OUTPUT, PointTable.COUNTER)


def _variation(reader: _Reader, table: PointTable, *, event: bool) -> int:
    """A variation that this package serves; others fall back to the default, since a master reads any variation."""
    tag = ("defaultEventVariation", "defaultChangeEventVariation") if event else ("defaultStaticVariation",)
    variation = reader.word(0, *tag)
    return variation if variation and variation_exists(table, event, variation) else 0


def _unit(text: str) -> tuple[str, float, str]:
    """(unit of ours, factor, remark) for a profile's word: kW is W and 1000."""
    text = text.strip()
    known = {unit.lower(): unit for unit in UNITS}
    for rest, factor in ((text, 1.0), (text[1:], _PREFIXES.get(text[:1]))):
        unit = known.get(rest.lower()) or _UNIT_NAMES.get(rest.lower())
        if unit is not None and factor is not None and (rest == text or rest):
            return unit, factor, ""
    return "1", 1.0, f"in {text} as the profile says"


def _command(point: MapPoint, element: _Element, reader: _Reader) -> MapPoint | None:
    operations = element.find("supportedControlOperations")
    listed = {child.tag for child in operations.children} if operations is not None else set()
    if not point.table.is_writable or not listed & {"supportSelectOperate", "supportDirectOperate"}:
        return None
    command = replace(
        point,
        name=f"{point.name}_command",
        direction=Direction.WRITE,
        operate=Operate.SELECT if "supportSelectOperate" in listed else Operate.DIRECT,
        fallback=Fallback(FallbackKind.HOLD),
    )
    if point.table is PointTable.BINARY_OUTPUT:
        codes = tuple(code for tag, code in _CODES.items() if tag in listed)
        return replace(command, codes=codes) if codes else None
    least = reader.number(None, "minTransmittedValue", "minIntegerTransmittedValue", "minFloatTransmittedValue")
    most = reader.number(None, "maxTransmittedValue", "maxIntegerTransmittedValue", "maxFloatTransmittedValue")
    if least is None or most is None:
        return None
    limits = sorted(value * point.scale + point.offset for value in (least, most))
    return replace(command, minimum=limits[0], maximum=limits[1])


def _named(points: list[MapPoint]) -> Iterator[MapPoint]:
    """The points with names made unique by a number."""
    taken: set[str] = set()
    for point in points:
        name, number = point.name, 2
        while name in taken:
            name, number = f"{point.name}_{number}", number + 1
        taken.add(name)
        yield replace(point, name=name)
