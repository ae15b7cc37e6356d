"""The table of DNP3 objects: every group and variation this package reads or writes, as data.

A row says what an object is, which kind of point it belongs to, and how its octets are laid out (`codecs.py` has the words).
Adding a variation is adding a row. The rows cover subset level 2 and what a modern outstation adds to it: floating point
analogs, events of outputs, double-bit inputs, frozen counters, dead bands and octet strings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .codecs import Pack, Unpack, codec, size_of
from .values import AnalogCommand, Crob, DnpObject, PointType, Reading


class Kind(Enum):
    """What an object is for."""

    STATIC = "static"
    EVENT = "event"
    COMMAND = "command"
    DEADBAND = "dead band"
    TIME = "time"
    CLASS = "class"
    INDICATIONS = "internal indications"


@dataclass(frozen=True, slots=True)
class ObjectType:
    """One variation of one group. `size` is octets per object (0: packed in `bits`, or nothing)."""

    group: int
    variation: int
    kind: Kind
    point: PointType | None
    layout: str
    title: str
    size: int
    bits: int
    pack: Pack
    unpack: Unpack

    @property
    def name(self) -> str:
        return f"g{self.group}v{self.variation}"

    @property
    def timed(self) -> bool:
        return "t48" in self.layout or "t16" in self.layout

    @property
    def relative_time(self) -> bool:
        return "t16" in self.layout

    @property
    def flagged(self) -> bool:
        return self.layout.startswith(("flags", "state", "double"))

    def encode(self, item: DnpObject) -> bytes:
        """The octets of `item`, a `Reading`, `Crob` or `AnalogCommand` as the kind demands."""
        if isinstance(item, (Crob, AnalogCommand)):
            return self.pack(item, 0, 0)
        return self.pack(item.value, item.flags, item.time_ms or 0)

    def decode(self, octets: bytes) -> Any:
        """The object in `octets`, which must be exactly its size (struct.error otherwise)."""
        return self.unpack(octets)


_BITS = {"bit": 1, "bit2": 2}
_FLOATS = {5: "flags f32", 6: "flags f64"}
_ANALOG_EVENTS = {
    1: "flags i32", 2: "flags i16", 3: "flags i32 t48", 4: "flags i16 t48", **_FLOATS, 7: "flags f32 t48", 8: "flags f64 t48",
}  # fmt: skip
_COUNTER_EVENTS = {1: "flags u32", 2: "flags u16", 5: "flags u32 t48", 6: "flags u16 t48"}

_P, _K = PointType, Kind
_ROWS: tuple[tuple[int, Kind, PointType | None, str, dict[int, str]], ...] = (
    (1, _K.STATIC, _P.BINARY_INPUT, "binary input", {1: "bit", 2: "state"}),
    (2, _K.EVENT, _P.BINARY_INPUT, "binary input event", {1: "state", 2: "state t48", 3: "state t16"}),
    (3, _K.STATIC, _P.DOUBLE_BIT_INPUT, "double-bit binary input", {1: "bit2", 2: "double"}),
    (4, _K.EVENT, _P.DOUBLE_BIT_INPUT, "double-bit binary input event", {1: "double", 2: "double t48", 3: "double t16"}),
    (10, _K.STATIC, _P.BINARY_OUTPUT, "binary output status", {1: "bit", 2: "state"}),
    (11, _K.EVENT, _P.BINARY_OUTPUT, "binary output event", {1: "state", 2: "state t48"}),
    (12, _K.COMMAND, _P.BINARY_OUTPUT, "control relay output block", {1: "crob"}),
    (20, _K.STATIC, _P.COUNTER, "counter", {1: "flags u32", 2: "flags u16", 5: "u32", 6: "u16"}),
    (21, _K.STATIC, _P.FROZEN_COUNTER, "frozen counter", {**_COUNTER_EVENTS, 9: "u32", 10: "u16"}),
    (22, _K.EVENT, _P.COUNTER, "counter event", _COUNTER_EVENTS),
    (23, _K.EVENT, _P.FROZEN_COUNTER, "frozen counter event", _COUNTER_EVENTS),
    (30, _K.STATIC, _P.ANALOG_INPUT, "analog input", {1: "flags i32", 2: "flags i16", 3: "i32", 4: "i16", **_FLOATS}),
    (32, _K.EVENT, _P.ANALOG_INPUT, "analog input event", _ANALOG_EVENTS),
    (34, _K.DEADBAND, _P.ANALOG_INPUT, "analog input dead band", {1: "u16", 2: "u32", 3: "f32"}),
    (40, _K.STATIC, _P.ANALOG_OUTPUT, "analog output status", {1: "flags i32", 2: "flags i16", 3: "flags f32", 4: "flags f64"}),
    (41, _K.COMMAND, _P.ANALOG_OUTPUT, "analog output", {1: "i32 status", 2: "i16 status", 3: "f32 status", 4: "f64 status"}),
    (42, _K.EVENT, _P.ANALOG_OUTPUT, "analog output event", _ANALOG_EVENTS),
    (50, _K.TIME, None, "time and date", {1: "t48", 3: "t48"}),
    (51, _K.TIME, None, "common time of occurrence", {1: "t48", 2: "t48"}),
    (52, _K.TIME, None, "time delay", {1: "t16", 2: "t16"}),
    (60, _K.CLASS, None, "class", {1: "", 2: "", 3: "", 4: ""}),
    (80, _K.INDICATIONS, None, "internal indications", {1: "bit"}),
)
_STRINGS = {110: (_K.STATIC, "octet string"), 111: (_K.EVENT, "octet string event")}


def _no_octets(*_: Any) -> Any:
    raise ValueError("this object has no octets of its own: packed objects go through pack_bits, class objects carry nothing")


def _build() -> dict[tuple[int, int], ObjectType]:
    table = {}
    for group, kind, point, title, variations in _ROWS:
        for variation, layout in variations.items():
            bits = _BITS.get(layout, 0)
            rolls_over = group in (20, 21, 22, 23)
            pack, unpack = (_no_octets, _no_octets) if bits or not layout else codec(layout, rolls_over=rolls_over)
            size = 0 if bits else size_of(layout)
            table[group, variation] = ObjectType(group, variation, kind, point, layout, title, size, bits, pack, unpack)
    return table


_TABLE = _build()
_STRING_TABLE = {
    (group, length): ObjectType(group, length, kind, PointType.OCTET_STRING, "octets", title, length, 0, *codec("octets"))
    for group, (kind, title) in _STRINGS.items()
    for length in range(1, 256)
}

WITH_FLAGS = {(1, 1): 2, (3, 1): 2, (10, 1): 2, (20, 5): 1, (20, 6): 2, (21, 9): 1, (21, 10): 2, (30, 3): 1, (30, 4): 2}
"""(group, variation without flags) -> the variation sent in its place where a point is anything but plainly online."""

STATIC_GROUP = {point: group for group, kind, point, *_ in _ROWS if kind is Kind.STATIC and point} | {PointType.OCTET_STRING: 110}
EVENT_GROUP = {point: group for group, kind, point, *_ in _ROWS if kind is Kind.EVENT and point} | {PointType.OCTET_STRING: 111}
GROUPS: dict[int, tuple[Kind, PointType | None, str]] = {
    **{group: (kind, point, title) for group, kind, point, title, _ in _ROWS},
    **{group: (kind, PointType.OCTET_STRING, title) for group, (kind, title) in _STRINGS.items()},
}


def find(group: int, variation: int) -> ObjectType | None:
    """The row of a group and variation, or None where this package does not know it."""
    return _TABLE.get((group, variation)) or _STRING_TABLE.get((group, variation))


def every_object() -> Iterator[ObjectType]:
    """All rows, the 255 lengths of octet strings included."""
    yield from _TABLE.values()
    yield from _STRING_TABLE.values()


__all__ = ["EVENT_GROUP", "GROUPS", "STATIC_GROUP", "WITH_FLAGS", "Kind", "ObjectType", "Reading", "every_object", "find"]
