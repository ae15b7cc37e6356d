"""The library's `uvls_line_loss`, once: voltages that were foretold before the line was lost against those that then were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from federates.runtime.federate import S_NS
from federates.runtime.local import run_local
from federates.runtime.record import MemoryRecorder
from federates.tblm.emergency_model import Emergency
from federates.tblm.model import Tblm, from_json
from scenarios.build import build
from scenarios.inventory import take_inventory
from scenarios.load import load_scenario
from scenarios.run import changed

pytestmark = pytest.mark.xdist_group("uvls_line_loss")
LOSS_S, STOP_S = 30, 38.0


@pytest.fixture(scope="module")
def ran() -> MemoryRecorder:
    loaded = changed(load_scenario("uvls_line_loss"), STOP_S, None)
    recorder = MemoryRecorder()
    run_local(replace(build(loaded, take_inventory(loaded)), record=frozenset({"grid.v_pu", "fa.feeders_closed"})), recorder)
    return recorder


def part(recorder: MemoryRecorder, until_s: float) -> Emergency:
    """The emergency part of the last document until then."""
    tblms: list[Tblm] = [from_json(document.text) for document in recorder.documents["tblm_a", "tblm"]]
    found = [t for t in tblms if t.t_valid.t_publish_ns <= until_s * S_NS][-1].emergency
    assert found is not None
    return found


def test_voltages_after_each_stage_are_foretold_within_three_ten_thousandths_before_the_line_is_lost(ran: MemoryRecorder) -> None:
    """Asked for are 0.005 pu; the simulation solves the whole transmission system with the feeders in it."""
    foreseen = part(ran, LOSS_S - 1).under_voltage
    assert foreseen is not None
    fall = next(fall for fall in foreseen.falls if fall.cause == "outage 15-16")
    samples = [(t, float(s.values[0])) for t, s in ran.samples["grid", "v_pu"]]
    closed = [(t, int(s.scalar)) for t, s in ran.samples["fa", "feeders_closed"]]
    opened_s = [t / S_NS for (t, now), (_, was) in zip(closed[1:], closed, strict=False) if now < was]
    assert [(step.stage, step.feeders) for step in fall.steps] == [("uvls:1", 15), ("uvls:2", 15)] and fall.spared == ("uvls:3",)
    assert [LOSS_S + step.t_s for step in fall.steps] == pytest.approx(opened_s, abs=0.03)
    assert closed[-1][1] == 50
    errors = []
    for step, at_s in zip(fall.steps, opened_s, strict=True):
        before = [v for t, v in samples if t < (at_s - 0.02) * S_NS][-1]
        after = [v for t, v in samples if t < (at_s + 1.5) * S_NS][-1]
        errors += [step.V_before_pu - before, step.V_after_pu - after]
        assert after - before > 0.015
    assert np.abs(errors).max() < 3e-4, errors


def test_the_plan_lowers_voltage_first_and_sheds_nobody(ran: MemoryRecorder) -> None:
    plan = part(ran, LOSS_S - 1).plan
    assert plan is not None and plan.met and plan.method == "milp"
    assert plan.actions == ("cvr:all",) and plan.P_net_W >= plan.deficit_W == 1.2e6
