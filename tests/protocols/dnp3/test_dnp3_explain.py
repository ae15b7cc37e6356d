"""Frames in prose."""

from __future__ import annotations

import doctest

import pytest
from dnp3_rig import CLASS_123, Rig

from protocols.dnp3 import AnalogCommand, ControlCode, Crob, Flag, PointConfig, PointType, explain
from protocols.dnp3.application import Function
from protocols.dnp3.crc import with_crc
from protocols.dnp3.explain import explain as in_prose
from protocols.dnp3.explain import explain_fragment
from protocols.dnp3.link import LinkFrame
from protocols.dnp3.objects import find

P = PointType


def test_the_example_in_the_module_is_true():
    assert doctest.testmod(explain).failed == 0 and doctest.testmod(explain).attempted == 1


def test_a_select_is_explained_from_the_frame_to_the_status():
    crob = Crob(ControlCode.TRIP_PULSE_ON, 1, 250, 0, 4)
    user_data = bytes((0xC5, 0xC3, Function.SELECT, 12, 1, 0x17, 1, 7)) + find(12, 1).encode(crob)
    assert in_prose(LinkFrame(10, 1, 4, from_master=True, user_data=user_data).encode()).splitlines() == [
        "Link frame from master 1 to outstation 10: unconfirmed user data, 19 octets of user data.",
        "Transport: the only segment, number 5.",
        "Application: select (sequence 3).",
        "  g12v1, control relay output block: 1 point(s) by index.",
        "    [7] trip pulse on, 1 time(s), 250 ms on, 0 ms off, status not supported",
    ]


def test_a_report_is_explained_with_indications_quality_and_time():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 3), PointConfig(P.DOUBLE_BIT_INPUT, 0)])
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_123)
    rig.outstation.update(P.ANALOG_INPUT, 3, 1e39, time_ms=1_750_000_000_123)
    rig.outstation.update(P.DOUBLE_BIT_INPUT, 0, 1, flags=Flag.COMM_LOST, time_ms=1_750_000_000_124)
    rig.master.wire = b""
    rig.master.unsolicited()
    lines = in_prose(rig.master.wire).splitlines()
    assert lines[2:] == [
        "Application: unsolicited response (sequence 1, confirmation requested, unsolicited).",
        "Indications: need time.",
        "  g32v7, analog input event (float with flags and time): 1 point(s) by index.",
        "    [3] 3.40282347e+38 (online, over range) at 2025-06-15 15:06:40.123 UTC",
        "  g4v2, double-bit binary input event (with flags and time): 1 point(s) by index.",
        "    [0] off (communication lost) at 2025-06-15 15:06:40.124 UTC",
    ]


@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        (
            "c0 01 3c0206 3c0106 1e000100000a00",
            ["class 1 data: all", "class 0 data: all", "any variation of group 30, analog input: points 0 to 10"],
        ),
        ("c0 01 20000705", ["analog input event: count 5"]),
        ("c0 02 50010007 07 00", ["internal indications: point 7", "[7] set to 0"]),
        ("c0 02 32010701 7bdc20749701", ["time and date: count 1", "[0] 2025-06-15 15:06:40.123 UTC"]),
        ("c0 02 32010701 ffffffffffff", ["281474976710655 ms since 1970"]),
        ("c0 81 8000 34010701 4600", ["Indications: device restart", "[0] 70 s"]),
        ("c0 81 0000 01010002 0a 05 01", ["binary input (packed): points 2 to 10", "[4] on", "[5] off", "[10] on"]),
        ("c0 81 0000 03010000 02 24", ["[0] intermediate", "[1] off", "[2] on"]),
        ("c0 81 0000 33010701 000000000000 02031701 05 81 e803", ["[5] on (online) 1000 ms later"]),
        ("c0 81 0000 6e030000 00 525455", ["octet string: point 0", "[0] b'RTU'"]),
        ("c0 63", ["unknown function 99"]),
        ("80 01", ["first of several fragments"]),
        ("c0", ["too short"]),
        ("c0 81 00", ["indications are missing"]),
        ("c0 01 1e003f", ["cannot be read: qualifier 0x3F of g30v0"]),
        ("c0 81 0000 77010000 00 05", ["cannot be read: g119v1 is unknown"]),
    ],
)
def test_fragments(fragment, words):
    text = explain_fragment(bytes.fromhex(fragment))
    for each in words:
        assert each in text, text


def test_an_analog_command_and_an_unknown_code():
    analog = bytes((0xC0, 5, 41, 3, 0x17, 1, 2)) + find(41, 3).encode(AnalogCommand(2.5, 12))
    assert "[2] 2.5, status out of range" in explain_fragment(analog)
    odd = bytes((0xC0, 5, 12, 1, 0x17, 1, 2)) + find(12, 1).encode(Crob(0x55, status=99))
    assert "control code 0x55" in explain_fragment(odd) and "status 99" in explain_fragment(odd)


def test_link_frames_without_user_data_and_broadcasts():
    assert "outstation 10 to master 1: link status" in in_prose(LinkFrame(1, 10, 11, primary=False).encode())
    assert "to every outstation: reserved function 7" in in_prose(LinkFrame(0xFFFF, 1, 7, from_master=True).encode())


def test_damage_is_described():
    frame = LinkFrame(10, 1, 4, from_master=True, user_data=bytes(30)).encode()
    assert "wrong check word" in in_prose(frame[:-1] + b"\xee")
    assert in_prose(b"abc") == "3 octet(s) outside of any frame."
    assert in_prose(frame[:12]) == "12 octet(s) that make no complete frame."
    assert "length below 5" in in_prose(with_crc(bytes.fromhex("056404c40a000100")))
