"""What a READ brings back, in one fragment or in many, and which indications come with it."""

from __future__ import annotations

import pytest
from dnp3_rig import CLASS_0, CLASS_1, CLASS_123, INTEGRITY, Rig, errors, every_type, items_of, names_of, points_of

from protocols.dnp3 import Flag, PointConfig, PointType, Reading
from protocols.dnp3.application import IIN, Function, Qualifier, parse_objects

P = PointType
VALUES = {
    P.BINARY_INPUT: (True, Reading(True)),
    P.DOUBLE_BIT_INPUT: (2, Reading(2)),
    P.BINARY_OUTPUT: (True, Reading(True)),
    P.COUNTER: (7, Reading(7)),
    P.FROZEN_COUNTER: (8, Reading(8, Flag.ONLINE, 4321)),
    P.ANALOG_INPUT: (1.25, Reading(1.25)),
    P.ANALOG_OUTPUT: (-2.5, Reading(-2.5)),
    P.OCTET_STRING: (b"RTU 7", Reading(b"RTU 7")),
}


def read(rig: Rig, objects: bytes) -> list:
    return rig.master.read_all(objects)


def test_class_0_carries_every_type_with_value_quality_and_time():
    rig = Rig(every_type(1))
    for kind, (value, _) in VALUES.items():
        rig.outstation.update(kind, 0, value, time_ms=4321)
    read(rig, CLASS_123)
    answers = read(rig, CLASS_0)
    assert names_of(answers) == ["g1v2", "g3v2", "g10v2", "g20v1", "g21v5", "g30v5", "g40v3", "g110v5"]
    assert [item for _, item in sorted(points_of(answers).items())] == [expected for _, expected in VALUES.values()]


def test_events_of_every_type_keep_value_and_time():
    rig = Rig(every_type(1))
    for step, (kind, (value, _)) in enumerate(VALUES.items()):
        rig.outstation.update(kind, 0, value, time_ms=1000 + step)
    answers = read(rig, CLASS_123)
    assert names_of(answers) == ["g2v2", "g4v2", "g11v2", "g22v5", "g23v5", "g32v7", "g42v7", "g111v5"]
    items = [header.row.decode(item) for header, _, item in items_of(answers)]
    assert [item.time_ms for item in items] == [*range(1000, 1007), None], "octet strings carry no time"
    assert [item.value for item in items] == [expected.value for _, expected in VALUES.values()]
    assert not read(rig, CLASS_123)[0].objects, "confirmed events are gone"


def test_an_integrity_poll_brings_events_before_static_values():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0), PointConfig(P.BINARY_INPUT, 0, event_class=3)])
    rig.outstation.update(P.ANALOG_INPUT, 0, 1.0)
    rig.outstation.update(P.BINARY_INPUT, 0, True)
    assert names_of(read(rig, INTEGRITY)) == ["g32v7", "g2v2", "g1v2", "g30v5"]


@pytest.mark.parametrize(
    ("variation", "value", "item"),
    [
        (1, 7.4, Reading(7)),
        (2, 7.4, Reading(7)),
        (3, 7.4, Reading(7)),
        (4, -7.6, Reading(-8)),
        (5, 0.5, Reading(0.5)),
        (6, 0.1, Reading(0.1)),
    ],
)
def test_analogs_in_every_static_variation(variation, value, item):
    rig = Rig(every_type(2))
    for index in (0, 1):
        rig.outstation.update(P.ANALOG_INPUT, index, value)
    answers = read(rig, bytes((30, variation, Qualifier.ALL)))
    assert points_of(answers) == {(30, 0): item, (30, 1): item} and names_of(answers) == [f"g30v{variation}"]


@pytest.mark.parametrize("variation", range(1, 9))
def test_analog_events_in_every_variation_asked_for(variation):
    rig = Rig(every_type(1))
    rig.outstation.update(P.ANALOG_INPUT, 0, 0.5, time_ms=77)
    (answer,) = rig.master.request(Function.READ, bytes((32, variation, Qualifier.ALL)))
    assert names_of([answer]) == [f"g32v{variation}"]
    item = points_of([answer])[32, 0]
    assert item.value == (0.5 if variation >= 5 else 0) and item.time_ms == (77 if variation in (3, 4, 7, 8) else None)
    rig.wait(6)
    assert names_of(read(rig, CLASS_1)) == ["g32v7"], "the variation asked for once is not kept"


def test_relative_times_refer_to_a_common_time_of_the_right_kind():
    rig = Rig([PointConfig(P.BINARY_INPUT, index, event_variation=3) for index in range(3)])
    for index, time_ms in enumerate((5000, 5040, 5100)):
        rig.outstation.update(P.BINARY_INPUT, index, True, time_ms=time_ms)
    answers = read(rig, CLASS_1)
    assert names_of(answers) == ["g51v2", "g2v3"], "the clock was never set: unsynchronised"
    assert [item.time_ms for key, item in points_of(answers).items() if key[0] == 2] == [0, 40, 100]


def test_ranges_and_indexes():
    rig = Rig(every_type(5))
    for index in range(5):
        rig.outstation.update(P.ANALOG_INPUT, index, float(index))
    whole = read(rig, bytes((30, 0, Qualifier.RANGE_8, 1, 3)))
    assert list(points_of(whole)) == [(30, 1), (30, 2), (30, 3)] and not errors(whole[0])
    wide = read(rig, bytes((30, 5, Qualifier.RANGE_16, 2, 0, 2, 0)))
    assert points_of(wide) == {(30, 2): Reading(2.0)}
    single = read(rig, bytes((30, 0, Qualifier.INDEXED_8, 2, 4, 0)))
    assert list(points_of(single)) == [(30, 4), (30, 0)]


def test_ranges_that_reach_beyond_the_points_say_so_and_serve_the_rest():
    rig = Rig(every_type(2))
    (answer,) = read(rig, bytes((30, 0, Qualifier.RANGE_8, 1, 9)))
    assert list(points_of([answer])) == [(30, 1)] and errors(answer) == IIN.PARAMETER_ERROR
    (empty,) = read(rig, bytes((30, 0, Qualifier.RANGE_16, 0, 1, 255, 255)))
    assert not empty.objects and errors(empty) == IIN.PARAMETER_ERROR


def test_points_with_gaps_come_in_several_ranges():
    rig = Rig([PointConfig(P.BINARY_INPUT, index, static_variation=1) for index in (0, 1, 5, 255, 256, 300)])
    for index in (0, 1, 5, 255, 256, 300):
        rig.outstation.update(P.BINARY_INPUT, index, index % 2 == 0)
    answers = read(rig, bytes((1, 0, Qualifier.ALL)))
    spans = [header.indexes for answer in answers for header in parse_objects(answer.objects, with_data=True)]
    assert spans == [range(0, 2), range(5, 6), range(255, 256), range(256, 257), range(300, 301)]
    assert [bit for _, bit in points_of(answers).items()] == [1, 0, 0, 0, 1, 1]


def test_limits_on_events():
    rig = Rig(every_type(5))
    for index in range(5):
        rig.outstation.update(P.COUNTER, index, 9)
    (answer,) = rig.master.request(Function.READ, bytes((60, 2, Qualifier.COUNT_8, 2)))
    assert [index for _, index, _ in items_of([answer])] == [0, 1]
    assert answer.iin & IIN.CLASS_1_EVENTS, "three events remain"
    rig.master.confirm(answer)
    (answer,) = rig.master.request(Function.READ, bytes((22, 1, Qualifier.COUNT_16, 3, 0)))
    assert [index for _, index, _ in items_of([answer])] == [2, 3, 4] and not answer.iin & IIN.CLASS_1_EVENTS


@pytest.mark.parametrize(
    ("objects", "iin"),
    [
        ("63 00 06", IIN.OBJECT_UNKNOWN),
        ("1e 09 06", IIN.OBJECT_UNKNOWN),
        ("0c 01 06", IIN.OBJECT_UNKNOWN),
        ("3c 05 06", IIN.OBJECT_UNKNOWN),
        ("3c 01 00 00 01", IIN.PARAMETER_ERROR),
        ("3c 02 00 00 01", IIN.PARAMETER_ERROR),
        ("20 00 00 00 01", IIN.PARAMETER_ERROR),
        ("1e 00 07 03", IIN.PARAMETER_ERROR),
        ("1e 00 3f", IIN.PARAMETER_ERROR),
        ("32 01 06", IIN.PARAMETER_ERROR),
        ("1e 00", IIN.PARAMETER_ERROR),
    ],
)
def test_what_cannot_be_read_is_indicated(objects, iin):
    (answer,) = read(Rig(), bytes.fromhex(objects))
    assert errors(answer) == iin and not answer.objects


def test_a_good_header_beside_an_unknown_one_is_served():
    (answer,) = read(Rig(every_type(1)), bytes.fromhex("63 00 06 1e 05 06"))
    assert names_of([answer]) == ["g30v5"] and errors(answer) == IIN.OBJECT_UNKNOWN


def test_the_time_and_the_dead_bands_can_be_read():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0, deadband=2.5, scale=0.5)])
    (answer,) = read(rig, bytes((50, 1, Qualifier.COUNT_8, 1, 34, 3, Qualifier.ALL)))
    found = points_of([answer])
    assert found[50, 0].time_ms == rig.outstation.time_ms() and found[34, 0].value == 5.0


def test_class_0_can_leave_points_out():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0), PointConfig(P.ANALOG_INPUT, 1, in_class0=False)])
    assert list(points_of(read(rig, CLASS_0))) == [(30, 0)]
    assert list(points_of(read(rig, bytes((30, 0, Qualifier.ALL))))) == [(30, 0), (30, 1)]


def test_a_large_answer_comes_in_fragments_each_confirmed_and_complete():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index) for index in range(1200)])
    for index in range(1200):
        rig.outstation.update(P.ANALOG_INPUT, index, index / 4)
    read(rig, CLASS_123)
    answers = read(rig, CLASS_0)
    assert len(answers) > 2 and all(len(answer.encode()) <= 2048 for answer in answers)
    assert [answer.control.fir for answer in answers] == [True] + [False] * (len(answers) - 1)
    assert [answer.control.fin for answer in answers] == [False] * (len(answers) - 1) + [True]
    first = answers[0].control.sequence
    assert [answer.control.sequence for answer in answers] == [(first + k) & 15 for k in range(len(answers))]
    assert points_of(answers) == {(30, index): Reading(index / 4) for index in range(1200)}


def test_an_answer_in_fragments_shows_one_moment():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index, event_class=0) for index in range(600)], max_tx_fragment=300)
    answers = rig.master.request(Function.READ, CLASS_0)
    rig.outstation.update(P.ANALOG_INPUT, 599, 5.0)
    while answers[-1].control.con:
        answers += rig.master.confirm(answers[-1])
    assert points_of(answers)[30, 599].value == 0.0


def test_many_headers_that_each_ask_for_everything_are_cut_short():
    rig = Rig([PointConfig(P.ANALOG_INPUT, index, event_class=0) for index in range(500)])
    answers = read(rig, CLASS_0 * 60)
    assert errors(answers[0]) == IIN.PARAMETER_ERROR
    assert len(items_of(answers)) <= 5 * 501
