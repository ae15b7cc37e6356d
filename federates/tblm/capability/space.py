"""The feeder as a function of its set-points: one full solve, or a linear model around one.

Set-points are a vector x [2 m] of the m resources that may move: P of each, then Q of each, per unit of `Space.unit_va`. Resources
that are held stay at what they do now. What a `Flow` says comes from a full three-phase solve; what a `Model` says is linear in x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from federates.grid.feeder import Feeder, FeederError
from federates.grid.feeder.network import Network
from federates.grid.sensitivity import Equations, Jacobian, der_inputs
from federates.tblm.capability.limits import Limits
from federates.tblm.capability.resources import Resource

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Flow:
    """A full solve. p_w, q_var: of the head, load positive. excess: the worst limit, 0 at the limit and positive beyond it,
    relative to the limit (voltages: in pu). v_pu [n_limited nodes]; i_pu: complex currents per unit of their limits."""

    x: Floats
    p_w: float
    q_var: float
    excess: float
    v_pu: Floats
    i_pu: Complexes
    phasor_v: Complexes

    @property
    def pq(self) -> Floats:
        return np.array((self.p_w, self.q_var))


@dataclass(frozen=True, eq=False)
class Model:
    """Linear in x around `flow`. v [n_v, 2 m], i [n_i, 2 m] complex, pq [2, 2 m]: slopes of the flow's own quantities; curvature
    [2, 2 m, 2 m]: of head P and Q around `origin`, the x where all slopes are from. facets (a, b): a @ x <= b, of tables."""

    flow: Flow
    v: Floats
    i: Complexes
    pq: Floats
    curvature: Floats
    origin: Floats
    facets: tuple[Floats, Floats]

    def moved(self, flow: Flow) -> Model:
        """The same slopes around another flow, near enough that they hold."""
        return replace(self, flow=flow)


class Space:
    """`feeder` with its taps and capacitors as they stand. resources: those of the feeder's DER sites, in their order; free [n]:
    which of them may move."""

    def __init__(
        self, feeder: Feeder, network: Network, limits: Limits, resources: Sequence[Resource], free: NDArray[np.bool_]
    ) -> None:
        names = tuple(resource.name.lower() for resource in resources)
        if names != feeder.der_names:
            raise ValueError("resources and DER sites differ; give one resource for each site, in the order of Feeder.der_names")
        self.feeder, self.network, self.limits = feeder, network, limits
        self._equations = Equations(network)
        self.resources, self.free = tuple(resources), np.flatnonzero(free)
        self.moved = tuple(self.resources[k] for k in self.free)
        self.m = len(self.moved)
        self.unit_va = max((resource.s_va for resource in resources), default=1.0)
        now = [(min(max(r.p_now_w, r.p_min_w), r.p_max_w), r.q_now_var) for r in resources]
        self._now = np.array(now).reshape(-1, 2)
        self._base_v = feeder.node_base_kv[limits.node] * 1e3
        self._terminals = feeder.der_nodes()[self.free]
        self.solves = self.models = 0

    def present(self) -> Floats:
        """x of what the resources do now."""
        return (self._now[self.free] / self.unit_va).T.ravel()

    def x_of(self, p_w: Floats, q_var: Floats) -> Floats:
        """x of powers of every resource of the feeder, [n] each; what those do that are held does not matter."""
        x: Floats = np.concatenate((p_w[self.free], q_var[self.free])) / self.unit_va
        return x

    def powers(self, x: Floats) -> tuple[Floats, Floats]:
        """(p_w, q_var) of every resource of the feeder, [n] each, generation positive."""
        out = self._now.copy()
        out[self.free] = x.reshape(2, self.m).T * self.unit_va
        return out[:, 0], out[:, 1]

    def flow(self, x: Floats) -> Flow | None:
        """The full solve at x; None where it does not converge."""
        self.feeder.set_der(*self.powers(x))
        try:
            self.feeder.solve()
        except FeederError:
            return None
        self.solves += 1
        phasor, limits = self.feeder.node_phasor_v(), self.limits
        head_p, head_q = self.feeder.head()
        v = np.abs(phasor[limits.node]) / self._base_v
        i = (limits.branches.matrix @ phasor) / limits.i_max_a
        excess = max(
            float((v - limits.v_high).max(initial=-1.0)),
            float((limits.v_low - v).max(initial=-1.0)),
            float(np.abs(i).max(initial=0.0)) - 1.0,
            self._outside(x, phasor),
        )
        return Flow(x, float(head_p.sum()), float(head_q.sum()), excess, v, i, phasor)

    def model(self, flow: Flow) -> Model:
        """The linear model around a flow."""
        self.feeder.set_der(*self.powers(flow.x))
        self.feeder.begin_at(flow.phasor_v)
        jacobian = Jacobian(self._equations, flow.phasor_v)
        n = len(self.resources)
        mine = np.concatenate((self.free, self.free + n))
        inputs = der_inputs(self.feeder, flow.phasor_v) * self.unit_va
        by_x, head = jacobian.voltages(inputs), jacobian.head(inputs)[mine]
        p_w, q_var = self.powers(flow.x)
        curvature = jacobian.head_curvature(p_w, q_var, by_x / self.unit_va)[:, mine][:, :, mine] * self.unit_va**2
        v, i = self._limited(flow, by_x[:, mine])
        self.models += 1
        return Model(flow, v, i, np.stack((head.real, head.imag)), curvature, flow.x, self._facets(flow.phasor_v))

    def voltage_slopes(self, flow: Flow, current_a: Complexes) -> tuple[Floats, Complexes, Floats]:
        """How the flow's own quantities answer other injections: (v, i, pq) as in `Model`, a column for each of `current_a`."""
        self.feeder.set_der(*self.powers(flow.x))
        jacobian = Jacobian(self._equations, flow.phasor_v)
        by_x, head = jacobian.voltages(current_a), jacobian.head(current_a)
        v, i = self._limited(flow, by_x)
        return v, i, np.stack((head.real, head.imag))

    def _limited(self, flow: Flow, by_x: Complexes) -> tuple[Floats, Complexes]:
        """Slopes of limited voltages (pu) and currents (per unit of limit) from those of all phasors."""
        node = self.limits.node
        phasor = flow.phasor_v[node]
        v = (phasor.conj()[:, None] * by_x[node]).real / (np.abs(phasor) * self._base_v)[:, None]
        return v, (self.limits.branches.matrix @ by_x) / self.limits.i_max_a[:, None]

    def _terminal_v(self, phasor: Complexes) -> Floats:
        """Mean voltage of each moved resource's terminals, pu."""
        node = self._terminals
        base = np.concatenate(([1.0], self.feeder.node_base_kv * 1e3))
        v = np.concatenate(([0.0], np.abs(phasor)))[node] / base[node]
        mean: Floats = v.sum(axis=1) / (node > 0).sum(axis=1)
        return mean

    def _facets(self, phasor: Complexes) -> tuple[Floats, Floats]:
        """(a [n, 2 m], b [n]): what tables leave of x at these voltages, a @ x <= b."""
        rows, right = [np.zeros((0, 2 * self.m))], [np.zeros(0)]
        v = self._terminal_v(phasor)
        for k, resource in enumerate(self.moved):
            if resource.table is not None:
                a, b = resource.table.facets(float(v[k]))
                row = np.zeros((b.size, 2 * self.m))
                row[:, k], row[:, self.m + k] = a[:, 0], a[:, 1]
                rows.append(row)
                right.append(b / self.unit_va)
        return np.concatenate(rows), np.concatenate(right)

    def _outside(self, x: Floats, phasor: Complexes) -> float:
        """The worst distance of a resource from its own set, relative to its rating."""
        p, q = x.reshape(2, self.m) * self.unit_va
        v = self._terminal_v(phasor)
        worst = [r.excess_va(p[k], q[k], v[k]) / r.s_va for k, r in enumerate(self.moved)]
        return max(worst, default=-1.0)
