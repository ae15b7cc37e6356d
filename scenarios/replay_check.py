"""What areas and players cannot do, and names that only an areas system knows: each with its place in the scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from scenarios.problem import Place, did_you_mean

Entry = Mapping[str, Any]
_60_HZ = "its functions and trips are those of IEEE 1547, a standard for 60 Hz; write nominal_hz: 60, or leave DER out"


def replay_problems(entries: Sequence[tuple[int, Entry]], events: Sequence[Any], wrong: Set[Place]) -> Iterator[tuple[Place, str]]:
    """Places and messages. `entries`: federates with their numbers; those at the places `wrong` are left out."""
    bulk = {e["name"]: e for n, e in entries if e["kind"] in ("transmission", "areas", "player") and ("federates", n) not in wrong}
    feeders = {e["name"]: e for n, e in entries if e["kind"] == "distribution" and ("federates", n) not in wrong}
    for n, entry in entries:
        place: Place = ("federates", n)
        if place in wrong:
            continue
        if entry["kind"] == "areas":
            yield from _areas(place, entry)
        elif entry["kind"] == "distribution" and (grid := bulk.get(entry["grid"])) and grid["kind"] == "areas":
            names = [area["name"] for area in grid["areas"]]
            if len(names) > 1:
                yield (*place, "grid"), f"{entry['grid']!r} has {len(names)} areas; feeders hang under a system of one area"
            elif entry["bus"] not in names:
                yield (*place, "bus"), f"the bus is the area; {did_you_mean(entry['bus'], names, 'area')}"
        elif entry["kind"] == "ders" and (grid := bulk.get(feeders.get(entry["feeder"], {}).get("grid", ""))):
            given = grid.get("frequency") or {} if grid["kind"] == "transmission" else grid
            if given.get("nominal_hz", 60.0) != 60.0:
                yield place, f"under {grid['name']!r} the frequency is {given['nominal_hz']:g} Hz: {_60_HZ}"
    for n, event in enumerate(events):
        if ("events", n) not in wrong and (grid := bulk.get(event["to"])) and grid["kind"] == "areas":
            yield from _action(("events", n, "action"), event["action"], grid)


def _areas(place: Place, entry: Entry) -> Iterator[tuple[Place, str]]:
    names = [area["name"] for area in entry["areas"]]
    for n, name in enumerate(names):
        if name in names[:n]:
            yield (*place, "areas", n, "name"), f"the name {name!r} is already used; choose another"
    ties = [tie["name"] for tie in entry.get("ties") or ()]
    for n, tie in enumerate(entry.get("ties") or ()):
        if tie["name"] in ties[:n]:
            yield (*place, "ties", n, "name"), f"the name {tie['name']!r} is already used; choose another"
        for key in ("from_area", "to_area"):
            if tie[key] not in names:
                yield (*place, "ties", n, key), f"there is no area {tie[key]!r}; {did_you_mean(tie[key], names, 'area')}"
        if tie["from_area"] == tie["to_area"]:
            yield (*place, "ties", n), "it joins an area with itself; write two areas"
    for n, area in enumerate(entry["areas"]):
        if (shed_w := sum(stage["load_w"] for stage in area.get("shedding") or ())) > area["load_w"]:
            text = f"its stages shed {shed_w / 1e6:g} MW, and load_w is {area['load_w'] / 1e6:g} MW; write less"
            yield (*place, "areas", n, "shedding"), text


def _action(place: Place, action: Entry, grid: Entry) -> Iterator[tuple[Place, str]]:
    areas, ties = [area["name"] for area in grid["areas"]], [tie["name"] for tie in grid.get("ties") or ()]
    if (tie := action.get("tie")) is not None and tie not in ties:
        yield (*place, "tie"), f"there is no tie {tie!r}; {did_you_mean(tie, ties, 'tie')}"
    area = action.get("area")
    if area is not None and area not in areas:
        yield (*place, "area"), f"there is no area {area!r}; {did_you_mean(area, areas, 'area')}"
    if area is None and len(areas) > 1 and action["do"] != "open_tie":
        yield place, f"it does not say which area; write area: {areas[0]}, for instance"
