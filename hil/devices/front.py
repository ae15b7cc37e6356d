"""The face of a stand-in: the socket or serial line that others see, with the honest device behind it and its faults between.

Requests pass as they are; what the device answers goes through a `FaultyLine`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hil.devices.faults import Faults, FaultyLine

_TURN = 65536
Address = tuple[str, int]


class _Pump:
    """Sends octets when they are due, in order."""

    def __init__(self, faults: Faults, write: Callable[[bytes], None]) -> None:
        self._line, self._write = FaultyLine(faults), write
        self._loop = asyncio.get_running_loop()

    def send(self, octets: bytes) -> None:
        now_s = time.monotonic()
        for due_s, part in self._line.send(octets, now_s):
            if due_s <= now_s:
                self._write(part)
            else:
                self._loop.call_later(due_s - now_s, self._write, part)


class TcpFront:
    """Listens for masters and joins each to a connection of its own to the device at `inner`."""

    def __init__(self, inner: Address, faults: Faults, host: str = "127.0.0.1", port: int = 0) -> None:
        self._inner, self._faults = inner, faults
        self.host, self.port = host, port
        self._server: asyncio.Server | None = None
        self._joins: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens; port 0 takes a free one, and `port` is then the real one. OSError names the address."""
        try:
            self._server = await asyncio.start_server(self._joined, self.host, self.port)
        except OSError as error:
            where = (
                f"cannot listen on {self.host}:{self.port} ({error.strerror or error}); choose another port, or 0 for a free one"
            )
            raise OSError(error.errno, where) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and hangs up on everybody. `open` takes the same port again."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._joins):
            task.cancel()
        await asyncio.gather(*self._joins, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._joins.add(task)
        inner_writer: asyncio.StreamWriter | None = None
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*self._inner)
            pump = _Pump(self._faults, lambda octets: None if writer.is_closing() else writer.write(octets))
            await _either(_copy(reader, inner_writer.write), _copy(inner_reader, pump.send))
        except (OSError, asyncio.CancelledError):
            pass  # an end hung up, or the front closes: both are ordinary ends of a connection
        finally:
            self._joins.discard(task)
            for each in (writer, inner_writer):
                if each is not None:
                    each.transport.abort()


async def _copy(reader: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    while octets := await reader.read(_TURN):
        write(octets)


async def _either(*sides: Coroutine[Any, Any, None]) -> None:
    """Until the first of them ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(side) for side in sides]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


class SerialFront:
    """Joins the controlling side of a pseudo terminal, which is what others see, to the device's end of a socket pair."""

    def __init__(self, line_fd: int, inner_fd: int, faults: Faults) -> None:
        self._line_fd, self._inner_fd = line_fd, inner_fd
        self._faults = faults
        self.is_dead = False
        """The device hears nothing: it restarts."""
        for fd in (line_fd, inner_fd):
            os.set_blocking(fd, False)

    def open(self) -> None:
        """Needs a running loop."""
        loop = asyncio.get_running_loop()
        pump = _Pump(self._faults, lambda octets: self._write(self._line_fd, octets))
        loop.add_reader(self._line_fd, self._read, self._line_fd, lambda octets: self._write(self._inner_fd, octets))
        loop.add_reader(self._inner_fd, self._read, self._inner_fd, pump.send)

    def close(self) -> None:
        self.is_dead = True
        loop = asyncio.get_running_loop()
        for fd in (self._line_fd, self._inner_fd):
            loop.remove_reader(fd)

    def _read(self, fd: int, on: Callable[[bytes], None]) -> None:
        try:
            octets = os.read(fd, _TURN)
        except BlockingIOError:
            return
        if octets and not self.is_dead:
            on(octets)

    def _write(self, fd: int, octets: bytes) -> None:
        if not self.is_dead:
            with contextlib.suppress(BlockingIOError):  # nobody reads the line: as on a wire, what is sent is lost
                os.write(fd, octets)
