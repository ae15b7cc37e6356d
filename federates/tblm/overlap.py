"""What an action of load shedding is worth after others: sequences evaluated on atoms, at the voltage and with the DER they leave.

Every state of a feeder is solved as a whole: loads that are left, DER that still have supply, the bus voltage; what remains then
answers the new voltage; what the bus draws is that times the feeders that are closed. A power is therefore never the product of
two shares. States are solved once each, since an idempotent action leaves the same state wherever in a sequence it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federates.grid.shedding import Action, Atoms, State
from federates.tblm.study import Study

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_NOTHING_W = 1e-3
_NEGLIGIBLE = 1e-4  # of the connected load: a net relief under it is nothing


class Flow(NamedTuple):
    """A state solved: drawn at the head, taken by loads [n_loads], given by DER [n_der]; W."""

    head_w: float
    load_w: Floats
    der_w: Floats


Response = Callable[[State], Flow]
"""Solves the feeder with what a state leaves of it."""


@dataclass(frozen=True)
class Effect:
    """What one action of a sequence does to the bus, W. net_w is what it draws less: shed - generation lost + response.

    load_w, der_w: load and generation taken off, as they were at the snapshot. response_w: fall of the rest, by its voltage, and of
    losses. counter_productive: the bus draws more afterwards.
    """

    action: str
    net_w: float
    load_w: float
    der_w: float
    response_w: float
    counter_productive: bool


class Overlap:
    """The actions of like feeders, evaluated in any order."""

    def __init__(self, atoms: Atoms, response: Response) -> None:
        self.atoms, self._response = atoms, response
        self._flows: dict[bytes, Flow] = {}
        self.connected_w = atoms.connected_w(atoms.start)[0]

    def flow(self, state: State) -> Flow:
        """A closed feeder in a state."""
        key = state.key()
        if key not in self._flows:
            self._flows[key] = self._response(state)
        return self._flows[key]

    def drawn_w(self, state: State) -> float:
        """What the closed feeders draw in a state."""
        closed = self.atoms.closed(state)
        return closed * self.flow(state).head_w if closed else 0.0

    def effect(self, state: State, action: str) -> tuple[Effect, State]:
        """What an action does in a state, and the state it leaves."""
        after = self.atoms.after(state, action)
        load_w, der_w = self.atoms.shed_w(state, after)
        net_w = self.drawn_w(state) - self.drawn_w(after)
        worse = net_w < -_NEGLIGIBLE * max(self.connected_w, 1.0)
        return Effect(action, net_w, load_w, der_w, net_w - load_w + der_w, worse), after

    def sequence(self, actions: Sequence[str]) -> tuple[Effect, ...]:
        """Each action after those before it."""
        state, effects = self.atoms.start, list[Effect]()
        for name in actions:
            effect, state = self.effect(state, name)
            effects.append(effect)
        return tuple(effects)

    def available_w(self) -> dict[str, float]:
        """Net relief of each action, nothing else having acted."""
        return {action.name: self.effect(self.atoms.start, action.name)[0].net_w for action in self.atoms.actions}

    def answered(self) -> Atoms:
        """The atoms for a program that chooses among actions: with what the voltage of each action that moves set-points takes off
        every one of them, by a solve of its own, and with the network's losses on the loads, so that a whole feeder is its head."""
        start, chosen = self.atoms.start, list[Action]()
        before = self.flow(start)
        taken_w = float(before.load_w.sum())
        with_losses = (before.head_w + float(before.der_w.sum())) / taken_w if taken_w > _NOTHING_W else 1.0
        atoms = [replace(a, p_w=a.p_w * with_losses) if a.kind == "load" else a for a in self.atoms.atoms]
        for action in self.atoms.actions:
            if action.v_set_pu:
                after = self.flow(replace(start, v_set_pu=action.v_set_pu))
                pairs = ((before.load_w, after.load_w), (before.der_w, after.der_w))
                fall = np.concatenate([1.0 - np.divide(b, a, out=np.ones_like(a), where=np.abs(a) > _NOTHING_W) for a, b in pairs])
                lowers = ((atom.name, x) for atom, x in zip(self.atoms.atoms, fall.tolist(), strict=True) if x)
                action = replace(action, lowers=tuple(lowers))
            chosen.append(action)
        return Atoms(atoms, chosen, self.atoms.count)

    def conditional_w(self) -> Floats:
        """[a, b]: net relief of action b after action a; on the diagonal of a again, which is nothing."""
        names = [action.name for action in self.atoms.actions]
        table = np.zeros((len(names), len(names)))
        for i, first in enumerate(names):
            state = self.atoms.after(self.atoms.start, first)
            for j, then in enumerate(names):
                table[i, j] = self.effect(state, then)[0].net_w
        return table

    def excess_w(self, actions: Sequence[str]) -> float:
        """By how much the sum of what each is worth alone exceeds what all are worth together."""
        alone = self.available_w()
        return sum(alone[name] for name in actions) - sum(effect.net_w for effect in self.sequence(actions))


def study_response(study: Study, atoms: Atoms, v_pu: float, f_hz: float) -> Response:
    """States solved in a study feeder as its snapshot has it (`Study.begin`): taps as they stand, DER as they answer within two
    seconds. Atoms are the study's loads, then its DER, in their order. ValueError where they are not; StudyError where a state does
    not converge."""
    feeder = study.feeder
    if tuple(atom.name for atom in atoms.atoms) != (*feeder.load_names, *feeder.der_names):
        raise ValueError("atoms are the study's loads and DER, in their order")
    n = len(feeder.load_names)

    def solve(state: State) -> Flow:
        left_der = state.left[n:]
        if not state.left.any():
            return Flow(0.0, np.zeros(n), np.zeros(left_der.size))
        study.curtail(state.left[:n], left_der, sorted(state.opened))
        try:
            head = study.fast(v_pu + state.v_set_pu, f_hz).p_w
            load_w, der_w = feeder.load_power()[0], feeder.der_power()[0] if left_der.size else np.zeros(0)
        finally:
            study.restore_all()
        return Flow(head, load_w, der_w)

    return solve
