"""The DER model by itself: the standard's numbers, varying time steps, commands, copies, the settled response, and bad input.

Comparison with the reference model is in `test_der_opender.py`.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from federates.grid.der import DerFleet, DerSettings, DerStatus, DerType, QMode, randomized_delay_s

S_VA = 1e5


def fleet_2018(n: int = 1, **values: object) -> DerFleet:
    return DerFleet(DerSettings.ieee1547_2018(n, NP_VA_MAX=S_VA, **values))  # type: ignore[arg-type]


def flat(n: int, v_pu: float = 1.0) -> np.ndarray:
    return np.full(n, v_pu)


def run(fleet: DerFleet, seconds: float, dt_s: float, v_pu: float = 1.0, f_hz: float = 60.0, p_w: float = S_VA) -> None:
    for _ in range(round(seconds / dt_s)):
        fleet.step(dt_s, flat(len(fleet), v_pu), f_hz, p_w)


# the standard's own numbers


@pytest.mark.parametrize("v_pu, q_pu", [(0.9, 0.44), (0.95, 0.22), (0.98, 0.0), (1.0, 0.0), (1.05, -0.22), (1.09, -0.44)])
def test_default_volt_var_of_category_b(v_pu: float, q_pu: float) -> None:
    out = fleet_2018(Q_MODE="QV").steady(flat(1, v_pu), 60.0, 0.5 * S_VA)
    assert out.q_var[0] / S_VA == pytest.approx(q_pu, abs=1e-12)


@pytest.mark.parametrize("v_pu, p_pu", [(1.05, 1.0), (1.07, 0.75), (1.08, 0.5), (1.099, 0.025)])
def test_default_volt_watt(v_pu: float, p_pu: float) -> None:
    out = fleet_2018(PV_MODE_ENABLE=True).steady(flat(1, v_pu), 60.0, S_VA)
    assert out.p_w[0] / S_VA == pytest.approx(p_pu, abs=1e-9)


@pytest.mark.parametrize("f_hz, p_pu", [(60.03, 0.5), (60.336, 0.4), (61.0, 0.5 - 0.964 / 3), (59.664, 0.6)])
def test_default_droop_is_five_percent_beyond_36_mhz(f_hz: float, p_pu: float) -> None:
    fleet = fleet_2018(AP_LIMIT_ENABLE=True, AP_LIMIT=0.5)
    fleet.settle(flat(1), 60.0, S_VA)
    assert fleet.steady(flat(1), f_hz, S_VA).p_w[0] / S_VA == pytest.approx(p_pu, abs=1e-9)


def test_open_loop_response_reaches_ninety_percent_in_its_time() -> None:
    fleet = fleet_2018(Q_MODE="QV", QV_OLRT=5.0)
    fleet.settle(flat(1), 60.0, 0.5 * S_VA)
    run(fleet, 5.0, 0.01, v_pu=0.9, p_w=0.5 * S_VA)
    assert fleet.step(0.01, flat(1, 0.9), 60.0, 0.5 * S_VA).q_var[0] / S_VA == pytest.approx(0.9 * 0.44, rel=2e-3)


@pytest.mark.parametrize("low_p, q_pu", [("SAME", 0.44), ("REDUCED", 0.0)])
def test_q_at_night(low_p: str, q_pu: float) -> None:
    fleet = fleet_2018(Q_MODE="QV", NP_Q_CAPABILITY_LOW_P=low_p)
    assert fleet.steady(flat(1, 0.9), 60.0, 0.0).q_var[0] / S_VA == pytest.approx(q_pu)
    assert fleet.q_limits(0.0)[1][0] / S_VA == pytest.approx(q_pu)


@pytest.mark.parametrize(
    "category, quantity, value, trip_s",
    [("I", "v", 0.4, 0.16), ("I", "v", 0.6, 2.0), ("II", "v", 0.6, 10.0), ("III", "v", 0.8, 21.0), ("III", "v", 0.4, 2.0),
     ("II", "v", 1.15, 2.0), ("III", "v", 1.15, 13.0), ("III", "v", 1.25, 0.16), ("II", "f", 56.0, 0.16), ("II", "f", 62.5, 0.16)],
)  # fmt: skip
@pytest.mark.parametrize("steps", [[0.02], [0.01, 0.03], [1.0, 0.02, 0.02, 0.1]])
def test_trips_when_the_time_has_passed(category: str, quantity: str, value: float, trip_s: float, steps: list[float]) -> None:
    """Whatever the steps are: in the step in which the time is reached, and in none before."""
    fleet = DerFleet(DerSettings.ieee1547_2018(1, category=category, NP_VA_MAX=S_VA))
    fleet.settle(flat(1), 60.0, S_VA)
    elapsed_s, k = 0.0, 0
    while fleet.status[0] != DerStatus.TRIP:
        assert elapsed_s < trip_s + 1e-9  # steps of 20 ms may sum to just under the time
        dt_s = steps[k % len(steps)]
        v, f = (value, 60.0) if quantity == "v" else (1.0, value)
        fleet.step(dt_s, flat(1, v), f, S_VA)
        elapsed_s, k = elapsed_s + dt_s, k + 1
    assert elapsed_s > trip_s - 1e-9


def test_a_return_within_limits_clears_the_trip_timer() -> None:
    fleet = fleet_2018()
    fleet.settle(flat(1), 60.0, S_VA)
    for _ in range(5):
        run(fleet, 20.0, 1.0, v_pu=0.8)
        run(fleet, 1.0, 1.0)
    assert fleet.status[0] == DerStatus.CONTINUOUS


def test_momentary_cessation_of_category_iii_and_return() -> None:
    fleet = fleet_2018()
    fleet.settle(flat(1), 60.0, S_VA)
    out = fleet.step(0.02, flat(1, 0.4), 60.0, S_VA)
    assert out.status[0] == DerStatus.MOMENTARY_CESSATION and out.p_w[0] == 0.0
    out = fleet.step(0.02, flat(1), 60.0, S_VA)
    assert out.status[0] == DerStatus.CONTINUOUS and out.p_w[0] == pytest.approx(S_VA)


def test_the_2003_vintage_trips_where_the_2018_rides_through() -> None:
    old, new = (kind(2, NP_VA_MAX=S_VA) for kind in (DerSettings.ieee1547_2003, DerSettings.ieee1547_2018))
    fleet = DerFleet(DerSettings.joined(old, new))
    fleet.settle(flat(4), 60.0, S_VA)
    seen = [fleet.step(0.02, flat(4), 59.25, S_VA).status for _ in range(15)]
    tripped = [(status == DerStatus.TRIP).tolist() for status in seen]
    assert tripped[6] == [False] * 4 and tripped[8] == [True, True, False, False]


def test_enter_service_waits_then_ramps() -> None:
    fleet = fleet_2018(2, ES_DELAY=300.0, ES_RAMP_RATE=[300.0, 0.0])
    fleet.settle(flat(2), 60.0, S_VA, in_service=False)
    p = np.array([fleet.step(1.0, flat(2), 60.0, S_VA).p_w / S_VA for _ in range(650)])
    assert (p[:299] == 0.0).all()
    assert p[300, 1] == pytest.approx(1.0) and p[449, 0] == pytest.approx(0.5, abs=0.01) and p[610, 0] == pytest.approx(1.0)
    assert np.diff(p[:, 0]).max() == pytest.approx(1 / 300)
    assert (fleet.status == DerStatus.CONTINUOUS).all()


def test_randomized_delays_spread_the_return() -> None:
    delays = randomized_delay_s(50, 100.0, seed=7)
    fleet = fleet_2018(50, ES_DELAY=10.0, ES_RAMP_RATE=0.0, ES_RANDOMIZED_DELAY_ACTUAL=delays)
    fleet.settle(flat(50), 60.0, S_VA, in_service=False)
    back = np.array([fleet.step(1.0, flat(50), 60.0, S_VA).status != DerStatus.TRIP for _ in range(130)]).argmax(axis=0)
    assert np.abs(back - (9 + delays)).max() <= 1.0
    assert (randomized_delay_s(50, 100.0, seed=7) == delays).all()


# deliberate differences from OpenDER


def test_a_change_of_reactive_mode_ramps_from_the_present_q() -> None:
    fleet = fleet_2018(Q_MODE="QV", CONST_Q=-0.44, NP_MODE_TRANSITION_TIME=15.0)
    fleet.settle(flat(1, 0.9), 60.0, 0.5 * S_VA)
    fleet.update_settings([0], Q_MODE=QMode.CONST_Q)
    q = np.array([0.44, *(fleet.step(1.0, flat(1, 0.9), 60.0, 0.5 * S_VA).q_var[0] / S_VA for _ in range(20))])
    assert np.abs(np.diff(q)).max() <= 1 / 15 + 1e-12 and q[-1] == pytest.approx(-0.44)


@pytest.mark.parametrize("kind", [DerType.PV, DerType.STORAGE])
def test_limit_and_volt_watt_together_keep_ramp_and_set_point(kind: DerType) -> None:
    fleet = fleet_2018(NP_TYPE=kind, AP_LIMIT_ENABLE=True, AP_LIMIT=0.9, PV_MODE_ENABLE=True, ES_DELAY=0.0, ES_RAMP_RATE=100.0)
    fleet.settle(flat(1), 60.0, 0.5 * S_VA, in_service=False)
    if kind is DerType.STORAGE:
        fleet.set_p([0], 0.5 * S_VA)
    p = np.array([fleet.step(1.0, flat(1), 60.0, 0.5 * S_VA).p_w[0] / S_VA for _ in range(120)])
    assert np.diff(p).max() <= 0.01 + 1e-9 and p[-1] == pytest.approx(0.5)


def test_active_priority_gives_q_what_is_left_and_p_no_more_than_available() -> None:
    fleet = fleet_2018(Q_MODE="CONST_Q", CONST_Q=0.6, NP_Q_MAX_INJ=0.6 * S_VA, NP_PRIO_OUTSIDE_MIN_Q_REQ="ACTIVE")
    part = fleet.steady(flat(1), 60.0, 0.85 * S_VA)
    assert part.p_w[0] == pytest.approx(0.85 * S_VA) and part.q_var[0] == pytest.approx(np.sqrt(1 - 0.85**2) * S_VA)
    full = fleet.steady(flat(1), 60.0, S_VA)
    assert full.q_var[0] == pytest.approx(0.44 * S_VA) and full.p_w[0] == pytest.approx(np.sqrt(1 - 0.44**2) * S_VA)


def test_storage_above_its_limit_only_stops_charging() -> None:
    fleet = fleet_2018(NP_TYPE="STORAGE", NP_BESS_SOC_MAX=0.8, SOC_INIT=0.9)
    fleet.set_p([0], -S_VA)
    assert fleet.step(1.0, flat(1), 60.0).p_w[0] == pytest.approx(0.0, abs=1e-9)
    fleet.set_p([0], 0.5 * S_VA)
    assert fleet.step(1.0, flat(1), 60.0).p_w[0] == pytest.approx(0.5 * S_VA)


# storage


def test_energy_balance_of_a_round_trip() -> None:
    fleet = fleet_2018(NP_TYPE="STORAGE", NP_EFFICIENCY=0.81, NP_BESS_CAPACITY=1e5, NP_P_MAX_CHARGE=0.5 * S_VA, NP_INV_DELAY=0.0)
    fleet.set_soc([0], 0.0)
    fleet.set_p([0], -S_VA)
    charged = -sum(fleet.step(10.0, flat(1), 60.0).p_w[0] for _ in range(1000)) * 10 / 3600
    assert charged == pytest.approx(1e5 / 0.81, rel=1e-6) and fleet.soc_wh[0] == pytest.approx(1e5)
    fleet.set_p([0], S_VA)
    discharged = sum(fleet.step(10.0, flat(1), 60.0).p_w[0] for _ in range(500)) * 10 / 3600
    assert discharged == pytest.approx(0.81 * charged, rel=1e-6) and fleet.soc_wh[0] == pytest.approx(0.0, abs=1e-6)


# commands


def test_trip_connect_and_permission() -> None:
    fleet = fleet_2018(4, ES_DELAY=5.0, ES_RAMP_RATE=0.0)
    fleet.settle(flat(4), 60.0, S_VA)
    fleet.trip([0])
    fleet.connect([1], False)
    fleet.permit_service([2], False)
    out = fleet.step(1.0, flat(4), 60.0, S_VA)
    assert (out.status == [DerStatus.TRIP] * 3 + [DerStatus.CONTINUOUS]).all() and (out.p_w[:3] == 0.0).all()
    run(fleet, 10.0, 1.0)
    assert (fleet.status != DerStatus.TRIP).tolist() == [True, False, False, True]
    fleet.connect([1], True)
    fleet.permit_service([2], True)
    run(fleet, 4.0, 1.0)
    assert (fleet.status[1:3] == DerStatus.TRIP).all()
    run(fleet, 3.0, 1.0)
    assert (fleet.status == DerStatus.CONTINUOUS).all()


def test_limits_and_set_points_by_command() -> None:
    fleet = fleet_2018(3, AP_RT=10.0)
    fleet.settle(flat(3), 60.0, 0.8 * S_VA)
    fleet.limit_p([0], 0.3 * S_VA)
    fleet.set_q([1], -0.2 * S_VA)
    run(fleet, 60.0, 1.0, p_w=0.8 * S_VA)
    out = fleet.step(1.0, flat(3), 60.0, 0.8 * S_VA)
    assert out.p_w == pytest.approx([0.3 * S_VA, 0.8 * S_VA, 0.8 * S_VA])
    assert out.q_var == pytest.approx([0.0, -0.2 * S_VA, 0.0], abs=1e-3)
    fleet.limit_p([0], None)
    assert fleet.step(1.0, flat(3), 60.0, 0.8 * S_VA).p_w[0] == pytest.approx(0.8 * S_VA)
    with pytest.raises(ValueError, match="DER 2 is PV"):
        fleet.set_p([2], 1.0)


# copies and the settled response


def varied(rng: np.random.Generator, n: int) -> DerSettings:
    parts = [
        DerSettings.ieee1547_2018(n // 2, "II", "B", NP_VA_MAX=S_VA, Q_MODE=rng.choice(list(QMode), n // 2), PV_MODE_ENABLE=True),
        DerSettings.ieee1547_2018(n // 4, "III", "A", NP_VA_MAX=S_VA, Q_MODE="QV", NP_TYPE="STORAGE", NP_BESS_CAPACITY=1e12),
        DerSettings.ieee1547_2003(n - n // 2 - n // 4, NP_VA_MAX=S_VA),
    ]
    return DerSettings.joined(*parts)


@hypothesis_settings(max_examples=25, deadline=None)
@given(v_pu=st.floats(0.3, 1.25), f_hz=st.floats(56.0, 63.0), part=st.floats(0.0, 1.1), seed=st.integers(0, 3))
def test_steady_is_where_stepping_ends(v_pu: float, f_hz: float, part: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet = DerFleet(varied(rng, 24).updated(slice(None), ES_DELAY=600.0))
    fleet.set_p(np.arange(12, 18), rng.uniform(-1, 1, 6) * S_VA)
    fleet.settle(flat(24), 60.0, part * S_VA)
    before = fleet.state()
    expected = fleet.steady(flat(24, v_pu), f_hz, part * S_VA)
    assert all((before[name] == value).all() for name, value in fleet.state().items())
    for _ in range(60):
        out = fleet.step(7.0, flat(24, v_pu), f_hz, part * S_VA)
    assert (out.status == expected.status).all()
    assert out.p_w == pytest.approx(expected.p_w, abs=1e-5 * S_VA) and out.q_var == pytest.approx(expected.q_var, abs=1e-5 * S_VA)


def test_the_fast_response_leaves_out_what_is_slow() -> None:
    fleet = fleet_2018(3, Q_MODE="QV", QV_OLRT=[0.5, 5.0, 0.5], PV_MODE_ENABLE=True, PV_OLRT=[10.0, 10.0, 0.5])
    fleet.settle(flat(3), 60.0, 0.6 * S_VA)
    fast = fleet.steady(flat(3, 1.095), 60.0, 0.6 * S_VA, horizon_s=2.0)
    assert fast.q_var[:2] / S_VA == pytest.approx([-0.44, 0.0])
    assert fast.p_w / S_VA == pytest.approx([0.6, 0.6, 0.125])
    # a trip of 2 s is within two seconds, one of 13 s is not
    assert fleet.steady(flat(3, 0.45), 60.0, S_VA, horizon_s=2.0).status[0] == DerStatus.TRIP
    assert fleet.steady(flat(3, 1.15), 60.0, S_VA, horizon_s=2.0).status[0] == DerStatus.MOMENTARY_CESSATION


def test_steady_for_another_set_in_service() -> None:
    fleet = fleet_2018(2)
    out = fleet.steady(flat(2), 60.0, S_VA, in_service=[True, False])
    assert out.p_w == pytest.approx([S_VA, 0.0]) and out.status.tolist() == [DerStatus.CONTINUOUS, DerStatus.TRIP]


def test_restored_state_continues_identically() -> None:
    rng = np.random.default_rng(3)
    fleet = DerFleet(varied(rng, 24))
    fleet.settle(flat(24), 60.0, S_VA)
    run(fleet, 3.0, 0.02, v_pu=0.6)
    copy = DerFleet(pickle.loads(pickle.dumps(fleet.settings)))
    copy.restore(fleet.state())
    for _ in range(50):
        ours, theirs = (each.step(0.5, flat(24, 0.97), 59.9, S_VA) for each in (fleet, copy))
        assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))
    with pytest.raises(ValueError, match="24"):
        fleet_2018(2).restore(fleet.state())


def test_a_fleet_is_its_members_one_by_one() -> None:
    rng = np.random.default_rng(5)
    settings = varied(rng, 12)
    v = 1 + 0.05 * rng.normal(size=(40, 12, 3)) + 0j
    v *= np.exp(1j * np.array([0.0, -2, 2]) * np.pi / 3)
    fleet, alone = DerFleet(settings), [DerFleet(settings.take([row])) for row in range(12)]
    for k in range(40):
        together = fleet.step(0.5, v[k], 60.2, 0.7 * S_VA)
        for row, one in enumerate(alone):
            single = one.step(0.5, v[k, [row]], 60.2, 0.7 * S_VA)
            assert single.status[0] == together.status[row]
            assert single.p_w[0] == pytest.approx(together.p_w[row], rel=1e-12, abs=1e-9)
            assert single.q_var[0] == pytest.approx(together.q_var[row], rel=1e-12, abs=1e-9)


def test_an_empty_fleet_steps() -> None:
    fleet = DerFleet(DerSettings.ieee1547_2018(0, NP_VA_MAX=1.0))
    assert fleet.step(1.0, np.zeros((0, 3)), 60.0).p_w.shape == (0,)


@hypothesis_settings(deadline=None)
@given(v_pu=st.floats(0.0, 1.5), f_hz=st.floats(50.0, 70.0), part=st.floats(0.0, 2.0), q=st.sampled_from(list(QMode)))
def test_output_stays_within_ratings(v_pu: float, f_hz: float, part: float, q: QMode) -> None:
    fleet = fleet_2018(Q_MODE=q, CONST_PF=0.8, CONST_Q=0.44)
    out = fleet.steady(flat(1, v_pu), f_hz, part * S_VA)
    assert np.hypot(out.p_w[0], out.q_var[0]) <= S_VA * (1 + 1e-9) and 0.0 <= out.p_w[0] <= part * S_VA * (1 + 1e-9) + 1e-9


# settings


def test_settings_are_compared_and_hashed_by_content() -> None:
    a, b = (DerSettings.ieee1547_2018(3, NP_VA_MAX=S_VA) for _ in range(2))
    c = a.updated([1], QV_CURVE_V1=0.91)
    assert a == b and hash(a) == hash(b) and a.content_hash == b.content_hash
    assert a != c and a.content_hash != c.content_hash and c.QV_CURVE_V1.tolist() == [0.92, 0.91, 0.92]
    copy = pickle.loads(pickle.dumps(c))
    assert copy == c and not copy.QV_CURVE_V1.flags.writeable


@pytest.mark.parametrize(
    "values, message",
    [
        ({"QV_CURVE_V9": 1.0}, "no such DER setting: QV_CURVE_V9"),
        ({"QV_CURVE_V2": [0.98, 0.9]}, "QV_CURVE_V2 is 0.9 for DER 1 .*at least QV_CURVE_V1"),
        ({"QV_CURVE_V3": 0.98, "QV_CURVE_Q3": -0.1}, "QV_CURVE_Q3 .*equal to QV_CURVE_Q2"),
        ({"Q_MODE": "VOLTVAR"}, "Q_MODE: VOLTVAR is none of NONE, CONST_PF"),
        ({"NP_P_MAX": 2 * S_VA}, "NP_P_MAX .*at most NP_VA_MAX"),
        ({"ES_DELAY": -1.0}, "ES_DELAY is -1.0 for DER 0 .2 in all.: 0 to inf s"),
        ({"ES_DELAY": np.nan}, "ES_DELAY is nan .*finite"),
        ({"NP_PHASE": 2}, "NP_PHASE .*1 or 3"),
        ({"ES_DELAY": [1.0, 2.0, 3.0]}, r"ES_DELAY: shape \(3,\) does not fit \(2,\)"),
    ],
)
def test_refused_settings(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DerSettings.ieee1547_2018(2, NP_VA_MAX=S_VA, **values)  # type: ignore[arg-type]


def test_refused_calls() -> None:
    fleet = fleet_2018(2)
    with pytest.raises(ValueError, match=r"NP_VA_MAX .* has no default"):
        DerSettings.ieee1547_2018(2)
    with pytest.raises(ValueError, match="give I, II or III"):
        DerSettings.ieee1547_2018(2, category="IV", NP_VA_MAX=S_VA)
    with pytest.raises(ValueError, match="time step 0"):
        fleet.step(0.0, flat(2), 60.0)
    with pytest.raises(ValueError, match=r"v_pu has shape \(3,\)"):
        fleet.step(1.0, flat(3), 60.0)
    with pytest.raises(ValueError, match=r"f_hz has shape \(3,\)"):
        fleet.step(1.0, flat(2), [60.0] * 3)
    with pytest.raises(ValueError, match="v_pu of DER 1 is not finite"):
        fleet.step(1.0, np.array([1.0, np.nan]), 60.0)
