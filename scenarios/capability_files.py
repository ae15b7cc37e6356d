"""The two files of the `capability` command: DER and what they offer, and the limits of the network. CSV with a header, units in
the column names; lines that begin with # are comments. docs/capability.md has both formats with an example.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scenarios.problem import Problem, ScenarioError, did_you_mean

if TYPE_CHECKING:
    from federates.grid.feeder import DerSite
    from federates.tblm.capability.limits import LimitRules
    from federates.tblm.capability.resources import Resource
    from federates.tblm.dispatch import Terms

_NEEDED = ("name", "bus", "kv", "s_kva", "p_max_kw")
_NUMBERS = (
    "kv", "s_kva", "p_min_kw", "p_max_kw", "p_now_kw", "q_now_kvar", "q_min_kvar", "q_max_kvar", "p_max_p10_kw", "p_max_p90_kw",
    "q_per_p", "notice_s", "cost_up_per_mwh", "cost_down_per_mwh", "ramp_kw_per_s", "duration_s", "energy_kwh", "rebound",
    "energy_up_kwh", "energy_down_kwh",
)  # fmt: skip
_DER_COLUMNS = ("name", "bus", "table", *_NUMBERS)
_LIMIT_COLUMNS = ("quantity", "element", "low", "high")
_QUANTITIES = ("v_pu", "i_a", "rating_share")


@dataclass(frozen=True)
class DerRow:
    """One line of the DER file."""

    line: int
    site: DerSite
    resource: Resource
    terms: Terms | None


@dataclass(frozen=True)
class LimitFile:
    """The limits, and the lines that name buses and lines of the network: (line of the file, name)."""

    rules: LimitRules
    buses: tuple[tuple[int, str], ...]
    lines: tuple[tuple[int, str], ...]


def read_der(path: Path) -> tuple[DerRow, ...]:
    """The DER file. ScenarioError with every line that is wrong."""
    problems: list[Problem] = []
    rows = []
    seen: dict[str, int] = {}
    for line, cells in _table(path, _DER_COLUMNS, _NEEDED):
        try:
            row = _der(path, line, cells)
        except _Wrong as error:
            problems.append(Problem(str(path), line, (error.column,), error.message))
            continue
        name = row.site.name.lower()
        if name in seen:
            problems.append(
                Problem(str(path), line, ("name",), f"{row.site.name!r} is on line {seen[name]} too; give another name")
            )
        seen[name] = line
        rows.append(row)
    if not rows and not problems:
        problems.append(Problem(str(path), 1, ("name",), "there is no DER in it; write one line for each"))
    if problems:
        raise ScenarioError(problems)
    return tuple(rows)


def read_limits(path: Path) -> LimitFile:
    """The limits file. ScenarioError with every line that is wrong."""
    from federates.tblm.capability.limits import LimitRules

    problems: list[Problem] = []
    v_pu, bus_v, i_a, line_i = (0.95, 1.05), dict[str, tuple[float, float]](), None, dict[str, float]()
    share: float | None = None
    above_v, buses, lines = 0.0, [], []
    for line, cells in _table(path, _LIMIT_COLUMNS, ("quantity", "element")):
        try:
            quantity, element = cells["quantity"], cells["element"].lower().removeprefix("line.")
            if quantity not in _QUANTITIES:
                raise _Wrong("quantity", f"{quantity!r} is no limit; {did_you_mean(quantity, _QUANTITIES)}")
            low, high = _number(cells, "low"), _number(cells, "high")
            if high is None or not high > 0.0:
                raise _Wrong("high", "give a positive number")
            if quantity == "v_pu":
                if low is None or not 0.0 < low < high:
                    raise _Wrong("low", "a voltage band needs low and high, per unit, for instance 0.95 and 1.05")
                if element == "*":
                    v_pu = (low, high)
                else:
                    bus_v[element] = (low, high)
                    buses.append((line, element))
            elif quantity == "i_a":
                if low is not None:
                    raise _Wrong("low", "a current has no lowest value; leave it empty")
                if element == "*":
                    i_a = high
                else:
                    line_i[element] = high
                    lines.append((line, element))
            else:
                if element != "*":
                    raise _Wrong("element", "a share of the ratings is for all lines; write *, or i_a for one line")
                share, above_v = high, low or 0.0
        except _Wrong as error:
            problems.append(Problem(str(path), line, (error.column,), error.message))
    if problems:
        raise ScenarioError(problems)
    rules = LimitRules(v_pu, bus_v, i_a, line_i, share, above_v)
    return LimitFile(rules, tuple(buses), tuple(lines))


class _Wrong(Exception):
    """A cell that cannot be used."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column, self.message = column, message


def _table(path: Path, known: tuple[str, ...], needed: tuple[str, ...]) -> Iterable[tuple[int, dict[str, str]]]:
    """(line, cells by column) of every row; ScenarioError for a file or header that cannot be used."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise ScenarioError([Problem(str(path), 1, (), f"cannot be read: {reason}; give the path of a CSV file")]) from error
    numbered = [(n, row) for n, row in enumerate(text.splitlines(), start=1) if row.strip() and not row.lstrip().startswith("#")]
    if not numbered:
        raise ScenarioError([Problem(str(path), 1, (), f"it is empty; begin with a header: {','.join(needed)}")])
    first, header_line = numbered[0]
    header = [cell.strip().lower() for cell in next(csv.reader([header_line]))]
    problems = [Problem(str(path), first, (c,), f"no such column; {did_you_mean(c, known)}") for c in header if c not in known]
    problems += [Problem(str(path), first, (c,), "the column is missing") for c in needed if c not in header]
    problems += [Problem(str(path), first, (c,), "the column is there twice") for c in set(header) if header.count(c) > 1]
    if problems:
        raise ScenarioError(problems)
    out = []
    for n, row in numbered[1:]:
        cells = [cell.strip() for cell in next(csv.reader([row]))]
        if len(cells) > len(header):
            raise ScenarioError([Problem(str(path), n, (), f"{len(cells)} values under {len(header)} columns")])
        out.append((n, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))))
    return out


def _number(cells: dict[str, str], column: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise _Wrong(column, f"{text!r} is not a number") from error
    if not math.isfinite(value):
        raise _Wrong(column, f"{text} is not finite")
    return value


def _der(path: Path, line: int, cells: dict[str, str]) -> DerRow:
    from federates.grid.feeder import DerSite
    from federates.tblm.capability.resources import Resource
    from federates.tblm.capability.table import from_json
    from federates.tblm.dispatch import Terms

    n = {column: _number(cells, column) for column in _NUMBERS}
    for column in _NEEDED:
        if not cells[column]:
            raise _Wrong(column, "it is empty")
    for column in ("kv", "s_kva"):
        if not (n[column] or 0.0) > 0.0:
            raise _Wrong(column, "give a positive number")
    for column in ("energy_up_kwh", "energy_down_kwh"):
        if (n[column] or 0.0) < 0.0:
            raise _Wrong(column, "give 0 or more")

    def kilo(column: str, otherwise: float = 0.0) -> float:
        value = n[column]
        return otherwise if value is None else 1e3 * value

    table = None
    if name := cells.get("table"):
        file = path.parent / name
        try:
            table = from_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise _Wrong("table", f"{name!r} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise _Wrong("table", f"{name}: {error}") from error
    p10, p90 = (None if n[column] is None else kilo(column) for column in ("p_max_p10_kw", "p_max_p90_kw"))
    try:
        resource = Resource(
            cells["name"].lower(), kilo("p_min_kw"), kilo("p_max_kw"), kilo("s_kva"), kilo("q_min_kvar", -math.inf),
            kilo("q_max_kvar", math.inf), p10, p90, n["q_per_p"], table, kilo("p_now_kw"), kilo("q_now_kvar"), n["notice_s"] or 0.0,
            kilo("energy_up_kwh", math.inf), kilo("energy_down_kwh", math.inf),
        )  # fmt: skip
    except ValueError as error:
        raise _Wrong("p_max_kw", str(error).partition(": ")[2]) from error
    terms = None
    if n["cost_up_per_mwh"] is not None or n["cost_down_per_mwh"] is not None:
        terms = Terms(
            n["cost_up_per_mwh"], n["cost_down_per_mwh"], None if n["ramp_kw_per_s"] is None else kilo("ramp_kw_per_s"),
            n["duration_s"], None if n["energy_kwh"] is None else kilo("energy_kwh"), n["rebound"] or 0.0,
        )  # fmt: skip
    return DerRow(line, DerSite(cells["name"], cells["bus"], float(n["kv"] or 0.0), kilo("s_kva")), resource, terms)
