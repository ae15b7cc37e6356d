"""READ requests: which points and events an answer will carry, in the order of the request's headers.

The plan is made at once, so that an answer of several fragments shows one moment; it is written fragment by fragment, each
after the confirmation of the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from .application import IIN, ObjectError, ObjectHeader, Qualifier, parse_objects
from .database import Database, Point
from .events import Event, EventBuffer
from .fragment import FragmentWriter
from .objects import GROUPS, Kind, ObjectType, find
from .values import PointType

_MAX_COPIES = 4
"""An answer never carries more than this many times everything there is."""

_COUNTS = (Qualifier.COUNT_8, Qualifier.COUNT_16)


class Static(NamedTuple):
    """A static value, or a dead band, as it was when the request was read."""

    row: ObjectType
    point: int
    value: Any
    flags: int
    time_ms: int


PlanItem = Static | Event | bytes
Plan = deque[PlanItem]


def plan_read(objects: bytes, database: Database, buffer: EventBuffer, time_ms: int) -> tuple[Plan, IIN]:
    """The plan of a READ, and what was wrong with it. Headers that cannot be served set an indication; the others are served.

    ObjectError where the headers cannot even be told apart.
    """
    plan: Plan = deque()
    iin = IIN(0)
    bound = _MAX_COPIES * (len(database) + len(buffer) + 1)
    for header in parse_objects(objects, with_data=False):
        if len(plan) > bound:
            # Dozens of headers that each ask for everything are no use to a master; they would be a lever for an attacker.
            return plan, iin | IIN.PARAMETER_ERROR
        try:
            iin |= _plan_header(header, database, buffer, time_ms, plan)
        except ObjectError as error:
            iin |= error.iin
    return plan, iin


def _plan_header(header: ObjectHeader, database: Database, buffer: EventBuffer, time_ms: int, plan: Plan) -> IIN:
    group = header.group
    if group == 60:
        _plan_class(header, database, buffer, plan)
        return IIN(0)
    known = GROUPS.get(group)
    if known is None or (header.variation and header.row is None):
        raise ObjectError(IIN.OBJECT_UNKNOWN, f"g{group}v{header.variation}")
    kind, point, _ = known
    if group == 50 and header.variation in (0, 1):
        if header.qualifier not in _COUNTS or header.limit != 1:
            raise ObjectError(IIN.PARAMETER_ERROR, "the time is read with count 1")
        plan.append(bytes((50, 1, Qualifier.COUNT_8, 1)) + time_ms.to_bytes(6, "little"))
        return IIN(0)
    # Octet strings come in their own lengths, whatever variation was asked for.
    wanted = header.row if header.variation and point is not PointType.OCTET_STRING else None
    if kind is Kind.EVENT and point is not None:
        _plan_events(header, point, wanted, buffer, plan)
        return IIN(0)
    if kind in (Kind.STATIC, Kind.DEADBAND) and point is not None:
        return _plan_static(header, database.points(point), wanted, kind, plan)
    raise ObjectError(IIN.OBJECT_UNKNOWN, f"g{group}v{header.variation} cannot be read")


def _plan_class(header: ObjectHeader, database: Database, buffer: EventBuffer, plan: Plan) -> None:
    if header.variation == 1 and header.qualifier is Qualifier.ALL:
        for point in database:
            if point.config.in_class0:
                plan.append(_static(point, None))
    elif header.variation in (2, 3, 4) and header.indexes is None:
        plan.extend(buffer.select(class_mask=1 << (header.variation - 1), limit=header.limit))
    elif header.variation in (1, 2, 3, 4):
        raise ObjectError(IIN.PARAMETER_ERROR, "a class is read with qualifier 06, events also with 07 or 08")
    else:
        raise ObjectError(IIN.OBJECT_UNKNOWN, f"g60v{header.variation}")


def _plan_events(header: ObjectHeader, point: PointType, wanted: ObjectType | None, buffer: EventBuffer, plan: Plan) -> None:
    if header.indexes is not None:
        raise ObjectError(IIN.PARAMETER_ERROR, "events are read with qualifier 06, 07 or 08")
    chosen = buffer.select(kind=point, limit=header.limit)
    for event in chosen:
        event.asked = wanted
    plan.extend(chosen)


def _plan_static(header: ObjectHeader, points: dict[int, Point], wanted: ObjectType | None, kind: Kind, plan: Plan) -> IIN:
    if header.qualifier in _COUNTS:
        raise ObjectError(IIN.PARAMETER_ERROR, "static points are read with qualifier 00, 01, 06, 17 or 28")
    iin = IIN(0)
    chosen: Iterable[Point]
    if header.indexes is None:
        chosen = points.values()
    else:
        chosen = _among(points, header.indexes)
        if len(chosen) < len(header.indexes):
            iin = IIN.PARAMETER_ERROR
    if kind is Kind.DEADBAND:
        row = wanted or find(34, 3)
        assert row is not None
        plan.extend(Static(row, point.config.index, point.deadband, 0, 0) for point in chosen)
    else:
        plan.extend(_static(point, wanted) for point in chosen)
    return iin


def _among(points: dict[int, Point], indexes: range | tuple[int, ...]) -> list[Point]:
    if isinstance(indexes, range) and len(indexes) > len(points):
        return [point for index, point in points.items() if index in indexes]
    return [points[index] for index in indexes if index in points]


def _static(point: Point, wanted: ObjectType | None) -> Static:
    return Static(point.static(wanted), point.config.index, point.value, point.flags, point.time_ms)


def write_fragment(plan: Plan, capacity: int, wide: frozenset[PointType]) -> tuple[bytes, list[Event]]:
    """As much of `plan` as fits into `capacity` octets is taken from it: the objects, and the events among them.

    `wide` names the types with indexes above 255, whose events take 16-bit prefixes.
    """
    writer = FragmentWriter(capacity)
    sent: list[Event] = []
    while plan:
        item = plan[0]
        if isinstance(item, Event):
            row = item.asked or item.row
            wide_index = item.type in wide
            fits = writer.add_event(
                row, item.index, item.value, item.flags, item.time_ms, wide=wide_index, synchronized=item.synchronized
            )
            if fits:
                sent.append(item)
        elif isinstance(item, bytes):
            fits = writer.add_block(item)
        else:
            fits = writer.add_static(*item)
        if not fits:
            break
        plan.popleft()
    octets = writer.finish()
    assert octets or not plan, (
        "an object that fits into no fragment would be tried for ever; OutstationConfig keeps fragments large enough"
    )
    return octets, sent
