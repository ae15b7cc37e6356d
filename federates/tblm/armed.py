"""What load shedding and its rivals have armed at a bus, made from the document's own curves and a study of the snapshot.

Composes the study applications: `dms.ufls` for stages, `dms.sls` for special schemes, `overlap` for actions after one another,
`dms.cea` for a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from federates.dms import cea, sls, ufls
from federates.grid.logic import Row
from federates.grid.relay import Stage
from federates.grid.shedding import Action, Atom, Atoms, FeederBank
from federates.tblm import emergency_model as record
from federates.tblm.model import Tblm, evaluate, evaluate_slopes
from federates.tblm.overlap import Overlap, study_response
from federates.tblm.priorities import Priorities
from federates.tblm.study import Study

_UNDER = 1e-3  # Hz and pu: a relay acts below its pickup, where DER of the same threshold have tripped too
_FAST_TRIP_NS = 160_000_000
_UFLS_S = 0.2  # until a relay has shed, about; orders take what their program says


@dataclass(frozen=True)
class Program:
    """Something beside relays that takes load off: a DR program, interruptible customers, CVR, a breaker inside the feeder.

    name: `dr:homes` and the like; load_class: whose loads it claims, None: everybody's; share: of each, and participation: the part
    of them who take part when they are asked, so that the product is what is reckoned with; v_set_pu: change of the
    set-points of all regulators of the feeder, the head's first, so that taps keep their differences; the rest as in
    `shedding.Action`.
    """

    name: str
    load_class: str | None = None
    share: float = 0.0
    opens: tuple[str, ...] = ()
    v_set_pu: float = 0.0
    cost: float = 0.0
    speed_s: float = 60.0
    participation: float = 0.8

    @property
    def expected(self) -> float:
        """The share of each load that is reckoned with."""
        return self.share * self.participation


@dataclass(frozen=True)
class Plans:
    """What exists at a bus. feeder: how special schemes name its feeders; rows: those that trip them; priorities: what it costs."""

    stages: tuple[Stage, ...] = ()
    feeder: str = ""
    rows: tuple[Row, ...] = ()
    programs: tuple[Program, ...] = ()
    priorities: Priorities = field(default_factory=Priorities)

    @property
    def any(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.stages or self.rows or self.programs)


def bank(tblm: Tblm, closed: int) -> FeederBank:
    """The closed feeders of a bus, as the document has them."""
    made, at, n = tblm.native_vs_der, tblm.operating_point, max(closed, 1)
    slope = float(evaluate_slopes(tblm.curve("fast"), at.V_pu, at.f_Hz).dp_df)
    return FeederBank(tblm.bus.name, closed, at.P_W / n, made.P_gross_W / n, made.P_der_W / n, slope / n)


def der_trips(tblm: Tblm, closed: int) -> tuple[ufls.DerTrip, ...]:
    """DER of each closed feeder that trip as the frequency falls, by the jumps of the fast curve; all after the time of the fast
    trips of IEEE 1547-2003 and -2018."""
    curve, f0_hz = tblm.curve("fast"), tblm.operating_point.f_Hz
    jumps = [b for b in curve.breakpoints if b.axis == "f_Hz" and b.value < f0_hz and b.jump_P_W < 0.0]
    return tuple(ufls.DerTrip(tblm.bus.name, b.value, _FAST_TRIP_NS, -b.jump_P_W / max(closed, 1)) for b in jumps)


def stages(plans: Plans, tblm: Tblm, closed: int, operated: Collection[str] = ()) -> tuple[record.ArmedStage, ...]:
    """What each stage would relieve now, and at its own pickup, from the fast curve; special schemes each as if alone. operated: by
    name as causes; they act once, and have nothing armed any more."""
    at = tblm.operating_point
    here, curve = bank(tblm, closed), tblm.curve("fast")
    found = []
    ready = {now.stage: now for now in ufls.armed(here, [stage for stage in plans.stages if stage.name not in operated])}
    for stage in plans.stages:
        now = ready.get(stage.name, ufls.Armed(stage.name, here.name, 0, 0.0, 0.0, 0.0))
        v, f = (at.V_pu, stage.pickup - _UNDER) if stage.quantity == "f_hz" else (stage.pickup - _UNDER, at.f_Hz)
        share = now.feeders / max(closed, 1)
        found.append(_armed(now, share * float(evaluate(curve, v, f).p_w)))
    for row in plans.rows:
        number = row.trips()[plans.feeder]
        acted = row.cause in operated
        feeders = 0 if acted else closed if number is None else min(number, closed)
        powers = feeders * here.load_w, feeders * here.der_w, feeders * here.p_w
        # a row that trips feeders elsewhere too cannot be judged from here: the EMS has all of its parts
        alone = set(row.trips()) == {plans.feeder} and not acted
        alarm = sls.relief(row, {plans.feeder: here})[1] if alone else ""
        found.append(_armed(ufls.Armed(row.cause, here.name, feeders, *powers), powers[2], alarm))
    return tuple(found)


def _armed(now: ufls.Armed, at_pickup_w: float, alarm: str = "") -> record.ArmedStage:
    return record.ArmedStage(now.stage, now.feeders, now.load_w, now.der_w, now.net_w, at_pickup_w, now.counter_productive, alarm)


def actions(plans: Plans, study: Study, armed: Sequence[record.ArmedStage]) -> list[Action]:
    """Stages that open whole feeders, and programs on loads of the feeder."""
    feeder, weight = study.feeder, plans.priorities.weight
    found = [
        Action(a.stage, feeders=a.feeders, speed_s=_UFLS_S, weight=weight(a.stage))
        for a in armed
        if a.feeders and a.stage.startswith("u")
    ]
    for program in plans.programs:
        claims = tuple(
            (name, program.expected)
            for name, of in zip(feeder.load_names, feeder.load_class, strict=True)
            if program.expected and program.load_class in (None, of)
        )
        found.append(
            Action(
                program.name, program.opens, 0, claims, program.v_set_pu, program.cost, program.speed_s, weight=weight(program.name)
            )
        )  # fmt: skip
    return found


def atoms(study: Study, chosen: Sequence[Action], closed: int, v_pu: float, f_hz: float, priorities: Priorities) -> Atoms:
    """Loads and DER of the study's feeder at its snapshot (`Study.begin`), behind the breakers that actions open."""
    feeder = study.feeder
    study.fast(v_pu, f_hz)
    behind: dict[str, list[str]] = {}
    for line in sorted({line for action in chosen for line in action.opens}):
        for names in feeder.behind(line):
            for name in names:
                behind.setdefault(name, []).append(line)
    load_w = feeder.load_power()[0].tolist()
    der_w = feeder.der_power()[0].tolist() if feeder.der_names else []
    loads = (
        Atom(n, "load", p, tuple(behind.get(n, ())), priorities.of_load(n, of))
        for n, of, p in zip(feeder.load_names, feeder.load_class, load_w, strict=True)
    )
    ders = (Atom(n, "der", p, tuple(behind.get(n, ()))) for n, p in zip(feeder.der_names, der_w, strict=True))
    return Atoms((*loads, *ders), chosen, closed)


def overlap(study: Study, plans: Plans, armed: Sequence[record.ArmedStage], tblm: Tblm, closed: int) -> Overlap | None:
    """Actions after one another, on the study's snapshot; None where there is nothing that could overlap."""
    chosen = actions(plans, study, armed)
    if not chosen or not closed:
        return None
    at = tblm.operating_point
    there = atoms(study, chosen, closed, at.V_pu, at.f_Hz, plans.priorities)
    return Overlap(there, study_response(study, there, at.V_pu, at.f_Hz))


def overlap_record(found: Overlap, scale: float) -> record.Overlap:
    """The document's part. scale: from solved feeders to what is measured at the bus."""
    names = tuple(action.name for action in found.atoms.actions)
    alone = found.available_w()
    table = scale * found.conditional_w()
    return record.Overlap(
        names,
        tuple(_watts(scale * alone[name]) for name in names),
        tuple(tuple(_watts(x) for x in row) for row in table.tolist()),
        _watts(scale * found.excess_w(names)),
        found.atoms.hash(),
    )


def plan_record(found: Overlap, deficit_w: float, within_s: float, scale: float) -> record.ActionPlan:
    """Actions that relieve the bus of `deficit_w` within `within_s`, each sequence valued with the network's answer in it."""

    def worth(names: Sequence[str]) -> float:
        return sum(effect.net_w for effect in found.sequence(names))

    spread = found.answered().spread_out()
    # an hour of the solved feeders is `scale` hours of what is measured: so costs are of the bus, and ordering costs once
    chosen = cea.plan(spread, [cea.Deficit(deficit_w / scale, within_s)], hours=scale, worth=worth)
    each = tuple(_watts(scale * effect.net_w) for effect in found.sequence(chosen.actions))
    net_w, cost = _watts(scale * chosen.net_w), float(np.round(chosen.cost, 6))
    return record.ActionPlan(deficit_w, within_s, chosen.actions, each, net_w, cost, chosen.met, chosen.method)


def _watts(value: float) -> float:
    """To a watt: the document is text."""
    return float(np.round(value)) + 0.0
