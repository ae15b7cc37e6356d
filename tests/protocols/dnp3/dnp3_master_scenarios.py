"""Our master (yadnp3 behind asyncio) against our outstation: `python dnp3_master_scenarios.py NAME`, in a process of its own.

Its own process, because a fault of the C++ stack would take the test run down with it. A scenario that fails raises.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
from dnp3_bench import Peer
from dnp3_malformed import hostile_replies
from dnp3_rig import RecordingHandler, every_type

from protocols.dnp3 import CommandStatus, ControlCode, Crob, Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import IIN
from protocols.dnp3.master import Master, MasterStack
from protocols.dnp3.master_config import MasterConfig, MasterError, SerialLine
from protocols.dnp3.server import OutstationServer
from protocols.dnp3.yadnp3_callbacks import PointReport

P = PointType


def device(points: list[PointConfig] | None = None, **settings: Any) -> Outstation:
    config = OutstationConfig(**({"masters": (1,), "cold_restart_s": 0.2} | settings))
    return Outstation(config, every_type(3) if points is None else points, clock=time.monotonic_ns, handler=RecordingHandler())


async def reports_until(master: Master, done: Callable[[list[PointReport]], bool]) -> list[PointReport]:
    """All reports up to those that satisfy `done`."""
    seen: list[PointReport] = []
    async with asyncio.timeout(20):
        while not done(seen):
            seen += await master.reports()
    return seen


async def everything() -> None:
    """Polls, ranges, reports, commands, freeze, classes, dead bands, link status, and a restart with reconnection."""
    outstation = device()
    server = OutstationServer(outstation, port=0)
    _, port = await server.start()
    handler = outstation.handler
    assert isinstance(handler, RecordingHandler)
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", port=port, reconnect_s=(0.1, 0.5)))
        async with asyncio.timeout(10):
            await master.connected()
        await reports_until(master, lambda seen: any(each.group == 110 for each in seen))
        while outstation.needs_time:
            await asyncio.sleep(0.01)
        assert abs(outstation.time_ms() - time.time() * 1000) < 250

        server.update(P.ANALOG_INPUT, 1, 0.1, time_ms=1_750_000_000_123)
        server.update(P.DOUBLE_BIT_INPUT, 1, 2, time_ms=1_750_000_000_124, flags=0x21)
        server.update(P.BINARY_INPUT, 1, True, time_ms=1_750_000_000_125)
        server.update(P.OCTET_STRING, 1, b"door")
        seen = await reports_until(master, lambda seen: any(each.group == 111 for each in seen))
        events = {each.group: each for each in seen if each.event}
        assert (events[32].variation, events[32].point, events[32].time_ms, events[32].synchronized) == (
            7,
            1,
            1_750_000_000_123,
            True,
        )
        assert abs(float(events[32].value) - 0.1) < 1e-7
        assert (events[4].value, events[4].flags, events[2].value, events[2].flags) == (2, 0x21, True, 1)
        assert (events[111].value, events[111].time_ms) == (b"door", None)

        await master.read(30, 6, 1, 2)
        ranged = [each for each in await master.reports() if each.variation == 6]
        assert [(each.group, each.point, each.event, each.time_ms) for each in ranged] == [
            (30, 1, False, None),
            (30, 2, False, None),
        ]

        trip = Crob(ControlCode.TRIP_PULSE_ON, 1, 250, 125)
        assert (await master.operate(0, trip)).success
        assert (await master.operate(2, -3.25)).success
        assert (await master.operate(2, 7, select=False, encoding="i16")).success
        assert [command.crob or command.value for command, _ in handler.operated] == [trip, -3.25, 7.0]
        assert (await master.operate(9, trip)).status is CommandStatus.NOT_SUPPORTED
        handler.status = CommandStatus.AUTOMATION_INHIBIT
        refused = await master.operate(0, trip)
        assert not refused.success and (refused.state, refused.status) == ("SELECT_FAIL", CommandStatus.AUTOMATION_INHIBIT)

        server.update(P.COUNTER, 0, 12)
        await master.freeze(clear=True)
        assert outstation.database.point(P.FROZEN_COUNTER, 0).value == 12 and outstation.database.point(P.COUNTER, 0).value == 0
        await master.assign_class(2, 30, 0, 1)
        assert [point.event_class for point in outstation.database.points(P.ANALOG_INPUT).values()] == [2, 2, 1]
        await master.write_deadband(1, 4.0)
        assert outstation.database.point(P.ANALOG_INPUT, 1).deadband == 4.0
        await master.enable_unsolicited((2,), enable=False)
        assert outstation.sessions()[0].unsolicited.classes == 0b1010
        assert await master.link_status()

        assert await master.restart() == 0.2
        while outstation.restarts == 0 or master.is_connected:
            await asyncio.sleep(0.01)
        try:
            await master.integrity()
        except MasterError as error:
            assert "RTU" in str(error) and "no_comms" in str(error)
        else:
            raise AssertionError("a scan without a connection must fail")
        await reports_until(master, lambda seen: any(each.group == 110 for each in seen))
        while master.iin & IIN.DEVICE_RESTART:
            await asyncio.sleep(0.01)
        assert master.handover.faults == 0 and master.handover.lost == 0 and master.rests == 0
    await server.close()


async def overflow() -> None:
    """What does not fit into the queue is counted, and everything is asked for again."""
    outstation = device([PointConfig(P.ANALOG_INPUT, index) for index in range(50)])
    server = OutstationServer(outstation, port=0)
    _, port = await server.start()
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", port=port, queue_limit=60))
        async with asyncio.timeout(10):
            while not outstation.sessions()[0].unsolicited.classes:
                await asyncio.sleep(0.01)
            for step in range(5):
                for index in range(50):
                    server.update(P.ANALOG_INPUT, index, 100.0 * step + index)
                await asyncio.sleep(0.05)
            while not master.handover.lost:
                await asyncio.sleep(0.01)
        newest = {index: 400.0 + index for index in range(50)}
        latest: dict[int, Any] = {}

        def current(seen: list[PointReport]) -> bool:
            latest.update({each.point: each.value for each in seen})
            return latest == newest

        await reports_until(master, current)
    await server.close()


async def hundred() -> None:
    """A hundred outstations and a hundred masters in one process; every point of every one arrives."""
    servers, masters = [], []
    process = psutil.Process()
    before = process.memory_info().rss
    async with MasterStack(threads=2) as stack:
        for number in range(100):
            outstation = device([PointConfig(P.ANALOG_INPUT, index) for index in range(50)])
            server = OutstationServer(outstation, port=0)
            _, port = await server.start()
            for index in range(50):
                server.update(P.ANALOG_INPUT, index, number + index / 64)
            masters.append(await stack.add(MasterConfig(f"RTU {number}", port=port)))
            servers.append(server)
        begun = time.monotonic()
        for number, master in enumerate(masters):
            found: dict[int, Any] = {}

            def complete(seen: list[PointReport], found: dict[int, Any] = found, number: int = number) -> bool:
                found.update({each.point: each.value for each in seen})
                return found == {index: number + index / 64 for index in range(50)}

            await reports_until(master, complete)
        print(f"100 masters: {time.monotonic() - begun:.2f} s, {(process.memory_info().rss - before) / 1e6:.0f} MB more")
        await asyncio.gather(*(master.integrity() for master in masters))
        assert all(master.rests == 0 and master.handover.faults == 0 for master in masters)
    for server in servers:
        await server.close()


async def endless_restart() -> None:
    """An outstation whose restart indication never falls is not asked thousands of times a second."""
    outstation = device()
    outstation.sessions()[0].clear_restart = lambda: None  # type: ignore[method-assign]
    requests = 0

    def count(source: tuple[str, int], destination: tuple[str, int], octets: bytes) -> None:
        nonlocal requests
        requests += destination[1] == port

    server = OutstationServer(outstation, port=0, tap=count)
    _, port = await server.start()
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", port=port))
        async with asyncio.timeout(20):
            while master.rests < 2:
                await asyncio.sleep(0.05)
        begun, before = time.monotonic(), requests
        await asyncio.sleep(1.5)
        assert (requests - before) / (time.monotonic() - begun) < 20
    await server.close()


async def hostile() -> None:
    """An outstation that answers nonsense harms neither the process nor the other sessions."""
    pieces, sent, hang_up = hostile_replies(1), 0, random.Random(2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await reader.read(4096):
            for _ in range(20):
                writer.write(next(pieces))
                sent += 1
            if hang_up.random() < 0.05:
                break
        writer.close()

    bad = await asyncio.start_server(answer, "127.0.0.1", 0)
    outstation = device()
    good = OutstationServer(outstation, port=0)
    _, good_port = await good.start()
    async with MasterStack() as stack:
        settings = {"response_timeout_s": 0.2, "reconnect_s": (0.05, 0.1)}
        victim = await stack.add(MasterConfig("bad", port=bad.sockets[0].getsockname()[1], **settings))
        master = await stack.add(MasterConfig("good", port=good_port))
        await reports_until(master, lambda seen: any(each.group == 110 for each in seen))

        async def ask_the_bad_one() -> None:
            while True:
                try:
                    await victim.integrity()
                except MasterError:
                    await asyncio.sleep(0.005)

        asking = asyncio.create_task(ask_the_bad_one())
        held = []
        until = time.monotonic() + 5
        while time.monotonic() < until:
            await asyncio.sleep(0.02)
            begun = time.monotonic()
            await master.integrity()
            assert time.monotonic() - begun < 1.0
            assert len(await master.reports()) >= 24
            held.append(psutil.Process().memory_info().rss)
        asking.cancel()
        assert sent > 200 and max(held) < 1.1 * held[len(held) // 4], (sent, held[0], max(held))
        assert victim.handover.faults == master.handover.faults == 0
        print(f"{sent} hostile answers, {victim.rests} rests, {len(held)} polls")
    bad.close()
    await good.close()


async def serial() -> None:
    """Over a pseudo terminal: the outstation has no part in TCP."""
    outstation = device()
    ours, theirs = os.openpty()
    line = outstation.connect()
    loop = asyncio.get_running_loop()

    def readable() -> None:
        line.receive(os.read(ours, 4096))
        outstation.advance()
        os.write(ours, line.data_to_send())

    loop.add_reader(ours, readable)
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", serial=SerialLine(os.ttyname(theirs), 115200)))
        await reports_until(master, lambda seen: any(each.group == 110 for each in seen))
        assert (await master.operate(1, Crob(ControlCode.LATCH_ON))).success
    loop.remove_reader(ours)


async def foreign_outstation(*command: str) -> None:
    """A foreign outstation with ten points of each type in their default variations, started by `command` and a port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peer = await Peer.start([*command, str(port)])
    await peer.wait("ready")
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", port=port, reconnect_s=(0.1, 0.5)))
        await reports_until(master, lambda seen: len({each.point for each in seen if each.group == 30}) == 10)
        for kind, value in (("Analog", 42.0), ("Binary", True), ("Counter", 7)):
            await peer.order("update", type=kind, value=value, index=3)
        seen = await reports_until(master, lambda seen: {2, 22, 32} <= {each.group for each in seen if each.event})
        assert {(each.group, each.point, each.value) for each in seen if each.event} == {(2, 3, True), (22, 3, 7), (32, 3, 42)}
        await master.read(30, 6, 2, 3)
        assert [(each.variation, each.point, each.value) for each in await master.reports()] == [(6, 2, 0.0), (6, 3, 42.0)]
        assert (await master.operate(1, Crob(ControlCode.LATCH_OFF))).success
        assert (await master.operate(2, 1.5, select=False)).success
        assert (await master.operate(7, Crob(ControlCode.LATCH_ON))).status is CommandStatus.NOT_AUTHORIZED
        operated = await peer.wait("operate", count=2)
        assert [(each["index"], each["value"]) for each in operated] == [(1, 4), (2, 1.5)]
        assert await master.link_status() and master.handover.faults == 0
    await peer.close()


async def alone() -> None:
    """One stack per process; no connection is a clear error; closing twice is harmless."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with MasterStack() as stack:
            try:
                await MasterStack().__aenter__()
            except RuntimeError as error:
                assert "already open" in str(error)
            else:
                raise AssertionError("a second stack in one process")
            master = await stack.add(MasterConfig("nobody", port=unused.getsockname()[1]))
            for request in (master.integrity(), master.operate(0, Crob(ControlCode.LATCH_ON)), master.freeze()):
                try:
                    await request
                except MasterError as error:
                    assert "nobody" in str(error) and "no_comms" in str(error)
                else:
                    raise AssertionError("an exchange without a connection")
        stack.shutdown()
    async with MasterStack() as again:
        assert again is not stack
    try:
        await stack.add(MasterConfig("late"))
    except RuntimeError as error:
        assert "not open" in str(error)
    else:
        raise AssertionError("a master on a closed stack")


async def cancelled() -> None:
    """A request given up by its caller does not disturb the next; one that waits when the stack closes is told."""
    outstation = device(confirm_timeout_s=1.0)
    server = OutstationServer(outstation, port=0)
    _, port = await server.start()
    async with MasterStack() as stack:
        master = await stack.add(MasterConfig("RTU", port=port, response_timeout_s=1.0))
        await reports_until(master, lambda seen: any(each.group == 110 for each in seen))
        for _ in range(20):
            for request in (master.integrity(), master.operate(0, Crob(ControlCode.LATCH_ON))):
                task = asyncio.create_task(request)  # type: ignore[arg-type]
                await asyncio.sleep(0)
                task.cancel()
            await master.read(30, 6, 1, 1)
            assert any(each.variation == 6 for each in master.handover.take()), (
                "the end of another request was taken for this one's"
            )
        await server.close()
        waiting = [asyncio.create_task(master.integrity()), asyncio.create_task(master.link_status())]
        await asyncio.sleep(0)
    for task in waiting:
        try:
            assert await asyncio.wait_for(task, 5) is False
        except MasterError as error:
            assert "no_comms" in str(error)


async def forgotten() -> None:
    """A stack that nobody closes must not keep the process from ending."""
    stack = await MasterStack().__aenter__()
    await stack.add(MasterConfig("RTU", port=1))


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
    print("ok")
