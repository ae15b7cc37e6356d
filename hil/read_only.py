"""What a dry run lets through to a DNP3 outstation: reads, the confirmations of what was read, and nothing else.

The C++ master asks for unsolicited reports when it connects, and its binding has no switch for that. An outstation that does as it
is asked has changed: it may report to this master long after the run. So such a request never reaches it; it is answered here, as
by an outstation that was asked, and the master goes on with its polls. A CONFIRM stays: without it an outstation repeats itself and
offers nothing new. It takes the events that were read from the buffer that is kept for this master.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from protocols.dnp3.application import IIN, Control, Function, Response
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.transport import FIN, FIR, segment

READ_ONLY = frozenset((Function.CONFIRM, Function.READ))
"""Functions that change no point, no time and no configuration of an outstation."""
ANSWERED_HERE = frozenset((Function.ENABLE_UNSOLICITED, Function.DISABLE_UNSOLICITED))


@dataclass(frozen=True, slots=True)
class Passed:
    """What becomes of octets that were on their way to a device: those that go `onward`, what is answered in its stead, and why the
    connection must end (then nothing goes on)."""

    onward: bytes = b""
    answer: bytes = b""
    refused: str = ""


class Gate(Protocol):
    """Judges octets towards the device, of one connection, in their order. What it does not understand yet it keeps."""

    def __call__(self, octets: bytes, /) -> Passed: ...


MakeGate = Callable[[], Gate]


class Dnp3ReadOnly:
    """A `Gate` for one connection to an outstation."""

    def __init__(self) -> None:
        self._parser = LinkParser()

    def __call__(self, octets: bytes) -> Passed:
        skipped = self._parser.counts.skipped_octets
        onward = answer = b""
        for frame in self._parser.feed(octets):
            data = frame.user_data
            if not data or not data[0] & FIR:  # of the link alone, or the rest of a fragment whose beginning passed
                onward += frame.encode()
            elif len(data) < 3:
                return Passed(refused="a dry run sends no fragment whose function comes later")
            elif data[2] in READ_ONLY:
                onward += frame.encode()
            elif data[2] in ANSWERED_HERE and data[0] & FIN and frame.function == Primary.UNCONFIRMED_USER_DATA:
                answer += _empty_answer(frame)
            else:
                return Passed(refused=f"a dry run sends no {_name(data[2])}")
        if self._parser.counts.skipped_octets > skipped:
            return Passed(refused="octets that are no DNP3 frame")
        return Passed(onward, answer)


def _name(function: int) -> str:
    return Function(function).name if function in Function.__members__.values() else f"function {function}"


def _empty_answer(request: LinkFrame) -> bytes:
    """A response without objects and without indications, as the outstation that was asked would frame it."""
    sequence = Control.decode(request.user_data[1]).sequence
    control = Control(fir=True, fin=True, con=False, uns=False, sequence=sequence)
    (data,) = segment(Response(control, Function.RESPONSE, IIN(0), b"").encode(), 0)
    return LinkFrame(request.source, request.destination, Primary.UNCONFIRMED_USER_DATA, user_data=data).encode()
