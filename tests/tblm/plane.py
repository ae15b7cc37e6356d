"""Convex polygons in a plane, for judging regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def margins(polygon: Floats, points: Floats) -> Floats:
    """How far each point is inside a counter-clockwise convex polygon, [n_points]: distance to the nearest edge, negative
    outside."""
    edge = np.roll(polygon, -1, axis=0) - polygon
    normal = np.stack((-edge[:, 1], edge[:, 0]), axis=1) / np.linalg.norm(edge, axis=1)[:, None]
    inside: Floats = ((points[:, None, :] - polygon) * normal).sum(axis=2).min(axis=1)
    return inside


def sample(polygon: Floats, n: int, rng: np.random.Generator) -> Floats:
    """`n` points drawn evenly over a convex polygon, [n, 2]."""
    fan = np.stack((np.broadcast_to(polygon[0], polygon[2:].shape), polygon[1:-1], polygon[2:]), axis=1)
    first, second = fan[:, 1] - fan[:, 0], fan[:, 2] - fan[:, 0]
    size = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    triangle = rng.choice(len(fan), n, p=size / size.sum())
    a, b = np.sort(rng.random((2, n)), axis=0)
    drawn: Floats = fan[triangle, 0] * a[:, None] + fan[triangle, 1] * (b - a)[:, None] + fan[triangle, 2] * (1.0 - b)[:, None]
    return drawn
