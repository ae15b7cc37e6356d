"""Set-points for a point of a region: between those of its corners, then put right by cone programs and full solves.

Between corners whose taps and capacitors differ, the steps between are rounded; where that does not lead there, the settings of the
nearest corners are tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.tblm.capability.compute import Capability, CapabilityStudy
from federates.tblm.capability.cone import ConeSolver
from federates.tblm.capability.devices import Setting, present, put
from federates.tblm.capability.limits import limits_of
from federates.tblm.capability.polygon import weights
from federates.tblm.capability.region import HOLDS
from federates.tblm.capability.resources import held
from federates.tblm.capability.space import Flow, Space

Floats = NDArray[np.float64]

MET = 1e-4
"""Of the largest resource's rating: a head power met within it counts as met."""
_TURNS = 6
_SETTINGS = 4


@dataclass(frozen=True, eq=False)
class SetPoints:
    """How a point is reached: DER powers [n_der], generation positive, and device steps; p_w, q_var: the head in the full solve."""

    der_p_w: Floats
    der_q_var: Floats
    setting: Setting
    p_w: float
    q_var: float


class PointSearch:
    """Finds set-points for points of one region of a study. The feeder is moved about; `close` puts it back."""

    def __init__(self, study: CapabilityStudy, capability: Capability) -> None:
        self._study, self._capability = study, capability
        self._before = present(study.feeder)
        self._made: dict[bytes, tuple[Setting, Space, ConeSolver]] = {}
        self._resources = [resource.at(capability.quantile, capability.delivery_s) for resource in study.resources]
        self._steps = np.hstack((capability.taps, capability.capacitors)).astype(float)
        study.feeder.set_source(capability.v_pu)

    def close(self) -> None:
        """The feeder as it was found."""
        self._study.feeder.set_source(self._study.v_now_pu)
        put(self._study.feeder, self._before)
        self._study.stand()

    def find(self, p_w: float, q_var: float) -> SetPoints | None:
        """Set-points that bring the head to (p_w, q_var), load positive, within every limit; None where none were found. ValueError
        for a point outside the region."""
        c, wanted = self._capability, np.array((p_w, q_var))
        share = weights(c.pq, wanted)
        between = np.rint(share @ self._steps).astype(np.int32)
        tried: list[bytes] = []
        for steps in (between, *(self._steps[k].astype(np.int32) for k in np.argsort(-share, kind="stable"))):
            if steps.tobytes() in tried:
                continue
            if len(tried) == _SETTINGS:
                break
            tried.append(steps.tobytes())
            setting, space, solver = self._at(steps)
            flow = _towards(space, solver, space.x_of(share @ c.der_p_w, share @ c.der_q_var), wanted)
            if flow is not None:
                return SetPoints(*space.powers(flow.x), setting, flow.p_w, flow.q_var)
        return None

    def _at(self, steps: NDArray[np.int32]) -> tuple[Setting, Space, ConeSolver]:
        key, n, study = steps.tobytes(), self._capability.taps.shape[1], self._study
        setting = Setting(steps[:n], steps[n:])
        if not present(study.feeder).same(setting):
            put(study.feeder, setting)
            study.stand()
        if key not in self._made:
            limits = limits_of(study.feeder, study.network, study.rules)
            free = ~held(self._resources, self._capability.delivery_s)
            space = Space(study.feeder, study.network, limits, self._resources, free)
            self._made[key] = setting, space, ConeSolver(space)
        return self._made[key]


def _towards(space: Space, solver: ConeSolver, start: Floats, wanted: Floats) -> Flow | None:
    """The flow nearest to x `start` that keeps every limit and has the head at `wanted`; None where that is not found."""
    flow = space.flow(start)
    model = None
    for _ in range(_TURNS):
        if flow is None:
            return None
        if flow.excess <= HOLDS and float(np.abs(flow.pq - wanted).max()) <= MET * space.unit_va:
            return flow
        model = space.model(flow) if model is None else model.moved(flow)
        x = solver.nearest(model, start, wanted)
        if x is None:
            return None
        flow = space.flow(x)
    return None
