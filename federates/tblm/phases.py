"""What the phases of the head measurement say about where the load is.

A substation of delta and star mixes the phases and keeps the zero sequence to itself, so that no phase of the head is a phase of
the feeder. How the head answers to load on each phase is therefore tried out on the model, and a mismatch of the six powers at the
head is turned into load by least squares of least size: what the head cannot see is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Head = Callable[[Floats, Floats], Floats]
"""(P, Q) taken by each load, [n] each -> P and Q of the head by phase, [6]."""

_STEP = 0.02  # of all load: by how much the load of a phase is moved to see the answer
_SEEN = 0.15  # of the largest singular value: a pattern of load that moves the head less is not seen
_LEAST, _MOST = 0.25, 2.0  # of what a load was taken for: it is not corrected beyond


class PhaseMatch:
    """phases: those of each load, numbered 1 to 3."""

    def __init__(self, phases: Sequence[tuple[int, ...]]) -> None:
        self._on = np.array([[(k in on) / max(len(on), 1) for k in (1, 2, 3)] for on in phases], float).reshape(-1, 3)

    def corrected(
        self, p_w: Floats, q_var: Floats, weight_p: Floats, weight_q: Floats, measured: Floats, head: Head
    ) -> tuple[Floats, Floats]:
        """Loads [n] with which the head is nearer to what was `measured` [6]; weights [n]: how much of a phase's correction a load
        takes. What `head` raises goes on."""
        spread = [_columns(weight[:, None] * self._on) for weight in (weight_p, weight_q)]
        now = head(p_w, q_var)
        step_va = _STEP * max(float(np.hypot(p_w.sum(), q_var.sum())), 1.0)
        answer = np.zeros((6, 6))
        for k in range(3):
            answer[:, k] = (head(p_w + step_va * spread[0][:, k], q_var) - now) / step_va
            answer[:, 3 + k] = (head(p_w, q_var + step_va * spread[1][:, k]) - now) / step_va
        x = np.linalg.pinv(answer, rcond=_SEEN) @ (measured - now)
        new_p, new_q = p_w + spread[0] @ x[:3], q_var + spread[1] @ x[3:]
        size = np.hypot(p_w, q_var)
        return np.clip(new_p, *_band(p_w, p_w)), np.clip(new_q, *_band(q_var, size))


def _band(taken: Floats, size: Floats) -> tuple[Floats, Floats]:
    """How far a correction may go from what a load was taken for."""
    return taken - (1.0 - _LEAST) * np.abs(size), taken + (_MOST - 1.0) * np.abs(size)


def _columns(weight: Floats) -> Floats:
    """Columns that add up to 1, or are 0."""
    total = weight.sum(axis=0)
    return np.asarray(np.divide(weight, total, out=np.zeros_like(weight), where=total > 0.0))
