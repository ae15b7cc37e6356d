"""Cold-load pickup against a simulated population of rooms with thermostats."""

from __future__ import annotations

import numpy as np
import pytest

from federates.grid.cold_load import HOUSES, cold_load, cold_load_factor, thermostatic

DT_S = 5.0


def population(duty: float, out_s: float, seed: int, n: int = 20_000, unlike: float = 0.1) -> np.ndarray:
    """Power of n heated rooms over what it was before an outage of `out_s`, each DT_S from energising on: first-order rooms, whose
    time constant, duty and band differ by `unlike` (logarithmic), under thermostats with hysteresis.
    """
    rng = np.random.default_rng(seed)
    tau_s, d, band = (m * np.exp(rng.normal(0.0, unlike, n)) for m in (HOUSES.tau_s, duty, HOUSES.band))
    d = np.clip(d, 0.02, 0.98)
    cold, on = rng.uniform(-band / 2.0, band / 2.0), rng.random(n) < d  # how far under the set-point, over the device's lift

    def run(span_s: float, supply: bool) -> np.ndarray:
        nonlocal cold, on
        powers = []
        for _ in range(int(span_s / DT_S)):
            rest = np.where(on & supply, d - 1.0, d)
            cold = rest + (cold - rest) * np.exp(-DT_S / tau_s)
            on = np.where(cold > band / 2.0, True, np.where(cold < -band / 2.0, False, on))
            powers.append(on.mean() if supply else 0.0)
        return np.array(powers)

    normal = run(2.0 * 3600.0, True)[-720:].mean()
    run(out_s, False)
    return run(3.0 * 3600.0, True) / normal


@pytest.mark.parametrize(("temperature_c", "out_s"), [(-5.0, 2400.0), (-5.0, 1200.0), (-10.0, 3600.0)])
def test_peak_duration_and_energy_are_those_of_a_population(temperature_c: float, out_s: float) -> None:
    """40 minutes at -5 degrees is the case of the acceptance list: peak within 5 %, duration within 10 %."""
    _, duty = thermostatic("residential", temperature_c)
    curve, seen = cold_load(duty, out_s), population(duty, out_s, seed=3)
    t_s = DT_S * (1.0 + np.arange(seen.size))
    expected = np.array([curve.at(t) for t in t_s])
    half = 1.0 + (curve.ratio - 1.0) / 2.0
    assert curve.ratio == pytest.approx(seen.max(), rel=0.05)
    assert t_s[expected < half][0] == pytest.approx(t_s[seen < half][0], rel=0.10)
    assert (expected - 1.0).sum() == pytest.approx((seen - 1.0).sum(), rel=0.05)


def test_the_curve_grows_with_the_outage_and_ends() -> None:
    ratios = [cold_load(0.5, out_s).ratio for out_s in (0.0, 60.0, 300.0, 3600.0)]
    assert ratios == sorted(ratios) and ratios[0] == pytest.approx(1.0) and ratios[-1] == pytest.approx(2.0)
    holds = [cold_load(0.5, out_s).hold_s for out_s in (300.0, 1800.0, 7200.0)]
    assert holds == sorted(holds)
    assert cold_load(0.5, 3600.0).at(1e6) == pytest.approx(1.0)
    assert cold_load(0.5, 0.0).at(1.0) == 1.0


def test_load_that_does_not_follow_the_weather_comes_back_as_it_was() -> None:
    assert cold_load_factor(["industrial", "residential"], 18.0, 3600.0, 0.0).tolist() == [1.0, 1.0]
    cold = cold_load_factor(["industrial", "residential", "commercial"], -5.0, 3600.0, 0.0)
    assert cold[0] == 1.0 and cold[1] > cold[2] > 1.0


def test_a_duty_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="duty"):
        cold_load(1.0, 60.0)
