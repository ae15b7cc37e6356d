"""Reports nobody asked for: the null response, events, confirmations, retries, and how they share the line with requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dnp3_rig import CLASS_0, CLASS_1, CLASS_123, Rig, errors, items_of, names_of, points_of

from protocols.dnp3 import PointConfig, PointType
from protocols.dnp3.application import IIN, Function

P = PointType


@pytest.fixture
def rig() -> Rig:
    """Past its start, with class 1 to 3 reports enabled."""
    rig = Rig(unsolicited_retries=2, unsolicited_offline_s=60.0, keep_alive_s=None)
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_123)
    return rig


def change(rig: Rig, value: float, index: int = 0) -> None:
    rig.outstation.update(P.ANALOG_INPUT, index, value)


def test_the_first_thing_said_is_an_empty_response_with_the_restart_indication():
    rig = Rig()
    (null,) = rig.master.unsolicited()
    assert null.control.uns and null.control.con and null.control.sequence == 0 and not null.objects
    assert null.iin & IIN.DEVICE_RESTART and null.iin & IIN.NEED_TIME
    rig.master.confirm(null)
    assert rig.master.unsolicited() == []


def test_the_null_response_is_repeated_until_it_is_confirmed():
    rig = Rig(unsolicited_retries=None, unsolicited_confirm_timeout_s=2.0)
    first = rig.master.unsolicited()
    rig.wait(20.0)
    repeats = rig.master.fragments(rig.master.collect())
    assert repeats == first * 10


def test_no_events_before_the_null_response_is_confirmed_and_classes_are_enabled():
    rig = Rig()
    (null,) = rig.master.unsolicited()
    change(rig, 1.0)
    assert rig.master.unsolicited() == []
    rig.master.confirm(null)
    assert rig.master.unsolicited() == []
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_1)
    (report,) = rig.master.unsolicited()
    assert names_of([report]) == ["g32v7"]


def test_events_travel_together_and_are_forgotten_when_confirmed(rig):
    for index in range(3):
        change(rig, 1.5, index)
    (report,) = rig.master.unsolicited()
    assert [index for _, index, _ in items_of([report])] == [0, 1, 2] and report.control.con
    change(rig, 2.5)
    assert rig.master.unsolicited() == [], "one report at a time"
    rig.master.confirm(report)
    (following,) = rig.master.unsolicited()
    assert following.control.sequence == (report.control.sequence + 1) & 15
    assert points_of([following])[32, 0].value == 2.5
    rig.master.confirm(following)
    assert not rig.master.read_all(CLASS_123)[0].objects


def test_only_enabled_classes_are_reported():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index, event_class=index + 1) for index in range(3)])
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, bytes((60, 2, 6, 60, 4, 6)))
    for index in range(3):
        change(rig, 1.0, index)
    (report,) = rig.master.unsolicited()
    assert [index for _, index, _ in items_of([report])] == [0, 2]
    assert report.iin & (IIN.CLASS_1_EVENTS | IIN.CLASS_2_EVENTS | IIN.CLASS_3_EVENTS) == IIN.CLASS_2_EVENTS
    rig.master.confirm(report)
    rig.master.ask(Function.DISABLE_UNSOLICITED, bytes((60, 4, 6)))
    change(rig, 2.0, 2)
    assert rig.master.unsolicited() == []


def test_retries_repeat_the_same_octets_then_silence_then_another_try(rig):
    change(rig, 1.0)
    (report,) = rig.master.unsolicited()
    rig.wait(5.0 * 2)
    assert rig.master.fragments(rig.master.collect()) == [report, report]
    rig.wait(59.9)
    assert rig.master.fragments(rig.master.collect()) == []
    rig.wait(6.0)
    (again,) = rig.master.fragments(rig.master.collect())
    assert again.objects == report.objects and again.control.sequence != report.control.sequence


def test_silence_ends_when_the_master_is_heard(rig):
    change(rig, 1.0)
    rig.master.unsolicited()
    rig.wait(16.0)
    rig.master.collect()
    rig.master.ask(Function.DELAY_MEASURE)
    assert len(rig.master.unsolicited()) == 1


def test_a_wrong_or_late_confirmation_confirms_nothing(rig):
    change(rig, 1.0)
    (report,) = rig.master.unsolicited()
    other_number = replace(report.control, sequence=(report.control.sequence + 1) & 15)
    rig.master.confirm(replace(report, control=other_number))
    assert rig.outstation.sessions()[0].unsolicited.awaiting
    rig.wait(16.0)
    rig.master.collect()
    rig.master.confirm(report)
    assert len(rig.outstation.sessions()[0].buffer) == 1


def test_a_read_waits_for_the_confirmation_of_a_report(rig):
    change(rig, 1.0)
    (report,) = rig.master.unsolicited()
    change(rig, 2.0, 1)
    assert rig.master.request(Function.READ, CLASS_1) == []
    (answer,) = rig.master.confirm(report)
    assert not answer.control.uns and [index for _, index, _ in items_of([answer])] == [1], "no event twice"


def test_a_read_is_served_when_the_confirmation_fails_to_come(rig):
    change(rig, 1.0)
    rig.master.unsolicited()
    rig.master.request(Function.READ, CLASS_1 + CLASS_0)
    rig.wait(5.0)
    (answer,) = rig.master.fragments(rig.master.collect())
    assert not answer.control.uns and names_of([answer])[0] == "g32v7", "its events are in the answer instead"


def test_only_the_last_deferred_read_is_served_and_other_requests_replace_it(rig):
    change(rig, 1.0)
    (report,) = rig.master.unsolicited()
    rig.master.request(Function.READ, CLASS_0)
    rig.master.request(Function.READ, CLASS_1)
    assert rig.master.ask(Function.DELAY_MEASURE).objects, "other requests are answered at once"
    assert rig.master.confirm(report) == []


def test_nothing_is_reported_while_an_answer_waits_for_its_confirmation(rig):
    change(rig, 1.0)
    rig.outstation.sessions()[0].unsolicited.disable(0b1110)
    (answer,) = rig.master.request(Function.READ, CLASS_1)
    rig.outstation.sessions()[0].unsolicited.enable(0b1110)
    change(rig, 2.0)
    assert rig.master.unsolicited() == []
    rig.master.confirm(answer)
    assert points_of(rig.master.unsolicited())[32, 0].value == 2.0


def test_events_are_collected_for_the_time_configured():
    rig = Rig(unsolicited_delay_s=2.0)
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_1)
    change(rig, 1.0)
    rig.wait(1.0)
    change(rig, 2.0)
    rig.wait(0.9)
    assert rig.master.collect() == []
    rig.wait(0.2)
    (report,) = rig.master.fragments(rig.master.collect())
    assert len(items_of([report])) == 2


def test_more_events_than_a_fragment_takes_follow_each_other_confirmed():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index) for index in range(500)])
    rig.master.settle()
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_1)
    for index in range(500):
        change(rig, 1.0, index)
    seen = []
    reports = rig.master.unsolicited()
    while reports:
        seen += [index for _, index, _ in items_of(reports)]
        rig.master.confirm(reports[-1])
        reports = rig.master.unsolicited()
    assert seen == list(range(500))


def test_an_outstation_without_unsolicited_reports_says_so():
    rig = Rig(unsolicited=False)
    assert rig.master.unsolicited() == []
    assert errors(rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_1)) == IIN.NO_FUNC_CODE_SUPPORT


@pytest.mark.parametrize(
    ("objects", "iin"),
    [
        ("3c 01 06", IIN.OBJECT_UNKNOWN),
        ("1e 00 06", IIN.OBJECT_UNKNOWN),
        ("3c 02 07 01", IIN.PARAMETER_ERROR),
        ("", IIN.PARAMETER_ERROR),
    ],
)
def test_only_event_classes_can_be_enabled(rig, objects, iin):
    assert errors(rig.master.ask(Function.ENABLE_UNSOLICITED, bytes.fromhex(objects))) == iin


def test_disabling_takes_back_what_is_under_way(rig):
    change(rig, 1.0)
    rig.master.unsolicited()
    rig.master.ask(Function.DISABLE_UNSOLICITED, CLASS_123)
    rig.wait(100.0)
    assert rig.master.fragments(rig.master.collect()) == []
    assert names_of(rig.master.read_all(CLASS_1)) == ["g32v7"]
