"""The stand-in meter on a pseudo terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hil.devices.meter import METER_MAP
from hil.devices.process import StandIn, StandInError
from hil.point_csv import map_text, parse_map
from hil.point_modbus import modbus_points
from protocols.modbus import Device, Function, Link, PointState, SerialAddress
from protocols.modbus.pdu import Read


def run(meter: StandIn, test: Callable[[Device, dict[str, int]], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        line = SerialAddress(meter.ready["path"], meter.ready["baud"], "N", 2)
        points = modbus_points(parse_map(map_text(METER_MAP)))
        device = Device("meter", line, points, timeout_s=0.5)
        try:
            await test(device, {point.name: i for i, point in enumerate(points)})
        finally:
            device.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_it_measures_what_it_is_told_and_counts_energy_and_time():
    async def scenario(device: Device, at: dict[str, int]) -> None:
        meter.set(v_a_v=241.5, p_a_w=1e6, p_b_w=0, p_c_w=0, q_a_var=0, q_b_var=0, q_c_var=0)
        before = await device.cycle(2.0)
        assert before.values[at["v_a_v"]] == 241.5 and before.values[at["pf"]] == 1.0
        assert abs(before.values[at["clock_s"]] - time.time()) < 3
        meter.order("clock", jump_s=-7200)
        await asyncio.sleep(0.3)
        after = await device.cycle(2.0)
        assert after.values[at["energy_wh"]] > before.values[at["energy_wh"]]
        assert abs(after.values[at["clock_s"]] - (time.time() - 7200)) < 3
        meter.set(p_a_w=0)
        assert (await device.cycle(2.0)).states[at["pf"]] == PointState.NOT_IMPLEMENTED

    with StandIn("meter") as meter:
        run(meter, scenario)


def test_its_line_is_as_slow_as_its_baud_rate():
    """100 registers: 8 octets out, 205 back, 3.5 characters of silence before each; 11 bits a character."""

    async def scenario(device: Device, _: dict[str, int]) -> None:
        link = Link(device.link.address, timeout_s=3.0)
        await link.connect()
        began_s = time.monotonic()
        await link.request(1, Read(Function.READ_INPUT_REGISTERS, 0, 26))
        took_s = time.monotonic() - began_s
        link.close()
        on_the_line_s = (8 + 57 + 2 * 3.5) * 11 / 2400
        assert on_the_line_s <= took_s < on_the_line_s + 0.25

    with StandIn("meter", ["--baud", "2400"]) as meter:
        run(meter, scenario)


def test_faults_to_order():
    async def scenario(device: Device, at: dict[str, int]) -> None:
        async def good() -> None:
            async with asyncio.timeout(10):
                while (await device.cycle(2.0)).states.any():
                    await asyncio.sleep(0.1)

        await good()
        for fault in ("short", "garbage", "silence"):
            meter.order(fault, count=1)
            assert (await device.cycle(2.0)).states.any(), fault
            await good()
        meter.order("restart", down_s=0.5)
        assert (await device.cycle(0.4)).states.all(), "deaf and mute"
        await asyncio.to_thread(meter.wait, "restarted")
        await good()

    with StandIn("meter") as meter:
        run(meter, scenario)


def test_a_wrong_order_changes_nothing_and_the_process_goes_on():
    with StandIn("meter") as meter:
        for values in ({"volts": 1}, {"v_a_v": "high"}, {"v_a_v": 1e12}):
            with pytest.raises(StandInError, match=r"the meter has no volts|v_a_v is"):
                meter.set(**values)
        with pytest.raises(StandInError, match="there is no fault 'fire'"):
            meter.order("fire")
        assert meter.get()["v_a_v"] == 240.0


@pytest.mark.parametrize("arguments", [["--baud", "5"], ["--unit", "300"]])
def test_wrong_options_are_a_usage_error(arguments: list[str]):
    with pytest.raises(StandInError, match=r"ended with exit code 2: meter: .*(give 300|not in 1\.\.247)"):
        StandIn("meter", arguments)


def test_it_ends_with_its_owner():
    meter = StandIn("meter")
    process = meter._process
    process.stdin.close()
    assert process.wait(5) == 0
    meter.close()
