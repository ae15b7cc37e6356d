"""Which requests read a set of points, and which write one: fewest requests, no value torn, nothing known to be refused.

Points of one unit and table are intervals of addresses. A request is a window of at most `max_registers` (or `max_bits`); it may
run over at most `max_gap` addresses that nobody wants, and may not contain a range the device has refused. Every part of an
allowed window is allowed, so starting at the first point not yet read and reaching as far as allowed gives the fewest requests.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.modbus.pdu import (
    MAX_READ_BITS,
    MAX_READ_REGISTERS,
    MAX_READ_WRITE_REGISTERS,
    MAX_WRITE_REGISTERS,
    Function,
    MaskWrite,
    Read,
    ReadWrite,
    Request,
    Write,
)
from protocols.modbus.points import Point, PointError, Table, Value, raw_from_value, registers_from_raw


@dataclass(frozen=True)
class ReadLimits:
    """What one read request may span: the protocol's limits unless the device has tighter ones."""

    max_registers: int = MAX_READ_REGISTERS
    max_bits: int = MAX_READ_BITS
    max_gap: int = 8  # registers nobody wants that are read along; 16 times as many bits

    def __post_init__(self) -> None:
        if not (1 <= self.max_registers <= MAX_READ_REGISTERS and 1 <= self.max_bits <= MAX_READ_BITS and self.max_gap >= 0):
            raise ValueError(f"read limits outside 1..{MAX_READ_REGISTERS} registers, 1..{MAX_READ_BITS} bits, gap >= 0: {self}")


@dataclass(frozen=True)
class Range:
    """Addresses [start, end) of one table of one unit."""

    unit: int
    table: Table
    start: int
    end: int

    def contains(self, other: Range) -> bool:
        return (self.unit, self.table) == (other.unit, other.table) and self.start <= other.start and other.end <= self.end


@dataclass(frozen=True)
class PlannedRead:
    """One request and the points (indices into the planned sequence, in order of address) that it reads."""

    range: Range
    points: tuple[int, ...]

    @property
    def request(self) -> Read:
        return Read(self.range.table.read_function, self.range.start, self.range.end - self.range.start)


def plan_reads(
    points: Sequence[Point], limits: ReadLimits, refused: Sequence[Range] = (), only: Sequence[int] | None = None
) -> list[PlannedRead]:
    """Fewest requests that read every readable point (or those of `only`), ordered by unit, table and address. Points that lie in a
    refused range alone are left out. Raises PointError for a point longer than the device's largest read."""
    wanted = [i for i in (range(len(points)) if only is None else only) if points[i].access != "w"]
    plan: list[PlannedRead] = []
    for unit, table in sorted({(points[i].unit, points[i].table) for i in wanted}, key=lambda key: (key[0], key[1].value)):
        members = [i for i in wanted if points[i].unit == unit and points[i].table is table]
        walls = [bad for bad in refused if bad.unit == unit and bad.table is table]
        plan += _plan_table(points, members, unit, table, limits, walls)
    return plan


def _plan_table(
    points: Sequence[Point], members: list[int], unit: int, table: Table, limits: ReadLimits, walls: Sequence[Range]
) -> list[PlannedRead]:
    span, gap = (limits.max_bits, 16 * limits.max_gap) if table.is_bits else (limits.max_registers, limits.max_gap)
    waiting = sorted(members, key=lambda i: (points[i].address, points[i].end, i))
    segment_of: dict[int, int] = {}  # points with at most `gap` unwanted addresses from one to the next share a segment
    covered, segment = -1, 0
    for i in waiting:
        if points[i].words > span:
            raise PointError(f"point {points[i].name!r} takes {points[i].words} registers; the device allows {span} per read")
        if covered >= 0 and points[i].address - covered > gap:
            segment += 1
        covered = max(covered, points[i].end)
        segment_of[i] = segment
    plan: list[PlannedRead] = []
    while waiting:
        start, segment = points[waiting[0]].address, segment_of[waiting[0]]
        end, taken = start, []
        for i in waiting:
            point = points[i]
            if point.address >= start + span or segment_of[i] != segment:
                break
            reach = Range(unit, table, start, max(end, point.end))
            if point.end <= start + span and not any(reach.contains(wall) for wall in walls):
                end = reach.end
                taken.append(i)
        if taken:
            plan.append(PlannedRead(Range(unit, table, start, end), tuple(taken)))
            done = set(taken)
            waiting = [i for i in waiting if i not in done]
        else:
            waiting.pop(0)  # the point alone contains a refused range
    return plan


def halves(points: Sequence[Point], read: PlannedRead) -> tuple[PlannedRead, PlannedRead]:
    """A request of several points as two, between points: how a bad point is found after exception 2."""
    middle = len(read.points) // 2
    parts = []
    for part in (read.points[:middle], read.points[middle:]):
        start, end = min(points[i].address for i in part), max(points[i].end for i in part)
        parts.append(PlannedRead(Range(read.range.unit, read.range.table, start, end), part))
    return parts[0], parts[1]


def boundary(whole: Range, left: Range, right: Range) -> Range:
    """What requests may not contain after `whole` was refused and split: the seam, or if the parts overlap, the whole."""
    if left.end <= right.start:
        return Range(whole.unit, whole.table, left.end - 1, right.start + 1)
    return whole


@dataclass(frozen=True)
class PlannedWrite:
    """One write request, the points it writes and the raw values that go into them."""

    unit: int
    request: Request
    points: tuple[Point, ...]
    raws: tuple[Value, ...]


def plan_write(points: Sequence[Point], values: Sequence[Value], exponents: Mapping[str, int] | None = None) -> list[PlannedWrite]:
    """Requests that write the values in the given order. Points that follow each other without a gap in one unit share a
    request of function 16 (a curve arrives as a whole); no value is torn. `exponents`: scale-factor point -> power of ten.
    Raises PointError, before anything is sent, for a value that does not fit or is outside its limits, or a read-only point."""
    planned: list[PlannedWrite] = []
    for point, value in zip(points, values, strict=True):
        write = _write_one(point, raw_from_value(point, value, _exponent(point, exponents or {})))
        last = planned[-1] if planned else None
        merged = _join(last, write) if last is not None else None
        if merged is None:
            planned.append(write)
        else:
            planned[-1] = merged
    return planned


def _exponent(point: Point, exponents: Mapping[str, int]) -> int:
    if point.access == "r":
        raise PointError(f"point {point.name!r} is only read")
    if point.scale_factor is None:
        return 0
    if point.scale_factor not in exponents:
        raise PointError(f"point {point.name!r}: its scale factor {point.scale_factor!r} has not been read; read it before writing")
    return exponents[point.scale_factor]


def _write_one(point: Point, raw: Value) -> PlannedWrite:
    request: Request
    if point.table is Table.COIL:
        request = Write(point.write_function or Function.WRITE_SINGLE_COIL, point.address, 1, bytes((bool(raw),)))
    elif point.bit is not None:
        mask = 1 << point.bit
        request = MaskWrite(point.address, 0xFFFF & ~mask, mask if raw else 0)
    else:
        data = registers_from_raw(point, raw)
        function = point.write_function
        if function == Function.MASK_WRITE_REGISTER:
            request = MaskWrite(point.address, 0x0000, struct.unpack(">H", data)[0])
        elif function == Function.READ_WRITE_MULTIPLE_REGISTERS:
            if point.words > MAX_READ_WRITE_REGISTERS:
                raise PointError(f"point {point.name!r}: function 23 writes at most {MAX_READ_WRITE_REGISTERS} registers")
            request = ReadWrite(point.address, point.words, point.address, data)
        elif function == Function.WRITE_MULTIPLE_REGISTERS or point.words > 1:
            if point.words > MAX_WRITE_REGISTERS:
                raise PointError(f"point {point.name!r}: function 16 writes at most {MAX_WRITE_REGISTERS} registers")
            request = Write(Function.WRITE_MULTIPLE_REGISTERS, point.address, point.words, data)
        else:
            request = Write(Function.WRITE_SINGLE_REGISTER, point.address, 1, data)
    return PlannedWrite(point.unit, request, (point,), (raw,))


def _join(first: PlannedWrite, second: PlannedWrite) -> PlannedWrite | None:
    """Two neighbouring writes of function 16 as one, or None. A point of one register without a function of its own may join."""
    one, two = first.request, second.request
    if (
        not (isinstance(one, Write) and isinstance(two, Write))
        or first.unit != second.unit
        or one.address + one.count != two.address
    ):
        return None
    if any(p.table is not Table.HOLDING or p.write_function not in (None, 16) for p in first.points + second.points):
        return None
    count = one.count + two.count
    if count > MAX_WRITE_REGISTERS:
        return None
    request = Write(Function.WRITE_MULTIPLE_REGISTERS, one.address, count, one.data + two.data)
    return PlannedWrite(first.unit, request, first.points + second.points, first.raws + second.raws)
