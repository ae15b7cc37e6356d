"""Capability tables: reactive limits of a DER over terminal voltage, temperature and active power.

As JSON: `axes` with `P_pu` and, where wanted, `V_pu` and `T_C`, each strictly rising; `data` with `Qmax_pu` and `Qmin_pu`, nested
lists in the order V_pu, T_C, P_pu of the axes that there are; `S_rated_VA`. Between the points of the axes values are interpolated
linearly along each axis, which never exceeds the corners; outside them the nearest value holds (`extrapolation: clamp`, the only
kind). All is per unit of S_rated_VA and generation positive.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_AXES = ("V_pu", "T_C", "P_pu")
_FIELDS = {"axes", "data", "S_rated_VA", "interpolation", "extrapolation", "source", "valid_from"}
_BEYOND = 1e-9  # rounding of a table made on the circle


@dataclass(frozen=True, eq=False)
class CapabilityTable:
    """q_pu [2, n_v, n_t, n_p]: lowest and highest Q. An axis that the JSON leaves out has one point here. temperature_c: that of
    the day."""

    s_rated_va: float
    axes: tuple[Floats, Floats, Floats]
    q_pu: Floats
    temperature_c: float = 25.0

    def __post_init__(self) -> None:
        for name, axis in zip(_AXES, self.axes, strict=True):
            if not np.isfinite(axis).all() or (np.diff(axis) <= 0.0).any():
                raise ValueError(f"axes.{name} must rise from each value to the next")
        if self.axes[2].size < 2:
            raise ValueError("axes.P_pu needs at least two values")
        if not np.isfinite(self.q_pu).all():
            raise ValueError("data has a value that is not a number")
        if (self.q_pu[0] > self.q_pu[1]).any():
            raise ValueError("data: Qmin_pu is above Qmax_pu")
        corner = np.hypot(self.axes[2], np.abs(self.q_pu).max(axis=0))
        if (corner > 1.0 + _BEYOND).any():
            raise ValueError(f"data: P and Q together reach {corner.max():.4g} of S_rated_VA; at most 1")
        slope = np.diff(self.q_pu, axis=3) / np.diff(self.axes[2])
        if (np.diff(slope[1], axis=2) > _BEYOND).any() or (np.diff(slope[0], axis=2) < -_BEYOND).any():
            raise ValueError("data: the area between Qmin_pu and Qmax_pu over P_pu is not convex; give one that is")

    def q_range(self, v_pu: ArrayLike, p_w: ArrayLike) -> tuple[Floats, Floats]:
        """(lowest, highest) Q in var at terminal voltages and active powers that broadcast together."""
        v, p = np.broadcast_arrays(np.asarray(v_pu, float), np.asarray(p_w, float) / self.s_rated_va)
        out = np.zeros((2, *v.shape))
        places = [_place(axis, x) for axis, x in zip(self.axes, (v, np.asarray(self.temperature_c), p), strict=True)]
        for corner in product((0, 1), repeat=3):
            share = np.ones(v.shape)
            index = []
            for (below, part, size), up in zip(places, corner, strict=True):
                share = share * (part if up else 1.0 - part)
                index.append(np.minimum(below + up, size - 1))
            out += share * self.q_pu[:, index[0], index[1], index[2]]
        return out[0] * self.s_rated_va, out[1] * self.s_rated_va

    def facets(self, v_pu: float) -> tuple[Floats, Floats]:
        """(a [n, 2], b [n]): the set of (p, q) in W and var at a terminal voltage is a @ (p, q) <= b."""
        p = self.axes[2] * self.s_rated_va
        low, high = self.q_range(v_pu, p)
        up, down = np.diff(high) / np.diff(p), np.diff(low) / np.diff(p)
        a = np.concatenate(
            (np.stack((-up, np.ones_like(up)), 1), np.stack((down, -np.ones_like(down)), 1), [[1.0, 0.0], [-1.0, 0.0]])
        )
        b = np.concatenate((high[:-1] - up * p[:-1], down * p[:-1] - low[:-1], [p[-1], -p[0]]))
        return a, b


def from_json(text: str) -> CapabilityTable:
    """The table of JSON text; ValueError says what is wrong with it."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(value, dict) or not {"axes", "data", "S_rated_VA"} <= set(value):
        raise ValueError("a capability table is an object with axes, data and S_rated_VA")
    if unknown := sorted(set(value) - _FIELDS):
        raise ValueError(f"{unknown[0]} is no field of a capability table; those are {', '.join(sorted(_FIELDS))}")
    for name, only in (("interpolation", "multilinear"), ("extrapolation", "clamp")):
        if value.get(name, only) != only:
            raise ValueError(f"{name} {value[name]!r} is not understood; write {only!r}")
    axes, data = value["axes"], value["data"]
    if not isinstance(axes, dict) or "P_pu" not in axes or not set(axes) <= set(_AXES):
        raise ValueError("axes: P_pu is needed, V_pu and T_C may be given")
    if not isinstance(data, dict) or set(data) != {"Qmax_pu", "Qmin_pu"}:
        raise ValueError("data: give Qmax_pu and Qmin_pu")
    rated = value["S_rated_VA"]
    if isinstance(rated, bool) or not isinstance(rated, int | float) or not rated > 0.0:
        raise ValueError(f"S_rated_VA {rated!r}: give a positive number")
    arrays = tuple(_numbers(f"axes.{name}", axes.get(name, [1.0])) for name in _AXES)
    shape = tuple(axis.size for axis in arrays)
    return CapabilityTable(float(rated), arrays, np.stack([_shaped(data, name, shape, axes) for name in ("Qmin_pu", "Qmax_pu")]))  # type: ignore[arg-type]


def _shaped(data: Mapping[str, Any], name: str, shape: tuple[int, ...], axes: Mapping[str, Any]) -> Floats:
    values = _numbers(f"data.{name}", data[name])
    given = tuple(size for axis, size in zip(_AXES, shape, strict=True) if axis in axes)
    if values.shape != given:
        raise ValueError(f"data.{name} has shape {values.shape}, its axes have {given}")
    return values.reshape(shape)


def _numbers(what: str, value: Any) -> Floats:
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not a list of numbers") from error


def _place(axis: Floats, x: NDArray[Any]) -> tuple[NDArray[np.intp], Floats, int]:
    """Index of the axis point below, and how far towards the next."""
    held = np.clip(x, axis[0], axis[-1])
    below = np.clip(np.searchsorted(axis, held, side="right") - 1, 0, max(axis.size - 2, 0))
    if axis.size == 1:
        return below, np.zeros(np.shape(x)), 1
    return below, (held - axis[below]) / (axis[below + 1] - axis[below]), int(axis.size)
