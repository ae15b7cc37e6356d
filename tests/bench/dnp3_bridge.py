"""DNP3 events per second through the whole way of a wired device, beside the bare binding. Part of `python -m tests.bench dnp3`.

The same outstation as in `dnp3_master.py`, in a process of its own; the device's wire (master, relay, capture, records, shared
memory) in another; the bridge federate here, which steps a thousand times a second. Timed from the poll that brings the events, by
the wire's own record, until the bridge has given out the last: the latest value of each point, or every change of state as an
event, `MOST_REPORTS` of them a step.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from federates.runtime.process import PRIVATE_VARIABLE
from federates.runtime.record import read_stream
from hil.audit import AuditLog, load_or_make_key
from hil.bridge import Bridge, BridgeFederate
from hil.drivers.dnp3_master import Dnp3Master
from hil.master_wire import MasterWire
from hil.plan import DevicePlan, Role
from hil.point_csv import parse_map
from hil.safety import EmergencyStop, Warrant
from hil.wire import Surroundings
from protocols.dnp3.master import MasterStack
from tests.bench.dnp3_master import EVENTS, POINTS, bare, renew

PERIOD_NS = 400_000_000
LIMIT_S = 30.0
STEP_S = 0.001
MAP = parse_map(
    "name,signal,table,address\n"
    + "".join(f"a{i},plant.p_w:{i},analog_input,{i}\nb{i},plant.closed:{i},binary_input,{i}\n" for i in range(POINTS))
)


def plan(port: int) -> DevicePlan:
    """The outstation as a wired device."""
    return DevicePlan("dev", Role.MASTER, f"127.0.0.1:{port}", MAP, PERIOD_NS, timeout_s=5.0, time_sync=False)


async def wire(port: int, folder: Path) -> None:
    """The device's wire until stdin ends."""
    log = AuditLog(folder / "audit" / "dev.jsonl", "bench", load_or_make_key(folder / "key.pem"))
    around = Surroundings(
        folder, folder, log, EmergencyStop(folder / "STOP"), lambda name, cause: print(cause, file=sys.stderr),
        lambda name, cause: print(cause, file=sys.stderr), lambda: "", lambda: False,
    )  # fmt: skip
    async with MasterStack() as stack:
        target = ("127.0.0.1", port)
        made = MasterWire(
            plan(port),
            around,
            lambda own: Dnp3Master(own.plan, stack, target, own.record.capture, live=True),
            Warrant("the bench"),
        )
        await made.open()
        made.start()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await made.close()
    log.close()


def _until_out(bridge: BridgeFederate, kind: str, first: int, t_ns: int) -> int:
    """Steps until all of a round, whose first event has that number, has come out; CLOCK_MONOTONIC, ns."""
    events, end_s = 0, time.monotonic() + LIMIT_S
    last = [float(first + EVENTS - POINTS + i) for i in range(POINTS)]
    while time.monotonic() < end_s:
        outputs: dict[str, Any] = dict(bridge.step(t_ns, {"command": ()}).outputs)
        events += len(outputs["soe"])
        if kind == "binary" and events == EVENTS:
            return time.monotonic_ns()
        if kind == "analog" and outputs["p_w"].values.tolist() == last:
            return time.monotonic_ns()
        time.sleep(STEP_S)
    raise RuntimeError(f"the bridge gave {events} events, {outputs['p_w'].values[:3]}")


def through_the_bridge(port: int, device: subprocess.Popen[str], rounds: int, kind: str) -> list[float]:
    """Seconds per round of events."""
    spans: list[tuple[int, int]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "tests.bench.dnp3_bridge", str(port), name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
            assert keeper.stdin is not None and keeper.stdout is not None
            keeper.stdout.readline()
            os.environ[PRIVATE_VARIABLE] = name
            bridge = BridgeFederate(Bridge("dev", MAP, Role.MASTER, PERIOD_NS, 10**10, 10**10))
            bridge.start(0)
            del os.environ[PRIVATE_VARIABLE]
            try:
                for k in range(rounds):
                    begun_ns = time.monotonic_ns()
                    first = renew(device, kind)
                    spans.append((begun_ns, _until_out(bridge, kind, first, k)))
            finally:
                keeper.stdin.close()
                keeper.wait(20)
                bridge.stop()
        polls = read_stream(folder / "hil" / "dev.exchanges.arrows").to_pandas()
    found = []
    for begun_ns, done_ns in spans:
        during = polls[(polls.sent_ns + polls.round_trip_ns > begun_ns) & (polls.sent_ns < done_ns)]
        found.append((done_ns - int(during.sent_ns[during.round_trip_ns.idxmax()])) / 1e9)
    return found


def side_by_side(repeats: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Kind of event -> pairs (the bare binding's, ours) of seconds for `EVENTS` events, measured in turn."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.dnp3_master", str(port)]
    found: dict[str, list[tuple[float, float]]] = {"analog": [], "binary": []}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdin is not None and device.stdout is not None
        device.stdout.readline()
        for _ in range(repeats):
            for kind, pairs in found.items():
                theirs, _ = bare(port, device, rounds, 0, kind)
                pairs.append((statistics.median(theirs), statistics.median(through_the_bridge(port, device, rounds, kind))))
        device.stdin.close()
    return found


if __name__ == "__main__":  # the wire's process
    asyncio.run(wire(int(sys.argv[1]), Path(sys.argv[2])))
