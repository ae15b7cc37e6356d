"""What a client writes to a Modbus server that we play: whole points within their limits, or nothing of it acts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from hil.drivers.modbus_server import ModbusServer
from hil.plan import DevicePlan, Role
from hil.point_csv import parse_map
from protocols.modbus import ExceptionCode, Link, ModbusException, TcpAddress
from protocols.modbus.pdu import Function, Write

POINTS = parse_map(
    "name,direction,table,address,type,min,max,fallback\n"
    "p,write,holding,0,u32,0,100000,hold\nq,write,holding,2,u16,0,50,hold\nr,write,holding,3,u16,0,50,hold\n"
)


@pytest.mark.parametrize(
    ("address", "words", "acts", "code"),
    [
        (0, (1, 2), [("p", 65538.0)], None),
        (2, (7, 8), [("q", 7.0), ("r", 8.0)], None),
        (0, (1,), [], ExceptionCode.ILLEGAL_DATA_ADDRESS),
        (1, (2,), [], ExceptionCode.ILLEGAL_DATA_ADDRESS),
        (1, (2, 7), [], ExceptionCode.ILLEGAL_DATA_ADDRESS),
        (2, (7, 51), [], ExceptionCode.ILLEGAL_DATA_VALUE),
    ],
)
def test_half_a_point_or_half_a_request_never_acts(
    address: int, words: tuple[int, ...], acts: list[tuple[str, float]], code: ExceptionCode | None
) -> None:
    taken: list[tuple[str, float]] = []

    def command(name: str, value: float, details: Mapping[str, Any]) -> str:
        taken.append((name, value))
        return ""

    async def scene() -> None:
        plan = DevicePlan("dev", Role.SERVER, "127.0.0.1:0", POINTS, 100_000_000)
        server = ModbusServer(plan, ("127.0.0.1", 0), (), lambda *row: None, command)
        await server.open()
        link = Link(TcpAddress(*server.address))
        await link.connect()
        data = b"".join(word.to_bytes(2, "big") for word in words)
        request = Write(Function.WRITE_MULTIPLE_REGISTERS, address, len(words), data)
        if code is None:
            await link.request(1, request)
        else:
            with pytest.raises(ModbusException) as refused:
                await link.request(1, request)
            assert refused.value.code == code
        link.close()
        await server.close()

    asyncio.run(scene())
    assert taken == acts
