"""How a point of an outstation is configured: class, variations, dead band, scale and what may be commanded."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from .objects import EVENT_GROUP, STATIC_GROUP, find
from .values import ControlCode, PointType

_DEFAULT_VARIATIONS = {
    PointType.BINARY_INPUT: (2, 2),
    PointType.DOUBLE_BIT_INPUT: (2, 2),
    PointType.BINARY_OUTPUT: (2, 2),
    PointType.COUNTER: (1, 5),
    PointType.FROZEN_COUNTER: (5, 5),
    PointType.ANALOG_INPUT: (5, 7),
    PointType.ANALOG_OUTPUT: (3, 7),
    PointType.OCTET_STRING: (0, 0),
}
"""(static, event) where a configuration names none: flags and time kept, analogs as 32-bit floats."""


@dataclass(frozen=True, slots=True)
class PointConfig:
    """One point.

    `event_class` is 1, 2 or 3, or 0 for a point that makes no events. Variations are numbers within the point's own groups (0
    picks the default; octet strings have none). What goes on the wire is (value - offset) / scale; `deadband` and the `minimum`
    and `maximum` of an analog output are in the units of the value, not of the wire. An analog event is made when the value
    has moved by more than `deadband` since the last one. `controls` are the control codes a binary output accepts (all but
    NUL unless told); an output with `commandable` False refuses every command. `in_class0` leaves a point out of class 0 reads.
    """

    type: PointType
    index: int
    name: str = ""
    event_class: int = 1
    static_variation: int = 0
    event_variation: int = 0
    deadband: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    in_class0: bool = True
    commandable: bool = True
    controls: frozenset[int] = field(default_factory=lambda: frozenset(ControlCode) - {ControlCode.NUL})
    minimum: float = float("-inf")
    maximum: float = float("inf")

    def __post_init__(self) -> None:
        static, event = _DEFAULT_VARIATIONS[self.type]
        object.__setattr__(self, "static_variation", self.static_variation or static)
        object.__setattr__(self, "event_variation", self.event_variation or event)
        if not 0 <= self.index <= 0xFFFF:
            raise ValueError(f"{self.label}: an index is 0 to 65535")
        if self.event_class not in (0, 1, 2, 3):
            raise ValueError(f"{self.label}: event class {self.event_class} is not 0 (no events), 1, 2 or 3")
        if self.scale == 0 or not isfinite(self.scale) or not isfinite(self.offset):
            raise ValueError(f"{self.label}: scale {self.scale} and offset {self.offset} must be finite, and the scale not 0")
        if not self.minimum <= self.maximum:
            raise ValueError(f"{self.label}: minimum {self.minimum} is above maximum {self.maximum}")
        if self.deadband < 0 or not isfinite(self.deadband):
            raise ValueError(f"{self.label}: dead band {self.deadband} is not a finite number of at least 0")
        if self.type is not PointType.OCTET_STRING:
            for group, variation in ((self.static_group, self.static_variation), (self.event_group, self.event_variation)):
                if find(group, variation) is None:
                    raise ValueError(f"{self.label}: there is no g{group}v{variation}; choose a variation listed in objects.py")

    @property
    def static_group(self) -> int:
        return STATIC_GROUP[self.type]

    @property
    def event_group(self) -> int:
        return EVENT_GROUP[self.type]

    @property
    def label(self) -> str:
        return f"{self.type.value} {self.index}" + (f" ({self.name})" if self.name else "")

    def to_wire(self, value: float) -> float:
        return (value - self.offset) / self.scale

    def from_wire(self, value: float) -> float:
        return value * self.scale + self.offset
