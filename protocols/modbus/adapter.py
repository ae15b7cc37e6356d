"""One connection to a device, on pymodbus: the only module that imports it.

pymodbus moves the bytes: TCP, TLS and serial transports, framing, transaction numbers, timeouts. What it lets pass is refused
here, on the bytes received: an answer counts only if transaction, unit, function, length and (for writes) echo are exactly those
asked for. Nothing is retried, since a late answer could satisfy the retry and a write could act twice. The TLS framer of pymodbus
3.16.1 takes every segment for a whole frame, so TLS runs on the framer of plain TCP: by the specification they are the same.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass

from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager
from pymodbus.transport import CommParams, CommType

from protocols.modbus.address import Address, SerialAddress, TlsAddress
from protocols.modbus.frame import MBAP_BYTES, TcpSplitter, crc16
from protocols.modbus.pdu import ModbusException, Read, ReadWrite, Request
from protocols.modbus.security import peer_role

DEFAULT_TIMEOUT_S = 1.0


class LinkError(Exception):
    """A request has no usable answer. If it was `sent`, and was a write, it may or may not have acted."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class NoConnection(LinkError):
    """Not connected, or the connection was lost while waiting; the message says why."""


class NoAnswer(LinkError):
    """Nothing that answers the request came within the time."""


class LineBusy(LinkError):
    """Requests of others took all the time; this one was not sent."""


class BadAnswer(LinkError):
    """What came does not answer the request: short, long, of another function, unit or transaction."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Record of one request: monotonic times, the bytes both ways, and what became of it ("ok", or the error's text)."""

    unit: int
    request: Request
    sent_ns: int
    received_ns: int
    sent: bytes
    received: bytes
    outcome: str


class _Outgoing(ModbusPDU):
    """A request of ours in the shape pymodbus sends."""

    def __init__(self, unit: int, encoded: bytes) -> None:
        super().__init__(dev_id=unit)
        self.function_code = encoded[0]
        self._encoded = encoded

    def encode(self) -> bytes:
        return self._encoded[1:]


class _Unparsed(DecodePDU):
    """Leaves the body of an answer alone: `Link` judges its bytes, and nobody would look at the registers unpacked here."""

    def decode(self, frame: bytes) -> ModbusPDU:
        answer = ModbusPDU()
        answer.function_code = frame[0]
        return answer


class _Session(TransactionManager):
    """pymodbus's connection, with causes kept: it says "failed" where the user needs to know why."""

    def __init__(self, params: CommParams, serial: bool, lost: Callable[..., None]) -> None:
        framer = (FramerRTU if serial else FramerSocket)(_Unparsed(False))
        super().__init__(params, framer, 0, False, self._keep, None, None)
        self._serial, self._lost = serial, lost
        if serial:  # pymodbus hangs up after a few unanswered requests: right for a host, wrong for a line that others share
            self.max_until_disconnect = self.count_until_disconnect = sys.maxsize
        self.sent = b""
        self.received = b""
        self.lost_because = ""

    def _keep(self, sending: bool, packet: bytes) -> bytes:
        if sending:
            self.sent, self.received = packet, b""
        else:
            self.received = packet
        return packet

    async def connect(self) -> bool:
        self.is_closing = False
        self.transport, _ = await asyncio.wait_for(self.call_create(), timeout=self.comm_params.timeout_connect)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_active() and not self.is_closing:
            # pymodbus gives up after some requests without an answer; a TimeoutError of the kernel's has a number
            self._lost(given_up=isinstance(exc, TimeoutError) and exc.errno is None)
        self.lost_because = self.lost_because or (str(exc) if exc is not None else "the other end closed it")
        super().connection_lost(exc)
        if not self.response_future.done():
            self.response_future.set_exception(NoConnection(f"connection lost: {self.lost_because}"))
            self.response_future.exception()  # read once, or asyncio reports it as forgotten when nobody is waiting

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        noise = 0
        if self._serial and self.sent:  # a line driver's turnaround often puts a byte or two before an answer
            starts = (data.find(bytes((self.request_dev_id, function))) for function in (self.sent[1], self.sent[1] | 0x80))
            noise = min((start for start in starts if start >= 0), default=0)
        try:
            return noise + int(super().callback_data(data[noise:], addr))
        except (ModbusIOException, LookupError, ValueError, struct.error) as error:  # what its framers raise over garbage
            if not self.response_future.done():
                self.response_future.set_exception(BadAnswer(f"undecodable answer {data.hex()}: {error}"))
            return len(data)


class Link:
    """One connection; requests on it follow one another. Nothing is sent twice, nothing reconnects by itself."""

    def __init__(
        self, address: Address, *, timeout_s: float = DEFAULT_TIMEOUT_S, tap: Callable[[Exchange], None] | None = None
    ) -> None:
        """`tap` is called with every exchange, good or bad. Create links inside a running event loop or outside: both work."""
        self.address = address
        self.timeout_s = timeout_s
        self._tap = tap
        self._serial = isinstance(address, SerialAddress)
        self._session: _Session | None = None
        self._turn = asyncio.Lock()
        self._quarantine_until: dict[int, float] = {}  # serial: unit -> when a late answer can no longer be taken for a new one
        self._line_free_at = 0.0
        self._answered = False
        self.role: str | None = None
        self.hang_ups = 0
        """How often the other end, or the network, ended a connection; those that are given up here do not count."""
        self.gave_up = False
        """Whether the last one was given up here, after some requests without an answer; until the next is tried."""

    @property
    def connected(self) -> bool:
        return self._session is not None and self._session.is_active()

    async def connect(self, timeout_s: float | None = None) -> None:
        """Open the connection (a second call on an open one does nothing). Raises NoConnection with the cause."""
        if self.connected:
            return
        self.close()
        self.gave_up = False
        session = _Session(self._parameters(self.timeout_s if timeout_s is None else timeout_s), self._serial, self._lost)
        try:
            await session.connect()
        except TimeoutError:
            raise NoConnection(f"{self.address}: no connection within {session.comm_params.timeout_connect:g} s") from None
        except (OSError, termios.error) as error:  # also ssl.SSLError and serial.SerialException
            raise NoConnection(f"{self.address}: {str(error) or 'closed by the other end'}{self._hint()}") from error
        self._session = session
        self._answered = False
        self._check_server_role(session)

    def _hint(self) -> str:
        """Why a TLS server may have hung up: under TLS 1.3, and with servers that send no alert, the reason does not arrive."""
        return "" if self._answered or not isinstance(self.address, TlsAddress) else " (does it accept this client's certificate?)"

    def _check_server_role(self, session: _Session) -> None:
        if not isinstance(self.address, TlsAddress):
            return
        self.role = peer_role(session.transport.get_extra_info("ssl_object"))
        if self.address.server_role not in (None, self.role):
            self.close()
            raise NoConnection(f"{self.address}: the server's role is {self.role!r}, not {self.address.server_role!r}")

    def _parameters(self, timeout_s: float) -> CommParams:
        address = self.address
        parameters = CommParams(comm_name=str(address), reconnect_delay=0.0, timeout_connect=timeout_s)
        if isinstance(address, SerialAddress):
            parameters.comm_type, parameters.host = CommType.SERIAL, address.path
            parameters.baudrate, parameters.bytesize = address.baud, 8
            parameters.parity, parameters.stopbits = address.parity, address.stop_bits
            return parameters
        parameters.comm_type, parameters.host, parameters.port = CommType.TCP, address.host, address.port
        if isinstance(address, TlsAddress):
            parameters.comm_type, parameters.sslctx = CommType.TLS, address.context
        return parameters

    def _lost(self, *, given_up: bool) -> None:
        self.gave_up = given_up
        self.hang_ups += not given_up

    def close(self) -> None:
        """Close the connection; a request under way fails with NoConnection."""
        if self._session is not None:
            session, self._session = self._session, None
            if not session.response_future.done():
                session.response_future.set_exception(NoConnection(f"{self.address}: closed"))
                session.response_future.exception()
            session.close()

    async def request(self, unit: int, request: Request, timeout_s: float | None = None) -> tuple[bytes, int]:
        """Send one request and return (registers or packed bits that were read, nothing for a write; monotonic nanoseconds of the
        answer's arrival). `timeout_s` includes waiting for requests under way. Raises LinkError, or ModbusException if the device
        refused."""
        if self._serial and unit == 0:
            raise ValueError("unit 0 on a serial line is a broadcast, which nothing answers")
        remaining_s = self.timeout_s if timeout_s is None else timeout_s
        if self._turn.locked():
            remaining_s = await self._wait_for_turn(remaining_s)
        else:
            await self._turn.acquire()
        try:
            session = self._session
            if session is None or not session.is_active():
                because = f": {session.lost_because}" if session is not None and session.lost_because else ""
                raise NoConnection(f"{self.address}: not connected{because}", sent=False)
            if self._serial:
                await self._wait_for_line(unit)
            return await self._exchange(session, unit, request, remaining_s)
        finally:
            self._turn.release()

    async def _wait_for_turn(self, timeout_s: float) -> float:
        """Wait until requests before this one are through; what is left of the time."""
        deadline_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            raise LineBusy(f"{self.address}: other requests took {timeout_s:g} s", sent=False) from None
        return max(deadline_s - time.monotonic(), 0.0)

    async def _wait_for_line(self, unit: int) -> None:
        now = time.monotonic()
        if now < self._quarantine_until.get(unit, 0.0):
            # An RTU answer does not say which request it answers: one more now could be given the late answer of the last.
            raise NoAnswer(f"{self.address} unit {unit}: not asked while a late answer may still come", sent=False)
        if now < self._line_free_at:
            await asyncio.sleep(self._line_free_at - now)

    async def _exchange(self, session: _Session, unit: int, request: Request, timeout_s: float) -> tuple[bytes, int]:
        session.comm_params.timeout_connect = timeout_s
        outgoing = _Outgoing(unit, request.encode())
        sent_ns = time.monotonic_ns()
        outcome = "cancelled"
        try:
            await session.execute(False, outgoing)
            received_ns = time.monotonic_ns()
            self._answered = True
            answer = self._checked(session.received, outgoing.transaction_id, unit, request)
            outcome = "ok"
            return answer, received_ns
        except ModbusException as error:
            outcome = str(error)
            raise
        except (LinkError, ModbusIOException, ConnectionException) as error:
            failure = self._failure(error, session, unit, timeout_s)
            outcome = str(failure)
            self._quarantine(unit, timeout_s)
            raise failure from None
        except asyncio.CancelledError:
            self._quarantine(unit, timeout_s)
            raise
        finally:
            if isinstance(self.address, SerialAddress):
                self._line_free_at = time.monotonic() + self.address.silence_s
            if self._tap is not None:
                self._tap(Exchange(unit, request, sent_ns, time.monotonic_ns(), session.sent, session.received, outcome))

    def _failure(self, error: Exception, session: _Session, unit: int, timeout_s: float) -> LinkError:
        where = f"{self.address} unit {unit}"
        if isinstance(error, LinkError):
            return type(error)(f"{where}: {error}{self._hint() if isinstance(error, NoConnection) else ''}")
        if isinstance(error, ConnectionException) or not session.is_active():
            return NoConnection(f"{where}: connection lost: {session.lost_because or 'closed here'}{self._hint()}")
        heard = f"; {len(session.received)} bytes came that answer something else" if session.received else ""
        return NoAnswer(f"{where}: no answer within {timeout_s:g} s{heard}")

    def _quarantine(self, unit: int, timeout_s: float) -> None:
        if self._serial:
            self._quarantine_until[unit] = time.monotonic() + timeout_s

    def _checked(self, received: bytes, transaction: int, unit: int, request: Request) -> bytes:
        """The bytes after the answer's head if `received` is exactly the answer. Raises ModbusException or BadAnswer."""
        head, length = request.answer_head(), request.answer_length()
        pdu = _serial_pdu(received, unit, length) if self._serial else _tcp_pdu(received, transaction, unit, length)
        if len(pdu) == length and pdu.startswith(head):
            return pdu[len(head) :] if isinstance(request, (Read, ReadWrite)) else b""
        if len(pdu) == 2 and pdu[0] == request.function | 0x80:
            raise ModbusException(pdu[1], f"{self.address} unit {unit} function {request.function}")
        raise BadAnswer(f"answer {pdu.hex()} should begin with {head.hex()} and have {length} bytes")


def _tcp_pdu(received: bytes, transaction: int, unit: int, length: int) -> bytes:
    if len(received) == MBAP_BYTES + length and received.startswith(struct.pack(">HHHB", transaction, 0, length + 1, unit)):
        return received[MBAP_BYTES:]
    # Refused, wrong, or behind an answer to an earlier request.
    own = [frame for frame in TcpSplitter().feed(received) if frame.transaction == transaction and frame.unit == unit]
    if not own:
        raise BadAnswer(f"answer {received.hex()} is not of transaction {transaction} and unit {unit}")
    return own[0].pdu


def _serial_pdu(received: bytes, unit: int, length: int) -> bytes:
    if len(received) in (length + 3, 5) and received[0] == unit and crc16(received) == 0:  # the answer, or an exception
        return received[1:-2]
    raise BadAnswer(f"answer {received.hex()} is not {length + 3} bytes from unit {unit}")
