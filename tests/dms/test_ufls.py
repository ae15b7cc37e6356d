"""Under-frequency load shedding: what stages have armed, and the closed swing against a fine integration of the same equation."""

from __future__ import annotations

import pytest

from federates.dms.ufls import DerTrip, armed, swing
from federates.grid.frequency import FrequencyModel, Machine, ScheduledLoss
from federates.grid.relay import Stage
from federates.grid.shedding import FeederBank

MS = 1_000_000


def stage(number: int, pickup: float, delay_ms: int = 100, feeders: int | None = None) -> Stage:
    return Stage("ufls", number, "f_hz", pickup, delay_ms * MS, 60 * MS, feeders=feeders)


def test_each_stage_takes_what_the_ones_before_leave() -> None:
    bank = FeederBank("f", 10, 1.5e6, 2e6, 0.6e6)
    stages = [stage(1, 59.1), stage(2, 59.5, feeders=4), stage(3, 59.3, feeders=9)]
    found = {a.stage: a for a in armed(bank, stages)}
    assert [found[f"ufls:{k}"].feeders for k in (1, 2, 3)] == [0, 4, 6]
    assert found["ufls:2"].net_w == 6e6 and found["ufls:3"].der_w == pytest.approx(3.6e6)


def test_stages_that_measure_voltage_are_armed_with_feeders_that_frequency_would_shed_too() -> None:
    low_voltage = Stage("uvls", 1, "v_pu", 0.9, 3000 * MS, 60 * MS, feeders=4)
    first, second = armed(FeederBank("f", 8, 1e6, 1e6, 0.0), [stage(1, 59.5, feeders=8), low_voltage])
    assert (first.feeders, second.feeders) == (8, 4)


def test_a_feeder_that_feeds_back_is_counter_productive() -> None:
    (found,) = armed(FeederBank("f", 3, -0.2e6, 1e6, 1.2e6), [stage(1, 59.5)])
    assert found.counter_productive and found.net_w == pytest.approx(-0.6e6)


def by_euler(loss_w: float, shed_w: float, trip_w: float) -> tuple[float, list[float]]:
    """2 E / f0 df/dt = -imbalance with D, one stage at 59.5 Hz of 160 ms and DER that trip at 59.3 Hz after 160 ms."""
    energy, f0, native, d = 4.0 * 1000e6, 60.0, 500e6, 1.0
    f, lowest, t, dt = f0, f0, 0.0, 1e-4
    under_relay = under_der = relieved = lost = 0.0
    acted = []
    while t < 20.0:
        imbalance = (loss_w if t >= 1.0 else 0.0) - relieved + lost + native * d * (f - f0) / f0
        f -= imbalance / (2.0 * energy / f0) * dt
        t += dt
        under_relay = under_relay + dt if f < 59.5 else 0.0
        under_der = under_der + dt if f < 59.3 else 0.0
        if under_relay > 0.16 and not relieved:
            relieved = shed_w
            acted.append(t)
        if under_der > 0.16 and not lost:
            lost = trip_w
            acted.append(t)
        lowest = min(lowest, f)
    return lowest, acted


def test_the_closed_swing_agrees_with_a_fine_integration() -> None:
    """Stages and legacy DER act in the same swing; DER of another bank, whose breakers stay closed."""
    loss_w, shed_w, trip_w = 140e6, 90e6, 15e6
    machines = (Machine("a", 700e6, 4.0), Machine("b", 300e6, 4.0))
    model = FrequencyModel(60.0, machines, losses=(ScheduledLoss(1_000 * MS, loss_w),))
    banks = [(FeederBank("f", 9, 10e6, 12e6, 2e6), [stage(1, 59.5)]), (FeederBank("g", 3, 4e6, 9e6, 5e6), [])]
    found = swing(model, 500e6, 0.0, banks, [DerTrip("g", 59.3, 160 * MS, trip_w / 3.0)], stop_ns=20_000 * MS)
    lowest, acted = by_euler(loss_w, shed_w, trip_w)
    assert len(acted) == 2
    assert found.nadir_hz == pytest.approx(lowest, abs=0.02)
    assert [w for _, w in found.trips] == [pytest.approx(shed_w)]
    assert found.trips[0][0].t_open_ns / 1e9 == pytest.approx(acted[0], abs=0.025)
    ((t_ns, _, w),) = found.der
    assert w == pytest.approx(trip_w) and t_ns / 1e9 == pytest.approx(acted[1], abs=0.045)
