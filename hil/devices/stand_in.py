"""What every stand-in does as a process: says where it is, takes orders, ends when it is told to or its owner is gone.

Out go JSON objects, one a line: first `{"what": "ready", "name": ..., "address": ..., ...}`, then an answer to each order and what
happens of itself. In come orders, one a line:

    {"fault": "slow", "delay_s": 0.4, "for_s": 5}      see faults.py; {"fault": "none"} ends one
    {"set": {"v_v": 251.0}}                             changes what the device measures (its own names)
    {"get": true}                                       all of that, and what it does
    {"quit": true}

A wrong order is answered by `{"what": "error", "message": ...}` and changes nothing. At the end of the orders (the pipe is closed)
the process ends; on a terminal it ends by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hil.devices.faults import Fault, FaultKind, Faults

Say = Callable[..., None]
EXIT_DEVICE = 4


class Device(Protocol):
    """An honest device with its face. `faults` spoils what leaves it."""

    faults: Faults

    async def start(self) -> Mapping[str, Any]:
        """Opens it; what the `ready` line tells, `address` among it. OSError where it cannot."""
        ...

    async def restart(self, down_s: float) -> None:
        """Off, and on again as after power on."""
        ...

    def jump_clock(self, jump_s: float) -> None: ...
    def set(self, values: Mapping[str, Any]) -> None:
        """ValueError for a name or value it does not have."""
        ...

    def get(self) -> Mapping[str, Any]: ...
    async def close(self) -> None: ...


def say(what: str, **fields: Any) -> None:
    """One line on standard output."""
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


def main(name: str, make: Callable[[], Device]) -> int:
    """Runs a device until it is told to end; gives the exit code. ValueError of `make` is a usage error."""
    try:
        device = make()
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_run(name, device))
    except OSError as error:
        print(f"{name}: {error.strerror or error}", file=sys.stderr)
        return EXIT_DEVICE


async def _run(name: str, device: Device) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        ready = await device.start()
        orders = _Orders(device, ended)
        if _can_wait_for(sys.stdin.fileno()):
            loop.add_reader(sys.stdin.fileno(), orders.readable)
        say("ready", name=name, pid=os.getpid(), **ready)
        await ended.wait()
        await orders.settled()
    finally:
        await device.close()
    return 0


def _can_wait_for(fd: int) -> bool:
    """A pipe, a socket or a terminal; a file (or /dev/null) gives no orders, and its end means nothing."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


class _Orders:
    def __init__(self, device: Device, ended: asyncio.Event) -> None:
        self._device, self._ended = device, ended
        self._waiting = b""
        self._restart: asyncio.Task[None] | None = None

    def readable(self) -> None:
        octets = os.read(sys.stdin.fileno(), 65536)
        if not octets:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._ended.set()
        *lines, self._waiting = (self._waiting + octets).split(b"\n")
        for line in lines:
            if line.strip():
                try:
                    self._order(json.loads(line))
                except (ValueError, TypeError) as error:
                    say("error", message=str(error), order=line.decode(errors="replace"))

    def _order(self, order: Any) -> None:
        if not isinstance(order, dict):
            raise ValueError('an order is an object, as {"fault": "silence"}')
        if "fault" in order:
            self._fault(Fault.parse(order))
        elif set(order) == {"set"} and isinstance(order["set"], dict):
            self._device.set(order["set"])
            say("set", **order["set"])
        elif set(order) == {"get"}:
            say("state", **self._device.get())
        elif set(order) == {"quit"}:
            self._ended.set()
        else:
            raise ValueError("an order is fault, set, get or quit")

    def _fault(self, fault: Fault) -> None:
        self._device.faults.order(fault, time.monotonic())
        if fault.kind is FaultKind.CLOCK:
            self._device.jump_clock(fault.jump_s)
        if fault.kind is FaultKind.RESTART:
            if self._restart is not None and not self._restart.done():
                raise ValueError("it is restarting already")
            self._restart = asyncio.get_running_loop().create_task(self._restarted(fault.down_s))
        say("fault", fault=fault.kind)

    async def _restarted(self, down_s: float) -> None:
        await self._device.restart(down_s)
        say("restarted")

    async def settled(self) -> None:
        """Lets a restart under way come to its end."""
        if self._restart is not None:
            self._restart.cancel()
            await asyncio.gather(self._restart, return_exceptions=True)
