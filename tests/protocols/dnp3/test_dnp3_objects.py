"""Every object of the table: what is encoded is decoded, and what does not fit is cut as the standard says."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3.codecs import fit, pack_bits, unpack_bits
from protocols.dnp3.objects import WITH_FLAGS, Kind, ObjectType, every_object, find
from protocols.dnp3.values import AnalogCommand, Crob, Flag, Reading

ROWS = [row for row in every_object() if row.layout and not row.bits and row.group not in (110, 111)]
STRINGS = [row for row in every_object() if row.group in (110, 111)]
NUMBERS = {
    "i16": st.integers(-(2**15), 2**15 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "f64": st.floats(allow_nan=False, allow_infinity=False),
}


def items(row: ObjectType) -> st.SearchStrategy:
    """Objects of a row that its octets can carry."""
    fields = row.layout.split()
    if fields == ["crob"]:
        octet, time = st.integers(0, 255), st.integers(0, 2**32 - 1)
        return st.builds(Crob, code=octet, count=octet, on_ms=time, off_ms=time, status=octet)
    number = next((NUMBERS[field] for field in fields if field in NUMBERS), None)
    if fields[-1] == "status":
        return st.builds(AnalogCommand, value=number, status=st.integers(0, 255))
    time_ms = st.integers(0, 2**48 - 1) if "t48" in fields else st.integers(0, 2**16 - 1) if "t16" in fields else st.none()
    if fields[0] == "state":
        return st.builds(Reading, value=st.booleans(), flags=st.integers(0, 127), time_ms=time_ms)
    if fields[0] == "double":
        return st.builds(Reading, value=st.integers(0, 3), flags=st.integers(0, 63), time_ms=time_ms)
    if number is None:
        return st.builds(Reading, value=st.just(0), flags=st.just(0), time_ms=time_ms)
    flags = st.integers(0, 255) if fields[0] == "flags" else st.just(int(Flag.ONLINE))
    return st.builds(Reading, value=number, flags=flags, time_ms=time_ms)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@given(data=st.data())
def test_round_trip(row, data):
    item = data.draw(items(row))
    octets = row.encode(item)
    assert len(octets) == row.size
    assert row.decode(octets) == item


@given(data=st.data())
def test_octet_strings_round_trip(data):
    row = data.draw(st.sampled_from(STRINGS))
    item = Reading(data.draw(st.binary(min_size=row.size, max_size=row.size)))
    assert row.encode(item) == item.value and row.decode(row.encode(item)) == item


@given(width=st.sampled_from([1, 2]), data=st.data())
def test_packed_points_round_trip(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=40))
    octets = pack_bits(values, width)
    assert len(octets) == math.ceil(len(values) * width / 8)
    assert unpack_bits(octets, len(values), width) == values


@pytest.mark.parametrize(
    ("name", "item", "octets"),
    [
        ((1, 2), Reading(True, Flag.ONLINE), "81"),
        ((2, 2), Reading(False, Flag.ONLINE, 0x0102030405), "01 05 04 03 02 01 00"),
        ((4, 1), Reading(2, Flag.ONLINE), "81"),
        ((4, 3), Reading(1, Flag.ONLINE, 1000), "41 e8 03"),
        ((12, 1), Crob(0x41, 1, 100, 200), "41 01 64 00 00 00 c8 00 00 00 00"),
        ((20, 2), Reading(65535, Flag.ONLINE), "01 ff ff"),
        ((30, 1), Reading(-2, Flag.ONLINE), "01 fe ff ff ff"),
        ((32, 7), Reading(1.25, Flag.ONLINE, 1), "01 00 00 a0 3f 01 00 00 00 00 00"),
        ((41, 2), AnalogCommand(-1, 0), "ff ff 00"),
        ((50, 1), Reading(0, 0, 2**48 - 1), "ff ff ff ff ff ff"),
        ((52, 2), Reading(0, 0, 7), "07 00"),
    ],
    ids=lambda value: f"g{value[0]}v{value[1]}" if isinstance(value, tuple) and len(value) == 2 else None,
)
def test_octets_are_those_of_the_standard(name, item, octets):
    row = find(*name)
    assert row.encode(item) == bytes.fromhex(octets) and row.decode(bytes.fromhex(octets)) == item


@pytest.mark.parametrize(
    ("row", "value", "sent"),
    [
        ((30, 2), 40000.0, 32767),
        ((30, 2), -40000.0, -32768),
        ((30, 1), 3e9, 2**31 - 1),
        ((30, 5), 1e39, struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]),
        ((32, 6), float("inf"), 1.7976931348623157e308),
    ],
)
def test_analogs_are_cut_with_the_over_range_flag(row, value, sent):
    row = find(*row)
    assert row.decode(row.encode(Reading(value, Flag.ONLINE))) == Reading(sent, Flag.ONLINE | Flag.OVER_RANGE)


def test_analogs_are_rounded_and_counters_roll_over():
    assert find(30, 1).decode(find(30, 1).encode(Reading(2.6))).value == 3
    assert find(20, 2).decode(find(20, 2).encode(Reading(65536 + 7))) == Reading(7, Flag.ONLINE)
    assert find(22, 1).decode(find(22, 1).encode(Reading(2**32 + 9))).value == 9


def test_nan_goes_into_floats_and_nowhere_else():
    assert math.isnan(find(41, 3).decode(find(41, 3).encode(AnalogCommand(float("nan")))).value)
    with pytest.raises(ValueError, match="NaN has no i16"):
        fit("i16", float("nan"))


def test_variations_without_flags_have_one_with_flags_of_the_same_width():
    for (group, variation), with_flags in WITH_FLAGS.items():
        plain, flagged = find(group, variation), find(group, with_flags)
        assert not plain.flagged and flagged.flagged and plain.kind is flagged.kind is Kind.STATIC
        assert plain.bits or flagged.size == plain.size + 1
    without = {
        (row.group, row.variation) for row in every_object() if row.kind is Kind.STATIC and not row.flagged and row.group != 110
    }
    assert without == set(WITH_FLAGS)


def test_unknown_objects_are_not_found():
    assert find(1, 3) is None and find(110, 0) is None and find(99, 1) is None
