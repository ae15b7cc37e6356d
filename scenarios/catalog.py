"""Names in a transmission case, read from pandapower's JSON without importing pandapower (seconds): so that `check` is quick.

The rules for names are those of `federates.grid.transmission_case`, which is the authority; a test compares the two. A case that is
not understood here gives None, and its names are checked when it is solved.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CaseNames:
    """Names of a case, as events and feeders use them; nominal voltage (kV) and load (W) of each bus."""

    buses: tuple[str, ...]
    lines: tuple[str, ...]
    generators: tuple[str, ...]
    base_kv: tuple[float, ...]
    load_w: tuple[float, ...]


def pandapower_cases() -> list[str]:
    """Names of the cases in `pandapower.networks`."""
    folder = _networks()
    if folder is None:
        return []
    return re.findall(r"^def (case\w+)\(", (folder / "power_system_test_cases.py").read_text(encoding="utf-8"), re.MULTILINE)


def case_names(network: str) -> CaseNames | None:
    """Names in `pandapower:<case>` or in a pandapower .json file; None where a look cannot tell."""
    folder = _networks()
    if network.startswith("pandapower:") and folder is not None:
        path = folder / "power_system_test_case_jsons" / f"{network.removeprefix('pandapower:')}.json"
    else:
        path = Path(network)
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))["_object"]
        bus, line, trafo = (_table(tables, name) for name in ("bus", "line", "trafo"))
        loads = _table(tables, "load")
        machines = [_table(tables, name) for name in ("gen", "ext_grid", "sgen")]
    except (KeyError, TypeError, ValueError):
        return None
    if not all(row.get("in_service", True) for table in (bus, *machines) for row in table.values()):
        return None  # what is out of service loses its place in the numbering
    buses = dict(zip(bus, _names([r["name"] for r in bus.values()], [str(i) for i in bus]), strict=True))
    ends = [(r["from_bus"], r["to_bus"]) for r in line.values()] + [(r["hv_bus"], r["lv_bus"]) for r in trafo.values()]
    branches = _names([r["name"] for t in (line, trafo) for r in t.values()], _numbered(f"{buses[a]}-{buses[b]}" for a, b in ends))
    fed = [r for t in machines for r in t.values()]
    generators = _names([r["name"] for r in fed], _numbered(f"G{buses[r['bus']]}" for r in fed))
    load_w = dict.fromkeys(bus, 0.0)
    for row in loads.values():
        load_w[row["bus"]] += 1e6 * row["p_mw"] * row["scaling"] * row["in_service"]
    base_kv = tuple(row["vn_kv"] for row in bus.values())
    return CaseNames(tuple(buses.values()), tuple(branches), tuple(generators), base_kv, tuple(load_w.values()))


def _networks() -> Path | None:
    spec = importlib.util.find_spec("pandapower")
    return Path(spec.submodule_search_locations[0]) / "networks" if spec and spec.submodule_search_locations else None


def _table(tables: dict[str, Any], name: str) -> dict[int, dict[str, Any]]:
    """Rows of a table by index, in the order of the index."""
    frame = json.loads(tables[name]["_object"])
    rows = {i: dict(zip(frame["columns"], row, strict=True)) for i, row in zip(frame["index"], frame["data"], strict=True)}
    return dict(sorted(rows.items()))


def _names(given: list[Any], otherwise: list[str]) -> list[str]:
    texts = [str(name).strip() for name in given if name is not None]
    return texts if len(texts) == len(otherwise) and all(texts) and len(set(texts)) == len(texts) else otherwise


def _numbered(stems: Any) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
        names.append(stem if seen[stem] == 1 else f"{stem}#{seen[stem]}")
    return names
