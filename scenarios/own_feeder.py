"""The feeders of a scenario read as text: whether a path leads to an OpenDSS circuit, and whether what is named is in it.

No engine is started. A built-in feeder is read only when something in it is named: the largest takes half a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from federates.grid.feeder_library import BUILTIN_FEEDERS
from scenarios.problem import Place, did_you_mean

if TYPE_CHECKING:
    from federates.grid.feeder.names import ScriptNames

Found = Iterator[tuple[Place, str]]
_GROUPS = ("all", "pv", "storage")


class FeederText:
    """The feeder of one entry of kind distribution, at `place`. `source`: a built-in name, or the path of a file that exists."""

    def __init__(self, place: Place, entry: Mapping[str, Any], source: str) -> None:
        self.place, self.entry, self.source = place, entry, source
        self.wrong = ""

    @cached_property
    def names(self) -> ScriptNames | None:
        """What the file holds; None where it cannot be read, which `wrong` then says."""
        from federates.grid.feeder.names import names_in
        from federates.grid.feeder.script import FeederError, read_script
        from federates.grid.feeder_library import builtin_feeder

        try:
            if self.source in BUILTIN_FEEDERS:
                model = builtin_feeder(self.source)
                names = names_in(read_script(model.master, model.edits))
            else:
                names = names_in(read_script(self.source))
        except FeederError as error:
            self.wrong = self._shortened(str(error))
            return None
        if not names.loads:
            self.wrong = f"{self._shortened(self.source)}: it has no load; give a network with loads"
            return None
        named = [name for key in ("open_switches", "close_switches") for name in texts(self.entry.get(key))]
        names.switches += [line for line in map(_line, named) if line in names.lines and line not in names.switches]
        return names

    def _shortened(self, text: str) -> str:
        """Paths below the working directory as the user would write them."""
        return text.replace(os.getcwd() + os.sep, "")

    def problems(self) -> Found:
        """What is wrong with the file itself, and with what its own entry names."""
        asked = {key: texts(self.entry.get(key)) for key in ("open_switches", "close_switches")}
        classes = self.entry.get("load_classes")
        if self.source in BUILTIN_FEEDERS and not any(asked.values()) and not classes:
            return
        names = self.names
        if names is None:
            yield (*self.place, "feeder"), self.wrong
            return
        for key, switches in asked.items():
            for n, switch in enumerate(switches):
                if _line(switch) not in names.lines:
                    yield (*self.place, key, n), _unknown("line", switch, names.switches)
        for load in classes if isinstance(classes, dict) else ():
            if load.lower() not in names.loads:
                yield (*self.place, "load_classes", load), _unknown("load", load, names.loads)

    def action(self, place: Place, action: Mapping[str, Any]) -> Found:
        """What an event names in the feeder."""
        if not any(isinstance(action.get(key), str) for key in ("switch", "regulator", "capacitor")) or self.names is None:
            return
        known = {"switch": self.names.switches, "regulator": self.names.regulators, "capacitor": self.names.capacitors}
        for key, names in known.items():
            if isinstance(name := action.get(key), str) and _line(name) not in names:
                yield (*place, key), _unknown(key, name, names)

    def point(self, place: Place, text: str) -> Found:
        """A measured point of SCADA at one of the feeder's devices: `switch.sw2`."""
        port, _, device = text.partition(".")
        if port in ("switch", "tap", "capacitor") and self.names is not None:
            known = {"switch": self.names.switches, "tap": self.names.regulators, "capacitor": self.names.capacitors}[port]
            if device.lower() not in known:
                yield place, _unknown("regulator" if port == "tap" else port, device, known)

    def plants(self, place: Place, ders: Mapping[str, Any]) -> Found:
        """The buses of the plants of an entry of kind ders."""
        plants = ders.get("plants")
        for n, plant in enumerate(plants if isinstance(plants, list) else ()):
            bus = plant.get("bus") if isinstance(plant, dict) else None
            if not isinstance(bus, str) or self.names is None or self.names.buses is None:
                continue
            if bus.lower().split(".")[0] not in self.names.buses:
                yield (*place, "plants", n, "bus"), _unknown("bus", bus.split(".")[0], sorted(self.names.buses))


def units(place: Place, ders: Mapping[str, Any] | None, action: Mapping[str, Any]) -> Found:
    """DER that an event names: plants by their name, rooftop units as pv1, battery1 and so on up to the sites asked for."""
    if ders is None:
        return
    plants = ders.get("plants")
    known = [
        *_GROUPS,
        *(str(plant.get("name")) for plant in (plants if isinstance(plants, list) else ()) if isinstance(plant, dict)),
    ]
    for key, stem, usual in (("pv", "pv", 20), ("storage", "battery", 3)):
        if isinstance(group := ders.get(key), dict):
            sites = group.get("sites", usual)
            known += [f"{stem}{n}" for n in range(1, sites + 1)] if isinstance(sites, int) and sites < 10_000 else []
    asked = action.get("units")
    for unit in (asked,) if isinstance(asked, str) else texts(asked):
        if unit not in known:
            yield (*place, "units"), _unknown("DER", unit, known)


def _line(name: str) -> str:
    return name.lower().removeprefix("line.")


def texts(value: Any) -> list[str]:
    """The texts in a list of the document; none where it is no list."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _unknown(noun: str, name: str, known: Sequence[str]) -> str:
    return f"the feeder has no {noun} {name!r}; {did_you_mean(name, known, noun)}"
