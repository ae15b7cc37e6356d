"""The bulk systems without a network: they conform, take commands, and lead feeders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federates.field.areas import Areas, AreasFederate
from federates.field.player import Player, PlayerFederate, Trace, behind_reactance
from federates.grid.areas import Area, AreasModel, Shedding, Tie
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Sample

ONE = AreasModel(50.0, (Area("gb", 2e11, 3e10, 1.0, shedding=(Shedding("ufls", 49.5, 0, 80 * MS_NS, 1e9),)),))
TWO = AreasModel(50.0, (Area("a", 2e11, 3e10), Area("b", 2e11, 3e10)), (Tie("t", "a", "b", 1e9, 2e10),))
TRACE = Trace((0.0, 5.0, 5.5, 20.0), (60.0, 60.0, 59.0, 60.0), (1.0, 1.0, 0.5, 1.0))


def commands(*payloads: dict[str, Any]) -> tuple[Event, ...]:
    return tuple(Event(0, "test.out", k + 1, payload) for k, payload in enumerate(payloads))


@pytest.mark.parametrize(
    "spec",
    [
        Spec("gb", "federates.field.areas:AreasFederate", Areas(ONE, ("f",))),
        Spec("ce", "federates.field.areas:AreasFederate", Areas(TWO)),
        Spec("grid", "federates.field.player:PlayerFederate", Player(TRACE)),
        Spec("grid", "federates.field.player:PlayerFederate", Player(TRACE, attachments=(("f", "16"),), short_circuit_va=2e9)),
    ],
)
def test_they_conform(spec: Spec) -> None:
    assert check_federate(spec, process=False) == []


def test_areas_take_commands_and_refuse_what_does_not_fit() -> None:
    federate = AreasFederate(Areas(TWO))
    federate.start(0)
    given = commands(
        {"action": "open_tie", "tie": "t"}, {"action": "open_tie", "tie": "t"}, {"action": "lose_generation", "p_w": 1e8},
        {"action": "shed_load", "area": "b", "p_w": 1e8},
    )  # fmt: skip
    rows = federate.step(0, {"command": given}).outputs["soe"]
    assert [row["event"] for row in rows] == ["open_tie", "refused", "refused", "shed_load", "emergency_begins"]
    assert "say which area" in rows[2]["reason"]
    later = federate.step(S_NS, {"command": ()}).outputs
    assert later["f_hz_a"][0] > 50.0 > later["f_hz_b"][0]


def test_feeders_are_part_of_the_areas_load_and_what_they_draw_more_moves_the_frequency() -> None:
    federate = AreasFederate(Areas(ONE, ("f",)))
    federate.start(0)

    def step(t_ns: int, each_w: float) -> Any:
        drawn = {"p_f": Sample.of([each_w] * 3, t_ns), "q_f": Sample.of([0.0] * 3, t_ns), "command": ()}
        return federate.step(t_ns, drawn).outputs

    assert step(0, 1e8)["f_hz"] == [50.0]
    assert step(S_NS, 1e8)["f_hz"] == [50.0]
    step(2 * S_NS, 1.9e8)
    outputs = step(400 * S_NS, 1.9e8)
    assert outputs["f_hz"][0] == pytest.approx(50.0 - 2.7e8 * 50.0 / (3e10 - 3e8), abs=1e-6)
    assert outputs["load_p_w"][0] == pytest.approx(3e10, rel=1e-6)  # what is drawn more comes from less native load


def test_a_player_plays_and_is_there_when_an_emergency_begins() -> None:
    federate = PlayerFederate(Player(TRACE, period_ns=S_NS))
    federate.start(0)
    first = federate.step(0, {})
    assert first.outputs["f_hz"] == [60.0]
    assert first.next_ns == 5_500 * MS_NS  # the point that is out of its limits, off the period
    onset = federate.step(5_500 * MS_NS, {})
    assert onset.outputs["f_hz"] == [59.0]
    assert onset.outputs["emergency"] == [{"active": True, "step_ns": 20 * MS_NS}]
    assert onset.next_ns == 5_520 * MS_NS


def test_a_bus_behind_a_reactance_satisfies_its_own_power_flow() -> None:
    """P = E V sin(d) / X and Q = (E V cos(d) - V^2) / X, per unit of the short-circuit power."""
    short_circuit_va, source, p_w, q_var = 5e9, 1.05, 6e8, 6.2e8
    v = behind_reactance(source, p_w, q_var, short_circuit_va)
    p, q = p_w / short_circuit_va, q_var / short_circuit_va
    angle = np.arcsin(p / (source * v))
    assert source * v * np.cos(angle) - v * v == pytest.approx(q, abs=1e-12)
    assert behind_reactance(1.0, 0.0, 0.25e9, 1e9) == pytest.approx(np.sqrt(0.5 - 0.25))  # the nose at unity power factor's end
    assert behind_reactance(1.0, 9e9, 0.0, 1e9) > 0.0  # beyond it there is no solution: at the nose
