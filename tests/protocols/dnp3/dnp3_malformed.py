"""Seeded hostile octets for a DNP3 outstation, and a run that feeds them while a good master looks on.

Damage is done on every layer: link frames with wrong check words, lengths, functions and addresses; transport segments out of
order or without end; application fragments with crafted counts, ranges and qualifiers, truncated, mutated, or contradictory;
and well formed requests nobody should send, such as floods of controls with NaN.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocols.dnp3 import Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import Control, Function, Response
from protocols.dnp3.connection import Connection
from protocols.dnp3.crc import crc16
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.transport import Reassembler, segment

OUTSTATION, GOOD, BAD = 10, 1, 2
SECOND = 1_000_000_000
POINTS = 40

_REQUESTS = [
    bytes.fromhex(text)
    for text in (
        "c0013c0206 3c0306 3c0406 3c0106",
        "c0011e0500000005",
        "c003 0c011701 00 0301640000006400000000",
        "c004 0c011701 00 0301640000006400000000",
        "c105 29042802 0000 000000000000f87f00 0100 000000000000f87f00",
        "c006 0c01280500" + "0100 8101ffffffffffffffff00" * 5,
        "c002 220300000200000000000020c0ffffffff",
        "c002 3203070100000000ffff",
        "c0025001000707 00",
        "c0073c0106 140006",
        "c00a 14000100000700",
        "c016 3c0306 1e000100000700 010006",
        "c0143c0206",
        "c0183c",
        "c017",
        "c00d",
        "c082 0000 2007170100 010000a03f000000000000",
    )
]


def hostile(seed: int) -> Iterator[bytes]:
    """Endless hostile octets; the same seed gives the same."""
    rng = random.Random(seed)
    makers = (_noise, _damaged, _lying_length, _odd_link, _odd_transport, _endless, _mutated, _random_objects, _extreme, _flood)
    while True:
        yield rng.choice(makers)(rng)


def _frame(rng: random.Random, user_data: bytes, function: int = Primary.UNCONFIRMED_USER_DATA) -> bytes:
    destination = rng.choice((OUTSTATION,) * 8 + (0xFFFF, 0xFFFE, 0xFFFD, 77))
    source = rng.choice((BAD,) * 20 + (GOOD, 0xFFFF))
    return LinkFrame(destination, source, function, from_master=True, user_data=user_data).encode()


def _sent(rng: random.Random, fragment: bytes) -> bytes:
    return b"".join(_frame(rng, part) for part in segment(fragment[:2300] or b"\0", rng.randrange(64)))


def _request(rng: random.Random) -> bytes:
    request = bytearray(rng.choice(_REQUESTS))
    request[0] = 0xC0 | rng.randrange(16)
    return bytes(request)


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 400))


def _damaged(rng: random.Random) -> bytes:
    wire = bytearray(_sent(rng, _request(rng)))
    for _ in range(rng.randrange(1, 4)):
        wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
    return bytes(wire[: rng.choice((len(wire), rng.randrange(1, len(wire))))])


def _lying_length(rng: random.Random) -> bytes:
    """A header whose check word is right and whose length is not."""
    wire = bytearray(_sent(rng, _request(rng)))
    wire[2] = rng.randrange(256)
    wire[8:10] = crc16(bytes(wire[:8])).to_bytes(2, "little")
    return bytes(wire)


def _odd_link(rng: random.Random) -> bytes:
    return LinkFrame(
        rng.choice((OUTSTATION, 0xFFFC, rng.randrange(0x10000))),
        rng.choice((BAD, rng.randrange(0x10000))),
        rng.randrange(16),
        primary=rng.random() < 0.8,
        from_master=rng.random() < 0.9,
        fcb=rng.random() < 0.5,
        counted=rng.random() < 0.5,
        user_data=rng.randbytes(rng.choice((0, 1, 3, 250))),
    ).encode()


def _odd_transport(rng: random.Random) -> bytes:
    parts = segment(rng.randbytes(rng.randrange(1, 1200)), rng.randrange(64))
    rng.shuffle(parts)
    return b"".join(
        _frame(rng, bytes((rng.randrange(256),)) + part[1:]) if rng.random() < 0.3 else _frame(rng, part) for part in parts
    )


def _endless(rng: random.Random) -> bytes:
    start = rng.randrange(64)
    head = _frame(rng, bytes((0x40 | start,)) + bytes(249))
    return head + b"".join(_frame(rng, bytes(((start + k) & 0x3F,)) + bytes(249)) for k in range(1, rng.randrange(2, 12)))


def _mutated(rng: random.Random) -> bytes:
    request = bytearray(_request(rng))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(request))
        match rng.randrange(3):
            case 0:
                request[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
            case 1:
                del request[at:]
            case _:
                request[at:at] = rng.randbytes(rng.randrange(1, 6))
        if not request:
            request += b"\xc0"
    return _sent(rng, bytes(request))


def _random_objects(rng: random.Random) -> bytes:
    head = bytes((rng.randrange(256), rng.choice((*range(0, 33), 129, 130, 255))))
    return _sent(rng, head + rng.randbytes(rng.randrange(0, 60)))


def _extreme(rng: random.Random) -> bytes:
    """Known groups with the widest counts and ranges, with and without their data."""
    group = rng.choice((1, 2, 3, 4, 10, 11, 12, 20, 21, 22, 23, 30, 32, 34, 40, 41, 42, 50, 51, 52, 60, 80, 110, 111))
    qualifier = rng.choice((0x00, 0x01, 0x06, 0x07, 0x08, 0x17, 0x28, 0x5B, 0x39))
    width = 4 if qualifier == 0x01 else 2
    span = rng.choice((b"\xff" * width, b"\0\0\xff\xff"[:width], b"\xff\xff\0\0"[:width], bytes(width)))
    fragment = bytes((0xC0 | rng.randrange(16), rng.randrange(0, 25), group, rng.randrange(0, 12), qualifier)) + span
    return _sent(rng, fragment + rng.randbytes(rng.choice((0, 0, 11, 500))))


def _flood(rng: random.Random) -> bytes:
    """The same small request many times, or one request with as many headers as fit."""
    if rng.random() < 0.5:
        return b"".join(_sent(rng, _request(rng)) for _ in range(rng.randrange(2, 12)))
    return _sent(rng, bytes((0xC0 | rng.randrange(16), 1)) + bytes((30, 0, 6)) * rng.randrange(40, 700))


def hostile_replies(seed: int) -> Iterator[bytes]:
    """Endless pieces a broken or malicious outstation may answer with."""
    rng = random.Random(seed)
    while True:
        objects = rng.choice(
            (
                rng.randbytes(rng.randrange(60)),
                bytes(
                    (rng.choice((1, 2, 10, 20, 30, 32, 40, 110, 111)), rng.randrange(10), rng.choice((0, 1, 6, 7, 8, 0x17, 0x28)))
                )
                + rng.choice((b"\xff\xff\xff\xff", b"\0\0\xff\xff", bytes(4)))
                + rng.randbytes(rng.randrange(80)),
                bytes.fromhex("20071701000100000000000000000000"),
                b"",
            )
        )
        head = bytes(
            (rng.choice((0xC0, 0xE0, 0xF0, 0x80, 0x00)) | rng.randrange(16), rng.choice((129, 129, 130, rng.randrange(256))))
        )
        fragment = head + rng.choice((b"\0\0", b"\x80\0", b"\xff\xff", rng.randbytes(2))) + objects
        frames = bytearray()
        for part in segment(fragment, rng.randrange(64)):
            frames += LinkFrame(GOOD, OUTSTATION, Primary.UNCONFIRMED_USER_DATA, user_data=part).encode()
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            frames[rng.randrange(len(frames))] ^= 1 << rng.randrange(8)
        yield bytes(frames[: rng.choice((len(frames), len(frames), rng.randrange(1, len(frames))))]) + rng.choice(
            (b"", rng.randbytes(30))
        )


@dataclass
class Trial:
    """What a run found: the slowest answer to the good master, and how often it was asked."""

    slowest_answer_s: float = 0.0
    polls: int = 0
    octets: int = 0


def attack(count: int, seed: int, *, every: int = 100, after_poll: Callable[[int], None] | None = None) -> Trial:
    """Feeds `count` hostile pieces to an outstation; after each `every` a good master reads everything.

    RuntimeError where the good master is not answered fully. `after_poll` is called with the number of pieces so far.
    """
    rng = random.Random(seed + 1)
    now_ns = 0
    points = [PointConfig(kind, index) for kind in PointType for index in range(POINTS)]
    config = OutstationConfig(masters=(GOOD, BAD), event_limit=50, cold_restart_s=0.5, warm_restart_s=0.5)
    outstation = Outstation(config, points, clock=lambda: now_ns)
    trial, pieces = Trial(), hostile(seed)
    line = outstation.connect()
    for number in range(1, count + 1):
        piece = next(pieces)
        trial.octets += len(piece)
        if line.closing:
            line.lost()
            line = outstation.connect()
        line.receive(piece)
        now_ns += rng.randrange(2 * SECOND)
        outstation.update(PointType.ANALOG_INPUT, rng.randrange(POINTS), float(number))
        outstation.advance()
        line.data_to_send()
        if number % every == 0:
            now_ns += 2 * SECOND
            begun = time.perf_counter()
            _good_poll(outstation)
            trial.slowest_answer_s = max(trial.slowest_answer_s, time.perf_counter() - begun)
            trial.polls += 1
            if after_poll is not None:
                after_poll(number)
    return trial


def _good_poll(outstation: Outstation) -> None:
    """The good master connects, reads classes 1, 2, 3 and 0 to the end, and leaves."""
    line = outstation.connect()
    parser, reassembler = LinkParser(), Reassembler(1 << 16)
    read = bytes((0xC3, Function.READ)) + bytes((60, 2, 6, 60, 3, 6, 60, 4, 6, 60, 1, 6))
    answers: list[Response] = []
    waiting = [read]
    while waiting:
        _send(line, waiting.pop())
        for frame in parser.feed(line.data_to_send()):
            fragment = reassembler.receive(frame.user_data) if frame.user_data else None
            if fragment is None:
                continue
            answer = Response.decode(fragment)
            if answer.control.con:
                waiting.append(bytes((Control(True, True, False, answer.control.uns, answer.control.sequence).encode(), 0)))
            if not answer.control.uns:
                answers.append(answer)
    if not answers or not answers[-1].control.fin or sum(len(answer.objects) for answer in answers) < 8 * POINTS:
        raise RuntimeError(f"the good master got {len(answers)} fragments, and not the whole database")
    line.lost()


def _send(line: Connection, fragment: bytes) -> None:
    for part in segment(fragment, 0):
        line.receive(LinkFrame(OUTSTATION, GOOD, Primary.UNCONFIRMED_USER_DATA, from_master=True, user_data=part).encode())
