"""Sequence numbers, repeats, broadcasts, several masters, reconnection, silence, and the smaller functions."""

from __future__ import annotations

import pytest
from dnp3_rig import CLASS_0, CLASS_1, CLASS_123, OUTSTATION, Master, Rig, errors, every_type, items_of, names_of, points_of

from protocols.dnp3 import OutstationConfig, PointConfig, PointType, Reading
from protocols.dnp3.application import IIN, Control, Function, Response
from protocols.dnp3.link import BROADCAST, BROADCAST_CONFIRM, Primary, Secondary
from protocols.dnp3.transport import segment

P = PointType


def change(rig: Rig, value: float, index: int = 0) -> None:
    rig.outstation.update(P.ANALOG_INPUT, index, value)


# -- confirmations and repeats


def test_events_ask_for_a_confirmation_and_static_values_do_not():
    rig = Rig(every_type(1))
    change(rig, 1.0)
    assert rig.master.ask(Function.READ, CLASS_1).control.con
    assert not rig.master.ask(Function.READ, CLASS_0).control.con


def test_without_confirmation_events_are_offered_again_after_the_timeout():
    rig = Rig(confirm_timeout_s=3.0)
    rig.master.settle()
    change(rig, 1.0)
    first = rig.master.ask(Function.READ, CLASS_1)
    rig.wait(3.0)
    again = rig.master.ask(Function.READ, CLASS_1)
    assert again.objects == first.objects
    rig.wait(3.1)
    assert rig.master.confirm(again) == []
    assert len(rig.outstation.sessions()[0].buffer) == 1, "a confirmation after the timeout comes too late"


def test_a_confirmation_with_the_wrong_number_is_ignored():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index, event_class=0) for index in range(100)], max_tx_fragment=300)
    first = rig.master.ask(Function.READ, CLASS_0)
    stray = Response(Control(True, True, False, False, (first.control.sequence + 5) & 15), 129, IIN(0), b"")
    assert rig.master.confirm(stray) == []
    (second,) = rig.master.confirm(first)
    assert rig.master.confirm(first) == [], "a repeated confirmation does not fetch a further fragment"
    assert second.control.sequence == (first.control.sequence + 1) & 15 and not second.control.fir


def test_a_new_request_ends_the_answer_under_way():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index) for index in range(100)], max_tx_fragment=300)
    for index in range(100):
        change(rig, 1.0, index)
    first = rig.master.ask(Function.READ, CLASS_1)
    rig.master.ask(Function.DELAY_MEASURE)
    assert rig.master.confirm(first) == []
    everything = rig.master.read_all(CLASS_1)
    assert [index for _, index, _ in items_of(everything)] == list(range(100)), "every event once, none lost"


def test_a_repeated_write_is_answered_alike_and_not_carried_out_again():
    rig = Rig()
    first = rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)), sequence=5)
    rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband = 1.0
    assert rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)), sequence=5) == first
    assert rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband == 1.0
    rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)), sequence=6)
    assert rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband == 9.0


def test_a_repeated_read_is_read_anew():
    rig = Rig(every_type(1))
    rig.master.ask(Function.READ, CLASS_0, sequence=5)
    change(rig, 2.0)
    assert points_of([rig.master.ask(Function.READ, CLASS_0, sequence=5)])[30, 0] == Reading(2.0)


@pytest.mark.parametrize(
    "head",
    [0x80, 0x40, 0x00, 0xD0],
    ids=["not final", "not first", "neither", "unsolicited"],
)
def test_requests_must_be_single_fragments(head):
    assert Rig().master.fragment(bytes((head, Function.READ)) + CLASS_0) == []


@pytest.mark.parametrize("fragment", [b"\xc0", bytes((0xC0, 129, 0, 0)), bytes((0xF0, 130, 0, 0)), bytes((0xC0, 0))])
def test_fragments_that_are_no_requests_are_ignored(fragment):
    rig = Rig()
    assert rig.master.fragment(fragment) == []
    assert rig.master.ask(Function.DELAY_MEASURE).objects


def test_requests_of_several_segments_are_put_together():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index) for index in range(400)])
    objects = bytes((34, 1, 0x28, 0x90, 0x01)) + b"".join(index.to_bytes(2, "little") + b"\x07\0" for index in range(400))
    assert len(segment(objects, 0)) > 5
    assert not errors(rig.master.ask(Function.WRITE, objects))
    assert {rig.outstation.database.point(P.ANALOG_INPUT, index).deadband for index in range(400)} == {7}


# -- broadcasts


@pytest.mark.parametrize("address", BROADCAST)
def test_a_broadcast_is_carried_out_without_an_answer_and_indicated_afterwards(address):
    rig = Rig()
    request = bytes((0xC0, Function.WRITE, 34, 1, 0, 0, 0, 9, 0))
    assert rig.master.fragment(request, destination=address) == []
    assert rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband == 9
    answer = rig.master.ask(Function.DELAY_MEASURE)
    assert answer.iin & IIN.ALL_STATIONS and answer.control.con == (address == BROADCAST_CONFIRM)
    if address == BROADCAST_CONFIRM:
        assert rig.master.ask(Function.DELAY_MEASURE).iin & IIN.ALL_STATIONS, "not confirmed: indicated again"
        rig.master.confirm(rig.master.ask(Function.DELAY_MEASURE))
    assert not rig.master.ask(Function.DELAY_MEASURE).iin & IIN.ALL_STATIONS


@pytest.mark.parametrize("function", [Function.READ, Function.SELECT, Function.DIRECT_OPERATE, Function.DELAY_MEASURE])
def test_what_needs_an_answer_is_not_broadcast(function):
    rig = Rig()
    assert rig.master.fragment(bytes((0xC0, function)) + CLASS_0, destination=0xFFFF) == []
    assert not rig.master.ask(Function.WRITE, bytes((80, 1, 0, 7, 7, 0))).iin & IIN.ALL_STATIONS


# -- several masters, several lines


def test_every_master_has_its_own_events_sequence_and_restart_indication():
    rig = Rig(masters=(1, 2))
    other = Master(rig, 2)
    rig.master.settle()
    change(rig, 1.0)
    assert points_of(rig.master.read_all(CLASS_1))[32, 0].value == 1.0
    assert not rig.master.read_all(CLASS_1)[0].objects
    answers = other.read_all(CLASS_1)
    assert points_of(answers)[32, 0].value == 1.0, "the other master's event is still there"
    assert answers[0].iin & IIN.DEVICE_RESTART and not rig.master.ask(Function.DELAY_MEASURE).iin & IIN.DEVICE_RESTART


def test_reports_go_to_the_masters_that_enabled_them():
    rig = Rig(masters=(1, 2))
    other = Master(rig, 2)
    for master in (rig.master, other):
        master.settle()
    other.ask(Function.ENABLE_UNSOLICITED, CLASS_123)
    change(rig, 1.0)
    assert rig.master.unsolicited() == []
    assert names_of(other.fragments(other.collect())) == ["g32v7"]


def test_unknown_masters_are_served_only_where_any_is():
    rig = Rig(masters=(1,))
    assert Master(rig, 9).request(Function.READ, CLASS_0) == []
    rig = Rig(masters=(), max_masters=2)
    assert [len(Master(rig, address).request(Function.READ, CLASS_0)) for address in (9, 8, 7)] == [1, 1, 0]


def test_a_place_is_given_to_a_new_master_when_an_old_one_has_left():
    rig = Rig(masters=(), max_masters=1)
    first = Master(rig, 9)
    first.ask(Function.DELAY_MEASURE)
    first.line.lost()
    assert Master(rig, 8).ask(Function.DELAY_MEASURE).objects
    assert [session.master for session in rig.outstation.sessions()] == [8]


def test_a_line_belongs_to_one_master():
    rig = Rig(masters=(1, 2))
    rig.master.ask(Function.DELAY_MEASURE)
    rig.master.frame(Primary.REQUEST_LINK_STATUS, source=2)
    assert rig.master.line.foreign_frames == 1


def test_a_master_that_reconnects_takes_its_session_along():
    rig = Rig()
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_123)
    change(rig, 1.0)
    (report,) = rig.master.unsolicited()
    again = Master(rig)
    assert again.ask(Function.DELAY_MEASURE).objects
    assert rig.master.line.closing and not again.line.closing
    (repeated,) = again.unsolicited()
    assert repeated.objects == report.objects, "what was under way on the old line goes out on the new"


def test_events_of_a_lost_line_wait_for_the_return():
    rig = Rig()
    rig.master.settle()
    change(rig, 1.0)
    rig.master.request(Function.READ, CLASS_1)
    rig.master.line.lost()
    change(rig, 2.0)
    again = Master(rig)
    assert [header.row.decode(item).value for header, _, item in items_of(again.read_all(CLASS_1))] == [1.0, 2.0]


def test_a_request_like_the_last_one_of_the_old_line_is_no_repeat():
    rig = Rig()
    rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)), sequence=0)
    rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband = 1.0
    Master(rig).ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)), sequence=0)
    assert rig.outstation.database.point(P.ANALOG_INPUT, 0).deadband == 9.0


def test_a_connection_that_says_nothing_does_not_disturb_the_master():
    rig = Rig()
    rig.master.ask(Function.DELAY_MEASURE)
    Master(rig)
    assert rig.master.ask(Function.DELAY_MEASURE).objects and not rig.master.line.closing


# -- silence


def test_a_silent_line_is_asked_for_its_link_status_and_then_given_up():
    rig = Rig(keep_alive_s=30.0, keep_alive_timeout_s=4.0, unsolicited=False)
    rig.wait(30.0)
    (asked,) = rig.master.collect()
    assert asked.function == Primary.REQUEST_LINK_STATUS and asked.primary and asked.destination == 1
    rig.wait(3.9)
    rig.master.frame(Secondary.LINK_STATUS, primary=False)
    rig.wait(29.9)
    assert rig.master.collect() == [] and not rig.master.line.closing
    rig.wait(4.2)
    assert len(rig.master.collect()) == 1
    rig.wait(4.0)
    assert rig.master.line.closing


def test_octets_that_make_no_frame_do_not_keep_a_line_alive():
    rig = Rig(masters=(1, 2), keep_alive_s=30.0)
    for _ in range(35):
        rig.master.octets(b"\x05")
        rig.wait(1.0)
    assert rig.master.line.closing
    assert rig.master.line.counts.skipped_octets == 34 and rig.master.line.counts.frames == 0


def test_keep_alive_can_be_switched_off():
    rig = Rig(keep_alive_s=None, unsolicited=False)
    assert rig.outstation.next_deadline_ns() is None
    rig.wait(1e6)
    assert rig.master.collect() == [] and not rig.master.line.closing


# -- freeze, classes, dead bands


@pytest.mark.parametrize("function", [Function.IMMEDIATE_FREEZE, Function.FREEZE_CLEAR])
def test_counters_are_frozen(function):
    rig = Rig(every_type(2))
    rig.outstation.update(P.COUNTER, 0, 41)
    rig.outstation.update(P.COUNTER, 1, 42)
    assert not errors(rig.master.ask(function, bytes((20, 0, 6))))
    answers = rig.master.read_all(bytes((21, 1, 6, 20, 1, 6)))
    left = 0 if function is Function.FREEZE_CLEAR else 41
    assert points_of(answers)[21, 0] == Reading(41) and points_of(answers)[20, 0] == Reading(left)
    events = rig.master.read_all(bytes((23, 5, 6)))
    assert [header.row.decode(item).value for header, _, item in items_of(events)] == [41, 42]


@pytest.mark.parametrize("function", [Function.IMMEDIATE_FREEZE_NO_ACK, Function.FREEZE_CLEAR_NO_ACK])
def test_freezing_without_acknowledgement_is_silent(function):
    rig = Rig(every_type(2))
    rig.outstation.update(P.COUNTER, 1, 42)
    assert rig.master.request(function, bytes((20, 0, 0, 1, 1))) == []
    assert rig.outstation.database.point(P.FROZEN_COUNTER, 1).value == 42
    assert rig.outstation.database.point(P.FROZEN_COUNTER, 0).flags != 1


@pytest.mark.parametrize(
    ("objects", "iin"),
    [
        ("15 00 06", IIN.OBJECT_UNKNOWN),
        ("14 00 00 01 07", IIN.PARAMETER_ERROR),
        ("", IIN.PARAMETER_ERROR),
        ("14 00 07 01", IIN.PARAMETER_ERROR),
    ],
)
def test_what_cannot_be_frozen_is_indicated(objects, iin):
    assert errors(Rig(every_type(2)).master.ask(Function.IMMEDIATE_FREEZE, bytes.fromhex(objects))) == iin


def test_classes_are_assigned_header_by_header():
    rig = Rig(every_type(4))
    objects = bytes((60, 3, 6, 30, 0, 0, 0, 1, 1, 0, 6, 60, 1, 6, 30, 0, 1, 2, 0, 2, 0))
    assert not errors(rig.master.ask(Function.ASSIGN_CLASS, objects))
    classes = [point.event_class for point in rig.outstation.database.points(P.ANALOG_INPUT).values()]
    assert classes == [2, 2, 0, 1]
    assert {point.event_class for point in rig.outstation.database.points(P.BINARY_INPUT).values()} == {2}
    for index in range(4):
        change(rig, 1.0, index)
    assert [index for _, index, _ in items_of(rig.master.read_all(bytes((60, 3, 6))))] == [0, 1]


@pytest.mark.parametrize(
    ("objects", "iin"),
    [
        ("1e 00 06", IIN.PARAMETER_ERROR),
        ("3c 02 06 1e 00 00 00 09", IIN.PARAMETER_ERROR),
        ("3c 02 06 63 00 06", IIN.OBJECT_UNKNOWN),
        ("3c 02 06 1e 05 06", IIN.OBJECT_UNKNOWN),
        ("3c 05 06 1e 00 06", IIN.PARAMETER_ERROR),
        ("3c 02 06", IIN.PARAMETER_ERROR),
        ("", IIN.PARAMETER_ERROR),
    ],
)
def test_assignments_that_make_no_sense_are_indicated(objects, iin):
    rig = Rig(every_type(2))
    assert errors(rig.master.ask(Function.ASSIGN_CLASS, bytes.fromhex(objects))) == iin


@pytest.mark.parametrize(
    ("objects", "deadbands"),
    [
        ("22 01 00 00 01 05 00 06 00", [5, 6]),
        ("22 02 17 01 01 00 00 01 00", [0, 65536]),
        ("22 03 28 01 00 00 00 00 00 20 40", [2.5, 0]),
    ],
)
def test_dead_bands_are_written_in_every_variation(objects, deadbands):
    rig = Rig(every_type(2))
    assert not errors(rig.master.ask(Function.WRITE, bytes.fromhex(objects)))
    assert [point.deadband for point in rig.outstation.database.points(P.ANALOG_INPUT).values()] == deadbands


def test_a_written_dead_band_decides_what_is_an_event():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0, scale=0.1)])
    change(rig, 10.0)
    rig.master.read_all(CLASS_1)
    rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 50, 0)))
    assert not rig.outstation.update(P.ANALOG_INPUT, 0, 14.9)
    assert rig.outstation.update(P.ANALOG_INPUT, 0, 15.2)


@pytest.mark.parametrize(
    "objects", ["22 01 00 00 02 05 00 06 00 07 00", "22 03 00 00 00 00 00 80 bf", "22 03 00 00 00 00 00 c0 7f", "22 01 07 01 05 00"]
)
def test_bad_dead_bands_change_nothing(objects):
    rig = Rig(every_type(2))
    assert errors(rig.master.ask(Function.WRITE, bytes.fromhex(objects))) == IIN.PARAMETER_ERROR
    assert [point.deadband for point in rig.outstation.database.points(P.ANALOG_INPUT).values()] == [0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": 0xFFF5}, "not one of 0 to 65519"),
        ({"address": OUTSTATION, "masters": (OUTSTATION,)}, "both have link address"),
        ({"max_tx_fragment": 200}, "at least 276"),
        ({"max_masters": 0}, "at least 1"),
    ],
)
def test_configurations_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OutstationConfig(**settings)
