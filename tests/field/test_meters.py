"""Meters: shares, averages, registers, accuracy and last gasps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.field.meters import MeteredLoad, Meters, MetersFederate, customers, meter_ids, meter_nominal_w
from federates.runtime.conformance import check_federate
from federates.runtime.federate import S_NS, Spec
from federates.runtime.port import Quality, Sample

LOADS = (MeteredLoad("s1a", 40_000.0), MeteredLoad("s2b", 500.0), MeteredLoad("s47", 105_000.0, 3))
EXACT = Meters("meters", LOADS, accuracy_class=0.0)


def _inputs(t_ns: int, p_w: Any, v_pu: Any = 1.0, measured_ns: int | None = None) -> dict[str, Sample]:
    at = t_ns if measured_ns is None else measured_ns
    p = np.broadcast_to(np.asarray(p_w, float), 3)
    return {
        "load_p_w": Sample.of(p, at),
        "load_q_var": Sample.of(0.3 * p, at),
        "load_v_pu": Sample.of(np.broadcast_to(v_pu, 3), at),
    }


def _walk(federate: MetersFederate, times_ns: list[int], p_w: Any, v_pu: Any = lambda t: 1.0) -> list[dict[str, Any]]:
    """Readings, one dict per interval that ended."""
    federate.start(0)
    readings = []
    for t_ns in times_ns:
        outputs = federate.step(t_ns, _inputs(t_ns, p_w(t_ns / S_NS), v_pu(t_ns / S_NS))).outputs
        if "interval_p_w" in outputs:
            readings.append(dict(outputs))
    return readings


def test_customers_follow_nominal_power_and_are_at_least_one() -> None:
    count = customers(EXACT)
    assert 7 <= count[0] <= 13 and count[1] == 1 and 6 <= count[2] <= 11
    assert meter_ids(EXACT)[: count[0] + 1] == (*(f"s1a#{k + 1}" for k in range(count[0])), "s2b#1")
    assert sum(meter_nominal_w(EXACT)) == pytest.approx(145_500.0, rel=1e-12)
    assert len({customers(Meters("meters", LOADS, seed=seed)) for seed in range(10)}) > 3


def test_shares_sum_to_the_load_and_wander() -> None:
    federate = MetersFederate(EXACT)
    before, after = federate._shares_at(0), federate._shares_at(1800 * S_NS)
    for share in (before, after):
        assert np.add.reduceat(share, federate._first) == pytest.approx(np.ones(3), rel=1e-14)
        assert (share > 0.0).all()
    assert np.abs(after / before - 1.0).max() > 0.1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 299_999), max_size=40, unique=True), st.integers(0, 2**31))
def test_averages_are_over_time_however_often_the_meter_is_called(extra_ms: list[int], seed: int) -> None:
    """A load that is constant between calls: the sum of the readings is its integral over time, not a mean of samples."""
    times = sorted({t * 1_000_000 for t in extra_ms} | {k * 60 * S_NS for k in range(6)})
    level = np.random.default_rng(seed).uniform(10e3, 50e3, len(times))
    of = dict(zip((t / S_NS for t in times), level, strict=True))
    (reading,) = _walk(MetersFederate(EXACT), times, lambda t: of[t])
    expected_wh = sum(level[k] * (times[k + 1] - times[k]) for k in range(len(times) - 1)) / (3600 * S_NS)
    got_wh = np.add.reduceat(reading["interval_p_w"].values, MetersFederate(EXACT)._first) / 12
    count = np.array(customers(EXACT))
    assert (expected_wh - got_wh >= -1e-6).all() and (expected_wh - got_wh < count).all()  # each register drops less than 1 Wh


def test_readings_are_stamped_with_the_end_of_their_interval() -> None:
    readings = _walk(MetersFederate(EXACT), [k * S_NS for k in range(901)], lambda t: 2e4)
    assert [r["interval_p_w"].t_ns for r in readings] == [300 * S_NS, 600 * S_NS, 900 * S_NS]
    assert all((r["interval_v_pu"].quality == 0).all() for r in readings)


def test_energy_is_the_integral_within_a_thousandth_in_a_jacobi_run() -> None:
    """Samples are one step old when the meters see them; the energy of 4 h of a moving load is still its integral."""
    federate = MetersFederate(EXACT)
    federate.start(0)

    def load_w(k: int) -> float:
        return 30e3 + 20e3 * np.sin(k / 500.0) + 5e3 * (k % 7)

    total_wh = np.zeros(3)
    for k in range(4 * 3600 + 1):
        outputs = federate.step(k * S_NS, _inputs(k * S_NS, load_w(max(k - 1, 0)), measured_ns=max(k - 1, 0) * S_NS)).outputs
        if "interval_p_w" in outputs:
            total_wh += np.add.reduceat(outputs["interval_p_w"].values, federate._first) / 12
    true_wh = sum(load_w(k) for k in range(4 * 3600)) / 3600
    assert total_wh == pytest.approx(np.full(3, true_wh), rel=1e-3)


def test_a_sample_counts_from_its_measurement_and_once() -> None:
    """3.6 MW for the first second only, seen one step late, are 1 kWh."""
    federate = MetersFederate(EXACT)
    federate.start(0)
    for k in range(301):
        measured_s = max(k - 1, 0)
        outputs = federate.step(
            k * S_NS, _inputs(k * S_NS, 3.6e6 if measured_s == 0 else 0.0, measured_ns=measured_s * S_NS)
        ).outputs
    energy_wh = np.add.reduceat(outputs["interval_p_w"].values, federate._first) / 12
    assert (np.abs(energy_wh - 1000.0) <= np.array(customers(EXACT))).all()


def test_registers_are_whole_and_do_not_lose_energy() -> None:
    readings = _walk(MetersFederate(EXACT), [k * 60 * S_NS for k in range(241)], lambda t: 1e3)
    energy = np.array([r["interval_p_w"].values / 12 for r in readings])
    assert energy == pytest.approx(np.rint(energy), abs=1e-9)
    by_load = np.add.reduceat(energy.sum(axis=0), MetersFederate(EXACT)._first)
    assert (np.abs(by_load - 4000.0) <= np.array(customers(EXACT))).all()
    voltage = readings[0]["interval_v_pu"].values * 240.0
    assert voltage == pytest.approx(np.rint(voltage * 10) / 10, abs=1e-9)


def test_errors_stay_in_the_accuracy_class_and_are_drawn_once() -> None:
    loads = (MeteredLoad("big", 8e6),)
    true, measured = (MetersFederate(Meters("m", loads, accuracy_class=c)) for c in (0.0, 0.5))

    def one(t_ns: int) -> dict[str, Sample]:
        values = {"load_p_w": 8e7, "load_q_var": 2e7, "load_v_pu": 1.02}
        return {name: Sample.of(value, t_ns) for name, value in values.items()}

    errors = []
    for federate in (true, measured):
        federate.start(0)
    for k in range(16):
        a, b = (federate.step(k * 60 * S_NS, one(k * 60 * S_NS)).outputs for federate in (true, measured))
        if "interval_p_w" in a:
            errors.append(b["interval_p_w"].values / a["interval_p_w"].values - 1.0)
            assert np.abs(b["interval_v_pu"].values / 1.02 - 1.0).max() <= 0.005 + 0.05 / 240
    error = np.array(errors)
    assert np.abs(error).max() <= 0.005 + 2e-3  # the register's whole Wh
    assert 0.001 < error[0].std() < 0.0025
    assert np.abs(error[1] - error[0]).max() < 3e-3


def test_a_clock_that_is_ahead_moves_energy_between_intervals_and_loses_none() -> None:
    ahead = Meters("meters", LOADS, accuracy_class=0.0, clock_ahead_s=30.0)
    step_at_600 = lambda t: 20e3 if t < 600 else 60e3  # noqa: E731
    times = [k * 10 * S_NS for k in range(181)]
    plain, early = (_walk(MetersFederate(p), times, step_at_600) for p in (EXACT, ahead))
    interval = [np.array([r["interval_p_w"].values.sum() / 12 for r in readings]) for readings in (plain, early)]
    # The third interval starts early, so it has a part of the time before the step.
    assert interval[1][2] < 0.99 * interval[0][2]
    assert interval[1][3:] == pytest.approx(interval[0][3:], rel=0.01)


def test_last_gasp_and_restored_once_each_and_silence_in_between() -> None:
    voltage = lambda t: np.where([True, False, False], 0.0 if 400 <= t < 700 else 1.0, 1.0)  # noqa: E731
    federate = MetersFederate(EXACT)
    federate.start(0)
    events, readings = [], {}
    for k in range(901):
        outputs = federate.step(k * S_NS, _inputs(k * S_NS, 2e4, voltage(k))).outputs
        events += outputs["meter_event"]
        if "interval_p_w" in outputs:
            readings[k] = outputs["interval_p_w"]
    n = customers(EXACT)[0]
    assert events == [
        {"event": "last_gasp", "load": "s1a", "meters": n, "t_event_ns": 400 * S_NS},
        {"event": "restored", "load": "s1a", "meters": n, "t_event_ns": 700 * S_NS},
    ]
    assert (readings[600].quality[:n] == Quality.LOST).all() and np.isnan(readings[600].values[:n]).all()
    assert (readings[600].quality[n:] == 0).all() and (readings[900].quality == 0).all()


def test_an_interval_that_was_partly_unseen_is_suspect() -> None:
    federate = MetersFederate(EXACT)
    federate.start(0)
    for k in range(301):
        inputs = _inputs(k * S_NS, 2e4)
        if 100 <= k < 150:
            inputs["load_p_w"] = Sample.missing(3)
        outputs = federate.step(k * S_NS, inputs).outputs
    assert (outputs["interval_p_w"].quality == Quality.SUSPECT).all()


@pytest.mark.parametrize("wrong", [{"loads": ()}, {"interval_ns": 90 * S_NS}, {"customer_w": 0.0}, {"clock_ahead_s": 400.0}])
def test_impossible_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="meters m"):
        Meters(**{"name": "m", "loads": LOADS, **wrong})


def test_conforms() -> None:
    assert check_federate(Spec("meters", "federates.field.meters:MetersFederate", EXACT), periods=310) == []
