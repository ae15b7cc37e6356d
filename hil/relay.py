"""A TCP relay inside a gatekeeper: every octet between a protocol stack and the device passes here, is captured, and may be
stopped.

The DNP3 master's connections live in the threads of a C++ stack, which shows no octets; so that stack connects to this relay on the
loopback, and the relay to the device. TLS to the device ends here, in Python's `ssl`. For a server of ours the relay is the public
side. Where a gate is given, nothing goes on that it has not seen and let pass: this is what makes a dry run unable to write,
whatever a stack does by itself. A serial line has a relay of its own kind (`serial_relay.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable

from hil.read_only import Gate, MakeGate

Address = tuple[str, int]
Tap = Callable[[Address, Address, bytes, int], None]
"""(sender, receiver, octets, UTC in ns) of what goes over the line to the device."""


_TURN = 65536


class Relay:
    """Listens at `listen`, and joins each connection to one of its own to `target`. `last_error` says why the last one failed."""

    def __init__(
        self,
        target: Address,
        *,
        listen: Address = ("127.0.0.1", 0),
        tap: Tap | None = None,
        gate: MakeGate | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 2.0,
        faces_device: bool = True,
    ) -> None:
        """`faces_device`: the device is at `target` (we are its client); else it is who connects."""
        self.target, self._listen, self._tap, self._gate, self._tls = target, listen, tap, gate, tls
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
        near, far = (here, there) if self._faces_device else (there, here)
        gate = self._gate() if self._gate is not None else None
        outward = self._pump(reader, far_writer, near, far, gate, writer)
        inward = self._pump(far_reader, writer, far, near, None, far_writer)
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
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        sender: Address,
        receiver: Address,
        gate: Gate | None,
        back: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while octets := await reader.read(_TURN):
                if gate is not None:
                    passed = gate(octets)
                    if passed.refused:
                        self.last_error = passed.refused
                        return
                    back.write(passed.answer)
                    octets = passed.onward
                    if not octets:
                        continue
                if self._tap is not None:
                    self._tap(sender, receiver, octets, time.time_ns())
                writer.write(octets)
                await writer.drain()
