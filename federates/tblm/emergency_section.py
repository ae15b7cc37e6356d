"""The emergency part of a bus's document: what a builder keeps of it between documents, and how it is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from federates.dms import uvls
from federates.grid.emergency import EmergencyThresholds
from federates.grid.feeder import FeederError
from federates.runtime.port import Inputs
from federates.tblm import armed, bands, under_voltage, virtual_soe
from federates.tblm.armed import Plans
from federates.tblm.bands import HeadTelemetry
from federates.tblm.emergency import Surroundings, Tracker
from federates.tblm.emergency_model import ActionPlan, Emergency, Overlap, Sequence, UnderVoltage
from federates.tblm.model import Tblm
from federates.tblm.snapshot import FeederSnapshot
from federates.tblm.study import Base, Study, StudyError
from federates.tblm.under_voltage import Outside
from federates.tblm.virtual_soe import Course

_MOST_EVENTS = 48  # of each list: a document has at most 64 KiB

LONGEST_COURSE_S = 600.0
"""Of a hypothetical course: each of its steps of 20 ms is a power flow in the builder."""


class EmergencySection:
    """Keeps phase, ledger and what was asked for, of one bus with `count` like feeders.

    A request may carry `course` {t_s, v_pu, f_hz, as_given}: what would happen on it, kept beside what then does; and `deficit_w`
    with `within_s`: which actions meet it. Voltages move with what is shed as the EMS's equivalent has it.
    """

    def __init__(
        self,
        plans: Plans,
        f0_hz: float,
        surroundings: Surroundings,
        count: int,
        thresholds: EmergencyThresholds,
        der_names: tuple[str, ...] = (),
        bus: str = "",
        head: HeadTelemetry | None = None,
    ) -> None:
        """der_names: of the feeder, in the order of their telemetry."""
        self.plans, self.count, self._der_names = plans, count, der_names
        self._f0_hz, self._surroundings, self._thresholds = f0_hz, surroundings, thresholds
        self._outside, self._head = Outside(bus), head or HeadTelemetry()
        self.reset()

    def reset(self) -> None:
        """As before the first telemetry."""
        self.tracker = Tracker(self._f0_hz, self._surroundings, self._thresholds)
        self._course: Course | None = None
        self._deficit: tuple[float, float] | None = None
        self._expected: Sequence | None = None
        self._overlap: Overlap | None = None
        self._plan: ActionPlan | None = None
        self.refused: list[str] = []
        self._outside.reset()

    def due(self, last: Tblm) -> bool:
        """Whether the ledger goes out at every look, as it does while an emergency lasts."""
        return last.emergency is not None and self.tracker.phase == "during"

    def notice(self, t_ns: int, snapshot: FeederSnapshot, inputs: Inputs, last: Tblm | None) -> bool:
        """Take what was delivered; gives whether the ledger has a new entry."""
        closed = snapshot.feeders_closed(self.count)
        told = self.tracker.hear((event.payload for event in inputs["soe"]), closed)
        seen = (snapshot.total("bus_p_w"), snapshot.scalar("bus_v_pu"), snapshot.scalar("f_hz"))
        if self._der_names:
            powers, times_ns = snapshot.known("der_p_w").tolist(), snapshot.samples["der_p_w"].times_ns.tolist()
            samples = zip(self._der_names, times_ns, powers, strict=True)
            self.tracker.measured(sample for sample in samples if np.isfinite(sample[2]))
        self.tracker.look(t_ns, *seen, closed, last, snapshot.oldest_ns(("bus_p_w",)))
        for event in inputs["request"]:
            self._asked(event.payload)
        self._outside.hear(inputs["equivalent"])
        return told

    def _asked(self, payload: Mapping[str, Any]) -> None:
        try:
            if given := payload.get("course"):
                t_s, v_pu, f_hz = (tuple(float(x) for x in given[key]) for key in ("t_s", "v_pu", "f_hz"))
                course = Course(t_s, v_pu, f_hz, bool(given.get("as_given", False)))
                if course.t_s[-1] > LONGEST_COURSE_S:
                    raise ValueError(f"a course of {course.t_s[-1]:g} s; give at most {LONGEST_COURSE_S:g} s")
                self._course = course
            if payload.get("deficit_w") is not None:
                self._deficit = float(payload["deficit_w"]), float(payload.get("within_s", 60.0))
        except (KeyError, TypeError, ValueError) as error:
            self.refused.append(f"request refused: {error}")

    def made(self, study: Study, base: Base, snapshot: FeederSnapshot, tblm: Tblm) -> Tblm:
        """The document with its emergency part, from the study that made its curves; a study that fails here costs its part only,
        and is told among the reasons.
        """
        if not (self.plans.any or self.tracker.actual):
            return tblm
        closed, reasons = snapshot.feeders_closed(self.count), self.refused
        self.refused, self._overlap, self._plan = [], None, None
        course, self._course = (self._course, None) if closed else (None, self._course)
        stages = armed.stages(self.plans, tblm, closed, self.tracker.operated())
        scale = tblm.like_feeders.factor / closed if closed else 0.0
        try:
            study.begin(base)
            found = armed.overlap(study, self.plans, stages, tblm, closed)
            self._overlap = armed.overlap_record(found, scale) if found else None
            if self._deficit is not None:
                self._plan = armed.plan_record(found, *self._deficit, scale) if found else None
            if course is not None:
                moved = under_voltage.moved(tblm, self._outside.at(snapshot.t_ns), closed)
                events = virtual_soe.virtual(study, base, self.plans.stages, course, closed, scale, moved=moved)
                seen = uvls.expected(tblm.bus.name, self.plans.stages, virtual_soe.samples(course))
                self._expected, self._walked = Sequence(events[:_MOST_EVENTS], (), seen.fidvr, seen.too_fast), course
        except (StudyError, FeederError, ValueError) as error:
            reasons = [*reasons, f"emergency study failed: {error}"]
        if self._outside.refused:
            reasons = [*reasons, self._outside.refused]
        if reasons:
            tblm = replace(tblm, quality=replace(tblm.quality, reasons=(*tblm.quality.reasons, *reasons)))
        powers = bands.of(study, base, snapshot, tblm, self.plans.programs, stages, self._head)
        part = Emergency(self.tracker.phase, stages, self._overlap, self._plan, None, (), self._expected, powers, None)
        return self.refreshed(replace(tblm, emergency=part), snapshot)

    def refreshed(self, tblm: Tblm, snapshot: FeederSnapshot) -> Tblm:
        """The same document with phase, ledger, blocks and the actual sequence as they are now."""
        part = tblm.emergency
        if part is None:
            return tblm
        seen = (snapshot.total("bus_p_w"), snapshot.scalar("bus_v_pu"), snapshot.scalar("f_hz"))
        seen_ns = snapshot.oldest_ns(("bus_p_w",))
        made = tblm.native_vs_der
        q_of_p = made.Q_gross_var / made.P_gross_W if made.P_gross_W else 0.0
        sequence = self._compared()
        return replace(
            tblm,
            emergency=replace(
                part,
                phase=self.tracker.phase,
                ledger=self.tracker.ledger(*seen, seen_ns),
                blocks=self.tracker.blocks(snapshot.t_ns, q_of_p),
                sequence=sequence,
                under_voltage=self._under_voltage(tblm, snapshot),
            ),
        )

    def _under_voltage(self, tblm: Tblm, snapshot: FeederSnapshot) -> UnderVoltage | None:
        v_pu = snapshot.scalar("bus_v_pu")
        if not np.isfinite(v_pu) or self.tracker.measured_before(snapshot.oldest_ns(("bus_v_pu",))):
            v_pu = np.inf  # measured with what has moved since, it says nothing of what is closed now
        closed, told = snapshot.feeders_closed(self.count), self._outside.at(snapshot.t_ns)
        return under_voltage.foreseen(self.plans.stages, self.tracker.operated(), tblm, closed, v_pu, told)

    def _compared(self) -> Sequence | None:
        actual = tuple(self.tracker.actual[:_MOST_EVENTS])
        if self._expected is None:
            return Sequence(actual, (), False, ()) if actual else None
        expected = self._expected.events
        if not actual:
            return self._expected
        told = virtual_soe.differences(expected, actual, self._walked)[: 2 * _MOST_EVENTS]
        compared = tuple(replace(d, late_s=_ms(d.late_s)) for d in told)
        return replace(self._expected, events=(*expected, *actual), differences=compared)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else float(np.round(seconds, 3)) + 0.0
