"""What shedding at a bus does to its voltage: the equivalent that the EMS sends, and the stages of under-voltage shedding on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from federates.dms import uvls
from federates.grid.relay import Stage
from federates.grid.thevenin import Thevenin
from federates.runtime.port import Document
from federates.tblm.emergency_model import Equivalent, UnderVoltage, VoltageFall, VoltageStep
from federates.tblm.model import CurveSet, Tblm, at_frequency

_UNDER_PU = 1e-3  # a relay acts below its pickup
_DIGITS = 6


class Told(NamedTuple):
    """What the EMS told: the equivalent as it is, and after the outage that takes the bus lowest."""

    valid_to_ns: int
    now: Equivalent
    outage: str
    after: Equivalent | None


class Outside:
    """The transmission system at one bus, as the EMS has told of it last."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self.reset()

    def reset(self) -> None:
        """As before the first message."""
        self._version = 0
        self._told: Told | None = None
        self.refused = ""

    def hear(self, document: Document) -> None:
        """Take a new message; `refused` says why it could not be used, empty where it could. One that has nothing of this bus takes
        the last one's place too: then the EMS has no solution there."""
        if document.version == self._version:
            return
        self._version, self._told, self.refused = document.version, None, ""
        try:
            message = document.load()
            if why := message.get("failed", {}).get(self._bus):
                raise ValueError(why)
            if found := message["buses"].get(self._bus):
                t_ns, after = int(message["t_ns"]), message.get("after", {}).get(self._bus)
                outage = str(after["outage"]) if after else ""
                then = _equivalent(t_ns, after) if after else None
                self._told = Told(int(message["valid_to_ns"]), _equivalent(t_ns, found), outage, then)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.refused = f"no equivalent of the transmission system: {error}"

    def at(self, t_ns: int) -> Told | None:
        """What may be used now."""
        return self._told if self._told and t_ns <= self._told.valid_to_ns else None


def _equivalent(t_ns: int, found: Mapping[str, Any]) -> Equivalent:
    made = Thevenin(*(float(found[key]) for key in ("e_pu", "r_pu", "x_pu", "s_base_va")))
    return Equivalent(t_ns, made.e_pu, made.r_pu, made.x_pu, made.s_base_va, round(float(found["error_pu"]), _DIGITS))


def source(told: Equivalent) -> Thevenin:
    """As the study applications take it."""
    return Thevenin(told.E_pu, told.R_pu, told.X_pu, told.S_base_VA)


def load(tblm: Tblm, closed: int, which: CurveSet = "fast") -> uvls.Load:
    """What so many feeders of a bus draw over its voltage, by the document's own curve at its frequency, which is that of the
    feeders that were closed when it was made."""
    whole, share = at_frequency(tblm.curve(which), tblm.operating_point.f_Hz), closed / tblm.like_feeders.count

    def drawn(v_pu: float) -> tuple[float, float]:
        p_w, q_var = whole(v_pu)
        return share * p_w, share * q_var

    return drawn


def moved(tblm: Tblm, told: Told | None, closed: int) -> Callable[[float, int], float]:
    """(V in pu if nothing were shed, feeders still closed) -> V at the bus; without an equivalent V stays as it is."""
    if told is None or not closed or not tblm.like_feeders.count:
        return lambda v_pu, _: v_pu
    outside, taken, known = source(told.now), load(tblm, closed), dict[tuple[float, int], float]()

    def seen(v_pu: float, left: int) -> float:
        if (v_pu, left) not in known:
            known[v_pu, left] = uvls.moved_pu(outside, taken, v_pu, left / closed)
        return known[v_pu, left]

    return seen


def foreseen(
    stages: Sequence[Stage], operated: Collection[str], tblm: Tblm, closed: int, v_pu: float, told: Told | None
) -> UnderVoltage | None:
    """What the stages that have not operated do: where the bus falls just under each of their pickups, where it is now (`v_pu`) if
    that is under one, and after the outage that takes it lowest, if that does. None without under-voltage stages, without feeders
    now or in the document, and without an equivalent."""
    ready = [stage for stage in stages if stage.quantity == "v_pu" and stage.name not in operated]
    if not ready or not closed or not tblm.like_feeders.count or told is None:
        return None
    highest, falls = max(stage.pickup for stage in ready), list[VoltageFall]()
    first = {stage.pickup: stage.name for stage in reversed(ready)}
    for pickup in sorted(first, reverse=True):
        if pickup - _UNDER_PU <= v_pu:
            falls.append(_fall(tblm, ready, first[pickup], pickup - _UNDER_PU, source(told.now), closed))
    if v_pu < highest:
        falls.append(_fall(tblm, ready, "measured", v_pu, source(told.now), closed))
    if told.after is not None:
        try:
            then_pu = uvls.voltage_pu(source(told.after), load(tblm, closed))
        except ValueError as error:
            falls.append(VoltageFall(f"outage {told.outage}", 0.0, (), (), str(error)))
        else:
            if then_pu < highest:
                falls.append(_fall(tblm, ready, f"outage {told.outage}", then_pu, source(told.after), closed))
    return UnderVoltage(told.now, told.after, tuple(falls))


def _fall(tblm: Tblm, stages: Sequence[Stage], cause: str, v_pu: float, outside: Thevenin, closed: int) -> VoltageFall:
    fast, settled, left = load(tblm, closed), load(tblm, closed, "settled"), closed
    try:
        steps = uvls.composed(tblm.bus.name, stages, [(0, tblm.operating_point.f_Hz, v_pu)], outside, fast, closed)
        rows = list[VoltageStep]()
        for step in steps:
            left -= step.feeders
            later = uvls.moved_pu(outside, fast, v_pu, left / closed, settled)
            seen = (float(np.round(x, _DIGITS)) for x in (step.v_before_pu, step.v_after_pu, later))
            rows.append(VoltageStep(step.trip.stage.name, step.trip.t_open_ns / 1e9, step.feeders, *seen))
    except ValueError as error:
        return VoltageFall(cause, round(v_pu, _DIGITS), (), (), str(error))
    acted = {row.stage for row in rows}
    spared = tuple(stage.name for stage in stages if stage.pickup > v_pu and stage.name not in acted)
    return VoltageFall(cause, round(v_pu, _DIGITS), tuple(rows), spared, "")
