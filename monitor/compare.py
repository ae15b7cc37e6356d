"""Are two runs the same? Bit for bit over signals, events and documents; timing and meta are apart, since they hold wall time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import canonical_json
from monitor.results import Results, load, read_lines

_TOLD = {"scenario": "scenario", "seed": "seed", "start": "start", "stop_ns": "length"}
"""Keys of `meta.json` that decide what the records hold, and their words."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference within one record: where, and what either run holds there (`-` for nothing)."""

    record: str
    where: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.record}: {self.where}: {self.a} | {self.b}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two run directories gave. `records` counts the signals, event logs and documents that either run holds.

    `asked` says where the runs were asked for different things, which explains that their records differ.
    """

    a: Path
    b: Path
    records: int
    differences: tuple[Difference, ...]
    asked: tuple[Difference, ...] = ()

    @property
    def identical(self) -> bool:
        """True when there was something to compare and nothing differed."""
        return self.records > 0 and not self.differences

    @property
    def exit_code(self) -> int:
        """0 when identical, else 1."""
        return 0 if self.identical else 1

    def __str__(self) -> str:
        head = f"a: {self.a}\nb: {self.b}\n"
        if self.asked:
            unlike = "\n".join(f"  {difference.where}: {difference.a} | {difference.b}" for difference in self.asked)
            head += f"these runs were not asked for the same, a | b:\n{unlike}\n"
        if not self.records:
            return head + "nothing to compare: neither run holds a record"
        if self.identical:
            return head + f"identical, bit for bit: {self.records} records (signals, events, documents)"
        lines = [f"  {difference}" for difference in self.differences]
        return head + f"{len(lines)} of {self.records} records differ; the first difference of each, a | b:\n" + "\n".join(lines)


def compare(a: Path | str, b: Path | str) -> Comparison:
    """Compare two run directories. NotARunError when one of them is none."""
    left, right = load(a), load(b)
    found: list[Difference | None] = [_first_in_signal(left, right, name) for name in sorted({*left.layouts, *right.layouts})]
    rows = left.event_rows(), right.event_rows()
    if rows[0] or rows[1]:
        found.append(_first_in_rows("events", *rows))
    folders = left.run_dir, right.run_dir
    for name in sorted({name for folder in folders for name in _document_files(folder)}):
        found.append(_first_in_rows(name, *(_rows(folder / name) for folder in folders)))
    return Comparison(left.run_dir, right.run_dir, len(found), tuple(d for d in found if d), tuple(_asked(left, right)))


def _asked(a: Results, b: Results) -> Iterator[Difference]:
    """What the runs were told, as far as it decides their records: scenario, seed, times; other software may also do so."""
    for key, words in _TOLD.items():
        values = a.meta.get(key), b.meta.get(key)
        if values[0] != values[1]:
            yield Difference("run", words, *(_told(key, value) for value in values))
    paths = [run.run_dir / "scenario.yaml" for run in (a, b)]
    texts = [path.read_text(encoding="utf-8").splitlines() if path.exists() else [] for path in paths]
    told = {f"{key}:" for key in ("name", "seed", "stop_s", "start", "about")}
    lines = [[line for line in _before_expectations(text) if line.partition(" ")[0] not in told] for text in texts]
    if lines[0] != lines[1]:
        pair = next(pair for pair in zip_longest(*lines, fillvalue="-") if pair[0] != pair[1])
        yield Difference("run", "scenario.yaml, its first other line", *(line.strip() for line in pair))
    versions = [run.meta.get("versions") or {} for run in (a, b)]
    for package in sorted({*versions[0], *versions[1]}):
        if versions[0].get(package) != versions[1].get(package):
            yield Difference("run", f"version of {package}", *(str(known.get(package, "-")) for known in versions))


def _before_expectations(text: list[str]) -> Iterator[str]:
    """The lines of a resolved scenario but its last part, which judges a run and does not change it."""
    return takewhile(lambda line: not line.startswith("expect:"), text)


def _told(key: str, value: Any) -> str:
    if value is None:
        return "-"
    return _seconds(value) if key == "stop_ns" else str(value)


def _first_in_signal(a: Results, b: Results, name: str) -> Difference | None:
    record = f"signal {name}"
    layouts = a.layouts.get(name), b.layouts.get(name)
    if layouts[0] is None or layouts[1] is None:
        return Difference(record, "whole record", *("present" if layout else "-" for layout in layouts))
    for field in ("unit", "ids", "doc"):
        values = [getattr(layout.port, field) for layout in layouts if layout]
        if values[0] != values[1]:
            if field != "ids":
                return Difference(record, field, repr(values[0]), repr(values[1]))
            k, pair = next((k, pair) for k, pair in enumerate(zip_longest(*values, fillvalue="-")) if pair[0] != pair[1])
            return Difference(record, f"id {k}", *pair)
    columns = layouts[0].columns
    first: tuple[int, int, Difference] | None = None
    for field in ("values", "quality", "t_meas_ns"):
        (t_a, m_a), (t_b, m_b) = a.matrix(name, field), b.matrix(name, field)
        rows = min(len(t_a), len(t_b))
        late = np.flatnonzero(t_a[:rows] != t_b[:rows])
        until = int(late[0]) if late.size else rows
        unlike = np.flatnonzero(_bits(m_a[:until]) != _bits(m_b[:until]))
        if unlike.size:
            row, column = divmod(int(unlike[0]), len(columns))
            where = f"{field} of {columns[column]} at t = {_seconds(t_a[row])}"
            if first is None or (row, column) < first[:2]:
                first = row, column, Difference(record, where, _exact(m_a[row, column]), _exact(m_b[row, column]))
    if first:
        return first[2]
    if late.size:
        return Difference(record, f"time of row {until}", _seconds(t_a[until]), _seconds(t_b[until]))
    if len(t_a) != len(t_b):
        ends = [f"{len(t)} rows to t = {_seconds(t[-1])}" if len(t) else "no rows" for t in (t_a, t_b)]
        return Difference(record, "number of rows", *ends)
    return None


def _bits(values: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """The bytes of each value as an integer, flat: NaN equals NaN, and 0.0 differs from -0.0."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").ravel()


def _exact(value: Any) -> str:
    if isinstance(value, np.floating):
        return f"{float(value)!r} ({float(value).hex()})"
    return str(value)


def _seconds(t_ns: Any) -> str:
    return f"{int(t_ns) / 1e9:.9g} s"


def _document_files(run_dir: Path) -> list[str]:
    paths = [*run_dir.glob("tblm/*.jsonl"), *run_dir.glob("documents/*/*.jsonl")]
    return [path.relative_to(run_dir).as_posix() for path in paths]


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(read_lines(path)) if path.exists() else []


def _first_in_rows(record: str, a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]) -> Difference | None:
    for k, (row_a, row_b) in enumerate(zip_longest(a, b)):
        if row_a is None or row_b is None:
            present = row_b if row_a is None else row_a
            where = f"row {k + 1}, t = {_seconds(present['t_ns'])}"
            return Difference(record, where, *("-" if row is None else _short(row) for row in (row_a, row_b)))
        if canonical_json(row_a) != canonical_json(row_b):
            path, value_a, value_b = next(_unlike(row_a, row_b, ""))
            where = f"row {k + 1}, t = {_seconds(row_a['t_ns'])}, {path}"
            return Difference(record, where, _short(value_a), _short(value_b))
    return None


def _unlike(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Places where two JSON values differ, as a path and both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if (key in a) != (key in b):
                yield f"{path}.{key}".lstrip("."), a.get(key, "-"), b.get(key, "-")
            elif key in a:
                yield from _unlike(a[key], b[key], f"{path}.{key}".lstrip("."))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _unlike(x, y, f"{path}[{k}]")
    elif canonical_json(a) != canonical_json(b):
        yield path, a, b


def _short(value: Any) -> str:
    text = value if value == "-" else canonical_json(value)
    return text if len(text) <= 160 else text[:157] + "..."
