"""The frequency model against closed forms (Anderson and Mirheydar 1990) and an independent integration (scipy)."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from federates.grid.emergency import EmergencyDetector, EmergencyThresholds
from federates.grid.frequency import FrequencyModel, FrequencyResponse, Machine, ScheduledLoss
from federates.grid.governor import Governor

S = 1_000_000_000
BASE_W = 1e9


def one_steam(droop=0.05, reheat_s=8.0, high_pressure=0.3, inertia_s=4.0, damping=1.0, dead_band_hz=0.0, headroom_w=1e9, **more):
    """The classic low-order model: valve and steam chest neglected, all on one base."""
    governor = Governor("steam", droop, dead_band_hz, ((high_pressure * reheat_s, reheat_s),), secondary_share=1.0)
    machine = Machine("m", BASE_W, inertia_s, "steam", headroom_w, headroom_w)
    return FrequencyModel(60.0, (machine,), (governor,), native_damping_pu=damping, **more)


def trace(model, p_loss_w, seconds, dt_ns=S // 50):
    run = FrequencyResponse(model, 0.0, BASE_W)
    run.trip(None, p_loss_w)
    return [run.step(dt_ns, 0.0, BASE_W) for _ in range(round(seconds * S / dt_ns))]


@pytest.mark.parametrize(
    ("droop", "reheat_s", "high_pressure", "inertia_s", "damping"),
    [(0.05, 8.0, 0.3, 4.0, 1.0), (0.04, 10.0, 0.25, 3.0, 0.0), (0.08, 6.0, 0.2, 5.0, 2.0)],
)
def test_closed_form_of_the_low_order_model(droop, reheat_s, high_pressure, inertia_s, damping):
    loss = 0.1
    states = trace(one_steam(droop, reheat_s, high_pressure, inertia_s, damping), loss * BASE_W, 30)
    r, tr, fh, h, d = droop, reheat_s, high_pressure, inertia_s, damping
    wn = math.sqrt((d * r + 1.0) / (2 * h * r * tr))
    zeta = (2 * h * r + (d * r + fh) * tr) / (2 * (d * r + 1.0)) * wn
    wr = wn * math.sqrt(1 - zeta**2)
    alpha = math.sqrt((1 - 2 * tr * zeta * wn + (tr * wn) ** 2) / (1 - zeta**2))
    phi = math.atan2(wr * tr, 1 - zeta * wn * tr) - math.atan2(math.sqrt(1 - zeta**2), -zeta)
    t = np.array([s.t_ns for s in states]) / S
    expected = 60.0 * (1 - r * loss / (d * r + 1.0) * (1 + alpha * np.exp(-zeta * wn * t) * np.sin(wr * t + phi)))
    got = np.array([s.f_hz for s in states])
    assert np.abs(got - expected).max() < 1e-9

    t_nadir = math.atan2(wr * tr, zeta * wn * tr - 1) / wr
    nadir = 60.0 * (1 - r * loss / (d * r + 1.0) * (1 + alpha * math.exp(-zeta * wn * t_nadir) * math.sin(wr * t_nadir + phi)))
    assert t[got.argmin()] == pytest.approx(t_nadir, abs=0.02)
    assert got.min() == pytest.approx(nadir, abs=2e-4)


def test_initial_rocof_and_steady_state():
    run = FrequencyResponse(one_steam(), 0.0, BASE_W)
    run.trip(None, 0.1 * BASE_W)
    assert run.state().rocof_hz_per_s == pytest.approx(-0.1 / (2 * 4.0) * 60.0, rel=1e-12)
    end = [run.step(S, 0.0, BASE_W) for _ in range(200)][-1]
    assert end.f_hz - 60.0 == pytest.approx(-0.1 / (1.0 + 1 / 0.05) * 60.0, rel=1e-9)
    assert end.governor_p_w.sum() + 0.9 * BASE_W == pytest.approx(end.native_p_w, rel=1e-12)


def mixed(**more):
    governors = (
        Governor.steam_reheat("steam", dead_band_hz=0.02, secondary_share=1.0),
        Governor.gas("gas", droop_pu=0.04, dead_band_hz=0.015, secondary_share=2.0),
        Governor.hydro("hydro", dead_band_hz=0.03),
    )
    machines = (
        Machine("s1", 4e9, 4.0, "steam", 120e6, 1e9),
        Machine("s2", 2e9, 4.0, "steam", 60e6, 1e9),
        Machine("g1", 1e9, 5.0, "gas", 100e6, 5e8),
        Machine("h1", 2e9, 3.0, "hydro", 300e6, 5e8),
        Machine("nuclear", 1e9, 6.0),
    )
    more = {"secondary_bias_w_per_hz": 2e9, "secondary_time_s": 20.0, "secondary_limit_w": 200e6, **more}
    return FrequencyModel(60.0, machines, governors, native_damping_pu=1.2, **more)


def test_against_scipy_with_dead_bands_limits_and_secondary_control():
    """An independent formulation of the same equations, integrated by LSODA to 1e-10."""
    model = mixed()
    e, native, fixed, lost = 4e9 * 4 + 2e9 * 4 + 1e9 * 5 + 2e9 * 3 + 1e9 * 6, 5e9, 2e9, 900e6

    def rhs(_t, y):
        df, agc, sv, ch, rh, gv, gf, hv, tr, wa = y
        band = lambda b: df - min(max(df, -b), b)  # noqa: E731
        steam = min(max(agc / 3 - 6e9 / (0.05 * 60) * band(0.02), -2e9), 180e6)
        gas = min(max(agc * 2 / 3 - 1e9 / (0.04 * 60) * band(0.015), -5e8), 100e6)
        hydro = min(max(-2e9 / (0.05 * 60) * band(0.03), -5e8), 300e6)
        p_steam = rh + 0.3 * (ch - rh)
        gate = tr + 5.0 / 40.0 * (hv - tr)
        p_hydro = wa - 2.0 * (gate - wa)
        pull = -lost + p_steam + gf + p_hydro - native * 1.2 * df / 60
        held = (agc >= 200e6 and df < 0) or (agc <= -200e6 and df > 0)
        return [60 * pull / (2 * e), 0.0 if held else -2e9 * df / 20, (steam - sv) / 0.2, (sv - ch) / 0.3, (ch - rh) / 8.0,
                (gas - gv) / 0.1, (gv - gf) / 0.4, (hydro - hv) / 0.2, (hv - tr) / 40.0, (gate - wa) / 0.5]  # fmt: skip

    run = FrequencyResponse(model, fixed, native)
    run.trip(None, lost)
    states = [run.step(S // 10, fixed, native) for _ in range(600)]
    t = np.arange(1, 601) / 10
    scale = [1e-10, *[1e-2] * 9]
    oracle = solve_ivp(rhs, (0, 60), np.zeros(10), "LSODA", t, rtol=1e-10, atol=scale, max_step=0.01)
    got = np.array([s.f_hz for s in states]) - 60.0
    assert got.min() < -0.3  # the bands are left, the headroom used up, the secondary control at its limit
    assert states[-1].governor_p_w[1] == pytest.approx(100e6, rel=1e-3)
    assert max(s.secondary_p_w for s in states) == pytest.approx(200e6, rel=1e-9)
    assert np.abs(got - oracle.y[0]).max() < 1e-7
    assert (
        np.abs(
            np.array([s.governor_p_w[2] for s in states])
            - (oracle.y[9] - 2 * (oracle.y[8] + (oracle.y[7] - oracle.y[8]) / 8 - oracle.y[9]))
        ).max()
        < 50.0
    )


@settings(max_examples=25, deadline=None)
@given(
    loss_w=st.floats(-8e8, 12e8),
    cuts=st.lists(st.integers(1, 400_000_000), min_size=1, max_size=40),
)
def test_slicing_does_not_matter(loss_w, cuts):
    """Any slices, of whole and of broken grid steps, end where one single call ends."""
    total = sum(cuts)
    whole, sliced = FrequencyResponse(mixed(), 2e9, 5e9), FrequencyResponse(mixed(), 2e9, 5e9)
    for run in (whole, sliced):
        run.trip(None, loss_w)
    a = whole.step(total, 2e9, 5e9)
    for cut in cuts:
        b = sliced.step(cut, 2e9, 5e9)
    assert b.t_ns == a.t_ns
    assert b.f_hz == pytest.approx(a.f_hz, abs=1e-9)
    assert b.governor_p_w == pytest.approx(a.governor_p_w, abs=1.0)


def test_20_ms_and_1_s_calls_agree():
    model = mixed(losses=(ScheduledLoss(3 * S + 7, 700e6, "g1"), ScheduledLoss(9 * S, 300e6)))
    fine, coarse = FrequencyResponse(model, 2e9, 5e9), FrequencyResponse(model, 2e9, 5e9)
    for _ in range(60):
        for _ in range(50):
            a = fine.step(S // 50, 2e9, 5e9)
        b = coarse.step(S, 2e9, 5e9)
        assert a.t_ns == b.t_ns and a.f_hz == pytest.approx(b.f_hz, abs=1e-9)
    assert a.f_hz < 59.9


def test_identical_bits_for_identical_calls():
    runs = [FrequencyResponse(pickle.loads(pickle.dumps(mixed())), 2e9, 5e9) for _ in range(2)]
    traces = [[(run.step(S, 2e9, 5e9 + 1e6 * k).f_hz) for k in range(30)] for run in runs]
    assert traces[0] == traces[1]


def test_inside_the_dead_band_only_damping_acts():
    model = one_steam(dead_band_hz=0.05)
    loss_w = 0.8 * 0.05 / 60.0 * BASE_W  # native damping alone holds it at 80 % of the band
    end = trace(model, loss_w, 100, S)[-1]
    assert end.f_hz == pytest.approx(60.0 - 0.04, abs=1e-6)
    assert end.governor_p_w.sum() == 0.0


def test_beyond_the_dead_band_the_droop_counts_from_its_edge():
    end = trace(one_steam(dead_band_hz=0.05), 0.1 * BASE_W, 200, S)[-1]
    deviation = (0.1 + 0.05 / (0.05 * 60.0)) / (1.0 / 60.0 + 1 / (0.05 * 60.0))
    assert end.f_hz == pytest.approx(60.0 - deviation, rel=1e-9)


def test_headroom_saturates_and_damping_takes_the_rest():
    end = trace(one_steam(headroom_w=0.06 * BASE_W), 0.1 * BASE_W, 300, S)[-1]
    assert end.governor_p_w.sum() == pytest.approx(0.06 * BASE_W, rel=1e-9)
    assert end.f_hz == pytest.approx(60.0 * (1 - 0.04), rel=1e-6)


def test_secondary_control_takes_frequency_back():
    states = trace(one_steam(secondary_bias_w_per_hz=0.35e9, secondary_time_s=30.0), 0.1 * BASE_W, 900, S)
    assert min(s.f_hz for s in states) < 59.5
    assert states[-1].f_hz == pytest.approx(60.0, abs=1e-4)
    assert states[-1].secondary_p_w == pytest.approx(0.1 * BASE_W, rel=1e-3)


def test_only_native_load_is_damped():
    native, fixed = FrequencyResponse(one_steam(), 0.0, BASE_W), FrequencyResponse(one_steam(), 0.5 * BASE_W, 0.5 * BASE_W)
    for run in (native, fixed):
        run.trip(None, 0.1 * BASE_W)
    low, lower = native.step(200 * S, 0.0, BASE_W), fixed.step(200 * S, 0.5 * BASE_W, 0.5 * BASE_W)
    assert low.f_hz - 60 == pytest.approx(-0.1 / 21 * 60, rel=1e-6)
    assert lower.f_hz - 60 == pytest.approx(-0.1 / 20.5 * 60, rel=1e-6)


def test_a_tripped_machine_takes_its_inertia_governor_and_response_along():
    run = FrequencyResponse(mixed(), 2e9, 5e9)
    run.trip("s1", 500e6)
    e = 2e9 * 4 + 1e9 * 5 + 2e9 * 3 + 1e9 * 6
    assert run.state().rocof_hz_per_s == pytest.approx(-500e6 * 60 / (2 * e), rel=1e-12)
    run.step(5 * S, 2e9, 5e9)
    response = run.response_by_machine()
    assert set(response) == {"s2", "g1", "h1"} and min(response.values()) > 0.0
    assert sum(response.values()) == pytest.approx(run.state().governor_p_w.sum())
    before = run.state().governor_p_w
    run.trip("s2", 0.0)
    assert run.state().governor_p_w[0] == 0.0 and run.state().governor_p_w[1:] == pytest.approx(before[1:])
    with pytest.raises(ValueError, match="not in service"):
        run.trip("s1", 1.0)


def test_scheduled_loss_is_the_same_as_a_trip_at_that_time():
    scheduled = FrequencyResponse(mixed(losses=(ScheduledLoss(2 * S, 500e6, "g1"),)), 2e9, 5e9)
    by_hand = FrequencyResponse(mixed(), 2e9, 5e9)
    by_hand.step(2 * S, 2e9, 5e9)
    by_hand.trip("g1", 500e6)
    assert scheduled.step(5 * S, 2e9, 5e9).f_hz == by_hand.step(3 * S, 2e9, 5e9).f_hz


@pytest.mark.parametrize(
    "build",
    [
        lambda: Governor("x", droop_pu=0.0),
        lambda: Governor("x", stages=((0.0, 0.001),)),
        lambda: FrequencyModel(60.0, (Machine("a", 1e9, 4.0, "none"),)),
        lambda: FrequencyModel(60.0, (Machine("a", 1e9, 0.0),)),
        lambda: FrequencyModel(60.0, (Machine("a", 1e9, 4.0), Machine("a", 1e9, 4.0))),
        lambda: FrequencyModel(60.0, (Machine("a", 1e9, 4.0),), secondary_bias_w_per_hz=1e9),
        lambda: FrequencyModel(60.0, (Machine("a", 1e9, 4.0),), losses=(ScheduledLoss(0, 1.0, "b"),)),
    ],
)
def test_wrong_parameters_are_refused(build):
    with pytest.raises(ValueError):
        build()


def test_emergency_enters_at_once_and_leaves_after_a_calm_hold():
    detector = EmergencyDetector(EmergencyThresholds(0.1, 0.05, 0.9, 0.5, 10 * S), 60.0)
    assert not detector.update(0, 59.91, 0.0, 1.0)
    assert detector.update(1 * S, 59.89, 0.0, 1.0)
    assert detector.update(2 * S, 59.94, 0.0, 1.0)  # inside the entry threshold, outside the exit one
    assert detector.update(20 * S, 59.96, 0.0, 1.0)  # calm begins
    assert detector.update(29 * S, 59.96, 0.0, 1.0)
    assert detector.update(29 * S + 1, 59.94, 0.0, 1.0)  # calm broken
    assert detector.update(31 * S, 59.96, 0.0, 1.0)
    assert not detector.update(41 * S, 59.96, 0.0, 1.0)


@pytest.mark.parametrize(
    ("f", "rocof", "v"), [(60.0, -0.06, 1.0), (60.0, 0.06, 1.0), (60.2, 0.0, 1.0), (60.0, 0.0, 0.89), (math.nan, 0.0, 1.0)]
)
def test_each_threshold_alone_is_an_emergency(f, rocof, v):
    assert EmergencyDetector(EmergencyThresholds(), 60.0).update(0, f, rocof, v)


def test_a_stage_of_no_lead_and_no_lag_follows_at_once():
    """It changes nothing beside others; alone it is droop without a lag: T = 2 H / (D + 1 / R)."""
    runs = []
    for stages in (((0.0, 0.3), (2.4, 8.0)), ((0.0, 0.0), (0.0, 0.3), (0.0, 0.0), (2.4, 8.0))):
        model = FrequencyModel(60.0, (Machine("m", BASE_W, 4.0, "g", 1e9, 1e9),), (Governor("g", stages=stages),))
        runs.append([state.f_hz for state in trace(model, 0.05 * BASE_W, 10)])
    assert runs[0] == runs[1]
    model = FrequencyModel(60.0, (Machine("m", BASE_W, 4.0, "g", 1e9, 1e9),), (Governor("g", stages=((0.0, 0.0),)),))
    states = trace(model, 0.05 * BASE_W, 5)
    t = np.array([s.t_ns for s in states]) / S
    expected = 60.0 * (1.0 - 0.05 / (1.0 + 20.0) * (1.0 - np.exp(-t * (1.0 + 20.0) / 8.0)))
    assert np.abs([s.f_hz for s in states] - expected).max() < 1e-9
