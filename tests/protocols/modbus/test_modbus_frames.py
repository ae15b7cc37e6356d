"""Requests and frames: round trips, every segmentation, and what must be refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.modbus.frame import Adu, RtuSplitter, TcpSplitter, crc16, rtu_frame, tcp_frame
from protocols.modbus.pdu import MaskWrite, ModbusException, Read, ReadWrite, Request, Write, parse_request

addresses = st.integers(0, 0xFFFF)
words = st.integers(0, 0xFFFF)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    kind = draw(st.sampled_from(["bits", "registers", "coil", "register", "coils", "registers_w", "mask", "read_write"]))
    if kind == "mask":
        return MaskWrite(draw(addresses), draw(words), draw(words))
    if kind == "read_write":
        count, written = draw(st.integers(1, 125)), draw(st.binary(min_size=1, max_size=121)) * 2
        return ReadWrite(draw(st.integers(0, 0x10000 - count)), count, draw(st.integers(0, 0x10000 - len(written) // 2)), written)
    if kind in ("coil", "register"):
        data = bytes((draw(st.booleans()),)) if kind == "coil" else struct.pack(">H", draw(words))
        return Write(5 if kind == "coil" else 6, draw(addresses), 1, data)
    limit = {"bits": 2000, "registers": 125, "coils": 1968, "registers_w": 123}[kind]
    count = draw(st.integers(1, limit))
    address = draw(st.integers(0, 0x10000 - count))
    if kind in ("bits", "registers"):
        return Read(draw(st.sampled_from([1, 2] if kind == "bits" else [3, 4])), address, count)
    size = (count + 7) // 8 if kind == "coils" else 2 * count
    return Write(15 if kind == "coils" else 16, address, count, draw(st.binary(min_size=size, max_size=size)))


@settings(deadline=None)
@given(requests())
def test_request_round_trip(request: Request) -> None:
    assert parse_request(request.encode()) == request
    assert len(request.encode()) <= 253


@settings(deadline=None)
@given(requests(), st.binary(min_size=1, max_size=5))
def test_a_request_with_bytes_after_its_end_is_refused(request: Request, tail: bytes) -> None:
    with pytest.raises(ModbusException) as refusal:
        parse_request(request.encode() + tail)
    assert refusal.value.code == 3


@settings(deadline=None)
@given(requests(), st.data())
def test_a_cut_request_is_refused(request: Request, data: st.DataObject) -> None:
    encoded = request.encode()
    with pytest.raises(ModbusException) as refusal:
        parse_request(encoded[: data.draw(st.integers(1, len(encoded) - 1))])
    assert refusal.value.code in (2, 3)


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"\x63\x00", 1),
        (struct.pack(">BHH", 3, 0, 0), 3),
        (struct.pack(">BHH", 3, 0, 126), 3),
        (struct.pack(">BHH", 1, 0, 2001), 3),
        (struct.pack(">BHH", 3, 0xFFFF, 2), 2),
        (struct.pack(">BHH", 5, 0, 0x1234), 3),
        (struct.pack(">BHHB", 16, 0, 2, 2) + b"\0\0", 3),
        (struct.pack(">BHHB", 15, 0, 9, 1) + b"\0", 3),
        (struct.pack(">BHHHHB", 23, 0, 1, 0, 122, 244) + bytes(244), 3),
    ],
)
def test_refusal_codes_of_the_specification(pdu: bytes, code: int) -> None:
    with pytest.raises(ModbusException) as refusal:
        parse_request(pdu)
    assert refusal.value.code == code


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=1, max_size=253), words), max_size=6), st.data())
def test_tcp_frames_survive_any_segmentation(frames: list[tuple[int, bytes, int]], data: st.DataObject) -> None:
    sent = [Adu(*frame) for frame in frames]
    stream = b"".join(map(tcp_frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = TcpSplitter()
    heard = [adu for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) for adu in splitter.feed(stream[start:end])]
    assert heard == sent
    assert splitter.broken is None and splitter.pending == 0


@pytest.mark.parametrize("header", ["0001000100060103", "000100000001 0103", "00010000010001 03", "0001000000000103"])
def test_tcp_stream_with_a_wrong_header_is_broken_for_good(header: str) -> None:
    splitter = TcpSplitter()
    good = tcp_frame(Adu(1, b"\x03\0\0\0\1", 7))
    assert splitter.feed(good + bytes.fromhex(header)) == [Adu(1, b"\x03\0\0\0\1", 7)]
    assert splitter.broken is not None
    assert splitter.feed(good) == []


def test_crc_of_the_serial_line_specification() -> None:
    assert struct.pack("<H", crc16(b"\x02\x07")) == b"\x41\x12"  # MODBUS over Serial Line V1.02, 6.2.2
    assert crc16(b"\x02\x07\x41\x12") == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 247), requests()), min_size=1, max_size=4), st.data())
def test_rtu_requests_survive_any_segmentation(asked: list[tuple[int, Request]], data: st.DataObject) -> None:
    sent = [Adu(unit, request.encode()) for unit, request in asked]
    stream = b"".join(map(rtu_frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter = RtuSplitter(gap_s=0.05)
    heard = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += splitter.feed(stream[start:end], now_ns=1000)
    assert heard == [(adu, True) for adu in sent]


def test_rtu_answers_of_other_units_are_recognised_and_skipped() -> None:
    asked = rtu_frame(Adu(7, Read(3, 0, 10).encode()))
    answered = rtu_frame(Adu(7, b"\x03\x14" + bytes(20)))
    mine = rtu_frame(Adu(1, Read(3, 0, 1).encode()))
    heard = RtuSplitter(0.05).feed(asked + answered + mine, 0)
    assert [(adu.unit, is_request) for adu, is_request in heard] == [(7, True), (7, False), (1, True)]


def test_rtu_noise_is_dropped_until_the_line_is_silent() -> None:
    splitter = RtuSplitter(gap_s=0.05)
    request = rtu_frame(Adu(1, Read(3, 0, 1).encode()))
    assert splitter.feed(b"\x55\x03" + bytes(6) + request, 0) == []
    assert splitter.feed(request, 10_000_000) == []  # 10 ms later: still the same noise
    assert [adu.unit for adu, _ in splitter.feed(request, 100_000_000)] == [1]
    assert splitter.dropped_bytes == 24


def test_a_frame_inside_the_data_of_another_is_not_executed() -> None:
    inner = rtu_frame(Adu(1, Write(6, 0, 1, b"\0\1").encode()))
    outer = rtu_frame(Adu(1, Write(16, 100, 6, inner + bytes(4)).encode()))
    splitter = RtuSplitter(gap_s=0.05)
    assert splitter.feed(outer[:-1], 0) == []
    ((adu, _),) = splitter.feed(outer[-1:], 1)
    assert adu.pdu[0] == 16
