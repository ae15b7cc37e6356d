"""Second-order cone programs over a linear model of the feeder, solved by clarabel.

    the set of each resource     |(p, q)| <= s, bounds, facets of its table
    voltages                     low <= v0 + g (x - x0) <= high                 linear
    currents                     |i0 + h (x - x0)| <= 1, complex, pu of limit   a cone each

Of the network's limits only few are active at any point. A program begins with those that were active before, and adds what its
solution violates until nothing is violated: the same optimum as with all of them, in a tenth of the time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from federates.tblm.capability.resources import Resource
from federates.tblm.capability.space import Model, Space

Floats = NDArray[np.float64]

_MARGIN = 2e-6  # aimed at within every limit (pu): what the solver and the last solve leave open
_VIOLATED = 1e-7
_ROUNDS = 12
_MOST_ADDED = 8  # of the worst rows, a round and kind
_FAR_V_PU, _FAR_I_PU = 2e-3, 0.1
_SPARE_PU = 1e-3  # sought within the limits when set-points that keep them are looked for
_STAY = 2e-3
"""Weight of the square of the move against the objective's largest slope. Many set-points give nearly the same head power; without
it a program jumps between them, over ways on which the linear model is wrong."""


class _Rows(NamedTuple):
    """A @ x + s = b with s in the cones, in their order."""

    a: Floats
    b: Floats
    cones: list[Any]


class ConeSolver:
    """Programs over the resources that `space` may move; remembers which limits were active. Not convergent: None.

    extra: (lowest, highest) of further variables, behind those of the resources in every x and model."""

    def __init__(self, space: Space, extra: tuple[Floats, Floats] | None = None) -> None:
        import clarabel

        self._clarabel = clarabel
        self._space = space
        self._settings = clarabel.DefaultSettings()
        self._settings.verbose = False
        self._settings.max_threads = 1
        self._fixed = _with_extra(_fixed_rows(space.moved, space.unit_va, clarabel), extra, clarabel)
        limits = space.limits
        self._v_active = np.zeros(2 * limits.node.size, bool)  # upper limits, then lower
        self._i_active = np.zeros(limits.i_max_a.size, bool)
        self.programs = 0

    def farthest(self, model: Model, direction: Floats) -> Floats | None:
        """The x within all limits of the model that goes farthest in the P-Q plane. direction [2]: of head P and Q."""
        slope = direction @ model.pq
        size = max(float(np.abs(slope).max()), 1e-30)
        values, vectors = np.linalg.eigh(np.tensordot(direction, model.curvature, 1) / size)
        hessian = (vectors * (np.maximum(-values, 0.0) + _STAY)) @ vectors.T
        return self._solve(model, -slope / size - hessian @ model.origin, hessian, None)

    def nearest(self, model: Model, x: Floats, pq: Floats) -> Floats | None:
        """The x nearest to a given one that brings the head to (P, Q) within all limits of the model. pq [2]: W and var."""
        return self._solve(model, -x, np.eye(x.size), pq)

    def feasible(self, model: Model) -> tuple[Floats, float] | None:
        """(x, by how much limits are missed) with the least miss of the network's limits; the miss is 0 or less when it can be
        none."""
        solved = self._least_miss(model)
        return None if solved is None else (solved[:-1], float(solved[-1]))

    # ---- internals

    def _solve(self, model: Model, linear: Floats, hessian: Floats, pq: Floats | None) -> Floats | None:
        """Minimise linear @ x + x @ hessian @ x / 2."""
        flow = model.flow
        extra = self._facet_rows(model)
        if pq is not None:
            unit = max(float(np.abs(model.pq).max()), 1e-30)
            right = (pq - flow.pq + model.pq @ flow.x) / unit
            extra.append(_Rows(model.pq / unit, right, [self._clarabel.ZeroConeT(2)]))
        for _ in range(_ROUNDS):
            x = self._run(hessian, linear, [self._fixed, *extra, self._limit_rows(model)])
            if x is None:
                return None
            if not self._add_violated(model, x):
                return x
        return x

    def _least_miss(self, model: Model) -> Floats | None:
        """Minimise t such that every limit of the network is missed by no more than t; (x, t), [2 m + 1]."""
        n, no_limit = model.flow.x.size, self._clarabel.NonnegativeConeT(1)
        own = [_Rows(np.hstack((r.a, np.zeros((r.b.size, 1)))), r.b, r.cones) for r in (self._fixed, *self._facet_rows(model))]
        bound = _Rows(np.eye(1, n + 1, n) * -1.0, np.array([_SPARE_PU]), [no_limit])
        hessian, linear = np.diag(np.append(np.full(n, _STAY * _SPARE_PU), 0.0)), np.append(-_STAY * _SPARE_PU * model.flow.x, 1.0)
        self._add_violated(model, model.flow.x)
        solved = None
        for _ in range(_ROUNDS):
            rows = self._limit_rows(model)
            n_v = int(self._v_active.sum())
            slack = np.full((rows.b.size, 1), -1.0)
            slack[n_v:] = 0.0
            slack[n_v::3] = -1.0
            solved = self._run(hessian, linear, [*own, bound, _Rows(np.hstack((rows.a, slack)), rows.b, rows.cones)])
            if solved is None or not self._add_violated(model, solved[:-1], float(max(solved[-1], 0.0))):
                break
        return solved

    def _run(self, hessian: Floats, linear: Floats, rows: list[_Rows]) -> Floats | None:
        self.programs += 1
        a, quadratic = _csc(np.concatenate([r.a for r in rows])), _csc(np.triu(hessian))
        b = np.concatenate([r.b for r in rows])
        cones = [cone for r in rows for cone in r.cones]
        solution = self._clarabel.DefaultSolver(quadratic, linear, a, b, cones, self._settings).solve()
        status = str(solution.status)
        return np.array(solution.x) if status in ("Solved", "AlmostSolved") else None

    def _limit_rows(self, model: Model) -> _Rows:
        limits, flow = self._space.limits, model.flow
        n = limits.node.size
        high, low = np.flatnonzero(self._v_active[:n]), np.flatnonzero(self._v_active[n:])
        at = flow.v_pu - model.v @ flow.x if high.size or low.size else flow.v_pu
        a_v = np.concatenate((model.v[high], -model.v[low]))
        b_v = np.concatenate(((limits.v_high - at)[high], (at - limits.v_low)[low])) - _MARGIN
        branch = np.flatnonzero(self._i_active)
        slope, offset = model.i[branch], flow.i_pu[branch] - model.i[branch] @ flow.x
        a_i = np.zeros((3 * branch.size, flow.x.size))
        a_i[1::3], a_i[2::3] = -slope.real, -slope.imag
        b_i = np.full(3 * branch.size, 1.0 - _MARGIN)
        b_i[1::3], b_i[2::3] = offset.real, offset.imag
        cones: list[Any] = [self._clarabel.NonnegativeConeT(b_v.size)] if b_v.size else []
        cones += [self._clarabel.SecondOrderConeT(3)] * branch.size
        return _Rows(np.concatenate((a_v, a_i)), np.concatenate((b_v, b_i)), cones)

    def _add_violated(self, model: Model, x: Floats, allowed: float = 0.0) -> bool:
        """Make the worst of the limits active that x violates in the model; whether there were any. Where there were none, drop
        those that it is far from."""
        limits, flow = self._space.limits, model.flow
        step = x - flow.x
        v, i = flow.v_pu + model.v @ step, np.abs(flow.i_pu + model.i @ step)
        beyond_v, beyond_i = np.concatenate((v - limits.v_high, limits.v_low - v)) - allowed, i - 1.0 - allowed
        found = False
        for active, beyond in ((self._v_active, beyond_v), (self._i_active, beyond_i)):
            violated = np.flatnonzero(~active & (beyond > _VIOLATED))
            if violated.size:
                found = True
                active[violated[np.argsort(-beyond[violated], kind="stable")[:_MOST_ADDED]]] = True
        if not found:
            self._v_active &= beyond_v > -_FAR_V_PU
            self._i_active &= beyond_i > -_FAR_I_PU
        return found

    def _facet_rows(self, model: Model) -> list[_Rows]:
        a, b = model.facets
        return [_Rows(a, b, [self._clarabel.NonnegativeConeT(b.size)])] if b.size else []


def _with_extra(rows: _Rows, extra: tuple[Floats, Floats] | None, clarabel: Any) -> _Rows:
    """The rows, and bounds of further variables in front of them."""
    if extra is None:
        return rows
    (low, high), n = extra, rows.a.shape[1]
    k = low.size
    bounds = np.hstack((np.zeros((2 * k, n)), np.concatenate((np.eye(k), -np.eye(k)))))
    a = np.concatenate((bounds, np.hstack((rows.a, np.zeros((rows.b.size, k))))))
    return _Rows(a, np.concatenate((high, -low, rows.b)), [clarabel.NonnegativeConeT(2 * k), *rows.cones])


def _csc(dense: Floats) -> sp.csc_matrix:
    """As a sparse matrix, without the checks that cost more than a small program."""
    columns, rows = np.nonzero(dense.T)
    starts = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)
    return sp.csc_matrix((dense[rows, columns], rows.astype(np.int32), starts), shape=dense.shape)


def _fixed_rows(resources: tuple[Resource, ...], unit_va: float, clarabel: Any) -> _Rows:
    """What does not depend on the network: the resources' own sets."""
    m = len(resources)
    rows: list[tuple[float, float, float]] = []  # (coefficient of p, of q, right side)
    of: list[int] = []
    for k, r in enumerate(resources):
        if r.q_per_p is not None:
            rows.append((-r.q_per_p, 1.0, 0.0))
            of.append(k)
    ties = len(rows)
    for k, r in enumerate(resources):
        bounds = ((1.0, 0.0, r.p_max_w), (-1.0, 0.0, -r.p_min_w), (0.0, 1.0, r.q_max_var), (0.0, -1.0, -r.q_min_var))
        for row in bounds:
            if np.isfinite(row[2]):
                rows.append((row[0], row[1], row[2] / unit_va))
                of.append(k)
    flat = len(rows)
    for k, r in enumerate(resources):
        rows += [(0.0, 0.0, r.s_va / unit_va), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)]
        of += [k, k, k]
    table = np.array(rows).reshape(-1, 3)
    a, at, column = np.zeros((len(rows), 2 * m)), np.arange(len(rows)), np.array(of, int)
    a[at, column], a[at, column + m] = table[:, 0], table[:, 1]
    cones: list[Any] = [clarabel.ZeroConeT(ties)] if ties else []
    cones += [clarabel.NonnegativeConeT(flat - ties)] if flat > ties else []
    return _Rows(a, table[:, 2], [*cones, *([clarabel.SecondOrderConeT(3)] * m)])
