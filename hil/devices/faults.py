"""Faults to order: what leaves a stand-in is held back, cut, spoilt or swapped, on the octets, behind an honest device.

Sans-IO: `FaultyLine.send` takes what the device says and the time, and gives what goes out and when.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

Cut = Callable[[bytes], bytes]
"""Makes an answer short in its protocol's way: less in it than was asked for."""
Sending = list[tuple[float, bytes]]
"""(monotonic time in s, octets)"""


class FaultKind(StrEnum):
    NONE = "none"
    """All is well again."""
    SILENCE = "silence"
    """Nothing leaves the device; it still hears and obeys."""
    SLOW = "slow"
    """Everything leaves `delay_s` later."""
    SHORT = "short"
    """Answers carry less than was asked for."""
    GARBAGE = "garbage"
    """Random octets in place of an answer, as many as it has."""
    ORDER = "order"
    """Two answers change places: each second one goes first."""
    RESTART = "restart"
    """The device is gone for `down_s`, its connections with it, and comes back as after power on."""
    CLOCK = "clock"
    """The device's clock jumps by `jump_s` (forwards or back)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An order. `for_s`: how long it lasts; `count`: for how many answers (None: any)."""

    kind: FaultKind
    for_s: float = math.inf
    count: int | None = None
    delay_s: float = 0.5
    down_s: float = 1.0
    jump_s: float = 3600.0

    @classmethod
    def parse(cls, order: Mapping[str, Any]) -> Fault:
        """From `{"fault": "slow", "delay_s": 1, ...}`. ValueError says what is wrong with it."""
        known = {f.name for f in fields(cls)} - {"kind"}
        unknown = sorted(set(order) - known - {"fault"})
        if unknown:
            raise ValueError(f"a fault has no {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
        if order["fault"] not in tuple(FaultKind):
            raise ValueError(f"there is no fault {order['fault']!r}; order one of {', '.join(FaultKind)}")
        given = {name: value for name, value in order.items() if name != "fault"}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int if name == "count" else (int, float)):
                raise ValueError(f"{name} is {value!r}; give a number")
            if name != "jump_s" and not value >= 0:
                raise ValueError(f"{name} is {value}; give 0 or more")
        return cls(FaultKind(order["fault"]), **given)


class Faults:
    """The fault a device has now, shared by its lines."""

    def __init__(self, cut: Cut, seed: int = 1) -> None:
        self._cut = cut
        self._random = random.Random(seed)
        self._fault = Fault(FaultKind.NONE)
        self._until_s = math.inf
        self._left: int | None = None

    def order(self, fault: Fault, now_s: float) -> None:
        """From now on; RESTART and CLOCK are the device's own business, and change nothing here."""
        if fault.kind not in (FaultKind.RESTART, FaultKind.CLOCK):
            self._fault, self._until_s, self._left = fault, now_s + fault.for_s, fault.count

    def now(self, now_s: float) -> Fault:
        """The fault at this instant."""
        if now_s >= self._until_s or self._left == 0:
            self._fault, self._until_s, self._left = Fault(FaultKind.NONE), math.inf, None
        return self._fault

    def spend(self) -> None:
        """One answer was treated."""
        if self._left is not None:
            self._left -= 1

    def spoil(self, kind: FaultKind, octets: bytes) -> bytes:
        """The octets as the fault leaves them."""
        if kind is FaultKind.SHORT:
            return self._cut(octets)
        return self._random.randbytes(len(octets)) if kind is FaultKind.GARBAGE else octets


class FaultyLine:
    """One connection of a device, seen from it outwards."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held = b""
        self._last_s = -math.inf

    def send(self, octets: bytes, now_s: float) -> Sending:
        """What goes out for these octets, and when; never before what was sent earlier."""
        fault = self._faults.now(now_s)
        if fault.kind is FaultKind.NONE:
            return self._at(now_s, self._release(octets))
        self._faults.spend()
        if fault.kind is FaultKind.SILENCE:
            return []
        if fault.kind is FaultKind.ORDER:
            if not self._held:
                self._held = octets
                return []
            return self._at(now_s, [octets, *self._release(b"")])
        due_s = now_s + (fault.delay_s if fault.kind is FaultKind.SLOW else 0.0)
        return self._at(due_s, self._release(self._faults.spoil(fault.kind, octets)))

    def _release(self, octets: bytes) -> list[bytes]:
        """What was held goes before the octets."""
        held, self._held = self._held, b""
        return [part for part in (held, octets) if part]

    def _at(self, due_s: float, parts: list[bytes]) -> Sending:
        self._last_s = max(self._last_s, due_s)
        return [(self._last_s, part) for part in parts]


def cut_modbus_tcp(frame: bytes) -> bytes:
    """A well-formed answer with half of the data that were asked for (the kind that unwary clients take)."""
    pdu = _shorter_pdu(frame[7:])
    return frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7] + pdu


def cut_modbus_rtu(frame: bytes) -> bytes:
    """As `cut_modbus_tcp`, with a checksum that is right."""
    from protocols.modbus.frame import Adu, rtu_frame

    return rtu_frame(Adu(frame[0], _shorter_pdu(frame[1:-2])))


def _shorter_pdu(pdu: bytes) -> bytes:
    if len(pdu) < 4 or pdu[0] > 4:  # writes and exceptions: there is nothing to leave out but the end
        return pdu[:-1] or pdu
    data = pdu[2:]
    half = len(data) // 4 * 2 if pdu[0] > 2 else len(data) // 2
    return bytes((pdu[0], half)) + data[:half]


def cut_dnp3(frame: bytes) -> bytes:
    """The frame without its last octets: it never ends."""
    return frame[: max(len(frame) - 8, 5)]
