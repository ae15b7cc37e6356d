"""The stand-in relay between real sockets: when it picks up, drops out and trips, and what blocks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from federates.runtime.federate import S_NS
from hil.devices.process import StandIn, StandInError
from hil.point_csv import parse_map

pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")

from rtu_bench import IedDevice

from protocols.dnp3 import CommandStatus, ControlCode, Flag

BAY = """\
name,table,address,direction,codes,fallback,deadband,class,unit
f,analog_input,0,,,,0.002,1,Hz
trip1,binary_output,0,write,trip,hold,,,
"""
OWN = "name,table,address,unit\nbay.f,analog_input,0,Hz\n"
DELAY_S = 0.3


@asynccontextmanager
async def relay(folder: Path, *options: str) -> AsyncIterator[tuple[IedDevice, StandIn]]:
    """A bay at 60 Hz, and the relay that looks at it."""
    bay = IedDevice(parse_map(BAY))
    port = await bay.start()
    bay.show("f", 60.0)
    (folder / "bay.csv").write_text(BAY)
    (folder / "relay.csv").write_text(OWN)
    arguments = ["--map", str(folder / "relay.csv"), f"--ied=bay=127.0.0.1:{port}/10={folder / 'bay.csv'}", "--poll", "0.05"]
    arguments += ["--measures", "bay.f", "--trips", "bay.trip1", "--pickup", "59.5", "--delay", str(DELAY_S), *options]
    device = await asyncio.to_thread(StandIn, "relay", arguments)
    try:
        await asyncio.sleep(0.5)
        yield bay, device
    finally:
        await asyncio.to_thread(device.close)
        await bay.server.close()


def test_it_trips_once_after_its_definite_time(tmp_path: Path) -> None:
    async def scene() -> None:
        async with relay(tmp_path) as (bay, device):
            bay.show("f", 59.4)
            begun_s = time.monotonic()
            said = await asyncio.to_thread(device.wait, "operate", timeout_s=5.0)
            assert said["after_s"] == pytest.approx(DELAY_S, abs=0.1)
            assert await asyncio.to_thread(device.wait, "command", timeout_s=5.0) == {
                "what": "command",
                "point": "bay.trip1",
                "status": "SUCCESS",
            }
            assert DELAY_S < time.monotonic() - begun_s < DELAY_S + 1.0
            bay.show("f", 60.0)
            await asyncio.sleep(0.3)
            bay.show("f", 59.0)
            await asyncio.sleep(2 * DELAY_S)
            assert [(name, code) for name, code, _ in bay.operated] == [("trip1", ControlCode.TRIP_PULSE_ON)]

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_dip_that_is_too_short_or_a_value_that_is_not_good_trips_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        async with relay(tmp_path) as (bay, device):
            bay.show("f", 59.4)
            await asyncio.to_thread(device.wait, "pickup", timeout_s=5.0)
            bay.show("f", 59.51)  # above the pickup, below the dropout: it goes on
            await asyncio.sleep(0.1)
            bay.show("f", 59.6)
            await asyncio.to_thread(device.wait, "dropout", timeout_s=5.0)
            bay.show("f", 50.0, flags=Flag.COMM_LOST)
            await asyncio.sleep(2 * DELAY_S)
            assert bay.operated == []
            state = await asyncio.to_thread(device.get)
            assert state["operated"] is False and state["picked_up"] is False

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_trip_that_is_not_taken_is_tried_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with relay(tmp_path) as (bay, device):
            bay.status = CommandStatus.ALREADY_ACTIVE
            bay.show("f", 59.4)
            await asyncio.to_thread(device.wait, "operate", timeout_s=5.0)
            await asyncio.sleep(0.4)
            bay.status = CommandStatus.SUCCESS
            assert (await asyncio.to_thread(device.wait, "command", timeout_s=5.0))["status"] == "SUCCESS"
            assert len(bay.operated) == 1

    asyncio.run(asyncio.wait_for(scene(), 30))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--measures", "bay.g", "its own map shows no such row"),
        ("--trips", "bay.f", "no IED has such a control"),
        ("--delay", "-1", "--delay 0"),
    ],
)
def test_what_it_cannot_do_is_told(tmp_path: Path, option: str, value: str, message: str) -> None:
    async def scene() -> None:
        async with relay(tmp_path, option, value):
            raise AssertionError("it started")

    with pytest.raises(StandInError, match=message):
        asyncio.run(asyncio.wait_for(scene(), 30))


@pytest.mark.slow
def test_the_bench_with_a_relay_on_the_wire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In real time with machine dynamics: the relay's stage operates within half a second of the simulated one beside it."""
    pytest.importorskip("andes", reason="needs ANDES: pip install 'gridtandem[dynamics]'")
    import run_cosim
    from monitor.results import load

    code = run_cosim.main(["run", "relay_bench", "--out", str(tmp_path), "--quiet"])
    (run_dir,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert code == 0, capsys.readouterr()
    rows = [row for row in load(run_dir).event_rows() if row["payload"].get("event") == "relay_operate"]
    at_ns = {(row["source"], row["payload"]["stage"]): row["payload"]["t_relay_ns"] for row in rows}
    late_s = (at_ns["relays16.soe", "ufls:1"] - at_ns["relays15.soe", "ufls:1"]) / S_NS
    assert 0.0 < late_s < 0.5
