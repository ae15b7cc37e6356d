"""The outstation on a TCP or TLS socket, by asyncio.

    outstation = Outstation(config, points, clock=time.monotonic_ns, handler=handler)
    server = OutstationServer(outstation, port=20000)
    await server.start()
    server.update(PointType.ANALOG_INPUT, 0, 7200.0)      # from the loop's thread

The outstation's clock must run at the pace of real time while it is on a socket.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .connection import Connection
from .database import EventMode
from .outstation import Outstation
from .values import Flag, PointType

Address = tuple[str, int]
Tap = Callable[[Address, Address, bytes], None]
"""Called with (sender, receiver, octets) for everything that goes over a connection, before it is acted upon or sent."""

_MAX_UNREAD = 1 << 20
"""Octets a master may leave unread before its connection is cut."""
_SHORTEST_WAIT_S = 0.0005


def tls_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """A server's context for mutual TLS 1.2 or later: masters must show a certificate that `authority` has signed.

    Files are PEM. Errors of `ssl` and of the file system are raised as they are; both name the file or the fault.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Line(Protocol):
    """What the server asks of one of its lines."""

    def flush(self) -> None:
        """Send what is due."""

    def abort(self) -> None:
        """Close at once."""


class OutstationServer:
    """Listens for masters of one outstation. At most `max_connections` at once; further ones are closed at once."""

    def __init__(
        self,
        outstation: Outstation,
        *,
        host: str = "127.0.0.1",
        port: int = 20000,
        ssl_context: ssl.SSLContext | None = None,
        tap: Tap | None = None,
        max_connections: int = 16,
    ) -> None:
        self.outstation = outstation
        self.tap = tap
        self.max_connections = max_connections
        self._host, self._port, self._ssl = host, port, ssl_context
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: set[Line] = set()
        self._timer: asyncio.Handle | None = None
        self._service_due = False

    @property
    def address(self) -> Address:
        """Where it listens; RuntimeError before `start`."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the outstation's server is not listening; start it first")
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def connections(self) -> int:
        return len(self._lines)

    async def start(self) -> Address:
        """Binds and listens; port 0 lets the system choose. OSError with the address where that is not possible."""
        self._loop = asyncio.get_running_loop()
        try:
            self._server = await self._loop.create_server(lambda: _Line(self), self._host, self._port, ssl=self._ssl)
        except OSError as error:
            where = f"DNP3 outstation {self.outstation.config.address} cannot listen on {self._host}:{self._port}"
            raise OSError(error.errno, f"{where} ({error.strerror or error}); choose another port or address") from error
        return self.address

    async def close(self) -> None:
        """Stops listening and closes every connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.abort()
        # connection_lost is called by the loop, one turn later.
        while self._lines:
            await asyncio.sleep(0)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def update(
        self,
        kind: PointType,
        index: int,
        value: bool | int | float | bytes,
        *,
        flags: int = int(Flag.ONLINE),
        time_ms: int | None = None,
        mode: EventMode = EventMode.DETECT,
    ) -> bool:
        """`Outstation.update`; what it makes due is sent in the loop's next turn, together with the updates of this one."""
        made_event = self.outstation.update(kind, index, value, flags=flags, time_ms=time_ms, mode=mode)
        self.poke()
        return made_event

    def poke(self) -> None:
        """To be called after the outstation was changed other than by `update`."""
        if not self._service_due and self._loop is not None:
            self._service_due = True
            self._loop.call_soon(self.service)

    def service(self) -> None:
        """Runs the timers, sends what is due, closes what is to be closed, and waits for the next deadline."""
        self._service_due = False
        self.outstation.advance()
        for line in list(self._lines):
            line.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ns = self.outstation.next_deadline_ns()
        if deadline_ns is not None and self._loop is not None:
            wait_s = (deadline_ns - self.outstation.now_ns()) / 1e9
            self._timer = self._loop.call_later(max(wait_s, _SHORTEST_WAIT_S), self.service)

    def add(self, line: Line) -> bool:
        if len(self._lines) >= self.max_connections:
            return False
        self._lines.add(line)
        return True

    def remove(self, line: Line) -> None:
        self._lines.discard(line)


class _Line(asyncio.Protocol):
    """One socket."""

    def __init__(self, server: OutstationServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._connection: Connection | None = None
        self._peer: Address = ("", 0)
        self._local: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._server.add(self):
            transport.abort()
            return
        self._transport = transport
        self._peer = transport.get_extra_info("peername")[:2]
        self._local = transport.get_extra_info("sockname")[:2]
        self._connection = self._server.outstation.connect()
        self._server.poke()

    def data_received(self, data: bytes) -> None:
        if self._connection is None:
            return
        if self._server.tap is not None:
            self._server.tap(self._peer, self._local, data)
        self._connection.receive(data)
        self._server.service()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.remove(self)
        if self._connection is not None:
            self._connection.lost()
            self._connection = None
            self._server.poke()

    def flush(self) -> None:
        if self._connection is None or self._transport is None or self._transport.is_closing():
            return
        octets = self._connection.data_to_send()
        if octets:
            if self._server.tap is not None:
                self._server.tap(self._local, self._peer, octets)
            self._transport.write(octets)
        if self._transport.get_write_buffer_size() > _MAX_UNREAD:
            self._transport.abort()
        elif self._connection.closing:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
