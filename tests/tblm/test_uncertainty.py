"""Bands against replays with seeds that were not used to set them, and how they widen."""

from __future__ import annotations

import numpy as np
import pytest
from replays import Replay, replays

from federates.tblm.uncertainty import Z_90, Scada, Spread, calibrated, claimed_part, measured_total

SET_BY, JUDGED_BY = range(1000, 1020), range(100)


def test_the_90_per_cent_band_covers_85_to_95_per_cent_of_600_new_replays() -> None:
    """Six instants of 100 runs each, for the power of a whole feeder and for what a program takes; 20 other runs set the factor."""
    spread = Spread()
    known, new = ([replays(seed, spread) for seed in seeds] for seeds in (SET_BY, JUDGED_BY))
    for which in (0, 1):
        errors, sigmas = ([f(r) for pair in known for r in pair[which]] for f in (error, lambda r: r.band.sigma_w))
        chosen = calibrated(spread, errors, sigmas)
        judged = [r for pair in new for r in pair[which]]
        covered = np.mean([abs(error(r)) <= chosen.factor * Z_90 * r.band.sigma_w for r in judged])
        assert len(judged) == 600
        assert 0.85 <= covered <= 0.95, f"covers {covered:.1%} with factor {chosen.factor:.2f}"


def error(replay: Replay) -> float:
    return replay.truth_w - replay.band.p50_w


def width(age_s: float, der_age_s: float = 4.0, deadband_w: float = 1e3) -> float:
    ages = np.array([der_age_s, 4.0])
    return measured_total(1e6, np.full(50, 3e4), [2e5, 3e5], ages, Scada(0.005, deadband_w, age_s), Spread()).sigma_w


def test_a_total_is_less_certain_the_older_it_is_and_the_more_is_lost() -> None:
    by_age = [width(age) for age in (0.0, 2.0, 10.0, 60.0, 600.0, 7200.0)]
    assert by_age == sorted(by_age) and by_age[0] < by_age[-1] / 2.0
    assert width(30.0, np.inf) > width(30.0)
    assert width(30.0, deadband_w=5e4) > width(30.0)


def test_a_part_is_less_certain_with_lower_coverage_and_older_readings() -> None:
    def sigma(coverage: float = 1.0, age_s: float = 60.0, read: int = 20, participation: float = 1.0) -> float:
        ok = np.arange(20) < read
        return claimed_part(np.full(20, 1e4), ok, np.full(20, age_s), coverage, participation, Spread()).sigma_w

    assert sigma(0.5) > sigma(0.9) > sigma(1.0)
    assert sigma(age_s=900.0) > sigma(age_s=60.0)
    assert sigma(read=10) > sigma(read=20)
    assert sigma(participation=0.8) > sigma()


def test_the_common_factor_does_not_average_out() -> None:
    """Twice the loads are sqrt(2) less certain by themselves and not at all together."""
    few, many = (measured_total(1e6, np.full(n, 1e6 / n), [], [], Scada(0.0, 0.0, 900.0), Spread()).sigma_w for n in (10, 100_000))
    assert few > many > 0.9 * 1e6 * Spread().common * np.sqrt(2.0 * -np.expm1(-900.0 / Spread().common_s))


def test_too_few_replays_set_nothing() -> None:
    with pytest.raises(ValueError, match="50 or more"):
        calibrated(Spread(), [1.0] * 10, [1.0] * 10)
