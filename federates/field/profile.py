"""What the loads of a feeder want over time: profiles of customers, weather, own fluctuation, and the like feeders' diversity.

Everything here is a function of time alone, so that it gives the same whatever was asked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.grid.load import QUARTER_HOUR_S, customer_profile, customer_profiles, weather_factor

FloatArray = NDArray[np.float64]
_NEAR_PEAK = 0.99
_GRID_S = 60.0
_YEAR_S = np.arange(35040) * QUARTER_HOUR_S
_DRAW_PROFILE, _DRAW_NOISE, _DRAW_DIVERSITY = 1, 2, 3


@dataclass(frozen=True)
class LoadProfile:
    """Load over time, as multiples of the feeder's own load.

    `source`: "smartds" gives every load a SMART-DS customer of its class, drawn by the seed, in multiples of the customer's own
    near-peak (99th percentile of its year); "flat" is 1. `noise`, `noise_s`: standard deviation and correlation time of a load's
    own fluctuation. Temperature is a daily cosine, warmest at 15 h.
    """

    source: str = "smartds"
    scale: float = 1.0
    noise: float = 0.02
    noise_s: float = 300.0
    temperature_mean_c: float = 18.0
    temperature_swing_k: float = 6.0


@dataclass(frozen=True)
class Diversity:
    """How the like feeders at a bus differ from the solved one: standard deviations of their size and of their shift in time."""

    scale_sigma: float = 0.05
    lag_s: float = 300.0


class LoadWish:
    """Multipliers on the nominal power of n loads, and on the sum of the like feeders.

    classes: load class of each load; weights: nominal W of each (for the feeder's mean); start_s: seconds of the year at t = 0.
    ValueError for an unknown source.
    """

    def __init__(self, profile: LoadProfile, classes: Sequence[str], weights: FloatArray, start_s: float, seed: int) -> None:
        if profile.source not in ("smartds", "flat"):
            raise ValueError(f"no profile source '{profile.source}'; write smartds or flat")
        self.profile, self.classes, self.start_s, self.seed = profile, tuple(classes), start_s, seed
        total = weights.sum()
        self._weights = weights / total if total > 0.0 else weights
        self._keys: list[str] = []
        if profile.source == "smartds":
            rng = np.random.Generator(np.random.Philox(key=[seed, _DRAW_PROFILE]))
            by_class = {
                kind: [c.key for c in customer_profiles() if c.load_class == kind] for kind in ("residential", "commercial")
            }
            draws = rng.random(len(self.classes))
            for kind, draw in zip(self.classes, draws, strict=True):
                keys = by_class["residential" if kind == "residential" else "commercial"]  # SMART-DS has no industry
                self._keys.append(keys[int(draw * len(keys))])
        self._peaks = {key: [_peak(values) for values in customer_profile(key, _YEAR_S)] for key in set(self._keys)}
        self._quarters: dict[int, FloatArray] = {}
        self._noise_bins: dict[int, FloatArray] = {}
        self._weather: tuple[float, FloatArray] = (np.nan, np.ones(len(self.classes)))

    def at(self, t_s: float) -> tuple[FloatArray, FloatArray]:
        """Multipliers on nominal P and Q of each load at t, [n] each; frequency response is not in them."""
        position = (t_s + self.start_s) / QUARTER_HOUR_S  # profiles are linear between quarter-hours
        first = int(np.floor(position))
        share = position - first
        p, q = (1.0 - share) * self._quarter(first) + share * self._quarter(first + 1)
        common = self._weather_at(t_s) * (1.0 + self.profile.noise * self._noise_at(t_s)) * self.profile.scale
        return p * common, q * common

    def mean(self, t_s: FloatArray) -> FloatArray:
        """The feeder's mean multiplier on P at times [k], without noise and weather."""
        p, _ = self._profile(t_s)
        return np.asarray(self._weights @ p)

    def _profile(self, t_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        if not self._keys:
            ones = np.ones((len(self.classes), len(t_s)))
            return ones, ones
        by_key = {}
        for key, (p_peak, q_peak) in self._peaks.items():
            p, q = customer_profile(key, t_s + self.start_s)
            by_key[key] = p / p_peak, q / q_peak
        return np.stack([by_key[key][0] for key in self._keys]), np.stack([by_key[key][1] for key in self._keys])

    def _quarter(self, k: int) -> FloatArray:
        """Profiles of all loads at the k-th quarter-hour of the year, [2, n]."""
        if k not in self._quarters:
            if len(self._quarters) > 8:
                self._quarters.clear()
            p, q = self._profile(np.array([k * QUARTER_HOUR_S - self.start_s]))
            self._quarters[k] = np.stack((p[:, 0], q[:, 0]))
        return self._quarters[k]

    def temperature_c(self, t_s: float) -> float:
        """Outdoor temperature at t, to a hundredth of a kelvin."""
        hour = ((t_s + self.start_s) / 3600.0) % 24.0
        swing = self.profile.temperature_swing_k * np.cos((hour - 15.0) * np.pi / 12.0)
        return round(float(self.profile.temperature_mean_c + swing), 2)

    def _weather_at(self, t_s: float) -> FloatArray:
        temperature = self.temperature_c(t_s)
        if temperature != self._weather[0]:
            self._weather = temperature, weather_factor(self.classes, temperature)
        return self._weather[1]

    def _noise_at(self, t_s: float) -> FloatArray:
        position = t_s / self.profile.noise_s
        first = int(np.floor(position))
        share = position - first
        a, b = self._noise_bin(first), self._noise_bin(first + 1)
        return np.asarray((a * (1.0 - share) + b * share) / np.hypot(1.0 - share, share))  # unit variance at every moment

    def _noise_bin(self, k: int) -> FloatArray:
        if k not in self._noise_bins:
            if len(self._noise_bins) > 8:
                self._noise_bins.clear()
            rng = np.random.Generator(np.random.Philox(key=[self.seed, _DRAW_NOISE], counter=[0, 0, 0, k % 2**63]))
            self._noise_bins[k] = rng.standard_normal(len(self.classes))
        return self._noise_bins[k]


class LikeFeeders:
    """How many of the solved feeder the `count` like feeders amount to at a time.

    Feeder i is as large as size_i, and runs lag_i behind; the first is the solved one itself.
    """

    def __init__(self, wish: LoadWish, count: int, diversity: Diversity, stop_s: float) -> None:
        rng = np.random.Generator(np.random.Philox(key=[wish.seed, _DRAW_DIVERSITY]))
        size = np.maximum(1.0 + diversity.scale_sigma * rng.standard_normal(count), 0.1)
        lag_s = np.clip(diversity.lag_s * rng.standard_normal(count), -3.0 * diversity.lag_s, 3.0 * diversity.lag_s)
        size[0], lag_s[0] = 1.0, 0.0
        self.count = count
        self._t_s = np.arange(0.0, stop_s + 2.0 * _GRID_S, _GRID_S)
        reach = 3.0 * diversity.lag_s + _GRID_S
        fine = np.arange(-reach, stop_s + reach + 2.0 * _GRID_S, _GRID_S)
        mean = wish.mean(fine)
        total = sum(s * np.interp(self._t_s - lag, fine, mean) for s, lag in zip(size, lag_s, strict=True))
        own = np.interp(self._t_s, fine, mean)
        self._factor = np.where(own > 1e-6, total / np.maximum(own, 1e-6), size.sum())

    def at(self, t_s: float) -> float:
        """Gross load of all like feeders over that of the solved one."""
        return float(np.interp(t_s, self._t_s, self._factor))


def _peak(values: FloatArray) -> float:
    """A customer's own near-peak; 1 where it never takes anything."""
    peak = float(np.quantile(np.abs(values), _NEAR_PEAK))
    return peak if peak > 0.0 else 1.0
