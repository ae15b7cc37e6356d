"""The stand-in RTU between real sockets: IEDs below, SCADA above."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from rtu_bench import BREAKER, METER, RTU, Plant, plant

from hil.devices.process import StandIn, StandInError
from protocols.dnp3 import CommandStatus, ControlCode, Crob, Flag, OperateMode

pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")


def run(folder: Path, test: Callable[[Plant], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        async with plant(folder) as built:
            await test(built)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def online(plant: Plant) -> Callable[[object], bool]:
    keys = ((1, 0), (30, 0), (30, 1), (20, 0))
    return lambda scada: all(key in scada.seen and (scada.seen[key].flags or 0) & Flag.ONLINE for key in keys)


def test_values_quality_and_time_pass_up(tmp_path: Path) -> None:
    async def scenario(plant: Plant) -> None:
        scada = plant.scada
        await scada.until(online(plant), "a first value of every point")
        assert [scada.value(*key) for key in ((1, 0), (30, 0), (30, 1), (20, 0))] == [True, 12_340.0, 240.25, 77]
        assert scada.value(30, 0) == 12_340.0, "123.4 kW in steps of 10 W, where the IED has steps of 100 W"
        plant.breaker.show("closed", False, time_ms=1_750_000_000_123, flags=Flag.ONLINE | Flag.LOCAL_FORCED)
        await scada.until(lambda s: s.value(1, 0) is False, "the change of the breaker")
        event = scada.seen[1, 0]
        assert event.event and event.time_ms == 1_750_000_000_123, "the time that the IED gave it"
        assert event.flags == Flag.ONLINE | Flag.LOCAL_FORCED

    run(tmp_path, scenario)


def test_commands_pass_down_and_their_effect_comes_up(tmp_path: Path) -> None:
    async def scenario(plant: Plant) -> None:
        scada, breaker = plant.scada, plant.breaker
        breaker.obey = lambda name, value: breaker.show("closed", value != ControlCode.TRIP_PULSE_ON) if name == "trip" else None
        await scada.until(online(plant), "a first value of every point")
        result = await scada.master.operate(0, Crob(ControlCode.TRIP_PULSE_ON))
        assert result.success
        await scada.until(lambda s: s.value(1, 0) is False, "the trip")
        assert breaker.operated == [("trip", ControlCode.TRIP_PULSE_ON, OperateMode.SELECTED)]
        assert (await scada.master.operate(0, Crob(ControlCode.LATCH_ON), select=False)).success
        await scada.until(lambda s: s.value(1, 0) is True, "the closing")
        assert breaker.operated[-1][1] == ControlCode.CLOSE_PULSE_ON, "as the IED takes it"
        assert (await scada.master.operate(0, 5.0, encoding="f32")).success
        told = await asyncio.to_thread(plant.rtu.wait, "command", point="brk.tap")
        assert told["state"] == "SUCCESS" and breaker.operated[-1] == ("tap", 5.0, OperateMode.DIRECT)

    run(tmp_path, scenario)


def test_what_cannot_be_carried_out_is_refused(tmp_path: Path) -> None:
    async def scenario(plant: Plant) -> None:
        scada, breaker = plant.scada, plant.breaker
        await scada.until(online(plant), "a first value of every point")
        beyond = await scada.master.operate(0, 20.0, encoding="f32")
        assert beyond.status is CommandStatus.OUT_OF_RANGE, "within the RTU's limits, and beyond the IED's"
        assert (await scada.master.operate(0, Crob(ControlCode.PULSE_ON))).status is CommandStatus.NOT_SUPPORTED
        plant.rtu.set(local=True)
        assert (await scada.master.operate(0, Crob(ControlCode.LATCH_ON))).status is CommandStatus.LOCAL
        plant.rtu.set(local=False)
        breaker.status = CommandStatus.HARDWARE_ERROR
        assert (await scada.master.operate(0, Crob(ControlCode.LATCH_ON))).success, "taken"
        told = await asyncio.to_thread(plant.rtu.wait, "command", point="brk.trip")
        assert told["status"] == "HARDWARE_ERROR", "and not carried out"
        assert breaker.operated == []
        await breaker.server.close()
        await scada.until(lambda s: (s.seen[1, 0].flags or 0) & Flag.COMM_LOST, "the loss of the breaker")
        assert (await scada.master.operate(0, Crob(ControlCode.LATCH_ON))).status is CommandStatus.DOWNSTREAM_FAIL

    run(tmp_path, scenario)


def test_an_ied_that_is_lost_keeps_its_values_without_quality_and_comes_back(tmp_path: Path) -> None:
    async def scenario(plant: Plant) -> None:
        scada = plant.scada
        await scada.until(online(plant), "a first value of every point")
        await plant.meter.server.close()
        await scada.until(lambda s: (s.seen[30, 1].flags or 0) & Flag.COMM_LOST, "the loss of the meter")
        assert scada.value(30, 1) == 240.25 and not (scada.seen[30, 1].flags or 0) & Flag.ONLINE
        assert (scada.seen[1, 0].flags or 0) & Flag.ONLINE, "the other IED is not concerned"
        await plant.meter.start(11, plant.ports["mtr"])
        plant.meter.show("v_v", 241.5)
        plant.meter.show("energy_wh", 78)
        await scada.until(lambda s: s.value(30, 1) == 241.5, "its return")
        assert (scada.seen[30, 1].flags or 0) & Flag.ONLINE

    run(tmp_path, scenario)


def test_faults_to_order(tmp_path: Path) -> None:
    async def scenario(plant: Plant) -> None:
        scada, rtu = plant.scada, plant.rtu
        await scada.until(online(plant), "a first value of every point")
        for fault in ("short", "garbage", "silence", "order"):
            rtu.order(fault, for_s=1.0)
            plant.meter.show("v_v", value := scada.value(30, 1) + 1.0)
            await scada.until(lambda s, value=value: s.value(30, 1) == value, f"a value after {fault}", timeout_s=20.0)
        rtu.order("slow", delay_s=0.3, for_s=2.0)
        began_s = time.monotonic()
        await scada.master.scan((1,))
        assert time.monotonic() - began_s >= 0.3
        rtu.order("none")
        rtu.order("clock", jump_s=-86_400)
        plant.meter.show("energy_wh", 100)
        await scada.until(lambda s: s.value(20, 0) == 100, "a counter")
        rtu.order("restart", down_s=0.2)
        await asyncio.to_thread(rtu.wait, "restarted")
        scada.seen.clear()
        await scada.until(online(plant), "every value after a restart")
        assert scada.value(30, 0) == 12_340.0

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda text: text.replace("brk.closed", "brk.open"), "rtu.csv:2: name: IED 'brk' has no row 'open'"),
        (lambda text: text.replace("mtr.v_v", "met.v_v"), "rtu.csv:4: name: there is no IED 'met'"),
        (
            lambda text: text.replace("brk.closed,binary_input,0", "brk.closed,analog_input,9"),
            "rtu.csv:2: table: is read binary_input there",
        ),
        (lambda text: text.replace("latch_off|", "latch_of|"), "rtu.csv:6: codes: 'latch_of' is not known"),
    ],
)
def test_a_bad_map_is_told_with_its_line(tmp_path: Path, edit: Callable[[str], str], said: str) -> None:
    for file, text in (("brk.csv", BREAKER), ("mtr.csv", METER), ("rtu.csv", edit(RTU))):
        (tmp_path / file).write_text(text)
    ieds = [f"--ied=brk=127.0.0.1:1/10={tmp_path / 'brk.csv'}", f"--ied=mtr=127.0.0.1:1/11={tmp_path / 'mtr.csv'}"]
    with pytest.raises(StandInError, match="ended with exit code 2") as caught:
        StandIn("rtu", ["--map", str(tmp_path / "rtu.csv"), *ieds])
    assert said in str(caught.value)
