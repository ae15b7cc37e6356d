"""The clock of a device against ours: an interval that the offset lies in, never a bare number.

An exchange says that the device's clock showed `device_ns` at some time between two of ours. Each narrows the interval; where two
do not overlap the device's clock was set or jumped, and the newer one counts (counted in `jumps`). Between exchanges the interval
widens by `DRIFT_PPM`, since neither clock is perfect.
"""

from __future__ import annotations

from dataclasses import dataclass

from hil.relay import Address, Tap
from protocols.dnp3.application import Function, Response
from protocols.dnp3.link import LinkParser
from protocols.dnp3.transport import Reassembler

_TIME = bytes((50, 1, 7, 1))  # g50v1, count 1
_RESOLUTION_NS = 1_000_000  # DNP3 time is cut to milliseconds
DRIFT_PPM = 100.0
"""A bound for two crystal clocks without temperature control."""


@dataclass(frozen=True, slots=True)
class Offset:
    """The device's clock is ahead of ours by `offset_ns`, give or take `uncertainty_ns`."""

    offset_ns: int
    uncertainty_ns: int


class DeviceClock:
    """Keeps the interval of one device."""

    def __init__(self) -> None:
        self._low_ns = self._high_ns = 0
        self._at_ns: int | None = None
        self.jumps = 0

    def saw(self, device_ns: int, not_before_ns: int, not_after_ns: int) -> None:
        """The device's clock showed `device_ns` not before and not after these times of ours (all since 1970, ns)."""
        low, high = device_ns - not_after_ns, device_ns - not_before_ns
        if self._at_ns is not None:
            slack = round(abs(not_after_ns - self._at_ns) * DRIFT_PPM * 1e-6)
            old_low, old_high = self._low_ns - slack, self._high_ns + slack
            if max(low, old_low) <= min(high, old_high):
                low, high = max(low, old_low), min(high, old_high)
            else:
                self.jumps += 1
        self._low_ns, self._high_ns, self._at_ns = low, high, not_after_ns

    @property
    def offset(self) -> Offset | None:
        """What is known now; None before the first exchange."""
        if self._at_ns is None:
            return None
        return Offset((self._low_ns + self._high_ns) // 2, (self._high_ns - self._low_ns + 1) // 2)


class TimeReader:
    """Hears the outstation's time on its line: a `Tap` that passes everything on, and gives each answer of g50v1 to the clock."""

    def __init__(self, device: Address, clock: DeviceClock, tap: Tap) -> None:
        self._port, self._clock, self._tap = device[1], clock, tap
        self._asked_ns = 0
        self._parser, self._fragments = LinkParser(), Reassembler()
        self.answers = 0

    def __call__(self, sender: Address, receiver: Address, octets: bytes, utc_ns: int) -> None:
        self._tap(sender, receiver, octets, utc_ns)
        if receiver[1] == self._port:
            if _TIME in octets:
                self._asked_ns = utc_ns
            return
        for frame in self._parser.feed(octets):
            fragment = self._fragments.receive(frame.user_data)
            if fragment and self._asked_ns and len(fragment) > 4 and fragment[1] == Function.RESPONSE:
                objects = Response.decode(fragment).objects
                if objects[:4] == _TIME and len(objects) >= 10:
                    device_ns = int.from_bytes(objects[4:10], "little") * 1_000_000
                    self._clock.saw(device_ns, self._asked_ns - _RESOLUTION_NS, utc_ns)
                    self._asked_ns = 0
                    self.answers += 1
