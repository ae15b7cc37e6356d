"""How the octets of one DNP3 object are laid out.

A layout is a short string of fields in wire order; the table of objects (`objects.py`) names one per variation:

    bit, bit2        one or two bits, packed across points; no codec of its own
    state, double    a flags octet with the state in bit 7, or in bits 6 and 7
    flags            a flags octet
    i16 i32 u16 u32 f32 f64   the value
    t48, t16         absolute time, or time since the common time of occurrence, in milliseconds
    crob, status     the control relay output block; the status octet behind an analog command
    octets           as many octets as the variation says

`pack(value, flags, time_ms)` never fails on a number that does not fit: integers and floats are cut to the limit with the
over-range flag, counters roll over.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from struct import Struct
from typing import Any

from .values import AnalogCommand, Crob, Flag, Reading

Pack = Callable[[Any, int, int], bytes]
Unpack = Callable[[bytes], Any]

TIME_MASK = (1 << 48) - 1
_CODES = {"i16": "h", "i32": "i", "u16": "H", "u32": "I", "f32": "f", "f64": "d"}
_LIMITS: dict[str, tuple[float, float]] = {
    "i16": (-(2**15), 2**15 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u16": (0, 2**16 - 1),
    "u32": (0, 2**32 - 1),
    "f32": (-(2.0 - 2.0**-23) * 2.0**127, (2.0 - 2.0**-23) * 2.0**127),
    "f64": (-(2.0 - 2.0**-52) * 2.0**1023, (2.0 - 2.0**-52) * 2.0**1023),
}
_CROB = Struct("<BBIIB")


def fit(field: str, value: float) -> tuple[int | float, int]:
    """`value` as field `i16` ... `f64` can carry it, and the over-range flag or 0. Integers are rounded, halves to even.

    ValueError for a NaN in an integer field: there is no octet pattern that says so.
    """
    low, high = _LIMITS[field]
    if low <= value <= high:
        return (float(value) if field[0] == "f" else round(value)), 0
    if isnan(value):
        if field[0] == "f":
            return value, 0
        raise ValueError(f"NaN has no {field} encoding; report the last value with a quality flag instead")
    limit = low if value < low else high
    return (limit if field[0] == "f" else int(limit)), int(Flag.OVER_RANGE)


def size_of(layout: str) -> int:
    """Octets of one object; 0 where they depend on the variation or the object is packed in bits."""
    sizes = {"state": 1, "double": 1, "flags": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "f32": 4, "f64": 8, "t48": 6, "t16": 2}
    sizes |= {"crob": _CROB.size, "status": 1}
    return sum(sizes.get(field, 0) for field in layout.split())


def codec(layout: str, *, rolls_over: bool = False) -> tuple[Pack, Unpack]:
    """(pack, unpack) of a layout. `rolls_over` marks counters, which are sent modulo their width."""
    fields = layout.split()
    if fields == ["crob"]:
        return _pack_crob, lambda octets: Crob(*_CROB.unpack(octets))
    if fields == ["octets"]:
        return lambda value, flags, time_ms: bytes(value), Reading
    if fields and fields[-1] == "status":
        return _analog_command(fields[0])
    if "state" in fields or "double" in fields:
        return _binary(fields)
    if fields in (["t48"], ["t16"]):
        return _time_only(fields[0])
    if fields:
        return _number(fields, rolls_over)
    raise ValueError("an object without octets has no codec")


def _pack_crob(value: Crob, flags: int, time_ms: int) -> bytes:
    return _CROB.pack(value.code, value.count, value.on_ms, value.off_ms, value.status)


def _analog_command(number: str) -> tuple[Pack, Unpack]:
    body = Struct("<" + _CODES[number] + "B")

    def pack(value: AnalogCommand, flags: int, time_ms: int) -> bytes:
        return body.pack(fit(number, value.value)[0], value.status)

    return pack, lambda octets: AnalogCommand(*body.unpack(octets))


def _time_only(field: str) -> tuple[Pack, Unpack]:
    width = 6 if field == "t48" else 2
    mask = (1 << 8 * width) - 1
    return (
        lambda value, flags, time_ms: (time_ms & mask).to_bytes(width, "little"),
        lambda octets: Reading(0, 0, int.from_bytes(octets, "little")),
    )


def _binary(fields: list[str]) -> tuple[Pack, Unpack]:
    """State in the flags octet, then nothing, absolute time or relative time."""
    shift = 7 if fields[0] == "state" else 6
    keep = (1 << shift) - 1
    width = {"": 0, "t48": 6, "t16": 2}["".join(fields[1:])]
    mask = (1 << 8 * width) - 1

    def pack(value: int, flags: int, time_ms: int) -> bytes:
        head = bytes(((flags & keep) | (int(value) << shift),))
        return head + (time_ms & mask).to_bytes(width, "little") if width else head

    def unpack(octets: bytes) -> Reading:
        state = octets[0] >> shift
        time_ms = int.from_bytes(octets[1:], "little") if width else None
        return Reading(bool(state) if shift == 7 else state, octets[0] & keep, time_ms)

    return pack, unpack


def _number(fields: list[str], rolls_over: bool) -> tuple[Pack, Unpack]:
    """Flags or none, a number, absolute time or none."""
    flagged, timed = fields[0] == "flags", fields[-1] == "t48"
    number = fields[1] if flagged else fields[0]
    body = Struct("<" + ("B" if flagged else "") + _CODES[number] + ("IH" if timed else ""))
    low, high = _LIMITS[number]
    integer = number[0] != "f"
    modulus = int(high) + 1 if rolls_over else 0
    write = body.pack

    def pack(value: float, flags: int, time_ms: int) -> bytes:
        if modulus:
            value = int(value) % modulus
        elif low <= value <= high:
            value = round(value) if integer else value
        else:
            value, over_range = fit(number, value)
            flags |= over_range
        if timed:
            return write(flags, value, time_ms & 0xFFFFFFFF, (time_ms >> 32) & 0xFFFF)
        return write(flags, value) if flagged else write(value)

    def unpack(octets: bytes) -> Reading:
        parts = body.unpack(octets)
        flags, value = (parts[0], parts[1]) if flagged else (int(Flag.ONLINE), parts[0])
        return Reading(value, flags, parts[2] | (parts[3] << 32) if timed else None)

    return pack, unpack


def pack_bits(values: list[int], width: int) -> bytes:
    """Points of `width` bits (1 or 2), the first in the lowest bits of the first octet, unused bits zero."""
    word = 0
    for position, value in enumerate(values):
        word |= int(value) << (position * width)
    return word.to_bytes((len(values) * width + 7) // 8, "little")


def unpack_bits(octets: bytes, count: int, width: int) -> list[int]:
    """The inverse of `pack_bits` for `count` points."""
    word = int.from_bytes(octets, "little")
    mask = (1 << width) - 1
    return [(word >> (position * width)) & mask for position in range(count)]
