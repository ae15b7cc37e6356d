"""What a device's register means: type, order, scale, sentinels, limits, access; and one value in and out of its registers.

Registers travel as big-endian bytes. `Order` names where the bytes A (most significant) to D of a 32-bit value are found on the
wire, and extends to 16 and 64 bits: CDAB swaps words, BADC swaps the bytes inside each word, DCBA does both. Engineering value =
raw x 10^(scale factor) x scale + offset. Addresses are those of the protocol, counted from 0 (a manual's 40001 is holding 0).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal

from protocols.modbus.pdu import MAX_READ_REGISTERS, Function

Value = int | float | bool | str
SCALE_FACTOR_LIMIT = 10  # SunSpec: scale factors are powers from -10 to 10


class PointError(ValueError):
    """A point is described wrongly, or a value does not fit it; the message names the point."""


class Table(Enum):
    """The four tables of a device, and the function that reads each."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def read_function(self) -> Function:
        return _READ_FUNCTION[self]

    @property
    def is_bits(self) -> bool:
        return self in (Table.COIL, Table.DISCRETE)

    @property
    def is_writable(self) -> bool:
        return self in (Table.COIL, Table.HOLDING)


_READ_FUNCTION = {
    Table.COIL: Function.READ_COILS,
    Table.DISCRETE: Function.READ_DISCRETE_INPUTS,
    Table.HOLDING: Function.READ_HOLDING_REGISTERS,
    Table.INPUT: Function.READ_INPUT_REGISTERS,
}


class ValueType(StrEnum):
    """Type of a point; BIT is a coil, a discrete input, or one bit of a register."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"
    BIT = "bit"
    STRING = "string"

    @property
    def is_float(self) -> bool:
        return self in (ValueType.F32, ValueType.F64)


class Order(StrEnum):
    """Order of bytes on the wire."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


STRUCT_CODE = {
    ValueType.U16: "H", ValueType.S16: "h", ValueType.U32: "I", ValueType.S32: "i", ValueType.U64: "Q", ValueType.S64: "q",
    ValueType.F32: "f", ValueType.F64: "d",
}  # fmt: skip


def wire_positions(order: Order, words: int) -> tuple[int, ...]:
    """For each byte of a value, most significant first, its position in the bytes on the wire. An involution for every order."""
    swap_words, swap_bytes = order in (Order.CDAB, Order.DCBA), order in (Order.BADC, Order.DCBA)
    return tuple(
        2 * (words - 1 - word if swap_words else word) + (1 - half if swap_bytes else half)
        for word in range(words)
        for half in (0, 1)
    )


@dataclass(frozen=True)
class Point:
    """One value of a device. `scale_factor` names a point of the same unit that holds the SunSpec power of ten. `sentinels` are raw
    bit patterns that mean "not implemented" (NaN always does). `minimum`, `maximum` and `tolerance` are engineering values.
    `write_function` None chooses: 5 for a coil, 6 for one register, 16 for more, 22 for a bit of a register."""

    name: str
    table: Table
    address: int
    type: ValueType
    unit: int = 1
    order: Order = Order.ABCD
    length: int = 0  # registers of a string
    bit: int | None = None  # 0 (least significant) to 15
    scale: float = 1.0
    offset: float = 0.0
    scale_factor: str | None = None
    sentinels: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit_of_measure: str = ""
    access: Literal["r", "w", "rw"] = "r"
    write_function: int | None = None  # 5, 6, 15, 16, 22 or 23
    readback: bool = True
    tolerance: float | None = None  # None: half a step of the raw value, or for floats what their precision allows
    settle_s: float = 0.0  # what the device takes to show a written value

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise PointError(f"point {self.name!r}: {problem}")

    def _problem(self) -> str:
        if not 0 <= self.unit <= 255:
            return f"unit {self.unit} is not in 0..255"
        if not (self.address >= 0 and self.address + self.words <= 0x10000):
            return f"address {self.address} with {self.words} registers leaves 0..65535"
        if any(not 0 <= mark < 1 << 16 * self.words for mark in self.sentinels):
            return f"sentinels are bit patterns of {16 * self.words} bits: {self.sentinels}"
        if self.table.is_bits and (self.type is not ValueType.BIT or self.bit is not None):
            return f"a {self.table.value} is of type bit and has no bit number"
        if not self.table.is_bits and (self.type is ValueType.BIT) != (self.bit is not None):
            return "a bit number belongs to type bit in a register, and is needed there"
        if self.bit is not None and not 0 <= self.bit <= 15:
            return f"bit {self.bit} is not in 0..15"
        if self.type is ValueType.STRING and not 1 <= self.length <= MAX_READ_REGISTERS:
            return f"a string takes 1 to {MAX_READ_REGISTERS} registers, not {self.length}"
        if self.type is not ValueType.STRING and self.length:
            return "only a string has a length"
        if self.type is ValueType.STRING and self.order in (Order.CDAB, Order.DCBA):
            return "the words of a string are never swapped: use ABCD or BADC"
        if self.type is ValueType.BIT and self.order is not Order.ABCD:
            return "a bit has no byte order: choose its number"
        if not (math.isfinite(self.scale) and self.scale != 0 and math.isfinite(self.offset)):
            return f"scale {self.scale} must be finite and not 0, offset {self.offset} finite"
        if self.type in (ValueType.BIT, ValueType.STRING) and (self.scale != 1 or self.offset or self.scale_factor):
            return f"a {self.type} is not scaled"
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            return f"minimum {self.minimum} is above maximum {self.maximum}"
        if self.access != "r" and not self.table.is_writable:
            return f"a {self.table.value} cannot be written"
        return self._write_problem()

    def _write_problem(self) -> str:
        function = self.write_function
        if function is None:
            return ""
        if self.access == "r":
            return f"write function {function} on a point that is only read"
        if self.table is Table.COIL:
            allowed: tuple[int, ...] = (5, 15)
        elif self.bit is not None:
            allowed = (22,)
        else:
            allowed = (6, 16, 22, 23) if self.words == 1 else (16, 23)
        return "" if function in allowed else f"write function {function} does not write it; one of {allowed} does"

    @property
    def words(self) -> int:
        """Registers (or bits, in a table of bits) that the point takes."""
        if self.type in (ValueType.BIT, ValueType.U16, ValueType.S16):
            return 1
        return self.length if self.type is ValueType.STRING else struct.calcsize(STRUCT_CODE[self.type]) // 2

    @property
    def end(self) -> int:
        """First address after the point."""
        return self.address + self.words

    @property
    def is_integer(self) -> bool:
        return self.type not in (ValueType.BIT, ValueType.STRING) and not self.type.is_float


def raw_from_registers(point: Point, registers: bytes) -> Value | None:
    """The raw value in the bytes of the point's registers; None if not implemented."""
    if point.bit is not None:
        word = struct.unpack(">H", registers)[0]
        return None if word in point.sentinels else bool(word >> point.bit & 1)
    ordered = bytes(registers[i] for i in wire_positions(point.order, point.words))
    if point.type is ValueType.STRING:
        return ordered.split(b"\0", 1)[0].decode("utf-8", errors="replace").rstrip() or None
    if int.from_bytes(ordered, "big") in point.sentinels:
        return None
    raw: int | float
    (raw,) = struct.unpack(">" + STRUCT_CODE[point.type], ordered)
    return None if math.isnan(raw) else raw


def registers_from_raw(point: Point, raw: Value) -> bytes:
    """The bytes of the point's registers. Raises PointError where the type cannot hold the value; nothing is ever clipped."""
    if point.type is ValueType.STRING:
        text = str(raw).encode()
        if len(text) > 2 * point.words:
            raise PointError(f"point {point.name!r}: {len(text)} bytes of text do not fit {point.words} registers")
        ordered = text.ljust(2 * point.words, b"\0")
    else:
        try:
            ordered = struct.pack(">" + STRUCT_CODE[point.type], raw)
        except (struct.error, OverflowError):
            raise PointError(f"point {point.name!r}: raw value {raw} does not fit {point.type}") from None
        if int.from_bytes(ordered, "big") in point.sentinels:
            raise PointError(f"point {point.name!r}: raw value {raw} is the device's mark for 'not implemented'")
    return bytes(ordered[i] for i in wire_positions(point.order, point.words))


def value_from_raw(point: Point, raw: Value, exponent: int = 0) -> Value:
    """Engineering value. Integers that nothing scales stay integers, exact to 64 bits."""
    if isinstance(raw, (bool, str)) or (exponent == 0 and point.scale == 1 and point.offset == 0):
        return raw
    # Dividing by an exact power of ten gives the nearest float (2301 / 10 is 230.1); multiplying by an inexact 0.1 does not.
    scaled = raw * 10.0**exponent if exponent >= 0 else raw / 10.0**-exponent
    return scaled * point.scale + point.offset


def raw_from_value(point: Point, value: Value, exponent: int = 0) -> Value:
    """Inverse of `value_from_raw`, rounded to the nearest raw step that keeps within the limits. Raises PointError outside the
    limits, for NaN, and where no raw step near the value lies within them."""
    if point.type is ValueType.STRING or isinstance(value, str):
        if point.type is ValueType.STRING and isinstance(value, str):
            return value
        raise PointError(f"point {point.name!r} of type {point.type} cannot take {value!r}")
    if point.type is ValueType.BIT:
        if value not in (0, 1):
            raise PointError(f"point {point.name!r} is a bit and cannot take {value!r}")
        return bool(value)
    if not math.isfinite(value):
        raise PointError(f"point {point.name!r}: {value} is not a finite number")
    check_limits(point, value)
    if exponent == 0 and point.scale == 1 and point.offset == 0:
        raw: int | float = value
    else:
        unscaled = (value - point.offset) / point.scale
        raw = unscaled / 10.0**exponent if exponent >= 0 else unscaled * 10.0**-exponent
    return raw if point.type.is_float else _step_within(point, raw, exponent)


def _step_within(point: Point, raw: float, exponent: int) -> int:
    """The raw step nearest to `raw` that is no engineering value outside the limits: with steps of 100 W a value of 160 W, allowed
    up to 160, must not go out as 200."""
    for step in sorted({round(raw), math.floor(raw), math.ceil(raw)}, key=lambda step: (abs(step - raw), step)):
        value = value_from_raw(point, step, exponent)
        assert not isinstance(value, str)
        slack = 1e-9 * (abs(value) + abs(point.scale) * 10.0**exponent)  # of binary fractions, not of steps
        low = point.minimum is None or value >= point.minimum - slack
        if low and (point.maximum is None or value <= point.maximum + slack):
            return step
    raise PointError(f"point {point.name!r}: no raw step near {raw:g} lies within {point.minimum}..{point.maximum}")


def check_limits(point: Point, value: float) -> None:
    """Raises PointError if the engineering value is outside the point's limits."""
    if (point.minimum is not None and value < point.minimum) or (point.maximum is not None and value > point.maximum):
        raise PointError(f"point {point.name!r}: {value} {point.unit_of_measure} is outside {point.minimum}..{point.maximum}")


def default_tolerance(point: Point, value: float, exponent: int = 0) -> float:
    """Largest honest difference between a value written and read back: half a raw step, or the precision of a 32-bit float."""
    if point.tolerance is not None:
        return point.tolerance
    relative = {ValueType.F32: 2.0**-23, ValueType.F64: 2.0**-51}.get(point.type, 2.0**-51)
    step = 0.0 if point.type.is_float else abs(point.scale) * 10.0**exponent / 2
    return step + relative * (abs(value) + abs(point.offset))


def check_points(points: Mapping[tuple[int, str], Point]) -> None:
    """Raises PointError unless each named scale factor is a readable, unscaled s16 point of the same unit."""
    for (unit, _), point in points.items():
        if point.scale_factor is None:
            continue
        source = points.get((unit, point.scale_factor))
        if source is None:
            raise PointError(f"point {point.name!r}: scale factor {point.scale_factor!r} is not a point of unit {unit}")
        if source.type is not ValueType.S16 or source.scale != 1 or source.offset or source.scale_factor or source.access == "w":
            raise PointError(f"point {point.name!r}: scale factor {point.scale_factor!r} must be a readable, unscaled s16")
