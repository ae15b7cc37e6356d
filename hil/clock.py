"""The clock of a device against ours: an interval that the offset lies in, never a bare number.

An exchange says that the device's clock showed `device_ns` at some time between its request and its answer, to the clock's
resolution. Each narrows the interval: also the second hand of a meter, looked at often, tells tenths. Where two intervals do not
overlap the device's clock was set or jumped, and the newer one counts (counted in `jumps`); where they miss each other by no more
than the resolution, the register was only refreshed late, and both are allowed for. Between exchanges the interval widens by
`DRIFT_PPM`, since neither clock is perfect.

DNP3 has a request for the time, g50v1, whose answer `TimeReader` hears on the line. Modbus has none: where a device shows its clock
in registers, the map names the row (`clock`), and `RegisterClock` reads it. Of a device without either nothing is known.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from hil.points import MapPoint
from hil.relay import Address, Tap
from protocols.dnp3.application import Function, Response
from protocols.dnp3.link import LinkParser
from protocols.dnp3.transport import Reassembler

_TIME = bytes((50, 1, 7, 1))  # g50v1, count 1
_RESOLUTION_NS = 1_000_000  # DNP3 time is cut to milliseconds
_EXCHANGES = 256  # of the last cycle, at least
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

    def saw(self, device_ns: int, not_before_ns: int, not_after_ns: int, resolution_ns: int = 0) -> None:
        """The device's clock showed `device_ns`, cut to its resolution, not before and not after these times of ours (all since
        1970, ns). An exchange in which our own clock was set back says nothing."""
        if not_after_ns < not_before_ns:
            return
        low, high = device_ns - not_after_ns, device_ns + resolution_ns - not_before_ns
        if self._at_ns is not None:
            slack = round(abs(not_after_ns - self._at_ns) * DRIFT_PPM * 1e-6)
            old_low, old_high = self._low_ns - slack, self._high_ns + slack
            apart = max(low, old_low) - min(high, old_high)
            if apart <= 0:
                low, high = max(low, old_low), min(high, old_high)
            elif apart <= resolution_ns:
                low, high = min(low, old_low), max(high, old_high)
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
    """Hears the outstation's time on its line: a `Tap` that passes everything on, and gives each answer of g50v1 to the clock. It
    takes frames apart only while an answer is due: of thousands of events a second that would be most of the work."""

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
                self._parser, self._fragments = LinkParser(), Reassembler()
            return
        if not self._asked_ns:
            return
        for frame in self._parser.feed(octets):
            fragment = self._fragments.receive(frame.user_data) if frame.user_data else None
            if fragment and len(fragment) >= 4 and fragment[1] == Function.RESPONSE:
                self._answered(Response.decode(fragment).objects, utc_ns)
                return

    def _answered(self, objects: bytes, utc_ns: int) -> None:
        """What was asked last has been answered, by a time or not."""
        if objects[:4] == _TIME and len(objects) >= 10:
            device_ns = int.from_bytes(objects[4:10], "little") * 1_000_000
            self._clock.saw(device_ns, self._asked_ns, utc_ns, _RESOLUTION_NS)
            self.answers += 1
        self._asked_ns = 0


class RegisterClock:
    """Reads the device's time from a row of a Modbus map. `exchanged` is told of every exchange on the line, `read` of the row's
    value; all times of ours are CLOCK_MONOTONIC, `ahead_ns` what UTC is ahead of that."""

    def __init__(self, row: MapPoint, clock: DeviceClock) -> None:
        self._clock, self._resolution_ns = clock, round(abs(row.scale) * 1e9)
        self._epoch_ns = round(datetime(int(row.clock), 1, 1, tzinfo=UTC).timestamp()) * 10**9
        self._exchanges: deque[tuple[int, int]] = deque(maxlen=_EXCHANGES)

    def exchanged(self, sent_ns: int, received_ns: int) -> None:
        """A request and its answer."""
        self._exchanges.append((sent_ns, received_ns))

    def read(self, value_s: float, arrived_ns: int, ahead_ns: int) -> None:
        """The row was `value_s`, in the answer that arrived then."""
        for sent_ns, received_ns in reversed(self._exchanges):
            if sent_ns <= arrived_ns <= received_ns:
                device_ns = self._epoch_ns + round(value_s * 1e9)
                self._clock.saw(device_ns, sent_ns + ahead_ns, arrived_ns + ahead_ns, self._resolution_ns)
                return
