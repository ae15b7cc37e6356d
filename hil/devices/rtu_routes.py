"""Which point of which IED an RTU's row passes on, and how a value or command is translated between their scales."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.point_csv import load_map
from hil.point_dnp3 import POINT_TYPE, value_from_report
from hil.points import MapError, MapPoint, MapProblem, PointMap, PointTable, Protocol
from protocols.dnp3 import Flag, PointType

_IED = re.compile(r"(?P<name>[^=.\s]+)=(?P<host>[^=/]+):(?P<port>\d+)(?:/(?P<outstation>\d+))?=(?P<file>.+)")


@dataclass(frozen=True, slots=True)
class Ied:
    """A device in the field: where it is, and what it has."""

    name: str
    host: str
    port: int
    outstation: int
    master: int
    points: PointMap

    @classmethod
    def parse(cls, text: str, master: int) -> Ied:
        """From NAME=HOST:PORT/ADDRESS=FILE; the address is 10 unless given. ValueError, MapError."""
        found = _IED.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ValueError(f"--ied {text!r}: write NAME=HOST:PORT/ADDRESS=FILE, as sw1=127.0.0.1:20001/10=sw1.csv")
        outstation = int(found["outstation"] or 10)
        return cls(found["name"], found["host"], int(found["port"]), outstation, master, load_map(Path(found["file"])))


@dataclass(frozen=True, slots=True)
class Upward:
    """What an RTU shows of a point, in engineering units, with the quality and time of the IED."""

    value: bool | int | float | bytes
    flags: int
    time_ms: int

    def lost(self, time_ms: int) -> Upward:
        """The same value when the IED is no longer heard."""
        return replace(self, flags=(self.flags | Flag.COMM_LOST) & ~Flag.ONLINE, time_ms=time_ms)


@dataclass(frozen=True, slots=True)
class Route:
    """From a row of an IED to a row of the RTU."""

    source: MapPoint
    to: MapPoint

    def upward(self, value: bool | int | float | bytes, flags: int, time_ms: int) -> Upward:
        """A report of the IED as the RTU shows it."""
        if isinstance(value, bytes) or self.to.is_binary or self.to.table is PointTable.DOUBLE_BIT_INPUT:
            return Upward(value, flags, time_ms)
        return Upward(value_from_report(self.source, value), flags, time_ms)


@dataclass(frozen=True, slots=True)
class Routes:
    """`up`: (IED, type, index) -> where its reports go. `down`: name of the RTU's `write` row -> (IED, its `write` row)."""

    points: PointMap
    ieds: tuple[Ied, ...]
    up: dict[tuple[str, PointType, int], Route]
    down: dict[str, tuple[str, MapPoint]]

    @property
    def rows(self) -> dict[str, MapPoint]:
        """The RTU's rows by name."""
        return {point.name: point for point in self.points.points}

    def names_of(self, ied: str) -> list[str]:
        """The RTU's rows that show an IED's points."""
        return [route.to.name for (name, _, _), route in self.up.items() if name == ied]

    @classmethod
    def of(cls, points: PointMap, ieds: Sequence[Ied]) -> Routes:
        """Finds the source of every row. MapError with each row that has none, or one of another kind."""
        by_name = {ied.name: ied for ied in ieds}
        problems: list[MapProblem] = []
        up: dict[tuple[str, PointType, int], Route] = {}
        down: dict[str, tuple[str, MapPoint]] = {}
        if points.protocol is not Protocol.DNP3:
            raise MapError([MapProblem(points.file, points.points[0].line, "table", "an RTU of DNP3 needs a map of DNP3")])
        for row in points.points:
            ied_name, _, point_name = row.name.partition(".")
            ied = by_name.get(ied_name)
            source = None if ied is None else next((each for each in ied.points.points if each.name == point_name), None)
            if source is None:
                known = f"IED {ied_name!r} has no row {point_name!r}" if ied is not None else f"there is no IED {ied_name!r}"
                problems.append(
                    MapProblem(points.file, row.line, "name", f"{known}; name it IED.POINT after a row of an IED's map")
                )
            elif source.is_write != row.is_write or source.is_binary != row.is_binary or source.is_text != row.is_text:
                kinds = f"{source.direction} {source.table} there and {row.direction} {row.table} here"
                problems.append(
                    MapProblem(points.file, row.line, "table", f"is {kinds}; a value does not change its kind on the way")
                )
            elif row.is_write:
                down[row.name] = (ied_name, source)
            else:
                up[ied_name, POINT_TYPE[source.table], source.address] = Route(source, row)
        if problems:
            raise MapError(problems)
        return cls(points, tuple(ieds), up, down)
