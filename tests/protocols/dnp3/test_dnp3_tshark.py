"""Every variation, as our outstation sends it, in the eyes of an independent dissector."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnp3_rig import CLASS_123, Rig
from dnp3_tshark import TSHARK, WHY_SKIPPED, dissect, judge

from protocols.dnp3 import DoubleBit, EventMode, PointConfig, PointType
from protocols.dnp3.application import Function
from protocols.dnp3.link import LinkFrame, LinkParser
from protocols.dnp3.objects import Kind, every_object
from protocols.pcap import DNP3_PORT, CaptureWriter

pytestmark = pytest.mark.skipif(TSHARK is None, reason=WHY_SKIPPED)

P = PointType
MASTER, RTU = ("127.0.0.1", 40001), ("127.0.0.1", DNP3_PORT)
VALUES = {
    P.BINARY_INPUT: True,
    P.DOUBLE_BIT_INPUT: DoubleBit.ON,
    P.BINARY_OUTPUT: True,
    P.COUNTER: 4711,
    P.FROZEN_COUNTER: 4711,
    P.ANALOG_INPUT: -1234.0,
    P.ANALOG_OUTPUT: -1234.0,
    P.OCTET_STRING: b"RTU",
}
# tshark 4.0 names g4v3, but cannot read it ("unknown data chunk"); yadnp3 reads it in test_dnp3_interop.py.
ROWS = [
    row
    for row in every_object()
    if row.kind in (Kind.STATIC, Kind.EVENT, Kind.DEADBAND) and row.name != "g4v3" and row.group not in (110, 111)
]


def exchange(path: Path, rig: Rig, requests: list[bytes]) -> None:
    """Reads each of `requests` from a rig whose events are renewed before each, and captures both sides."""
    with CaptureWriter(path) as writer:
        for number, objects in enumerate(requests):
            rig.outstation.sessions()[0].buffer.clear()
            for kind, value in VALUES.items():
                for index in range(3):
                    rig.outstation.update(kind, index, value, time_ms=1_750_000_000_000 + number, mode=EventMode.FORCE)
            rig.master.wire = b""
            answers = rig.master.request(Function.READ, objects)
            for answer in answers:
                rig.master.confirm(answer)
            for frame in LinkParser().feed(rig.master.wire):
                writer.write(RTU, MASTER, frame.encode(), 1_750_000_000_000_000_000 + number)


@pytest.fixture
def rig() -> Rig:
    points = [PointConfig(kind, index) for kind in PointType for index in range(3)]
    # With a clock of its own, because tshark 4.0 does not know the time of an unsynchronised one (g51v2).
    rig = Rig(points, unsolicited=False, need_time=False)
    rig.master.settle()
    return rig


def test_every_variation_is_well_formed_and_understood(rig, tmp_path):
    path = tmp_path / "objects.pcap"
    exchange(path, rig, [bytes((row.group, row.variation, 6)) for row in ROWS])
    assert judge(path) == len(ROWS)
    objects = [int(each, 16) for packet in dissect(path, "dnp3.al.obj") for each in packet["dnp3.al.obj"]]
    assert [each for each in objects if each >> 8 != 51] == [row.group << 8 | row.variation for row in ROWS]


def test_class_polls_and_strings_are_well_formed(rig, tmp_path):
    path = tmp_path / "classes.pcap"
    exchange(path, rig, [CLASS_123, bytes((60, 1, 6)), bytes((110, 0, 6, 111, 0, 6))])
    assert judge(path) >= 3


def test_values_and_times_are_read_as_they_were_meant(rig, tmp_path):
    path = tmp_path / "values.pcap"
    exchange(path, rig, [bytes((32, 7, 6)), bytes((30, 1, 6)), bytes((20, 1, 6))])
    fields = dissect(path, "dnp3.al.obj", ("dnp3.al.ana.float", "dnp3.al.ana.int", "dnp3.al.cnt", "dnp3.al.timestamp"))
    assert [float(value) for value in fields[0]["dnp3.al.ana.float"]] == [-1234.0] * 3
    assert all("2025-06-15" in value or "Jun 15, 2025" in value for value in fields[0]["dnp3.al.timestamp"])
    assert fields[1]["dnp3.al.ana.int"] == ["-1234"] * 3
    assert fields[2]["dnp3.al.cnt"] == ["4711"] * 3


@pytest.mark.parametrize("at", [3, 9, 15, -1], ids=["control", "header check", "data", "data check"])
def test_the_judge_condemns_a_damaged_frame(tmp_path, at):
    wire = bytearray(LinkFrame(1, 10, 4, user_data=bytes((0xC0, 0xC0, 0x81, 0, 0))).encode())
    wire[at] ^= 4
    with CaptureWriter(tmp_path / "bad.pcap") as writer:
        writer.write(RTU, MASTER, LinkFrame(1, 10, 4, user_data=bytes((0xC0, 0xC0, 0x81, 0, 0))).encode(), 0)
        writer.write(RTU, MASTER, bytes(wire), 0)
    with pytest.raises(AssertionError):
        judge(tmp_path / "bad.pcap")
    assert dissect(tmp_path / "bad.pcap", "dnp3.data_chunk.CRC.incorrect || (tcp.len > 0 && !dnp3)")
