"""Bands in a world that is as they assume, how they widen, and how their factors are found."""

from __future__ import annotations

import numpy as np
import pytest
from replays import replays

from federates.tblm.uncertainty import Z_90, Scada, Spread, claimed_part, fitted, measured_total


def test_where_the_world_is_as_assumed_no_factor_is_needed() -> None:
    """Six instants of 100 runs each, for the power of a whole feeder and for what a program takes: 85 to 95 % within the band."""
    seen = [replays(seed, Spread()) for seed in range(100)]
    for which in (0, 1):
        covered = np.mean([r.covered for pair in seen for r in pair[which]])
        assert 0.85 <= covered <= 0.95, f"covers {covered:.1%}"


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


def test_factors_are_found_where_they_are_known() -> None:
    """The first driver is thought twice too large, the second half of what it is; a third is known."""
    rng = np.random.default_rng(3)
    drivers, known = rng.uniform(0.1, 1.0, (2000, 2)) * 1e4, rng.uniform(0.1, 0.5, 2000) * 1e4
    errors = rng.standard_normal(2000) * np.sqrt(drivers**2 @ np.array([0.5, 2.0]) ** 2 + known**2)
    found = fitted(errors, drivers, known)
    assert found == pytest.approx([0.5, 2.0], rel=0.2)
    inside = np.abs(errors) <= Z_90 * np.sqrt(drivers**2 @ found**2 + known**2)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.002)


def test_what_is_known_is_enough_where_it_covers_as_much_by_itself() -> None:
    rng = np.random.default_rng(4)
    errors, known = rng.standard_normal(500), np.full(500, 2.0)
    (factor,) = fitted(errors, np.ones((500, 1)), known)
    assert factor < 0.05


def test_too_few_replays_set_nothing() -> None:
    with pytest.raises(ValueError, match="50 or more"):
        fitted([1.0] * 10, [[1.0]] * 10, [0.0] * 10)


def test_customers_of_like_feeders_decide_each_for_themselves() -> None:
    one, many = (claimed_part(np.full(20, 1e4), np.ones(20, bool), np.zeros(20), 1.0, 0.8, Spread(), n) for n in (1, 100))
    asked = [dict(band.drivers)["participation"] for band in (one, many)]
    assert asked[1] == pytest.approx(asked[0] / 10.0) and one.p50_w == many.p50_w
