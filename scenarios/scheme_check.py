"""Logic tables of special schemes against the network that they look at: names, and ratings of lines whose loading they ask for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from federates.grid.dynamics.cases import PREFIX
from scenarios.catalog import CaseNames
from scenarios.problem import Place, did_you_mean

_SILENT = "its loading would never be known, and the row would never act; write line_open or generator_out, or"


def scheme_problems(place: Place, entry: Mapping[str, Any], network: str, names: CaseNames | None) -> Iterator[tuple[Place, str]]:
    """Places and messages of a schemes entry. network: as `load_network` takes it; names: what is known of it without a solver."""
    for where, condition in _conditions(place, entry):
        line, loading = (condition.get(key) for key in ("line_open", "line_loading"))
        for key, name in (("line_open", line), ("line_loading", loading)):
            if names and isinstance(name, str) and not any(names.has(either, names.lines) for either in (name, either_way(name))):
                yield (*where, key), f"the network has no line {name!r}; {did_you_mean(name, names.lines)}"
                loading = None
        generator = condition.get("generator_out")
        if names and isinstance(generator, str) and not names.has(generator, names.generators):
            yield (
                (*where, "generator_out"),
                f"the network has no generator {generator!r}; {did_you_mean(generator, names.generators)}",
            )
        if isinstance(loading, str) and (why := _unrated(network, loading)):
            yield (*where, "line_loading"), why


def _conditions(place: Place, entry: Mapping[str, Any]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    rows = entry.get("rows")
    for n, row in enumerate(rows if isinstance(rows, list) else ()):
        when = row.get("when") if isinstance(row, dict) else None
        for k, condition in enumerate(when if isinstance(when, list) else ()):
            if isinstance(condition, dict):
                yield (*place, "rows", n, "when", k), condition


def _unrated(network: str, line: str) -> str:
    """Why the loading of a line can never be known; empty where it can, or where the network has problems of its own."""
    if network.startswith(PREFIX):
        return f"the cases of ANDES state no ratings of lines: {_SILENT} a network with ratings and the response engine"
    from federates.grid.transmission import NetworkError, load_network

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the readers' own, about columns that they fill in
            case = load_network(network)
    except NetworkError:
        return ""
    rated = dict(zip(case.branch_names, np.isfinite(case.rating_a).tolist(), strict=True))
    if rated.get(line, rated.get(either_way(line), True)):
        return ""
    return f"the network states no rating of line {line!r}: {_SILENT} give the line a rating in the network's file"


def either_way(line: str) -> str:
    """A line's name with its two buses the other way round: `16-17#2` -> `17-16#2`."""
    buses, hash_sign, number = line.partition("#")
    return "-".join(reversed(buses.split("-"))) + hash_sign + number
