"""Atoms of load shedding: what can be taken off, and which schemes claim it.

An atom is a load, a DER, or everything behind a breaker. One atom may belong to several schemes at once (a stage of UFLS, UVLS, a
special scheme, demand response, conservation voltage reduction, an interruptible contract). What an action does is decided atom by
atom from what is still there, never from the product of two shares:

    part left of an atom = min over the actions that claim it of (1 - the share that the action takes)

which is the same in whatever order idempotent actions come. Pure numbers: powers in W, load positive for loads, generation positive
for DER.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
AtomKind = Literal["load", "der"]
SCHEMES = ("ufls", "uvls", "sls", "dr", "cvr", "interruptible")


@dataclass(frozen=True)
class Atom:
    """A load or a DER. behind: the breakers it hangs behind, any of which takes it off. p_w: at the snapshot, load or generation
    positive. priority: what one MWh not served costs there, against others."""

    name: str
    kind: AtomKind
    p_w: float
    behind: tuple[str, ...] = ()
    priority: float = 1.0


@dataclass(frozen=True)
class Action:
    """Something that takes load off: a stage of a scheme, a program, an operator's order.

    opens: breakers of the feeder, with everything behind them; feeders: so many of the like feeders at the head, whole; claims:
    loads and DER by name and the share of each that it takes (1: all); v_set_pu: change of the voltage set-points of the feeder
    (CVR: 0 or below); lowers: by name, the share of what is left of a load or DER that this voltage takes off it, as a study found
    it (below 0: it takes more); cost: of ordering it, beside what is not served, in the unit of priorities; weight: what a MWh that
    it takes off costs, in the atom's priority; speed_s: from the order until it is done.
    """

    name: str
    opens: tuple[str, ...] = ()
    feeders: int = 0
    claims: tuple[tuple[str, float], ...] = ()
    v_set_pu: float = 0.0
    cost: float = 0.0
    speed_s: float = 1.0
    lowers: tuple[tuple[str, float], ...] = ()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.name.partition(":")[0] not in SCHEMES:
            raise ValueError(f"action {self.name}: it begins with one of {', '.join(SCHEMES)}, as ufls:1")
        if any(not 0.0 < share <= 1.0 for _, share in self.claims):
            raise ValueError(f"action {self.name}: a claimed share lies above 0 and is at most 1")
        if min(self.cost, self.speed_s, self.weight) < 0.0 or self.v_set_pu > 0.0:
            raise ValueError(f"action {self.name}: cost, weight and speed_s are not negative, v_set_pu is not positive")
        if self.lowers and (not self.v_set_pu or any(share > 1.0 for _, share in self.lowers)):
            raise ValueError(f"action {self.name}: only a change of voltage lowers, and nothing by more than all of it")


@dataclass(frozen=True, eq=False)
class State:
    """What is left: part [n] of each atom of a closed feeder, the change of the head's set-point, the feeder's breakers that are
    open, the actions that have opened whole feeders."""

    left: Floats
    v_set_pu: float = 0.0
    opened: frozenset[str] = frozenset()
    tripped: frozenset[str] = frozenset()

    def key(self) -> bytes:
        """Equal for equal states of a closed feeder."""
        return self.left.tobytes() + np.float64(self.v_set_pu).tobytes() + ",".join(sorted(self.opened)).encode()


class Atoms:
    """The atoms of one feeder, `count` like it that are closed, and the actions that claim them.

    ValueError for a claim on an atom, or a breaker, that is not there.
    """

    def __init__(self, atoms: Sequence[Atom], actions: Sequence[Action], count: int = 1) -> None:
        self.atoms, self.actions, self.count = tuple(atoms), tuple(actions), count
        index = {atom.name: k for k, atom in enumerate(self.atoms)}
        breakers = {breaker for atom in self.atoms for breaker in atom.behind}
        if len(index) < len(self.atoms) or len({a.name for a in self.actions}) < len(self.actions):
            raise ValueError("atoms and actions need names of their own")
        self.p_w = np.array([atom.p_w for atom in self.atoms])
        self.is_load = np.array([atom.kind == "load" for atom in self.atoms], bool)
        self._take: dict[str, Floats] = {}
        self._lower: dict[float, Floats] = {0.0: np.zeros(len(self.atoms))}
        for action in self.actions:
            if unknown := sorted(set(action.opens) - breakers):
                raise ValueError(f"action {action.name} opens {', '.join(unknown)}, behind which there is no atom")
            take = np.array([1.0 if set(atom.behind) & set(action.opens) else 0.0 for atom in self.atoms])
            for name, _ in (*action.claims, *action.lowers):
                if name not in index:
                    raise ValueError(f"action {action.name} claims {name}, and there is no such atom")
            for name, share in action.claims:
                take[index[name]] = max(take[index[name]], share)
            self._take[action.name] = take
            lower = self._lower.setdefault(action.v_set_pu, np.zeros(len(self.atoms)))
            for name, share in action.lowers:
                lower[index[name]] = share

    @property
    def start(self) -> State:
        """Everything is there."""
        return State(np.ones(len(self.atoms)))

    def action(self, name: str) -> Action:
        """The action of that name; KeyError when there is none."""
        for action in self.actions:
            if action.name == name:
                return action
        raise KeyError(name)

    def after(self, state: State, action: str) -> State:
        """The state that an action leaves; the same again where it has acted already."""
        chosen = self.action(action)
        opened = state.opened | set(chosen.opens)
        tripped = state.tripped | {action} if chosen.feeders else state.tripped
        return State(np.minimum(state.left, 1.0 - self._take[action]), min(state.v_set_pu, chosen.v_set_pu), opened, tripped)

    def closed(self, state: State) -> int:
        """How many of the like feeders are closed."""
        return max(self.count - sum(self.action(name).feeders for name in state.tripped), 0)

    def after_all(self, actions: Iterable[str], state: State | None = None) -> State:
        """The state that a sequence leaves."""
        now = state or self.start
        for name in actions:
            now = self.after(now, name)
        return now

    def take(self, action: str) -> Floats:
        """The share [n] of each atom that an action takes."""
        return self._take[action].copy()

    def lower(self, v_set_pu: float) -> Floats:
        """The share [n] of what is left of each atom that a set-point of one of the actions takes off it; KeyError for another."""
        return self._lower[v_set_pu].copy()

    def net_w(self, state: State) -> float:
        """Load less generation of what is left, at the voltage of the state, W."""
        there = self.closed(state) * state.left * (1.0 - self._lower[state.v_set_pu]) * self.p_w
        return float(there[self.is_load].sum() - there[~self.is_load].sum())

    def shed_w(self, before: State, after: State) -> tuple[float, float]:
        """(load, generation) that went between two states, at snapshot power, W."""
        gone = (self.closed(before) * before.left - self.closed(after) * after.left) * self.p_w
        return float(gone[self.is_load].sum()), float(gone[~self.is_load].sum())

    def connected_w(self, state: State) -> tuple[float, float]:
        """(load, generation) that is there, at snapshot power, W."""
        there = self.closed(state) * state.left * self.p_w
        return float(there[self.is_load].sum()), float(there[~self.is_load].sum())

    def membership(self) -> Mapping[str, tuple[str, ...]]:
        """Atom: the schemes that claim it, in the order of the actions."""
        return {
            atom.name: tuple(action.name for action in self.actions if self._take[action.name][k] > 0.0)
            for k, atom in enumerate(self.atoms)
        }

    def hash(self) -> str:
        """sha256 over atoms and actions."""
        return hashlib.sha256(repr((self.atoms, self.actions, self.count)).encode()).hexdigest()

    def spread_out(self) -> Atoms:
        """The same load as atoms of one feeder that stands for all: each atom once for the feeders that every action would open
        whole, and once for the rest. For programs that choose among actions.
        """
        groups = {action.name: action.feeders for action in self.actions if action.feeders}
        left = self.count
        sizes: dict[str, int] = {}
        for name, feeders in groups.items():
            sizes[name] = min(feeders, left)
            left -= sizes[name]
        sizes[""] = left
        atoms, claims, lowers = list[Atom](), dict[str, list[tuple[str, float]]](), dict[str, list[tuple[str, float]]]()
        for group, size in sizes.items():
            for k, atom in enumerate(self.atoms if size else ()):
                behind = (*atom.behind, f"@{group}") if group else atom.behind
                atoms.append(Atom(f"{atom.name}@{group}", atom.kind, size * atom.p_w, behind, atom.priority))
                for action in self.actions:
                    if share := self._take[action.name][k]:
                        claims.setdefault(action.name, []).append((atoms[-1].name, float(share)))
                    if action.v_set_pu and (share := self._lower[action.v_set_pu][k]):
                        lowers.setdefault(action.name, []).append((atoms[-1].name, float(share)))
        actions = [
            replace(
                action, opens=(f"@{action.name}",) if sizes.get(action.name) else (), feeders=0,
                claims=tuple(claims.get(action.name, ())), lowers=tuple(lowers.get(action.name, ())),
            )
            for action in self.actions
        ]  # fmt: skip
        return Atoms(atoms, actions)


@dataclass(frozen=True)
class FeederBank:
    """Like feeders at a bus as a study knows them: how many are closed, and what each draws, its load and its DER, W; w_per_hz: how
    what each draws follows the frequency."""

    name: str
    closed: int
    p_w: float
    load_w: float
    der_w: float
    w_per_hz: float = 0.0


def in_order(times: Mapping[str, int], actions: Sequence[Action]) -> list[Action]:
    """Actions by the time at which each acts, at one time in the order given; those without a time are left out."""
    timed = [(times[action.name], k, action) for k, action in enumerate(actions) if action.name in times]
    return [action for *_, action in sorted(timed, key=lambda row: row[:2])]
