"""What a gatekeeper asks of the end that speaks a protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats
from hil.channel import Frame
from hil.guard import Order


class DeviceError(Exception):
    """A device cannot be used: which, why, and what to do."""


@dataclass(slots=True)
class Cycle:
    """What one poll brought: for each `read` row the engineering and the raw value, its quality (Quality bits), when it was
    measured (CLOCK_MONOTONIC) and what the device's clock said (UTC ns, 0: nothing)."""

    values: Floats
    raw: Floats
    quality: NDArray[np.uint16]
    measured_ns: NDArray[np.int64]
    device_ns: NDArray[np.int64]
    requests: int = 0
    problems: tuple[str, ...] = ()
    events: list[tuple[str, float, int]] = field(default_factory=list)
    """(point, value, UTC in ns by the device's clock) of each change of state that it reported."""
    answered: bool = False
    """Whether the device said anything in this cycle."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a write: `outcome` is "ok" or why not; `sent` whether octets may have left; `answered` whether the device said
    what became of it; `refused` whether it said that it does not take it (it is busy, say), now or ever."""

    outcome: str
    raw: float
    sent_ns: int
    received_ns: int
    sent: bool = True
    answered: bool = True
    refused: bool = False


class Master(Protocol):
    """The end that reads and commands (DNP3 master, Modbus client)."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def last_error(self) -> str: ...
    @property
    def hang_ups(self) -> int:
        """How often the device (or the network) ended a connection, or the device said that it had restarted: what was made again
        between two looks shows here. 0 where that cannot be known."""
        ...

    @property
    def clock(self) -> tuple[int, int] | None:
        """(offset, uncertainty) of the device's clock, ns."""
        ...

    async def open(self) -> None: ...
    async def cycle(self, budget_s: float) -> Cycle: ...
    async def reach(self, budget_s: float) -> None:
        """Connect now, where it is not connected: for a fallback, which does not wait for the next cycle or attempt."""
        ...

    def hurry(self) -> None:
        """End the cycle under way with the request that is on the line; a write is waiting."""
        ...

    async def send(self, order: Order) -> Sent: ...
    async def close(self) -> None: ...


Command = Callable[[str, float, Mapping[str, Any]], str]
"""A command that a master gave us: (name of the `write` row, engineering value, details) -> empty, or why it is refused."""


class Outstation(Protocol):
    """The end that is read and commanded (DNP3 outstation, Modbus server)."""

    @property
    def masters(self) -> int:
        """How many are connected."""
        ...

    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def last_error(self) -> str: ...
    async def open(self) -> None: ...
    def show(self, frame: Frame, now_ns: int) -> None:
        """New values, in the order of the map's `read` rows that have a signal."""
        ...

    async def close(self) -> None: ...
