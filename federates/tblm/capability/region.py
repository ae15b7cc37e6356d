"""The P-Q region of a feeder for one state of its taps and capacitors: directions where it is known worst, the best kept.

A support direction d gives a vertex z and, as far as the vertex is the farthest, a line d.z = h that nothing of the region lies
beyond. Between two neighbouring vertices the region is at least their chord and at most the corner where their lines meet; the next
direction is the normal of the chord over the largest such triangle (the sandwich scheme of Rote 1992 for convex sets). Its vertex
is searched from the linear model of the nearer end of the chord, where the model is good, and kept only after a full solve in which
every limit holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.tblm.capability.cone import ConeSolver
from federates.tblm.capability.polygon import area, hull
from federates.tblm.capability.space import Flow, Model, Space

Floats = NDArray[np.float64]

HOLDS = 1e-6
"""Excess (pu of voltage, per unit of a current's limit or of a rating) up to which a limit counts as kept."""
_CORRECTIONS = 4
_PASSES = 3
_FAR = 2e-3
"""A step after which the model misses a limit by more went farther than it is good for: one more from where it led to."""
_PULLS = 6
_MODEL_BYTES = 400e6  # of all models that are kept: on large networks the oldest are made again when they are wanted


@dataclass(frozen=True)
class RegionOptions:
    """directions: at most so many. gap: stop when the triangles between chords and supporting lines are this part of the area.
    start: first directions, evenly spaced."""

    directions: int = 48
    gap: float = 0.002
    start: int = 8


@dataclass(frozen=True, eq=False)
class Region:
    """vertices: verified flows, counter-clockwise in (head P, head Q). gap: what may be missing at most, part of the area, as far
    as every vertex is the farthest of its direction."""

    vertices: tuple[Flow, ...]
    gap: float

    @property
    def polygon(self) -> Floats:
        """[n, 2]: head P and Q, load positive."""
        return np.array([flow.pq for flow in self.vertices]).reshape(-1, 2)


class RegionSearch:
    """Finds the region of a space. known: set-points x that may hold here too, verified before they are used."""

    def __init__(self, space: Space, options: RegionOptions | None = None, known: Sequence[Floats] = ()) -> None:
        self.space, self.options = space, options or RegionOptions()
        self.solver = ConeSolver(space)
        self._found: list[Flow] = []
        self._points: list[tuple[float, float]] = []
        self._models: dict[int, Model] = {}
        for x in known:
            flow = space.flow(x)
            if flow is not None:
                self._keep(flow)

    def run(self) -> Region:
        """The region; ValueError where no set-points were found that keep every limit, with the limit that stands in the way."""
        base = self.start()
        directions: list[Floats] = []
        for k in range(self.options.start):
            angle = 2.0 * np.pi * k / self.options.start
            direction = np.array((np.cos(angle), np.sin(angle)))
            self.extreme(direction, base if not directions else self.best(direction))
            directions.append(direction)
        gap = np.inf
        while True:
            worst = self._worst(directions)
            if worst is None:
                gap = 0.0
                break
            direction, ends, gap = worst
            if gap <= self.options.gap or len(directions) >= self.options.directions:
                break
            self.extreme(direction, ends)
            directions.append(direction)
        points = np.array(self._points)
        return Region(tuple(self._found[k] for k in hull(points)), float(gap))

    def start(self) -> Flow:
        """A flow that keeps every limit: the present one, or the nearest to keeping them that cone programs find."""
        if self._found:
            return self._found[0]
        flow = self.space.flow(self.space.present())
        for _ in range(_PULLS):
            if flow is None:
                break
            if flow.excess <= HOLDS:
                return self._keep(flow) or flow
            solved = self.solver.feasible(self.model(flow))
            if solved is None:
                break
            flow = self.space.flow(solved[0])
        if flow is not None and flow.excess <= HOLDS:
            return self._keep(flow) or flow
        raise ValueError(f"no set-points keep the limits: {self.blame(flow)}")

    def extreme(self, direction: Floats, near: Flow) -> Flow | None:
        """Search the farthest flow in a direction, beginning at a known one; None where what that leads to keeps not every
        limit."""
        best: Flow | None = None
        for _ in range(_PASSES):
            flow, missed = self._step(direction, near)
            if flow is None:
                break
            if best is None or direction @ flow.pq > direction @ best.pq:
                best = flow
            if missed < _FAR:
                break
            near = flow
        return best

    def _step(self, direction: Floats, near: Flow) -> tuple[Flow | None, float]:
        """(the farthest flow by the model of `near`, by how much the model missed a limit at first)."""
        model = self.model(near)
        target, missed = self.solver.farthest(model, direction), 0.0
        if target is None:
            return None, 0.0
        for turn in range(_CORRECTIONS):
            flow = self.space.flow(target)
            if flow is None:
                return None, 0.0
            missed = flow.excess if turn == 0 else missed
            if flow.excess <= HOLDS:
                return self._keep(flow), missed
            # the slopes of the model hold on; what it missed by is now known
            again = self.solver.farthest(model.moved(flow), direction)
            if again is None:
                break
            target = again
        return self._pull_back(near, target), missed

    def best(self, direction: Floats) -> Flow:
        """The farthest flow in a direction of all that were found."""
        return self._found[int(np.argmax(np.array(self._points) @ direction))]

    def model(self, flow: Flow) -> Model:
        """The linear model of a flow, made once."""
        made = self._models.get(id(flow))
        if made is None:
            made = self.space.model(flow)
            while self._models and (len(self._models) + 1) * (made.v.nbytes + made.i.nbytes) > _MODEL_BYTES:
                del self._models[next(iter(self._models))]
            self._models[id(flow)] = made  # which holds the flow, so that its id stays its own
        return made

    def blame(self, flow: Flow | None) -> str:
        """Which limit a flow misses most."""
        if flow is None:
            return "the power flow does not converge"
        limits, names = self.space.limits, self.space.feeder.node_names
        high, low = flow.v_pu - limits.v_high, limits.v_low - flow.v_pu
        amps = np.abs(flow.i_pu) - 1.0
        options = [
            (float(high.max(initial=-1.0)), lambda: f"{names[limits.node[high.argmax()]]} is at {flow.v_pu[high.argmax()]:.4f} pu"),
            (float(low.max(initial=-1.0)), lambda: f"{names[limits.node[low.argmax()]]} is at {flow.v_pu[low.argmax()]:.4f} pu"),
            (
                float(amps.max(initial=-1.0)),
                lambda: f"line {limits.branches.line[amps.argmax()]} carries {100.0 * (1.0 + amps.max()):.1f} % of its limit",
            ),
        ]
        worst = max(options, key=lambda option: option[0])
        return worst[1]() if worst[0] > HOLDS else "a resource is outside its own limits"

    # ---- internals

    def _keep(self, flow: Flow) -> Flow | None:
        if flow.excess > HOLDS:
            return None
        self._found.append(flow)
        self._points.append((flow.p_w, flow.q_var))
        return flow

    def _pull_back(self, inside: Flow, target: Floats) -> Flow | None:
        """The farthest of a few points on the way from a flow that holds to one that does not."""
        low, high = 0.0, 1.0
        best = None
        for _ in range(_PULLS):
            part = 0.5 * (low + high)
            flow = self.space.flow(inside.x + part * (target - inside.x))
            if flow is not None and flow.excess <= HOLDS:
                low, best = part, flow
            else:
                high = part
        return self._keep(best) if best is not None else None

    def _worst(self, directions: list[Floats]) -> tuple[Floats, Flow, float] | None:
        """(next direction, flow to start from, sum of all triangles relative to the area), None when nothing is left to find."""
        points = np.array(self._points)
        order = sorted(range(len(directions)), key=lambda k: float(np.arctan2(directions[k][1], directions[k][0])))
        best = [int(np.argmax(points @ directions[k])) for k in order]
        inner = area(points[best])
        largest, total, choice = 0.0, 0.0, None
        for a in range(len(order)):
            b = (a + 1) % len(order)
            u, w = directions[order[a]], directions[order[b]]
            first, second = points[best[a]], points[best[b]]
            chord = second - first
            cross = u[0] * w[1] - u[1] * w[0]
            if not chord.any() or cross <= 1e-12:
                continue
            h = np.array((u @ first, w @ second))
            corner = np.array((h[0] * w[1] - h[1] * u[1], u[0] * h[1] - w[0] * h[0])) / cross
            triangle = abs(chord[0] * (corner - first)[1] - chord[1] * (corner - first)[0]) / 2.0
            total += triangle
            if triangle > largest:
                normal = np.array((chord[1], -chord[0])) / np.linalg.norm(chord)
                near = first if normal @ (first - points.mean(axis=0)) >= normal @ (second - points.mean(axis=0)) else second
                largest, choice = triangle, (normal, self._found[best[a] if near is first else best[b]])
        if choice is None or inner <= 0.0:
            return None
        return choice[0], choice[1], total / inner
