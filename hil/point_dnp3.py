"""A point map as DNP3: points of our own outstation, and what a master makes of reports and commands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hil.points import MapPoint, PointMap, PointTable
from protocols.dnp3 import ControlCode, Crob, PointConfig, PointType
from protocols.dnp3.objects import EVENT_GROUP, STATIC_GROUP, find

POINT_TYPE: Mapping[PointTable, PointType] = {
    PointTable.BINARY_INPUT: PointType.BINARY_INPUT,
    PointTable.DOUBLE_BIT_INPUT: PointType.DOUBLE_BIT_INPUT,
    PointTable.BINARY_OUTPUT: PointType.BINARY_OUTPUT,
    PointTable.COUNTER: PointType.COUNTER,
    PointTable.FROZEN_COUNTER: PointType.FROZEN_COUNTER,
    PointTable.ANALOG_INPUT: PointType.ANALOG_INPUT,
    PointTable.ANALOG_OUTPUT: PointType.ANALOG_OUTPUT,
    PointTable.OCTET_STRING: PointType.OCTET_STRING,
}
TYPE_OF_GROUP: Mapping[int, PointType] = {group: kind for groups in (STATIC_GROUP, EVENT_GROUP) for kind, group in groups.items()}
"""Object group of a report, static or event -> the type of its points."""

CODES: Mapping[str, tuple[ControlCode, int]] = {
    "close": (ControlCode.CLOSE_PULSE_ON, 1),
    "trip": (ControlCode.TRIP_PULSE_ON, 0),
    "latch_on": (ControlCode.LATCH_ON, 1),
    "latch_off": (ControlCode.LATCH_OFF, 0),
    "pulse_on": (ControlCode.PULSE_ON, 1),
    "pulse_off": (ControlCode.PULSE_OFF, 0),
}
"""Name of a control code in a map -> the code, and the state it asks for."""
_STATE_OF: Mapping[int, int] = {code: state for code, state in CODES.values()}


def variation_exists(table: PointTable, event: bool, variation: int) -> bool:
    """Whether the type of point has that variation of its static or event group."""
    kind = POINT_TYPE[table]
    return kind is not PointType.OCTET_STRING and find((EVENT_GROUP if event else STATIC_GROUP)[kind], variation) is not None


def default_variations(table: PointTable) -> tuple[int, int]:
    """(static, event) variation where a map names none."""
    config = PointConfig(POINT_TYPE[table], 0)
    return config.static_variation, config.event_variation


def code_for(point: MapPoint, state: float) -> ControlCode | None:
    """The first of the point's codes that asks for `state` (0 or 1); None where it has none."""
    return next((CODES[name][0] for name in point.codes if CODES[name][1] == state), None)


def crob_for(point: MapPoint, state: float) -> Crob | None:
    """What to send to bring a binary output to `state`; None where its codes cannot ask for that."""
    code = code_for(point, state)
    return None if code is None else Crob(code, 1, point.on_ms, point.off_ms)


def state_of(crob: Crob) -> int | None:
    """The state a control asks for: 1 for close, latch on and pulse on, 0 for trip, latch off and pulse off; None for others."""
    return _STATE_OF.get(crob.code)


def outstation_points(point_map: PointMap | Iterable[MapPoint]) -> list[PointConfig]:
    """Points of an outstation that plays the device. A `write` row makes its output commandable; an output that only has a `read`
    row is shown and refuses commands."""
    rows: dict[tuple[PointTable, int], MapPoint] = {}
    for point in point_map.points if isinstance(point_map, PointMap) else point_map:
        known = rows.get((point.table, point.address))
        if known is None or point.is_write:
            rows[point.table, point.address] = point
    return [_config(point) for point in rows.values()]


def _config(point: MapPoint) -> PointConfig:
    return PointConfig(
        POINT_TYPE[point.table],
        point.address,
        name=point.name,
        event_class=point.event_class,
        static_variation=point.static_variation,
        event_variation=point.event_variation,
        deadband=point.deadband,
        scale=point.scale,
        offset=point.offset,
        commandable=point.is_write,
        controls=frozenset(int(CODES[name][0]) for name in point.codes),
        minimum=float("-inf") if point.minimum is None else point.minimum,
        maximum=float("inf") if point.maximum is None else point.maximum,
    )


def reports(point_map: PointMap) -> dict[tuple[PointType, int], MapPoint]:
    """Which `read` row a master's report of a type and index belongs to."""
    return {(POINT_TYPE[point.table], point.address): point for point in point_map.reads}


def value_from_report(point: MapPoint, value: bool | int | float) -> float:
    """Engineering value of what a report carries; a double-bit input is 0 to 3."""
    return float(value) if point.is_binary else value * point.scale + point.offset


def wire_command(point: MapPoint, value: float) -> float:
    """What goes into an analog output block for an engineering value that lies within the limits: of whole numbers the nearest that
    does not go beyond them. ValueError where there is none."""
    raw = (value - point.offset) / point.scale
    if command_encoding(point).startswith("f"):
        return raw
    low = -math.inf if point.minimum is None else point.minimum
    high = math.inf if point.maximum is None else point.maximum
    for step in sorted({round(raw), math.floor(raw), math.ceil(raw)}, key=lambda step: (abs(step - raw), step)):
        asked = step * point.scale + point.offset
        slack = 1e-9 * (abs(asked) + abs(point.scale))  # of binary fractions, not of steps
        if low - slack <= asked <= high + slack:
            return step
    raise ValueError(f"point {point.name!r}: no whole number near {raw:g} lies within its limits {low:g} to {high:g}")


def command_encoding(point: MapPoint) -> str:
    """i16, i32, f32 or f64, as `Master.operate` takes it; f32 where the map names none."""
    return point.type or "f32"
