"""Modbus figures, measured side by side: `python -m tests.bench modbus`.

poll      our poll -> scale -> publish (100 points, one request) against bare pymodbus reading the same registers
optimum   requests of the planner over those of brute force, on small random maps
park      100 devices x 200 points at 1 Hz: processor time of the polling process, servers in a process of their own
malformed 100,000 malformed frames: slowest good answer and growth of memory
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

from pymodbus.client import AsyncModbusTcpClient

from protocols.modbus import Device, Dispatcher, Point, ReadLimits, Table, TcpAddress, TcpServer, ValueType, plan_reads, poll

sys.path.insert(0, str(Path(__file__).parent))  # where the tests find their peers
from modbus_peers import HOST, counting_bank
from test_modbus_planner import fewest, register_map
from test_modbus_server import attack as attack


def _serve(ports: Connection, count: int) -> None:
    async def forever() -> None:
        bank = counting_bank(1000)
        servers = [TcpServer(Dispatcher({1: bank})) for _ in range(count)]
        for server in servers:
            await server.start()
        ports.send([server.port for server in servers])
        await asyncio.to_thread(ports.recv)

    asyncio.run(forever())


class Servers:
    """Servers in a process of their own, so that only the client's time is measured."""

    def __init__(self, count: int) -> None:
        self._near, far = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=(far, count))
        self._process.start()
        self.ports: list[int] = self._near.recv()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._near.send("end")
        self._process.join(10)


async def _per_second(once: Callable[[], Awaitable[object]], seconds: float) -> float:
    started, done = time.perf_counter(), 0
    while (now := time.perf_counter()) < started + seconds:
        await once()
        done += 1
    return done / (now - started)


async def poll_ratio(port: int, seconds: float) -> tuple[float, float, float]:
    """Polls/s of ours and of bare pymodbus, and the median ratio of alternating rounds."""
    points = [Point(f"p{i}", Table.HOLDING, i, ValueType.S16, scale=0.1, maximum=1e4, sentinels=(0x8000,)) for i in range(100)]
    device = Device("bench", TcpAddress(HOST, port), points)
    bare = AsyncModbusTcpClient(HOST, port=port, retries=0)
    await bare.connect()
    published: list[object] = [None]

    async def ours() -> None:
        published[0] = await device.cycle(1.0)

    async def theirs() -> None:
        published[0] = (await bare.read_holding_registers(0, count=100, device_id=1)).registers

    rounds = 7
    pairs = [
        (await _per_second(ours, seconds / rounds / 2), await _per_second(theirs, seconds / rounds / 2)) for _ in range(rounds)
    ]
    device.close()
    bare.close()
    return (
        statistics.median(mine for mine, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(mine / other for mine, other in pairs),
    )


def requests_over_optimum(maps: int) -> float:
    """Planner's requests over the fewest possible, summed over random maps."""
    planned = best = 0
    for seed in range(maps):
        points = register_map(random.Random(seed), 10, 12)
        limits = ReadLimits(max_registers=10, max_gap=seed % 5)
        planned += len(plan_reads(points, limits))
        best += fewest(points, limits, [])
    return planned / best


async def park_load(ports: list[int], seconds: int) -> tuple[float, int]:
    """Share of one core used to poll every port's 200 points (half of them 32-bit floats) at 1 Hz, and points not good."""
    points, address = list[Point](), 0
    for i in range(200):
        type_ = ValueType.F32 if i % 2 else ValueType.U16
        points.append(Point(f"p{i}", Table.HOLDING, address, type_, scale=0.1))
        address += points[-1].words
    devices = [Device(f"d{port}", TcpAddress(HOST, port), points) for port in ports]
    await poll(devices, 5.0)  # connections are made once
    bad, used, start = 0, time.process_time(), time.monotonic()
    for period in range(1, seconds + 1):
        bad += sum(int((readings.states > 0).sum()) for readings in await poll(devices, 0.9))
        await asyncio.sleep(max(0.0, start + period - time.monotonic()))
    share = (time.process_time() - used) / (time.monotonic() - start)
    for device in devices:
        device.close()
    return share, bad
