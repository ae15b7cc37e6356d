"""DNP3 data link layer: frames, their check words, and the rules of a station that answers (IEEE 1815, clause 9).

A frame is a ten-octet header (start 0x0564, length, control, destination, source, CRC) and up to 250 octets of user data
in blocks of sixteen, each followed by its own CRC. `LinkParser` finds frames in a stream of octets and survives anything in
between; `OutstationLink` applies the rules of addresses, direction and frame counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct

from .crc import crc16

START = b"\x05\x64"
MAX_USER_DATA = 250
BROADCAST = (0xFFFD, 0xFFFE, 0xFFFF)
BROADCAST_CONFIRM = 0xFFFE
"""A broadcast whose next answer must be confirmed before the broadcast indication is cleared."""
SELF_ADDRESS = 0xFFFC

_HEADER = Struct("<BBHH")
_DIR, _PRM, _FCB, _FCV = 0x80, 0x40, 0x20, 0x10


class Primary(IntEnum):
    """Function codes of frames that start a transaction (PRM = 1)."""

    RESET_LINK_STATES = 0
    TEST_LINK_STATES = 2
    CONFIRMED_USER_DATA = 3
    UNCONFIRMED_USER_DATA = 4
    REQUEST_LINK_STATUS = 9


class Secondary(IntEnum):
    """Function codes of answers (PRM = 0)."""

    ACK = 0
    NACK = 1
    LINK_STATUS = 11
    NOT_SUPPORTED = 15


_COUNTED = {Primary.TEST_LINK_STATES, Primary.CONFIRMED_USER_DATA}


@dataclass(frozen=True, slots=True)
class LinkFrame:
    """One frame. `from_master` is DIR; `counted` is FCV of a primary frame and DFC of a secondary one."""

    destination: int
    source: int
    function: int
    primary: bool = True
    from_master: bool = False
    fcb: bool = False
    counted: bool = False
    user_data: bytes = b""

    def encode(self) -> bytes:
        """The frame as it goes on the wire. ValueError for more than 250 octets of user data."""
        size = len(self.user_data)
        if size > MAX_USER_DATA:
            raise ValueError(f"a link frame carries at most {MAX_USER_DATA} octets of user data, not {size}; segment it first")
        control = (
            self.function
            | (_DIR if self.from_master else 0)
            | (_PRM if self.primary else 0)
            | (_FCB if self.fcb else 0)
            | (_FCV if self.counted else 0)
        )
        header = START + _HEADER.pack(size + 5, control, self.destination, self.source)
        wire = bytearray(header)
        wire += crc16(header).to_bytes(2, "little")
        for at in range(0, size, 16):
            block = self.user_data[at : at + 16]
            wire += block
            wire += crc16(block).to_bytes(2, "little")
        return bytes(wire)


@dataclass(slots=True)
class LinkCounts:
    """What a parser met: good frames, and octets or frames it had to drop."""

    frames: int = 0
    bad_crc: int = 0
    bad_length: int = 0
    skipped_octets: int = 0


def wire_size(length: int) -> int:
    """Octets on the wire of a frame whose length field is `length` (5 to 255)."""
    size = length - 5
    return 10 + size + 2 * ((size + 15) // 16)


@dataclass(slots=True)
class LinkParser:
    """Octets in, frames out. Holds at most one incomplete frame (291 octets), whatever it is fed."""

    counts: LinkCounts = field(default_factory=LinkCounts)
    _buffer: bytearray = field(default_factory=bytearray)

    @property
    def pending(self) -> int:
        """Octets fed last that may be the beginning of a frame."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> list[LinkFrame]:
        """The frames completed by `octets`; damaged ones are counted and skipped, and the search goes on behind their start."""
        buffer = self._buffer
        buffer += octets
        frames: list[LinkFrame] = []
        at = 0
        while True:
            start = buffer.find(START, at)
            if start < 0:
                # A lone first start octet at the very end may be the beginning of the next frame.
                keep = 1 if buffer[-1:] == START[:1] and at < len(buffer) else 0
                self.counts.skipped_octets += len(buffer) - at - keep
                at = len(buffer) - keep
                break
            self.counts.skipped_octets += start - at
            at = start
            if len(buffer) - at < 10:
                break
            header = bytes(buffer[at : at + 10])
            length = header[2]
            if crc16(header[:8]) != int.from_bytes(header[8:], "little"):
                self.counts.bad_crc += 1
                at += 2
                continue
            if length < 5:
                self.counts.bad_length += 1
                at += 2
                continue
            size = wire_size(length)
            if len(buffer) - at < size:
                break
            user_data = self._body(bytes(buffer[at + 10 : at + size]))
            if user_data is None:
                self.counts.bad_crc += 1
                at += 2
                continue
            frames.append(_frame(header, user_data))
            self.counts.frames += 1
            at += size
        del buffer[:at]
        return frames

    @staticmethod
    def _body(body: bytes) -> bytes | None:
        """The user data of `body`, or None where a block's check word is wrong."""
        user_data = bytearray()
        for at in range(0, len(body), 18):
            block = body[at : at + 18]
            if crc16(block[:-2]) != int.from_bytes(block[-2:], "little"):
                return None
            user_data += block[:-2]
        return bytes(user_data)


def _frame(header: bytes, user_data: bytes) -> LinkFrame:
    _, control, destination, source = _HEADER.unpack_from(header, 2)
    return LinkFrame(
        destination=destination,
        source=source,
        function=control & 0x0F,
        primary=bool(control & _PRM),
        from_master=bool(control & _DIR),
        fcb=bool(control & _FCB),
        counted=bool(control & _FCV),
        user_data=user_data,
    )


@dataclass(slots=True)
class OutstationLink:
    """The link rules of an outstation towards one master.

    `receive` returns (answer frame or None, user data for the transport function or None). Frames with the wrong direction, a wrong
    destination or a wrong FCV bit are ignored; broadcasts are never answered at this layer.
    """

    address: int
    self_address: bool = False
    _reset: bool = False
    _expected_fcb: bool = False

    def accepts(self, frame: LinkFrame) -> bool:
        """Whether `frame` comes from a master and is meant for this outstation."""
        to_us = frame.destination == self.address or (self.self_address and frame.destination == SELF_ADDRESS)
        return frame.from_master and (to_us or (frame.destination in BROADCAST and frame.primary))

    def forget(self) -> None:
        """Back to the state after a restart: confirmed data is refused until the link states are reset."""
        self._reset = False
        self._expected_fcb = False

    def receive(self, frame: LinkFrame) -> tuple[LinkFrame | None, bytes | None]:
        if not self.accepts(frame) or not frame.primary:
            return None, None
        if frame.destination in BROADCAST:
            wanted = frame.function == Primary.UNCONFIRMED_USER_DATA and not frame.counted
            return None, frame.user_data if wanted else None
        try:
            function = Primary(frame.function)
        except ValueError:
            return self._answer(frame, Secondary.NOT_SUPPORTED), None
        if frame.counted != (function in _COUNTED):
            return None, None
        if function is Primary.UNCONFIRMED_USER_DATA:
            return None, frame.user_data
        if function is Primary.REQUEST_LINK_STATUS:
            return self._answer(frame, Secondary.LINK_STATUS), None
        if function is Primary.RESET_LINK_STATES:
            self._reset, self._expected_fcb = True, True
            return self._answer(frame, Secondary.ACK), None
        if not self._reset:
            return self._answer(frame, Secondary.NACK), None
        fresh = frame.fcb == self._expected_fcb
        self._expected_fcb = not frame.fcb
        # A repeated frame count means that our answer was lost: answer again, deliver nothing twice.
        deliver = fresh and function is Primary.CONFIRMED_USER_DATA
        return self._answer(frame, Secondary.ACK), frame.user_data if deliver else None

    def _answer(self, frame: LinkFrame, function: Secondary) -> LinkFrame:
        return LinkFrame(destination=frame.source, source=self.address, function=function, primary=False)
