"""Names in a transmission case, read from its file without importing pandapower (seconds): so that `check` is quick.

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

from federates.grid.dynamics.cases import PREFIX, DynamicsError
from federates.grid.dynamics.static import kept_static
from scenarios.matpower import NotACaseError, matpower_tables, numbers_as_text


@dataclass(frozen=True)
class CaseNames:
    """Names of a case, as events and feeders use them; nominal voltage (kV) and load (W) of each bus.

    `numbered`: the numbers of parallel branches (`16-17#2`) are known too, and not only the buses at their ends.
    """

    buses: tuple[str, ...]
    lines: tuple[str, ...]
    generators: tuple[str, ...]
    base_kv: tuple[float, ...]
    load_w: tuple[float, ...]
    numbered: bool = True

    def has(self, name: str, known: tuple[str, ...]) -> bool:
        """Whether a line or generator may be one of the known."""
        return name in known or (not self.numbered and name.partition("#")[0] in known)


def pandapower_cases() -> list[str]:
    """Names of the cases in `pandapower.networks`."""
    folder = _networks()
    if folder is None:
        return []
    return re.findall(r"^def (case\w+)\(", (folder / "power_system_test_cases.py").read_text(encoding="utf-8"), re.MULTILINE)


def case_names(network: str) -> CaseNames | None:
    """Names in `pandapower:<case>`, a pandapower .json file or a MATPOWER file; None where a look cannot tell.

    NotACaseError for a file that is none of these.
    """
    if network.startswith(PREFIX):
        return _andes_names(network)
    folder = _networks()
    if network.startswith("pandapower:") and folder is not None:
        path = folder / "power_system_test_case_jsons" / f"{network.removeprefix('pandapower:')}.json"
    else:
        path = Path(network)
    if path.suffix.lower() in (".m", ".mat"):
        return _matpower_names(path)
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    tables = _tables(path)
    try:
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


def _andes_names(network: str) -> CaseNames | None:
    """Of a case that ANDES has read before on this machine."""
    try:
        case = kept_static(network)
    except (DynamicsError, OSError):
        return None
    if case is None:
        return None
    load_w = [0.0] * len(case.bus_names)
    for bus, p, _ in case.loads:
        load_w[bus] += p * case.base_va
    return CaseNames(case.bus_names, case.branch_names(), case.generator_names(), case.base_kv, tuple(load_w))


def _tables(path: Path) -> dict[str, Any]:
    """The tables of a pandapower file. NotACaseError, with the line where it is no JSON."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise NotACaseError(f"{path.name}: it is not UTF-8; write the case with pandapower.to_json") from None
    except json.JSONDecodeError as error:
        what = f"{path.name}:{error.lineno}: not JSON ({error.msg}); write the case with pandapower.to_json"
        raise NotACaseError(what) from None
    tables = data.get("_object", data) if isinstance(data, dict) else None
    if not isinstance(tables, dict) or "bus" not in tables:
        raise NotACaseError(f"{path.name}: it holds no pandapower network; write one with pandapower.to_json")
    return tables


def _matpower_names(path: Path) -> CaseNames:
    tables = matpower_tables(path)
    buses = numbers_as_text(tables["bus"], 0)
    ends = zip(numbers_as_text(tables["branch"], 0), numbers_as_text(tables["branch"], 1), strict=True)
    return CaseNames(
        tuple(buses),
        tuple(dict.fromkeys(f"{a}-{b}" for a, b in ends)),
        tuple(dict.fromkeys(f"G{bus}" for bus in numbers_as_text(tables["gen"], 0))),
        tuple(row[9] for row in tables["bus"]),
        tuple(1e6 * row[2] for row in tables["bus"]),
        numbered=False,
    )


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
