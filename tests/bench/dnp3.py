"""What our DNP3 outstation can do: events encoded, sent and confirmed per second, and class 0 of many points. Part of
`python -m tests.bench dnp3`."""

from __future__ import annotations

import time

from protocols.dnp3 import Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import Control, Function
from protocols.dnp3.connection import Connection
from protocols.dnp3.link import LinkFrame, Primary
from protocols.dnp3.transport import segment

POINTS = 200


def _frame(sequence: int, function: int, objects: bytes = b"", *, uns: bool = False) -> bytes:
    control = Control(fir=True, fin=True, con=False, uns=uns, sequence=sequence)
    fragment = bytes((control.encode(), function)) + objects
    frames = (LinkFrame(10, 1, Primary.UNCONFIRMED_USER_DATA, from_master=True, user_data=part) for part in segment(fragment, 0))
    return b"".join(frame.encode() for frame in frames)


def _started(event_limit: int) -> tuple[Outstation, Connection]:
    points = [PointConfig(kind, index) for kind in (PointType.ANALOG_INPUT, PointType.BINARY_INPUT) for index in range(POINTS)]
    config = OutstationConfig(masters=(1,), keep_alive_s=None, event_limit=event_limit)
    outstation = Outstation(config, points, clock=time.monotonic_ns)
    line = outstation.connect()
    outstation.advance()
    line.receive(_frame(0, Function.CONFIRM, uns=True))
    line.receive(_frame(0, Function.ENABLE_UNSOLICITED, bytes((60, 2, 6))))
    line.data_to_send()
    return outstation, line


def events_per_second(rounds: int) -> float:
    """Update, encode, send and confirm: `rounds` times 400 events, float analogs and binaries with time, by unsolicited reports."""
    outstation, line = _started(10 * POINTS)
    (session,) = outstation.sessions()
    confirmations = [_frame(number, Function.CONFIRM, uns=True) for number in range(16)]
    expected, octets = 1, 0
    begun = time.perf_counter()
    for round_ in range(rounds):
        for index in range(POINTS):
            outstation.update(PointType.ANALOG_INPUT, index, 0.5 + round_)
            outstation.update(PointType.BINARY_INPUT, index, round_ % 2 == 0)
        while len(session.buffer):
            outstation.advance()
            octets += len(line.data_to_send())
            line.receive(confirmations[expected])
            expected = (expected + 1) & 15
    took = time.perf_counter() - begun
    if not octets or session.buffer.lost:
        raise RuntimeError(f"the bench lost {session.buffer.lost} events and sent {octets} octets")
    return 2 * POINTS * rounds / took


def class_0_per_second(count: int, rounds: int) -> float:
    """Answers to a class 0 read of `count` float analogs, all fragments confirmed."""
    outstation = Outstation(
        OutstationConfig(masters=(1,), keep_alive_s=None, unsolicited=False),
        [PointConfig(PointType.ANALOG_INPUT, index) for index in range(count)],
        clock=time.monotonic_ns,
    )
    line = outstation.connect()
    reads = [_frame(number, Function.READ, bytes((60, 1, 6))) for number in range(16)]
    confirmations = [_frame(number, Function.CONFIRM) for number in range(16)]
    (session,) = outstation.sessions()
    begun = time.perf_counter()
    for round_ in range(rounds):
        line.receive(reads[round_ & 15])
        number = round_ & 15
        while session.awaiting_confirm:
            line.receive(confirmations[number])
            number = (number + 1) & 15
        if not line.data_to_send():
            raise RuntimeError("the bench got no answer to a class 0 read")
    return rounds / (time.perf_counter() - begun)
