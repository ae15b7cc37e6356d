"""The clock of a Modbus device, by the row of its map that shows it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hil_rig import ModbusDevice
from hypothesis import given
from hypothesis import strategies as st

from hil.clock import DeviceClock, RegisterClock
from hil.devices.meter import METER_MAP
from hil.devices.process import StandIn
from hil.drivers.modbus_client import ModbusClient
from hil.plan import DevicePlan, Role
from hil.point_csv import map_text, parse_map
from hil.point_modbus import map_point
from hil.points import MapError, MapPoint, PointTable
from protocols.modbus import Point, SerialAddress, Table, TcpAddress, ValueType

HOUR_NS = 3600 * 10**9
EPOCH_2000_S = 946_684_800
"""1 January 2000, 00:00 UTC, since 1970: 10,957 days."""


def row(clock: str = "1970", scale: float = 1.0) -> MapPoint:
    return MapPoint("now", PointTable.HOLDING, 0, type="u64", unit="s", clock=clock, scale=scale)


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from((1.0, 0.001)),
    st.sampled_from(("1970", "2000")),
    st.lists(st.tuples(st.integers(1, 2 * 10**9), st.integers(0, 10**8), st.integers(0, 10**8)), min_size=1, max_size=30),
)
def test_the_true_offset_lies_within_the_uncertainty(
    offset_us: int, scale: float, epoch: str, exchanges: list[tuple[int, int, int]]
) -> None:
    clock = DeviceClock()
    register = RegisterClock(row(epoch, scale), clock)
    mono_ns, ahead_ns, step_ns = 10**12, 17 * 10**17, round(scale * 1e9)
    for wait_ns, out_ns, back_ns in exchanges:
        mono_ns += wait_ns
        register.exchanged(mono_ns, mono_ns + out_ns + back_ns + 1000)
        device_ns = mono_ns + out_ns + ahead_ns + 1000 * offset_us - (EPOCH_2000_S * 10**9 if epoch == "2000" else 0)
        register.read(device_ns // step_ns * scale, mono_ns + out_ns + back_ns, ahead_ns)
        found = clock.offset
        assert found is not None and abs(found.offset_ns - 1000 * offset_us) <= found.uncertainty_ns + 1000
        mono_ns += out_ns + back_ns
    assert clock.jumps == 0


def test_looked_at_often_a_second_hand_tells_tenths_and_a_late_register_is_no_jump() -> None:
    clock = DeviceClock()
    register = RegisterClock(row(), clock)
    for k in range(40):
        t_ns = 10**12 + k * 10**8
        register.exchanged(t_ns, t_ns + 2_000_000)
        register.read(t_ns // 10**9, t_ns + 1_000_000, 0)
    found = clock.offset
    assert found is not None and found.uncertainty_ns < 60_000_000 and abs(found.offset_ns) <= found.uncertainty_ns
    t_ns = 10**12 + 5 * 10**9 + 150_000_000
    register.exchanged(t_ns, t_ns + 2_000_000)
    register.read(t_ns // 10**9 - 1, t_ns + 1_000_000, 0)  # 150 ms after the second, and the register has not heard of it
    found = clock.offset
    assert clock.jumps == 0 and found is not None and abs(found.offset_ns) <= found.uncertainty_ns < 10**9
    register.exchanged(t_ns + 10, t_ns + 20)
    register.read(t_ns // 10**9 + 3600, t_ns + 15, 0)
    found = clock.offset
    assert clock.jumps == 1 and found is not None and found.offset_ns == pytest.approx(HOUR_NS, abs=10**9)


def test_an_exchange_in_which_our_own_clock_was_set_back_says_nothing() -> None:
    clock, now_ns = DeviceClock(), 17 * 10**17
    clock.saw(now_ns, now_ns + 2 * 10**9, now_ns + 10**9, 10**6)
    assert clock.offset is None
    clock.saw(now_ns, now_ns - 10**6, now_ns + 10**6, 10**6)
    assert clock.offset is not None and clock.offset.uncertainty_ns > 0 and clock.jumps == 0


def client(points: str, address: object) -> ModbusClient:
    plan = DevicePlan("dev", Role.CLIENT, "/dev/x", parse_map(points), 200_000_000)
    return ModbusClient(plan, address, lambda *row: None)  # type: ignore[arg-type]


def test_the_meter_is_an_hour_behind_once_it_is_told_to_be() -> None:
    async def scenario(meter: StandIn) -> None:
        line = SerialAddress(meter.ready["path"], meter.ready["baud"], "N", 2)
        device = client(map_text(METER_MAP), line)
        assert device.clock is None
        for expected_ns in (0, -HOUR_NS):
            end_s = time.monotonic() + 2.0
            while time.monotonic() < end_s:
                await device.cycle(0.5)
            assert device.clock is not None
            offset_ns, uncertainty_ns = device.clock
            assert abs(offset_ns - expected_ns) <= uncertainty_ns + 10_000_000, "its register is written once in a while"
            assert 0 < uncertainty_ns < 600_000_000
            meter.order("clock", jump_s=-3600)
        await device.close()

    with StandIn("meter") as meter:
        asyncio.run(scenario(meter))


def test_a_device_that_shows_no_clock_has_none(tmp_path: Path) -> None:
    device = ModbusDevice(tmp_path / "wire.pcap")
    try:

        async def scenario() -> None:
            host, port = device.address.split(":")
            reader = client("name,table,address,type\na,holding,0,u16\n", TcpAddress(host, int(port)))
            cycle = await reader.cycle(0.5)
            assert cycle.answered and reader.clock is None
            await reader.close()

        asyncio.run(scenario())
    finally:
        device.close()


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ("holding,0,f32,s,1970,read,,,", "clock", "needs a whole number"),
        ("holding,0,u32,W,1970,read,,,", "unit", "a clock counts seconds, not W"),
        ("holding,0,u32,s,1970,write,0,9,hold", "clock", "is read here, not set"),
        ("holding,0,u32,s,1980,read,,,", "clock", "is not known"),
        ("analog_input,0,,s,1970,read,,,", "clock", "belongs to modbus"),
    ],
)
def test_a_clock_that_cannot_be_one_is_named(cells: str, column: str, words: str) -> None:
    with pytest.raises(MapError) as error:
        parse_map(f"name,table,address,type,unit,clock,direction,min,max,fallback\nnow,{cells}\n", "m.csv")
    (problem,) = [str(each) for each in error.value.problems]
    assert problem.startswith(f"m.csv:2: {column}: ") and words in problem


def test_the_clock_of_sunspec_is_known() -> None:
    found = map_point(Point("122.Tms", Table.HOLDING, 40_100, ValueType.U32, unit_of_measure="Secs"), "u1.")
    assert (found.clock, found.unit) == ("2000", "s")
    assert map_point(Point("707.Tms", Table.HOLDING, 40_100, ValueType.U32, unit_of_measure="Secs")).clock == ""
