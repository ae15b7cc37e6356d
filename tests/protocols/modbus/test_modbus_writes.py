"""Writes: read back, between the reads of a cycle, once and never again whatever comes back."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from modbus_peers import HOST, ScriptedServer, counting_bank, registers

from protocols.modbus import (
    Device,
    Dispatcher,
    Link,
    NoAnswer,
    Point,
    PointError,
    Table,
    TcpAddress,
    TcpServer,
    ValueType,
    WriteState,
)
from protocols.modbus.adapter import LineBusy
from protocols.modbus.frame import Adu, tcp_frame
from protocols.modbus.pdu import Read


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_writes_are_read_back() -> None:
    async def scenario() -> None:
        bank = counting_bank()
        bank.add(Table.HOLDING, 1000, struct.pack(">hh", 0, 1), writable=True)
        points = [
            *registers(2),
            Point("w", Table.HOLDING, 1000, ValueType.S16, scale_factor="w_sf", minimum=-5000, maximum=5000, access="rw"),
            Point("w_sf", Table.HOLDING, 1001, ValueType.S16),
            Point("f", Table.HOLDING, 10, ValueType.F32, access="rw", write_function=23),
            Point("bit", Table.HOLDING, 20, ValueType.BIT, bit=3, access="rw"),
            Point("coil", Table.COIL, 4, ValueType.BIT, access="rw"),
            Point("coils", Table.COIL, 5, ValueType.BIT, access="rw", write_function=15),
            Point("command", Table.HOLDING, 30, ValueType.U16, access="w"),
            Point("fixed", Table.HOLDING, 31, ValueType.U16),
        ]
        async with TcpServer(Dispatcher({1: bank})) as server:
            device = Device("der", TcpAddress(HOST, server.port), points)
            for values in ({"r0": 1}, {"r0": 1, "w": 50}):
                (offline,) = await device.write(1, values)
                assert offline.state is WriteState.NOT_SENT and offline.points == tuple(values)
            await device.cycle(1.0)
            values = {"r0": 7, "r1": 8, "w": 1234, "f": 0.1, "bit": True, "coil": True, "coils": True, "command": 9}
            results = await device.write(1, values)
            assert [result.state for result in results] == [WriteState.DONE] * 7
            assert results[0].points == ("r0", "r1") and results[0].found == (7, 8)
            assert results[1].wanted == (1230.0,) and results[1].found == (1230.0,)  # one step is 10 W
            assert results[-1].found is None
            readings = await device.cycle(1.0)
            assert list(readings.values[[0, 1, 2, 5, 6, 7]]) == [7, 8, 1230, 1, 1, 1]
            requests = server.requests
            for wrong in ({"w": 5001}, {"w": float("nan")}, {"r0": 65536}, {"fixed": 1}, {"nothing": 1}, {"r0": 1, "r1": -1}):
                with pytest.raises(PointError):
                    await device.write(1, wrong)
            assert server.requests - requests <= 2  # scale factors were read; nothing was written
            assert bank.read(Table.HOLDING, 0, 2) == b"\0\7\0\x08"
            device.close()

    run(scenario)


def test_a_write_comes_between_the_reads_of_a_cycle_and_waits_no_longer_than_it_may() -> None:
    async def scenario() -> None:
        dispatcher = Dispatcher({1: counting_bank()})

        def script(request: Adu) -> bytes | None:
            if request.pdu[0] == 4:
                return None
            return tcp_frame(Adu(1, dispatcher.answer(1, request.pdu), request.transaction))

        async with ScriptedServer(script) as server:
            link = Link(TcpAddress(HOST, server.port), timeout_s=0.3)
            await link.connect()
            hanging = asyncio.create_task(link.request(1, Read(4, 0, 1)))
            await asyncio.sleep(0)
            with pytest.raises(LineBusy):
                await link.request(1, Read(3, 0, 1), 0.1)
            waited = asyncio.create_task(link.request(1, Read(3, 5, 1), 0.5))
            with pytest.raises(NoAnswer):
                await hanging
            assert (await waited)[0] == b"\0\5"
            link.close()

    run(scenario)


@pytest.mark.parametrize(
    ("acts", "answers", "state"),
    [
        (True, None, WriteState.DONE),  # the answer was lost, the readback settles it
        (False, None, WriteState.UNKNOWN),  # it may still act
        (False, "good", WriteState.DIFFERENT),
        (True, "short", WriteState.DONE),
        (False, "other value", WriteState.UNKNOWN),
        (False, "exception", WriteState.REFUSED),
    ],
)
def test_a_write_goes_out_once_whatever_comes_back(acts: bool, answers: str | None, state: WriteState) -> None:
    async def scenario() -> None:
        bank = counting_bank()
        dispatcher = Dispatcher({1: bank})

        def script(request: Adu) -> bytes | None:
            if request.pdu[0] != 6:
                return tcp_frame(Adu(1, dispatcher.answer(1, request.pdu), request.transaction))
            if acts:
                dispatcher.answer(1, request.pdu)
            pdu = {
                "good": request.pdu,
                "short": request.pdu[:3],
                "other value": request.pdu[:3] + b"\0\0",
                "exception": b"\x86\x06",
            }
            return None if answers is None else tcp_frame(Adu(1, pdu[answers], request.transaction))

        async with ScriptedServer(script) as server:
            device = Device("odd", TcpAddress(HOST, server.port), registers(1), timeout_s=0.1)
            await device.cycle(0.5)
            (result,) = await device.write(1, {"r0": 77})
            device.close()
            assert result.state is state
            assert sum(adu.pdu[0] == 6 for adu in server.requests) == 1

    run(scenario)
