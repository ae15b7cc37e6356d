"""The stand-in RTU on dnp3-python: two implementations of DNP3 that share nothing, both ways in one chain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rtu_bench import METER, RTU, Plant, plant

from hil.devices.process import StandIn, StandInError
from hil.devices.rtu_dnp3_python import find_runner
from protocols.dnp3 import CommandStatus, ControlCode, Crob, Flag, OperateMode

pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")


@pytest.fixture(scope="module", autouse=True)
def runner() -> None:
    try:
        find_runner()
    except OSError as missing:
        pytest.skip(str(missing))


async def check(plant: Plant) -> None:
    scada, breaker = plant.scada, plant.breaker
    breaker.obey = lambda name, value: breaker.show("closed", value != ControlCode.TRIP_PULSE_ON) if name == "trip" else None
    keys = ((1, 0), (30, 0), (30, 1), (20, 0))
    await scada.until(lambda s: all((k in s.seen and (s.seen[k].flags or 0) & Flag.ONLINE) for k in keys), "values", 30.0)
    assert [scada.value(*key) for key in keys] == [True, 12_340, 240, 77], "whole numbers, in steps of the map's scale"

    assert (await scada.master.operate(0, Crob(ControlCode.TRIP_PULSE_ON))).success
    await scada.until(lambda s: s.value(1, 0) is False, "the trip")
    assert breaker.operated == [("trip", ControlCode.TRIP_PULSE_ON, OperateMode.SELECTED)]
    assert (await scada.master.operate(0, 5.0, encoding="f32")).success
    told = await asyncio.to_thread(plant.rtu.wait, "command", point="brk.tap")
    assert told["state"] == "SUCCESS" and breaker.operated[-1] == ("tap", 5.0, OperateMode.DIRECT)
    assert (await scada.master.operate(0, 20.0, encoding="f32")).status is CommandStatus.OUT_OF_RANGE
    assert (await scada.master.operate(0, Crob(ControlCode.PULSE_ON))).status is CommandStatus.NOT_SUPPORTED
    await asyncio.to_thread(lambda: plant.rtu.set(local=True))
    assert (await scada.master.operate(0, Crob(ControlCode.LATCH_ON))).status is CommandStatus.LOCAL
    await asyncio.to_thread(lambda: plant.rtu.set(local=False))

    await asyncio.to_thread(lambda: plant.rtu.order("silence", for_s=1.0))
    plant.meter.show("v_v", 251.0)
    await scada.until(lambda s: s.value(30, 1) == 251, "a value after silence")
    await plant.meter.server.close()
    await scada.until(lambda s: (s.seen[30, 1].flags or 0) & Flag.COMM_LOST, "the loss of the meter")
    assert scada.value(30, 1) == 251 and not (scada.seen[30, 1].flags or 0) & Flag.ONLINE

    scada.seen.clear()
    await asyncio.to_thread(lambda: plant.rtu.order("restart", down_s=0.1))
    await asyncio.to_thread(lambda: plant.rtu.wait("restarted", timeout_s=30.0))
    await scada.until(lambda s: s.value(30, 0) == 12_340, "values after a restart", 30.0)


def test_values_commands_loss_and_restart(tmp_path: Path):
    async def scenario() -> None:
        async with plant(tmp_path, "rtu_dnp3_python") as built:
            await check(built)

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_what_its_outstation_cannot_do_is_said(tmp_path: Path):
    (tmp_path / "mtr.csv").write_text(METER.replace("v_v,analog_input,0,V", "v_v,octet_string,0,"))
    rtu = RTU.splitlines()[0] + "\nmtr.v_v,octet_string,1\n"
    (tmp_path / "rtu.csv").write_text(rtu)
    with pytest.raises(StandInError, match="has no octet strings"):
        StandIn("rtu_dnp3_python", ["--map", str(tmp_path / "rtu.csv"), f"--ied=mtr=127.0.0.1:1={tmp_path / 'mtr.csv'}"])
