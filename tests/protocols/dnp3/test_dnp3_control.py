"""Select-before-operate with every way to get it wrong, direct operate, and what the equipment may refuse."""

from __future__ import annotations

import struct

import pytest
from dnp3_rig import CLASS_0, Master, Rig, errors, every_type

from protocols.dnp3 import AnalogCommand, CommandStatus, ControlCode, Crob, OperateMode, PointConfig, PointType, RefuseControls
from protocols.dnp3.application import IIN, Function, Response
from protocols.dnp3.objects import find

P, S = PointType, CommandStatus
CLOSE = Crob(ControlCode.LATCH_ON, 1, 100, 100)


def crobs(*pairs: tuple[int, Crob], wide: bool = False) -> bytes:
    width = 2 if wide else 1
    objects = b"".join(index.to_bytes(width, "little") + find(12, 1).encode(crob) for index, crob in pairs)
    return bytes((12, 1, 0x28 if wide else 0x17)) + len(pairs).to_bytes(width, "little") + objects


def analogs(variation: int, *pairs: tuple[int, float]) -> bytes:
    row = find(41, variation)
    objects = b"".join(bytes((index,)) + row.encode(AnalogCommand(value)) for index, value in pairs)
    return bytes((41, variation, 0x17, len(pairs))) + objects


def statuses(answer: Response, size: int = 11, wide: bool = False) -> list[int]:
    """The status octets of the only header of an answer to controls of `size` octets."""
    width = 2 if wide else 1
    objects = answer.objects[3 + width :]
    return [objects[at + width + size - 1] for at in range(0, len(objects), width + size)]


@pytest.fixture
def rig() -> Rig:
    rig = Rig(every_type(4), max_controls=3)
    rig.master.settle()
    return rig


@pytest.mark.parametrize("wide", [False, True])
def test_select_then_operate_acts_once(rig, wide):
    objects = crobs((2, CLOSE), wide=wide)
    selected = rig.master.ask(Function.SELECT, objects)
    assert selected.objects == objects, "a success echoes the request"
    assert not rig.handler.operated
    operated = rig.master.ask(Function.OPERATE, objects)
    assert operated.objects == objects and not errors(operated)
    ((command, mode),) = rig.handler.operated
    assert (command.point.index, command.crob, command.master, mode) == (2, CLOSE, 1, OperateMode.SELECTED)
    assert statuses(rig.master.ask(Function.OPERATE, objects), wide=wide) == [S.NO_SELECT], "a select is good for one operate"
    assert len(rig.handler.operated) == 1


def test_an_operate_without_a_select_is_refused(rig):
    assert statuses(rig.master.ask(Function.OPERATE, crobs((0, CLOSE)))) == [S.NO_SELECT]
    assert not rig.handler.operated


@pytest.mark.parametrize(
    "operate",
    [
        crobs((1, CLOSE)),
        crobs((0, Crob(ControlCode.LATCH_OFF, 1, 100, 100))),
        crobs((0, Crob(ControlCode.LATCH_ON, 2, 100, 100))),
        crobs((0, Crob(ControlCode.LATCH_ON, 1, 101, 100))),
        crobs((0, Crob(ControlCode.LATCH_ON, 1, 100, 101))),
        crobs((0, CLOSE), wide=True),
        crobs((0, CLOSE), (1, CLOSE)),
    ],
    ids=["point", "code", "count", "on time", "off time", "qualifier", "one object more"],
)
def test_every_mismatch_is_refused(rig, operate):
    assert statuses(rig.master.ask(Function.SELECT, crobs((0, CLOSE)))) == [S.SUCCESS]
    wide = operate[2] == 0x28
    assert set(statuses(rig.master.ask(Function.OPERATE, operate), wide=wide)) == {S.NO_SELECT}
    assert not rig.handler.operated
    assert statuses(rig.master.ask(Function.OPERATE, crobs((0, CLOSE)))) == [S.NO_SELECT], "and the select is spent"


def test_a_select_runs_out(rig):
    objects = crobs((0, CLOSE))
    rig.master.ask(Function.SELECT, objects)
    rig.wait(5.0)
    assert statuses(rig.master.ask(Function.OPERATE, objects)) == [S.SUCCESS], "the timeout itself is still in time"
    rig.master.ask(Function.SELECT, objects)
    rig.wait(5.001)
    assert statuses(rig.master.ask(Function.OPERATE, objects)) == [S.TIMEOUT]
    assert len(rig.handler.operated) == 1


@pytest.mark.parametrize("sequence", [4, 6, 7])
def test_the_operate_must_carry_the_next_sequence_number(rig, sequence):
    objects = crobs((0, CLOSE))
    rig.master.ask(Function.SELECT, objects, sequence=4)
    assert statuses(rig.master.ask(Function.OPERATE, objects, sequence=sequence)) == [S.NO_SELECT]
    assert not rig.handler.operated


def test_any_other_request_in_between_cancels_the_select(rig):
    objects = crobs((0, CLOSE))
    rig.master.ask(Function.SELECT, objects, sequence=3)
    rig.master.ask(Function.DELAY_MEASURE, sequence=3)
    assert statuses(rig.master.ask(Function.OPERATE, objects, sequence=4)) == [S.NO_SELECT]


def test_repeats_are_answered_alike_and_not_carried_out_again(rig):
    objects = crobs((0, CLOSE))
    first = rig.master.ask(Function.SELECT, objects, sequence=8)
    assert rig.master.ask(Function.SELECT, objects, sequence=8) == first
    assert len(rig.handler.selected) == 1
    operated = rig.master.ask(Function.OPERATE, objects, sequence=9)
    assert rig.master.ask(Function.OPERATE, objects, sequence=9) == operated
    assert statuses(operated) == [S.SUCCESS] and len(rig.handler.operated) == 1


def test_a_new_select_replaces_the_old(rig):
    rig.master.ask(Function.SELECT, crobs((0, CLOSE)))
    rig.master.ask(Function.SELECT, crobs((1, CLOSE)))
    assert statuses(rig.master.ask(Function.OPERATE, crobs((1, CLOSE)))) == [S.SUCCESS]
    assert [command.point.index for command, _ in rig.handler.operated] == [1]


def test_several_objects_and_headers_are_all_or_nothing_in_a_select(rig):
    objects = crobs((0, CLOSE), (9, CLOSE))
    assert statuses(rig.master.ask(Function.SELECT, objects)) == [S.SUCCESS, S.NOT_SUPPORTED]
    assert statuses(rig.master.ask(Function.OPERATE, objects)) == [S.NO_SELECT, S.NO_SELECT]
    both = crobs((0, CLOSE)) + analogs(3, (1, 2.5))
    rig.master.ask(Function.SELECT, both)
    assert rig.master.ask(Function.OPERATE, both).objects == both
    assert [(command.point.type, command.point.index) for command, _ in rig.handler.operated] == [
        (P.BINARY_OUTPUT, 0),
        (P.ANALOG_OUTPUT, 1),
    ]


def test_more_objects_than_the_outstation_takes(rig):
    answer = rig.master.ask(Function.DIRECT_OPERATE, crobs(*((index, CLOSE) for index in range(4))))
    assert statuses(answer) == [S.SUCCESS] * 3 + [S.TOO_MANY_OBJECTS]


@pytest.mark.parametrize(
    ("crob", "status"),
    [
        (Crob(ControlCode.NUL), S.NOT_SUPPORTED),
        (Crob(0x05), S.NOT_SUPPORTED),
        (Crob(ControlCode.LATCH_ON | 0x10), S.NOT_SUPPORTED),
        (Crob(ControlCode.LATCH_ON | 0x20), S.NOT_SUPPORTED),
        (Crob(0xC1), S.NOT_SUPPORTED),
        (Crob(ControlCode.LATCH_ON, 0), S.NOT_SUPPORTED),
        (Crob(ControlCode.TRIP_PULSE_ON), S.SUCCESS),
        (Crob(ControlCode.PULSE_ON), S.SUCCESS),
    ],
    ids=["nul", "unknown code", "queue", "clear", "trip and close", "count 0", "trip", "pulse on"],
)
def test_control_codes(rig, crob, status):
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((0, crob)))) == [status]
    assert len(rig.handler.operated) == (status is S.SUCCESS)


def test_controls_whose_answer_would_not_fit_are_refused_before_anything_is_done():
    rig = Rig(every_type(4), max_tx_fragment=300, max_controls=100)
    answer = rig.master.ask(Function.DIRECT_OPERATE, crobs(*((0, CLOSE) for _ in range(25))))
    assert errors(answer) == IIN.PARAMETER_ERROR and not rig.handler.operated
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs(*((0, CLOSE) for _ in range(24))))) == [S.SUCCESS] * 24


def test_a_point_takes_only_its_own_codes():
    points = [
        PointConfig(P.BINARY_OUTPUT, 0, controls=frozenset({ControlCode.TRIP_PULSE_ON})),
        PointConfig(P.BINARY_OUTPUT, 1, commandable=False),
    ]
    rig = Rig(points)
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((0, CLOSE)))) == [S.NOT_SUPPORTED]
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((1, CLOSE)))) == [S.NOT_SUPPORTED]
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((0, Crob(ControlCode.TRIP_PULSE_ON))))) == [S.SUCCESS]


@pytest.mark.parametrize(("variation", "size"), [(1, 5), (2, 3), (3, 5), (4, 9)])
def test_analog_outputs_of_every_width_are_scaled_and_limited(variation, size):
    rig = Rig([PointConfig(P.ANALOG_OUTPUT, 0, scale=0.5, minimum=-10.0, maximum=10.0)])
    for wire, status in ((20, S.SUCCESS), (-20, S.SUCCESS), (21, S.OUT_OF_RANGE), (-21, S.OUT_OF_RANGE)):
        assert statuses(rig.master.ask(Function.DIRECT_OPERATE, analogs(variation, (0, wire))), size) == [status]
    assert [command.value for command, _ in rig.handler.operated] == [10.0, -10.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_out_of_range(rig, value):
    objects = bytes((41, 4, 0x17, 1, 0)) + struct.pack("<d", value) + b"\0"
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, objects), 9) == [S.OUT_OF_RANGE]
    assert not rig.handler.operated


def test_direct_operate_without_acknowledgement_acts_and_is_silent(rig):
    assert rig.master.request(Function.DIRECT_OPERATE_NO_ACK, crobs((3, CLOSE))) == []
    ((command, mode),) = rig.handler.operated
    assert command.point.index == 3 and mode is OperateMode.DIRECT_NO_ACK
    assert rig.master.request(Function.DIRECT_OPERATE_NO_ACK, crobs((3, CLOSE)), sequence=rig.master.sequence) == []
    assert len(rig.handler.operated) == 1, "a repeat is not carried out again"


def test_the_equipment_may_refuse(rig):
    rig.handler.status = S.HARDWARE_ERROR
    assert statuses(rig.master.ask(Function.SELECT, crobs((0, CLOSE)))) == [S.HARDWARE_ERROR]
    assert statuses(rig.master.ask(Function.OPERATE, crobs((0, CLOSE)))) == [S.NO_SELECT]
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((0, CLOSE)))) == [S.HARDWARE_ERROR]


def test_local_control_refuses_and_is_indicated(rig):
    rig.outstation.local_control = True
    answer = rig.master.ask(Function.SELECT, crobs((0, CLOSE)))
    assert statuses(answer) == [S.LOCAL] and answer.iin & IIN.LOCAL_CONTROL


def test_a_point_selected_by_one_master_is_blocked_for_the_others():
    rig = Rig(masters=(1, 2), unsolicited=False)
    other = Master(rig, 2)
    objects = crobs((0, CLOSE))
    rig.master.ask(Function.SELECT, objects)
    assert statuses(other.ask(Function.SELECT, objects)) == [S.BLOCKED_OTHER_MASTER]
    assert statuses(other.ask(Function.DIRECT_OPERATE, objects)) == [S.BLOCKED_OTHER_MASTER]
    assert statuses(other.ask(Function.DIRECT_OPERATE, crobs((1, CLOSE)))) == [S.SUCCESS]
    rig.wait(5.1)
    assert statuses(other.ask(Function.DIRECT_OPERATE, objects)) == [S.SUCCESS]


@pytest.mark.parametrize(
    ("objects", "iin"),
    [
        (b"", IIN.PARAMETER_ERROR),
        (bytes((12, 1, 0x17, 0)), IIN.PARAMETER_ERROR),
        (bytes((12, 1, 0x06)), IIN.PARAMETER_ERROR),
        (bytes((12, 1, 0x00, 0, 0)) + find(12, 1).encode(CLOSE), IIN.PARAMETER_ERROR),
        (crobs((0, CLOSE))[:-1], IIN.PARAMETER_ERROR),
        (bytes((12, 2, 0x17, 1, 0)) + bytes(11), IIN.OBJECT_UNKNOWN),
        (bytes((30, 5, 0x17, 1, 0)) + bytes(5), IIN.OBJECT_UNKNOWN),
        (crobs((0, CLOSE)) + CLASS_0, IIN.PARAMETER_ERROR),
    ],
)
@pytest.mark.parametrize("function", [Function.SELECT, Function.OPERATE, Function.DIRECT_OPERATE])
def test_objects_that_are_no_controls_do_nothing(rig, function, objects, iin):
    answer = rig.master.ask(function, objects)
    assert errors(answer) == iin and not answer.objects and not rig.handler.operated


def test_without_a_handler_every_command_is_refused():
    rig = Rig()
    rig.outstation.handler = RefuseControls()
    assert statuses(rig.master.ask(Function.SELECT, crobs((0, CLOSE)))) == [S.NOT_AUTHORIZED]
    assert statuses(rig.master.ask(Function.DIRECT_OPERATE, crobs((0, CLOSE)))) == [S.NOT_AUTHORIZED]
