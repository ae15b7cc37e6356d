"""The gatekeeper with real processes: a device on the wire, a solver, a supervisor; judged by a capture beside the device."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hil_rig import FALLBACK_W, Dnp3Device, ModbusDevice, Run

from federates.runtime.port import Quality
from hil.audit_verify import verify_run
from monitor.results import load
from protocols.dnp3.application import Function
from protocols.pcap import read_segments

LIMIT_S = 0.25
POWER, VALVE, LIMIT, HAND = 10, 0, 11, 12


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ModbusDevice]:
    wired = ModbusDevice(tmp_path / "wire.pcap")
    yield wired
    wired.close()


@pytest.fixture
def bench(tmp_path: Path, device: ModbusDevice) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(**setup: object) -> Run:
        runs.append(Run(tmp_path / f"run{len(runs)}", address=device.address, **setup))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def fallback_delay_s(device: ModbusDevice, since_ns: int, limit_s: float = 5.0) -> float:
    """Seconds from `since_ns` until the fallback of `power` was on the wire."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        for t_ns, _, address, value in device.writes():
            if t_ns > since_ns and address == POWER and value == FALLBACK_W:
                return (t_ns - since_ns) / 1e9
        time.sleep(0.02)
    raise AssertionError(f"no fallback within {limit_s} s; writes: {device.writes()[-5:]}")


CAUSES = {
    "solver killed": lambda run: os.kill(run.solver_pid, signal.SIGKILL),
    "solver stopped": lambda run: os.kill(run.solver_pid, signal.SIGSTOP),
    "supervisor killed": lambda run: os.kill(run.process.pid, signal.SIGKILL),
    "supervisor stopped": lambda run: os.kill(run.process.pid, signal.SIGSTOP),
    "stop file": lambda run: run.stop_file.touch(),
    "stop signal": lambda run: os.kill(run.gatekeeper_pid, signal.SIGUSR2),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_fallback_is_on_the_wire_at_once(cause: str, device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench()
    run.wait_until_running()
    time.sleep(0.5)
    struck_ns = time.time_ns()
    CAUSES[cause](run)
    assert fallback_delay_s(device, struck_ns) < LIMIT_S
    time.sleep(0.3)
    fallen = [write for write in device.writes() if write[0] > struck_ns]
    first = next(k for k, write in enumerate(fallen) if write[2:] == (POWER, FALLBACK_W))
    # the release last, and then nothing
    assert [write[1:] for write in fallen[first:]] == [(6, POWER, FALLBACK_W), (5, VALVE, 0), (6, HAND, 1)]
    if cause == "supervisor stopped":
        os.kill(run.process.pid, signal.SIGCONT)
    if cause == "supervisor killed":
        run.process.wait()
        return
    outcome = run.outcome()
    assert outcome["exit_code"] == (3 if cause == "solver killed" else 4), outcome
    assert {"stop file": "emergency stop", "stop signal": "emergency stop"}.get(cause, cause.split()[0]) in outcome["message"] or (
        cause == "solver killed" and "SIGKILL" in outcome["message"]
    )
    rows = run.audit()
    fall = next(row for row in rows if row["kind"] == "fall")
    sent_at = [row for row in rows if row["kind"] == "fallback"]
    assert fall["was_live"] and {row["point"] for row in sent_at} == {"power", "valve", "limit", "hand"}
    assert not any(found.problems for found in verify_run(run.run_dir))
    assert run.stop_file.exists() == cause.startswith("stop")


def test_the_lease_ends_in_the_fallback(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(lease_s=3.0)
    outcome = run.outcome()
    assert outcome["exit_code"] == 4 and "lease of A Tester is over" in outcome["message"]
    rows = {row["kind"]: row for row in run.audit()}
    over_ns = rows["armed"]["mono_ns"] + round(3e9) - rows["fall"]["mono_ns"] + time_of(rows["fall"])
    at_ns = next(t_ns for t_ns, _, address, value in device.writes() if address == POWER and value == FALLBACK_W)
    assert -0.1 < (at_ns - over_ns) / 1e9 < LIMIT_S


def time_of(row: dict[str, object]) -> int:
    """UTC in ns of an audit row."""
    from datetime import datetime

    return round(datetime.fromisoformat(str(row["utc"])).timestamp() * 1e9)


def test_a_latched_stop_lets_nothing_be_armed(device: ModbusDevice, bench: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "EMERGENCY_STOP").write_text("")
    outcome = bench().outcome()
    assert outcome["exit_code"] == 4 and "emergency stop is set" in outcome["message"] and "safety clear" in outcome["message"]
    assert device.writes() == []
    assert bench(live=False, stop_s=1.0).outcome()["exit_code"] == 0, "a dry run reads, also then"
    assert device.writes() == []


COMMANDS = [
    (1.0, {"action": "control", "point": "valve", "state": 1}),
    (1.2, {"action": "control", "point": "valve", "state": 0}),  # sooner than its interval
    (1.4, {"action": "set_points", "values": [["power", 99999.0]]}),
    (1.5, {"action": "set_points", "values": [["measured", 1.0]]}),
    (1.6, {"action": "set_points", "values": [["limit", 10.0], ["limit", 95.0]]}),  # faster than its rate
    (1.7, {"action": "control", "point": "hand", "code": "trip"}),
    (1.8, {"action": "set_points", "values": [["hand", 0.0]]}),  # interlocked
    (1.9, {"action": "set_points", "values": [["power", None]]}),
    (2.0, {"action": "explode"}),
    (2.1, {"action": "set_points", "values": [["a", "x" * 600], ["b", 1.0]]}),  # the rest of a command that failed, and long words
]


def test_what_is_not_allowed_is_refused_with_an_audit_row(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(commands=COMMANDS, stop_s=3.0, interlocks=[("hand", "earthed", 1.0, "the line must be earthed")])
    assert run.outcome()["exit_code"] == 0
    refused = [row for row in run.audit() if row["kind"] == "refused"]
    assert [row["point"] for row in refused] == ["valve", "power", "measured", "limit", "hand", "hand", "power", "", "a", "b"]
    words = ("sooner", "outside its limits", "not on the whitelist", "faster", "takes a number", "earthed", "neither a number",
             "{action: control", "not on the whitelist", "'a' of the same command did not succeed")  # fmt: skip
    reasons = [str(row["reason"]) for row in refused]
    expected = ("at least 0.5 s", *words[1:])
    assert all(word in reason for word, reason in zip(expected, reasons, strict=True)), reasons
    before_end = [write[2:] for write in device.writes() if write[2] in (VALVE, LIMIT, HAND)]
    assert before_end == [(VALVE, 0xFF00), (LIMIT, 10), (VALVE, 0), (HAND, 1)]  # two commands, and the fallback
    told = [row["payload"] for row in load(run.run_dir).event_rows() if row["source"] == "dev.result"]
    assert sum(str(result["outcome"]).startswith("refused") for result in told) == len(refused)


def test_a_dry_run_sends_not_one_byte_of_a_write(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(live=False, commands=COMMANDS, stop_s=3.0)
    assert run.outcome()["exit_code"] == 0
    assert device.requests() and device.writes() == []
    functions = {octets[7] for _, octets in device.requests()}
    assert functions <= {1, 2, 3, 4}
    kinds = [row["kind"] for row in run.audit()]
    assert kinds.count("dry") > 10 and "command" not in kinds and "fallback" not in kinds


def test_dnp3_falls_back_by_select_before_operate_and_runs_dry(tmp_path: Path) -> None:
    device = Dnp3Device(tmp_path / "wire.pcap")
    try:
        commands = [(1.0, {"action": "control", "point": "breaker", "code": "close"})]
        dry = Run(tmp_path / "dry", role="master", address=device.address, live=False, commands=commands, stop_s=2.0)
        assert dry.outcome()["exit_code"] == 0
        functions = {octets[12] for _, octets in device.requests() if len(octets) > 12}
        assert functions == {Function.CONFIRM, Function.READ}, "reads alone: not even unsolicited reports are asked for"
        assert device.operated == []
        live = Run(tmp_path / "live", role="master", address=device.address, commands=commands, stop_s=20.0)
        live.wait_until_running()
        time.sleep(2.0)
        struck_ns = time.time_ns()
        os.kill(live.solver_pid, signal.SIGKILL)
        assert live.outcome()["exit_code"] == 3
        codes = [(t_ns, command.crob.code if command.crob else command.value) for t_ns, command in device.operated]
        assert codes[-2:] == [(codes[-2][0], 0x81), (codes[-1][0], 777.0)]  # trip by its code, then the power
        assert 0x41 in [code for _, code in codes]
        assert (codes[-1][0] - struck_ns) / 1e9 < LIMIT_S
        assert list(read_segments(live.run_dir / "hil" / "dev.pcap"))
        offsets = pq.read_table(live.run_dir / "hil" / "dev.exchanges.parquet").to_pandas()
        known = offsets[offsets.clock_uncertainty_ns >= 0]
        assert len(known) and (known.clock_offset_ns.abs() < known.clock_uncertainty_ns + 5e6).all()
    finally:
        device.close()


def test_a_killed_gatekeeper_ends_the_run_named(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench()
    run.wait_until_running()
    os.kill(run.gatekeeper_pid, signal.SIGKILL)
    outcome = run.outcome()
    assert outcome["exit_code"] == 4 and "gate_dev" in outcome["message"] and "SIGKILL" in outcome["message"]


def test_no_device_is_exit_code_4_or_a_lost_quality(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    device.cut()
    began_s = time.monotonic()
    outcome = bench(start_limit_s=1.0).outcome()
    assert outcome["exit_code"] == 4 and "device dev" in outcome["message"] and "not reached" in outcome["message"]
    assert time.monotonic() - began_s < 20.0
    run = bench(start_limit_s=1.0, on_fault="continue", stop_s=2.0)
    assert run.outcome()["exit_code"] == 0
    vector = load(run.run_dir).quality("dev.measured")
    assert (vector.to_numpy() & int(Quality.LOST)).all()


def test_the_network_goes_and_comes_back(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(on_fault="continue", stop_s=9.0)
    run.wait_until_running()
    time.sleep(1.5)
    device.cut()
    time.sleep(2.0)
    device.restore()
    assert run.outcome()["exit_code"] == 0
    quality = load(run.run_dir).quality("dev.measured").to_numpy().ravel()
    lost = quality & int(Quality.LOST) != 0
    assert not lost[:10].any() and lost.any() and not lost[-10:].any()
    assert "the connection was lost" in next(row["cause"] for row in run.audit() if row["kind"] == "fall")


def test_every_missed_instant_is_counted(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(stop_s=6.0, live=False)
    run.wait_until_running()
    time.sleep(1.0)
    gatekeeper = run.gatekeeper_pid
    os.kill(gatekeeper, signal.SIGSTOP)
    time.sleep(0.4)
    os.kill(gatekeeper, signal.SIGCONT)
    assert run.outcome()["exit_code"] == 0
    rows = pq.read_table(run.run_dir / "hil" / "dev.exchanges.parquet").to_pandas()
    polls = rows[rows.kind == "poll"]
    instants = (polls.deadline_ns.iloc[-1] - polls.deadline_ns.iloc[0]) // 50_000_000
    assert polls.overruns.iloc[-1] >= 6
    assert instants == len(polls) - 1 + polls.overruns.iloc[-1] - polls.overruns.iloc[0]


def test_abort_ends_the_run_at_the_first_missed_instant(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    run = bench(policy="abort")
    run.wait_until_running()
    gatekeeper = run.gatekeeper_pid
    os.kill(gatekeeper, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(gatekeeper, signal.SIGCONT)
    outcome = run.outcome()
    assert outcome["exit_code"] == 4 and "instants" in outcome["message"] and "missed" in outcome["message"]


def test_a_slow_period_is_no_silence_of_the_solver(device: ModbusDevice, bench: Callable[..., Run]) -> None:
    """At a poll a second the solver gives a sign of life a second, and its limit is one second too."""
    run = bench(period_ns=1_000_000_000, stop_s=5.0)
    outcome = run.outcome()
    assert outcome["exit_code"] == 0, outcome
    (fall,) = [row for row in run.audit() if row["kind"] == "fall"]
    assert fall["cause"] == "the run is over"
    link = load(run.run_dir).quality("dev.link").to_numpy()
    assert not link[2:].any(), "the gatekeeper lives between two polls"
