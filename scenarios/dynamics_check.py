"""What the dynamics engine cannot do, told before anything is started: each with its place in the scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from federates.grid.dynamics.cases import CASES, EXCHANGE_NS, PREFIX, DynamicsError, andes_version
from scenarios.fields import nanoseconds
from scenarios.kinds import Frequency
from scenarios.problem import Place

Entry = Mapping[str, Any]
ONLY_DYNAMICS = ("fault_bus",)
"""Actions that need the dynamics engine."""
START_S = 180.0
"""What starting the engine may take beyond a scenario's `start_limit_s`: the first start of a version generates code."""
_OF_THE_CASE = ("inertia_s", "governor", "governed_share", "droop_pu", "dead_band_hz", "headroom")


def dynamics_problems(entries: Sequence[tuple[int, Entry]], data: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Places and messages. `entries`: the federates with their numbers; `data`: the whole scenario."""
    for n, entry in entries:
        if entry.get("kind") != "transmission":
            continue
        dynamics = entry.get("engine") == "dynamics"
        yield from _events(str(entry.get("name")), dynamics, data)
        if dynamics:
            yield from _entry(("federates", n), entry, any(other.get("kind") == "ems" for _, other in entries))
            coupling = data.get("coupling")
            if isinstance(coupling, dict) and coupling.get("mode") == "iterate":
                text = "the dynamics engine cannot go back to solve an instant again; write mode: jacobi"
                yield ("coupling", "mode"), text


def _entry(place: Place, entry: Entry, with_ems: bool) -> Iterator[tuple[Place, str]]:
    """An EMS predicts by the model of `frequency`: with one, all its keys have a use."""
    try:
        andes_version()
    except DynamicsError as error:
        yield (*place, "engine"), f"the dynamics engine needs ANDES: {error}"
    network = entry.get("network")
    if isinstance(network, str) and not network.startswith(PREFIX):
        there = ", ".join(PREFIX + case for case in CASES)
        yield (*place, "network"), f"{network!r} holds no machine data; write one of {there} (the response engine takes them too)"
    emergency, frequency = entry.get("emergency"), entry.get("frequency")
    emergency = emergency if isinstance(emergency, dict) else {}
    spans = ((*place, "period_s"), entry.get("period_s")), ((*place, "emergency", "step_s"), emergency.get("step_s"))
    for where, span_s in spans:
        if isinstance(span_s, int | float) and not isinstance(span_s, bool) and nanoseconds(span_s) % EXCHANGE_NS:
            text = (
                f"the dynamics engine exchanges at multiples of {EXCHANGE_NS / 1e9:g} s, since it can be resumed without residue "
                f"only at steps of a power of two; write {max(round(span_s * 1e9 / EXCHANGE_NS), 1) * EXCHANGE_NS / 1e9:g}"
            )
            yield where, text
    for key in () if with_ems else _OF_THE_CASE:
        if isinstance(frequency, dict) and key in frequency and frequency[key] != Frequency.model_fields[key].default:
            yield (*place, "frequency", key), "the dynamics engine takes it from the case; remove it, or write engine: response"


def _events(name: str, dynamics: bool, data: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    events = data.get("events")
    for n, event in enumerate(events if isinstance(events, list) else ()):
        action = event.get("action") if isinstance(event, dict) and event.get("to") == name else None
        if not isinstance(action, dict):
            continue
        place: Place = ("events", n, "action")
        if not dynamics and action.get("do") in ONLY_DYNAMICS:
            yield (*place, "do"), f"the response engine knows no {action['do']!r}; write engine: dynamics for {name!r}"
        if dynamics and action.get("do") == "set_generator" and action.get("v_pu") is not None:
            yield (*place, "v_pu"), "the dynamics engine does not change what an exciter holds; remove it"
