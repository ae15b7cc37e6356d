"""Punctuality and safety of real devices: `python -m tests.bench hil`. The device is in this process, captured on the wire."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent / "hil"))
from hil_rig import FALLBACK_W, ModbusDevice, Run

POWER = 10
_BUSY = "while True: pass"
CAUSES: dict[str, Callable[[Run], None]] = {
    "solver kill -9": lambda run: os.kill(run.solver_pid, signal.SIGKILL),
    "solver SIGSTOP": lambda run: os.kill(run.solver_pid, signal.SIGSTOP),
    "supervisor kill -9": lambda run: os.kill(run.process.pid, signal.SIGKILL),
    "supervisor SIGSTOP": lambda run: os.kill(run.process.pid, signal.SIGSTOP),
    "emergency stop": lambda run: run.stop_file.touch(),
}


class FellBefore(Exception):
    """The gatekeeper had a reason of its own before the blow: its fallback is not the answer to that. Says which."""


def fallback_delay_s(cause: str) -> float:
    """Seconds from the blow until the fallback is on the wire, in one run; inf where there was none. FellBefore."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        device = ModbusDevice(Path(folder) / "wire.pcap")
        run = Run(Path(folder) / "run", address=device.address)
        try:
            run.wait_until_running()
            time.sleep(0.3 + np.random.default_rng(time.time_ns()).uniform(0.0, 0.1))
            struck_ns = time.time_ns()
            CAUSES[cause](run)
            end_s = time.monotonic() + 5.0
            while time.monotonic() < end_s:
                time.sleep(0.25)  # the capture is made in this process: whoever reads it meanwhile holds it up
                fallbacks = [t_ns for t_ns, _, address, value in device.writes() if (address, value) == (POWER, FALLBACK_W)]
                if fallbacks and fallbacks[0] <= struck_ns:
                    raise FellBefore(next(row["cause"] for row in run.audit() if row["kind"] == "fall"))
                if fallbacks:
                    return (fallbacks[0] - struck_ns) / 1e9
            return float("inf")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.process.pid, signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError, OSError, ValueError):
                os.kill(run.solver_pid, signal.SIGKILL)
            run.close()
            device.close()


def lateness(stop_s: float, stress: int) -> tuple[np.ndarray, int, int]:
    """(lateness in ms of every instant of a 100 ms loop beside a solver at half load, overruns, instants that nobody counted)."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _stressed(stress):
        device = ModbusDevice(Path(folder) / "wire.pcap")
        run = Run(Path(folder) / "run", address=device.address, stop_s=stop_s, period_ns=100_000_000, burn_s=0.05, live=False)
        try:
            outcome = run.outcome(stop_s + 60.0)
            if outcome["exit_code"]:
                raise RuntimeError(outcome["message"])
            rows: Any = pq.read_table(run.run_dir / "hil" / "dev.exchanges.parquet").to_pandas()
        finally:
            run.close()
            device.close()
    polls = rows[rows.kind == "poll"]
    polls = polls[polls.t_ns > 0]
    overruns = int(polls.overruns.iloc[-1] - polls.overruns.iloc[0])
    instants = int((polls.deadline_ns.iloc[-1] - polls.deadline_ns.iloc[0]) // 100_000_000)
    return polls.lateness_ns.to_numpy() / 1e6, overruns, instants - (len(polls) - 1) - overruns


@contextlib.contextmanager
def _stressed(processes: int) -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(smoke: bool, row: Callable[[str, str, str], None]) -> None:
    """All of it; `row` prints a line."""
    trials = 1 if smoke else 50
    for cause in CAUSES:
        delays_ms, before = [], []
        for _ in range(trials):
            try:
                delays_ms.append(1e3 * fallback_delay_s(cause))
            except FellBefore as reason:
                before.append(str(reason))
        spread = "/".join(f"{np.percentile(delays_ms, p):.0f}" for p in (50, 99, 100)) if delays_ms else "-"
        others = f"; {len(before)} had fallen before: {before[0]}" if before else ""
        row(f"fallback on the wire after {cause}, p50/p99/max of {len(delays_ms)}", f"{spread} ms", f"goal p99 < 250{others}")
    for stress in (0, 4):
        ms, overruns, uncounted = lateness(5.0 if smoke else 60.0, stress)
        what = f"lateness of a 100 ms loop, solver beside, {f'CPU stress x{stress}' if stress else 'else idle'}: p50/p99/max"
        spread = "/".join(f"{np.percentile(ms, p):.2f}" for p in (50, 99, 100))
        row(what, f"{spread} ms", f"goal p99 < {10 if stress else 5}; overruns {overruns}, uncounted {uncounted}")
