"""Coordination of emergency actions: which actions, in which order, meet a deficit in time at the least priority cost.

A mixed-integer linear program over atoms (HiGHS). An action is ordered or not, x in {0, 1}. What is taken of an atom is the largest
share among the ordered actions that claim it, so that no atom is ever counted twice; a lower voltage (h, that of the deepest
reduction ordered) then relieves what is left of it, so that what is shed gives nothing to voltage reduction:

    w_i = sum over a of share_ai z_ai,   0 <= z_ai <= x_a,   sum over a of z_ai <= 1,   w_i >= share_ai x_a
    y_ci = h_c (1 - w_i):   0 <= y_ci <= h_c,   h_c - w_i <= y_ci <= 1 - w_i
    for every deadline t:  sum of (load - generation) (w_i + sum over c of lower_ci y_ci) over actions done by t  >=  deficit(t)
    minimise  hours * sum of priority_i load_i (sum over a of weight_a share_ai z_ai + sum over c of weight_c lower_ci y_ci)
              + sum of cost_a x_a

Where the program finds nothing in its time, a greedy choice is given instead, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from federates.grid.shedding import Action, Atoms

Floats = NDArray[np.float64]
_TIME_LIMIT_S = 5.0
_GAP = 1e-6
_CORRECTIONS = 4
_ENOUGH = 1e-9  # of the deficit
_SAME_SHARE = 1e-12

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
    return atoms.net_w(atoms.start) - atoms.net_w(atoms.after_all(done))


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
    """Priority-weighted MWh that are not taken within `hours`, and what ordering the actions costs.

    A MWh of an atom that several actions claim costs what it does under the one that takes most of it, the cheapest of equals.
    """
    if not chosen:
        return 0.0
    state, priority = atoms.after_all(chosen), np.array([atom.priority for atom in atoms.atoms])
    taken = np.array([atoms.take(name) for name in chosen])
    weight = np.array([atoms.action(name).weight for name in chosen])
    gone = 1.0 - state.left
    each = np.where(taken >= gone - _SAME_SHARE, weight[:, None], np.inf).min(axis=0)
    by_voltage = [atoms.action(name).weight for name in chosen if atoms.action(name).v_set_pu == state.v_set_pu]
    lowered = np.maximum(atoms.lower(state.v_set_pu), 0.0) * state.left * (min(by_voltage) if state.v_set_pu else 0.0)
    not_taken = np.where(gone > 0.0, gone * each, 0.0) + lowered
    ordering = sum(atoms.action(name).cost for name in chosen)
    return float((not_taken * priority * atoms.p_w * atoms.is_load).sum() * hours / 1e6) + ordering


class _Groups(NamedTuple):
    """Atoms that the same actions claim with the same shares, as one. take [actions, groups]; net_w and mw (load only, times its
    priority) [groups]; the same of what each of the reductions of voltage lowers, [reductions, groups]."""

    take: Floats
    net_w: Floats
    mw: Floats
    lower_w: Floats
    lower_mw: Floats


def _groups(atoms: Atoms, reductions: Sequence[int]) -> _Groups:
    take, at = np.unique(np.array([atoms.take(action.name) for action in atoms.actions]), axis=1, return_inverse=True)
    net = np.where(atoms.is_load, atoms.p_w, -atoms.p_w)
    mw = np.where(atoms.is_load, atoms.p_w, 0.0) * np.array([atom.priority for atom in atoms.atoms]) / 1e6
    lower = [atoms.lower(atoms.actions[c].v_set_pu) for c in reductions]

    def summed(values: Floats) -> Floats:
        return np.asarray(np.bincount(at.ravel(), values, take.shape[1]), float)

    def table(rows: Sequence[Floats]) -> Floats:
        return np.array([summed(row) for row in rows]).reshape(len(rows), take.shape[1])

    by_voltage = table([x * net for x in lower]), table([np.maximum(x, 0.0) * mw for x in lower])
    return _Groups(take, summed(net), summed(mw), *by_voltage)


class _Program:
    """The program while it is written down: columns with their cost, rows with their bounds. Every variable is within 0..1."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []

    def column(self, cost: float = 0.0) -> int:
        self.costs.append(cost)
        return len(self.costs) - 1

    def row(self, terms: Mapping[int, float], low: float, high: float = np.inf) -> None:
        self.rows.append((dict(terms), low, high))

    def solved(self, integers: int) -> Floats | None:
        """The variables, the first so many whole; None where nothing was found."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_matrix

        data = [(r, c, x) for r, (row, _, _) in enumerate(self.rows) for c, x in row.items()]
        at = [r for r, *_ in data], [c for _, c, _ in data]
        matrix = csr_matrix(([x for *_, x in data], at), shape=(len(self.rows), len(self.costs)))
        bounds = LinearConstraint(matrix, [low for _, low, _ in self.rows], [high for *_, high in self.rows])
        whole = (np.arange(len(self.costs)) < integers).astype(int)
        options = {"time_limit": _TIME_LIMIT_S, "mip_rel_gap": _GAP}
        found = milp(np.array(self.costs), integrality=whole, bounds=Bounds(0.0, 1.0), constraints=bounds, options=options)
        return None if found.x is None else np.asarray(found.x, float)


def _milp(atoms: Atoms, deficits: Sequence[Deficit], hours: float) -> list[str] | None:
    """Names of the actions to order, None where the program found none."""
    actions = atoms.actions
    # the deepest reduction comes first: it is the one that acts
    reductions = sorted((a for a, action in enumerate(actions) if action.v_set_pu), key=lambda a: actions[a].v_set_pu)
    groups, program = _groups(atoms, reductions), _Program()
    scale = max((d.p_w for d in deficits), default=1.0) or 1.0
    for action in actions:
        program.column(action.cost)
    horizons = sorted({d.within_s for d in deficits} | {np.inf})
    for horizon_s in horizons:
        relief = _at_horizon(program, groups, actions, reductions, horizon_s, hours if horizon_s == horizons[-1] else 0.0)
        for deficit in deficits:
            if deficit.within_s == horizon_s:
                program.row({column: w / scale for column, w in relief.items()}, deficit.p_w / scale)
    found = program.solved(len(actions))
    return None if found is None else [action.name for action, x in zip(actions, found, strict=False) if x > 0.5]


def _at_horizon(
    program: _Program, groups: _Groups, actions: Sequence[Action], reductions: Sequence[int], horizon_s: float, hours: float
) -> dict[int, float]:
    """Write down what is done by a horizon, its MWh priced over `hours`; gives the relief in W of each column."""
    relief: dict[int, float] = {}
    taken: list[dict[int, float]] = [{} for _ in groups.net_w]  # of each group: column: share
    for a, g in zip(*(x.tolist() for x in np.nonzero(groups.take)), strict=True):
        if actions[a].speed_s > horizon_s:
            continue
        share = float(groups.take[a, g])
        z = program.column(hours * actions[a].weight * share * float(groups.mw[g]))
        program.row({z: 1.0, a: -1.0}, -np.inf, 0.0)
        relief[z], taken[g][z] = share * float(groups.net_w[g]), share
    for g, shares in enumerate(taken):
        if shares:
            program.row(dict.fromkeys(shares, 1.0), -np.inf, 1.0)
        for a in np.flatnonzero(groups.take[:, g]).tolist():
            if actions[a].speed_s <= horizon_s:
                program.row({**shares, a: -float(groups.take[a, g])}, 0.0)
    done = [(k, a) for k, a in enumerate(reductions) if actions[a].speed_s <= horizon_s]
    for place, (k, a) in enumerate(done):
        deeper = [b for _, b in done[:place]]
        h = program.column()
        program.row({h: 1.0, a: -1.0}, -np.inf, 0.0)
        program.row({h: 1.0, a: -1.0, **dict.fromkeys(deeper, 1.0)}, 0.0)
        for b in deeper:
            program.row({h: 1.0, b: 1.0}, -np.inf, 1.0)
        for g, shares in enumerate(taken):
            y = program.column(hours * actions[a].weight * float(groups.lower_mw[k, g]))
            relief[y] = float(groups.lower_w[k, g])
            program.row({y: 1.0, h: -1.0}, -np.inf, 0.0)
            program.row({y: 1.0, **shares}, -np.inf, 1.0)
            program.row({y: 1.0, h: -1.0, **shares}, 0.0)
    return relief


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
