"""When a new value is an event, and what a bounded buffer does with events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3 import EventMode, Flag, PointConfig, PointType
from protocols.dnp3.database import Database, Point
from protocols.dnp3.events import EventBuffer
from protocols.dnp3.objects import find

P = PointType


def one(config: PointConfig) -> tuple[Database, list[tuple[object, int, int]]]:
    database, events = Database([config]), []
    database.on_event = lambda point: events.append((point.value, point.flags, point.time_ms))
    return database, events


def test_before_the_first_update_a_point_says_restart():
    database, events = one(PointConfig(P.ANALOG_INPUT, 0))
    assert database.point(P.ANALOG_INPUT, 0).flags == Flag.RESTART
    assert database.update(P.ANALOG_INPUT, 0, 0.0, time_ms=5), "coming online is an event, though the value is the same"
    assert events == [(0.0, Flag.ONLINE, 5)]


def test_a_dead_band_is_counted_from_the_last_event():
    database, events = one(PointConfig(P.ANALOG_INPUT, 0, deadband=10.0))
    made = [database.update(P.ANALOG_INPUT, 0, value, time_ms=0) for value in (100.0, 106.0, 110.0, 110.5, 101.0, 100.4)]
    assert made == [True, False, False, True, False, True]
    assert [value for value, *_ in events] == [100.0, 110.5, 100.4]


def test_a_change_of_quality_is_an_event_inside_the_dead_band():
    database, events = one(PointConfig(P.ANALOG_INPUT, 0, deadband=10.0))
    database.update(P.ANALOG_INPUT, 0, 1.0, time_ms=0)
    assert database.update(P.ANALOG_INPUT, 0, 1.0, flags=Flag.COMM_LOST, time_ms=1)
    assert events[-1] == (1.0, Flag.COMM_LOST, 1)


def test_scale_and_offset_apply_to_values_and_dead_bands():
    database, _ = one(PointConfig(P.ANALOG_INPUT, 0, static_variation=2, scale=0.1, offset=-50.0, deadband=1.0))
    database.update(P.ANALOG_INPUT, 0, 21.5, time_ms=0)
    point = database.point(P.ANALOG_INPUT, 0)
    assert point.value == pytest.approx(715.0) and point.deadband == pytest.approx(10.0)
    assert point.config.from_wire(point.value) == pytest.approx(21.5)


def test_modes_force_and_suppress():
    database, events = one(PointConfig(P.BINARY_INPUT, 0))
    database.update(P.BINARY_INPUT, 0, True, time_ms=0, mode=EventMode.SUPPRESS)
    assert not events
    database.update(P.BINARY_INPUT, 0, True, time_ms=0)
    assert not database.update(P.BINARY_INPUT, 0, True, time_ms=0)
    assert database.update(P.BINARY_INPUT, 0, True, time_ms=0, mode=EventMode.FORCE)
    assert len(events) == 2


def test_class_0_points_make_no_events():
    database, events = one(PointConfig(P.COUNTER, 0, event_class=0))
    assert not database.update(P.COUNTER, 0, 5, time_ms=0) and not events


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (P.ANALOG_INPUT, float("nan"), "NaN is no measurement"),
        (P.COUNTER, -1, "a counter cannot be -1"),
        (P.DOUBLE_BIT_INPUT, 4, "0 to 3"),
        (P.BINARY_INPUT, 2, "False or True"),
        (P.OCTET_STRING, bytes(256), "at most 255 octets"),
    ],
)
def test_values_a_point_cannot_have_are_refused(kind, value, message):
    database, _ = one(PointConfig(kind, 3, name="X"))
    with pytest.raises(ValueError, match=message):
        database.update(kind, 3, value, time_ms=0)
    with pytest.raises(KeyError, match="4 is not configured"):
        database.update(kind, 4, value, time_ms=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"index": 70000}, "0 to 65535"),
        ({"event_class": 4}, "event class 4"),
        ({"scale": 0.0}, "not 0"),
        ({"deadband": -1.0}, "dead band"),
        ({"minimum": 2.0, "maximum": 1.0}, "minimum 2.0 is above maximum 1.0"),
        ({"static_variation": 9}, "no g30v9"),
        ({"event_variation": 9}, "no g32v9"),
    ],
)
def test_bad_configurations_say_which_point(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        PointConfig(P.ANALOG_INPUT, **({"index": 7, "name": "feeder head"} | fields))
    assert "feeder head" in str(error.value)


def test_a_point_cannot_be_configured_twice():
    with pytest.raises(ValueError, match="binary input 1 is configured twice"):
        Database([PointConfig(P.BINARY_INPUT, 1), PointConfig(P.BINARY_INPUT, 1)])


def test_variations_without_flags_give_way_where_flags_matter():
    configs = [PointConfig(P.BINARY_INPUT, 0, static_variation=1), PointConfig(P.ANALOG_INPUT, 0, static_variation=4)]
    database = Database(configs)
    binary, analog = database.point(P.BINARY_INPUT, 0), database.point(P.ANALOG_INPUT, 0)
    assert binary.static(None).name == "g1v2", "restart is not plainly online"
    database.update(P.BINARY_INPUT, 0, True, time_ms=0)
    assert binary.static(None).name == "g1v1"
    database.update(P.ANALOG_INPUT, 0, 32767.0, time_ms=0)
    assert analog.static(None).name == "g30v4"
    database.update(P.ANALOG_INPUT, 0, 32768.0, time_ms=0)
    assert analog.static(None).name == "g30v2", "the over-range flag would be lost"
    assert analog.static(find(30, 6)).name == "g30v6"


def test_freezing_copies_and_clears():
    database = Database([PointConfig(P.COUNTER, 0), PointConfig(P.COUNTER, 1), PointConfig(P.FROZEN_COUNTER, 0)])
    database.update(P.COUNTER, 0, 12, time_ms=0)
    assert database.freeze(None, None, clear=True, time_ms=99) == 1
    frozen = database.point(P.FROZEN_COUNTER, 0)
    assert (frozen.value, frozen.time_ms, database.point(P.COUNTER, 0).value) == (12, 99, 0)


def point(kind: PointType = P.BINARY_INPUT, index: int = 0, event_class: int = 1) -> Point:
    return Point(PointConfig(kind, index, event_class=event_class))


def test_the_oldest_event_of_the_full_type_gives_way():
    buffer = EventBuffer(2, {P.ANALOG_INPUT: 5})
    buffer.add(point(P.ANALOG_INPUT), True)
    for index in range(3):
        buffer.add(point(index=index), True)
    assert buffer.overflown and buffer.lost == 1
    chosen = buffer.select(class_mask=0b10)
    assert [(event.type, event.index) for event in chosen] == [(P.ANALOG_INPUT, 0), (P.BINARY_INPUT, 1), (P.BINARY_INPUT, 2)]
    buffer.confirm(chosen[:1])
    assert buffer.overflown, "the binaries' part is still full"
    buffer.confirm(chosen[1:2])
    assert not buffer.overflown


def test_events_wait_again_where_no_confirmation_comes():
    buffer = EventBuffer(10)
    buffer.add(point(), True)
    (event,) = buffer.select(class_mask=0b10)
    assert buffer.waiting(1), "selected but not sent: still to be reported"
    buffer.mark_sent(event)
    assert not buffer.waiting(1) and not buffer.select(class_mask=0b10)
    buffer.release([event])
    assert buffer.waiting(1) and buffer.select(class_mask=0b10) == [event]
    buffer.confirm([event])
    assert len(buffer) == 0 and not buffer.waiting(1)


def test_confirming_out_of_turn_leaves_the_oldest_first_to_go():
    buffer = EventBuffer(3)
    buffer.add(point(index=0, event_class=1), True)
    for _ in range(10):
        buffer.add(point(index=1, event_class=2), True)
        buffer.confirm(buffer.select(class_mask=0b100))
    assert len(buffer._of_type[P.BINARY_INPUT]) <= 6, "numbers of confirmed events do not pile up"
    for index in (2, 3, 4):
        buffer.add(point(index=index), True)
    assert [event.index for event in buffer.select(class_mask=0b110)] == [2, 3, 4] and buffer.lost == 1


def test_a_limit_of_zero_selects_nothing():
    buffer = EventBuffer(3)
    buffer.add(point(), True)
    assert buffer.select(class_mask=0b10, limit=0) == [] and buffer.count_waiting(0b10) == 1


def test_an_event_lost_while_it_is_under_way_is_not_counted_twice():
    buffer = EventBuffer(1)
    buffer.add(point(index=0), True)
    sent = buffer.select(class_mask=0b10)
    buffer.mark_sent(sent[0])
    buffer.add(point(index=1), True)
    buffer.confirm(sent)
    assert buffer.count_waiting(0b10) == len(buffer) == 1
    assert buffer.overflown


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "send", "confirm", "release"]), st.integers(1, 3), st.sampled_from([P.COUNTER, P.ANALOG_INPUT])
        ),
        max_size=60,
    )
)
def test_the_counts_agree_with_the_events_whatever_happens(steps):
    buffer, sent, selected = EventBuffer(4), [], []
    for what, number, kind in steps:
        if what == "add":
            buffer.add(point(kind, number, number), True)
        elif what == "send":
            chosen = buffer.select(class_mask=1 << number, limit=2)
            for event in chosen[:1]:
                buffer.mark_sent(event)
            sent += chosen[:1]
            selected += chosen[1:]
        elif what == "confirm":
            buffer.confirm(sent)
            sent = []
        else:
            buffer.release(sent + selected)
            sent, selected = [], []
        under_way = {event.number for event in sent}
        held = list(buffer._events.values())
        for event_class in (1, 2, 3):
            unsent = [event for event in held if event.event_class == event_class and event.number not in under_way]
            assert buffer.count_waiting(1 << event_class) == len(unsent)
        assert all(sum(event.type is each for event in held) <= 4 for each in P)
        numbers = [event.number for event in held]
        assert numbers == sorted(numbers)


def test_a_buffer_without_room_is_refused():
    with pytest.raises(ValueError, match="at least one event of each type, not none of counter"):
        EventBuffer(5, {P.COUNTER: 0})
