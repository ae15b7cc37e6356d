"""One value in and out of registers, one by one and in bulk; all types, orders, scales and sentinels."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocols.modbus.blocks import BlockDecoder, PointState, Scaler
from protocols.modbus.points import (
    STRUCT_CODE,
    Order,
    Point,
    PointError,
    Table,
    Value,
    ValueType,
    raw_from_registers,
    raw_from_value,
    registers_from_raw,
    value_from_raw,
)

NUMERIC = [t for t in ValueType if t not in (ValueType.BIT, ValueType.STRING)]


def raws(type_: ValueType) -> st.SearchStrategy[Any]:
    if type_.is_float:
        return st.floats(allow_nan=False, width=32 if type_ is ValueType.F32 else 64)
    bits = 8 * struct.calcsize(STRUCT_CODE[type_])
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if type_.value[0] == "s" else st.integers(0, 2**bits - 1)


@pytest.mark.parametrize(
    ("order", "registers"),
    [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")],
)
def test_orders_mean_what_manuals_mean(order: str, registers: str) -> None:
    point = Point("p", Table.HOLDING, 0, ValueType.U32, order=Order(order))
    assert registers_from_raw(point, 0x12345678).hex() == registers


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("type_", NUMERIC)
@settings(deadline=None)
@given(data=st.data())
def test_raw_round_trip(type_: ValueType, order: Order, data: st.DataObject) -> None:
    raw = data.draw(raws(type_))
    point = Point("p", Table.HOLDING, 0, type_, order=order)
    registers = registers_from_raw(point, raw)
    assert len(registers) == 2 * point.words
    assert raw_from_registers(point, registers) == raw


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), st.sampled_from(["ABCD", "BADC"]))
def test_string_round_trip(text: str, order: str) -> None:
    assume(len(text.encode()) <= 24 and text == text.rstrip())
    point = Point("s", Table.HOLDING, 0, ValueType.STRING, length=12, order=Order(order))
    assert (raw_from_registers(point, registers_from_raw(point, text)) or "") == text


@settings(deadline=None)
@given(
    st.sampled_from([t for t in NUMERIC if not t.is_float]),
    st.data(),
    st.integers(-10, 10),
    st.sampled_from([1.0, 0.1, 0.5, -2.0, 1000.0]),
    st.sampled_from([0.0, -40.0, 273.15]),
)
def test_engineering_values_survive_their_own_scaling(
    type_: ValueType, data: st.DataObject, exponent: int, scale: float, offset: float
) -> None:
    raw = data.draw(raws(type_))
    assume(abs(raw) < 2**40)  # beyond, the offset eats digits of a float64
    assume(exponent > -6 or offset == 0)
    point = Point("p", Table.HOLDING, 0, type_, scale=scale, offset=offset)
    assert raw_from_value(point, value_from_raw(point, raw, exponent), exponent) == raw


def test_unscaled_64_bit_integers_are_exact_and_tenths_are_the_nearest_float() -> None:
    energy = Point("e", Table.HOLDING, 0, ValueType.U64)
    assert value_from_raw(energy, 2**63 + 1) == 2**63 + 1
    assert value_from_raw(Point("v", Table.HOLDING, 0, ValueType.U16), 2301, -1) == 230.1


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"type": ValueType.U16}, 65536),
        ({"type": ValueType.U16}, -1),
        ({"type": ValueType.S16, "sentinels": (0x8000,)}, -32768),
        ({"type": ValueType.U16, "sentinels": (0xFFFF,)}, 65535),
        ({"type": ValueType.F32}, 1e300),
        ({"type": ValueType.U16, "minimum": 10.0}, 9),
        ({"type": ValueType.U16, "maximum": 10.0}, 11),
        ({"type": ValueType.U16}, math.nan),
        ({"type": ValueType.U16}, math.inf),
        ({"type": ValueType.U16}, "7"),
        ({"type": ValueType.STRING, "length": 2}, "12345"),
        ({"type": ValueType.STRING, "length": 2}, 5),
        ({"type": ValueType.BIT, "bit": 3}, 2),
    ],
)
def test_a_value_that_does_not_fit_is_refused_not_clipped(fields: dict[str, Any], value: Value) -> None:
    point = Point("set_point", Table.HOLDING, 0, access="rw", **fields)
    with pytest.raises(PointError, match="set_point"):
        registers_from_raw(point, raw_from_value(point, value))


@pytest.mark.parametrize(
    "fields",
    [
        {"table": Table.COIL, "type": ValueType.U16},
        {"table": Table.HOLDING, "type": ValueType.BIT},
        {"table": Table.HOLDING, "type": ValueType.BIT, "bit": 16},
        {"table": Table.HOLDING, "type": ValueType.U16, "bit": 1},
        {"table": Table.HOLDING, "type": ValueType.STRING},
        {"table": Table.HOLDING, "type": ValueType.STRING, "length": 126},
        {"table": Table.HOLDING, "type": ValueType.STRING, "length": 2, "order": Order.CDAB},
        {"table": Table.HOLDING, "type": ValueType.U32, "address": 0xFFFF},
        {"table": Table.HOLDING, "type": ValueType.U16, "unit": 256},
        {"table": Table.HOLDING, "type": ValueType.U16, "scale": 0.0},
        {"table": Table.HOLDING, "type": ValueType.U16, "minimum": 2.0, "maximum": 1.0},
        {"table": Table.INPUT, "type": ValueType.U16, "access": "rw"},
        {"table": Table.HOLDING, "type": ValueType.U32, "access": "rw", "write_function": 6},
        {"table": Table.HOLDING, "type": ValueType.U16, "write_function": 6},
        {"table": Table.COIL, "type": ValueType.BIT, "access": "rw", "write_function": 16},
        {"table": Table.HOLDING, "type": ValueType.BIT, "bit": 1, "access": "rw", "write_function": 6},
    ],
)
def test_a_point_that_cannot_be_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(PointError, match="'odd'"):
        Point("odd", **{"address": 0, **fields})


def random_points(draw: st.DrawFn) -> list[Point]:
    points, address = [], 0
    for i in range(draw(st.integers(1, 12))):
        type_ = draw(st.sampled_from(list(ValueType)))
        order = Order.ABCD if type_ in (ValueType.BIT, ValueType.STRING) else draw(st.sampled_from(list(Order)))
        bit = draw(st.integers(0, 15)) if type_ is ValueType.BIT else None
        length = draw(st.integers(1, 4)) if type_ is ValueType.STRING else 0
        point = Point(f"p{i}", Table.HOLDING, address, type_, order=order, bit=bit, length=length)
        marks = draw(st.lists(st.integers(0, 2 ** (16 * point.words) - 1), max_size=2)) if type_ is not ValueType.STRING else []
        points.append(Point(f"p{i}", Table.HOLDING, address, type_, order=order, bit=bit, length=length, sentinels=tuple(marks)))
        address += point.words + draw(st.integers(0, 2))
    return points


@settings(deadline=None)
@given(st.data())
def test_bulk_decoding_agrees_with_one_by_one(data: st.DataObject) -> None:
    points = data.draw(st.composite(random_points)())
    payload = data.draw(st.binary(min_size=2 * points[-1].end, max_size=2 * points[-1].end))
    order = data.draw(st.permutations(range(len(points))))
    raw, states, texts = np.zeros(len(points)), np.zeros(len(points), dtype=np.uint8), dict[int, str]()
    BlockDecoder(points, sorted(order), 0).decode(payload, raw, states, texts)
    values = Scaler(points).scale(raw, states)
    for i, point in enumerate(points):
        expected = raw_from_registers(point, payload[2 * point.address : 2 * point.end])
        if expected is None:
            assert states[i] == PointState.NOT_IMPLEMENTED and np.isnan(values[i])
        elif isinstance(expected, str):
            assert texts[i] == expected
        else:
            assert states[i] == PointState.GOOD and values[i] == float(expected)


def test_scale_factor_registers_and_their_sentinels() -> None:
    points = [
        Point("W", Table.HOLDING, 0, ValueType.S16, scale_factor="W_SF", sentinels=(0x8000,)),
        Point("W_SF", Table.HOLDING, 1, ValueType.S16, sentinels=(0x8000,)),
        Point("V", Table.HOLDING, 2, ValueType.U16, scale_factor="V_SF", maximum=240.0),
        Point("V_SF", Table.HOLDING, 3, ValueType.S16, sentinels=(0x8000,)),
    ]
    scaler, decoder = Scaler(points), BlockDecoder(points, range(4), 0)

    def read(*registers: int) -> tuple[list[float], list[int]]:
        raw, states = np.zeros(4), np.zeros(4, dtype=np.uint8)
        decoder.decode(struct.pack(">hhHh", *registers), raw, states, {})
        return list(scaler.scale(raw, states)), list(states)

    assert read(-1234, 1, 2301, -1) == ([-12340.0, 1.0, 230.1, -1.0], [0, 0, 0, 0])
    assert read(5, 0, 2501, -1)[1] == [0, 0, PointState.OUT_OF_LIMITS, 0]
    values, states = read(5, -32768, 2301, 11)  # one factor not implemented, the other out of range
    assert states == [PointState.NOT_IMPLEMENTED, PointState.NOT_IMPLEMENTED, PointState.NOT_IMPLEMENTED, PointState.GOOD]
    assert np.isnan(values[:3]).all()


def test_a_scale_factor_that_is_no_point_is_named() -> None:
    with pytest.raises(PointError, match=r"'W'.*'W_SF'"):
        Scaler([Point("W", Table.HOLDING, 0, ValueType.S16, scale_factor="W_SF")])
