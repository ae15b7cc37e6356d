"""A line to a DNP3 outstation for `Inquiry`: TCP, TLS or serial, by asyncio. Nothing but reads can leave through it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Protocol

from hil.address import DeviceAddress
from hil.drivers.base import DeviceError
from protocols.dnp3.inquiry import Answer, Inquiry

_TURN = 65536
_UNCONFIRMED_S = 10.0
"""How long an outstation may wait for the confirmation of events it reported unasked before it answers a read."""


class _Wire(Protocol):
    async def read(self) -> bytes: ...
    def write(self, octets: bytes) -> None: ...
    def close(self) -> None: ...


class Dnp3Line:
    """Asks one outstation. Everything raises DeviceError, which names address and cause."""

    def __init__(self, address: DeviceAddress, timeout_s: float = 2.0) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.inquiry = Inquiry(address.master, 10 if address.station is None else address.station)
        self._wire: _Wire | None = None

    @property
    def is_open(self) -> bool:
        return self._wire is not None

    async def open(self) -> None:
        """Connects."""
        address = self.address
        try:
            async with asyncio.timeout(self.timeout_s):
                self._wire = _SerialWire(address) if address.serial is not None else await _TcpWire.open(address)
        except TimeoutError:
            raise DeviceError(
                f"{address}: no connection within {self.timeout_s:g} s; is the device there, and on this network?"
            ) from None
        except OSError as error:
            raise DeviceError(f"{address}: {error.strerror or error}") from error

    async def read(self, objects: bytes) -> list[Answer]:
        """The fragments that answer a READ of these object headers."""
        inquiry = self.inquiry
        answers: list[Answer] = []
        self._write(inquiry.read(objects))
        unasked, deadline_s = inquiry.unsolicited, time.monotonic() + self.timeout_s
        while not (answers and answers[-1].is_last):
            fresh = inquiry.receive(await self._octets(deadline_s, answered=bool(answers)))
            self._write(inquiry.data_to_send())
            if fresh:
                deadline_s = time.monotonic() + self.timeout_s
            elif inquiry.unsolicited > unasked:
                unasked, deadline_s = inquiry.unsolicited, time.monotonic() + self.timeout_s + _UNCONFIRMED_S
            answers += fresh
        return answers

    async def link_is_up(self) -> bool:
        """Whether the outstation's link layer answers."""
        self._write(self.inquiry.link_status())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                while not self.inquiry.link_answered:
                    self.inquiry.receive(await self._receive())
                    self._write(self.inquiry.data_to_send())
        return self.inquiry.link_answered

    def _write(self, octets: bytes) -> None:
        if self._wire is None:
            raise DeviceError(f"{self.address}: not connected")
        if octets:
            self._wire.write(octets)

    async def _octets(self, deadline_s: float, answered: bool) -> bytes:
        left_s = deadline_s - time.monotonic()
        try:
            if left_s <= 0:  # somebody talks without end: what is buffered is read without a pause that a timeout could end
                raise TimeoutError
            async with asyncio.timeout(left_s):
                return await self._receive()
        except TimeoutError:
            raise DeviceError(f"{self.address}: {self._silence(answered)}") from None

    def _silence(self, answered: bool) -> str:
        inquiry = self.inquiry
        if answered:
            return f"the answer broke off; nothing more within {self.timeout_s:g} s"
        others = ", ".join(map(str, sorted(inquiry.heard_from)))
        also = f" (heard on the line: outstation {others})" if others else ""
        wrong = f"; {inquiry.problems[-1]}" if inquiry.problems else ""
        link = " though its link layer answers" if inquiry.link_answered else ""
        who = f"outstation {inquiry.outstation} does not answer master {inquiry.master} within {self.timeout_s:g} s{link}"
        return f"{who}{also}{wrong}; check both link addresses (dnp3://HOST:PORT/OUTSTATION?master=N)"

    async def _receive(self) -> bytes:
        assert self._wire is not None
        try:
            octets = await self._wire.read()
        except OSError as error:
            self.close()
            raise DeviceError(f"{self.address}: connection lost: {error.strerror or error}") from error
        if not octets:
            self.close()
            raise DeviceError(
                f"{self.address}: the device closed the connection: it is no DNP3 outstation, or another master with link address "
                f"{self.address.master} has taken this one's place (choose another with ?master=N)"
            )
        return octets

    def close(self) -> None:
        """Closes the line; closing twice is harmless."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


class _TcpWire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: DeviceAddress) -> _TcpWire:
        from hil.endpoints import tls_client

        context = None if address.tls is None else tls_client(address.tls)
        return cls(*await asyncio.open_connection(address.host, address.port, ssl=context))

    async def read(self) -> bytes:
        return await self._reader.read(_TURN)

    def write(self, octets: bytes) -> None:
        self._writer.write(octets)

    def close(self) -> None:
        self._writer.transport.abort()


class _SerialWire:
    def __init__(self, address: DeviceAddress) -> None:
        import termios

        import serial

        line = address.serial
        assert line is not None
        try:
            self._port = serial.Serial(
                address.path, line.baud, parity=line.parity, stopbits=line.stop_bits, timeout=0, exclusive=True
            )
        except termios.error as error:
            raise OSError(f"the line does not take {line.baud} baud, parity {line.parity}, {line.stop_bits} stop bits") from error

    async def read(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._port.fileno(), lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self._port.fileno())
        return os.read(self._port.fileno(), _TURN)

    def write(self, octets: bytes) -> None:
        self._port.write(octets)

    def close(self) -> None:
        self._port.close()
