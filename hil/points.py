"""The point map of a device: what each of its points means, what it stands for, and what may be sent to it.

One format for DNP3 and Modbus. A row is seen from the protocol's master (client): `read` is what a master reads, `write` is what it
commands. So one map serves both faces: wired to a real device, `read` values come in and `write` values go out; served by our own
outstation or server, `read` values are what masters are shown and `write` rows are the commands that are taken.

Engineering value = raw x scale + offset. Default deny: what is not a `write` row is never sent, and a `write` row says its limits
(or its control codes) and its fallback.

`point_csv.py` reads and writes maps, `point_rules.py` says what is wrong with one, `point_dnp3.py` and `point_modbus.py` compile
them for the protocols, `profile_xml.py` makes one from a DNP3 device profile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

_SIGNAL = re.compile(r"(?P<federate>[^\s.:]+)\.(?P<port>[^\s.:]+)(?::(?P<id>\S(?:.*\S)?))?")


class Protocol(StrEnum):
    DNP3 = "dnp3"
    MODBUS = "modbus"


class PointTable(StrEnum):
    """Where in the device a point is: a table of Modbus, or a type of point of DNP3. It decides the protocol."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"
    BINARY_INPUT = "binary_input"
    DOUBLE_BIT_INPUT = "double_bit_input"
    BINARY_OUTPUT = "binary_output"
    COUNTER = "counter"
    FROZEN_COUNTER = "frozen_counter"
    ANALOG_INPUT = "analog_input"
    ANALOG_OUTPUT = "analog_output"
    OCTET_STRING = "octet_string"

    @property
    def protocol(self) -> Protocol:
        modbus = (PointTable.COIL, PointTable.DISCRETE, PointTable.HOLDING, PointTable.INPUT)
        return Protocol.MODBUS if self in modbus else Protocol.DNP3

    @property
    def is_writable(self) -> bool:
        return self in (PointTable.COIL, PointTable.HOLDING, PointTable.BINARY_OUTPUT, PointTable.ANALOG_OUTPUT)

    @property
    def is_binary(self) -> bool:
        """One bit, whatever the row's `type` says. (A bit of a Modbus register is of type `bit`.)"""
        return self in (PointTable.COIL, PointTable.DISCRETE, PointTable.BINARY_INPUT, PointTable.BINARY_OUTPUT)


class Direction(StrEnum):
    """As the protocol's master sees it."""

    READ = "read"
    WRITE = "write"


class Operate(StrEnum):
    """How a DNP3 command goes out."""

    SELECT = "sbo"
    DIRECT = "direct"


class FallbackKind(StrEnum):
    """What becomes of a commanded point when the run, the solver or the lease ends."""

    HOLD = "hold"
    """Nothing is sent; the device keeps what it has, or its own reversion timer acts."""
    LAST = "last"
    """The last value that was sent is sent once more."""
    VALUE = "value"
    """A safe value is sent."""
    RELEASE = "release"
    """The value that hands the point back to the device's own control is sent, after all others."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """`value` belongs to VALUE and RELEASE, and is an engineering value. Written `hold`, `last`, `value=0.5`, `release=0`."""

    kind: FallbackKind
    value: float | None = None

    def __post_init__(self) -> None:
        if (self.value is not None) != (self.kind in (FallbackKind.VALUE, FallbackKind.RELEASE)):
            raise ValueError("write hold, last, value=NUMBER or release=NUMBER")

    def __str__(self) -> str:
        return self.kind.value if self.value is None else f"{self.kind.value}={self.value!r}"


@dataclass(frozen=True, slots=True)
class Signal:
    """A value of the simulation: `federate.port:id`; a scalar port has no id."""

    federate: str
    port: str
    id: str | None = None

    def __str__(self) -> str:
        return f"{self.federate}.{self.port}" + ("" if self.id is None else f":{self.id}")

    @classmethod
    def parse(cls, text: str) -> Signal:
        """ValueError where the text is no signal."""
        found = _SIGNAL.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no signal; write federate.port:id, or federate.port for a scalar port")
        return cls(found["federate"], found["port"], found["id"])


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One row. The fields are the columns of the CSV; `point_csv.COLUMNS` says what each means.

    `address` is as the row gives it: `wire_address` is the protocol's own, counted from 0. `minimum`, `maximum`, `rate_per_s`,
    `deadband`, `tolerance` and the fallback are engineering values, in `unit`. `codes` are control codes by name, the first of its
    kind being what is sent. `line` is where the row begins in its file (0: it has none), and takes no part in comparisons.
    """

    name: str
    table: PointTable
    address: int
    direction: Direction = Direction.READ
    signal: Signal | None = None
    address_base: int = 0
    unit_id: int = 1
    type: str = ""
    order: str = "ABCD"
    bit: int | None = None
    length: int = 0
    write_function: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    scale_factor: str = ""
    sentinels: tuple[int, ...] = ()
    unit: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    rate_per_s: float | None = None
    min_interval_s: float = 0.0
    codes: tuple[str, ...] = ()
    operate: Operate = Operate.SELECT
    on_ms: int = 100
    off_ms: int = 100
    fallback: Fallback | None = None
    deadband: float = 0.0
    event_class: int = 1
    static_variation: int = 0
    event_variation: int = 0
    readback: bool = True
    tolerance: float | None = None
    settle_s: float = 0.0
    clock: str = ""
    note: str = ""
    line: int = field(default=0, compare=False)

    @property
    def wire_address(self) -> int:
        """Register, bit or index as the protocol counts it, from 0."""
        return self.address - self.address_base

    @property
    def is_write(self) -> bool:
        return self.direction is Direction.WRITE

    @property
    def is_binary(self) -> bool:
        """Whether the value is 0 or 1."""
        return self.table.is_binary or self.type == "bit"

    @property
    def is_text(self) -> bool:
        """Whether the value is text, which no signal carries."""
        return self.table is PointTable.OCTET_STRING or self.type == "string"


@dataclass(frozen=True, slots=True)
class MapProblem:
    """One thing that is wrong with a map: where, and (in `message`) what to write instead. `line` counts from 1."""

    file: str
    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.column}: {self.message}"


class MapError(ValueError):
    """A map that cannot be used, with everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[MapProblem]) -> None:
        self.problems = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.column, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class PointMap:
    """A device's points, in the order of the file, all of one protocol. `file` takes no part in comparisons."""

    points: tuple[MapPoint, ...]
    file: str = field(default="", compare=False)

    @property
    def protocol(self) -> Protocol:
        return self.points[0].table.protocol

    @property
    def reads(self) -> tuple[MapPoint, ...]:
        return tuple(point for point in self.points if not point.is_write)

    @property
    def writes(self) -> tuple[MapPoint, ...]:
        return tuple(point for point in self.points if point.is_write)

    def point(self, name: str) -> MapPoint:
        """The row of that name; KeyError with the map's file where there is none."""
        for point in self.points:
            if point.name == name:
                return point
        raise KeyError(f"{self.file or 'point map'} has no point {name!r}")
