"""Servers on asyncio: TCP and TLS, and RTU on a serial line.

The server of pymodbus answers only the first of several requests in a segment and loses one that is split, so this one is our own:
`frame.py` cuts, `bank.py` answers, and here bytes move. What a hostile client can do is bounded: bytes handled per turn of the
loop, connections (the one idle for longest gives way), the time a frame may take to arrive, and what waits to be sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from typing import cast

import serial

from protocols.modbus.address import SerialAddress
from protocols.modbus.bank import Dispatcher
from protocols.modbus.frame import Adu, RtuSplitter, TcpSplitter, rtu_frame, tcp_frame
from protocols.modbus.security import CertificateError, peer_role

_LOG = logging.getLogger(__name__)
_TURN_BYTES = 8192  # read per connection and turn of the event loop: one flooding client does not starve the others
_HANDSHAKE_S = 5.0
_SERIAL_GAP_S = 0.05  # shortest silence taken for the end of a frame: operating systems deliver the bytes of one frame late


class TcpServer:
    """Modbus TCP on `host` (loopback unless told otherwise); with `context` Modbus/TCP Security. Port 0 takes a free one."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        max_connections: int = 64,
        frame_timeout_s: float = 5.0,
        delay_s: float = 0.0,
    ) -> None:
        """`frame_timeout_s`: how long a frame may take to arrive. `delay_s`: what the device takes to answer; may be changed."""
        if context is not None and dispatcher.roles is None:
            raise ValueError("a secured server needs roles: tell the dispatcher what each role may do")
        self.dispatcher = dispatcher
        self.host, self.port = host, port
        self._context = context
        self._max_connections = max_connections
        self.frame_timeout_s, self.delay_s = frame_timeout_s, delay_s
        self.connections: dict[_Connection, None] = {}  # the one idle for longest first
        self._server: asyncio.Server | None = None
        self.requests = 0

    async def start(self) -> None:
        """Listen. Raises OSError, for example for a port in use; afterwards `port` is the real one."""
        handshake_s = None if self._context is None else _HANDSHAKE_S
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), self.host, self.port, ssl=self._context, ssl_handshake_timeout=handshake_s
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> TcpServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def admit(self, connection: _Connection) -> None:
        """Take a connection into the list; at the limit the one idle for longest is dropped."""
        if len(self.connections) >= self._max_connections:
            next(iter(self.connections)).abort()
        self.connections[connection] = None

    def touch(self, connection: _Connection) -> None:
        """A request came: the connection is the most recently used."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._splitter = TcpSplitter()
        self._buffer = bytearray(_TURN_BYTES)
        self._transport: asyncio.Transport | None = None
        self._role: str | None = None
        self._unfinished: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        plain_socket = transport.get_extra_info("socket")
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._server.admit(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            try:
                self._role = peer_role(tls)
            except CertificateError as error:
                _LOG.warning("connection from %s refused: %s", transport.get_extra_info("peername"), error)
                self.abort()

    def abort(self) -> None:
        self._server.connections.pop(self, None)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._server.connections.pop(self, None)
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()  # who does not read answers may not ask

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, _: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        frames = self._splitter.feed(bytes(self._buffer[:nbytes]))
        if frames and self._transport is not None:
            self._send(b"".join(self._answer(frame) for frame in frames))
            self._server.requests += len(frames)
            self._server.touch(self)
            self._stop_timer()
        if self._splitter.broken is not None:
            if self._transport is not None:
                self._transport.close()  # after what was answered has gone out
        elif self._splitter.pending and self._unfinished is None:
            self._unfinished = asyncio.get_running_loop().call_later(self._server.frame_timeout_s, self.abort)
        elif not self._splitter.pending:
            self._stop_timer()

    def _answer(self, asked: Adu) -> bytes:
        pdu = self._server.dispatcher.answer(asked.unit, asked.pdu, self._role)
        return b"" if pdu is None else tcp_frame(Adu(asked.unit, pdu, asked.transaction))

    def _send(self, frames: bytes) -> None:
        if self._transport is None or not frames:
            return
        if self._server.delay_s > 0:
            asyncio.get_running_loop().call_later(self._server.delay_s, self._transport.write, frames)
        else:
            self._transport.write(frames)


class SerialServer:
    """Modbus RTU on a serial port, or on an open descriptor such as the controlling side of a pseudo terminal.

    `pace` makes a line without a baud rate (a pseudo terminal) honest: an answer leaves after the time that request, silence and
    answer would have taken on the line.
    """

    def __init__(
        self, dispatcher: Dispatcher, line: SerialAddress, *, fd: int | None = None, pace: bool = False, delay_s: float = 0.0
    ) -> None:
        """With `fd` None, `line.path` is opened by `start`; otherwise the descriptor stays the caller's. `delay_s`: what the device
        takes to answer; may be changed."""
        self.dispatcher, self.line, self._pace = dispatcher, line, pace
        self.delay_s = delay_s
        self._fd = fd
        self._port: serial.Serial | None = None
        self._splitter = RtuSplitter(max(line.silence_s, _SERIAL_GAP_S))
        self._outgoing = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self.requests = 0
        self.lost_because = ""  # why the line ended, if it did

    def start(self) -> None:
        """Listen; needs a running event loop. Raises serial.SerialException (an OSError) if the port cannot be opened."""
        if self._fd is None:
            line = self.line
            self._port = serial.Serial(line.path, line.baud, parity=line.parity, stopbits=line.stop_bits, timeout=0, exclusive=True)
            self._fd = self._port.fileno()
        os.set_blocking(self._fd, False)
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Stop; a port opened by `start` is closed."""
        if self._fd is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._fd)
            loop.remove_writer(self._fd)
            self._fd = None
        if self._timer is not None:
            self._timer.cancel()
        if self._port is not None:
            self._port.close()
            self._port = None

    def _readable(self) -> None:
        if self._fd is None:
            return
        try:
            received = os.read(self._fd, _TURN_BYTES)
        except BlockingIOError:
            return
        except OSError as error:  # the line was closed at the other end, or the adapter pulled out
            self._lose(str(error))
            return
        if not received:
            self._lose("end of the line")
            return
        for adu, is_request in self._splitter.feed(received, time.monotonic_ns()):
            if is_request:
                self._answer(adu)

    def _lose(self, because: str) -> None:
        self.lost_because = because
        self.close()

    def _answer(self, adu: Adu) -> None:
        pdu = self.dispatcher.answer_serial(adu.unit, adu.pdu)
        self.requests += 1
        if pdu is None:
            return
        frame = rtu_frame(Adu(adu.unit, pdu))
        delay_s = self.delay_s + self.line.silence_s  # masters need the silence to see where their request ended
        if self._pace:
            delay_s += (len(adu.pdu) + 3 + len(frame)) * self.line.character_s + self.line.silence_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._send, frame)

    def _send(self, frame: bytes) -> None:
        self._outgoing += frame
        self._writable()

    def _writable(self) -> None:
        if self._fd is None:
            return
        loop = asyncio.get_running_loop()
        try:
            del self._outgoing[: os.write(self._fd, self._outgoing)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(str(error))
            return
        if self._outgoing:
            loop.add_writer(self._fd, self._writable)
        else:
            loop.remove_writer(self._fd)
