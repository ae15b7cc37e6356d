"""What an outstation does for each function code; the session around it takes care of sequence numbers and confirmations.

`perform` returns the answer, whose indications say truthfully what went wrong. A request is parsed whole before anything is
done, so that a damaged one changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from .application import IIN, WITH_DATA, Function, ObjectError, ObjectHeader, Qualifier, Request, parse_objects
from .config import NS_PER_S
from .objects import STATIC_GROUP
from .reading import Plan, plan_read
from .values import PointType

if TYPE_CHECKING:
    from .session import Session


NOTHING_WRONG = IIN(0)


class Restart(Enum):
    COLD = "cold"
    WARM = "warm"


@dataclass(slots=True)
class Answer:
    """The objects to send, the indications of this request, and a restart to begin once the answer is out."""

    plan: Plan = field(default_factory=deque)
    iin: IIN = NOTHING_WRONG
    restart: Restart | None = None


Performer = Callable[["Session", Request], Answer]

BROADCASTABLE = {
    Function.WRITE,
    Function.DIRECT_OPERATE_NO_ACK,
    Function.IMMEDIATE_FREEZE,
    Function.IMMEDIATE_FREEZE_NO_ACK,
    Function.FREEZE_CLEAR,
    Function.FREEZE_CLEAR_NO_ACK,
    Function.ENABLE_UNSOLICITED,
    Function.DISABLE_UNSOLICITED,
    Function.ASSIGN_CLASS,
    Function.RECORD_CURRENT_TIME,
    Function.COLD_RESTART,
    Function.WARM_RESTART,
}
"""What makes sense without an answer; all else is ignored when it is broadcast."""


def perform(session: Session, request: Request) -> Answer:
    """Carries out one request; whatever its objects are, there is an answer."""
    performer = _PERFORMERS.get(request.function)
    if performer is None:
        return Answer(iin=IIN.NO_FUNC_CODE_SUPPORT)
    try:
        return performer(session, request)
    except ObjectError as error:
        return Answer(iin=error.iin)


def _headers(request: Request) -> list[ObjectHeader]:
    return parse_objects(request.objects, with_data=request.function in WITH_DATA)


def _read(session: Session, request: Request) -> Answer:
    device = session.device
    return Answer(*plan_read(request.objects, device.database, session.buffer, device.time_ms()))


def _control(session: Session, request: Request) -> Answer:
    return Answer(plan=deque([session.controls.perform(request)]))


def _write(session: Session, request: Request) -> Answer:
    headers = _headers(request)
    steps = [_plan_write(session, header) for header in headers]
    if not steps:
        raise ObjectError(IIN.PARAMETER_ERROR, "a write without an object")
    for step in steps:
        step()
    return Answer()


def _plan_write(session: Session, header: ObjectHeader) -> Callable[[], None]:
    """Checks one header of a WRITE; what is returned carries it out."""
    device = session.device
    which = (header.group, header.variation)
    if which == (80, 1):
        if header.indexes != range(7, 8) or header.items != (b"\0",):
            raise ObjectError(IIN.PARAMETER_ERROR, "of the indications only DEVICE_RESTART can be written, and only to 0")
        return session.clear_restart
    if which in ((50, 1), (50, 3)):
        if header.limit != 1:
            raise ObjectError(IIN.PARAMETER_ERROR, "time is written with count 1")
        at_ns = session.received_ns if which == (50, 1) else session.recorded_ns
        if at_ns is None:
            raise ObjectError(IIN.PARAMETER_ERROR, "g50v3 without a recorded time")
        time_ms = int.from_bytes(header.items[0], "little")

        def set_time() -> None:
            session.recorded_ns = None
            device.set_time(time_ms, at_ns)

        return set_time
    if header.group == 34:
        return _plan_deadbands(session, header)
    raise ObjectError(IIN.OBJECT_UNKNOWN, f"g{header.group}v{header.variation} cannot be written")


def _plan_deadbands(session: Session, header: ObjectHeader) -> Callable[[], None]:
    points = session.device.database.points(PointType.ANALOG_INPUT)
    row = header.row
    assert row is not None  # parse_objects refuses data of unknown objects
    if header.indexes is None:
        raise ObjectError(IIN.PARAMETER_ERROR, "dead bands are written with qualifier 00, 01, 17 or 28")
    values = {index: row.decode(item).value for index, item in zip(header.indexes, header.items, strict=True)}
    if unknown := values.keys() - points.keys():
        raise ObjectError(IIN.PARAMETER_ERROR, f"no analog input {min(unknown)}")
    if not all(0 <= value < float("inf") for value in values.values()):
        raise ObjectError(IIN.PARAMETER_ERROR, "a dead band is a finite number of at least 0")

    def set_deadbands() -> None:
        for index, value in values.items():
            points[index].deadband = value

    return set_deadbands


def _freeze(session: Session, request: Request) -> Answer:
    device = session.device
    clear = request.function in (Function.FREEZE_CLEAR, Function.FREEZE_CLEAR_NO_ACK)
    spans: list[tuple[int | None, int | None]] = []
    iin = IIN(0)
    for header in _headers(request):
        if header.group != 20:
            iin |= IIN.OBJECT_UNKNOWN
        elif header.qualifier is Qualifier.ALL:
            spans.append((None, None))
        elif isinstance(header.indexes, range):
            spans.append((header.indexes[0], header.indexes[-1]))
        else:
            iin |= IIN.PARAMETER_ERROR
    if not spans and not iin:
        iin = IIN.PARAMETER_ERROR
    for start, stop in spans:
        expected = 1 if start is None or stop is None else stop - start + 1
        if device.database.freeze(start, stop, clear=clear, time_ms=device.time_ms()) < expected:
            iin |= IIN.PARAMETER_ERROR
    return Answer(iin=iin)


def _unsolicited(session: Session, request: Request) -> Answer:
    if not session.device.config.unsolicited:
        return Answer(iin=IIN.NO_FUNC_CODE_SUPPORT)
    mask = 0
    for header in _headers(request):
        if header.group != 60 or header.variation not in (2, 3, 4):
            raise ObjectError(IIN.OBJECT_UNKNOWN, "unsolicited reports are switched by event class")
        if header.qualifier is not Qualifier.ALL:
            raise ObjectError(IIN.PARAMETER_ERROR, "classes are named with qualifier 06")
        mask |= 1 << (header.variation - 1)
    if not mask:
        raise ObjectError(IIN.PARAMETER_ERROR, "no class named")
    if request.function == Function.ENABLE_UNSOLICITED:
        session.unsolicited.enable(mask)
    else:
        session.unsolicited.disable(mask)
    return Answer()


_STATIC_POINTS = {group: point for point, group in STATIC_GROUP.items()}


def _assign_class(session: Session, request: Request) -> Answer:
    """Each class header applies to the point headers behind it, up to the next class header."""
    database = session.device.database
    event_class: int | None = None
    changes: list[tuple[PointType, int, int]] = []
    iin = IIN(0)
    for header in _headers(request):
        if header.group == 60:
            if header.variation not in (1, 2, 3, 4) or header.qualifier is not Qualifier.ALL:
                raise ObjectError(IIN.PARAMETER_ERROR, "assign class: no such class")
            event_class = header.variation - 1
            continue
        kind = _STATIC_POINTS.get(header.group)
        if kind is None or header.variation != 0:
            iin |= IIN.OBJECT_UNKNOWN
        elif event_class is None or header.limit is not None:
            iin |= IIN.PARAMETER_ERROR
        else:
            points = database.points(kind)
            wanted = points.keys() if header.indexes is None else set(header.indexes)
            if not wanted <= points.keys() or not wanted:
                iin |= IIN.PARAMETER_ERROR
            changes += [(kind, index, event_class) for index in points if index in wanted]
    for kind, index, chosen in changes:
        database.point(kind, index).event_class = chosen
    if not changes and not iin:
        iin = IIN.PARAMETER_ERROR
    return Answer(iin=iin)


def _no_objects(request: Request) -> None:
    if request.objects:
        raise ObjectError(IIN.PARAMETER_ERROR, "this function takes no objects")


def _delay(variation: int, amount: int) -> bytes:
    """A time delay object: v1 in seconds, v2 in milliseconds."""
    return bytes((52, variation, Qualifier.COUNT_8, 1)) + min(amount, 0xFFFF).to_bytes(2, "little")


def _delay_measure(session: Session, request: Request) -> Answer:
    _no_objects(request)
    elapsed_ns = session.device.now_ns() - session.received_ns
    return Answer(plan=deque([_delay(2, round(elapsed_ns / 1e6))]))


def _record_time(session: Session, request: Request) -> Answer:
    _no_objects(request)
    session.recorded_ns = session.received_ns
    return Answer()


def _restart(session: Session, request: Request) -> Answer:
    kind = Restart.COLD if request.function == Function.COLD_RESTART else Restart.WARM
    duration_ns = session.device.restart_duration_ns(kind)
    if duration_ns is None:
        return Answer(iin=IIN.NO_FUNC_CODE_SUPPORT)
    _no_objects(request)
    fine = duration_ns <= 0xFFFF * 1_000_000
    delay = _delay(2, -(-duration_ns // 1_000_000)) if fine else _delay(1, -(-duration_ns // NS_PER_S))
    return Answer(plan=deque([delay]), restart=kind)


_PERFORMERS: dict[int, Performer] = {
    Function.READ: _read,
    Function.WRITE: _write,
    Function.SELECT: _control,
    Function.OPERATE: _control,
    Function.DIRECT_OPERATE: _control,
    Function.DIRECT_OPERATE_NO_ACK: _control,
    Function.IMMEDIATE_FREEZE: _freeze,
    Function.IMMEDIATE_FREEZE_NO_ACK: _freeze,
    Function.FREEZE_CLEAR: _freeze,
    Function.FREEZE_CLEAR_NO_ACK: _freeze,
    Function.COLD_RESTART: _restart,
    Function.WARM_RESTART: _restart,
    Function.ENABLE_UNSOLICITED: _unsolicited,
    Function.DISABLE_UNSOLICITED: _unsolicited,
    Function.ASSIGN_CLASS: _assign_class,
    Function.DELAY_MEASURE: _delay_measure,
    Function.RECORD_CURRENT_TIME: _record_time,
}
