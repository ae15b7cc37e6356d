"""A recorded trace as a CSV file: a head line of names with their units (t_s, f_hz, v_pu), then numbers, times rising."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path


class TraceError(ValueError):
    """The file is no such trace; the message says which line and what to write."""


def read_trace(path: Path) -> dict[str, tuple[float, ...]]:
    """Its columns by name. TraceError for a file that is not there or not as described."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(n, row) for n, row in enumerate(csv.reader(file), start=1) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path.name}: cannot be read ({error}); give a CSV file in UTF-8") from None
    if not rows or "t_s" not in (names := [name.strip() for name in rows[0][1]]):
        raise TraceError(f"{path.name}:1: no column t_s; write a head line like t_s,f_hz")
    if len(set(names)) < len(names) or len(names) < 2:
        raise TraceError(f"{path.name}:1: the columns are {', '.join(names)}; write t_s and each other column once")
    table: list[list[float]] = []
    for n, row in rows[1:]:
        try:
            values = [float(cell) for cell in row]
        except ValueError as error:
            raise TraceError(f"{path.name}:{n}: {error}; write numbers, or leave the line out") from None
        if len(values) != len(names) or not all(map(math.isfinite, values)):
            raise TraceError(f"{path.name}:{n}: {len(values)} finite numbers are needed for {', '.join(names)}")
        table.append(values)
    if len(table) < 2:
        raise TraceError(f"{path.name}: {len(table)} points; a trace has two or more")
    columns = dict(zip(names, map(tuple, zip(*table, strict=True)), strict=True))
    for (n, _), (before, after) in zip(rows[2:], pairwise(columns["t_s"]), strict=True):
        if after <= before:
            raise TraceError(f"{path.name}:{n}: t_s goes from {before:g} to {after:g}; sort the lines by time, each time once")
    return columns


def played(columns: dict[str, tuple[float, ...]], name: str) -> None:
    """TraceError where there is nothing that a player plays."""
    if not {"f_hz", "v_pu"} & columns.keys():
        raise TraceError(f"{name}: it has neither f_hz nor v_pu; name the column with its unit, f_hz or v_pu")


def column(columns: dict[str, tuple[float, ...]], wanted: str | None, name: str) -> tuple[float, ...]:
    """The column that is wanted, or the first beside t_s. TraceError where there is none."""
    others = [key for key in columns if key != "t_s"]
    if wanted is not None and wanted not in others:
        raise TraceError(f"{name}: it has no column {wanted!r}; it has {', '.join(others)}")
    return columns[wanted or others[0]]
