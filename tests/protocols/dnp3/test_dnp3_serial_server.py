"""Our outstation on a serial line: a pseudo terminal, asked through octets of our own and by yadnp3."""

from __future__ import annotations

import asyncio
import os
import random
import time
import tty
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from dnp3_rig import RecordingHandler, every_type

from protocols.dnp3 import ControlCode, Crob, Outstation, OutstationConfig, PointType
from protocols.dnp3.application import IIN
from protocols.dnp3.inquiry import CLASS_0, Answer, Inquiry
from protocols.dnp3.serial_server import SerialOutstationServer


@pytest.fixture
def line() -> Iterator[tuple[int, int]]:
    """(the outstation's end, the master's end) of a pseudo terminal."""
    ends = os.openpty()
    tty.setraw(ends[1])
    os.set_blocking(ends[1], False)
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError as error:  # a test has closed it
            assert error.strerror == "Bad file descriptor"


def device() -> Outstation:
    config = OutstationConfig(masters=(1,), cold_restart_s=0.05, unsolicited=False)
    return Outstation(config, every_type(3), clock=time.monotonic_ns, handler=RecordingHandler())


async def ask(fd: int, inquiry: Inquiry, objects: bytes) -> Answer:
    loop = asyncio.get_running_loop()
    os.write(fd, inquiry.read(objects))
    async with asyncio.timeout(5):
        while True:
            ready = loop.create_future()
            loop.add_reader(fd, lambda ready=ready: None if ready.done() else ready.set_result(None))
            await ready
            loop.remove_reader(fd)
            answers = inquiry.receive(os.read(fd, 4096))
            if octets := inquiry.data_to_send():
                os.write(fd, octets)
            if answers and answers[-1].is_last:
                return answers[-1]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_it_answers_restarts_and_goes_on(line: tuple[int, int]):
    async def scenario() -> None:
        outstation = device()
        heard: list[bytes] = []
        server = SerialOutstationServer(outstation, fd=line[0], tap=lambda _from, _to, octets: heard.append(octets))
        await server.start()
        server.update(PointType.ANALOG_INPUT, 1, 2.5)
        inquiry = Inquiry()
        answer = await ask(line[1], inquiry, CLASS_0)
        values = {(value.kind, value.point): value.reading.value for value in answer.values}
        assert values[PointType.ANALOG_INPUT, 1] == 2.5 and len(heard) >= 2
        assert answer.iin & IIN.DEVICE_RESTART

        os.write(line[1], bytes.fromhex("0564") + random.Random(1).randbytes(200))  # noise on the line
        assert (await ask(line[1], inquiry, CLASS_0)).values
        await server.close()
        assert server.connections == 0
        await server.start()
        assert (await ask(line[1], inquiry, CLASS_0)).values

        os.close(line[1])
        async with asyncio.timeout(5):
            while not server.lost_because:
                await asyncio.sleep(0.01)
        await server.close()

    run(scenario)


def test_a_line_that_cannot_be_opened_is_named():
    async def scenario() -> None:
        server = SerialOutstationServer(device(), "/dev/no-such-line")
        with pytest.raises(OSError, match=r"DNP3 outstation on /dev/no-such-line: .*No such file"):
            await server.start()

    run(scenario)


def test_yadnp3_polls_and_commands_it(line: tuple[int, int]):
    pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")
    from protocols.dnp3.master import MasterStack
    from protocols.dnp3.master_config import MasterConfig, SerialLine

    async def scenario() -> None:
        outstation = device()
        server = SerialOutstationServer(outstation, fd=line[0])
        await server.start()
        server.update(PointType.COUNTER, 2, 77)
        async with MasterStack() as stack:
            master = await stack.add(MasterConfig("line", serial=SerialLine(os.ttyname(line[1]), 9600)))
            async with asyncio.timeout(10):
                await master.connected()
                seen: dict[tuple[int, int], Any] = {}
                while seen.get((20, 2)) != 77:
                    seen |= {(report.group, report.point): report.value for report in await master.reports()}
            assert (await master.operate(1, Crob(ControlCode.LATCH_ON))).success
            assert isinstance(outstation.handler, RecordingHandler) and len(outstation.handler.operated) == 1
            assert await master.restart() == pytest.approx(0.05)
            async with asyncio.timeout(10):
                while outstation.restarts == 0 or outstation.restarting:
                    await asyncio.sleep(0.01)
            await master.integrity()
        await server.close()

    run(scenario)
