"""Capability tables: interpolation, facets, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from federates.tblm.capability.compute import CapabilityOptions, CapabilityStudy
from federates.tblm.capability.region import RegionOptions
from federates.tblm.capability.table import CapabilityTable, from_json
from tests.tblm import capability_case as case

S_VA = 400e3


def circle(n: int = 33) -> dict[str, Any]:
    """A full circle, with the reactive limit shrinking by a fifth from 1.0 to 0.9 pu of voltage."""
    p = np.cos(np.linspace(np.pi, 0.0, n))
    q = np.sqrt(np.maximum(1.0 - p**2, 0.0))
    rows = [(0.8 * q).tolist(), q.tolist(), q.tolist()]
    data = {"Qmax_pu": rows, "Qmin_pu": [(-np.array(row)).tolist() for row in rows]}
    return {"axes": {"V_pu": [0.9, 1.0, 1.1], "P_pu": p.tolist()}, "data": data, "S_rated_VA": S_VA}


def table(**changes: Any) -> CapabilityTable:
    return from_json(json.dumps({**circle(), **changes}))


def test_interpolation_is_linear_along_each_axis_and_never_exceeds_the_corners() -> None:
    t = table()
    low, high = t.q_range([0.9, 0.95, 1.0, 2.0, 0.1], 0.0)
    np.testing.assert_allclose(high / S_VA, [0.8, 0.9, 1.0, 1.0, 0.8], rtol=1e-12)
    np.testing.assert_allclose(low, -high, rtol=1e-12)
    rng = np.random.default_rng(3)
    v, p = rng.uniform(0.8, 1.2, 1000), rng.uniform(-S_VA, S_VA, 1000)
    _, high = t.q_range(v, p)
    assert (high <= S_VA * np.sqrt(1.0 - (p / S_VA) ** 2) * (1.0 + 1e-12)).all() and (high >= 0.0).all()


def test_a_circle_comes_back_within_half_a_per_cent() -> None:
    """32 facets lose 0.5 % of the radius at most."""
    a, b = table().facets(1.0)
    for angle in np.linspace(0.0, 2.0 * np.pi, 101):
        direction = np.array((np.cos(angle), np.sin(angle)))
        rise = a @ direction
        reach = np.min(b[rise > 1e-12] / rise[rise > 1e-12]) / S_VA
        assert 0.995 <= reach <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"axes": {"P_pu": [0.0, 0.0]}, "data": {"Qmax_pu": [0.1, 0.1], "Qmin_pu": [0.0, 0.0]}}, "must rise"),
        ({"axes": {"P_pu": [0.0]}, "data": {"Qmax_pu": [0.1], "Qmin_pu": [0.0]}}, "at least two"),
        ({"axes": {"P_pu": [0.0, 1.0]}, "data": {"Qmax_pu": [0.1, 0.0], "Qmin_pu": [0.2, 0.0]}}, "Qmin_pu is above Qmax_pu"),
        ({"axes": {"P_pu": [0.0, 1.0]}, "data": {"Qmax_pu": [0.1, 0.5], "Qmin_pu": [0.0, 0.0]}}, "of S_rated_VA; at most 1"),
        ({"axes": {"P_pu": [0.0, 0.5, 0.8]}, "data": {"Qmax_pu": [0.5, 0.1, 0.5], "Qmin_pu": [0.0, 0.0, 0.0]}}, "not convex"),
        ({"axes": {"P_pu": [0.0, 1.0]}, "data": {"Qmax_pu": [0.1], "Qmin_pu": [0.0]}}, "has shape"),
        ({"axes": {"V_pu": [1.0]}}, "P_pu is needed"),
        ({"data": {"Qmax_pu": [0.1]}}, "give Qmax_pu and Qmin_pu"),
        ({"data": {"Qmax_pu": "a", "Qmin_pu": "b"}}, "not a list of numbers"),
        ({"S_rated_VA": -1}, "positive number"),
        ({"extrapolation": "reject"}, "write 'clamp'"),
        ({"colour": "blue"}, "colour is no field"),
    ],
)
def test_what_is_wrong_is_told(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        table(**changes)


def test_a_table_bounds_the_region_and_every_corner_keeps_it() -> None:
    flat = {"axes": {"P_pu": [0.0, 0.75]}, "data": {"Qmax_pu": [0.3, 0.3], "Qmin_pu": [-0.1, -0.1]}, "S_rated_VA": S_VA}
    with case.ieee123() as feeder:
        free = case.inverters(feeder)
        bound = [type(r)(r.name, r.p_min_w, r.p_max_w, r.s_va, table=from_json(json.dumps(flat)), p_now_w=r.p_now_w) for r in free]
        options = CapabilityOptions(delivery_s=(2.0,), quantiles=("P50",), region=RegionOptions(16))
        wide, narrow = (CapabilityStudy(feeder, r, case.RULES).run(options)[0] for r in (free, bound))
    assert narrow.area < 0.5 * wide.area
    assert narrow.der_q_var.max() <= 0.3 * S_VA + 1.0 and narrow.der_q_var.min() >= -0.1 * S_VA - 1.0
    assert narrow.der_q_var.max() >= 0.299 * S_VA
