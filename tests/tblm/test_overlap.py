"""Overlapping actions: invariants over random sequences, and every step against breakers that really open in OpenDSS."""

from __future__ import annotations

import numpy as np
import pytest
from shedding_case import F_HZ, V_PU, atoms, begun, random_actions
from telemetry import ieee123_with_der, inverters

from federates.grid.shedding import Action, Atom, Atoms, State, in_order
from federates.tblm.overlap import Flow, Overlap, study_response


def simple(state_atoms: Atoms) -> Overlap:
    """Constant power: the head draws what is left."""

    def respond(state: State) -> Flow:
        load, der = state_atoms.connected_w(state)
        return Flow(load - der, np.zeros(0), np.zeros(0))

    return Overlap(state_atoms, respond)


def test_ten_thousand_sequences_and_every_step_within_one_per_cent_of_the_opened_feeder() -> None:
    """1,000 sequences over each of 10 memberships; distinct states are solved once on either side."""
    rng = np.random.default_rng(11)
    model, settings = ieee123_with_der(), inverters()
    study, truth = begun(model, settings, 150e3)
    worst, steps = 0.0, 0
    for _ in range(10):
        claimed = atoms(study, random_actions(study, rng))
        overlap = Overlap(claimed, study_response(study, claimed, V_PU, F_HZ))
        feeder_w = overlap.flow(claimed.start).head_w
        opened_w: dict[frozenset[str], float] = {}
        names = [action.name for action in claimed.actions]
        for _ in range(1000):
            sequence = [str(name) for name in rng.permutation(names)[: rng.integers(1, 7)]]
            sequence += [sequence[int(rng.integers(len(sequence)))]]  # one comes twice
            done: set[str] = set()
            state, shed_w, net_w = claimed.start, 0.0, 0.0
            for effect in overlap.sequence(sequence):
                assert effect.load_w >= 0.0 and effect.der_w >= -1e-6
                if effect.action in done:
                    assert effect.load_w == effect.net_w == 0.0
                shed_w, net_w, steps = shed_w + effect.load_w, net_w + effect.net_w, steps + 1
                done.add(effect.action)
                state = claimed.after(state, effect.action)
                if (key := frozenset(done)) not in opened_w:
                    breakers = {b for name in done for b in claimed.action(name).opens}
                    opened_w[key] = truth.head_w(claimed, state, breakers)
                worst = max(worst, abs(overlap.flow(state).head_w - opened_w[key]) / feeder_w)
            assert -1e-6 <= shed_w <= overlap.connected_w * (1.0 + 1e-12)
            assert state.key() == claimed.after_all(sorted(sequence)).key()
            assert net_w == pytest.approx(feeder_w - overlap.flow(state).head_w, abs=1.0)
    assert steps > 40_000
    assert worst <= 0.001  # the feeder's own MW; asked for is 0.01


def test_demand_response_voltage_reduction_and_two_relays_on_the_same_load() -> None:
    """30 % of the UFLS load is also in DR; the sum of what each is worth alone exceeds what all are worth together by what is
    reported."""
    loads = [Atom(f"l{k}", "load", 10e3, ("east",) if k < 10 else ("west",)) for k in range(20)]
    dr = tuple((f"l{k}", 1.0) for k in (0, 1, 2))
    actions = [Action("dr:homes", claims=dr), Action("ufls:1", opens=("east",)), Action("uvls:1", opens=("east", "west"))]
    overlap = simple(Atoms(loads, actions))
    net = [effect.net_w for effect in overlap.sequence(["dr:homes", "ufls:1", "uvls:1"])]
    assert net == pytest.approx([30e3, 70e3, 100e3])
    assert sum(overlap.available_w().values()) == pytest.approx(330e3)
    assert overlap.excess_w(["dr:homes", "ufls:1", "uvls:1"]) == pytest.approx(130e3)
    assert overlap.conditional_w() == pytest.approx(np.array([[0, 70, 170], [0, 0, 100], [0, 0, 0]]) * 1e3)


def test_a_feeder_that_feeds_back_is_counter_productive() -> None:
    study, _ = begun(ieee123_with_der(), inverters(), 200e3, scale=0.6)
    claimed = atoms(study, [Action("ufls:1", opens=("sw4",)), Action("ufls:2", opens=("sw3",))])
    effect = Overlap(claimed, study_response(study, claimed, V_PU, F_HZ)).sequence(["ufls:1"])[0]
    assert effect.der_w > effect.load_w > 0.0
    assert effect.net_w < 0.0 and effect.counter_productive


def test_a_part_is_the_least_that_any_action_leaves() -> None:
    claimed = Atoms([Atom("a", "load", 100.0)], [Action("dr:x", claims=(("a", 0.3),)), Action("dr:y", claims=(("a", 0.5),))])
    assert claimed.after_all(["dr:x", "dr:y"]).left.tolist() == claimed.after_all(["dr:y", "dr:x"]).left.tolist() == [0.5]


def test_order_at_one_instant_is_the_order_given() -> None:
    actions = [Action("ufls:2"), Action("ufls:1"), Action("dr:z")]
    assert [a.name for a in in_order({"ufls:1": 5, "ufls:2": 5, "dr:z": 1}, actions)] == ["dr:z", "ufls:2", "ufls:1"]


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no such atom"):
        Atoms([Atom("a", "load", 1.0)], [Action("dr:x", claims=(("b", 1.0),))])
    with pytest.raises(ValueError, match="no atom"):
        Atoms([Atom("a", "load", 1.0)], [Action("ufls:1", opens=("sw",))])
    with pytest.raises(ValueError, match="begins with one of"):
        Action("shed")
