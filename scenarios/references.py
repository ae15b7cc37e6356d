"""What no single entry of a scenario can know: names used twice, references that lead nowhere, signals that do not exist.

Works on the entries that are right in themselves, so that these problems show up together with the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenarios.actions import ACTIONS_OF_KIND
from scenarios.device_check import DevicePorts
from scenarios.document import Document
from scenarios.dynamics_check import dynamics_problems
from scenarios.kinds import BULK_KINDS
from scenarios.ports import OUTPUTS, KindPort, inputs_of, outputs_of
from scenarios.problem import Place, Problem, did_you_mean
from scenarios.replay_check import replay_problems
from scenarios.schema import SIGNAL_PATTERN
from scenarios.shedding_check import priority_problems

Entry = Mapping[str, Any]
_PARTNERS = {"feeder": ("distribution",), "grid": ("transmission",)}
_ONE_PER_FEEDER = ("ders", "relays", "scada", "meters", "ami", "tblm")
_NEEDS = {"ami": ("meters",), "tblm": ("scada", "ami")}


def check_references(document: Document, wrong: Sequence[Place], devices: Mapping[str, DevicePorts] | None = None) -> list[Problem]:
    """Every problem between entries. Entries at the places `wrong` are left out; their names count as existing all the same."""
    return list(_Checker(document, wrong, devices or {}).problems())


class _Checker:
    def __init__(self, document: Document, wrong: Sequence[Place], devices: Mapping[str, DevicePorts]) -> None:
        self.document, self.devices = document, devices
        self.data = document.data
        self.exact = set(wrong)
        self.wrong = {place[:2] for place in wrong}
        self.named = [
            (n, e) for n, e in enumerate(_list(self.data, "federates")) if isinstance(e, dict) and isinstance(e.get("name"), str)
        ]
        self.nameless = [e for e in _list(self.data, "federates") if isinstance(e, dict) and not isinstance(e.get("name"), str)]
        self.right = [(n, e) for n, e in self.named if str(e.get("kind")) in OUTPUTS]
        self.counts = Counter(e["name"] for _, e in self.named)
        self.by_name = {e["name"]: e for _, e in self.named} | {name: {"name": name, "kind": "device"} for name in devices}
        self.entries = [e for _, e in self.right]
        self.complete = len(self.right) == len(_list(self.data, "federates"))
        stop_s = self.data.get("stop_s")
        self.stop_s = stop_s if isinstance(stop_s, int | float) and ("stop_s",) not in self.exact else math.inf

    def problems(self) -> Iterator[Problem]:
        yield from self._names()
        yield from self._partners()
        yield from self._periods()
        yield from self._buses()
        yield from (self.problem(place, text) for place, text in dynamics_problems(self.right, self.data))
        yield from self._groups()
        yield from (self.problem(place, text) for place, text in priority_problems(self.right, self.wrong))
        for check, key in ((self._link, "links"), (self._event, "events"), (self._expectation, "expect")):
            for n, entry in enumerate(_list(self.data, key)):
                if (key, n) not in self.wrong:
                    yield from check((key, n), entry)
        for n, entry in enumerate(_list(self.data, "recorded")):
            if ("recorded", n) not in self.wrong:
                yield from self._signal(("recorded", n, "signal"), entry["signal"], True)
        yield from (
            self.problem(place, text) for place, text in replay_problems(self.right, _list(self.data, "events"), self.wrong)
        )
        for n, text in enumerate(_list(self.data, "record")):
            if ("record", n) not in self.exact:
                yield from self._signal(("record", n), text, False)

    def problem(self, place: Place, message: str) -> Problem:
        return self.document.problem(place, message)

    def _of_kind(self, kind: str) -> list[str]:
        return sorted({e["name"] for _, e in self.named if e.get("kind") == kind})

    # Federates

    def _names(self) -> Iterator[Problem]:
        first: dict[str, int] = {}
        for n, entry in self.named:
            place = ("federates", n, "name")
            if entry["name"] in first:
                line = self.document.line(("federates", first[entry["name"]], "name"))
                yield self.problem(place, f"the name {entry['name']!r} is already used on line {line}; choose another")
            first.setdefault(entry["name"], n)
        grids = [n for n, e in self.right if e["kind"] in BULK_KINDS]
        for n in grids[1:]:
            yield self.problem(
                ("federates", n, "kind"), "a second transmission system; a scenario has one, join the networks into one case"
            )

    def _periods(self) -> Iterator[Problem]:
        """Coupled federates answer each other at the same instants."""
        for n, entry in self.right:
            grid = self.by_name.get(str(entry.get("grid")))
            if entry["kind"] != "distribution" or grid is None or grid.get("kind") not in BULK_KINDS:
                continue
            period_s, wanted_s = entry.get("period_s", 1.0), grid.get("period_s", 1.0)
            if {("federates", k, "period_s") for k, e in self.right if e is entry or e is grid} & self.exact:
                continue  # one of the two is no period at all
            if period_s != wanted_s and _number(period_s) and _number(wanted_s):
                text = f"{period_s:g} s, and {entry['grid']!r} has {wanted_s:g} s; write the same for both"
                yield self.problem(("federates", n, "period_s"), text)

    def _partners(self) -> Iterator[Problem]:
        seen: set[tuple[str, str]] = set()
        for n, entry in self.right:
            kind = entry["kind"]
            for key, wanted in _PARTNERS.items():
                if isinstance(name := entry.get(key), str) and (kind, key) != ("distribution", "feeder"):
                    kinds = BULK_KINDS if kind == "distribution" else wanted
                    yield from self._partner(("federates", n, key), name, kinds)
            readable = kind == "schemes" and ("federates", n) not in self.wrong
            for k, row in enumerate(entry.get("rows") or () if readable else ()):
                for m, trip in enumerate(row["trip"]):
                    yield from self._partner(("federates", n, "rows", k, "trip", m, "feeder"), trip["feeder"], ("distribution",))
            if kind not in _ONE_PER_FEEDER or not isinstance(entry.get("feeder"), str):
                continue
            if (kind, entry["feeder"]) in seen:
                yield self.problem(("federates", n, "feeder"), f"{entry['feeder']!r} already has {kind}; remove one of the two")
            seen.add((kind, entry["feeder"]))
            missing = [need for need in _NEEDS.get(kind, ()) if not self._may_have(need, entry["feeder"])]
            if missing and entry["feeder"] in self._of_kind("distribution"):
                adds = " and ".join(f"{{name: ..., kind: {need}, feeder: {entry['feeder']}}}" for need in missing)
                yield self.problem(("federates", n), f"{kind} needs {' and '.join(missing)} on the same feeder; add {adds}")

    def _may_have(self, kind: str, feeder: str) -> bool:
        """Whether a feeder has a federate of this kind, or may have it once what is wrong elsewhere was put right."""
        feeders = self._of_kind("distribution")
        return not self.complete or any(
            e["kind"] == kind and e.get("feeder") in (feeder, *self._unknown(feeders)) for e in self.entries
        )

    def _unknown(self, known: Sequence[str]) -> list[Any]:
        """What entries give as their feeder and is none."""
        return [e["feeder"] for e in self.entries if "feeder" in e and e["feeder"] not in known]

    def _buses(self) -> Iterator[Problem]:
        """A bus has one load model."""
        first: dict[Any, str] = {}
        for n, entry in self.right:
            feeder = self.by_name.get(str(entry.get("feeder")), {})
            if entry["kind"] != "tblm" or feeder.get("kind") != "distribution":
                continue
            bus = str(feeder.get("grid")), str(feeder.get("bus"))
            if bus in first and feeder["name"] != first[bus]:
                text = (
                    f"bus {bus[1]!r} already has a TBLM, of the feeders like {first[bus]!r}; put the other feeder under another bus"
                )
                yield self.problem(("federates", n, "feeder"), text)
            first.setdefault(bus, feeder["name"])

    def _partner(self, place: Place, name: str, kinds: tuple[str, ...]) -> Iterator[Problem]:
        wanted, there = kinds[0], [name for kind in kinds for name in self._of_kind(kind)]
        nameless = any(e.get("kind") in kinds for e in self.nameless)  # which may be the one, and is a problem already
        if name not in self.by_name and not nameless:
            yield self.problem(place, f"there is no federate {name!r}; {did_you_mean(name, there, f'{wanted} federate')}")
        elif self.counts[name] > 1:
            return  # which of them is meant is not known, and a problem already
        elif (kind := self.by_name.get(name, {}).get("kind", wanted)) not in kinds and str(kind) in OUTPUTS:
            advice = did_you_mean(name, there, f"{wanted} federate")
            yield self.problem(place, f"{name!r} is of kind {kind}, {wanted} is needed; {advice}")

    def _groups(self) -> Iterator[Problem]:
        groups = self.data.get("groups")
        if not isinstance(groups, dict) or any(place[:1] == ("groups",) for place in self.wrong):
            return
        counts = Counter(name for members in groups.values() for name in members)
        for group, members in groups.items():
            if group == "broker":
                yield self.problem(("groups", group), "that is the name of the broker's own process; choose another")
            for n, name in enumerate(members):
                if name not in self.by_name:
                    yield self.problem(
                        ("groups", group, n), f"there is no federate {name!r}; {did_you_mean(name, list(self.by_name), 'federate')}"
                    )
                elif counts[name] > 1:
                    yield self.problem(("groups", group, n), f"{name!r} is in {counts[name]} places; leave it in one group")

    # What refers to ports

    def _federate(self, place: Place, name: str) -> tuple[Entry | None, list[Problem]]:
        if name not in self.by_name:
            message = f"there is no federate {name!r}; {did_you_mean(name, list(self.by_name), 'federate')}"
            return None, [self.problem(place, message)]
        if name in self.devices:
            return (self.by_name[name] if self.devices[name].complete else None), []
        return next((e for e in self.entries if e["name"] == name), None), []

    def _port(self, place: Place, text: str, inputs: bool) -> tuple[KindPort | None, list[Problem]]:
        name, _, port = text.partition(".")
        entry, problems = self._federate(place, name)
        if entry is None:
            return None, problems
        if name in self.devices:
            ports = self.devices[name].inputs if inputs else self.devices[name].outputs
        else:
            ports = (inputs_of if inputs else outputs_of)(entry, self.entries)
        if port not in ports:
            what = f"{name} ({entry['kind']}) has no {'input' if inputs else 'output'} {port!r}"
            return None, [self.problem(place, f"{what}; {did_you_mean(port, sorted(ports), 'port')}")]
        return ports[port], []

    def _signal(self, place: Place, text: str, with_id: bool) -> Iterator[Problem]:
        match = SIGNAL_PATTERN.match(text)
        if match is None:
            return
        port, problems = self._port(place, f"{match[1]}.{match[2]}", inputs=False)
        yield from problems
        if port is None:
            return
        if port.kind != "vector":
            yield self.problem(place, f"{text} carries {port.kind}s, which are always kept; write a port that carries values")
        elif with_id and port.scalar and match[3]:
            yield self.problem(place, f"{match[1]}.{match[2]} is one value; write it without [{match[3]}]")

    def _link(self, place: Place, entry: Entry) -> Iterator[Problem]:
        source, problems = self._port((*place, "source"), entry["source"], inputs=False)
        yield from problems
        target, problems = self._port((*place, "target"), entry["target"], inputs=True)
        yield from problems
        if source is None or target is None:
            return
        if source.kind != target.kind:
            yield self.problem(place, f"{source.kind} cannot feed {target.kind}; link ports of one kind")
        elif source.unit != target.unit:
            yield self.problem(
                place, f"{entry['source']} is in {source.unit}, {entry['target']} in {target.unit}; link ports of one unit"
            )

    def _event(self, place: Place, entry: Entry) -> Iterator[Problem]:
        target, problems = self._federate((*place, "to"), entry["to"])
        yield from problems
        if target is not None:
            allowed = ACTIONS_OF_KIND.get(target["kind"], ())
            if not allowed:
                takers = [e["name"] for e in self.entries if e["kind"] in ACTIONS_OF_KIND]
                message = f"{entry['to']!r} is of kind {target['kind']}, which takes no actions; write one of {', '.join(takers)}"
                yield self.problem((*place, "to"), message)
            elif entry["action"]["do"] not in allowed:
                asked = entry["action"]["do"]
                text = f"{target['kind']} {entry['to']!r} takes no {asked!r}; {did_you_mean(asked, allowed)}"
                yield self.problem((*place, "action", "do"), text)
        if entry["t_s"] >= self.stop_s:
            text = f"{entry['t_s']:g} s is not before stop_s ({self.stop_s:g} s); write an earlier time or a later stop_s"
            yield self.problem((*place, "t_s"), text)

    def _expectation(self, place: Place, entry: Entry) -> Iterator[Problem]:
        yield from self._signal((*place, "signal"), entry["signal"], True)
        latest = max(entry.get("at_s") or 0, *(entry.get("within_s") or [0]), 0)
        if latest > self.stop_s:
            yield self.problem(place, f"{latest:g} s is after stop_s ({self.stop_s:g} s); write an earlier time or a later stop_s")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []
