"""The outstation on a serial line, by asyncio: one line, any master that is served and calls on it.

    server = SerialOutstationServer(outstation, "/dev/ttyUSB0", baud=9600)
    await server.start()

A pseudo terminal's controlling side is given as an open descriptor (`fd`) instead.
"""

from __future__ import annotations

import asyncio
import os
import termios

import serial

from .connection import Connection
from .outstation import Outstation
from .server import Address, OutstationServer, Tap

_TURN = 4096
_MAX_UNSENT = 1 << 16
"""Octets that may wait for a line that takes none; what is older is of no use on a line."""


class SerialOutstationServer(OutstationServer):
    """As `OutstationServer`, on a serial port: 8 data bits, no parity and one stop bit unless told otherwise.

    `lost_because` says why the line ended, if it did (an adapter pulled out); the outstation then waits for another `start`.
    """

    def __init__(
        self,
        outstation: Outstation,
        device: str = "",
        *,
        baud: int = 9600,
        parity: str = "N",
        stop_bits: int = 1,
        fd: int | None = None,
        tap: Tap | None = None,
    ) -> None:
        super().__init__(outstation, tap=tap, max_connections=1)
        self.device, self._settings, self._given_fd = device, (baud, parity, stop_bits), fd
        self._serial: serial.Serial | None = None
        self.lost_because = ""

    @property
    def address(self) -> Address:
        """The path of the line, and 0 in place of a port."""
        return self.device, 0

    async def start(self) -> Address:
        """Opens the line. OSError names it, and the cause."""
        self._loop = asyncio.get_running_loop()
        self.lost_because = ""
        fd = self._given_fd
        if fd is None:
            baud, parity, stop_bits = self._settings
            try:
                self._serial = serial.Serial(self.device, baud, parity=parity, stopbits=stop_bits, timeout=0, exclusive=True)
            except (OSError, termios.error) as error:
                raise OSError(getattr(error, "errno", None), f"DNP3 outstation on {self.device}: {error}") from error
            fd = self._serial.fileno()
        os.set_blocking(fd, False)
        line = _SerialLine(self, self.outstation.connect(), fd)
        self.add(line)
        self._loop.add_reader(fd, line.readable)
        self.poke()
        return self.address

    async def close(self) -> None:
        """Leaves the line; a port opened by `start` is closed."""
        await super().close()
        if self._serial is not None:
            self._serial.close()
            self._serial = None


class _SerialLine:
    """The line as the server sees its sockets: `flush` and `abort`."""

    def __init__(self, server: SerialOutstationServer, connection: Connection, fd: int) -> None:
        self._server, self._connection, self._fd = server, connection, fd
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()

    def readable(self) -> None:
        try:
            octets = os.read(self._fd, _TURN)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if not octets:
            self._lose("end of the line")
            return
        if self._server.tap is not None:
            self._server.tap(("", 0), self._server.address, octets)
        self._connection.receive(octets)
        self._server.service()

    def flush(self) -> None:
        octets = self._connection.data_to_send()
        if octets and self._server.tap is not None:
            self._server.tap(self._server.address, ("", 0), octets)
        self._unsent += octets
        if len(self._unsent) > _MAX_UNSENT:
            self._unsent.clear()
        self._write()
        if self._connection.closing:  # a restart: a line cannot hang up, so a new connection takes over on it
            self._connection.lost()
            self._connection = self._server.outstation.connect()

    def _write(self) -> None:
        try:
            if self._unsent:
                del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if self._unsent:
            self._loop.add_writer(self._fd, self._write)
        else:
            self._loop.remove_writer(self._fd)

    def _lose(self, because: str) -> None:
        self._server.lost_because = because
        self.abort()

    def abort(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._connection.lost()
        self._server.remove(self)
