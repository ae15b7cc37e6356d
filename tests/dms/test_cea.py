"""Coordination of emergency actions against the best of all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from federates.dms.cea import Deficit, cost, plan
from federates.grid.shedding import Action, Atom, Atoms


def drawn(rng: np.random.Generator) -> Atoms:
    """Forty atoms in four sections, two fifths of them with PV, and nine actions that overlap; two lower the voltage."""
    loads = [
        Atom(f"l{k}", "load", float(rng.uniform(10e3, 200e3)), (f"b{k % 4}",), float(rng.uniform(1.0, 9.0))) for k in range(40)
    ]
    ders = [Atom(f"d{k}", "der", float(rng.uniform(10e3, 150e3)), (f"b{k % 4}",)) for k in range(16)]

    def some(part: float, share: float) -> tuple[tuple[str, float], ...]:
        return tuple((atom.name, share) for atom in loads if rng.random() < part)

    actions = [Action(f"ufls:{k}", opens=(f"b{k}",), speed_s=0.2, cost=float(rng.uniform(0.0, 5.0))) for k in range(4)]
    actions += [Action(f"dr:{k}", claims=some(0.4, 0.4), speed_s=60.0, cost=float(rng.uniform(0.0, 1.0))) for k in range(2)]
    actions.append(Action("interruptible:0", claims=some(0.2, 1.0), speed_s=5.0, cost=0.5, weight=0.5))
    for v_set_pu, speed_s, weight in ((-0.02, 8.0, 0.2), (-0.05, 90.0, 0.6)):
        falls = tuple((atom.name, float(-v_set_pu * rng.uniform(-0.2, 1.8))) for atom in loads)
        lowers = (*falls, *((atom.name, float(0.5 * v_set_pu)) for atom in ders))
        actions.append(Action(f"cvr:{len(actions)}", v_set_pu=v_set_pu, lowers=lowers, speed_s=speed_s, cost=0.1, weight=weight))
    return Atoms(loads + ders, actions)


def relief(atoms: Atoms, names: tuple[str, ...], within_s: float) -> float:
    """By hand, atom by atom: the largest share goes, of the rest what the lowest voltage takes."""
    done = [action for action in atoms.actions if action.name in names and action.speed_s <= within_s]
    lowest = min(done, key=lambda action: action.v_set_pu, default=None)
    total = 0.0
    for atom in atoms.atoms:
        gone = max([1.0 if set(a.opens) & set(atom.behind) else dict(a.claims).get(atom.name, 0.0) for a in done], default=0.0)
        eased = dict(lowest.lowers).get(atom.name, 0.0) if lowest else 0.0
        total += (1.0 if atom.kind == "load" else -1.0) * atom.p_w * (gone + (1.0 - gone) * eased)
    return total


def best(atoms: Atoms, deficits: list[Deficit], hours: float) -> float:
    """The least cost of all subsets that meet the deficits; infinity where none does."""
    names = [action.name for action in atoms.actions]
    subsets = [subset for r in range(len(names) + 1) for subset in combinations(names, r)]
    good = [s for s in subsets if all(relief(atoms, s, d.within_s) >= d.p_w for d in deficits)]
    return min((cost(atoms, s, hours) for s in good), default=np.inf)


def only(weights: dict[str, float] | None = None) -> Atoms:
    """400 kW of which 2 % less voltage takes 5 %, a program for a tenth of it, and a breaker for half of it."""
    weight = {"dr:1": 1.0, "ufls:1": 1.0, "cvr:1": 0.1, **(weights or {})}
    east, west = Atom("east", "load", 200e3, ("b",)), Atom("west", "load", 200e3)
    halves = ("east", "west")
    return Atoms(
        [east, west],
        [
            Action("ufls:1", opens=("b",), weight=weight["ufls:1"]),
            Action("dr:1", claims=tuple((name, 0.1) for name in halves), weight=weight["dr:1"]),
            Action("cvr:1", v_set_pu=-0.02, lowers=tuple((name, 0.05) for name in halves), weight=weight["cvr:1"]),
        ],
    )


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


def test_a_lower_voltage_is_chosen_where_it_is_cheaper_and_not_where_it_is_dearer() -> None:
    """15 kW are asked for: 20 kW by voltage, at a tenth of the price of a MWh not served; priced higher, the program does it."""
    cheap = plan(only(), [Deficit(15e3, 60.0)])
    assert cheap.actions == ("cvr:1",) and cheap.met and cheap.method == "milp"
    assert cheap.net_w == pytest.approx(20e3) and cheap.cost == pytest.approx(0.1 * 0.02)
    assert plan(only({"cvr:1": 3.0}), [Deficit(15e3, 60.0)]).actions == ("dr:1",)
    assert plan(only(), [Deficit(15e3, 60.0)], exact=False).actions == ("cvr:1",)


def test_what_is_shed_gives_nothing_to_a_lower_voltage() -> None:
    """Half of the load is behind the open breaker: the voltage is worth 10 kW more, not 20, and 225 kW need the program too."""
    found = plan(only(), [Deficit(205e3, 60.0)])
    assert found.actions == ("ufls:1", "cvr:1") and found.net_w == pytest.approx(210e3)
    more = plan(only(), [Deficit(225e3, 60.0)])
    assert set(more.actions) == {"ufls:1", "dr:1", "cvr:1"} and more.net_w == pytest.approx((200 + 20 + 0.05 * 180) * 1e3)
    assert not plan(only(), [Deficit(230e3, 60.0)]).met  # 240 if anything were counted twice


def test_the_deepest_of_two_reductions_acts_alone() -> None:
    loads = [Atom("a", "load", 1e6)]
    cvr = [Action(f"cvr:{k}", v_set_pu=-0.01 * k, lowers=(("a", 0.01 * k),), cost=0.01 * k) for k in (1, 2)]
    atoms = Atoms(loads, cvr)
    assert not plan(atoms, [Deficit(25e3, 60.0)]).met
    assert plan(atoms, [Deficit(15e3, 60.0)]).actions == ("cvr:2",)
    assert plan(atoms, [Deficit(9e3, 60.0)]).actions == ("cvr:1",)
