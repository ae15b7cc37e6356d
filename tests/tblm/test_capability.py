"""P-Q regions against the exact ones, and what must hold of any region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federates.grid.feeder import DerSite, Feeder
from federates.grid.feeder.network import Network
from federates.tblm.capability.compute import Capability, CapabilityOptions, CapabilityStudy
from federates.tblm.capability.devices import device_range
from federates.tblm.capability.limits import LimitRules, limits_of
from federates.tblm.capability.polygon import area, hull, weights
from federates.tblm.capability.reach import MET, PointSearch
from federates.tblm.capability.region import HOLDS, RegionOptions, RegionSearch
from federates.tblm.capability.resources import Resource
from federates.tblm.capability.space import Space
from tests.tblm import capability_case as case
from tests.tblm.capability_reference import GOLDEN, ExactRegion, outer_polygon
from tests.tblm.plane import margins, sample

Floats = NDArray[np.float64]

ONE = CapabilityOptions(delivery_s=(2.0,), quantiles=("P50",))
SOLVED = 3e-6  # limits are judged by another feeder, whose power flow ends within its own tolerance


@pytest.fixture(scope="module")
def feeder() -> Iterator[Feeder]:
    with case.ieee123() as made:
        yield made


@pytest.fixture(scope="module")
def study(feeder: Feeder) -> CapabilityStudy:
    return CapabilityStudy(feeder, case.inverters(feeder), case.RULES)


@pytest.fixture(scope="module")
def capability(study: CapabilityStudy) -> Capability:
    return study.run(ONE)[0]


@pytest.fixture(scope="module")
def exact() -> tuple[Floats, Floats]:
    """(directions, farthest points) of the golden file."""
    rows = np.array(json.loads(GOLDEN.read_text())["angle_rad, P_W, Q_var"])
    return np.stack((np.cos(rows[:, 0]), np.sin(rows[:, 0])), axis=1), rows[:, 1:]


def space_of(feeder: Feeder, rules: LimitRules, resources: list[Resource]) -> Space:
    network = Network(feeder)
    return Space(feeder, network, limits_of(feeder, network, rules), resources, np.ones(len(resources), bool))


def reach_of(feeder: Feeder, rules: LimitRules, resources: list[Resource], directions: Floats) -> Floats:
    """How far each direction goes, W and var, each searched from the best flow known."""
    search = RegionSearch(space_of(feeder, rules, resources))
    search.start()
    for _ in range(2):
        for direction in directions:
            search.extreme(direction, search.best(direction))
    return np.array([direction @ search.best(direction).pq for direction in directions])


def corners_hold(c: Capability, model_of: Feeder, rules: LimitRules, resources: list[Resource]) -> None:
    """Solve every corner in a feeder that has seen none of the search, and judge it by numbers of the engine itself."""
    with Feeder(model_of.model.with_(tolerance=1e-9)) as judge:
        judge.set_source(c.v_pu)
        amps = {line: case.NEAR_SOURCE_A.get(line, rules.i_a) for line in _line_names(judge)}
        for pq, p, q, taps, steps in zip(c.pq, c.der_p_w, c.der_q_var, c.taps, c.capacitors, strict=True):
            judge.set_taps(taps)
            judge.set_capacitor_states(steps)
            judge.set_der(p, q)
            judge.solve()
            head = [x.sum() for x in judge.head()]
            np.testing.assert_allclose(head, pq, atol=5.0)
            v = judge.node_v_pu()
            assert v.min() >= rules.v_pu[0] - SOLVED and v.max() <= rules.v_pu[1] + SOLVED
            for line, most in amps.items():
                assert _largest_current(judge, line) <= most * (1.0 + SOLVED), line
        for resource, p, q in zip(resources, c.der_p_w.T, c.der_q_var.T, strict=True):
            assert (np.hypot(p, q) <= resource.s_va * (1.0 + HOLDS)).all()
            assert (p >= resource.p_min_w - 1.0).all() and (p <= resource.p_max_w + 1.0).all()


def _line_names(feeder: Feeder) -> list[str]:
    lines = feeder._engine.dss.Lines
    names = [str(name) for name in lines.AllNames()]
    return [name for name in names if _enabled(feeder, name)]


def _enabled(feeder: Feeder, line: str) -> bool:
    feeder._engine.dss.Circuit.SetActiveElement(f"line.{line}")
    return bool(feeder._engine.dss.CktElement.Enabled())


def _largest_current(feeder: Feeder, line: str) -> float:
    """Of the phases at terminal 1, as the engine reports it."""
    dss = feeder._engine.dss
    dss.Circuit.SetActiveElement(f"line.{line}")
    magnitudes = np.asarray(dss.CktElement.CurrentsMagAng())[::2]
    return float(magnitudes[: dss.CktElement.NumPhases()].max())


# ---- against the exact region


def test_golden_points_are_what_the_optimal_power_flow_finds(exact: tuple[Floats, Floats]) -> None:
    region = ExactRegion()
    for k in (5, 40, 80):
        found = region.extreme(exact[0][k])
        assert found is not None
        assert exact[0][k] @ found[0] == pytest.approx(exact[0][k] @ exact[1][k], abs=5.0)


def test_area_is_that_of_the_exact_region(capability: Capability, exact: tuple[Floats, Floats]) -> None:
    """Judged by the outer polygon of the exact support lines, which holds the exact region whatever lies between its points."""
    outer = area(outer_polygon(*exact))
    assert area(exact[1][hull(exact[1])]) <= outer <= 1.0006 * area(exact[1][hull(exact[1])])
    assert 0.995 * outer <= capability.area <= 1.0001 * outer
    beyond = (exact[0] @ capability.pq.T).max(axis=1) - (exact[0] * exact[1]).sum(axis=1)
    assert beyond.max() <= 200.0  # W of 3 MW: the exact region is not left; the two sources' impedances differ by 17 var


def test_every_corner_holds(capability: Capability, feeder: Feeder) -> None:
    corners_hold(capability, feeder, case.RULES, case.inverters(feeder))


@pytest.mark.slow
def test_interior_points_are_reached(study: CapabilityStudy, capability: Capability) -> None:
    search = PointSearch(study, capability)
    points = sample(capability.pq, 1000, np.random.default_rng(5))
    found = [search.find(*point.tolist()) for point in points]
    search.close()
    assert sum(x is not None for x in found) >= 999
    for point, x in zip(points, found, strict=True):
        if x is not None:
            np.testing.assert_allclose((x.p_w, x.q_var), point, atol=MET * case.S_VA)


# ---- what must hold of any region


@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(
    low=st.floats(0.0, 0.02),
    high=st.floats(0.0, 0.005),
    amps=st.floats(0.7, 1.0),
    rating=st.floats(0.5, 1.0),
    p_max=st.floats(0.5, 1.0),
)
def test_a_tighter_limit_never_enlarges_it(
    feeder: Feeder, low: float, high: float, amps: float, rating: float, p_max: float
) -> None:
    angles = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False) + 0.1
    directions = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    wide = reach_of(feeder, case.RULES, case.inverters(feeder), directions)
    near = {line: amps * limit for line, limit in case.NEAR_SOURCE_A.items()}
    rules = LimitRules((0.95 + low, 1.05 - high), i_a=amps * case.I_A, line_i_a=near)
    narrow = [replace(r, s_va=rating * r.s_va, p_max_w=p_max * min(1.0, rating) * r.p_max_w) for r in case.inverters(feeder)]
    narrow = [replace(r, p_now_w=min(r.p_now_w, r.p_max_w)) for r in narrow]
    try:
        tight = reach_of(feeder, rules, narrow, directions)
    except ValueError as error:  # nothing is left of it
        assert "no set-points keep the limits" in str(error)
        return
    assert (tight <= wide + 1e-3 * np.abs(wide).max()).all()


def test_quantiles_and_classes_contain_each_other(feeder: Feeder) -> None:
    resources = [replace(r, p_max_p10_w=200e3, p_max_w=250e3, p_max_p90_w=300e3) for r in case.inverters(feeder)]
    resources[2] = replace(resources[2], notice_s=600.0)
    head = [x.sum() for x in feeder.head()]
    found = CapabilityStudy(feeder, resources, case.RULES).run(CapabilityOptions(devices=(), region=RegionOptions(16)))
    by = {(c.delivery_s, c.quantile): c for c in found}
    unit = 1e-4 * case.S_VA
    for delivery_s in (2.0, 60.0, 900.0):
        for smaller, larger in (("P10", "P50"), ("P50", "P90")):
            assert margins(by[delivery_s, larger].pq, by[delivery_s, smaller].pq).min() >= -unit  # type: ignore[index]
    assert by[60.0, "P50"].area == by[2.0, "P50"].area  # nothing is added in between: no device may move
    assert margins(by[900.0, "P50"].pq, by[2.0, "P50"].pq).min() >= -unit
    assert by[900.0, "P50"].area > 1.03 * by[2.0, "P50"].area
    assert (by[2.0, "P50"].der_p_w[:, 2] == resources[2].p_now_w).all()
    feeder.solve()
    np.testing.assert_allclose([x.sum() for x in feeder.head()], head, atol=1.0)


def test_quantiles_contain_each_other_whatever_devices_do(feeder: Feeder) -> None:
    resources = [replace(r, p_max_p10_w=180e3, p_max_w=260e3) for r in case.inverters(feeder)]
    options = CapabilityOptions(
        delivery_s=(2.0, 60.0), quantiles=("P10", "P50"), devices=("c83", "creg1a"), region=RegionOptions(12)
    )
    fast10, fast50, slow10, slow50 = CapabilityStudy(feeder, resources, case.RULES).run(options)
    for smaller, larger in ((fast10, fast50), (slow10, slow50), (fast10, slow10), (fast50, slow50)):
        assert margins(larger.pq, smaller.pq).min() >= -1e-4 * case.S_VA


def test_taps_and_capacitors_enlarge_it_and_are_put_back(feeder: Feeder, study: CapabilityStudy, capability: Capability) -> None:
    before = feeder.state()
    slow = study.run(replace(ONE, delivery_s=(60.0,), devices=("c83", "creg1a"), region=RegionOptions(24)))[0]
    after = feeder.state()
    np.testing.assert_array_equal(before.taps, after.taps)
    np.testing.assert_array_equal(before.capacitors, after.capacitors)
    assert slow.area > 1.1 * capability.area
    others = [k for k, name in enumerate(feeder.reg_names) if name != "creg1a"]
    assert (slow.taps[:, others] == before.taps[others]).all()
    assert (np.abs(slow.taps - before.taps) <= 8).all()
    corners_hold(slow, feeder, case.RULES, case.inverters(feeder))
    search = PointSearch(study, slow)
    points = sample(slow.pq, 100, np.random.default_rng(6))
    reached = [search.find(*point.tolist()) is not None for point in points]
    search.close()
    assert sum(reached) >= 99


def test_bus_voltage_changes_it(study: CapabilityStudy) -> None:
    low, high = study.run(replace(ONE, v_pu=(0.99, 1.02), region=RegionOptions(16)))
    assert (low.v_pu, high.v_pu) == (0.99, 1.02)
    # near the upper limit of 1.05 pu little can be injected any more
    assert high.area < 0.8 * low.area


def test_single_phase_inverters() -> None:
    sites = tuple(DerSite(f"i{bus}_{k}", f"{bus}.{k}", 2.4, case.S_VA / 3.0) for bus in case.BUSES for k in (1, 2, 3))
    with case.ieee123(sites) as feeder, case.ieee123() as three_phase:
        resources = case.inverters(feeder)
        single = CapabilityStudy(feeder, resources, case.RULES).run(replace(ONE, region=RegionOptions(32)))[0]
        together = CapabilityStudy(three_phase, case.inverters(three_phase), case.RULES).run(ONE)[0]
        corners_hold(single, feeder, case.RULES, resources)
    # whatever three-phase inverters can, single-phase ones can too, and unbalanced beside it
    assert single.area > 1.02 * together.area
    assert margins(single.pq, together.pq).min() > -0.02 * case.S_VA


def test_begins_outside_the_limits_where_set_points_lead_inside(feeder: Feeder) -> None:
    """At 150 kW each the lowest node is at 0.983 pu: a band above it is only kept with reactive power."""
    rules = LimitRules((0.99, 1.05))
    search = RegionSearch(space_of(feeder, rules, case.inverters(feeder)), RegionOptions(16))
    assert search.space.flow(search.space.present()).excess > 5e-3  # type: ignore[union-attr]
    assert all(flow.excess <= HOLDS for flow in search.run().vertices)


def test_an_empty_region_says_which_limit_stands_in_the_way(feeder: Feeder) -> None:
    found = CapabilityStudy(feeder, case.inverters(feeder), LimitRules((0.95, 1.05), line_i_a={"l10": 1.0})).run(ONE)[0]
    assert len(found.pq) == 0 and "line l10 carries" in found.why_empty


def test_unknown_names_are_told(feeder: Feeder) -> None:
    with pytest.raises(ValueError, match="no bus `nowhere`"):
        limits_of(feeder, Network(feeder), LimitRules(bus_v_pu={"nowhere": (0.9, 1.1)}))
    with pytest.raises(ValueError, match="no line `l9999`"):
        limits_of(feeder, Network(feeder), LimitRules(line_i_a={"l9999": 100.0}))
    with pytest.raises(ValueError, match="no regulator or capacitor `creg9`"):
        device_range(feeder, ("creg9",), 8)


def test_same_inputs_give_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        with case.ieee123() as feeder:
            found = CapabilityStudy(feeder, case.inverters(feeder), case.RULES).run(replace(ONE, region=RegionOptions(12)))[0]
            runs.append(found.pq.tobytes() + found.der_p_w.tobytes() + found.der_q_var.tobytes())
    assert runs[0] == runs[1]


# ---- resources and polygons


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"s_va": 0.0}, "apparent power"),
        ({"p_min_w": 400e3}, "does not hold"),
        ({"p_max_p10_w": 400e3}, "does not hold"),
        ({"q_min_var": 1.0, "q_max_var": 0.0}, "q_min is above"),
    ],
)
def test_resources_refuse_what_makes_no_sense(values: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Resource("r", **{"p_min_w": 0.0, "p_max_w": 300e3, "s_va": 400e3, **values})


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=3, max_size=40))
def test_hull_holds_all_points_and_is_convex(points: list[tuple[int, int]]) -> None:
    array = np.array(points, float)
    polygon = array[hull(array)]
    if len(polygon) < 3:
        return
    assert area(polygon) > 0.0
    assert margins(polygon, array).min() >= -1e-9
    for point in array:
        np.testing.assert_allclose(weights(polygon, point) @ polygon, point, atol=1e-6)
