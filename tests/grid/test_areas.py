"""Areas against closed forms, against the frequency model of `grid/frequency.py`, and what their protection does."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.grid.area_response import AreaResponse
from federates.grid.areas import Area, AreasModel, Embedded, Fleet, PowerProfile, Shedding, Tie, slopes
from federates.grid.frequency import FrequencyModel, FrequencyResponse, Machine, ScheduledLoss
from federates.grid.governor import Governor

S, MS = 1_000_000_000, 1_000_000
F0, ENERGY, LOAD = 50.0, 200e9, 30e9


def one(*, damping: float = 1.0, **more: object) -> AreasModel:
    return AreasModel(F0, (Area("a", ENERGY, LOAD, damping, **more),))  # type: ignore[arg-type]


def test_a_loss_on_load_damping_alone_is_an_exponential() -> None:
    """df = -(P f0 / (D L)) (1 - exp(-t / T)), T = 2 E / (D L)."""
    response, lost_w = AreaResponse(one()), 1e9
    response.lose("a", lost_w)
    time_s = 2.0 * ENERGY / LOAD
    for t_s in (0.5, 5.0, 20.0, 100.0):
        response.advance(round(t_s * S))
        wanted = F0 - lost_w * F0 / LOAD * (1.0 - np.exp(-t_s / time_s))
        assert response.state().f_hz[0] == pytest.approx(wanted, abs=1e-9)


def test_the_first_slope_is_the_loss_over_the_inertia_that_is_left() -> None:
    response = AreaResponse(one())
    response.lose("a", 1e9, inertia_ws=20e9)
    assert response.state().rocof_hz_per_s[0] == pytest.approx(-1e9 * F0 / (2.0 * (ENERGY - 20e9)))
    with pytest.raises(ValueError, match="left"):
        response.lose("a", 1e9, inertia_ws=ENERGY)


@pytest.mark.parametrize("turbine", ["steam_reheat", "gas", "hydro"])
def test_one_area_is_the_frequency_model(turbine: str) -> None:
    """`FrequencyResponse` finds the moments of switching to a picosecond, areas put them on a grid of 10 ms."""
    governor = getattr(Governor, turbine)("g", 0.05, 0.015)
    machine = Machine("m", 40e9, ENERGY / 40e9, "g", headroom_w=0.8e9, footroom_w=0.8e9)
    exact = FrequencyResponse(FrequencyModel(F0, (machine,), (governor,), 1.0, losses=(ScheduledLoss(2 * S, 1.4e9),)), 0.0, LOAD)
    response = AreaResponse(one(fleets=(Fleet(governor, 40e9, 0.8e9, 0.8e9),)))
    response.advance(2 * S)
    response.lose("a", 1.4e9)
    for t_s in range(3, 60):
        wanted = exact.step((3 if t_s == 3 else 1) * S, 0.0, LOAD).f_hz
        response.advance(t_s * S)
        assert response.state().f_hz[0] == pytest.approx(wanted, abs=2e-4)


def test_slicing_time_does_not_change_what_happens() -> None:
    governor = Governor.steam_reheat("g", 0.05, 0.015)
    model = one(
        fleets=(Fleet(governor, 10e9, 0.5e9),),
        shedding=(Shedding("ufls", 49.0, 100 * MS, 80 * MS, 1.5e9),),
        embedded=(Embedded("e", 2e8, rocof_hz_per_s=0.12),),
    )
    runs = []
    for step_ns in (10 * MS, 170 * MS, 20 * S):
        response = AreaResponse(model)
        response.lose("a", 1.6e9)
        rows = []
        for k in range(-(-20 * S // step_ns)):
            rows += response.advance(min((k + 1) * step_ns, 20 * S))
        runs.append((response.state().f_hz[0], response.state().lowest_at_s[0], [(r["event"], r["t_relay_ns"]) for r in rows]))
    assert [what for what, _ in runs[0][2]].count("load_shed") == 1
    for other in runs[1:]:
        assert other[0] == pytest.approx(runs[0][0], abs=1e-9)
        assert other[1:] == runs[0][1:]


def test_a_stage_takes_its_feeders_generation_with_it() -> None:
    """After the stage the balance is the one of its net relief: on damping alone f = f0 - (P - relief) f0 / (D (L - shed))."""
    shed_w, embedded_w, lost_w = 2.0e9, 1.2e9, 1.5e9
    response = AreaResponse(one(shedding=(Shedding("ufls", 49.0, 100 * MS, 80 * MS, shed_w, embedded_w),)))
    response.lose("a", lost_w)
    rows = response.advance(400 * S)
    state = response.state()
    (shed,) = [row for row in rows if row["event"] == "load_shed"]
    pickup = next(row for row in rows if row["event"] == "relay_pickup")
    assert shed["t_relay_ns"] == pickup["t_relay_ns"] + 180 * MS
    assert state.relief_w[0] == pytest.approx(shed_w - embedded_w)
    assert state.f_hz[0] == pytest.approx(F0 - (lost_w - shed_w + embedded_w) * F0 / (LOAD - shed_w), abs=1e-6)
    assert state.stages_operated[0] == 1


def test_rocof_and_over_frequency_protection() -> None:
    """RoCoF is the mean over 500 ms: 0.125 Hz/s is passed where the loss gives more, after half a second at the latest."""
    slope_w = 0.125 * 2.0 * ENERGY / F0
    for lost_w, trips in ((0.9 * slope_w, False), (1.2 * slope_w, True)):
        response = AreaResponse(one(damping=0.0, embedded=(Embedded("e", 1e8, rocof_hz_per_s=0.125),)))
        response.advance(S)
        response.lose("a", lost_w)
        rows = response.advance(3 * S)
        times = [row["t_relay_ns"] for row in rows if row["event"] == "embedded_trip"]
        assert bool(times) == trips
        # the mean passes the limit when 0.5 s * limit / slope has gone by
        assert not times or times[0] == pytest.approx(S + 500 * MS / 1.2, abs=10 * MS)
    response = AreaResponse(one(embedded=(Embedded("e", 1e9, over_hz=50.4),)))
    response.change_load("a", -1.5e9)
    assert [row["event"] for row in response.advance(60 * S)][-1] == "embedded_trip"


def test_a_profile_is_integrated_exactly() -> None:
    """Without damping, a ramp of power bends the frequency as a parabola."""
    response = AreaResponse(one(damping=0.0, profiles=(PowerProfile("p", ((1.0, 0.0), (3.0, -8e8))),)))
    response.advance(2 * S)
    assert response.state().f_hz[0] == pytest.approx(F0 - F0 / (2.0 * ENERGY) * 0.5 * 4e8 * 1.0**2, abs=1e-9)
    response.advance(4 * S)
    assert response.state().response_w[0] == pytest.approx(-8e8)
    assert response.state().f_hz[0] == pytest.approx(F0 - F0 / (2.0 * ENERGY) * (0.5 * 8e8 * 2.0 + 8e8), abs=1e-9)


def test_an_order_to_shed_is_carried_out_evenly() -> None:
    response = AreaResponse(one())
    response.change_load("a", -3e9, over_ns=10 * S)
    response.advance(5 * S)
    mid = response.state()
    assert mid.load_w[0] / (1.0 + (mid.f_hz[0] / F0 - 1.0)) == pytest.approx(LOAD - 1.5e9, rel=1e-6)
    response.advance(300 * S)
    assert response.state().f_hz[0] == pytest.approx(F0 + 3e9 * F0 / (LOAD - 3e9), abs=1e-4)


def two() -> AreasModel:
    areas = (Area("a", ENERGY, LOAD, 0.0), Area("b", 2.0 * ENERGY, LOAD, 0.0))
    return AreasModel(F0, areas, (Tie("t", "a", "b", 1e9, 20e9),))


def test_joined_areas_swing_against_each_other_at_their_natural_frequency() -> None:
    """w^2 = 2 pi K f0 / 2 (1 / E_a + 1 / E_b); the common motion is that of one mass."""
    response, lost_w = AreaResponse(two()), 6e8
    response.lose("a", lost_w)
    w = np.sqrt(2.0 * np.pi * 20e9 * F0 / 2.0 * (1.0 / ENERGY + 1.0 / (2.0 * ENERGY)))
    for t_s in (0.3, 1.1, 4.0):
        response.advance(round(t_s * S))
        f_hz = response.state().f_hz
        common = F0 - lost_w * F0 / (2.0 * 3.0 * ENERGY) * t_s
        apart = -lost_w * F0 / (2.0 * ENERGY) / w * np.sin(w * t_s)
        assert (f_hz[0] + 2.0 * f_hz[1]) / 3.0 == pytest.approx(common, abs=1e-9)
        assert f_hz[0] - f_hz[1] == pytest.approx(apart, abs=1e-9)


def test_areas_that_part_keep_the_flow_as_surplus_and_deficit() -> None:
    response = AreaResponse(two())
    assert response.open_tie("t") == pytest.approx(1e9)
    state = response.state()
    assert state.rocof_hz_per_s == pytest.approx([1e9 * F0 / (2.0 * ENERGY), -1e9 * F0 / (4.0 * ENERGY)])
    assert state.tie_w.tolist() == [0.0]
    with pytest.raises(ValueError, match="no closed tie"):
        response.open_tie("t")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="joins"):
        AreasModel(F0, (Area("a", ENERGY, LOAD),), (Tie("t", "a", "x", 0.0, 1e9),))
    with pytest.raises(ValueError, match="shed"):
        Area("a", ENERGY, LOAD, shedding=(Shedding("ufls", 49.0, 0, 0, 2.0 * LOAD),))
    with pytest.raises(ValueError, match="no area"):
        AreaResponse(one()).lose("b", 1.0)
    with pytest.raises(ValueError, match="its feeders draw"):
        AreaResponse(one(), [2.0 * LOAD])


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (((0.0, 0.0), (1.0, 5.0), (1.003, 6.0)), {50: 2.5, 100: 5.0, 101: 6.0, 500: 6.0}),
        (((0.0, 0.0), (1.001, 0.0), (1.002, -4.0), (1.008, -3.0)), {100: 0.0, 101: -3.0, 102: -3.0}),
        (((0.0, 5.0), (0.01, 6.0)), {0: 0.0, 1: 6.0, 2: 6.0}),
        (((0.0, 5.0), (0.004, 7.0)), {0: 0.0, 1: 7.0, 2: 7.0}),
        (((0.004, 5.0), (0.006, 7.0), (2.0, 7.0)), {0: 0.0, 1: 7.0, 9: 7.0}),
        (((1.004, 5.0), (1.1, 5.0)), {100: 0.0, 101: 5.0, 110: 5.0, 111: 5.0}),
    ],
)
def test_a_profile_may_have_points_closer_than_a_step(points: tuple[tuple[float, float], ...], wanted: dict[int, float]) -> None:
    """At every step of the grid it is where the course is; what happens within a step is over at its end."""
    bends = slopes([PowerProfile("p", points)], 10 * MS)
    for k, p_w in wanted.items():
        assert sum(slope * max(k - at, 0) * 0.01 for at, slope in bends) == pytest.approx(p_w, abs=1e-9)


def native_w(response: AreaResponse) -> float:
    """Load at nominal frequency, of an area without damping and without feeders."""
    return float(response.state().load_w[0])


def test_orders_under_way_count_when_load_is_ordered_off() -> None:
    """Two orders of 18 GW each, evenly over ten seconds, are more than the 30 GW there are."""
    response = AreaResponse(one(damping=0.0))
    response.change_load("a", -18e9, over_ns=10 * S)
    for span_ns in (0, 10 * S):
        with pytest.raises(ValueError, match="12000 MW of native load left when what is ordered has been done"):
            response.change_load("a", -18e9, over_ns=span_ns)
    response.change_load("a", -12e9, over_ns=5 * S)
    response.advance(20 * S)
    assert native_w(response) == pytest.approx(0.0, abs=1.0)
    with pytest.raises(ValueError, match="0 MW of native load left; "):
        response.change_load("a", -1e6)


def test_load_that_is_put_back_in_time_may_be_ordered_off() -> None:
    response = AreaResponse(one(damping=0.0))
    response.change_load("a", 10e9, over_ns=1 * S)
    with pytest.raises(ValueError, match="30000 MW"):
        response.change_load("a", -35e9, over_ns=0)
    response.advance(2 * S)
    response.change_load("a", -35e9)
    assert native_w(response) == pytest.approx(5e9)


def test_a_stage_relieves_what_is_there_and_says_so() -> None:
    """Of 30 GW the feeders of a federation draw 28 GW: they are not what the area's own stage can open."""
    stage = Shedding("ufls", 49.9, 0, 0, 6e9, 1e8)
    response = AreaResponse(one(damping=0.0, shedding=(stage,)), [28e9])
    response.lose("a", 3e9)
    (shed,) = [row for row in response.advance(2 * S, [28e9]) if row["event"] == "load_shed"]
    assert shed["load_w"] == pytest.approx(2e9) and "of its 6000 MW, no more native load was left" in shed["reason"]
    state = response.state()
    assert state.load_w[0] == pytest.approx(28e9) and state.relief_w[0] == pytest.approx(2e9 - 1e8)
    assert state.rocof_hz_per_s[0] == pytest.approx(-(3e9 - 2e9 + 1e8) * F0 / (2.0 * ENERGY), rel=1e-9)


def test_orders_that_take_all_there_is_leave_nothing_to_tell() -> None:
    """Sums of slopes do not come out at nothing by themselves: what is left of them is no order."""
    response = AreaResponse(AreasModel(F0, (Area("a", ENERGY, 1e9), Area("b", ENERGY, 1e9)), (Tie("t", "a", "b", 0.0, 1e9),)))
    for part, steps in ((0.1, 7), (0.2, 31), (0.3, 13), (0.4, 41)):
        response.change_load("a", -1e9 * part, over_ns=steps * 10 * MS)
    rows = [row for k in range(1, 31) for row in response.advance(k * 100 * MS)]
    assert rows == [] and response._load.slope[0] == 0.0


def test_an_order_under_way_ends_where_a_stage_took_its_load() -> None:
    """20 GW are ordered off over 10 s; a stage takes 20 of 30 GW on the way."""
    stage = Shedding("ufls", 49.9, 0, 0, 20e9)
    response = AreaResponse(one(damping=0.0, shedding=(stage,)))
    response.lose("a", 15e9)
    response.change_load("a", -20e9, over_ns=10 * S)
    rows = response.advance(20 * S)
    assert [row["event"] for row in rows if row["event"].startswith("load")] == ["load_shed", "load_order_ends"]
    assert "no native load is left" in rows[-1]["reason"]
    state = response.state()
    assert native_w(response) == pytest.approx(0.0, abs=1.0)
    assert state.rocof_hz_per_s[0] == pytest.approx((30e9 - 15e9) * F0 / (2.0 * ENERGY), rel=1e-9)  # all of 30 GW off, 15 GW lost


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-25e9, 25e9), st.sampled_from((0, 5 * MS, S, 7 * S)), st.integers(0, 4)), max_size=8),
    st.floats(0.0, 29e9),
)
def test_native_load_is_never_negative_and_the_balance_closes(orders: list[tuple[float, int, int]], fed_w: float) -> None:
    """Whatever is ordered: without damping the slope of frequency is generation less load over the inertia."""
    stages = tuple(Shedding("ufls", pickup, 0, 0, 7e9) for pickup in (49.9, 49.5, 49.0))
    response = AreaResponse(one(damping=0.0, shedding=stages), [fed_w])
    lost_w, t_ns = 8e9, 0
    response.lose("a", lost_w)
    for p_w, over_ns, wait_s in orders:
        with contextlib.suppress(ValueError):
            response.change_load("a", p_w, over_ns)
        t_ns += wait_s * S
        response.advance(t_ns, [fed_w])
        state = response.state()
        assert state.load_w[0] >= fed_w - 1.0
        gap_w = state.generation_w[0] - state.load_w[0]
        assert state.rocof_hz_per_s[0] == pytest.approx(gap_w * F0 / (2.0 * ENERGY), abs=1e-6)
