"""The sequence of events that a course of voltage and frequency would start at a bus: which relay, DER, regulator or capacitor
acts when, and what that changes.

The study feeder is walked through the course in steps: relays with their timers (`grid.relay`), DER with theirs (`grid.der`),
regulators and capacitors with the engine's own delays. Nothing of it touches a running feeder. `differences` then sets it against
what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.grid.der import DerStatus
from federates.grid.load import frequency_response
from federates.grid.relay import Relay, Stage
from federates.tblm.emergency_model import Difference, SequenceEvent
from federates.tblm.study import Base, Study

STEP_NS = 20_000_000

Moved = Callable[[float, int], float]
"""(V in pu if nothing were shed, feeders still closed) -> V at the bus."""

_SAME_S = 0.02


@dataclass(frozen=True)
class Course:
    """Voltage and frequency of the bus in time, linear between the points. ValueError where it does not rise in time or is not
    finite. as_given: the voltage is what was, whatever was shed in it; else what would be if nothing were shed at this bus.
    """

    t_s: tuple[float, ...]
    v_pu: tuple[float, ...]
    f_hz: tuple[float, ...]
    as_given: bool = False

    def __post_init__(self) -> None:
        table = np.array([self.t_s, self.v_pu, self.f_hz]) if len({len(self.t_s), len(self.v_pu), len(self.f_hz)}) == 1 else None
        if table is None or table.shape[1] < 2 or not np.isfinite(table).all() or (np.diff(table[0]) < 0.0).any():
            raise ValueError("a course needs t_s, v_pu and f_hz of one length, two points or more, finite and in order of time")

    def at(self, t_s: float) -> tuple[float, float]:
        """(v_pu, f_hz); of two points at one time the later counts."""
        k = int(np.clip(np.searchsorted(self.t_s, t_s, side="right") - 1, 0, len(self.t_s) - 2))
        span = self.t_s[k + 1] - self.t_s[k]
        x = min(max((t_s - self.t_s[k]) / span, 0.0), 1.0) if span > 0.0 else 1.0
        return (
            self.v_pu[k] + x * (self.v_pu[k + 1] - self.v_pu[k]),
            self.f_hz[k] + x * (self.f_hz[k + 1] - self.f_hz[k]),
        )


def samples(course: Course, step_ns: int = STEP_NS) -> list[tuple[int, float, float]]:
    """(t_ns, f_hz, v_pu) of a course on its steps, as relays see it."""
    times = range(0, round(course.t_s[-1] * 1e9) + 1, step_ns)
    return [(t_ns, f_hz, v_pu) for t_ns in times for v_pu, f_hz in (course.at(t_ns * 1e-9),)]


def virtual(
    study: Study,
    base: Base,
    stages: Sequence[Stage],
    course: Course,
    closed: int,
    scale: float = 1.0,
    step_ns: int = STEP_NS,
    moved: Moved | None = None,
) -> tuple[SequenceEvent, ...]:
    """What would happen, in order of time, at one time relays first, then DER, regulators, capacitors, each in their own order.

    closed: like feeders in service; scale: bus power per solved feeder and closed feeder; moved: what shedding does to the voltage
    (None: nothing). Times are from the beginning of the course, on its steps. StudyError or FeederError where a flow does not
    converge, ValueError where shedding leaves no voltage.
    """
    return _Walk(study, base, stages, closed, scale, None if course.as_given else moved).over(course, step_ns)


class _Walk:
    """The feeder on its way through a course."""

    def __init__(self, study: Study, base: Base, stages: Sequence[Stage], closed: int, scale: float, moved: Moved | None) -> None:
        self.study, self.base, self.closed, self.scale, self.moved = study, base, closed, scale, moved
        self.whole = closed
        self.relay = Relay(stages)
        self.opening: list[tuple[int, Stage]] = []
        self.events: list[SequenceEvent] = []
        study.begin(base)
        self.fleet, self.der = study.ders_at_rest()
        self.feeder = study.feeder
        self._drive(base.v_pu, base.f_hz)
        self.feeder.solve()

    def over(self, course: Course, step_ns: int) -> tuple[SequenceEvent, ...]:
        feeder = self.feeder
        for t_ns in range(0, round(course.t_s[-1] * 1e9) + 1, step_ns):
            given_pu, f_hz = course.at(t_ns * 1e-9)
            self._relays(t_ns, self._seen(given_pu), f_hz)
            if not self.closed:
                continue
            self._drive(self._seen(given_pu), f_hz)
            before = feeder.taps(), feeder.capacitor_states()
            if t_ns:
                feeder.step_controls(step_ns * 1e-9)
            else:
                feeder.solve()
            self._moves(t_ns, *before)
            if t_ns:
                self._ders(t_ns, f_hz, step_ns)
        return tuple(self.events)

    def _seen(self, given_pu: float) -> float:
        """The voltage of the bus with what has been shed by now."""
        return given_pu if self.moved is None or self.closed == self.whole else self.moved(given_pu, self.closed)

    def _drive(self, v_pu: float, f_hz: float) -> None:
        feeder, base = self.feeder, self.base
        feeder.set_source(v_pu)
        feeder.set_loads(*frequency_response(base.load_p_w, base.load_q_var, feeder.load_class, f_hz, feeder.model.base_hz))

    def _event(self, t_ns: int, device: str, event: str, dp_w: float) -> None:
        self.events.append(SequenceEvent(t_ns, device, event, float(np.round(dp_w)) + 0.0, "virtual"))

    def _relays(self, t_ns: int, v_pu: float, f_hz: float) -> None:
        for change in self.relay.update(t_ns, f_hz, v_pu):
            if change.what == "operate":
                self.opening.append((change.t_ns + change.stage.breaker_ns, change.stage))
        for opens_ns, stage in [entry for entry in self.opening if entry[0] <= t_ns]:
            feeders = self.closed if stage.feeders is None else min(stage.feeders, self.closed)
            if feeders:
                each_w = self.scale * float(self.feeder.head()[0].sum())  # as the step before left it
                self.closed -= feeders
                self._event(opens_ns, stage.name, "open", -feeders * each_w)
        self.opening = [entry for entry in self.opening if entry[0] > t_ns]

    def _ders(self, t_ns: int, f_hz: float, step_ns: int) -> None:
        if self.fleet is None:
            return
        was, p_before = self.fleet.status, self.der[0]
        out = self.fleet.step(step_ns * 1e-9, self.study.der_terminals(), f_hz, self.base.der_available_w)
        still = (DerStatus.TRIP, DerStatus.MOMENTARY_CESSATION, DerStatus.CEASE_TO_ENERGIZE)
        flows = ~np.isin(out.status, still)
        offset_p_w, offset_q_var = self.study.der_offset
        self.der = out.p_w + np.where(flows, offset_p_w, 0.0), out.q_var + np.where(flows, offset_q_var, 0.0)
        self.feeder.set_der(*self.der)
        for i in np.flatnonzero((was != DerStatus.TRIP) & (out.status == DerStatus.TRIP)).tolist():
            self._event(t_ns, self.feeder.der_names[i], "trip", self.closed * self.scale * float(p_before[i]))

    def _moves(self, t_ns: int, taps: NDArray[np.int32], capacitors: NDArray[np.int32]) -> None:
        feeder = self.feeder
        for name, a, b in zip(feeder.reg_names, taps.tolist(), feeder.taps().tolist(), strict=True):
            if a != b:
                self._event(t_ns, name, "tap", 0.0)
        for name, a, b in zip(feeder.capacitor_names, capacitors.tolist(), feeder.capacitor_states().tolist(), strict=True):
            if a != b:
                self._event(t_ns, name, "capacitor", 0.0)


def differences(expected: Sequence[SequenceEvent], actual: Sequence[SequenceEvent], course: Course) -> tuple[Difference, ...]:
    """Every event of either list, once: how late it was, or why it is in one list only.

    The two clocks are set equal at the first event that both have. Events of one name are paired in their order.
    """
    pairs, alone, left = list[tuple[SequenceEvent, SequenceEvent]](), list[SequenceEvent](), list(actual)
    for event in expected:
        found = next((a for a in left if (a.device, a.event) == (event.device, event.event)), None)
        if found is None:
            alone.append(event)
        else:
            left.remove(found)
            pairs.append((event, found))
    offset_ns = min(((a.t_ns, a.t_ns - e.t_ns) for e, a in pairs), default=(0, 0))[1]
    ends_ns = offset_ns + round(course.t_s[-1] * 1e9)
    rows = [(e.t_ns, _compared(e, a, offset_ns)) for e, a in pairs]
    rows += [
        (e.t_ns, Difference(e.device, e.event, None, "expected only: V and f did not stay where the course has them"))
        for e in alone
    ]
    for a in left:
        why = "after the end of the course" if pairs and a.t_ns > ends_ns else "not expected: V or f went further than the course"
        rows.append((a.t_ns - offset_ns, Difference(a.device, a.event, None, why)))
    return tuple(row for _, row in sorted(rows, key=lambda row: (row[0], row[1].device)))


def _compared(expected: SequenceEvent, actual: SequenceEvent, offset_ns: int) -> Difference:
    late_s = (actual.t_ns - offset_ns - expected.t_ns) / 1e9
    if abs(late_s) <= _SAME_S:
        why = "as expected"
    else:
        why = "V or f got there later than the course has it" if late_s > 0.0 else "V or f got there sooner than the course has it"
    return Difference(expected.device, expected.event, late_s, why)
