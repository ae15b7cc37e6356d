"""A device that is lost and comes back in a live run that goes on: with real processes, judged by a capture beside the device."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hil_rig import FALLBACK_W, ModbusDevice, Run

from hil.devices.inverter_map import inverter_map
from hil.devices.process import StandIn
from hil.point_csv import map_text
from hil.presence import SILENT_POLLS, Presence

MS_NS = 1_000_000
POWER = 10


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ModbusDevice]:
    wired = ModbusDevice(tmp_path / "wire.pcap")
    yield wired
    wired.close()


@pytest.fixture
def bench(tmp_path: Path, device: ModbusDevice) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(**setup: Any) -> Run:
        runs.append(Run(tmp_path / f"run{len(runs)}", **{"address": device.address, **setup}))
        runs[-1].wait_until_running()
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def until(done: Callable[[], bool], limit_s: float = 8.0) -> None:
    end_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def powers(device: ModbusDevice, since_ns: int) -> list[int]:
    """What was written to `power` since then."""
    return [value for t_ns, _, address, value in device.writes() if t_ns > since_ns and address == POWER]


def is_live(device: ModbusDevice) -> Callable[[], bool]:
    return lambda: len(powers(device, 0)) > 3


# -- what counts as lost


def polled(presence: Presence, t_ms: int, **seen: Any) -> str:
    return presence.polled(**{"answered": True, "connected": True, "hang_ups": 1, "error": "", "now_ns": t_ms * MS_NS, **seen})


def test_a_connection_that_was_made_anew_between_two_looks_was_lost():
    presence = Presence(400 * MS_NS, 0)
    presence.met(1, 0)
    assert polled(presence, 50) == "" and "is there again" in polled(presence, 100, hang_ups=2)
    assert presence.is_lost and polled(presence, 150, hang_ups=2) == "" and not presence.is_lost
    assert polled(presence, 200, hang_ups=2) == ""


def test_silence_counts_after_its_time_and_some_polls():
    presence = Presence(400 * MS_NS, 0)
    presence.met(1, 0)
    assert polled(presence, 5000, answered=False) == "", "this process itself was held up: one poll is no silence"
    assert [bool(polled(presence, 5050 + k, answered=False)) for k in range(SILENT_POLLS)] == [False, True, False]
    assert presence.is_lost, "and it is said once"
    assert polled(presence, 6000, answered=False) == "" and polled(presence, 6050) == "" and not presence.is_lost


def test_a_device_that_was_never_met_is_not_lost_again():
    presence = Presence(400 * MS_NS, 0)
    assert polled(presence, 9000, answered=False, connected=False, hang_ups=0) == ""


# -- with processes


def test_silence_without_a_disconnect_ends_the_run_named(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench()
    until(is_live(device))
    device.mute(muted=True)
    outcome = run.outcome()
    assert outcome["exit_code"] == 4 and "no answer for" in outcome["message"] and "silence_s" in outcome["message"]


def test_a_device_that_comes_back_gets_the_fallback_it_missed_and_stays_safe(
    device: ModbusDevice, bench: Callable[..., Run]
) -> None:
    run = bench(on_fault="continue", stop_s=9.0)
    until(is_live(device))
    device.cut()
    time.sleep(2.8)  # longer than the gatekeeper tries at once
    back_ns = time.time_ns()
    device.restore()
    assert run.outcome()["exit_code"] == 0
    assert powers(device, back_ns) == [FALLBACK_W], "the fallback, once, and nothing after it"
    assert int.from_bytes(device.bank.read(device_table(), POWER, 1), "big") == FALLBACK_W
    rows = [row for row in run.audit() if row["kind"] == "fallback" and row["point"] == "power"]
    assert [row["outcome"] == "ok" for row in rows] == [False, True]
    assert sum(row["kind"] == "armed" for row in run.audit()) == 1


def device_table() -> Any:
    from protocols.modbus import Table

    return Table.HOLDING


def test_a_device_that_restarts_between_two_polls_is_not_commanded_on(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(on_fault="continue", stop_s=7.0)
    until(is_live(device))
    struck_ns = time.time_ns()
    device.hang_up()
    assert run.outcome()["exit_code"] == 0
    fall = next(row for row in run.audit() if row["kind"] == "fall")
    assert "the connection was lost" in fall["cause"]
    after = powers(device, struck_ns)
    assert after[-1] == FALLBACK_W and after.count(FALLBACK_W) == 1 and len(after) <= 3


def test_rearm_goes_on_under_the_same_lease(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(on_fault="continue", on_reconnect="rearm", stop_s=60.0, lease_s=9.0)
    until(is_live(device))
    device.cut()
    time.sleep(1.0)
    back_ns = time.time_ns()
    device.restore()
    until(lambda: len(powers(device, back_ns)) > 4)
    assert powers(device, back_ns)[0] == FALLBACK_W, "the fallback comes first"
    assert FALLBACK_W not in powers(device, back_ns)[1:5]
    until(lambda: sum(row["kind"] == "fall" for row in run.audit()) == 2, 14.0)
    armed = [row for row in run.audit() if row["kind"] == "armed"]
    assert [row.get("again", False) for row in armed] == [False, True] and armed[1]["lease_s"] < armed[0]["lease_s"] - 1.0
    assert "lease of A Tester is over" in [row for row in run.audit() if row["kind"] == "fall"][1]["cause"]
    over_ns = time.time_ns()
    device.cut()
    time.sleep(0.5)
    device.restore()
    time.sleep(1.5)
    assert set(powers(device, over_ns)) <= {FALLBACK_W}, "a lease that is over is not taken up again"
    assert sum(row["kind"] == "armed" for row in run.audit()) == 2


def test_rearm_does_not_outlive_an_emergency_stop(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(on_fault="continue", on_reconnect="rearm", stop_s=60.0)
    until(is_live(device))
    device.cut()
    time.sleep(0.6)
    run.stop_file.touch()
    back_ns = time.time_ns()
    device.restore()
    assert run.outcome()["exit_code"] == 4
    assert set(powers(device, back_ns)) <= {FALLBACK_W}


def test_a_gatekeeper_that_was_held_sends_nothing_when_it_wakes_after_its_lease(
    device: ModbusDevice, bench: Callable[..., Run]
) -> None:
    run = bench(lease_s=4.0)
    until(is_live(device))
    gatekeeper = run.gatekeeper_pid
    os.kill(gatekeeper, signal.SIGSTOP)
    time.sleep(4.0)
    woken_ns = time.time_ns()
    os.kill(gatekeeper, signal.SIGCONT)
    until(lambda: bool(powers(device, woken_ns)))
    time.sleep(0.3)
    assert powers(device, woken_ns) == [FALLBACK_W]


REVERT_S = 3.0


def test_the_inverters_own_timer_acts_when_the_gatekeeper_is_killed(bench: Callable[..., Run]) -> None:
    """Against kill -9 of the gatekeeper itself stands the device: SunSpec 704, WMaxLimPctRvrtTms. The run ends named."""
    points = map_text(inverter_map())
    limit = [["p_limit_pct", 40.0], ["p_limit_revert_s", REVERT_S], ["p_limit_on", 1.0]]
    with StandIn("inverter") as inverter:
        inverter.set(available_w=45_000.0)
        run = bench(
            map=points,
            address=f"127.0.0.1:{inverter.ready['port']}",
            # renewed once a second, as a master does that relies on the timer
            commands=[(1.0 + k, {"action": "set_points", "values": limit}) for k in range(25)],
            period_ns=100 * MS_NS,
        )
        until(lambda: inverter.get()["p_w"] < 21_000.0, 15.0)
        time.sleep(REVERT_S + 0.5)
        assert inverter.get()["p_w"] < 21_000.0, "the timer runs anew with every command"
        os.kill(run.gatekeeper_pid, signal.SIGKILL)
        struck_s = time.monotonic()
        outcome = run.outcome()
        assert outcome["exit_code"] == 4 and "gate_dev" in outcome["message"] and "SIGKILL" in outcome["message"]
        until(lambda: inverter.get()["p_w"] > 44_000.0, REVERT_S + 3.0)
        assert time.monotonic() - struck_s < REVERT_S + 1.0
