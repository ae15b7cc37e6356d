"""Plans against brute force, and the writes that a plan may merge."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.modbus.pdu import MaskWrite, ReadWrite, Write
from protocols.modbus.planner import PlannedRead, Range, ReadLimits, plan_reads, plan_write
from protocols.modbus.points import Order, Point, PointError, Table, ValueType

SIZES = {1: ValueType.U16, 2: ValueType.F32, 4: ValueType.F64}


def register_map(rng: random.Random, count: int, spread: int) -> list[Point]:
    points, address = [], rng.randrange(3)
    for i in range(count):
        words = rng.choice((1, 1, 2, 4))
        points.append(Point(f"p{i}", Table.HOLDING, address, SIZES[words]))
        address += words + (rng.randrange(spread) if rng.random() < 0.5 else 0)
    rng.shuffle(points)
    return points


def allowed(points: list[Point], start: int, end: int, limits: ReadLimits, walls: list[Range]) -> bool:
    """Whether one request may cover [start, end): from the rules, not from the planner."""
    wanted = {at for point in points for at in range(point.address, point.end)}
    gap = longest = 0
    for at in range(start, end):
        gap = 0 if at in wanted else gap + 1
        longest = max(longest, gap)
    return (
        end - start <= limits.max_registers
        and longest <= limits.max_gap
        and not any(start <= w.start and w.end <= end for w in walls)
    )


def fewest(points: list[Point], limits: ReadLimits, walls: list[Range]) -> int:
    """The smallest number of requests, over all windows that begin and end with a point."""
    windows = [
        frozenset(i for i, p in enumerate(points) if a.address <= p.address and p.end <= b.end)
        for a in points
        for b in points
        if a.address < b.end and allowed(points, a.address, b.end, limits, walls)
    ]

    @functools.cache
    def cover(left: frozenset[int]) -> int:
        if not left:
            return 0
        first = min(left, key=lambda i: points[i].address)
        return 1 + min(cover(left - window) for window in windows if first in window)

    readable = frozenset(i for i, p in enumerate(points) if allowed(points, p.address, p.end, limits, walls))
    return cover(readable)


def check(points: list[Point], plan: list[PlannedRead], limits: ReadLimits, walls: list[Range]) -> None:
    for read in plan:
        assert allowed(points, read.range.start, read.range.end, limits, walls)
        for i in read.points:  # nothing torn
            assert read.range.start <= points[i].address and points[i].end <= read.range.end


@pytest.mark.parametrize("seed", range(60))
def test_plan_needs_as_few_requests_as_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    points = register_map(rng, 9, 12)
    limits = ReadLimits(max_registers=rng.choice((4, 6, 10, 20)), max_gap=rng.choice((0, 2, 5)))
    bad = rng.choice(points)
    walls = [Range(1, Table.HOLDING, bad.address, bad.end)] if rng.random() < 0.5 else []
    plan = plan_reads(points, limits, walls)
    check(points, plan, limits, walls)
    planned = [i for read in plan for i in read.points]
    assert len(planned) == len(set(planned)) == len(points) - (1 if walls else 0)
    assert len(plan) == fewest(points, limits, walls)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(0, 20), st.integers(4, 125))
@settings(max_examples=60, deadline=None)
def test_every_point_is_read_once_and_whole(seed: int, count: int, max_gap: int, max_registers: int) -> None:
    points = register_map(random.Random(seed), count, 30)
    limits = ReadLimits(max_registers=max_registers, max_gap=max_gap)
    plan = plan_reads(points, limits)
    check(points, plan, limits, [])
    assert sorted(i for read in plan for i in read.points) == list(range(count))


def test_overlapping_points_units_and_tables_are_kept_apart() -> None:
    points = [
        Point("text", Table.HOLDING, 0, ValueType.STRING, length=8),
        Point("inside", Table.HOLDING, 3, ValueType.U16),
        Point("other_unit", Table.HOLDING, 0, ValueType.U16, unit=2),
        Point("input", Table.INPUT, 0, ValueType.U16),
        Point("coil", Table.COIL, 0, ValueType.BIT),
        Point("far_coil", Table.COIL, 1999, ValueType.BIT),
        Point("command", Table.HOLDING, 8, ValueType.U16, access="w"),
    ]
    plan = plan_reads(points, ReadLimits(max_gap=125))
    assert [(read.range.unit, read.range.table, read.range.start, read.range.end) for read in plan] == [
        (1, Table.COIL, 0, 2000),
        (1, Table.HOLDING, 0, 8),
        (1, Table.INPUT, 0, 1),
        (2, Table.HOLDING, 0, 1),
    ]


def test_a_point_longer_than_the_device_allows_is_named() -> None:
    with pytest.raises(PointError, match="'energy'"):
        plan_reads([Point("energy", Table.HOLDING, 0, ValueType.U64)], ReadLimits(max_registers=2))


def holding(name: str, address: int, type_: ValueType = ValueType.U16, **fields: object) -> Point:
    return Point(name, Table.HOLDING, address, type_, access="rw", **fields)  # type: ignore[arg-type]


def test_writes_choose_their_function_and_neighbours_travel_together() -> None:
    points = [
        holding("a", 0),
        holding("b", 1, ValueType.F32, order=Order.CDAB),
        holding("c", 3),
        holding("d", 10),
        holding("e", 11, write_function=6),
    ]
    writes = plan_write(points, [1, 2.0, 3, 4, 5])
    assert [write.request for write in writes] == [
        Write(16, 0, 4, bytes.fromhex("0001 0000 4000 0003")),
        Write(6, 10, 1, b"\0\4"),
        Write(6, 11, 1, b"\0\5"),
    ]
    assert plan_write([holding("m", 5, write_function=22)], [0x1234])[0].request == MaskWrite(5, 0, 0x1234)
    assert plan_write([holding("bit", 5, ValueType.BIT, bit=4)], [True])[0].request == MaskWrite(5, 0xFFEF, 0x0010)
    assert plan_write([holding("rw", 5, write_function=23)], [7])[0].request == ReadWrite(5, 1, 5, b"\0\7")
    coil = Point("close", Table.COIL, 9, ValueType.BIT, access="rw")
    assert plan_write([coil], [True])[0].request == Write(5, 9, 1, b"\1")


def test_a_write_needs_its_scale_factor_and_the_right_to_write() -> None:
    scaled = holding("W", 0, ValueType.S16, scale_factor="W_SF")
    with pytest.raises(PointError, match="'W_SF' has not been read"):
        plan_write([scaled], [1000])
    assert plan_write([scaled], [1000], {"W_SF": 1})[0].request == Write(6, 0, 1, b"\0\x64")
    with pytest.raises(PointError, match="'meter' is only read"):
        plan_write([Point("meter", Table.HOLDING, 0, ValueType.U16)], [1])
