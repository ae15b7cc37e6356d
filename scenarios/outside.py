"""What a scenario names outside itself: networks and their buses, feeders. As far as a look at the disk can tell.

A user's own files are opened and read as text (`catalog`, `own_feeder`). What needs a solver to know, whether they converge, is
`scenarios.solve`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from federates.grid.dynamics.cases import PREFIX, DynamicsError, andes_version, case_of
from federates.grid.feeder_library import BUILTIN_FEEDERS
from scenarios.catalog import CaseNames, case_names, pandapower_cases
from scenarios.document import Document
from scenarios.matpower import NotACaseError
from scenarios.own_feeder import FeederText, Found, texts, units
from scenarios.problem import Place, Problem, did_you_mean
from scenarios.scheme_check import either_way, scheme_problems
from scenarios.trace import TraceError, column, played, read_trace

NETWORK_SUFFIXES = (".m", ".mat", ".json")


def resolve(source: str, folder: Path) -> str:
    """A path in a scenario, from the folder that the scenario is in."""
    return str((folder / Path(source).expanduser()).resolve())


def network_source(network: str, folder: Path) -> str:
    """The network as `federates.grid.transmission.load_network` takes it."""
    return network if network.startswith(("pandapower:", PREFIX)) else resolve(network, folder)


def check_outside(document: Document, wrong: Collection[Place], folder: Path) -> list[Problem]:
    """Every name or file that does not exist, leaving out the places that are `wrong` already."""
    return [document.problem(place, text) for place, text in _look(document.data, folder) if place not in set(wrong)]


def _look(data: Mapping[str, Any], folder: Path) -> Found:
    federates = data.get("federates")
    entries = [e if isinstance(e, dict) else {} for e in federates] if isinstance(federates, list) else []
    by_name = {str(entry.get("name")): entry for entry in entries}
    cases: dict[str, CaseNames] = {}
    feeders: dict[str, FeederText] = {}
    networks: dict[str, str] = {}
    for n, entry in enumerate(entries):
        if entry.get("kind") == "transmission" and isinstance(network := entry.get("network"), str):
            try:
                if message := _network(network, folder):
                    raise NotACaseError(message)
                networks[str(entry.get("name"))] = network_source(network, folder)
                if (names := case_names(network_source(network, folder))) and isinstance(entry.get("name"), str):
                    cases[entry["name"]] = names
            except NotACaseError as error:
                yield ("federates", n, "network"), str(error)
    for n, entry in enumerate(entries):
        if entry.get("kind") == "distribution":
            yield from _feeder_entry(("federates", n), entry, cases, feeders, folder)
    for n, entry in enumerate(entries):
        place = ("federates", n)
        if entry.get("kind") == "ders" and (feeder := feeders.get(str(entry.get("feeder")))):
            yield from feeder.plants(place, entry)
        if entry.get("kind") == "ems" and (case := cases.get(str(entry.get("grid")))):
            for k, generator in enumerate(texts(entry.get("generators"))):
                yield from _generator((*place, "generators", k), generator, case)
        if entry.get("kind") == "schemes" and (source := networks.get(str(entry.get("grid")))):
            yield from scheme_problems(place, entry, source, cases.get(str(entry.get("grid"))))
        if entry.get("kind") == "player":
            points = entry.get("points")
            yield from _record(place, entry, points.get("t_s") if isinstance(points, dict) else None, folder)
    recorded = data.get("recorded")
    for n, record in enumerate(recorded if isinstance(recorded, list) else ()):
        if isinstance(record, dict):
            yield from _record(("recorded", n), record, None, folder)
    events = data.get("events")
    for n, event in enumerate(events if isinstance(events, list) else ()):
        if isinstance(event, dict) and isinstance(event.get("action"), dict):
            yield from _action(("events", n, "action"), event["action"], by_name.get(str(event.get("to")), {}), cases, feeders)


def _record(place: Place, entry: Mapping[str, Any], times_s: Any, folder: Path) -> Found:
    """The file of a player or of a record to lay over, or its times where they are written in the scenario; and that there is
    something of it from `from_s` on."""
    if isinstance(file := entry.get("file"), str):
        try:
            columns = read_trace(Path(resolve(file, folder)))
            if place[0] == "federates":
                played(columns, file)
            else:
                column(columns, entry.get("column"), file)
        except TraceError as error:
            yield (*place, "file"), str(error)
            return
        times_s = columns["t_s"]
    from_s = entry.get("from_s", 0.0)
    numbers = [from_s, *times_s] if isinstance(times_s, Sequence) and times_s else [None]
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers) and from_s >= times_s[-1]:
        text = f"{from_s:g} s is not before the end of the record, which goes from {times_s[0]:g} to {times_s[-1]:g} s"
        yield (*place, "from_s"), f"{text}; write an earlier time"


def _feeder_entry(
    place: Place, entry: Mapping[str, Any], cases: Mapping[str, CaseNames], feeders: dict[str, FeederText], folder: Path
) -> Found:
    if isinstance(source := entry.get("feeder"), str):
        if message := _feeder(source, folder):
            yield (*place, "feeder"), message
        else:
            feeder = FeederText(place, entry, source if source in BUILTIN_FEEDERS else resolve(source, folder))
            feeders[str(entry.get("name"))] = feeder
            yield from feeder.problems()
    bus, case = entry.get("bus"), cases.get(str(entry.get("grid")))
    if isinstance(bus, str) and case and bus not in case.buses:
        yield (*place, "bus"), f"the network has no bus {bus!r}; {did_you_mean(bus, case.buses)}"


def _action(
    place: Place,
    action: Mapping[str, Any],
    to: Mapping[str, Any],
    cases: Mapping[str, CaseNames],
    feeders: Mapping[str, FeederText],
) -> Found:
    """What an event names in the network or feeder that it reaches."""
    kind, name = to.get("kind"), str(to.get("name"))
    if kind == "transmission" and name in cases:
        yield from _elements(place, action, cases[name])
    if kind == "ders":
        yield from units(place, to, action)
    feeder = feeders.get(name if kind == "distribution" else str(to.get("feeder")))
    if feeder and kind == "distribution":
        yield from feeder.action(place, action)
    if feeder and kind == "scada":
        if isinstance(action.get("command"), dict):
            yield from feeder.action((*place, "command"), action["command"])
        if isinstance(action.get("point"), str):
            yield from feeder.point((*place, "point"), action["point"])


def _elements(place: Place, action: Mapping[str, Any], case: CaseNames) -> Found:
    line, generator = action.get("line"), action.get("generator")
    if isinstance(line, str) and not case.has(line, case.lines) and not case.has(either_way(line), case.lines):
        yield (*place, "line"), f"the network has no line {line!r}; {did_you_mean(line, case.lines)}"
    if isinstance(generator, str):
        yield from _generator((*place, "generator"), generator, case)
    if isinstance(bus := action.get("bus"), str) and bus not in case.buses:
        yield (*place, "bus"), f"the network has no bus {bus!r}; {did_you_mean(bus, case.buses)}"


def _generator(place: Place, generator: str, case: CaseNames) -> Found:
    if not case.has(generator, case.generators):
        yield place, f"the network has no generator {generator!r}; {did_you_mean(generator, case.generators)}"


def _feeder(source: str, folder: Path) -> str | None:
    if source in BUILTIN_FEEDERS:
        return None
    if re.search(r"[/\\.]", source):
        found = Path(resolve(source, folder)).is_file()
        return None if found else f"there is no file {source!r} beside the scenario; give the path of an OpenDSS master file"
    return f"there is no feeder {source!r}; {_or_path(source, BUILTIN_FEEDERS, 'an OpenDSS master file')}"


def _network(source: str, folder: Path) -> str | None:
    if source.startswith(PREFIX):
        try:
            case_of(source)
            andes_version()
        except DynamicsError as error:
            return str(error)
        return None
    if source.startswith("pandapower:"):
        cases = pandapower_cases()
        name = source.removeprefix("pandapower:")
        return None if name in cases else f"pandapower has no case {name!r}; {did_you_mean(name, cases)}"
    if not source.lower().endswith(NETWORK_SUFFIXES):
        return f"{source!r} is no network; write pandapower:case39, andes:ieee39, or the path of a .m, .mat or .json case"
    return None if Path(resolve(source, folder)).is_file() else f"there is no file {source!r} beside the scenario; check the path"


def _or_path(wrong: str, known: Sequence[str], what: str) -> str:
    return f"{did_you_mean(wrong, known).rstrip('?')}, or the path of {what}"
