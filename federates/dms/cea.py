"""Coordination of emergency actions: which actions, in which order, meet a deficit in time at the least priority cost.

A mixed-integer linear program over atoms (HiGHS). An action is ordered or not, x in {0, 1}. What is taken of an atom is the largest
share among the ordered actions that claim it, so that no atom is ever counted twice:

    w_i = sum over a of share_ai z_ai,   0 <= z_ai <= x_a,   sum over a of z_ai <= 1,   w_i >= share_ai x_a
    for every deadline t:  sum of (load - generation) w_i over actions done by t  >=  deficit(t)
    minimise  hours * sum of priority_i load_i w_i  +  sum of cost_a x_a

Where the program finds nothing in its time, a greedy choice is given instead, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federates.grid.shedding import Atoms

Floats = NDArray[np.float64]
_TIME_LIMIT_S = 5.0
_GAP = 1e-6
_CORRECTIONS = 4
_ENOUGH = 1e-9  # of the deficit

Worth = Callable[[Sequence[str]], float]
"""Net relief of a sequence of actions in W, however it is found."""


@dataclass(frozen=True)
class Deficit:
    """Power that has to be relieved, W, and by when, s from now."""

    p_w: float
    within_s: float


@dataclass(frozen=True)
class Plan:
    """Actions in the order in which they take effect. net_w: what they relieve together; cost: priority-weighted; met: whether
    every deadline is.
    """

    actions: tuple[str, ...]
    net_w: float
    cost: float
    met: bool
    method: Literal["milp", "greedy"]


def plan(atoms: Atoms, deficits: Sequence[Deficit], hours: float = 1.0, worth: Worth | None = None, exact: bool = True) -> Plan:
    """The cheapest actions that meet every deficit.

    worth: solves a sequence with the network's answer in it; where that falls short of what the atoms promised, the program is
    asked for as much more, a few times. exact=False goes straight to the greedy choice. Where nothing meets the deficits, whatever
    relieves most is given, with met False.
    """
    more = 1.0
    best: Plan | None = None
    for _ in range(_CORRECTIONS):
        asked = [Deficit(d.p_w * more, d.within_s) for d in deficits]
        chosen = _milp(atoms, asked, hours) if exact else None
        method: Literal["milp", "greedy"] = "milp"
        if chosen is None:
            chosen, method = _greedy(atoms, asked, hours), "greedy"
        best = _judged(atoms, chosen, deficits, hours, worth, method)
        if best.met or worth is None or best.net_w <= 0.0:
            return best
        short = max(d.p_w / max(_net_w(atoms, chosen, d.within_s, worth), 1.0) for d in deficits if d.p_w > 0.0)
        more *= max(short, 1.0) * 1.001
    assert best is not None
    return best


def _order(atoms: Atoms, chosen: Sequence[str]) -> tuple[str, ...]:
    rank = {action.name: (action.speed_s, k) for k, action in enumerate(atoms.actions)}
    return tuple(sorted(chosen, key=rank.__getitem__))


def _net_w(atoms: Atoms, chosen: Sequence[str], within_s: float, worth: Worth | None) -> float:
    done = [name for name in _order(atoms, chosen) if atoms.action(name).speed_s <= within_s]
    if worth is not None:
        return worth(done)
    load_w, der_w = atoms.shed_w(atoms.start, atoms.after_all(done))
    return load_w - der_w


def _judged(
    atoms: Atoms,
    chosen: Sequence[str],
    deficits: Sequence[Deficit],
    hours: float,
    worth: Worth | None,
    method: Literal["milp", "greedy"],
) -> Plan:
    met = all(_net_w(atoms, chosen, d.within_s, worth) >= d.p_w * (1.0 - _ENOUGH) for d in deficits)
    return Plan(_order(atoms, chosen), _net_w(atoms, chosen, np.inf, worth), cost(atoms, chosen, hours), met, method)


def cost(atoms: Atoms, chosen: Sequence[str], hours: float) -> float:
    """Priority-weighted MWh not served within `hours`, and what ordering the actions costs."""
    gone = (1.0 - atoms.after_all(chosen).left) * atoms.p_w * atoms.is_load
    priority = np.array([atom.priority for atom in atoms.atoms])
    return float((gone * priority).sum() * hours / 1e6) + sum(atoms.action(name).cost for name in chosen)


def _groups(atoms: Atoms) -> tuple[Floats, Floats, Floats]:
    """Atoms that the same actions claim with the same shares, as one: (take [actions, groups], net W, priority-weighted MW)."""
    take = np.array([atoms.take(action.name) for action in atoms.actions])
    kinds, at = np.unique(take, axis=1, return_inverse=True)
    priority = np.array([atom.priority for atom in atoms.atoms])
    net = np.bincount(at.ravel(), np.where(atoms.is_load, atoms.p_w, -atoms.p_w), kinds.shape[1])
    weighted = np.bincount(at.ravel(), np.where(atoms.is_load, atoms.p_w, 0.0) * priority / 1e6, kinds.shape[1])
    return kinds, np.asarray(net, float), np.asarray(weighted, float)


def _milp(atoms: Atoms, deficits: Sequence[Deficit], hours: float) -> list[str] | None:
    """Names of the actions to order, None where the program found none."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    take, net, weighted = _groups(atoms)
    n = len(take)
    horizons = sorted({d.within_s for d in deficits} | {np.inf})
    claims = [
        (k, a, g) for k, t in enumerate(horizons) for a, g in zip(*np.nonzero(take), strict=True) if atoms.actions[a].speed_s <= t
    ]
    width = n + len(claims)
    scale = max((d.p_w for d in deficits), default=1.0) or 1.0
    objective = np.zeros(width)
    objective[:n] = [action.cost for action in atoms.actions]
    rows: list[tuple[dict[int, float], float, float]] = []
    by_group: dict[tuple[int, int], list[int]] = {}
    relief: dict[int, dict[int, float]] = {k: {} for k in range(len(horizons))}
    for z, (k, a, g) in enumerate(claims, start=n):
        rows.append(({z: 1.0, int(a): -1.0}, -np.inf, 0.0))
        by_group.setdefault((k, int(g)), []).append(z)
        relief[k][z] = float(take[a, g] * net[g]) / scale
        if k == len(horizons) - 1:
            objective[z] = hours * take[a, g] * weighted[g]
    for members in by_group.values():
        rows.append((dict.fromkeys(members, 1.0), -np.inf, 1.0))
        shares = {z: float(take[claims[z - n][1], claims[z - n][2]]) for z in members}
        for z in members:
            row = dict(shares)
            row[int(claims[z - n][1])] = -shares[z]
            rows.append((row, 0.0, np.inf))
    for d in deficits:
        rows.append((relief[horizons.index(d.within_s)], d.p_w / scale, np.inf))
    data = [(r, c, x) for r, (row, _, _) in enumerate(rows) for c, x in row.items()]
    matrix = csr_matrix(([x for *_, x in data], ([r for r, *_ in data], [c for _, c, _ in data])), shape=(len(rows), width))
    constraint = LinearConstraint(matrix, [low for _, low, _ in rows], [high for *_, high in rows])
    whole = np.concatenate((np.ones(n), np.zeros(len(claims))))
    found = milp(
        objective, integrality=whole, bounds=Bounds(0.0, 1.0), constraints=constraint,
        options={"time_limit": _TIME_LIMIT_S, "mip_rel_gap": _GAP},
    )  # fmt: skip
    if found.x is None:
        return None
    return [action.name for action, x in zip(atoms.actions, found.x[:n], strict=True) if x > 0.5]


def _greedy(atoms: Atoms, deficits: Sequence[Deficit], hours: float) -> list[str]:
    """Deadline by deadline the action that relieves most for its cost, until it is met; then what turned out needless goes."""
    chosen: list[str] = []
    for deficit in sorted(deficits, key=lambda d: d.within_s):
        while (missing := deficit.p_w - _net_w(atoms, chosen, deficit.within_s, None)) > 0.0:
            before = cost(atoms, chosen, hours)
            best, best_ratio = "", 0.0
            for action in atoms.actions:
                if action.name in chosen or action.speed_s > deficit.within_s:
                    continue
                gain = _net_w(atoms, [*chosen, action.name], deficit.within_s, None) - (deficit.p_w - missing)
                ratio = min(gain, missing) / max(cost(atoms, [*chosen, action.name], hours) - before, 1e-9)
                if gain > 0.0 and ratio > best_ratio:
                    best, best_ratio = action.name, ratio
            if not best:
                break
            chosen.append(best)
    for name in sorted(chosen, key=lambda name: -cost(atoms, [name], hours)):
        rest = [other for other in chosen if other != name]
        if all(_net_w(atoms, rest, d.within_s, None) >= d.p_w for d in deficits):
            chosen = rest
    return chosen
