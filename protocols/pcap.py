"""Captures of TCP payloads: written so that Wireshark and tshark dissect them, and read back.

What a gatekeeper or a server saw are payloads, not packets. `CaptureWriter` puts the Ethernet, IPv4 and TCP headers around
them that a capture needs, with correct lengths, checksums, sequence and acknowledgement numbers, so that DNP3 on port 20000 and
Modbus on port 502 are recognised without further ado. The format is classic pcap with nanoseconds.

`read_segments` reads captures of either byte order and resolution, and of the link types Ethernet, raw IP, Linux cooked and
loopback; `streams` joins the payloads of each direction in the order of sequence numbers, dropping retransmissions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

Address = tuple[str, int]

DNP3_PORT, MODBUS_PORT = 20000, 502
_MAGIC_NS, _MAGIC_US = 0xA1B23C4D, 0xA1B2C3D4
_ETHERNET, _RAW_IP, _LINUX_COOKED, _LOOPBACK = 1, 101, 113, 0
_LINK_HEADER = {_ETHERNET: 14, _RAW_IP: 0, _LINUX_COOKED: 16, _LOOPBACK: 4}
_SNAP_LENGTH = 262144
_MAX_PAYLOAD = 65495  # what an IPv4 packet holds beside its own and TCP's headers
_SYN, _PSH, _ACK = 0x02, 0x08, 0x10


def _checksum(octets: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class CaptureWriter:
    """Writes a capture to `target`, a path or a binary file. A path is created anew and closed by `close`.

    Every conversation starts with a TCP handshake at the time of its first payload, so that a dissector knows who is the client.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._own = isinstance(target, Path)
        self._file: BinaryIO = target.open("wb") if isinstance(target, Path) else target
        self._next_sequence: dict[tuple[Address, Address], int] = {}
        self._identification = 0
        self._file.write(struct.pack("<IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _SNAP_LENGTH, _ETHERNET))

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, source: Address, destination: Address, payload: bytes, t_ns: int) -> None:
        """`payload` went from `source` to `destination` (IPv4 text, port) at `t_ns` since 1970. The first to speak is the client,
        unless its port is one of DNP3's or Modbus's."""
        if (source, destination) not in self._next_sequence:
            from_server = source[1] in (DNP3_PORT, MODBUS_PORT)
            self._handshake(*((destination, source) if from_server else (source, destination)), t_ns)
        for at in range(0, len(payload), _MAX_PAYLOAD):
            self._packet(source, destination, _PSH | _ACK, payload[at : at + _MAX_PAYLOAD], t_ns)

    def flush(self) -> None:
        """What was written so far can be read."""
        self._file.flush()

    def close(self) -> None:
        if self._own:
            self._file.close()
        else:
            self._file.flush()

    def _handshake(self, client: Address, server: Address, t_ns: int) -> None:
        self._next_sequence[client, server] = 1000
        self._next_sequence[server, client] = 5000
        self._packet(client, server, _SYN, b"", t_ns)
        self._packet(server, client, _SYN | _ACK, b"", t_ns)
        self._packet(client, server, _ACK, b"", t_ns)

    def _packet(self, source: Address, destination: Address, flags: int, payload: bytes, t_ns: int) -> None:
        sequence = self._next_sequence[source, destination]
        acknowledged = self._next_sequence[destination, source] if flags & _ACK else 0
        self._next_sequence[source, destination] = (sequence + len(payload) + bool(flags & _SYN)) & 0xFFFFFFFF
        source_ip, destination_ip = IPv4Address(source[0]).packed, IPv4Address(destination[0]).packed
        tcp = struct.pack(">HHIIBBHHH", source[1], destination[1], sequence, acknowledged, 0x50, flags, 65535, 0, 0)
        pseudo = source_ip + destination_ip + struct.pack(">BBH", 0, 6, len(tcp) + len(payload))
        tcp = tcp[:16] + struct.pack(">H", _checksum(pseudo + tcp + payload)) + tcp[18:]
        self._identification = (self._identification + 1) & 0xFFFF
        ip = (
            struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), self._identification, 0x4000, 64, 6, 0)
            + source_ip
            + destination_ip
        )
        ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
        # Locally administered MAC addresses made of the IP addresses.
        ethernet = b"\x02\0" + destination_ip + b"\x02\0" + source_ip + b"\x08\0"
        packet = ethernet + ip + tcp + payload
        self._file.write(struct.pack("<IIII", t_ns // 1_000_000_000, t_ns % 1_000_000_000, len(packet), len(packet)) + packet)


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment of a capture; `payload` may be empty."""

    t_ns: int
    source: Address
    destination: Address
    sequence: int
    syn: bool
    payload: bytes


def read_segments(path: Path) -> Iterator[Segment]:
    """The TCP segments over IPv4 in a pcap file; other packets are passed over.

    ValueError with the file and the offset where it is no pcap file, is of a link type not listed above, or ends in mid-packet.
    """
    octets = path.read_bytes()
    if len(octets) < 24:
        raise ValueError(f"{path}: {len(octets)} octets are no capture (24 octets of header at least)")
    for order in "<>":
        (magic,) = struct.unpack_from(order + "I", octets)
        if magic in (_MAGIC_NS, _MAGIC_US):
            break
    else:
        raise ValueError(f"{path}: no pcap file (magic number {octets[:4].hex()}); convert pcapng with `editcap -F pcap`")
    link_type = struct.unpack_from(order + "I", octets, 20)[0] & 0xFFFF
    if link_type not in _LINK_HEADER:
        raise ValueError(f"{path}: link type {link_type} cannot be read; capture on Ethernet, loopback or raw IP")
    unit_ns = 1 if magic == _MAGIC_NS else 1000
    at = 24
    while at < len(octets):
        if at + 16 > len(octets):
            raise ValueError(f"{path}: ends within the packet header at octet {at}")
        seconds, fraction, captured, _ = struct.unpack_from(order + "IIII", octets, at)
        packet = octets[at + 16 : at + 16 + captured]
        if len(packet) < captured:
            raise ValueError(f"{path}: ends within the packet at octet {at}")
        at += 16 + captured
        segment = _tcp(packet[_LINK_HEADER[link_type] :], seconds * 1_000_000_000 + fraction * unit_ns)
        if segment is not None:
            yield segment


def _tcp(ip: bytes, t_ns: int) -> Segment | None:
    """The TCP segment in an IPv4 packet, or None where it holds something else."""
    if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] != 6:
        return None
    head, total = (ip[0] & 0x0F) * 4, int.from_bytes(ip[2:4], "big")
    tcp = ip[head:total]
    if len(tcp) < 20:
        return None
    source_port, destination_port, sequence, _, offset, flags = struct.unpack_from(">HHIIBB", tcp)
    source = (str(IPv4Address(ip[12:16])), source_port)
    destination = (str(IPv4Address(ip[16:20])), destination_port)
    return Segment(t_ns, source, destination, sequence, bool(flags & _SYN), tcp[(offset >> 4) * 4 :])


def streams(segments: Iterable[Segment]) -> dict[tuple[Address, Address], bytes]:
    """The payload octets of each direction, in order of sequence numbers, each octet once.

    A new handshake between the same two ports ends nothing: its octets follow those before. Octets behind a gap that is never
    filled are left out.
    """
    joined: dict[tuple[Address, Address], bytearray] = {}
    expected: dict[tuple[Address, Address], int] = {}
    waiting: dict[tuple[Address, Address], dict[int, bytes]] = {}
    for segment in segments:
        way = (segment.source, segment.destination)
        if segment.syn:
            expected[way] = (segment.sequence + 1) & 0xFFFFFFFF
            waiting[way] = {}
        if not segment.payload:
            continue
        expected.setdefault(way, segment.sequence)
        ahead = waiting.setdefault(way, {})
        ahead[segment.sequence] = max(ahead.get(segment.sequence, b""), segment.payload, key=len)
        out = joined.setdefault(way, bytearray())
        while (piece := _next_piece(ahead, expected[way])) is not None:
            out += piece
            expected[way] = (expected[way] + len(piece)) & 0xFFFFFFFF
    return {way: bytes(out) for way, out in joined.items()}


def _next_piece(ahead: dict[int, bytes], expected: int) -> bytes | None:
    """Takes from `ahead` the octets that start at `expected`, and drops what lies before."""
    for sequence, payload in sorted(ahead.items()):
        behind = (expected - sequence) & 0xFFFFFFFF
        if behind < len(payload):
            del ahead[sequence]
            return payload[behind:]
        if behind < 0x80000000:
            del ahead[sequence]
    return None
