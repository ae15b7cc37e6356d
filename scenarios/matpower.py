"""Buses, branches and generators of a MATPOWER case (version 2), read as a table of numbers: no converter, no solver."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_TABLES = ("bus", "gen", "branch")
_NEEDED = {"bus": 13, "gen": 10, "branch": 11}
"""Columns that a table has at least (MATPOWER 7.1, Tables B-1 to B-3)."""
_ISOLATED = 4.0
Table = list[tuple[float, ...]]


class NotACaseError(ValueError):
    """A file that holds no transmission case. The message says what is wrong and what to give instead."""


def matpower_tables(path: Path) -> dict[str, Table]:
    """The tables `bus`, `gen`, `branch` of a .m or .mat file; isolated buses are left out. NotACaseError, with file and line."""
    tables = _of_mat(path) if path.suffix.lower() == ".mat" else _of_m(path)
    for name, rows in tables.items():
        if any(len(row) < _NEEDED[name] for row in rows) or not (rows or name == "gen"):
            raise NotACaseError(
                f"{path.name}: mpc.{name} has not {_NEEDED[name]} columns in every row; give a MATPOWER version 2 case"
            )
    tables["bus"] = [row for row in tables["bus"] if row[1] != _ISOLATED]
    return tables


def _of_m(path: Path) -> dict[str, Table]:
    code = re.sub(r"%.*", "", path.read_text(encoding="utf-8", errors="replace"))
    if computed := re.search(r"^\s*mpc\.\w+\s*\([^=\n]*=[^=]", code, re.MULTILINE):
        line = code.count("\n", 0, computed.start()) + 1
        raise NotACaseError(
            f"{path.name}:{line}: the case computes on its matrices; run it in MATPOWER and save it with savecase as .mat"
        )
    missing = [name for name in ("baseMVA", *_TABLES) if not re.search(rf"\bmpc\.{name}\s*=", code)]
    if missing:
        raise NotACaseError(
            f"{path.name}: it sets no {' and no '.join(f'mpc.{m}' for m in missing)}; give a MATPOWER version 2 case"
        )
    return {name: _matrix(path, code, name) for name in _TABLES}


def _matrix(path: Path, code: str, name: str) -> Table:
    found = re.search(rf"\bmpc\.{name}\s*=\s*\[(.*?)\]", code, re.DOTALL)
    if found is None:
        line = code.count("\n", 0, code.index(f"mpc.{name}")) + 1
        raise NotACaseError(f"{path.name}:{line}: mpc.{name} is no matrix of numbers; write it out between [ and ]")
    rows: Table = []
    line = code.count("\n", 0, found.start(1)) + 1
    for text in found[1].replace("...\n", " ").split("\n"):
        for row in text.split(";"):
            try:
                numbers = tuple(float(word) for word in row.replace(",", " ").split())
            except ValueError:
                raise NotACaseError(
                    f"{path.name}:{line}: mpc.{name} holds what is no number ({row.strip()[:40]}); write numbers"
                ) from None
            if numbers:
                rows.append(numbers)
        line += 1
    return rows


def _of_mat(path: Path) -> dict[str, Table]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        mpc = loadmat(str(path), variable_names=["mpc"])["mpc"][0, 0]
        return {name: [tuple(map(float, row)) for row in mpc[name]] for name in _TABLES}
    except (MatReadError, NotImplementedError, OSError, LookupError, TypeError, ValueError):
        message = f"{path.name}: it holds no MATPOWER case; save one with savecase as .mat (version 7 or older) or .m"
        raise NotACaseError(message) from None


def numbers_as_text(table: Sequence[tuple[float, ...]], column: int) -> list[str]:
    """A column of bus numbers as their names."""
    return [f"{row[column]:.0f}" for row in table]
