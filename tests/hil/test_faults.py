"""Faults to order, on octets and with a clock of our own."""

from __future__ import annotations

import pytest

from hil.devices.faults import Fault, FaultKind, Faults, FaultyLine, cut_dnp3, cut_modbus_rtu, cut_modbus_tcp
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.modbus.frame import Adu, TcpSplitter, crc16, rtu_frame, tcp_frame


def line(kind: str, **fields: float) -> tuple[Faults, FaultyLine]:
    faults = Faults(cut_modbus_tcp)
    faults.order(Fault.parse({"fault": kind, **fields}), 0.0)
    return faults, FaultyLine(faults)


def test_nothing_is_changed_without_a_fault():
    assert line("none")[1].send(b"abc", 1.0) == [(1.0, b"abc")]


def test_silence_lasts_as_long_as_ordered():
    _, out = line("silence", for_s=2.0)
    assert out.send(b"abc", 1.9) == []
    assert out.send(b"abc", 2.0) == [(2.0, b"abc")]


def test_a_count_of_answers():
    _, out = line("garbage", count=2)
    first, second, third = (out.send(b"abcdef", 1.0)[0][1] for _ in range(3))
    assert len(first) == len(second) == 6 and b"abcdef" not in (first, second) and third == b"abcdef"


def test_slow_answers_keep_their_order():
    faults, out = line("slow", delay_s=1.0)
    assert out.send(b"1", 0.0) == [(1.0, b"1")]
    faults.order(Fault(FaultKind.NONE), 0.2)
    assert out.send(b"2", 0.2) == [(1.0, b"2")], "not before what was sent earlier"


def test_two_answers_change_places():
    _, out = line("order", for_s=5.0)
    assert out.send(b"1", 0.0) == []
    assert out.send(b"2", 1.0) == [(1.0, b"2"), (1.0, b"1")]
    assert out.send(b"3", 2.0) == []
    assert out.send(b"4", 6.0) == [(6.0, b"3"), (6.0, b"4")], "what was held goes out when all is well again"


def test_a_short_answer_of_modbus_is_well_formed():
    answer = tcp_frame(Adu(1, bytes((3, 8)) + bytes(8), 77))
    (adu,) = TcpSplitter().feed(cut_modbus_tcp(answer))
    assert (adu.transaction, adu.unit, adu.pdu) == (77, 1, bytes((3, 4)) + bytes(4))
    short = cut_modbus_rtu(rtu_frame(Adu(5, bytes((4, 4)) + bytes(4))))
    assert short[:-2] == bytes((5, 4, 2, 0, 0)) and rtu_frame(Adu(5, short[1:-2])) == short
    assert crc16(short) == 0, "the checksum over a frame with its checksum"


def test_a_short_frame_of_dnp3_never_ends():
    frame = LinkFrame(1, 10, Primary.UNCONFIRMED_USER_DATA, user_data=bytes(40)).encode()
    assert LinkParser().feed(cut_dnp3(frame)) == []


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"fault": "fire"}, "there is no fault 'fire'; order one of none, silence"),
        ({"fault": "slow", "speed": 1}, "a fault has no speed"),
        ({"fault": "slow", "delay_s": -1}, "delay_s is -1; give 0 or more"),
        ({"fault": "slow", "delay_s": "x"}, "delay_s is 'x'; give a number"),
        ({"fault": "slow", "count": 1.5}, "count is 1.5; give a number"),
    ],
)
def test_a_wrong_order_is_named(order: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        Fault.parse(order)
