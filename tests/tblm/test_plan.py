"""Plans on a real feeder: what voltage reduction is worth by the feeder's own P(V), alone and after others; when it is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from shedding_case import F_HZ, V_PU, Opened, begun
from telemetry import ieee123_with_der, inverters

from federates.grid.relay import Stage
from federates.tblm import armed
from federates.tblm.armed import Plans, Program
from federates.tblm.emergency_model import ActionPlan, ArmedStage
from federates.tblm.overlap import Overlap, study_response
from federates.tblm.priorities import Priorities
from federates.tblm.study import Study

COUNT, DV_PU = 10, -0.02
PROGRAMS = (Program("dr:homes", "residential", 0.3), Program("cvr:all", v_set_pu=DV_PU, speed_s=30.0))


class Case(NamedTuple):
    """Ten closed feeders of 123 nodes, and one of them in an engine of its own."""

    study: Study
    truth: Opened

    def overlap(self, priorities: Priorities | None = None) -> Overlap:
        stages = (Stage("ufls", 1, "f_hz", 59.5, 100_000_000, feeders=4),)
        plans = Plans(stages, "f", (), PROGRAMS, priorities or Priorities())
        ready = (ArmedStage("ufls:1", 4, 1.0, 0.0, 1.0, 1.0, False, ""),)
        atoms = armed.atoms(self.study, armed.actions(plans, self.study, ready), COUNT, V_PU, F_HZ, plans.priorities)
        return Overlap(atoms, study_response(self.study, atoms, V_PU, F_HZ))

    def plan(self, deficit_w: float, within_s: float = 60.0, **priorities: tuple[tuple[str, float], ...]) -> ActionPlan:
        return armed.plan_record(self.overlap(Priorities(**priorities)), deficit_w, within_s, 1.0)


@pytest.fixture(scope="module")
def case() -> Iterator[Case]:
    made = Case(*begun(ieee123_with_der(), inverters(), 60e3))
    yield made
    made.study.close()
    made.truth.feeder.close()


def lowered_w(case: Case) -> float:
    """What a closed feeder of the other engine draws less with its source two per cent lower."""
    atoms = case.overlap().atoms
    start = atoms.start
    low = replace(start, v_set_pu=DV_PU)
    return case.truth.head_w(atoms, start, set()) - case.truth.head_w(atoms, low, set())


def test_voltage_reduction_is_worth_what_a_feeder_of_its_own_says(case: Case) -> None:
    worth_w = lowered_w(case)
    assert worth_w > 5e3
    found = case.plan(0.5 * COUNT * worth_w)
    assert found.actions == ("cvr:all",) and found.met and found.method == "milp"
    assert found.P_net_W == pytest.approx(COUNT * worth_w, rel=0.01) and found.P_each_W == (found.P_net_W,)
    assert found.cost == pytest.approx(0.1 * found.P_net_W / 1e6, rel=0.05)


def test_it_is_left_alone_where_it_is_dearer_or_too_slow(case: Case) -> None:
    asked_w = 0.5 * COUNT * lowered_w(case)
    assert case.plan(asked_w, actions=(("cvr:all", 50.0),)).actions == ("dr:homes",)
    assert case.plan(asked_w, within_s=5.0).actions == ("ufls:1",)


def test_a_shed_feeder_gives_nothing_to_voltage_reduction(case: Case) -> None:
    """Four of ten feeders open first: six are left whose voltage is lowered, and the plan knows it."""
    worth_w = lowered_w(case)
    head_w = case.truth.head_w(case.overlap().atoms, case.overlap().atoms.start, set())
    both = case.plan(4 * head_w + 5.5 * worth_w, actions=(("dr", 9.0),))
    assert both.actions == ("ufls:1", "cvr:all") and both.met
    assert both.P_each_W[0] == pytest.approx(4 * head_w, rel=0.01)
    assert both.P_each_W[1] == pytest.approx(6 * worth_w, rel=0.01)
    assert sum(both.P_each_W) == pytest.approx(both.P_net_W, abs=2.0)
    more = case.plan(4 * head_w + 7.0 * worth_w, actions=(("dr", 9.0),))
    assert "dr:homes" in more.actions  # ten lowered feeders would have been enough


def test_the_falls_of_single_loads_add_up_to_that_of_the_feeder(case: Case) -> None:
    answered = case.overlap().answered()
    fall = answered.net_w(answered.start) - answered.net_w(replace(answered.start, v_set_pu=DV_PU))
    assert fall == pytest.approx(COUNT * lowered_w(case), rel=0.03)  # losses beside


def test_who_is_dear_is_left_in_service(case: Case) -> None:
    """The whole of 30 % of what homes take is wanted either from them or from a stage."""
    alone = case.overlap().available_w()
    wanted_w = 0.9 * alone["dr:homes"]
    assert case.plan(wanted_w, actions=(("cvr", 50.0),)).actions == ("dr:homes",)
    assert case.plan(wanted_w, actions=(("cvr", 50.0), ("dr", 1.2))).actions == ("dr:homes",)  # a stage takes more than that
    assert case.plan(wanted_w, actions=(("cvr", 50.0), ("dr:homes", 30.0))).actions == ("ufls:1",)
    named = tuple((name, 1000.0) for name in case.study.feeder.load_names)
    assert case.plan(wanted_w, loads=named).cost == pytest.approx(1000.0 * case.plan(wanted_w).cost, rel=1e-3)
