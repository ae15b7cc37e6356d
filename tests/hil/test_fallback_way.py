"""The fallback's way to the device: whatever pauses a driver makes, a busy serial line, a point that cannot be written."""

from __future__ import annotations

import asyncio
import os
import time
import tty
from pathlib import Path
from typing import Any

import pytest

from hil.audit import AuditLog, load_or_make_key
from hil.drivers.base import Sent
from hil.drivers.dnp3_master import Dnp3Master
from hil.drivers.modbus_client import ModbusClient
from hil.endpoints import modbus_address
from hil.fallback import send_all
from hil.guard import Guard
from hil.master_wire import MasterWire
from hil.plan import DevicePlan, Role, SerialSettings
from hil.point_csv import parse_map
from hil.point_dnp3 import outstation_points
from hil.safety import EmergencyStop, Warrant
from hil.wire import Surroundings
from protocols.dnp3 import Command, CommandStatus, OperateMode, Outstation, OutstationConfig
from protocols.dnp3.master import MasterStack
from protocols.dnp3.server import OutstationServer
from protocols.modbus import Dispatcher, MemoryBank, SerialAddress, SerialServer, Table, TcpAddress, TcpServer

LIMIT_S = 0.25
MODBUS = parse_map(
    "name,direction,table,address,type,min,max,fallback\na,,holding,0,u16,,,\np,write,holding,1,u16,0,999,value=777\n"
)
DNP3 = parse_map(
    "name,direction,table,address,type,min,max,operate,fallback\n"
    "a,,analog_input,0,,,,,\np,write,analog_output,0,f32,0,999,direct,value=777\n"
)


def guard(points: Any) -> Guard:
    return Guard(points, (), lambda name: 0.0)


def test_a_modbus_device_that_is_back_gets_its_fallback_at_once() -> None:
    """After some failed attempts the next would be due in seconds."""

    async def scene() -> None:
        bank = MemoryBank()
        bank.add(Table.HOLDING, 0, bytes(4), writable=True)
        server = TcpServer(Dispatcher({1: bank}))
        await server.start()
        plan = DevicePlan("dev", Role.CLIENT, f"127.0.0.1:{server.port}", MODBUS, 50_000_000, timeout_s=0.2)
        client = ModbusClient(plan, TcpAddress("127.0.0.1", server.port), lambda *row: None)
        assert (await client.cycle(0.5)).answered
        port = server.port
        await server.close()
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s:
            await client.cycle(0.04)
            await asyncio.sleep(0.01)
        server = TcpServer(Dispatcher({1: bank}), port=port)
        await server.start()
        began_s = time.monotonic()
        (fallen,) = await send_all(client, MODBUS, guard(MODBUS))
        assert time.monotonic() - began_s < LIMIT_S
        assert fallen.sent is not None and fallen.sent.outcome == "ok"
        assert bank.read(Table.HOLDING, 1, 1) == (777).to_bytes(2, "big")
        await client.close()
        await server.close()

    asyncio.run(scene())


class Takes:
    """An outstation's handler that takes every command."""

    def __init__(self) -> None:
        self.operated: list[float | None] = []

    def select(self, command: Command) -> CommandStatus:
        return CommandStatus.SUCCESS

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        self.operated.append(command.value)
        return CommandStatus.SUCCESS


def test_a_dnp3_device_that_is_back_gets_its_fallback_at_once() -> None:
    async def scene() -> None:
        taken = Takes()
        outstation = Outstation(OutstationConfig(address=10), outstation_points(DNP3), clock=time.monotonic_ns, handler=taken)
        server = OutstationServer(outstation, port=0)
        _, port = await server.start()
        async with MasterStack() as stack:
            plan = DevicePlan("dev", Role.MASTER, f"127.0.0.1:{port}", DNP3, 50_000_000, timeout_s=0.2)
            master = Dnp3Master(plan, stack, ("127.0.0.1", port), lambda *row: None, live=True)
            await master.open()
            await master.reach(5.0)
            assert (await master.cycle(2.0)).answered
            await server.close()
            await asyncio.sleep(4.0)  # its pauses have grown to 2 s and more
            assert not master.is_connected
            server = OutstationServer(outstation, port=port)
            await server.start()
            began_s = time.monotonic()
            (fallen,) = await send_all(master, DNP3, guard(DNP3))
            took_s = time.monotonic() - began_s
            assert fallen.sent is not None and fallen.sent.outcome == "ok" and taken.operated == [777.0]
            assert took_s < 2 * LIMIT_S, "its session begins with a request of its own"
            await master.close()
        await server.close()

    asyncio.run(scene())


def test_a_point_that_cannot_be_written_holds_up_none_of_the_others() -> None:
    """The unit of the first does not answer, and its line is left alone for a while; a release still comes last."""
    points = parse_map(
        "name,direction,table,address,type,min,max,fallback\n"
        "r,write,holding,3,u16,0,1,release=1\na,write,holding,1,u16,0,9,value=1\nb,write,holding,2,u16,0,9,value=2\n"
    )
    sends: list[tuple[str, float]] = []
    began_s = time.monotonic()

    class Line:
        async def send(self, order: Any) -> Sent:
            good = order.point.name != "a" or time.monotonic() - began_s > 0.4
            sends.append((order.point.name if good else f"not {order.point.name}", time.monotonic() - began_s))
            return Sent("ok" if good else "busy", order.value, 0, 0, good, good)

        async def reach(self, budget_s: float) -> None: ...

    fallen = asyncio.run(send_all(Line(), points, guard(points)))  # type: ignore[arg-type]
    went = [(name, t_s) for name, t_s in sends if not name.startswith("not")]
    assert [name for name, _ in went] == ["b", "a", "r"] and went[0][1] < 0.1 and went[1][1] < 0.6
    assert [one.point for one in fallen] == ["a", "b", "r"] and not any(one.is_owed for one in fallen)


def test_a_device_that_is_busy_is_asked_again() -> None:
    """Its refusal is an answer, and yet it holds what it was commanded."""

    class Busy(Dispatcher):
        refusals = 2

        def answer(self, unit: int, pdu: bytes, role: str | None = None) -> bytes | None:
            if pdu[0] in (6, 16) and self.refusals:
                self.refusals -= 1
                return bytes((pdu[0] | 0x80, 6))
            return super().answer(unit, pdu, role)

    async def scene() -> None:
        bank = MemoryBank()
        bank.add(Table.HOLDING, 0, bytes(4), writable=True)
        server = TcpServer(Busy({1: bank}))
        await server.start()
        plan = DevicePlan("dev", Role.CLIENT, f"127.0.0.1:{server.port}", MODBUS, 50_000_000, timeout_s=0.2)
        client = ModbusClient(plan, TcpAddress("127.0.0.1", server.port), lambda *row: None)
        (fallen,) = await send_all(client, MODBUS, guard(MODBUS))
        assert fallen.sent is not None and fallen.sent.outcome == "ok"
        assert bank.read(Table.HOLDING, 1, 1) == (777).to_bytes(2, "big")
        await client.close()
        await server.close()

    asyncio.run(scene())


@pytest.mark.parametrize("baud", [9600, 19200])
def test_on_a_busy_serial_line_the_fallback_follows_the_answer_under_way(tmp_path: Path, baud: int) -> None:
    """The line is never free: a poll is several long requests. A fallback sent into an answer would be lost with it."""
    rows = "".join(f"r{block}_{n},,holding,{1000 * block + n},u16,,,\n" for block in range(3) for n in range(40))
    points = parse_map(f"name,direction,table,address,type,min,max,fallback\n{rows}p,write,holding,9,u16,0,999,value=777\n")
    answer_s = 11 * (5 + 80) / baud

    async def scene() -> float:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        bank = MemoryBank()
        for block in range(3):
            bank.add(Table.HOLDING, 1000 * block, bytes(80), writable=True)
        server = SerialServer(Dispatcher({1: bank}), SerialAddress("", baud, "N", 2), fd=ours, pace=True)
        server.start()
        line = SerialSettings(baud, "N", 2)
        plan = DevicePlan("dev", Role.CLIENT, os.ttyname(theirs), points, 1_000_000_000, timeout_s=0.5, serial=line)
        log = AuditLog(tmp_path / "audit" / "dev.jsonl", "run", load_or_make_key(tmp_path / "key.pem"))
        taps: list[tuple[bytes, int]] = []
        around = Surroundings(
            tmp_path, tmp_path, log, EmergencyStop(tmp_path / "STOP"), lambda *cause: None, lambda *cause: None,
            lambda: "", lambda: False,
        )  # fmt: skip

        def driver(wire: MasterWire) -> ModbusClient:
            return ModbusClient(plan, modbus_address(plan, ("", 0)), lambda a, b, octets, t_ns: taps.append((octets, t_ns)))

        wire = MasterWire(plan, around, driver, Warrant("A Tester"))
        await wire.open()
        await wire.arm()
        wire.chain.run()
        wire.start()
        delays = []
        began = len(taps)
        while len(taps) < began + 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)  # in the middle of a request
        struck_ns = time.time_ns()
        await wire.fall("emergency stop")
        delays += [t_ns - struck_ns for octets, t_ns in taps if octets[1] in (6, 16) and octets[2:4] == b"\0\x09"]
        await wire.close()
        server.close()
        log.close()
        for end in (ours, theirs):
            os.close(end)
        assert bank.read(Table.HOLDING, 9, 1) == (777).to_bytes(2, "big")
        return min(delays) / 1e9

    assert asyncio.run(scene()) < answer_s + 0.1
