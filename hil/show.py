"""What `device probe` and `device watch` show on a terminal, and the maps that can be made of what a probe found."""

from __future__ import annotations

import asyncio
import logging
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from federates.runtime.port import Quality
from hil.address import DeviceAddress
from hil.drivers.base import DeviceError
from hil.point_csv import BOTH, COLUMNS
from hil.point_dnp3 import POINT_TYPE
from hil.points import MapPoint, PointMap, PointTable
from hil.probe_dnp3 import Dnp3Report
from hil.probe_modbus import ModbusReport, UnitReport
from hil.watch import LivePoint, Watch

_TABLE_OF = {kind: table for table, kind in POINT_TYPE.items()}


def quiet() -> None:
    """Protocol libraries log each silence; here the message to the user says it once."""
    for name in ("pymodbus", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


# -- probe


def modbus_report(address: DeviceAddress, report: ModbusReport) -> PointMap | None:
    """Prints the report; the SunSpec points of it as a map (None: there are none)."""
    console = Console()
    console.print(f"{address}: Modbus, {report.requests} requests" + (f", server role {report.role!r}" if report.role else ""))
    for unit in report.units:
        _unit(console, unit)
    if report.silent:
        console.print(f"No answer from units {', '.join(map(str, report.silent))}.")
    points = [point for unit in report.units if unit.sunspec is not None for point in unit.sunspec.points]
    if not points:
        return None
    from hil.point_modbus import map_point

    several = len({point.unit for point in points}) > 1
    rows = tuple(map_point(point, f"u{point.unit}." if several else "") for point in points)
    return PointMap(rows, str(address))


def _unit(console: Console, found: UnitReport) -> None:
    console.print(f"\n[bold]Unit {found.unit}[/bold]")
    if found.sunspec is not None:
        table = Table(
            "model", "address", "registers", "points", "note", title=f"SunSpec map at {found.sunspec.base}", title_justify="left"
        )
        for model in found.sunspec.models:
            points = len(model.layout.points) if model.layout is not None else 0
            table.add_row(str(model.model_id), str(model.address), str(model.length), str(points), Text(model.note))
        console.print(table)
    ranges = [f"{each.table.value} {each.start}-{each.end - 1}" for each in found.ranges]
    console.print(f"Readable: {', '.join(ranges) if ranges else 'nothing in the addresses looked at (--last, --thorough)'}.")
    if found.refused:
        console.print(f"Not there: {', '.join(table.value for table in found.refused)} (illegal function).")
    if not found.is_complete:
        console.print("Not all addresses were looked at: the requests were used up (--requests).")


def dnp3_report(address: DeviceAddress, report: Dnp3Report) -> PointMap | None:
    """Prints the report; its points as a map (None: there are none)."""
    console = Console()
    fragments = f"{report.fragments} fragment{'s' if report.fragments > 1 else ''}"
    console.print(f"{address}: DNP3 outstation {report.outstation}; class 0 in {fragments}")
    if report.types:
        table = Table("points", "number", "online", "indexes", "static variation", title="Class 0", title_justify="left")
        for each in report.types:
            variations = ", ".join(map(str, each.variations))
            table.add_row(each.kind.value, str(len(each.indexes)), str(each.online), each.ranges, variations)
        console.print(table)
    else:
        console.print("Class 0 has no points.")
    words = ", ".join((bit.name or "").replace("_", " ").lower() for bit in report.iin)
    console.print(f"Indications: {words or 'none'}.")
    waiting = ", ".join(map(str, report.waiting_classes))
    console.print(f"Events wait in classes: {waiting} (left where they are)." if waiting else "No events wait.")
    for name, text in report.attributes.items():
        console.print(f"{name}: {text}", markup=False)
    if not report.attributes:
        console.print("Device attributes: none.")
    for problem in dict.fromkeys(report.problems):
        console.print(f"Odd: {problem}", markup=False)
    rows = [
        MapPoint(f"{_TABLE_OF[each.kind]}_{each.point}", _TABLE_OF[each.kind], each.point, static_variation=each.variation)
        for each in report.values
        if each.kind is not POINT_TYPE[PointTable.OCTET_STRING]
    ]
    return PointMap(tuple(rows), str(address)) if rows else None


# -- maps


def columns() -> None:
    """Prints what the columns of a point map mean."""
    table = Table("column", "of", "meaning", title="Columns of a point map (CSV); all but name, table and address may be left out")
    for column in COLUMNS:
        table.add_row(column.name, "both" if column.protocols == BOTH else next(iter(column.protocols)).value, column.doc)
    Console().print(table)


# -- watch


def live_table(title: str, points: list[LivePoint], problem: str = "") -> Table:
    """All points as they are now."""
    now_s = time.monotonic()
    caption = Text(problem or f"{time.strftime('%H:%M:%S')}; Ctrl-C ends")
    table = Table(
        "point", "value", "unit", "quality", "age s", title=title, title_justify="left", caption=caption, caption_justify="left"
    )
    for column in (1, 4):
        table.columns[column].justify = "right"
    for point in points:
        age = "" if point.measured_s is None else f"{now_s - point.measured_s:.1f}"
        words = "|".join((bit.name or "").lower() for bit in Quality if bit and point.quality & bit) or "good"
        style = "" if words == "good" else "red" if point.quality & Quality.LOST else "yellow"
        table.add_row(
            Text(point.row.name),
            Text(_value(point)),
            point.row.unit if point.row.unit != "1" else "",
            Text(words, style=style),
            age,
        )
    return table


def _value(point: LivePoint) -> str:
    if point.value is None or isinstance(point.value, str):
        return point.value or "-"
    return f"{point.value:.15g}" if point.value.is_integer() else f"{point.value:.7g}"


async def live(title: str, watched: Watch, period_s: float, count: int | None) -> None:
    """Shows the points until they were polled `count` times (None: until interrupted), on a fixed grid of time.

    A first poll that brings nothing is a DeviceError: there is no such device. Later ones show STALE and LOST, and go on.
    """
    console = Console()
    loop = asyncio.get_running_loop()
    done, began_s = 0, loop.time()
    try:
        with Live(console=console, auto_refresh=False) as screen:
            while count is None or done < count:
                problem = ""
                try:
                    await watched.poll()
                except DeviceError as error:
                    if done == 0:
                        raise
                    problem = str(error)
                done += 1
                table = live_table(title, watched.points, problem)
                if console.is_terminal:
                    screen.update(table, refresh=True)
                else:
                    console.print(table)
                if count is None or done < count:
                    late_periods = int((loop.time() - began_s) / period_s) + 1
                    await asyncio.sleep(began_s + late_periods * period_s - loop.time())
    finally:
        watched.close()
