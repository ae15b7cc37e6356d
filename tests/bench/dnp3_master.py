"""What our asyncio front costs beside the bare yadnp3 binding: events by class polls, and select-before-operate.

Both sides poll the same outstation, yadnp3's own in another process. Part of `python -m tests.bench dnp3`.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import opendnp3 as o

from protocols.dnp3 import ControlCode, Crob
from protocols.dnp3.master import MasterStack
from protocols.dnp3.master_config import MasterConfig

EVENTS, POINTS = 20_000, 100


class _Commands(o.ICommandHandler):
    def Begin(self) -> None:
        pass

    def End(self) -> None:
        pass

    def Select(self, command: Any, index: int) -> Any:
        return o.CommandStatus.SUCCESS

    def Operate(self, command: Any, index: int, handler: Any, kind: Any) -> Any:
        return o.CommandStatus.SUCCESS


class _Device(o.IOutstationApplication):
    def GetApplicationIIN(self) -> Any:
        return o.ApplicationIIN()

    def Now(self) -> Any:
        return o.DNPTime(int(time.time() * 1000))


def serve(port: int) -> None:
    """An outstation that makes `EVENTS` events for every line on stdin, changes of state where it says `binary`, and gives the
    number of the first: analog values are numbers of events."""
    manager = o.DNP3Manager(1)
    try:
        endpoint = o.IPEndpoint("127.0.0.1", port)
        channel = manager.AddTCPServer("channel", o.levels.NOTHING, o.ServerAcceptMode.CloseExisting, endpoint, None)
        stack = o.OutstationStackConfig(o.DatabaseConfig(POINTS))
        stack.outstation.eventBufferConfig = o.EventBufferConfig.AllTypes(EVENTS)
        stack.outstation.params.allowUnsolicited = False
        stack.link.LocalAddr, stack.link.RemoteAddr = 10, 1
        outstation = channel.AddOutstation("outstation", _Commands(), _Device(), stack)
        outstation.Enable()
        print("ready", flush=True)
        for first, kind in zip(itertools.count(0, EVENTS), sys.stdin, strict=False):
            builder = o.UpdateBuilder()
            for number in range(EVENTS):
                change = o.Binary(number // POINTS % 2 == 0) if kind.strip() == "binary" else o.Analog(float(first + number))
                builder.Update(change, number % POINTS, o.EventMode.Force)
            outstation.Apply(builder.Build())
            print(first, flush=True)
    finally:
        manager.Shutdown()


class _Counting(o.ISOEHandler):
    """The least a Python program does with events: reads index, value and quality of each."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0
        self.read: list[tuple[int, float, int]] = []
        self.complete = threading.Event()

    def BeginFragment(self, info: Any) -> None:
        pass

    def EndFragment(self, info: Any) -> None:
        if self.events >= EVENTS:
            self.complete.set()

    def Process(self, info: Any, values: list[Any]) -> None:
        if info.isEventVariation:
            self.events += len(values)
            self.read += [(each.index, each.value.value, each.value.flags.value) for each in values]


class _Application(o.IMasterApplication):
    def Now(self) -> Any:
        return o.UTCTimestamp(int(time.time() * 1000))


def bare(
    port: int, device: subprocess.Popen[str], rounds: int, commands: int, kind: str = "analog"
) -> tuple[list[float], list[float]]:
    """Seconds per round of events, and per command, of the binding alone."""
    manager = o.DNP3Manager(1)
    try:
        ends = [o.IPEndpoint("127.0.0.1", port)]
        channel = manager.AddTCPClient("channel", o.levels.NOTHING, o.ChannelRetry.Default(), ends, "0.0.0.0", None)
        stack = o.MasterStackConfig()
        stack.link.LocalAddr, stack.link.RemoteAddr = 1, 10
        counting, application = _Counting(), _Application()
        master = channel.AddMaster("master", counting, application, stack)
        master.Enable()
        time.sleep(1.5)
        events_s, command_s = [], []
        for _ in range(rounds):
            renew(device, kind)
            counting.events = 0
            counting.read.clear()
            counting.complete.clear()
            begun = time.perf_counter()
            master.ScanClasses(o.ClassField(False, True, False, False), counting)
            if not counting.complete.wait(30):
                raise RuntimeError(f"the bare binding got {counting.events} of {EVENTS} events")
            events_s.append(time.perf_counter() - begun)
        for _ in range(commands):
            answered = threading.Event()
            begun = time.perf_counter()
            master.SelectAndOperate(
                o.ControlRelayOutputBlock(o.OperationType.LATCH_ON), 0, lambda result, done=answered: done.set()
            )
            answered.wait(10)
            command_s.append(time.perf_counter() - begun)
        return events_s, command_s
    finally:
        manager.Shutdown()


async def ours(port: int, device: subprocess.Popen[str], rounds: int, commands: int) -> tuple[list[float], list[float]]:
    """The same through `MasterStack`."""
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("bench", port=port, time_sync=None))
        await asyncio.sleep(1.5)
        await master.integrity()
        master.handover.take()
        events_s, command_s = [], []
        for _ in range(rounds):
            await asyncio.to_thread(renew, device)
            begun = time.perf_counter()
            await master.scan((1,))
            events = sum(each.event for each in master.handover.take())
            if events != EVENTS:
                raise RuntimeError(f"the master got {events} of {EVENTS} events")
            events_s.append(time.perf_counter() - begun)
        crob = Crob(ControlCode.LATCH_ON)
        for _ in range(commands):
            begun = time.perf_counter()
            result = await master.operate(0, crob)
            command_s.append(time.perf_counter() - begun)
            if not result.success:
                raise RuntimeError(f"the command came back with {result}")
        return events_s, command_s


def renew(device: subprocess.Popen[str], kind: str = "analog") -> int:
    """Has the outstation make its events; the number of the first."""
    assert device.stdin is not None and device.stdout is not None
    device.stdin.write(f"{kind}\n")
    device.stdin.flush()
    return int(device.stdout.readline())


@dataclass(frozen=True)
class Figures:
    """Pairs measured in turn: (the bare binding's, ours); seconds for `EVENTS` events, and for a select-before-operate."""

    events_s: list[tuple[float, float]]
    command_s: list[tuple[float, float]]


def side_by_side(repeats: int = 5, rounds: int = 3, commands: int = 200) -> Figures:
    """The medians of both, `repeats` times."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.dnp3_master", str(port)]
    figures = Figures([], [])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as device:
        assert device.stdin is not None and device.stdout is not None
        device.stdout.readline()
        for _ in range(repeats):
            theirs = [statistics.median(times) for times in bare(port, device, rounds, commands)]
            own = [statistics.median(times) for times in asyncio.run(ours(port, device, rounds, commands))]
            figures.events_s.append((theirs[0], own[0]))
            figures.command_s.append((theirs[1], own[1]))
        device.stdin.close()
    return figures


if __name__ == "__main__":  # the outstation's process
    serve(int(sys.argv[1]))
