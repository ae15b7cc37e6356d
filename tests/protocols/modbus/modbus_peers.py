"""What the Modbus tests talk to: a bank of known registers, and servers that misbehave to order."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from types import TracebackType

from protocols.modbus import MemoryBank, Point, Table, ValueType
from protocols.modbus.frame import Adu, TcpSplitter

HOST = "127.0.0.1"


def counting_bank(registers: int = 400) -> MemoryBank:
    """Holding and input register i holds i (input: i + 1000); coils and discrete inputs: every third is on."""
    bank = MemoryBank()
    bank.add(Table.HOLDING, 0, b"".join(struct.pack(">H", i) for i in range(registers)), writable=True)
    bank.add(Table.INPUT, 0, b"".join(struct.pack(">H", i + 1000) for i in range(registers)))
    bank.add(Table.COIL, 0, bytes(i % 3 == 0 for i in range(registers)), writable=True)
    bank.add(Table.DISCRETE, 0, bytes(i % 3 == 0 for i in range(registers)))
    return bank


def registers(count: int, start: int = 0, unit: int = 1) -> list[Point]:
    """Points of one u16 register each."""
    return [Point(f"r{i}", Table.HOLDING, i, ValueType.U16, unit=unit, access="rw") for i in range(start, start + count)]


class ScriptedServer:
    """Answers each request with what `script(request)` returns: bytes sent as they are, or None for silence."""

    def __init__(self, script: Callable[[Adu], bytes | None]) -> None:
        self._script = script
        self.requests: list[Adu] = []
        self.port = 0
        self.connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        splitter = TcpSplitter()
        try:
            while received := await reader.read(4096):
                for adu in splitter.feed(received):
                    self.requests.append(adu)
                    answer = self._script(adu)
                    if answer == b"hang up":
                        return
                    if answer is not None:
                        writer.write(answer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()

    async def __aenter__(self) -> ScriptedServer:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
