"""The master that only asks, against our outstation, with octets passed by hand."""

from __future__ import annotations

import struct

from dnp3_rig import every_type

from protocols.dnp3 import Flag, Outstation, OutstationConfig, PointConfig, PointType
from protocols.dnp3.application import IIN, Control, Function, Response
from protocols.dnp3.connection import Connection
from protocols.dnp3.inquiry import ALL_ATTRIBUTES, CLASS_0, Answer, Inquiry, read_range
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.transport import segment


class Rig:
    """An outstation on a clock that stands still, an inquiry, and all that the inquiry sent."""

    def __init__(self, points: list[PointConfig], **settings: object) -> None:
        config = OutstationConfig(masters=(1,), **settings)  # type: ignore[arg-type]
        self.outstation = Outstation(config, points, clock=lambda: 0)
        self.connection: Connection = self.outstation.connect()
        self.connection.data_to_send()  # what it says unasked
        self.inquiry = Inquiry()
        self.sent: list[int] = []

    def exchange(self, octets: bytes) -> list[Answer]:
        answers: list[Answer] = []
        while octets:
            self.sent += [frame.user_data[2] for frame in LinkParser().feed(octets) if len(frame.user_data) > 2]
            self.connection.receive(octets)
            self.outstation.advance()
            answers += self.inquiry.receive(self.connection.data_to_send())
            octets = self.inquiry.data_to_send()
        return answers


def test_class_0_has_every_type_with_its_flags():
    rig = Rig(every_type(3))
    rig.outstation.update(PointType.ANALOG_INPUT, 1, 2.5, flags=Flag.ONLINE | Flag.LOCAL_FORCED)
    rig.outstation.update(PointType.BINARY_INPUT, 2, True)
    (answer,) = rig.exchange(rig.inquiry.read(CLASS_0))
    found = {(value.kind, value.point): value.reading for value in answer.values}
    assert {kind for kind, _ in found} == set(PointType)
    assert found[PointType.ANALOG_INPUT, 1][:2] == (2.5, Flag.ONLINE | Flag.LOCAL_FORCED)
    assert found[PointType.BINARY_INPUT, 2][:2] == (True, Flag.ONLINE)
    assert found[PointType.COUNTER, 0].flags == Flag.RESTART


def test_a_long_answer_is_taken_in_fragments():
    rig = Rig([PointConfig(PointType.ANALOG_INPUT, i) for i in range(400)], max_tx_fragment=300)
    answers = rig.exchange(rig.inquiry.read(CLASS_0))
    assert len(answers) > 5 and answers[-1].is_last
    assert [value.point for answer in answers for value in answer.values] == list(range(400))
    assert set(rig.sent) == {Function.READ, Function.CONFIRM}


def test_it_takes_no_events_and_clears_nothing():
    rig = Rig(every_type(3))
    rig.outstation.update(PointType.BINARY_INPUT, 0, True)
    rig.exchange(rig.inquiry.read(CLASS_0))
    (events,) = rig.exchange(rig.inquiry.read(bytes((60, 2, 6))))
    assert events.events == 1, "shown"
    (answer,) = rig.exchange(rig.inquiry.read(CLASS_0))
    assert answer.iin & IIN.CLASS_1_EVENTS and answer.iin & IIN.DEVICE_RESTART and answer.iin & IIN.NEED_TIME, "and left"
    assert set(rig.sent) <= {Function.READ, Function.CONFIRM}


def test_events_reported_unasked_are_left_to_their_master():
    inquiry = Inquiry()
    inquiry.read(CLASS_0)
    event = bytes((2, 1, 0x17, 1, 0, 0x81))
    for objects, confirmed in ((event, False), (b"", True)):
        response = Response(Control(True, True, True, True, 3), Function.UNSOLICITED_RESPONSE, IIN(0), objects).encode()
        frame = LinkFrame(1, 10, Primary.UNCONFIRMED_USER_DATA, user_data=segment(response, 0)[0])
        assert inquiry.receive(frame.encode()) == []
        out = LinkParser().feed(inquiry.data_to_send())
        assert [each.user_data[1:] for each in out] == ([bytes((0xD3, Function.CONFIRM))] if confirmed else [])
    assert inquiry.unsolicited == 1


def test_a_range_and_the_link():
    rig = Rig(every_type(5))
    (answer,) = rig.exchange(rig.inquiry.read(read_range(30, 2, 3)))
    assert [(value.kind, value.point) for value in answer.values] == [(PointType.ANALOG_INPUT, 2), (PointType.ANALOG_INPUT, 3)]
    rig.exchange(rig.inquiry.link_status())
    assert rig.inquiry.link_answered


def reply(objects: bytes, sequence: int = 0, source: int = 10, iin: int = 0) -> bytes:
    response = Response(Control(True, True, False, False, sequence), Function.RESPONSE, IIN(iin), objects).encode()
    frames = [LinkFrame(1, source, Primary.UNCONFIRMED_USER_DATA, user_data=part) for part in segment(response, 0)]
    return b"".join(frame.encode() for frame in frames)


def attribute(variation: int, kind: int, data: bytes) -> bytes:
    return bytes((0, variation, 0, 0, 0, kind, len(data))) + data


def test_device_attributes():
    inquiry = Inquiry()
    inquiry.read(ALL_ATTRIBUTES)
    objects = (
        attribute(252, 1, b"Maker")
        + attribute(241, 2, b"\0\x08")
        + attribute(217, 3, b"\xff")
        + attribute(200, 4, struct.pack("<f", 1.5))
    )
    (answer,) = inquiry.receive(reply(objects))
    assert answer.attributes == {252: "Maker", 241: "2048", 217: "-1", 200: "1.5"}
    inquiry.read(ALL_ATTRIBUTES)
    inquiry.receive(reply(attribute(252, 1, b"Maker")[:-2], sequence=1))
    assert "attribute 252 is cut" in inquiry.problems[-1]


def test_what_does_not_belong_to_it_is_left_alone():
    inquiry = Inquiry()
    inquiry.read(CLASS_0)
    assert inquiry.receive(reply(b"", sequence=5)) == [], "late"
    assert inquiry.receive(reply(b"", source=11)) == [] and inquiry.heard_from == {11}
    assert inquiry.receive(b"garbage" * 20) == []
    assert len(inquiry.receive(reply(b""))) == 1
