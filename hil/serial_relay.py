"""A relay for a serial line, as `relay.py` is one for TCP: every octet passes here, is captured, and may be stopped.

The DNP3 master's C++ stack is given a pseudo terminal instead of the line. The other end of that, and the line itself, are ours:
octets are handed on as they come, each way, with the time at which they were read or written. A line that goes away (an adapter
pulled out) is opened again by itself, with growing pauses, and the stack keeps its pseudo terminal meanwhile.

A capture has addresses, a line has none: there the stack is `STACK`, and whatever is on the line `LINE`, on the port by which
dissectors know DNP3.
"""

from __future__ import annotations

import asyncio
import os
import termios
import time
import tty

import serial

from hil.plan import SerialSettings
from hil.read_only import Gate, MakeGate
from hil.relay import Address, Tap
from protocols.pcap import DNP3_PORT

STACK: Address = ("127.0.0.1", 49152)
LINE: Address = ("127.0.0.1", DNP3_PORT)
_TURN = 4096
_MAX_UNSENT = 1 << 16
"""Octets that may wait for a line that takes none; what is older is of no use on a line."""
_REOPEN_S = (0.25, 5.0)


class SerialRelay:
    """Joins the line at `path` to a pseudo terminal. `last_error` says why the line is not open, or what was stopped."""

    def __init__(self, path: str, settings: SerialSettings, *, tap: Tap, gate: MakeGate | None = None) -> None:
        self._path, self._settings, self._tap, self._make_gate = path, settings, tap, gate
        self._gate: Gate | None = None
        self._port: serial.Serial | None = None
        self._ends: tuple[int, int] | None = None
        self._unsent = bytearray()
        self._pause_s = _REOPEN_S[0]
        self._again: asyncio.TimerHandle | None = None
        self.connected = self.hang_ups = 0
        """Whether the line is open (0 or 1); how often it went away."""
        self.last_error = ""

    async def start(self) -> str:
        """Open the line, now or when it is there; gives the path for the stack."""
        self._loop = asyncio.get_running_loop()
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = ours, theirs  # theirs stays open here too: else the pair would end whenever the stack closes it
        self._loop.add_reader(ours, self._from_stack, ours)
        self._open()
        return os.ttyname(theirs)

    async def close(self) -> None:
        """Leave the line."""
        if self._again is not None:
            self._again.cancel()
        self._shut()
        if self._ends is not None:
            self._loop.remove_reader(self._ends[0])
            for end in self._ends:
                os.close(end)
            self._ends = None

    # -- the line

    def _open(self) -> None:
        line = self._settings
        try:
            self._port = serial.Serial(
                self._path, line.baud, parity=line.parity, stopbits=line.stop_bits, timeout=0, exclusive=True
            )
            os.set_blocking(self._port.fileno(), False)
        except termios.error:
            self._wait(f"{self._path} does not take {line.baud} baud, parity {line.parity}, {line.stop_bits} stop bits")
        except (OSError, ValueError) as error:  # ValueError: a rate that its driver does not make
            self._wait(f"{self._path}: {getattr(error, 'strerror', None) or error}")
        else:
            self._gate = None if self._make_gate is None else self._make_gate()
            self._pause_s, self.last_error, self.connected = _REOPEN_S[0], "", 1
            self._loop.add_reader(self._port.fileno(), self._from_line, self._port.fileno())

    def _wait(self, why: str) -> None:
        self.last_error = why
        self._again = self._loop.call_later(self._pause_s, self._open)
        self._pause_s = min(2 * self._pause_s, _REOPEN_S[1])

    def _shut(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            self._loop.remove_reader(port.fileno())
            self._loop.remove_writer(port.fileno())
            port.close()
        self._unsent.clear()
        self.connected = 0

    def _lose(self, why: str) -> None:
        self._shut()
        self.hang_ups += 1
        self._wait(f"{self._path}: {why}")

    # -- octets

    def _from_line(self, fd: int) -> None:
        try:
            octets = os.read(fd, _TURN)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if not octets:
            self._lose("end of the line")
            return
        self._tap(LINE, STACK, octets, time.time_ns())
        self._to_stack(octets)

    def _to_stack(self, octets: bytes) -> None:
        if not octets or self._ends is None:
            return
        try:
            taken = os.write(self._ends[0], octets)
        except BlockingIOError:
            taken = 0
        if taken < len(octets):
            self.last_error = f"the DNP3 stack reads nothing; {len(octets) - taken} octets for it were dropped"

    def _from_stack(self, fd: int) -> None:
        try:
            octets = os.read(fd, _TURN)
        except BlockingIOError:
            return
        if self._port is None:
            return  # nobody is there to hear it, and a line keeps nothing for later
        if self._gate is not None:
            passed = self._gate(octets)
            if passed.refused:
                self.last_error = passed.refused
                self._gate = None if self._make_gate is None else self._make_gate()
                return
            self._to_stack(passed.answer)
            octets = passed.onward
        if octets:
            self._tap(STACK, LINE, octets, time.time_ns())
            self._unsent += octets
            if len(self._unsent) > _MAX_UNSENT:
                self._unsent.clear()
            self._write(self._port.fileno())

    def _write(self, fd: int) -> None:
        try:
            if self._unsent:
                del self._unsent[: os.write(fd, self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if self._unsent:
            self._loop.add_writer(fd, self._write, fd)
        else:
            self._loop.remove_writer(fd)
