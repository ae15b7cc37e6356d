"""The server against raw bytes: what the specification asks for, and what a hostile client may not do."""

from __future__ import annotations

import asyncio
import gc
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import psutil
import pytest
from modbus_peers import HOST, counting_bank

from protocols.modbus import Dispatcher, Link, MemoryBank, Table, TcpAddress, TcpServer
from protocols.modbus.frame import Adu, TcpSplitter, tcp_frame
from protocols.modbus.pdu import MaskWrite, Read, ReadWrite, Write


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def hear(reader: asyncio.StreamReader, count: int) -> list[Adu]:
    splitter, frames = TcpSplitter(), list[Adu]()
    while len(frames) < count:
        received = await asyncio.wait_for(reader.read(65536), 2)
        assert received, "the server hung up"
        frames += splitter.feed(received)
    return frames


def test_pipelined_and_split_requests_are_all_answered_in_order() -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()})) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            stream = b"".join(tcp_frame(Adu(1, Read(3, i, 2).encode(), i)) for i in range(50))
            writer.write(stream)
            expected = [Adu(1, struct.pack(">BBHH", 3, 4, i, i + 1), i) for i in range(50)]
            assert await hear(reader, 50) == expected
            for start in range(0, len(stream), 7):
                writer.write(stream[start : start + 7])
                await writer.drain()
                await asyncio.sleep(0)
            assert await hear(reader, 50) == expected
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    ("units", "own", "asked", "answer"),
    [
        ([1], None, 1, b"\x03\x02\0\5"),
        ([1], None, 0, b"\x03\x02\0\5"),  # 0 and 0xFF mean the device itself
        ([1], None, 0xFF, b"\x03\x02\0\5"),
        ([1], None, 2, b"\x83\x0b"),  # not on this network
        ([1, 2], None, 0xFF, b"\x83\x0b"),  # a mere gateway has no registers of its own
        ([1, 2], 2, 0xFF, b"\x03\x02\0\5"),
    ],
)
def test_unknown_and_foreign_units(units: list[int], own: int | None, asked: int, answer: bytes) -> None:
    dispatcher = Dispatcher({unit: counting_bank() for unit in units}, own_unit=own)
    assert dispatcher.answer(asked, Read(3, 5, 1).encode()) == answer


def test_serial_units_keep_quiet_unless_meant_and_broadcasts_act_on_all() -> None:
    banks = {1: counting_bank(), 2: counting_bank()}
    dispatcher = Dispatcher(banks)
    assert dispatcher.answer_serial(3, Read(3, 5, 1).encode()) is None
    assert dispatcher.answer_serial(2, Read(3, 5, 1).encode()) == b"\x03\x02\0\5"
    assert dispatcher.answer_serial(0, Write(6, 9, 1, b"\1\2").encode()) is None
    assert [bank.read(Table.HOLDING, 9, 1) for bank in banks.values()] == [b"\1\2"] * 2


def test_functions_do_what_the_specification_says() -> None:
    bank = counting_bank()
    dispatcher = Dispatcher({1: bank})

    def ask(pdu: bytes) -> str:
        return dispatcher.answer(1, pdu).hex()

    assert ask(Read(1, 0, 10).encode()) == "01024902"  # coils 0, 3, 6, 9
    assert ask(Read(2, 1, 3).encode()) == "020104"
    assert ask(Read(4, 3, 1).encode()) == "040203eb"
    assert ask(Write(5, 1, 1, b"\1").encode()) == "050001ff00"
    assert ask(Write(15, 0, 10, b"\xcd\x01").encode()) == "0f0000000a"
    assert ask(Read(1, 0, 10).encode()) == "0102cd01"
    assert ask(Write(16, 1, 2, bytes.fromhex("000a0102")).encode()) == "1000010002"
    bank.set(Table.HOLDING, 4, b"\0\x12")
    assert ask(MaskWrite(4, 0xF2, 0x25).encode()) == "16000400f20025"
    assert bank.read(Table.HOLDING, 4, 1) == b"\0\x17"  # the example of section 6.16
    assert ask(ReadWrite(3, 2, 3, b"\0\xff").encode()) == "170400ff0017"
    assert ask(Read(3, 399, 2).encode()) == "8302"
    assert ask(Write(6, 400, 1, b"\0\0").encode()) == "8602"
    assert ask(ReadWrite(399, 2, 0, b"\7\7").encode()) == "9702"
    assert bank.read(Table.HOLDING, 0, 1) == b"\0\0"  # refused whole: the write did not happen
    assert ask(b"\x2b\x0e\x01\x00") == "ab01"


def test_read_only_registers_and_blocks() -> None:
    writes: list[tuple[Table, int, int]] = []
    bank = MemoryBank(lambda *write: writes.append(write))
    bank.add(Table.HOLDING, 10, b"\0\1", writable=True)
    bank.add(Table.HOLDING, 11, b"\0\2")
    dispatcher = Dispatcher({1: bank})
    assert dispatcher.answer(1, Read(3, 10, 2).encode()).hex() == "030400010002"  # across blocks that touch
    assert dispatcher.answer(1, Write(16, 10, 2, bytes(4)).encode()).hex() == "9002"
    assert dispatcher.answer(1, Write(6, 10, 1, b"\0\7").encode()).hex() == "06000a0007"
    assert writes == [(Table.HOLDING, 10, 1)]
    with pytest.raises(ValueError, match="overlaps"):
        bank.add(Table.HOLDING, 11, b"\0\0")


def test_a_bank_that_fails_answers_exception_4_and_says_so_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryBank):
        def read(self, table: Table, address: int, count: int) -> bytes:
            raise RuntimeError("sensor burnt")

    assert Dispatcher({1: Broken()}).answer(1, Read(3, 0, 1).encode()) == b"\x83\x04"
    assert "sensor burnt" in caplog.text


def test_a_frame_that_never_ends_and_a_wrong_header_lose_their_connection() -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()}), frame_timeout_s=0.2) as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            for octet in tcp_frame(Adu(1, bytes(200))):  # a byte now and then
                writer.write(bytes((octet,)))
                await asyncio.sleep(0.02)
                if reader.at_eof() or reader.exception() is not None or not server.connections:
                    break
            assert not server.connections
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(tcp_frame(Adu(1, Read(3, 0, 1).encode())) + b"GET / HTTP/1.1\r\n")
            assert (await hear(reader, 1))[0].pdu == b"\x03\x02\0\0"
            assert await asyncio.wait_for(reader.read(1), 2) == b""
            writer.close()

    run(scenario)


def test_many_idle_connections_do_not_lock_a_good_master_out() -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()}), max_connections=8) as server:
            good = Link(TcpAddress(HOST, server.port))
            await good.connect()
            idle = []
            for _ in range(30):
                idle.append(await asyncio.open_connection(HOST, server.port))
                assert (await good.request(1, Read(3, 1, 1)))[0] == b"\0\1"
            assert len(server.connections) <= 8
            late = Link(TcpAddress(HOST, server.port))
            await late.connect()
            assert (await late.request(1, Read(3, 2, 1)))[0] == b"\0\2"
            for _, writer in idle:
                writer.close()
            good.close()
            late.close()

    run(scenario)


def test_a_client_that_asks_and_never_listens_is_stopped() -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: counting_bank()})) as server:
            _, writer = await asyncio.open_connection(HOST, server.port)
            deaf = writer.transport
            assert isinstance(deaf, asyncio.Transport)
            deaf.pause_reading()
            flood = tcp_frame(Adu(1, Read(3, 0, 125).encode())) * 2000
            for _ in range(100):
                writer.write(flood)
                await asyncio.sleep(0)
            stalled = -1
            while stalled != server.requests:  # answers nobody takes: the server stops reading, within its buffers
                stalled = server.requests
                await asyncio.sleep(0.2)
            assert stalled < 200_000
            good = Link(TcpAddress(HOST, server.port))
            await good.connect()
            assert (await good.request(1, Read(3, 2, 1), 1.0))[0] == b"\0\2"
            good.close()
            deaf.abort()

    run(scenario)


def malformed(rng: random.Random) -> bytes:
    """A frame with something wrong: counts, lengths, header fields, or noise."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 300))
    function = rng.choice((1, 2, 3, 4, 5, 6, 15, 16, 22, 23, rng.randrange(256)))
    pdu = bytes((function,)) + rng.randbytes(rng.randrange(0, 252))
    if kind == 1:  # the header's length lies
        return struct.pack(">HHHB", rng.randrange(65536), 0, rng.randrange(65536), 1) + pdu
    if kind == 2:  # another protocol
        return struct.pack(">HHHB", 1, rng.randrange(1, 65536), len(pdu) + 1, 1) + pdu
    if kind == 3:  # counts and addresses at their edges
        edge = (0, 1, 2, 124, 125, 126, 2000, 2001, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
        pdu = struct.pack(">BHHB", function, rng.choice(edge), rng.choice(edge), rng.choice((0, 1, 2, 254, 255))) + rng.randbytes(
            rng.randrange(0, 247)
        )
    frame = tcp_frame(Adu(rng.randrange(256), pdu, rng.randrange(65536)))
    return frame[: rng.randrange(1, len(frame) + 1)] if kind == 4 else frame


async def attack(frames: int, seed: int, *, traced: bool = True) -> tuple[float, float]:
    """Send malformed frames, a good request after each hundred. Returns the slowest good answer, s, and the growth of memory
    between a third of the way and the end, both with the attackers gone: of Python's objects, or (not `traced`) of the process."""
    rng, loop = random.Random(seed), asyncio.get_running_loop()
    slowest_s = 0.0
    if traced:
        tracemalloc.start()
    try:
        async with TcpServer(Dispatcher({1: counting_bank()}), max_connections=16) as server:
            good = Link(TcpAddress(HOST, server.port))
            await good.connect()
            attackers: list[asyncio.Transport] = []

            async def settled_bytes() -> int:
                while attackers:
                    attackers.pop().abort()
                while len(server.connections) > 1:
                    await asyncio.sleep(0.01)
                gc.collect()
                return tracemalloc.get_traced_memory()[0] if traced else psutil.Process().memory_info().rss

            early = 0
            for i in range(frames):
                if not attackers or attackers[-1].is_closing() or rng.random() < 0.1:
                    attackers.append((await loop.create_connection(asyncio.Protocol, HOST, server.port))[0])
                    if len(attackers) > 20:
                        attackers.pop(0).abort()
                attackers[-1].write(malformed(rng))
                await asyncio.sleep(0)
                if i % 100 == 99:
                    started = time.perf_counter()
                    assert len((await good.request(1, Read(3, 1, 1), 1.0))[0]) == 2
                    slowest_s = max(slowest_s, time.perf_counter() - started)
                if i == frames // 3:
                    early = await settled_bytes()
            growth = await settled_bytes() / early - 1
            good.close()
    finally:
        tracemalloc.stop()
    return slowest_s, growth


def test_malformed_frames_do_not_crash_stall_or_grow_the_server(caplog: pytest.LogCaptureFixture) -> None:
    slowest_s, growth = asyncio.run(asyncio.wait_for(attack(frames=3000, seed=7), 100))
    assert slowest_s < 1.0
    assert growth < 0.1
    assert not caplog.records


@pytest.mark.slow
def test_a_hundred_thousand_malformed_frames(caplog: pytest.LogCaptureFixture) -> None:
    slowest_s, growth = asyncio.run(asyncio.wait_for(attack(frames=100_000, seed=11, traced=False), 200))
    assert slowest_s < 1.0
    assert growth < 0.1
    assert not caplog.records
