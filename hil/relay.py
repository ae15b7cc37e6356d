"""A TCP relay inside a gatekeeper: every octet between a protocol stack and the device passes here, is captured, and may be
stopped.

The DNP3 master's connections live in the threads of a C++ stack, which shows no octets; so that stack connects to this relay on the
loopback, and the relay to the device. TLS to the device ends here, in Python's `ssl`. For a server of ours the relay is the public
side. Where `allow` is given, nothing goes on that it has not seen and allowed: this is what makes a dry run unable to write,
whatever a stack does by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Protocol

from protocols.dnp3.application import Function
from protocols.dnp3.link import LinkParser
from protocols.dnp3.transport import FIR

Address = tuple[str, int]
Tap = Callable[[Address, Address, bytes, int], None]
"""(sender, receiver, octets, UTC in ns) of what goes over the line to the device."""


class Allow(Protocol):
    """Called with octets towards the device: empty, or why they must not go. Of what it let pass, the last `pending` octets are not
    understood yet, and wait for the next ones."""

    @property
    def pending(self) -> int: ...
    def __call__(self, octets: bytes, /) -> str: ...


READ_ONLY = frozenset((Function.CONFIRM, Function.READ, Function.ENABLE_UNSOLICITED, Function.DELAY_MEASURE))
"""Functions that change no point, no time and no configuration of an outstation beyond its reporting. The stack asks for
unsolicited reports when it connects, and its binding has no switch for that; a CONFIRM takes the events that were read from the
outstation's buffer for this master."""
_TURN = 65536


class Dnp3ReadOnly:
    """An `Allow` for one connection to an outstation: refuses fragments of any function that is not in READ_ONLY."""

    def __init__(self) -> None:
        self._parser = LinkParser()

    @property
    def pending(self) -> int:
        """How many of the last octets are a frame's beginning: until it is whole nobody knows what it is."""
        return self._parser.pending

    def __call__(self, octets: bytes) -> str:
        before = self._parser.counts.skipped_octets
        for frame in self._parser.feed(octets):
            data = frame.user_data
            if data and data[0] & FIR and len(data) < 3:
                return "a dry run sends no fragment whose function comes later"
            if data and data[0] & FIR and data[2] not in READ_ONLY:
                name = Function(data[2]).name if data[2] in Function.__members__.values() else f"function {data[2]}"
                return f"a dry run sends no {name}"
        return "octets that are no DNP3 frame" if self._parser.counts.skipped_octets > before else ""


class Relay:
    """Listens at `listen`, and joins each connection to one of its own to `target`. `last_error` says why the last one failed."""

    def __init__(
        self,
        target: Address,
        *,
        listen: Address = ("127.0.0.1", 0),
        tap: Tap | None = None,
        allow: Callable[[], Allow] | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 2.0,
        faces_device: bool = True,
    ) -> None:
        """`faces_device`: the device is at `target` (we are its client); else it is who connects."""
        self.target, self._listen, self._tap, self._allow, self._tls = target, listen, tap, allow, tls
        self._timeout_s, self._faces_device = timeout_s, faces_device
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.connected = self.hang_ups = 0
        """Lines that are joined now; how many the far end, or the network, has ended."""
        self.last_error = ""

    async def start(self) -> Address:
        """Listen; gives the address. OSError, with the address, where that is not possible."""
        host, port = self._listen
        try:
            self._server = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {host}:{port} ({error.strerror or error})") from error
        bound: Address = self._server.sockets[0].getsockname()[:2]
        return bound

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            self.last_error = self.last_error or "closed here"  # by `close`; asyncio would complain of a cancelled handler
        finally:
            self._lines.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                far_reader, far_writer = await asyncio.open_connection(*self.target, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            reason = f"no connection within {self._timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            self.last_error = f"{self.target[0]}:{self.target[1]}: {reason}"
            return
        self.connected += 1
        outer = far_writer if self._faces_device else writer
        here, there = outer.get_extra_info("sockname")[:2], outer.get_extra_info("peername")[:2]
        gate = self._allow() if self._allow is not None else None
        outward = self._pump(reader, far_writer, here if self._faces_device else there, there if self._faces_device else here, gate)
        inward = self._pump(far_reader, writer, there if self._faces_device else here, here if self._faces_device else there, None)
        pumps = [asyncio.ensure_future(outward), asyncio.ensure_future(inward)]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            self.hang_ups += pumps[1].done()
        finally:
            self.connected -= 1
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: Address, receiver: Address, gate: Allow | None
    ) -> None:
        held = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while octets := await reader.read(_TURN):
                if gate is not None:
                    if why := gate(octets):
                        self.last_error = why
                        return
                    octets = held + octets
                    octets, held = octets[: len(octets) - gate.pending], octets[len(octets) - gate.pending :]
                    if not octets:
                        continue
                if self._tap is not None:
                    self._tap(sender, receiver, octets, time.time_ns())
                writer.write(octets)
                await writer.drain()
