"""Frames on the wire: the MBAP header of Modbus TCP and the checksummed frames of Modbus RTU. Sans-IO: bytes and a clock go in.

Sources: MODBUS Messaging on TCP/IP Implementation Guide V1.0b section 3.1.3; MODBUS over Serial Line V1.02 section 2.5.1.
A TCP stream that carries a wrong header cannot be synchronised again, so it is `broken` and its connection must be closed. A serial
line is synchronised by silence: what does not form a frame is dropped until the line has been quiet.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.modbus.pdu import MAX_PDU_BYTES, Function

MBAP_BYTES = 7
RTU_MAX_BYTES = 256
_RTU_MIN_BYTES = 4


@dataclass(frozen=True, slots=True)
class Adu:
    """One frame without its transport dress: who is meant, the PDU, and (TCP) the transaction it belongs to."""

    unit: int
    pdu: bytes
    transaction: int = 0


def tcp_frame(adu: Adu) -> bytes:
    """MBAP header and PDU."""
    return struct.pack(">HHHB", adu.transaction, 0, len(adu.pdu) + 1, adu.unit) + adu.pdu


class TcpSplitter:
    """Cuts a TCP stream into frames, however the network cut it into segments. Holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.broken: str | None = None  # why the stream cannot go on; set once

    @property
    def pending(self) -> int:
        """Bytes of a frame that has begun and not ended."""
        return len(self._buffer)

    def feed(self, received: bytes) -> list[Adu]:
        """Frames completed by these bytes, in order; after an invalid header none any more (`broken` says why)."""
        frames: list[Adu] = []
        if self.broken is not None:
            return frames
        buffer = self._buffer
        buffer += received
        start, end = 0, len(buffer)
        while end - start >= MBAP_BYTES:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", buffer, start)
            if protocol != 0 or not 2 <= length <= MAX_PDU_BYTES + 1:
                self.broken = f"not a Modbus header: protocol {protocol}, length {length}"
                start = end
                break
            stop = start + 6 + length
            if stop > end:
                break
            frames.append(Adu(unit, bytes(buffer[start + MBAP_BYTES : stop]), transaction))
            start = stop
        del buffer[:start]
        return frames


def _crc_table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(frame: bytes | bytearray | memoryview) -> int:
    """CRC of the serial line, polynomial 0xA001 reflected, start 0xFFFF; sent low byte first. Over a frame with its CRC it is 0."""
    crc = 0xFFFF
    for octet in frame:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ octet) & 0xFF]
    return crc


def rtu_frame(adu: Adu) -> bytes:
    """Unit, PDU, CRC."""
    body = bytes((adu.unit,)) + adu.pdu
    return body + struct.pack("<H", crc16(body))


# Length of a frame on the line: (fixed bytes, position of the byte count to add or None).
_REQUEST_LENGTH: dict[int, tuple[int, int | None]] = {
    **dict.fromkeys(range(1, 7), (8, None)),
    Function.WRITE_MULTIPLE_COILS: (9, 6),
    Function.WRITE_MULTIPLE_REGISTERS: (9, 6),
    Function.MASK_WRITE_REGISTER: (10, None),
    Function.READ_WRITE_MULTIPLE_REGISTERS: (13, 10),
}
_ANSWER_LENGTH: dict[int, tuple[int, int | None]] = {
    **dict.fromkeys(range(1, 5), (5, 2)),
    **dict.fromkeys((5, 6, 15, 16), (8, None)),
    Function.MASK_WRITE_REGISTER: (10, None),
    Function.READ_WRITE_MULTIPLE_REGISTERS: (5, 2),
}


class RtuSplitter:
    """Cuts what a server hears on a serial line into frames: requests, and on a shared line the answers of other units.

    A frame inside another one's bytes is never taken for a frame of its own: the first frame is waited for, or dropped by silence.
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_ns = round(gap_s * 1e9)
        self._buffer = bytearray()
        self._heard_ns = 0
        self._lost = False  # no frame can be made of this: deaf until the line is silent
        self.dropped_bytes = 0

    def feed(self, received: bytes, now_ns: int) -> list[tuple[Adu, bool]]:
        """Frames completed, each with True if it can be a request (a length and a checksum that fit one)."""
        if now_ns - self._heard_ns > self._gap_ns:
            self._drop(lost=False)
        self._heard_ns = now_ns
        self._buffer += received
        frames: list[tuple[Adu, bool]] = []
        while not self._lost and len(self._buffer) >= _RTU_MIN_BYTES:
            length, is_request = self._first_frame()
            if length == 0:
                break
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            frames.append((Adu(frame[0], frame[1:-2]), is_request))
        if self._lost or len(self._buffer) > RTU_MAX_BYTES:
            self._drop(lost=True)
        return frames

    def _drop(self, lost: bool) -> None:
        self.dropped_bytes += len(self._buffer)
        self._buffer.clear()
        self._lost = lost

    def _first_frame(self) -> tuple[int, bool]:
        """Length of the frame at the start of the buffer (0: not complete yet) and whether it can be a request."""
        function = self._buffer[1]
        known: Sequence[tuple[dict[int, tuple[int, int | None]], bool]] = ((_REQUEST_LENGTH, True), (_ANSWER_LENGTH, False))
        waiting = function & 0x7F not in _REQUEST_LENGTH  # a function of its own length: only its checksum and silence delimit it
        for lengths, is_request in known:
            fixed, count_at = (5, None) if function & 0x80 else lengths.get(function, (0, None))
            if fixed == 0 or (function & 0x80 and is_request):
                continue
            if count_at is not None and len(self._buffer) <= count_at:
                waiting = True
                continue
            length = fixed if count_at is None else fixed + self._buffer[count_at]
            if length > RTU_MAX_BYTES:
                continue
            if len(self._buffer) < length:
                waiting = True
            elif crc16(self._buffer[:length]) == 0:
                return length, is_request
        if function & 0x7F not in _REQUEST_LENGTH and crc16(self._buffer) == 0:
            return len(self._buffer), not function & 0x80
        self._lost = not waiting
        return 0, False
