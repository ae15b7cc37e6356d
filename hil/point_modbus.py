"""A point map as Modbus: the points that a client's planner takes, and the server's memory that shows the same points.

Importing this loads pymodbus.
"""

from __future__ import annotations

from federates.runtime.units import UNITS
from hil.points import MapPoint, PointMap, PointTable
from protocols.modbus import Order, Point, Table, ValueType

TABLE = {
    PointTable.COIL: Table.COIL,
    PointTable.DISCRETE: Table.DISCRETE,
    PointTable.HOLDING: Table.HOLDING,
    PointTable.INPUT: Table.INPUT,
}


def modbus_point(point: MapPoint) -> Point:
    """One row as a point of `protocols.modbus`. PointError where that package refuses it; a checked map never does."""
    access = "r" if not point.is_write else "rw" if point.readback else "w"
    return Point(
        point.name,
        TABLE[point.table],
        point.wire_address,
        ValueType(point.type or "bit"),
        unit=point.unit_id,
        order=Order(point.order),
        length=point.length,
        bit=point.bit,
        scale=point.scale,
        offset=point.offset,
        scale_factor=point.scale_factor or None,
        sentinels=point.sentinels,
        minimum=point.minimum,
        maximum=point.maximum,
        unit_of_measure=point.unit,
        access=access,  # type: ignore[arg-type]
        write_function=point.write_function,
        readback=point.readback,
        tolerance=point.tolerance,
        settle_s=point.settle_s,
    )


def modbus_points(point_map: PointMap) -> list[Point]:
    """All rows, in order, for `protocols.modbus.Device`."""
    return [modbus_point(point) for point in point_map.points]


_SUNSPEC_CLOCK = "122.Tms"
"""The one point of SunSpec that is a clock: seconds since the beginning of 2000, UTC."""
_UNITS = {"Var": "var", "DeptRef": "%", "Varh": "varh", "Pct": "%", "VNomPct": "%", "Secs": "s", "C": "degC", "Tms": "s"}


def map_point(point: Point, prefix: str = "") -> MapPoint:
    """A point of the protocol package, such as a SunSpec scan finds them, as a row that is read."""
    table = next(table for table, own in TABLE.items() if own is point.table)
    unit = _UNITS.get(point.unit_of_measure, point.unit_of_measure)
    known = unit in UNITS
    return MapPoint(
        prefix + point.name,
        table,
        point.address,
        unit_id=point.unit,
        type="" if table.is_binary else str(point.type),
        order=str(point.order),
        bit=point.bit,
        length=point.length,
        scale=point.scale,
        offset=point.offset,
        scale_factor="" if point.scale_factor is None else prefix + point.scale_factor,
        sentinels=point.sentinels,
        clock="2000" if point.name == _SUNSPEC_CLOCK else "",
        unit=unit if known else "1",
        note="" if known or not unit else f"in {unit}",
    )
