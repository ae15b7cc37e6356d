"""RTU over a pseudo terminal: reading, writing, silence, late answers, noise, and a line that goes away."""

from __future__ import annotations

import asyncio
import os
import random
import time
import tty
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from modbus_peers import counting_bank, registers

from protocols.modbus import (
    BadAnswer,
    Device,
    Dispatcher,
    Link,
    NoAnswer,
    NoConnection,
    PointState,
    SerialAddress,
    SerialServer,
    WriteState,
)
from protocols.modbus.frame import Adu, rtu_frame
from protocols.modbus.pdu import Read
from protocols.modbus.write import write_points


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


@dataclass
class Line:
    fd: int
    address: SerialAddress


@pytest.fixture
def line() -> Iterator[Line]:
    controller, device = os.openpty()
    tty.setraw(device)
    try:
        yield Line(controller, SerialAddress(os.ttyname(device), baud=19200, parity="N"))
    finally:
        os.close(device)
        os.close(controller)


def test_reads_and_writes(line: Line) -> None:
    async def scenario() -> None:
        server = SerialServer(Dispatcher({1: counting_bank(), 2: counting_bank()}), line.address, fd=line.fd)
        server.start()
        device = Device("meter", line.address, [*registers(130), *registers(3, unit=2)])
        readings = await device.cycle(2.0)
        assert not readings.states.any() and readings.values[129] == 129
        assert readings.requests == server.requests == 3
        (result,) = await device.write(2, {"r1": 500})
        assert result.state is WriteState.DONE
        assert (await device.cycle(2.0)).values[131] == 500
        device.close()
        server.close()

    run(scenario)


def test_a_paced_line_takes_the_time_of_its_baud_rate(line: Line) -> None:
    async def scenario() -> None:
        server = SerialServer(Dispatcher({1: counting_bank()}), line.address, fd=line.fd, pace=True)
        server.start()
        device = Device("meter", line.address, registers(100))
        started = time.monotonic()
        readings = await device.cycle(2.0)
        took_s = time.monotonic() - started
        assert not readings.states.any()
        assert took_s >= (8 + 205) * 10 / 19200  # 111 ms: request and answer, 10 bits a character
        device.close()
        server.close()

    run(scenario)


def test_a_silent_unit_on_the_bus_does_not_take_the_time_of_the_others(line: Line) -> None:
    async def scenario() -> None:
        server = SerialServer(Dispatcher({1: counting_bank()}), line.address, fd=line.fd)
        server.start()
        points = [*registers(5, unit=9), *registers(5, unit=1)]
        device = Device("bus", line.address, points, timeout_s=0.1)
        unread = 0
        for _ in range(6):
            readings = await device.cycle(0.15)
            assert (readings.states[:5] != PointState.GOOD).all()
            unread += bool(readings.states[5:].any())
        assert unread <= 1
        device.close()
        server.close()

    run(scenario)


def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(line: Line) -> None:
    async def scenario() -> None:
        link = Link(line.address, timeout_s=0.1)
        await link.connect()
        with pytest.raises(NoAnswer):
            await link.request(1, Read(3, 0, 1))
        with pytest.raises(NoAnswer, match="late answer"):  # nothing goes out: the answer could still come
            await link.request(1, Read(3, 5, 1))
        (write,) = await write_points(link, registers(1), [5])
        assert write.state is WriteState.NOT_SENT
        os.write(line.fd, rtu_frame(Adu(1, b"\x03\x02\0\x07")))
        await asyncio.sleep(0.12)
        answering = asyncio.get_running_loop()
        os.read(line.fd, 100)  # the first request
        answering.add_reader(line.fd, lambda: (os.read(line.fd, 100), os.write(line.fd, rtu_frame(Adu(1, b"\x03\x02\0\x09")))))
        assert (await link.request(1, Read(3, 5, 1)))[0] == b"\0\x09"
        answering.remove_reader(line.fd)
        link.close()

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (rtu_frame(Adu(1, b"\x03\x02\0\0")), BadAnswer),  # short, checksum right
        (rtu_frame(Adu(1, b"\x03\x06" + bytes(6))), BadAnswer),
        (rtu_frame(Adu(1, b"\x04\x04" + bytes(4))), BadAnswer),
        (rtu_frame(Adu(2, b"\x03\x04" + bytes(4))), NoAnswer),
        (rtu_frame(Adu(1, b"\x03\x04" + bytes(4)))[:-1] + b"\xee", NoAnswer),  # checksum wrong
        (bytes(range(200)), NoAnswer),
    ],
)
def test_wrong_answers_are_refused(line: Line, answer: bytes, error: type[Exception]) -> None:
    async def scenario() -> None:
        link = Link(line.address, timeout_s=0.1)
        await link.connect()
        loop = asyncio.get_running_loop()
        loop.add_reader(line.fd, lambda: (os.read(line.fd, 100), os.write(line.fd, answer)))
        with pytest.raises((BadAnswer, NoAnswer)) as refusal:
            await link.request(1, Read(3, 0, 2))
        assert refusal.type is error or refusal.type is BadAnswer
        loop.remove_reader(line.fd)
        link.close()

    run(scenario)


def test_random_bytes_on_the_line_are_never_an_answer(line: Line) -> None:
    async def scenario() -> None:
        rng, loop = random.Random(5), asyncio.get_running_loop()

        def babble() -> None:
            os.read(line.fd, 100)
            start = bytes((1, rng.choice((1, 3, 3, 3, 4, 0x83, 43, 24, rng.randrange(256)))))
            os.write(line.fd, start + rng.randbytes(rng.randrange(1, 300)))

        loop.add_reader(line.fd, babble)
        link = Link(line.address, timeout_s=0.003)
        await link.connect()
        for unit in range(1, 248):
            with pytest.raises((BadAnswer, NoAnswer)):
                await link.request(unit, Read(3, 0, 2))
        loop.remove_reader(line.fd)
        link.close()

    run(scenario)


def test_noise_before_an_answer_is_skipped(line: Line) -> None:
    async def scenario() -> None:
        link = Link(line.address, timeout_s=0.3)
        await link.connect()
        loop = asyncio.get_running_loop()
        loop.add_reader(line.fd, lambda: (os.read(line.fd, 100), os.write(line.fd, b"\x00" + rtu_frame(Adu(1, b"\x03\x02\0\x05")))))
        assert (await link.request(1, Read(3, 0, 1)))[0] == b"\0\x05"
        loop.remove_reader(line.fd)
        link.close()

    run(scenario)


def test_no_such_port_broadcasts_and_a_lost_line() -> None:
    async def scenario() -> None:
        with pytest.raises(NoConnection, match="no_such_port"):
            await Link(SerialAddress("no_such_port")).connect()
        controller, device = os.openpty()
        tty.setraw(device)
        link = Link(SerialAddress(os.ttyname(device), parity="N"), timeout_s=1.0)
        await link.connect()
        with pytest.raises(ValueError, match="broadcast"):
            await link.request(0, Read(3, 0, 1))
        os.close(device)
        asyncio.get_running_loop().call_later(0.05, os.close, controller)
        with pytest.raises(NoConnection):
            await link.request(1, Read(3, 0, 1))
        link.close()

    run(scenario)
