"""Captures: what is written is read back, by us and by tshark."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3.link import LinkFrame, Primary
from protocols.pcap import DNP3_PORT, MODBUS_PORT, CaptureWriter, Segment, read_segments, streams

MASTER, RTU = ("127.0.0.1", 40001), ("127.0.0.1", DNP3_PORT)
T_NS = 1_750_000_000_123_456_789


def test_payloads_come_back_with_their_times_and_directions(tmp_path):
    path = tmp_path / "a.pcap"
    with CaptureWriter(path) as writer:
        writer.write(MASTER, RTU, b"question", T_NS)
        writer.write(RTU, MASTER, b"answer", T_NS + 5)
        writer.write(MASTER, RTU, b"!", T_NS + 9)
    segments = list(read_segments(path))
    assert [segment.syn for segment in segments[:3]] == [True, True, False], "a handshake comes first"
    assert [(s.t_ns, s.source, s.payload) for s in segments if s.payload] == [
        (T_NS, MASTER, b"question"),
        (T_NS + 5, RTU, b"answer"),
        (T_NS + 9, MASTER, b"!"),
    ]
    assert streams(segments) == {(MASTER, RTU): b"question!", (RTU, MASTER): b"answer"}


def test_a_server_that_speaks_first_is_still_the_server(tmp_path):
    path = tmp_path / "a.pcap"
    with CaptureWriter(path) as writer:
        writer.write(RTU, MASTER, b"unsolicited", T_NS)
    assert next(read_segments(path)).source == MASTER


def test_long_payloads_are_split_and_joined(tmp_path):
    path = tmp_path / "a.pcap"
    with CaptureWriter(path) as writer:
        writer.write(MASTER, RTU, bytes(150_000), T_NS)
    assert streams(read_segments(path)) == {(MASTER, RTU): bytes(150_000)}


def test_an_open_file_can_be_written_to():
    file = io.BytesIO()
    with CaptureWriter(file) as writer:
        writer.write(MASTER, RTU, b"x", T_NS)
    assert file.getvalue()[:4] == bytes.fromhex("4d3cb2a1") and not file.closed


@given(pieces=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_streams_are_joined_whatever_the_order_and_the_repeats(pieces, order):
    first, whole, sequence = 0xFFFFFFF0, b"".join(pieces), 0xFFFFFFF0
    segments = []
    for piece in pieces:
        segments.append(Segment(0, MASTER, RTU, sequence & 0xFFFFFFFF, False, piece))
        sequence += len(piece)
    shuffled = segments * 2
    order.shuffle(shuffled)
    opening = Segment(0, MASTER, RTU, first - 1, True, b"")
    assert streams([opening, *shuffled]) == {(MASTER, RTU): whole}


def test_a_gap_ends_what_is_known():
    segments = [Segment(0, MASTER, RTU, 10, False, b"ab"), Segment(0, MASTER, RTU, 13, False, b"d")]
    assert streams(segments) == {(MASTER, RTU): b"ab"}
    overlapping = [*segments, Segment(0, MASTER, RTU, 11, False, b"bc")]
    assert streams(overlapping) == {(MASTER, RTU): b"abcd"}


def rewritten(octets: bytes, order: str, magic: int, link_type: int, header: bytes) -> bytes:
    """A capture of ours in another byte order, resolution and link type."""
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    at = 24
    while at < len(octets):
        seconds, ns, length, _ = struct.unpack_from("<IIII", octets, at)
        packet = header + octets[at + 16 + 14 : at + 16 + length]
        fraction = ns if magic == 0xA1B23C4D else ns // 1000
        out += struct.pack(order + "IIII", seconds, fraction, len(packet), len(packet)) + packet
        at += 16 + length
    return out


@pytest.mark.parametrize(
    ("order", "magic", "link_type", "header"),
    [
        (">", 0xA1B2C3D4, 1, bytes(14)),
        ("<", 0xA1B2C3D4, 101, b""),
        (">", 0xA1B23C4D, 113, bytes(16)),
        ("<", 0xA1B23C4D, 0, bytes(4)),
    ],
    ids=["big endian", "raw IP", "Linux cooked", "loopback"],
)
def test_foreign_captures_are_read(tmp_path, order, magic, link_type, header):
    file = io.BytesIO()
    with CaptureWriter(file) as writer:
        writer.write(MASTER, RTU, b"hello", T_NS)
    path = tmp_path / "a.pcap"
    path.write_bytes(rewritten(file.getvalue(), order, magic, link_type, header))
    (segment,) = [each for each in read_segments(path) if each.payload]
    unit = 1 if magic == 0xA1B23C4D else 1000
    assert (segment.payload, segment.source, segment.t_ns) == (b"hello", MASTER, T_NS // unit * unit)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "are no capture"),
        (bytes.fromhex("0a0d0d0a") + bytes(30), "no pcap file.*editcap"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 147), "link type 147"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + bytes(5), "within the packet header at octet 24"),
        (struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 99, 99), "within the packet at octet 24"),
    ],
)
def test_what_is_no_capture_says_so(tmp_path, octets, message):
    path = tmp_path / "bad.pcap"
    path.write_bytes(octets)
    with pytest.raises(ValueError, match=rf"bad\.pcap: .*{message}"):
        list(read_segments(path))


def test_packets_that_are_not_tcp_are_passed_over(tmp_path):
    file = io.BytesIO()
    with CaptureWriter(file) as writer:
        writer.write(MASTER, RTU, b"hello", T_NS)
    octets = bytearray(file.getvalue())
    octets[24 + 16 + 14 + 9] = 17  # the first packet becomes UDP
    path = tmp_path / "a.pcap"
    path.write_bytes(octets)
    assert len(list(read_segments(path))) == 3


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed: apt-get install tshark")
def test_tshark_finds_checksums_sequence_numbers_and_protocols_right(tmp_path):
    path = tmp_path / "a.pcap"
    link_status = LinkFrame(10, 1, Primary.REQUEST_LINK_STATUS, from_master=True).encode()
    with CaptureWriter(path) as writer:
        writer.write(MASTER, RTU, link_status, T_NS)
        writer.write(("10.0.0.5", 5555), ("10.0.0.9", MODBUS_PORT), bytes.fromhex("000100000006010300000002"), T_NS)
        writer.write(("10.0.0.9", MODBUS_PORT), ("10.0.0.5", 5555), bytes.fromhex("000100000007010304000a000b"), T_NS + 10**6)
    command = ["tshark", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "fields"]
    command += ["-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "tcp.analysis.flags", "-e", "_ws.col.Protocol"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert len(lines) == 9
    assert all(line.split("\t")[:3] == ["1", "1", ""] for line in lines), lines
    protocols = [line.split("\t")[3] for line in lines]
    assert [name for name in protocols if name != "TCP"] == ["DNP 3.0", "Modbus/TCP", "Modbus/TCP"]
