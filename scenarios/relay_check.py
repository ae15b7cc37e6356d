"""What is wrong with relays on a wire: stages that are left to devices, and what a stand-in relay measures and trips."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios.outside import resolve
from scenarios.problem import Place, did_you_mean


def _left(entry: Mapping[str, Any]) -> Iterator[tuple[str, int, str, str]]:
    """Stages of a relays entry that devices do: scheme, place in its list, name of the stage, device."""
    for scheme in ("ufls", "uvls"):
        for k, stage in enumerate(entry.get(scheme) or ()):
            if isinstance(stage, dict) and stage.get("by"):
                yield scheme, k, f"{scheme}:{stage.get('stage') or k + 1}", str(stage["by"])


def contact_problem(entry: Mapping[str, Any], stage: str) -> str:
    """What is wrong with the contact of a stage that a map names; empty: nothing."""
    left = [name for _, _, name, _ in _left(entry)]
    if stage in left:
        return ""
    others = f", or take {', '.join(left)}" if left else ""
    return f"stage {stage!r} of {entry['name']} is not left to a device; write by: DEVICE at it{others}"


def stage_problems(
    federates: Sequence[tuple[int, Mapping[str, Any]]], wrong: Collection[Place], devices: list[str], contacts: Collection[str]
) -> Iterator[tuple[Place, str]]:
    """Each stage that is left to a device needs the device, and among `contacts` (signals that masters of what we play command) its
    own."""
    for n, entry in federates:
        if entry.get("kind") != "relays" or any(place[:2] == ("federates", n) for place in wrong):
            continue
        for scheme, k, stage, device in _left(entry):
            place: Place = ("federates", n, scheme, k, "by")
            signal = f"{entry['name']}.operated:{stage}"
            if device not in devices:
                known = did_you_mean(device, devices, "device") if devices else "add it under devices:"
                yield place, f"there is no device {device!r}; {known}"
            elif signal not in contacts:
                yield place, f"no map of an outstation or server has a write row with the signal {signal}; add it, the contact"


def relay_problems(stand_in: Mapping[str, Any], entries: Sequence[Any], folder: Path) -> Iterator[tuple[str, str]]:
    """(key, what is wrong): what a relay measures and trips are rows of the IEDs that it polls."""
    from hil.point_csv import load_map
    from hil.points import MapError

    polls = stand_in.get("polls") or ()
    maps = {str(e["name"]): str(e.get("map")) for e in entries if isinstance(e, dict) and e.get("name") in polls}
    for key, write in (("measures", False), ("trips", True)):
        text = stand_in.get(key)
        if not isinstance(text, str):
            continue
        ied = text.partition(".")[0]
        try:
            points = load_map(resolve(maps[ied], folder)).points if ied in maps else ()
        except MapError:
            continue  # said at that device
        known = [f"{ied}.{point.name}" for point in points if point.is_write is write]
        if text not in known:
            what = "control" if write else "read"
            yield key, f"{text!r} is no {what} row of an IED that it polls; {did_you_mean(text, known, 'row')}"
