"""Poll cycles against our own server and against servers that lie, hang or refuse."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from modbus_peers import HOST, ScriptedServer, counting_bank, registers

from protocols.modbus import (
    BadAnswer,
    Device,
    Dispatcher,
    Exchange,
    Link,
    LinkError,
    MemoryBank,
    ModbusException,
    NoAnswer,
    NoConnection,
    Point,
    PointState,
    ReadLimits,
    Table,
    TcpAddress,
    TcpServer,
    ValueType,
    poll,
)
from protocols.modbus.frame import Adu, tcp_frame
from protocols.modbus.pdu import Read


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_cycle_reads_all_tables_and_types() -> None:
    async def scenario() -> None:
        bank = counting_bank()
        bank.add(Table.HOLDING, 1000, struct.pack(">fhh", 59.98, -1200, -1) + b"IED-7\0")
        points = [
            *registers(3),
            Point("hz", Table.HOLDING, 1000, ValueType.F32),
            Point("w", Table.HOLDING, 1002, ValueType.S16, scale_factor="w_sf", unit_of_measure="W"),
            Point("w_sf", Table.HOLDING, 1003, ValueType.S16),
            Point("name", Table.HOLDING, 1004, ValueType.STRING, length=3),
            Point("in", Table.INPUT, 7, ValueType.U16, scale=0.5, offset=1.0),
            Point("on", Table.DISCRETE, 3, ValueType.BIT),
            Point("off", Table.COIL, 4, ValueType.BIT),
        ]
        seen: list[Exchange] = []
        async with TcpServer(Dispatcher({1: bank})) as server:
            device = Device("ied", TcpAddress(HOST, server.port), points, tap=seen.append)
            before_ns = time.monotonic_ns()
            readings = await device.cycle(1.0)
            device.close()
        np.testing.assert_allclose(readings.values, [0, 1, 2, 59.98, -120, -1, 0, 504.5, 1, 0], rtol=1e-7)
        assert not readings.states.any() and readings.problems == ()
        assert readings.texts == {6: "IED-7"}
        assert readings.requests == len(seen) == 5
        assert (readings.t_ns > before_ns).all()
        assert seen[0].outcome == "ok" and len(seen[0].sent) == 12 and seen[0].received_ns >= seen[0].sent_ns

    run(scenario)


WRONG_ANSWERS: dict[str, Callable[[Adu], bytes]] = {
    "short": lambda r: tcp_frame(Adu(1, b"\x03\x02\0\0", r.transaction)),
    "long": lambda r: tcp_frame(Adu(1, b"\x03\x06" + bytes(6), r.transaction)),
    "byte_count_beyond_frame": lambda r: tcp_frame(Adu(1, b"\x03\x04\0\0", r.transaction)),
    "frame_beyond_byte_count": lambda r: tcp_frame(Adu(1, b"\x03\x04" + bytes(7), r.transaction)),
    "odd": lambda r: tcp_frame(Adu(1, b"\x03\x03\0\0\0", r.transaction)),
    "empty": lambda r: tcp_frame(Adu(1, b"\x03", r.transaction)),
    "function_4": lambda r: tcp_frame(Adu(1, b"\x04\x04" + bytes(4), r.transaction)),
    "function_16": lambda r: tcp_frame(Adu(1, b"\x10\0\0\0\2", r.transaction)),
    "unknown_function": lambda r: tcp_frame(Adu(1, b"\x63\x04" + bytes(4), r.transaction)),
    "exception_of_other_function": lambda r: tcp_frame(Adu(1, b"\x84\x02", r.transaction)),
    "exception_with_tail": lambda r: tcp_frame(Adu(1, b"\x83\x02\0", r.transaction)),
    "other_unit": lambda r: tcp_frame(Adu(2, b"\x03\x04" + bytes(4), r.transaction)),
    "other_transaction": lambda r: tcp_frame(Adu(1, b"\x03\x04" + bytes(4), r.transaction + 1)),
    "transaction_zero": lambda r: tcp_frame(Adu(1, b"\x03\x04" + bytes(4), 0)),
    "other_protocol": lambda r: struct.pack(">HHHB", r.transaction, 1, 7, 1) + b"\x03\x04" + bytes(4),
    "garbage": lambda r: b"\xff" * 40,
    "flood": lambda r: tcp_frame(Adu(2, b"\x03\x04" + bytes(4), 9)) * 5000,
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
def test_a_wrong_answer_is_refused_and_a_good_one_after_it_taken(kind: str) -> None:
    async def scenario() -> None:
        lying = True

        def script(request: Adu) -> bytes:
            return WRONG_ANSWERS[kind](request) if lying else tcp_frame(Adu(1, b"\x03\x04\0\1\0\2", request.transaction))

        async with ScriptedServer(script) as server:
            link = Link(TcpAddress(HOST, server.port), timeout_s=0.1)
            await link.connect()
            with pytest.raises((BadAnswer, NoAnswer)):
                await link.request(1, Read(3, 0, 2))
            lying = False
            assert (await link.request(1, Read(3, 0, 2)))[0] == b"\0\1\0\2"
            assert len(server.requests) == 2  # nothing was sent twice
            link.close()

    run(scenario)


def test_a_late_answer_does_not_answer_the_next_request() -> None:
    async def scenario() -> None:
        held: list[bytes] = []

        def script(request: Adu) -> bytes | None:
            answer = tcp_frame(Adu(1, b"\x03\x02" + struct.pack(">H", len(held) + 1), request.transaction))
            held.append(answer)
            return None if len(held) == 1 else held[-2] + held[-1]

        async with ScriptedServer(script) as server:
            link = Link(TcpAddress(HOST, server.port), timeout_s=0.1)
            await link.connect()
            with pytest.raises(NoAnswer):
                await link.request(1, Read(3, 0, 1))
            assert (await link.request(1, Read(3, 0, 1)))[0] == b"\0\2"
            link.close()

    run(scenario)


def test_wrong_answers_are_marked_in_a_cycle() -> None:
    async def scenario() -> None:
        async with ScriptedServer(WRONG_ANSWERS["short"]) as server:
            device = Device("liar", TcpAddress(HOST, server.port), registers(2), timeout_s=0.2)
            readings = await device.cycle(0.5)
            device.close()
        assert list(readings.states) == [PointState.MALFORMED] * 2
        assert np.isnan(readings.values).all()
        assert "03020000" in readings.problems[0]

    run(scenario)


def test_no_server_and_a_hang_up_are_told_apart_and_retried_with_backoff() -> None:
    async def scenario() -> None:
        with pytest.raises(NoConnection, match="Connect"):
            await Link(TcpAddress(HOST, 1), timeout_s=0.5).connect()
        async with ScriptedServer(lambda _: b"hang up") as server:
            device = Device("hanger", TcpAddress(HOST, server.port), registers(2))
            for _ in range(30):
                readings = await device.cycle(0.2)
                assert list(readings.states) == [PointState.NO_CONNECTION] * 2
                await asyncio.sleep(0.01)
            device.close()
            assert 2 <= server.connections <= 3  # not 30

    run(scenario)


def test_a_dead_unit_delays_the_others_by_at_most_one_period() -> None:
    async def scenario() -> None:
        period_s, dead = 0.1, 3
        bank = counting_bank()
        dispatcher = Dispatcher({unit: bank for unit in (1, 2, 3, 4, 5)})
        alive = True

        def script(request: Adu) -> bytes | None:
            if request.unit == dead and not alive:
                return None
            return tcp_frame(Adu(request.unit, dispatcher.answer(request.unit, request.pdu), request.transaction))

        async with ScriptedServer(script) as server:
            points = [point for unit in range(1, 6) for point in registers(3, unit=unit)]
            device = Device("bus", TcpAddress(HOST, server.port), points, timeout_s=0.2)  # longer than the period
            first = await device.cycle(period_s)
            assert not first.states.any()
            alive = False
            oldest_s = 0.0
            for _ in range(12):
                started = time.monotonic()
                readings = await device.cycle(period_s)
                assert time.monotonic() - started < period_s + 0.05
                live = [i for i, point in enumerate(points) if point.unit != dead]
                oldest_s = max(oldest_s, time.monotonic() - readings.t_ns[live].min() * 1e-9)
                assert all(readings.states[i] in (PointState.NO_ANSWER, PointState.NOT_READ) for i in range(6, 9))
            assert oldest_s < 2 * period_s + 0.05  # its own period and one more
            alive = True
            for _ in range(60):
                readings = await device.cycle(period_s)
                await asyncio.sleep(0.01)
                if not readings.states.any():
                    break
            assert not readings.states.any()  # and it is found again
            device.close()

    run(scenario)


def test_a_dead_host_does_not_delay_other_connections() -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()})) as good, ScriptedServer(lambda _: None) as dead:
            live = [Device(f"live{i}", TcpAddress(HOST, good.port), registers(10)) for i in range(3)]
            silent = Device("silent", TcpAddress(HOST, dead.port), registers(10), timeout_s=5.0)
            started = time.monotonic()
            *readings, lost = await poll([*live, silent], 0.3)
            assert time.monotonic() - started < 0.4
            assert not any(r.states.any() for r in readings)
            assert (max(r.t_ns.max() for r in readings) - started * 1e9) < 0.2e9
            assert all(state in (PointState.NO_ANSWER, PointState.NOT_READ) for state in lost.states)
            for device in (*live, silent):
                device.close()

    run(scenario)


@pytest.mark.parametrize("seed", range(8))
def test_bad_points_and_holes_are_isolated_and_the_rest_read_in_few_requests(seed: int) -> None:
    async def scenario() -> None:
        rng = random.Random(seed)
        bad = set(rng.sample(range(200), 2))
        bank = MemoryBank()
        for i in range(200):
            if i not in bad:
                bank.add(Table.HOLDING, i, struct.pack(">H", i))
        unwanted = set(rng.sample(range(200), 60)) | ({min(bad)} if seed % 2 else set())  # one bad register is a hole
        points = [Point(f"r{i}", Table.HOLDING, i, ValueType.U16) for i in range(200) if i not in unwanted]
        async with TcpServer(Dispatcher({1: bank})) as server:
            device = Device("patchy", TcpAddress(HOST, server.port), points, limits=ReadLimits(max_gap=10))
            first = await device.cycle(2.0)
            second = await device.cycle(2.0)
            third = await device.cycle(2.0)
            device.close()
        for readings in (first, second, third):
            for point, value, state in zip(points, readings.values, readings.states, strict=True):
                assert state == (PointState.REFUSED if point.address in bad else PointState.GOOD)
                assert np.isnan(value) if point.address in bad else value == point.address
        assert first.requests <= 4 + 2 * 2 * 8  # two bad places, each found by halves
        assert second.requests == third.requests <= 4
        assert not second.problems

    run(scenario)


def test_isolation_goes_on_in_the_next_cycle_when_time_runs_out() -> None:
    async def scenario() -> None:
        bank = counting_bank(100)
        dispatcher = Dispatcher({1: bank})
        slow, asked = True, 0

        def script(request: Adu) -> bytes | None:
            nonlocal asked
            asked += 1
            if slow and asked % 4 == 0:
                return None  # every fourth request eats the rest of its cycle
            return tcp_frame(Adu(1, dispatcher.answer(1, request.pdu), request.transaction))

        points = [*registers(100), Point("bad", Table.HOLDING, 100, ValueType.U16)]
        async with ScriptedServer(script) as server:
            device = Device("slow", TcpAddress(HOST, server.port), points, timeout_s=0.05)
            for _ in range(20):
                await device.cycle(0.05)
            slow = False
            readings = await device.cycle(1.0)
            device.close()
        assert list(readings.states) == [PointState.GOOD] * 100 + [PointState.REFUSED]
        assert readings.requests <= 2

    run(scenario)


def test_a_device_with_a_smaller_limit_than_the_protocol_is_still_read() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher({1: counting_bank()})

        def script(request: Adu) -> bytes:
            (count,) = struct.unpack_from(">H", request.pdu, 3)
            answer = dispatcher.answer(1, request.pdu) if count <= 32 else b"\x83\x03"
            return tcp_frame(Adu(1, answer, request.transaction))

        async with ScriptedServer(script) as server:
            device = Device("small", TcpAddress(HOST, server.port), registers(120))
            for _ in range(3):
                readings = await device.cycle(2.0)
            device.close()
        assert list(readings.values) == list(range(120))
        assert readings.requests == 4

    run(scenario)


def test_random_answers_do_not_harm_the_client() -> None:
    async def scenario() -> None:
        rng = random.Random(3)

        def script(request: Adu) -> bytes | None:
            kind = rng.randrange(8)
            if kind < 3:  # the right header around anything
                pdu = bytes((rng.choice((1, 3, 4, 16, 23, 43, 0x83, 0x80, rng.randrange(256))),)) + rng.randbytes(
                    rng.randrange(253)
                )
                return tcp_frame(Adu(request.unit, pdu, request.transaction))
            if kind == 3:
                return struct.pack(">HHHB", request.transaction, 0, rng.randrange(65536), 1) + rng.randbytes(rng.randrange(300))
            if kind == 4:
                return b"hang up" if rng.random() < 0.3 else None
            if kind == 5:
                return rng.randbytes(rng.randrange(1, 600))
            return tcp_frame(Adu(request.unit, dispatcher.answer(1, request.pdu), request.transaction))

        dispatcher = Dispatcher({1: counting_bank()})
        good = 0
        async with ScriptedServer(script) as server:
            link = Link(TcpAddress(HOST, server.port), timeout_s=0.01)
            for _ in range(800):
                try:
                    await link.connect()
                    answer, _ = await link.request(1, Read(3, 7, 2))
                except (LinkError, ModbusException):
                    continue
                assert answer == b"\0\7\0\x08"  # only ever the truth: no random answer fits the request
                good += 1
            link.close()
        assert good > 100

    run(scenario)
