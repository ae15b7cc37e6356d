"""What is wrong with the devices of a scenario beyond each entry by itself: point maps at `map.csv:line`, and what refers to them.

Nothing is connected to. Where a scenario has no devices, nothing of `hil` is imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.document import Document
from scenarios.extras import devices_lack
from scenarios.outside import resolve
from scenarios.ports import KindPort, outputs_of
from scenarios.problem import Place, Problem, did_you_mean
from scenarios.relay_check import contact_problem, relay_problems, stage_problems

if TYPE_CHECKING:
    from hil.points import MapPoint, PointMap

EVENT = KindPort(kind="event")


@dataclass(slots=True)
class DevicePorts:
    """Ports of a device's bridge, by name; `complete` is False where its map could not be read, so that nothing is said of
    ports."""

    outputs: dict[str, KindPort] = field(default_factory=dict)
    inputs: dict[str, KindPort] = field(default_factory=dict)
    complete: bool = True


def check_devices(document: Document, wrong: Collection[Place], folder: Path) -> tuple[list[Problem], dict[str, DevicePorts]]:
    """Every problem of devices and their maps, and the ports of those that are right."""
    entries = document.data.get("devices")
    if not isinstance(entries, list) or not entries:
        left = stage_problems(_federates_at(document), set(wrong), [], set())
        return [document.problem(place, text) for place, text in left], {}
    named = [entry for entry in entries if isinstance(entry, dict)]
    if message := devices_lack({str(entry.get("protocol")) for entry in named}):
        return [document.problem(("devices",), message)], {str(e.get("name")): DevicePorts(complete=False) for e in named}
    checker = _Checker(document, set(wrong), folder)
    return list(checker.problems(entries)), checker.ports


def _federates_at(document: Document) -> list[tuple[int, Mapping[str, Any]]]:
    federates = document.data.get("federates")
    return [(n, e) for n, e in enumerate(federates if isinstance(federates, list) else ()) if isinstance(e, dict) and e.get("name")]


class _Checker:
    def __init__(self, document: Document, wrong: set[Place], folder: Path) -> None:
        self.document, self.wrong, self.folder = document, wrong, folder
        self.federates_at = _federates_at(document)
        self.federates = [entry for _, entry in self.federates_at]
        self.by_name = {str(entry["name"]): entry for entry in self.federates}
        self.ports: dict[str, DevicePorts] = {}
        self.contacts: set[str] = set()  # signals that masters of what we play may command

    def problems(self, entries: Sequence[Any]) -> Iterator[Problem]:
        names: dict[str, int] = {}
        for n, entry in enumerate(entries):
            if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
                continue
            place: Place = ("devices", n)
            if name in names or name in self.by_name:
                yield self.document.problem((*place, "name"), f"the name {name!r} is already used; choose another")
            names[name] = n
            self.ports[name] = DevicePorts(complete=False)
            if any(bad[:2] == place for bad in self.wrong):
                continue
            yield from self._device(place, entry)
        for n, entry in enumerate(entries):
            if isinstance(entry, dict):
                yield from self._polls(("devices", n), entry, entries)
        for wrong_place, text in stage_problems(self.federates_at, self.wrong, list(names), self.contacts):
            yield self.document.problem(wrong_place, text)

    def _device(self, place: Place, entry: Mapping[str, Any]) -> Iterator[Problem]:
        from hil.layout import layout
        from hil.plan import Role
        from hil.point_csv import load_map
        from hil.points import MapError

        try:
            points = load_map(resolve(entry["map"], self.folder))
        except MapError as error:
            for found in error.problems:
                if found.column == "file":
                    yield self.document.problem((*place, "map"), f"{entry['map']} {found.message}")
                else:
                    yield Problem(self._shown(found.file), found.line, (found.column,), found.message)
            return
        if points.protocol != entry["protocol"]:
            yield self.document.problem(
                (*place, "map"), f"{entry['map']} is a map of {points.protocol}, and protocol is {entry['protocol']}"
            )
            return
        commands = entry["role"] in ("master", "client")
        self.contacts |= {str(point.signal) for point in points.writes if point.signal is not None and not commands}
        yield from self._signals(points, commands)
        yield from self._interlocks(place, entry, points)
        yield from self._stands_for(place, entry, points)
        try:
            made = layout(points, Role(entry["role"]))
        except ValueError as error:
            yield self.document.problem((*place, "map"), str(error))
            return
        inputs = {each.port.name: KindPort(each.port.unit, scalar=not each.port.ids) for each in made.inputs}
        outputs = {each.port.name: KindPort(each.port.unit, scalar=not each.port.ids) for each in made.outputs}
        own: dict[str, KindPort] = {"command": EVENT} if commands else {}
        if commands:
            outputs |= {"result": EVENT, "soe": EVENT}
        else:
            outputs |= {f"to_{p.signal.federate}": EVENT for p in points.writes if p.signal is not None}
        outputs |= {"link": KindPort(), "times": KindPort("s")}
        self.ports[str(entry["name"])] = DevicePorts(outputs, inputs | own)

    def _shown(self, file: str) -> str:
        """A map's path as the user knows it: from the scenario's folder, where it is in there."""
        try:
            return str(Path(file).relative_to(self.folder))
        except ValueError:
            return file

    def _signals(self, points: PointMap, commands: bool) -> Iterator[Problem]:
        """Each signal names an output of a federate in the same unit; a command of the device's master names what takes
        commands."""
        for point in points.points:
            if point.signal is None:
                continue
            problem = self._signal(point, commands)
            if problem:
                yield Problem(self._shown(points.file), point.line, ("signal",), problem)

    def _signal(self, point: MapPoint, commands: bool) -> str:
        signal = point.signal
        assert signal is not None
        entry = self.by_name.get(signal.federate)
        if entry is None:
            return f"there is no federate {signal.federate!r}; {did_you_mean(signal.federate, list(self.by_name), 'federate')}"
        try:
            ports = outputs_of(entry, self.federates)
        except KeyError:  # of an unknown kind, which is said elsewhere
            return ""
        port = ports.get(signal.port)
        if port is None or port.kind != "vector":
            known = sorted(name for name, each in ports.items() if each.kind == "vector")
            return (
                f"{signal.federate} ({entry['kind']}) gives no values {signal.port!r}; {did_you_mean(signal.port, known, 'port')}"
            )
        if port.unit != point.unit:
            right = f"write unit {port.unit} and the scale that goes with it"
            return f"{signal} is in {port.unit}, and the row's unit is {point.unit}; {right}"
        if port.scalar != (signal.id is None):
            return f"{signal.federate}.{signal.port} " + (
                "is one value; leave the :id away" if port.scalar else "has ids; write :id"
            )
        if point.is_write and not commands and entry["kind"] not in ("distribution", "relays"):
            kind = entry["kind"]
            return f"commands of the device's master go to equipment of a feeder or to relays; {signal.federate} is of kind {kind}"
        if point.is_write and not commands and signal.port == "operated":
            return contact_problem(entry, str(signal.id))
        return ""

    def _interlocks(self, place: Place, entry: Mapping[str, Any], points: PointMap) -> Iterator[Problem]:
        writes, reads = [p.name for p in points.writes], [p.name for p in points.reads]
        for n, lock in enumerate(entry.get("interlocks") or ()):
            for key, known in (("point", writes), ("when", reads)):
                if lock[key] not in known:
                    what = "write" if key == "point" else "read"
                    text = f"the map has no {what} row {lock[key]!r}; {did_you_mean(lock[key], known, 'row')}"
                    yield self.document.problem((*place, "interlocks", n, key), text)

    def _stands_for(self, place: Place, entry: Mapping[str, Any], points: PointMap) -> Iterator[Problem]:
        text = entry.get("stands_for")
        if text is None:
            return
        name, _, unit = text.partition(".")
        other = self.by_name.get(name)
        where = (*place, "stands_for")
        if other is None:
            yield self.document.problem(
                where, f"there is no federate {name!r}; {did_you_mean(name, list(self.by_name), 'federate')}"
            )
        elif unit and other.get("kind") != "ders":
            yield self.document.problem(where, f"{name!r} is of kind {other.get('kind')}; a unit is named of ders alone: {name}")
        elif unit:
            given = {(p.signal.port, p.signal.id) for p in points.reads if p.signal is not None and p.signal.federate == name}
            for port in ("p_w", "q_var"):
                if (port, unit) not in given:
                    text = (
                        f"the map has no read row with the signal {name}.{port}:{unit}, which the feeder is to take from the device"
                    )
                    yield self.document.problem(where, text)

    def _polls(self, place: Place, entry: Mapping[str, Any], entries: Sequence[Any]) -> Iterator[Problem]:
        stand_in = entry.get("stand_in")
        if not isinstance(stand_in, dict):
            return
        ours = [str(e.get("name")) for e in entries if isinstance(e, dict) and e.get("role") == "outstation"]
        kind, polls = str(stand_in.get("kind")), stand_in.get("polls") or []
        if kind in ("rtu", "rtu_dnp3_python", "relay") and not polls:
            yield self.document.problem(
                (*place, "stand_in"),
                f"{'a' if kind == 'relay' else 'an'} {kind} polls IEDs; write polls: [{', '.join(ours) or 'an outstation'}]",
            )
        for key, text in relay_problems(stand_in, entries, self.folder):
            yield self.document.problem((*place, "stand_in", key), text)
        for name in polls:
            if name not in ours:
                text = f"there is no device {name!r} of role outstation; {did_you_mean(str(name), ours, 'outstation')}"
                yield self.document.problem((*place, "stand_in", "polls"), text)
