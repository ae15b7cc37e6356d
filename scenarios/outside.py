"""What a scenario names outside itself: networks and their buses, feeders. As far as a look at the disk can tell.

What needs a solver to know (a feeder's switches, whether it converges) is `scenarios.solve`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from federates.grid.feeder_library import BUILTIN_FEEDERS
from scenarios.catalog import CaseNames, case_names, pandapower_cases
from scenarios.document import Document
from scenarios.problem import Place, Problem, did_you_mean

NETWORK_SUFFIXES = (".m", ".mat", ".json")


def resolve(source: str, folder: Path) -> str:
    """A path in a scenario, from the folder that the scenario is in."""
    return str((folder / Path(source).expanduser()).resolve())


def network_source(network: str, folder: Path) -> str:
    """The network as `federates.grid.transmission.load_network` takes it."""
    return network if network.startswith("pandapower:") else resolve(network, folder)


def check_outside(document: Document, wrong: Collection[Place], folder: Path) -> list[Problem]:
    """Every name or file that does not exist, leaving out the places that are `wrong` already."""
    return [document.problem(place, text) for place, text in _look(document.data, folder) if place not in set(wrong)]


def _look(data: Mapping[str, Any], folder: Path) -> Iterator[tuple[Place, str]]:
    federates = data.get("federates")
    entries = [e if isinstance(e, dict) else {} for e in federates] if isinstance(federates, list) else []
    cases: dict[str, CaseNames] = {}
    for n, entry in enumerate(entries):
        if entry.get("kind") == "transmission" and isinstance(network := entry.get("network"), str):
            if message := _network(network, folder):
                yield ("federates", n, "network"), message
            elif (names := case_names(network_source(network, folder))) and isinstance(entry.get("name"), str):
                cases[entry["name"]] = names
    for n, entry in enumerate(entries):
        if entry.get("kind") == "distribution":
            yield from _feeder_entry(("federates", n), entry, cases, folder)
    events = data.get("events")
    for n, event in enumerate(events if isinstance(events, list) else ()):
        if isinstance(event, dict) and isinstance(event.get("action"), dict) and str(event.get("to")) in cases:
            yield from _elements(("events", n, "action"), event["action"], cases[str(event["to"])])


def _feeder_entry(
    place: Place, entry: Mapping[str, Any], cases: Mapping[str, CaseNames], folder: Path
) -> Iterator[tuple[Place, str]]:
    if isinstance(source := entry.get("feeder"), str) and (message := _feeder(source, folder)):
        yield (*place, "feeder"), message
    bus, case = entry.get("bus"), cases.get(str(entry.get("grid")))
    if isinstance(bus, str) and case and bus not in case.buses:
        yield (*place, "bus"), f"the network has no bus {bus!r}; {did_you_mean(bus, case.buses)}"


def _elements(place: Place, action: Mapping[str, Any], case: CaseNames) -> Iterator[tuple[Place, str]]:
    line, generator = action.get("line"), action.get("generator")
    if isinstance(line, str) and not {line, either_way(line)} & set(case.lines):
        yield (*place, "line"), f"the network has no line {line!r}; {did_you_mean(line, case.lines)}"
    if isinstance(generator, str) and generator not in case.generators:
        yield (*place, "generator"), f"the network has no generator {generator!r}; {did_you_mean(generator, case.generators)}"


def either_way(line: str) -> str:
    """A line's name with its two buses the other way round: `16-17#2` -> `17-16#2`."""
    buses, hash_sign, number = line.partition("#")
    return "-".join(reversed(buses.split("-"))) + hash_sign + number


def _feeder(source: str, folder: Path) -> str | None:
    if source in BUILTIN_FEEDERS:
        return None
    if re.search(r"[/\\.]", source):
        found = Path(resolve(source, folder)).is_file()
        return None if found else f"there is no file {source!r} beside the scenario; give the path of an OpenDSS master file"
    return f"there is no feeder {source!r}; {_or_path(source, BUILTIN_FEEDERS, 'an OpenDSS master file')}"


def _network(source: str, folder: Path) -> str | None:
    if source.startswith("pandapower:"):
        cases = pandapower_cases()
        name = source.removeprefix("pandapower:")
        return None if name in cases else f"pandapower has no case {name!r}; {did_you_mean(name, cases)}"
    if not source.lower().endswith(NETWORK_SUFFIXES):
        return f"{source!r} is no network; write pandapower:case39, or the path of a .m, .mat or .json case"
    return None if Path(resolve(source, folder)).is_file() else f"there is no file {source!r} beside the scenario; check the path"


def _or_path(wrong: str, known: Sequence[str], what: str) -> str:
    return f"{did_you_mean(wrong, known).rstrip('?')}, or the path of {what}"
