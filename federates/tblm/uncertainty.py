"""Bands around a power that was put together from telemetry: how far it may be from what the bus draws at this moment.

The drivers, each a standard deviation in W:

    scada          gain error of the transducer, and what the deadband hides
    age            what loads and sun have done since the measurement: own fluctuation of each, a common factor of all
    ami            how well the share of single loads is known: read, estimated, or unread
    weather        DER whose telemetry is old or lost follow the sun, all together
    participation  how many of those who are asked take part

Loads fluctuate on their own and with a common factor; own parts add as squares, the common one in proportion. Fluctuations are
Ornstein-Uhlenbeck: after an age a the deviation is sigma sqrt(2 (1 - exp(-a / tau))), which grows with the age and ends at sqrt(2)
sigma. `Spread.factors` set the drivers to what replays have shown; `fitted` finds them, and `CALIBRATED` is what documents are
published with.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Z_90 = 1.6448536269514722
"""Of a two-sided band of 90 % (standard normal)."""
_LOGS = (-4.0, 4.0)  # of a factor


@dataclass(frozen=True)
class Factors:
    """What the standard deviations of drivers are multiplied by: age and weather of a total, readings (their error and their age)
    of a program's part. What SCADA measures and how many take part is known as it is: data sheets, and a binomial law."""

    age: float = 1.0
    weather: float = 1.0
    readings: float = 1.0


@dataclass(frozen=True)
class Spread:
    """How things fluctuate, relative to their power, with the time constants: domain knowledge, which `factors` put right."""

    own: float = 0.02
    own_s: float = 300.0
    common: float = 0.02
    common_s: float = 1800.0
    sky: float = 0.15
    sky_s: float = 600.0
    reading: float = 0.03
    unread: float = 0.35
    factors: Factors = Factors()


CALIBRATED = Spread(factors=Factors(age=0.92, weather=0.11, readings=0.2))
"""What documents are published with. Set by 600 documents of 100 federations (`python tests/tblm/band_replays.py`, seeds 5000 to
5099), judged by 540 of 90 others (seeds 0 to 89, `tests/tblm/test_bands.py`). The sky of these runs is that of SMART-DS roofs,
means of a quarter of an hour, which is why so little is left of `weather`: under real clouds it has to be set anew (`fitted`)."""


@dataclass(frozen=True)
class Scada:
    """Measurement of a total: gain error (standard deviation, pu), deadband (W), age of the value (s)."""

    accuracy: float
    deadband_w: float
    age_s: float


@dataclass(frozen=True)
class Band:
    """A power with its 5 %, 50 % and 95 % quantiles, W; drivers: (name, standard deviation in W), the largest first."""

    p05_w: float
    p50_w: float
    p95_w: float
    drivers: tuple[tuple[str, float], ...]

    @property
    def sigma_w(self) -> float:
        """Standard deviation behind the quantiles."""
        return (self.p95_w - self.p05_w) / (2.0 * Z_90)


def aged(sigma: float, tau_s: float, age_s: ArrayLike) -> Floats:
    """Standard deviation of the change of an Ornstein-Uhlenbeck process over an age, [n]; not less for an older value."""
    return np.asarray(sigma * np.sqrt(2.0 * -np.expm1(-np.maximum(age_s, 0.0) / tau_s)))


def measured_total(net_w: float, loads_w: ArrayLike, der_w: ArrayLike, der_age_s: ArrayLike, scada: Scada, spread: Spread) -> Band:
    """Band of a whole feeder's head (or a bus's): loads and DER behind it [n], [m], as they are thought to be; an age that is not
    finite is a device that is lost."""
    p, d, age = np.abs(np.asarray(loads_w, float)), np.abs(np.asarray(der_w, float)), np.asarray(der_age_s, float)
    own = float(aged(spread.own, spread.own_s, scada.age_s)) * float(np.sqrt((p**2).sum()))
    common = float(aged(spread.common, spread.common_s, scada.age_s)) * float(p.sum())
    # the head measurement has the DER in it: only what they did since then is unknown, however old their own telemetry is
    sky = float(aged(spread.sky, spread.sky_s, scada.age_s)) * float(d.sum())
    blind = spread.sky * float(d[~np.isfinite(age)].sum()) * float(aged(1.0, spread.sky_s, scada.age_s))
    f = spread.factors
    return _band(
        net_w,
        {
            "scada": _scada(net_w, scada),
            "age": f.age * float(np.hypot(own, common)),
            "weather": f.weather * float(np.hypot(sky, blind)),
        },
    )


def claimed_part(
    taken_w: ArrayLike,
    readings_ok: ArrayLike,
    reading_age_s: ArrayLike,
    coverage: float,
    participation: float,
    spread: Spread,
    like: int = 1,
) -> Band:
    """Band of what a program takes from single loads: taken_w [n] if everybody took part; readings_ok [n]: read, not estimated;
    participation: the part of those asked who do. A lower coverage leaves more to be estimated. like: feeders that these loads
    stand for, whose customers decide each for themselves."""
    p, ok = np.asarray(taken_w, float), np.asarray(readings_ok, bool)
    age = np.where(np.isfinite(reading_age_s), reading_age_s, np.inf)
    each = np.hypot(np.where(ok, spread.reading, spread.unread), aged(spread.own, spread.own_s, age))
    ami = float(np.sqrt(((each * p) ** 2).sum())) * participation
    unheard = spread.unread * (1.0 - coverage) * float(p.sum()) * participation / np.sqrt(max(p.size, 1))
    oldest = float(age[ok].max(initial=0.0)) if ok.any() else np.inf
    common = float(aged(spread.common, spread.common_s, oldest)) * float(p.sum()) * participation
    asked = float(np.sqrt((p**2).sum() / max(like, 1) * participation * (1.0 - participation)))
    f = spread.factors.readings
    return _band(
        participation * float(p.sum()), {"ami": f * float(np.hypot(ami, unheard)), "age": f * common, "participation": asked}
    )


def _scada(net_w: float, scada: Scada) -> float:
    # what is inside the deadband has not been reported: uniform within it
    return float(np.hypot(scada.accuracy * net_w, scada.deadband_w / np.sqrt(3.0)))


def _band(value_w: float, drivers: dict[str, float]) -> Band:
    sigma = float(np.sqrt(sum(s * s for s in drivers.values())))
    ranked = tuple(sorted(drivers.items(), key=lambda pair: (-pair[1], pair[0])))
    return Band(value_w - Z_90 * sigma, value_w, value_w + Z_90 * sigma, ranked)


def fitted(errors_w: ArrayLike, drivers_w: ArrayLike, known_w: ArrayLike, level: float = 0.9) -> Floats:
    """Factors [k] on drivers [n, k], beside what is known [n] (standard deviations in W), with which the band of this level covers
    this part of the errors [n], truth less estimate. ValueError for fewer than 50.

    How the drivers stand to each other is the likeliest for errors that are normal; all together are then set by what is covered:
    as much as is asked for, or what the known part covers by itself if that is more.
    """
    from scipy.optimize import brentq, minimize

    errors, drivers, known = np.asarray(errors_w, float), np.asarray(drivers_w, float), np.asarray(known_w, float)
    if errors.size < 50:
        raise ValueError(f"{errors.size} replays to calibrate on; give 50 or more")
    size = np.maximum(np.sqrt((drivers**2).sum(axis=1) + known**2), 1e-9)
    e, parts, rest = errors / size, drivers / size[:, None], (known / size) ** 2

    def unlikely(logs: Floats) -> float:
        variance = np.maximum(parts**2 @ np.exp(2.0 * logs) + rest, 1e-12)
        return float((np.log(variance) + e * e / variance).sum())

    start = np.full(drivers.shape[1], -1.0)
    found = np.exp(minimize(unlikely, start, method="L-BFGS-B", bounds=[_LOGS] * start.size).x)
    inside = statistics.NormalDist().inv_cdf(0.5 + 0.5 * level)

    def beyond(log: float) -> float:
        sigma = np.sqrt(parts**2 @ (found * np.exp(log)) ** 2 + rest)
        return float(np.quantile(np.abs(e) / np.maximum(sigma, 1e-12), level)) - inside

    low, high = _LOGS
    scale = low if beyond(low) <= 0.0 else brentq(beyond, low, high) if beyond(high) < 0.0 else high
    return np.asarray(found * np.exp(scale))
