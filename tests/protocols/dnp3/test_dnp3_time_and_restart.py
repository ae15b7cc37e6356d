"""Time synchronisation of both kinds, NEED_TIME, restarts, and the indications that follow from them."""

from __future__ import annotations

import pytest
from dnp3_rig import CLASS_0, CLASS_1, CLASS_123, CLEAR_RESTART, SECOND, Master, Rig, errors, points_of

from protocols.dnp3 import Flag, PointConfig, PointType
from protocols.dnp3.application import IIN, Function

P = PointType
NOON_MS = 1_750_000_000_000


def write_time(variation: int, time_ms: int) -> bytes:
    return bytes((50, variation, 7, 1)) + time_ms.to_bytes(6, "little")


def test_lan_time_sync_counts_from_the_recorded_moment():
    rig = Rig()
    assert rig.master.ask(Function.RECORD_CURRENT_TIME).iin & IIN.NEED_TIME
    rig.now_ns += 3 * SECOND
    answer = rig.master.ask(Function.WRITE, write_time(3, NOON_MS))
    assert not errors(answer) and not answer.iin & IIN.NEED_TIME
    assert rig.outstation.time_ms() == NOON_MS + 3000


def test_lan_time_needs_a_recorded_moment_and_uses_it_once():
    rig = Rig()
    assert errors(rig.master.ask(Function.WRITE, write_time(3, NOON_MS))) == IIN.PARAMETER_ERROR
    rig.master.ask(Function.RECORD_CURRENT_TIME)
    rig.master.ask(Function.WRITE, write_time(3, NOON_MS))
    assert errors(rig.master.ask(Function.WRITE, write_time(3, NOON_MS + 1))) == IIN.PARAMETER_ERROR
    assert rig.outstation.time_ms() == NOON_MS


def test_delay_measurement_then_time():
    rig = Rig()
    answer = rig.master.ask(Function.DELAY_MEASURE)
    assert points_of([answer])[52, 0].time_ms == 0 and answer.objects[:2] == bytes((52, 2))
    assert not rig.master.ask(Function.WRITE, write_time(1, NOON_MS)).iin & IIN.NEED_TIME
    rig.now_ns += SECOND
    assert rig.outstation.time_ms() == NOON_MS + 1000


def test_need_time_comes_back_after_the_period():
    rig = Rig(time_sync_period_s=600.0, unsolicited=False)
    rig.master.ask(Function.WRITE, write_time(1, NOON_MS))
    rig.now_ns += 599 * SECOND
    assert not rig.master.ask(Function.DELAY_MEASURE).iin & IIN.NEED_TIME
    rig.now_ns += SECOND
    assert rig.master.ask(Function.DELAY_MEASURE).iin & IIN.NEED_TIME
    assert rig.outstation.time_ms() == NOON_MS + 600_000, "the time goes on, only its quality is gone"


def test_an_outstation_with_a_clock_of_its_own_never_asks():
    rig = Rig(need_time=False)
    assert not rig.master.ask(Function.DELAY_MEASURE).iin & IIN.NEED_TIME


def test_events_of_a_set_clock_are_synchronised():
    rig = Rig([PointConfig(P.BINARY_INPUT, 0, event_variation=3)])
    rig.master.ask(Function.WRITE, write_time(1, NOON_MS))
    rig.outstation.update(P.BINARY_INPUT, 0, True)
    (answer,) = rig.master.request(Function.READ, CLASS_1)
    assert answer.objects[:2] == bytes((51, 1))


@pytest.mark.parametrize(
    "objects",
    [write_time(1, 0)[:-1], write_time(1, 0)[:3] + bytes((2,)) + bytes(12), bytes((50, 1, 0, 0, 0)) + bytes(6), b""],
    ids=["short", "two times", "as a range", "empty"],
)
def test_malformed_times_change_nothing(objects):
    rig = Rig()
    before = rig.outstation.time_ms()
    answer = rig.master.ask(Function.WRITE, objects)
    assert errors(answer) == IIN.PARAMETER_ERROR and answer.iin & IIN.NEED_TIME
    assert rig.outstation.time_ms() == before


@pytest.mark.parametrize("function", [Function.RECORD_CURRENT_TIME, Function.DELAY_MEASURE, Function.COLD_RESTART])
def test_functions_without_objects_take_none(function):
    rig = Rig()
    assert errors(rig.master.ask(function, CLASS_0)) == IIN.PARAMETER_ERROR
    assert rig.outstation.restarts == 0


def test_the_restart_indication_is_cleared_by_its_write_alone():
    rig = Rig()
    for objects in (bytes((80, 1, 0, 7, 7, 1)), bytes((80, 1, 0, 4, 4, 0)), bytes((80, 1, 0, 6, 7, 0))):
        answer = rig.master.ask(Function.WRITE, objects)
        assert errors(answer) == IIN.PARAMETER_ERROR and answer.iin & IIN.DEVICE_RESTART
    assert not rig.master.ask(Function.WRITE, CLEAR_RESTART).iin & IIN.DEVICE_RESTART


def test_a_write_with_one_bad_header_does_nothing_at_all():
    rig = Rig()
    answer = rig.master.ask(Function.WRITE, CLEAR_RESTART + bytes((30, 5, 0, 0, 0)) + bytes(5))
    assert errors(answer) == IIN.OBJECT_UNKNOWN and answer.iin & IIN.DEVICE_RESTART


def test_a_cold_restart_forgets_events_time_and_assignments():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0, deadband=1.0)], cold_restart_s=2.5)
    rig.master.settle()
    rig.master.ask(Function.WRITE, write_time(1, NOON_MS))
    rig.master.ask(Function.ENABLE_UNSOLICITED, CLASS_123)
    rig.master.ask(Function.ASSIGN_CLASS, bytes((60, 4, 6, 30, 0, 6)))
    rig.master.ask(Function.WRITE, bytes((34, 1, 0, 0, 0, 9, 0)))
    rig.outstation.update(P.ANALOG_INPUT, 0, 5.0)
    answer = rig.master.ask(Function.COLD_RESTART)
    assert answer.objects == bytes((52, 2, 7, 1)) + (2500).to_bytes(2, "little")
    assert rig.master.line.closing
    rig.master.line.lost()
    early = Master(rig)
    assert early.request(Function.READ, CLASS_0) == [], "while it restarts nothing is heard"
    rig.wait(2.5)
    master = Master(rig)
    (null,) = master.unsolicited()
    assert null.iin & IIN.DEVICE_RESTART and null.iin & IIN.NEED_TIME and not null.iin & IIN.CLASS_3_EVENTS
    master.confirm(null)
    (point,) = points_of([master.ask(Function.READ, CLASS_0)]).values()
    assert point.flags == Flag.RESTART
    point = rig.outstation.database.point(P.ANALOG_INPUT, 0)
    assert (point.event_class, point.deadband) == (1, 1.0)
    rig.outstation.update(P.ANALOG_INPUT, 0, 6.0)
    assert master.unsolicited() == [], "reports are off until they are enabled again"


def test_a_warm_restart_keeps_events_and_time():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0)], warm_restart_s=70.0)
    rig.master.settle()
    rig.master.ask(Function.WRITE, write_time(1, NOON_MS))
    rig.outstation.update(P.ANALOG_INPUT, 0, 5.0)
    assert rig.master.ask(Function.WARM_RESTART).objects == bytes((52, 1, 7, 1, 70, 0)), "a long delay is in seconds"
    rig.master.line.lost()
    rig.wait(70.0)
    master = Master(rig)
    (null,) = master.unsolicited()
    assert null.iin == IIN.DEVICE_RESTART | IIN.CLASS_1_EVENTS
    master.confirm(null)
    assert points_of(master.read_all(CLASS_1))[32, 0].value == 5.0


def test_restarts_that_are_not_supported_say_so():
    rig = Rig(cold_restart_s=None)
    for function in (Function.COLD_RESTART, Function.WARM_RESTART):
        assert errors(rig.master.ask(function)) == IIN.NO_FUNC_CODE_SUPPORT
    assert rig.outstation.restarts == 0 and not rig.master.line.closing


def test_every_other_indication_is_true_to_what_happened():
    rig = Rig([PointConfig(P.ANALOG_INPUT, 0)], event_limit=2)
    rig.master.settle()
    for step in range(3):
        rig.outstation.update(P.ANALOG_INPUT, 0, float(step))
    rig.outstation.device_trouble = rig.outstation.config_corrupt = True
    iin = rig.master.ask(Function.DELAY_MEASURE).iin
    assert iin == IIN.CLASS_1_EVENTS | IIN.NEED_TIME | IIN.DEVICE_TROUBLE | IIN.EVENT_BUFFER_OVERFLOW | IIN.CONFIG_CORRUPT
    rig.outstation.device_trouble = rig.outstation.config_corrupt = False
    rig.master.read_all(CLASS_1)
    assert rig.master.ask(Function.DELAY_MEASURE).iin == IIN.NEED_TIME


@pytest.mark.parametrize("function", [11, 15, 16, 25, 31, 99, 127])
def test_functions_not_supported_are_indicated(function):
    assert errors(Rig().master.ask(function)) == IIN.NO_FUNC_CODE_SUPPORT
