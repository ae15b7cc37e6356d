"""We play the device: masters of our own read what the simulation shows, and their commands come back as events."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hil_rig import PERIOD_NS, LoopThread, Sine

from federates.runtime import supervisor
from federates.runtime.federate import MS_NS, S_NS, Companion, Federation, Link, Spec
from hil.bridge import Bridge
from hil.plan import DevicePlan, GatekeeperPlan, Role
from hil.point_csv import parse_map
from hil.points import PointMap
from monitor.results import load
from protocols.dnp3.master import MasterStack
from protocols.dnp3.master_config import MasterConfig
from protocols.dnp3.values import CommandStatus, ControlCode, Crob
from protocols.modbus import Device, Point, Table, TcpAddress, ValueType, WriteState

DNP3_MAP = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,codes,fallback\n"
    "p,plant.p_w,read,analog_input,0,,W,,,,\n"
    "op,plant.switch:sw1,write,binary_output,0,,1,,,trip|close,hold\n"
    "set,plant.tap:r1,write,analog_output,0,i16,1,-16,16,,hold\n"
)
MODBUS_MAP = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,min_interval_s,fallback\n"
    "p,plant.p_w,read,input,0,f32,W,,,,\n"
    "set,plant.tap:r1,write,holding,5,s16,1,-16,16,0.3,hold\n"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def federation(tmp_path: Path, role: Role, points: PointMap, port: int, stop_s: float = 6.0) -> Federation:
    device = DevicePlan("ied", role, f"127.0.0.1:{port}", points, PERIOD_NS, silence_ns=400 * MS_NS, stale_ns=200 * MS_NS)
    plan = GatekeeperPlan("ied", (device,), tmp_path / "EMERGENCY_STOP")
    specs = (
        Spec("plant", "hil_rig:Plant", Sine(str(tmp_path / "pid"))),
        Spec("ied", "hil.bridge:BridgeFederate", Bridge("ied", points, role, PERIOD_NS, 200 * MS_NS, 400 * MS_NS)),
    )
    companions = (Companion("gate_ied", "hil.gatekeeper:serve", plan),)
    links = (Link("plant", "p_w", "ied", "p_w"),)
    return Federation("rig", round(stop_s * S_NS), specs, links, real_time=True, companions=companions)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(autouse=True)
def _key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDTANDEM_AUDIT_KEY", str(tmp_path / "key.pem"))


async def _dnp3_scene(port: int, running: Callable[[], bool]) -> tuple[list[float], list[CommandStatus]]:
    values: list[float] = []
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("scada", port=port, outstation=10, response_timeout_s=1.0, reconnect_s=(0.1, 0.2)))
        while not running():
            await asyncio.sleep(0.05)
        await asyncio.wait_for(master.connected(), 20.0)
        await master.integrity()
        results = [
            await master.operate(0, Crob(ControlCode.TRIP_PULSE_ON, 1, 100, 100)),
            await master.operate(0, Crob(ControlCode.LATCH_ON, 1, 100, 100)),
            await master.operate(0, 7, encoding="i16"),
            await master.operate(0, 99, encoding="i16"),
        ]
        for _ in range(20):
            await master.scan((1, 2, 3))
            values += [report.value for report in master.handover.take() if report.group in (30, 32)]  # type: ignore[misc]
            await asyncio.sleep(0.05)
    return values, [result.status for result in results]


def test_a_dnp3_master_sees_the_simulation_and_commands_it(tmp_path: Path, loop: LoopThread) -> None:
    port = free_port()
    scene = asyncio.run_coroutine_threadsafe(_dnp3_scene(port, (tmp_path / "pace.json").exists), loop.loop)
    outcome = supervisor.run(federation(tmp_path, Role.OUTSTATION, DNP3_MAP, port), tmp_path, "local")
    assert outcome.exit_code == 0, outcome.message
    values, statuses = scene.result(10.0)
    assert statuses == [CommandStatus.SUCCESS, CommandStatus.NOT_SUPPORTED, CommandStatus.SUCCESS, CommandStatus.OUT_OF_RANGE]
    assert len(set(values)) > 10 and all(500.0 <= value <= 1500.0 for value in values if value)
    sent = [row["payload"] for row in load(tmp_path).event_rows() if row["source"] == "ied.to_plant"]
    assert sent == [{"action": "open_switch", "switch": "sw1"}, {"action": "set_tap", "regulator": "r1", "tap": 7}]
    assert (tmp_path / "hil" / "ied.pcap").stat().st_size > 1000


async def _modbus_scene(port: int, running: Callable[[], bool]) -> tuple[list[float], list[WriteState]]:
    points = [
        Point("p", Table.INPUT, 0, ValueType.F32),
        Point("set", Table.HOLDING, 5, ValueType.S16, access="rw"),
    ]
    device = Device("ied", TcpAddress("127.0.0.1", port), points)
    while not running():
        await asyncio.sleep(0.05)
    values = []
    for _ in range(20):
        readings = await device.cycle(0.5)
        values.append(float(readings.values[0]))
        await asyncio.sleep(0.05)
    states = []
    for value, pause_s in ((7, 0.0), (8, 0.0), (-99, 0.5)):  # the second is too soon, the third outside the limits
        await asyncio.sleep(pause_s)
        (result,) = await device.write(1, {"set": value})
        states.append(result.state)
    device.close()
    return values, states


def test_a_modbus_client_sees_the_simulation_and_commands_it(tmp_path: Path, loop: LoopThread) -> None:
    port = free_port()
    scene = asyncio.run_coroutine_threadsafe(_modbus_scene(port, (tmp_path / "pace.json").exists), loop.loop)
    outcome = supervisor.run(federation(tmp_path, Role.SERVER, MODBUS_MAP, port), tmp_path, "local")
    assert outcome.exit_code == 0, outcome.message
    values, states = scene.result(10.0)
    assert len(set(values)) > 10 and all(500.0 <= value <= 1500.0 for value in values[3:])
    assert states == [WriteState.DONE, WriteState.REFUSED, WriteState.REFUSED]
    sent = [row["payload"] for row in load(tmp_path).event_rows() if row["source"] == "ied.to_plant"]
    assert sent == [{"action": "set_tap", "regulator": "r1", "tap": 7}]


@pytest.mark.parametrize(("role", "points"), [(Role.OUTSTATION, DNP3_MAP), (Role.SERVER, MODBUS_MAP)])
def test_a_port_in_use_is_exit_code_4(role: Role, points: PointMap, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        began_s = time.monotonic()
        outcome = supervisor.run(federation(tmp_path, role, points, port), tmp_path, "local")
    assert outcome.exit_code == 4 and f"127.0.0.1:{port}" in outcome.message and "in use" in outcome.message
    assert time.monotonic() - began_s < 20.0
