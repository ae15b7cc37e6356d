"""What loads want over time is a function of time alone, and the like feeders' sum is what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.field.profile import Diversity, LikeFeeders, LoadProfile, LoadWish

CLASSES = ("residential", "commercial", "industrial", "residential")
WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0])
DAY_S = 190 * 86_400.0


def wish(seed: int = 1, **profile: object) -> LoadWish:
    return LoadWish(LoadProfile(**profile), CLASSES, WEIGHTS, DAY_S, seed)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 86_400_000), min_size=2, max_size=12))
def test_it_gives_the_same_whatever_was_asked_before(times_ms: list[int]) -> None:
    walked = wish()
    forward = {t: walked.at(t / 1e3) for t in times_ms}
    for t in reversed(times_ms):
        for ours, theirs in zip(wish().at(t / 1e3), forward[t], strict=True):
            assert ours.tobytes() == theirs.tobytes()


def test_seeds_draw_different_customers_and_noise() -> None:
    assert np.abs(wish(1).at(0.0)[0] - wish(2).at(0.0)[0]).max() > 1e-3
    quiet, noisy = wish(1, noise=0.0), wish(1, noise=0.1)
    ratio = np.array([noisy.at(t)[0] / quiet.at(t)[0] - 1.0 for t in range(0, 86_400, 700)])
    assert ratio.std() == pytest.approx(0.1, rel=0.15) and abs(ratio.mean()) < 0.02


def test_flat_without_noise_or_weather_is_one_and_scales() -> None:
    p, q = wish(source="flat", noise=0.0, temperature_swing_k=0.0, scale=1.3).at(5000.0)
    assert p.tolist() == q.tolist() == [1.3] * 4


def test_heat_raises_loads_by_their_class_and_is_warmest_at_15_h() -> None:
    at = wish(source="flat", noise=0.0, temperature_mean_c=24.0, temperature_swing_k=6.0).at
    assert at(15 * 3600.0)[0] == pytest.approx([1.25, 1.15, 1.0, 1.25]) and at(3 * 3600.0)[0] == pytest.approx([1.0] * 4)


def test_it_is_continuous() -> None:
    made = wish()
    for t_s in (899.9999, 300.0, 3599.9999):
        before, after = made.at(t_s)[0], made.at(t_s + 2e-4)[0]
        assert np.abs(after - before).max() < 1e-4


def test_like_feeders_are_the_count_where_alike_and_their_drawn_sizes_where_not() -> None:
    flat = wish(source="flat", noise=0.0)
    assert [LikeFeeders(flat, 60, Diversity(0.0, 0.0), 600.0).at(t) for t in (0.0, 333.0)] == [60.0, 60.0]
    assert LikeFeeders(flat, 1, Diversity(0.5, 900.0), 600.0).at(100.0) == pytest.approx(1.0, abs=1e-12)
    many = LikeFeeders(wish(noise=0.0), 2000, Diversity(0.05, 300.0), 600.0)
    assert many.at(0.0) == pytest.approx(2000.0, rel=0.05) and many.at(0.0) != 2000.0
    assert many.at(300.0) == LikeFeeders(wish(noise=0.0), 2000, Diversity(0.05, 300.0), 600.0).at(300.0)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no profile source 'weather'; write smartds or flat"):
        wish(source="weather")
