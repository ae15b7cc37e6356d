"""The dispatch stack of a bus: what it can give more or take back, in blocks from the cheapest.

A block is all resources of like terms. Its power is what the bus changes by, found by a full solve with everything before it in
the stack dispatched too, so that losses are in it; it ends where the first limit of the network is met. Up is less load at the bus
(more generation, or load that is shed), down is more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from federates.tblm.capability.region import HOLDS
from federates.tblm.capability.space import Flow, Space

Floats = NDArray[np.float64]
Direction = Literal["up", "down"]

LASTS_S = 900.0
"""For so long storage holds what it offers where its terms say nothing: the longest delivery class."""
_ORDERINGS = 4
_HALVINGS = 12
_LEAST = 0.01  # of a block: less than this within the limits is no block


@dataclass(frozen=True)
class Terms:
    """On what terms a resource moves. cost_up, cost_down: per MWh at its terminals, None: not offered. ramp_w_per_s: of one
    resource. duration_s, energy_wh: how long, how much; None: not bounded, but storage must hold for `LASTS_S`. rebound: part of
    the energy that comes back afterwards."""

    cost_up: float | None = None
    cost_down: float | None = None
    ramp_w_per_s: float | None = None
    duration_s: float | None = None
    energy_wh: float | None = None
    rebound: float = 0.0


@dataclass(frozen=True)
class Block:
    """A block of the stack. p_w: change of bus load by it, positive whatever the direction; q_var: change of the bus's reactive
    load that comes with it. cost: per MWh at the bus. ramp_w_per_s, energy_wh: of all its resources together. der_p_w: by site,
    change of its generation."""

    direction: Direction
    p_w: float
    q_var: float
    cost: float
    notice_s: float
    ramp_w_per_s: float | None
    duration_s: float | None
    energy_wh: float | None
    rebound: float
    der_p_w: Mapping[str, float]


def stack(space: Space, terms: Sequence[Terms | None], direction: Direction) -> tuple[Block, ...]:
    """The blocks of one direction, costs not falling. space: of all resources, in which each stands where it is now; terms by its
    moved resources, None: not offered. Empty where the present state keeps not every limit, or nothing is offered."""
    groups = _groups(space, terms, direction)
    base = space.flow(space.present())
    if base is None or base.excess > HOLDS or not groups:
        return ()
    slope = -space.model(base).pq[0]  # fall of the bus's load by each P and Q
    order = sorted(range(len(groups)), key=lambda g: (groups[g].cost / _effect(space, groups[g], slope), g))
    for _ in range(_ORDERINGS):
        walked = _walk(space, [(g, groups[g]) for g in order], base, direction)
        cost = {g: block.cost for g, block in walked}
        wanted = sorted(cost, key=lambda g: (cost[g], order.index(g)))
        if wanted == [g for g, _ in walked]:
            break
        order = [*wanted, *(g for g in order if g not in cost)]
    # nearly equal blocks may change places with every ordering: one that only its place makes cheaper costs as much as that
    # before it
    blocks, least = list[Block](), -np.inf
    for _, block in walked:
        least = max(least, block.cost)
        blocks.append(replace(block, cost=least))
    return tuple(blocks)


@dataclass(frozen=True, eq=False)
class _Group:
    """Resources of like terms, as positions among the space's moved ones, and by how much each may move [m], generation
    positive."""

    members: tuple[int, ...]
    step_w: Floats
    terms: Terms
    cost: float
    notice_s: float


def _groups(space: Space, terms: Sequence[Terms | None], direction: Direction) -> list[_Group]:
    by_terms: dict[tuple[Terms, float], list[int]] = {}
    for k, (resource, own) in enumerate(zip(space.moved, terms, strict=True)):
        if own is not None and (own.cost_up if direction == "up" else own.cost_down) is not None:
            by_terms.setdefault((own, resource.notice_s), []).append(k)
    out = []
    for (own, notice_s), members in by_terms.items():
        step = np.zeros(space.m)
        for k in members:
            r = space.moved[k].at("P50", own.duration_s or LASTS_S)
            now = min(max(r.p_now_w, r.p_min_w), r.p_max_w)
            # at its reactive power of now a resource has not its whole rating left
            most = float(np.sqrt(max(r.s_va**2 - r.q_now_var**2, 0.0))) if r.q_per_p is None else r.s_va / np.hypot(1.0, r.q_per_p)
            step[k] = max(min(r.p_max_w, most) - now, 0.0) if direction == "up" else min(max(r.p_min_w, -most) - now, 0.0)
            if own.energy_wh is not None and own.duration_s is not None:
                bound = own.energy_wh * 3600.0 / own.duration_s
                step[k] = float(np.clip(step[k], -bound, bound))
        cost = own.cost_up if direction == "up" else own.cost_down
        if np.abs(step).sum() > 0.0 and cost is not None:
            out.append(_Group(tuple(members), step, own, cost, notice_s))
    return out


def _step(space: Space, group: _Group) -> Floats:
    """The group's whole move, as a change of x."""
    ties = np.array([r.q_per_p or 0.0 for r in space.moved])
    return np.concatenate((group.step_w, ties * group.step_w)) / space.unit_va


def _effect(space: Space, group: _Group, slope: Floats) -> float:
    """Change of bus load for each W at the terminals, about 1."""
    return max(abs(float(slope @ _step(space, group))) / float(np.abs(group.step_w).sum()), 1e-3)


def _walk(space: Space, groups: list[tuple[int, _Group]], base: Flow, direction: Direction) -> list[tuple[int, Block]]:
    """Dispatch one group after the other, each as far as the limits allow."""
    at, out = base, []
    for g, group in groups:
        step = _step(space, group)
        reached, part = _as_far(space, at, step)
        shares = np.full(space.m, part)
        if part < 1.0:  # one resource stands at a limit: the others need not stop there
            for k in group.members:
                rest = np.zeros_like(step)
                rest[[k, space.m + k]] = (1.0 - part) * step[[k, space.m + k]]
                flow = space.flow(reached.x + rest)
                if flow is not None and flow.excess <= HOLDS:
                    reached, shares[k] = flow, 1.0
        der = {space.moved[k].name: float(shares[k] * group.step_w[k]) for k in group.members}
        moved = float(np.abs(list(der.values())).sum())
        change = float(reached.p_w - at.p_w)
        p_w = -change if direction == "up" else change
        if moved < _LEAST * float(np.abs(group.step_w).sum()) or p_w <= 0.0:
            continue
        names = {name: value for name, value in der.items() if value}
        terms, n = group.terms, len(names)
        duration = terms.duration_s
        if terms.energy_wh is not None and duration is None:
            duration = terms.energy_wh * n * 3600.0 / moved
        block = Block(
            direction, p_w, float(reached.q_var - at.q_var), group.cost * moved / p_w,
            group.notice_s, None if terms.ramp_w_per_s is None else terms.ramp_w_per_s * n, duration,
            None if terms.energy_wh is None else terms.energy_wh * n, terms.rebound, names,
        )  # fmt: skip
        out.append((g, block))
        at = reached
    return out


def _as_far(space: Space, at: Flow, step: Floats) -> tuple[Flow, float]:
    """(flow, part of the step) as far as every limit holds."""
    whole = space.flow(at.x + step)
    if whole is not None and whole.excess <= HOLDS:
        return whole, 1.0
    low, high, best = 0.0, 1.0, at
    for _ in range(_HALVINGS):
        part = 0.5 * (low + high)
        flow = space.flow(at.x + part * step)
        if flow is not None and flow.excess <= HOLDS:
            low, best = part, flow
        else:
            high = part
    return best, low
