"""Coordination of emergency actions against the best of all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from federates.dms.cea import Deficit, cost, plan
from federates.grid.shedding import Action, Atom, Atoms


def drawn(rng: np.random.Generator) -> Atoms:
    """Forty atoms in four sections, two fifths of them with PV, and nine actions that overlap."""
    loads = [
        Atom(f"l{k}", "load", float(rng.uniform(10e3, 200e3)), (f"b{k % 4}",), float(rng.uniform(1.0, 9.0))) for k in range(40)
    ]
    ders = [Atom(f"d{k}", "der", float(rng.uniform(10e3, 150e3)), (f"b{k % 4}",)) for k in range(16)]

    def some(part: float, share: float) -> tuple[tuple[str, float], ...]:
        return tuple((atom.name, share) for atom in loads if rng.random() < part)

    actions = [Action(f"ufls:{k}", opens=(f"b{k}",), speed_s=0.2, cost=float(rng.uniform(0.0, 5.0))) for k in range(4)]
    actions += [Action(f"dr:{k}", claims=some(0.4, 0.4), speed_s=60.0, cost=float(rng.uniform(0.0, 1.0))) for k in range(3)]
    actions += [Action(f"interruptible:{k}", claims=some(0.2, 1.0), speed_s=5.0, cost=0.5) for k in range(2)]
    return Atoms(loads + ders, actions)


def relief(atoms: Atoms, names: tuple[str, ...], within_s: float) -> float:
    done = [name for name in names if atoms.action(name).speed_s <= within_s]
    load_w, der_w = atoms.shed_w(atoms.start, atoms.after_all(done))
    return load_w - der_w


def best(atoms: Atoms, deficits: list[Deficit], hours: float) -> float:
    """The least cost of all subsets that meet the deficits; infinity where none does."""
    names = [action.name for action in atoms.actions]
    subsets = [subset for r in range(len(names) + 1) for subset in combinations(names, r)]
    good = [s for s in subsets if all(relief(atoms, s, d.within_s) >= d.p_w for d in deficits)]
    return min((cost(atoms, s, hours) for s in good), default=np.inf)


@pytest.mark.parametrize("seed", range(8))
def test_the_plan_is_the_cheapest_of_all_subsets_that_meets_both_deadlines(seed: int) -> None:
    atoms = drawn(np.random.default_rng(seed))
    deficits = [Deficit(200e3, 10.0), Deficit(900e3, 120.0)]
    found = plan(atoms, deficits, hours=0.5)
    assert found.method == "milp" and found.met
    assert found.cost == pytest.approx(best(atoms, deficits, 0.5), rel=1e-4)
    speeds = [atoms.action(name).speed_s for name in found.actions]
    assert speeds == sorted(speeds)


@pytest.mark.parametrize("seed", range(8))
def test_the_greedy_choice_meets_the_deadlines_too(seed: int) -> None:
    atoms = drawn(np.random.default_rng(seed))
    deficits = [Deficit(200e3, 10.0), Deficit(900e3, 120.0)]
    greedy = plan(atoms, deficits, hours=0.5, exact=False)
    assert greedy.method == "greedy" and greedy.met
    assert greedy.cost >= best(atoms, deficits, 0.5) - 1e-9


def test_an_atom_claimed_twice_is_counted_once() -> None:
    """Two programs on the same load: together they relieve it once, so that the breaker has to open."""
    atoms = Atoms(
        [Atom("a", "load", 100e3), Atom("b", "load", 100e3, ("east",), priority=50.0)],
        [Action("dr:1", claims=(("a", 1.0),)), Action("dr:2", claims=(("a", 1.0),)), Action("ufls:1", opens=("east",))],
    )
    found = plan(atoms, [Deficit(150e3, 10.0)])
    assert found.met and "ufls:1" in found.actions and found.net_w == pytest.approx(200e3)


def test_what_feeds_back_is_left_alone() -> None:
    atoms = Atoms(
        [Atom("a", "load", 100e3, ("sunny",)), Atom("pv", "der", 180e3, ("sunny",)), Atom("b", "load", 90e3, ("shade",), 9.0)],
        [Action("ufls:1", opens=("sunny",)), Action("ufls:2", opens=("shade",))],
    )
    assert plan(atoms, [Deficit(80e3, 10.0)]).actions == ("ufls:2",)


def test_more_is_asked_for_where_the_network_gives_less() -> None:
    """Voltage rises as load goes, and what remains takes a fifth more: 100 kW of atoms are worth 80."""
    loads = [Atom(f"l{k}", "load", 100e3) for k in range(6)]
    atoms = Atoms(loads, [Action(f"dr:{k}", claims=((f"l{k}", 1.0),)) for k in range(6)])
    found = plan(atoms, [Deficit(300e3, 10.0)], worth=lambda names: 80e3 * len(names))
    assert found.met and len(found.actions) == 4 and found.net_w == pytest.approx(320e3)


def test_too_large_a_deficit_gives_what_there_is_and_says_so() -> None:
    atoms = Atoms([Atom("a", "load", 100e3)], [Action("dr:1", claims=(("a", 1.0),))])
    found = plan(atoms, [Deficit(1e6, 10.0)])
    assert not found.met and found.net_w == pytest.approx(100e3) and found.method == "greedy"
