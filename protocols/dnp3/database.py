"""The points of an outstation: current values, and the decision when a change is an event.

Values are kept as they go on the wire (scaled), so that reading a thousand points costs no arithmetic. The database knows no
masters: it hands every event to `on_event`, and each master's session keeps its own copy (`events.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from math import isnan
from typing import Any

from .objects import WITH_FLAGS, ObjectType, find
from .points import PointConfig
from .values import Flag, PointType

_ANALOG = (PointType.ANALOG_INPUT, PointType.ANALOG_OUTPUT)
_COUNTING = (PointType.COUNTER, PointType.FROZEN_COUNTER)


class EventMode(Enum):
    """Whether an update makes an event: on a change, in any case, or never."""

    DETECT = "detect"
    FORCE = "force"
    SUPPRESS = "suppress"


class Point:
    """A point's state. `value` is on the wire's scale; `event_class` and `deadband` (wire scale) are what masters may change."""

    __slots__ = (
        "config",
        "deadband",
        "event_class",
        "event_row",
        "flags",
        "last_event",
        "plain_row",
        "static_row",
        "time_ms",
        "type",
        "value",
    )

    def __init__(self, config: PointConfig) -> None:
        self.config = config
        self.type = config.type
        self.static_row: ObjectType | None = None
        self.event_row: ObjectType | None = None
        if config.type is not PointType.OCTET_STRING:
            self.static_row = find(config.static_group, config.static_variation)
            self.event_row = find(config.event_group, config.event_variation)
        self.reset()

    def reset(self) -> None:
        """As configured: restart quality, no value yet."""
        self.value: Any = b"\0" if self.type is PointType.OCTET_STRING else 0
        self.flags = int(Flag.RESTART)
        self.time_ms = 0
        self.last_event: tuple[Any, int] = (self.value, self.flags)
        self.event_class = self.config.event_class
        self.deadband = abs(self.config.deadband / self.config.scale)

    def static(self, wanted: ObjectType | None) -> ObjectType:
        """The variation this point is read as: `wanted`, or its own; with flags where they say more than online."""
        if self.type is PointType.OCTET_STRING:
            return _string_row(110, self.value)
        row = wanted or self.static_row
        assert row is not None
        if row.flagged or (self.flags == Flag.ONLINE and self._fits(row)):
            return row
        with_flags = find(row.group, WITH_FLAGS[row.group, row.variation])
        assert with_flags is not None
        return with_flags

    def _fits(self, row: ObjectType) -> bool:
        """Whether an integer variation without flags carries an analog whole, so that no over-range flag is lost."""
        if self.type not in _ANALOG or row.bits:
            return True
        half = 1 << (8 * row.size - 1)
        return bool(-half <= self.value <= half - 1)

    def event(self) -> ObjectType:
        if self.type is PointType.OCTET_STRING:
            return _string_row(111, self.value)
        assert self.event_row is not None
        return self.event_row


def _string_row(group: int, value: bytes) -> ObjectType:
    row = find(group, len(value))
    assert row is not None
    return row


OnEvent = Callable[[Point], None]


class Database:
    """All points by type and index. ValueError where two configurations name the same point."""

    def __init__(self, configs: Iterable[PointConfig]) -> None:
        self._points: dict[PointType, dict[int, Point]] = {kind: {} for kind in PointType}
        for config in sorted(configs, key=lambda config: config.index):
            if config.index in self._points[config.type]:
                raise ValueError(f"{config.label} is configured twice")
            self._points[config.type][config.index] = Point(config)
        self.on_event: OnEvent | None = None

    def points(self, kind: PointType) -> dict[int, Point]:
        """Points of one type by index, in rising order."""
        return self._points[kind]

    def __iter__(self) -> Iterator[Point]:
        for points in self._points.values():
            yield from points.values()

    def __len__(self) -> int:
        return sum(len(points) for points in self._points.values())

    def point(self, kind: PointType, index: int) -> Point:
        """KeyError with the point's name where it is not configured."""
        try:
            return self._points[kind][index]
        except KeyError:
            raise KeyError(f"{kind.value} {index} is not configured in this outstation") from None

    def reset(self) -> None:
        """A cold restart: classes and dead bands as configured, every value waiting for its first update."""
        for point in self:
            point.reset()

    def update(
        self,
        kind: PointType,
        index: int,
        value: bool | int | float | bytes,
        *,
        time_ms: int,
        flags: int = int(Flag.ONLINE),
        mode: EventMode = EventMode.DETECT,
    ) -> bool:
        """Takes a new value in the units of the simulation; True where it made an event.

        ValueError for a value the point's type cannot have, a NaN among them: a measurement that is missing is the last value
        with a quality flag. KeyError for a point that is not configured.
        """
        point = self.point(kind, index)
        wire = self._to_wire(point, value)
        point.value, point.flags, point.time_ms = wire, flags & 0x7F, time_ms
        if mode is EventMode.SUPPRESS or (mode is EventMode.DETECT and not self._changed(point)):
            return False
        point.last_event = (wire, point.flags)
        if point.event_class == 0:
            return False
        if self.on_event is not None:
            self.on_event(point)
        return True

    @staticmethod
    def _to_wire(point: Point, value: Any) -> Any:
        kind, config = point.type, point.config
        if kind in _ANALOG:
            if isnan(value):
                raise ValueError(f"{config.label}: NaN is no measurement; update the last value with COMM_LOST set")
            return config.to_wire(float(value))
        if kind in _COUNTING:
            if value < 0:
                raise ValueError(f"{config.label}: a counter cannot be {value}")
            return round(config.to_wire(value))
        if kind is PointType.OCTET_STRING:
            if not 0 <= len(value) <= 255:
                raise ValueError(f"{config.label}: an octet string has at most 255 octets, not {len(value)}")
            # An object of zero octets does not exist: the empty string is one zero octet.
            return bytes(value) or b"\0"
        if kind is PointType.DOUBLE_BIT_INPUT:
            if value not in (0, 1, 2, 3):
                raise ValueError(f"{config.label}: a double-bit state is 0 to 3, not {value}")
            return int(value)
        if value not in (0, 1):
            raise ValueError(f"{config.label}: a binary state is False or True, not {value!r}")
        return bool(value)

    @staticmethod
    def _changed(point: Point) -> bool:
        before, flags = point.last_event
        if point.flags != flags:
            return True
        if point.type in _ANALOG or point.type in _COUNTING:
            # inf - inf is NaN: two infinite readings are equal, which the first test says.
            return bool(point.value != before and not abs(point.value - before) <= point.deadband)
        return bool(point.value != before)

    def freeze(self, start: int | None, stop: int | None, *, clear: bool, time_ms: int) -> int:
        """Copies counters `start` to `stop` (None: all) to the frozen counters of the same index; their number is returned.

        `clear` sets the running counters to zero, as freeze-and-clear does.
        """
        frozen = 0
        for index, counter in self._points[PointType.COUNTER].items():
            if (start is not None and index < start) or (stop is not None and index > stop):
                continue
            target = self._points[PointType.FROZEN_COUNTER].get(index)
            if target is None:
                continue
            frozen += 1
            counted = counter.config.from_wire(counter.value)
            self.update(PointType.FROZEN_COUNTER, index, counted, time_ms=time_ms, flags=counter.flags)
            if clear:
                counter.value, counter.time_ms = 0, time_ms
                counter.last_event = (0, counter.flags)
        return frozen
