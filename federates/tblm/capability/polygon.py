"""Convex polygons in the P-Q plane. Points are rows of an array [n, 2]; polygons are counter-clockwise, without repetition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SAME = 1e-5  # of the polygon's size


def hull(points: Floats) -> NDArray[np.intp]:
    """Indices of the corners of the convex hull, counter-clockwise (monotone chain; Andrew 1979). Points on an edge are left
    out."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    if order.size < 3:
        return np.asarray(order)

    def half(indices: list[int]) -> list[int]:
        chain: list[int] = []
        for i in indices:
            while len(chain) > 1 and _turn(points[chain[-2]], points[chain[-1]], points[i]) <= 0.0:
                chain.pop()
            chain.append(i)
        return chain

    forward = order.tolist()
    lower, upper = half(forward), half(forward[::-1])
    return np.array(lower[:-1] + upper[:-1], np.intp)


def apart(polygon: Floats) -> NDArray[np.intp]:
    """Indices of the corners that are not all but the same as the one before."""
    least = _SAME * float(np.abs(np.ptp(polygon, axis=0)).max()) if len(polygon) else 0.0
    kept: list[int] = []
    for k in range(len(polygon)):
        if not kept or float(np.abs(polygon[k] - polygon[kept[-1]]).max()) > least:
            kept.append(k)
    if len(kept) > 1 and float(np.abs(polygon[kept[-1]] - polygon[kept[0]]).max()) <= least:
        kept.pop()
    return np.array(kept, np.intp)


def area(polygon: Floats) -> float:
    """Signed area, positive counter-clockwise; 0 for less than three corners."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0] - polygon[0, 0], polygon[:, 1] - polygon[0, 1]
    return 0.5 * float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def weights(polygon: Floats, point: Floats) -> Floats:
    """Weights of the corners, not negative and of sum 1, that give a point of a convex polygon, by a fan of triangles from the
    corner farthest away; ValueError for a point outside."""
    n = len(polygon)
    apex = int(np.argmax(np.linalg.norm(polygon - point, axis=1)))
    for k in range(1, n - 1):
        i, j = (apex + k) % n, (apex + k + 1) % n
        edges = np.stack((polygon[i] - polygon[apex], polygon[j] - polygon[apex]), axis=1)
        if abs(np.linalg.det(edges)) == 0.0:
            continue
        a, b = np.linalg.solve(edges, point - polygon[apex]).tolist()
        if a >= -1e-9 and b >= -1e-9 and a + b <= 1.0 + 1e-9:
            out = np.zeros(n)
            out[[apex, i, j]] = 1.0 - a - b, a, b
            clipped: Floats = np.maximum(out, 0.0) / np.maximum(out, 0.0).sum()
            return clipped
    raise ValueError(f"({point[0]:.6g}, {point[1]:.6g}) is outside the polygon")


def _turn(a: Floats, b: Floats, c: Floats) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
