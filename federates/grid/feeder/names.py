"""The names in a feeder, from its text alone: enough to find a wrong name in a hundredth of a second, without an engine.

Every name that the circuit has is among them. A few may be there that it has not (an element that is disabled later): what counts
in the end is the circuit itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .build import SUBSTATION
from .script import Script, parameters_of

_WITHOUT_BUSES = frozenset(
    {"cndata", "energymeter", "growthshape", "linecode", "linegeometry", "linespacing", "loadshape", "monitor", "priceshape"}
    | {"regcontrol", "relay", "spectrum", "swtcontrol", "tcc_curve", "tshape", "tsdata", "wiredata", "xfmrcode", "xycurve"}
    | {"capcontrol", "fuse", "recloser", "sensor"}
)
_NO = ("n", "f", "0")


@dataclass
class ScriptNames:
    """Names as the engine gives them, in lower case. `buses` is None where a bus is given by position, which text cannot tell.

    `switches`: lines declared as switches. `regulators` includes that of our own substation.
    """

    lines: list[str] = field(default_factory=list)
    switches: list[str] = field(default_factory=list)
    regulators: list[str] = field(default_factory=lambda: [SUBSTATION])
    capacitors: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    buses: set[str] | None = field(default_factory=lambda: {"sourcebus"})


def names_in(script: Script) -> ScriptNames:
    """The names in the statements of a script."""
    names = ScriptNames()
    of_class = {"line": names.lines, "regcontrol": names.regulators, "capacitor": names.capacitors, "load": names.loads}
    element, kind = "", ""
    for _, statement in script.statements:
        verb, _, rest = statement.partition(" ")
        given = list(parameters_of(rest))
        if verb in ("new", "edit") and given:
            kind, _, element = given.pop(0)[1].strip("\"'").lower().partition(".")
            if verb == "new" and kind in of_class:
                of_class[kind].append(element)
        elif verb != "more":
            target = re.match(r"([^\s.=]+)\.(.+)\.([^.=\s]+)\s*=\s*(.+)", statement)  # line.sw1.switch=yes
            if target is None:
                continue
            kind, element, given = target[1].lower(), target[2].lower(), [(target[3].lower(), target[4])]
        if kind == "line" and element not in names.switches and any(_declares_switch(name, value) for name, value in given):
            names.switches.append(element)
        if kind not in _WITHOUT_BUSES:
            _add_buses(names, given)
    return names


def _declares_switch(name: str, value: str) -> bool:
    return bool(name) and (("switch".startswith(name) and not value.strip("\"'").lower().startswith(_NO)) or name == "like")


def _add_buses(names: ScriptNames, given: list[tuple[str, str]]) -> None:
    if names.buses is None:
        return
    if any(not name for name, _ in given):
        names.buses = None
        return
    for name, value in given:
        if name.startswith("bus") or "bus".startswith(name):
            names.buses.update(bus.split(".")[0] for bus in re.findall(r"[^\s,\"'()\[\]{}]+", value.lower()))
