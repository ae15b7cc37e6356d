"""Bands around a power that was put together from telemetry: how far it may be from what the bus draws at this moment.

The drivers, each a standard deviation in W:

    scada          gain error of the transducer, and what the deadband hides
    age            what loads and sun have done since the measurement: own fluctuation of each, a common factor of all
    ami            how well the share of single loads is known: read, estimated, or unread
    weather        DER whose telemetry is old or lost follow the sun, all together
    participation  how many of those who are asked take part

Loads fluctuate on their own and with a common factor; own parts add as squares, the common one in proportion. Fluctuations are
Ornstein-Uhlenbeck: after an age a the deviation is sigma sqrt(2 (1 - exp(-a / tau))), which grows with the age and ends at sqrt(2)
sigma. `Spread.factor` sets the whole band to what replays have shown; `calibrated` finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Z_90 = 1.6448536269514722
"""Of a two-sided band of 90 % (standard normal)."""


@dataclass(frozen=True)
class Spread:
    """How things fluctuate, relative to their power, with the time constants. The values are those of the load and sky models of
    this project (`field.profile`, SMART-DS roofs); `factor` widens or narrows every band."""

    own: float = 0.02
    own_s: float = 300.0
    common: float = 0.02
    common_s: float = 1800.0
    sky: float = 0.15
    sky_s: float = 600.0
    reading: float = 0.03
    unread: float = 0.35
    factor: float = 1.0


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
    return _band(
        net_w, {"scada": _scada(net_w, scada), "age": float(np.hypot(own, common)), "weather": float(np.hypot(sky, blind))}, spread
    )


def claimed_part(
    taken_w: ArrayLike, readings_ok: ArrayLike, reading_age_s: ArrayLike, coverage: float, participation: float, spread: Spread
) -> Band:
    """Band of what a program takes from single loads: taken_w [n] if everybody took part; readings_ok [n]: read, not estimated;
    participation: the part of those asked who do. A lower coverage leaves more to be estimated."""
    p, ok = np.asarray(taken_w, float), np.asarray(readings_ok, bool)
    age = np.where(np.isfinite(reading_age_s), reading_age_s, np.inf)
    each = np.hypot(np.where(ok, spread.reading, spread.unread), aged(spread.own, spread.own_s, age))
    ami = float(np.sqrt(((each * p) ** 2).sum())) * participation
    unheard = spread.unread * (1.0 - coverage) * float(p.sum()) * participation / np.sqrt(max(p.size, 1))
    oldest = float(age[ok].max(initial=0.0)) if ok.any() else np.inf
    common = float(aged(spread.common, spread.common_s, oldest)) * float(p.sum()) * participation
    asked = float(np.sqrt((p**2).sum())) * float(np.sqrt(participation * (1.0 - participation)))
    drivers = {"ami": float(np.hypot(ami, unheard)), "age": common, "participation": asked}
    return _band(participation * float(p.sum()), drivers, spread)


def _scada(net_w: float, scada: Scada) -> float:
    # what is inside the deadband has not been reported: uniform within it
    return float(np.hypot(scada.accuracy * net_w, scada.deadband_w / np.sqrt(3.0)))


def _band(value_w: float, drivers: dict[str, float], spread: Spread) -> Band:
    sigma = spread.factor * float(np.sqrt(sum(s * s for s in drivers.values())))
    ranked = tuple(sorted(((n, spread.factor * s) for n, s in drivers.items()), key=lambda pair: (-pair[1], pair[0])))
    return Band(value_w - Z_90 * sigma, value_w, value_w + Z_90 * sigma, ranked)


def calibrated(spread: Spread, errors_w: Sequence[float], sigmas_w: Sequence[float], level: float = 0.9) -> Spread:
    """The spread with which this part of the errors would have been inside: errors_w are truth less estimate, sigmas_w what
    `spread` said. ValueError for too few.
    """
    ratio = np.abs(np.asarray(errors_w, float)) / np.maximum(np.asarray(sigmas_w, float), 1e-9)
    if ratio.size < 50:
        raise ValueError(f"{ratio.size} replays to calibrate on; give 50 or more")
    return replace(spread, factor=spread.factor * float(np.quantile(ratio, level)) / Z_90)
