"""Cold-load pickup: what a load takes when it is energised again after an outage, over what it would have taken.

The part of a load that follows the weather is thermostatic: a room loses its warmth (or gains it) while the supply is off, and all
thermostats call at once when it is back. With D the normal duty (share of time that a device runs), first-order rooms of time
constant tau and a band of width b (both temperatures over the device's own lift R P):

    called at once          u = D + (1 - D) min(1, t_out / t_off),    t_off = tau ln(1 + b / (D - b/2))
    missing at the end      x = D (1 - exp(-t_out / tau))
    all run for             T = tau ln((x + 1 - D) / (1 - D))
    power                   u/D for t <= (1 - c) T,  then 1 + (u/D - 1) exp(-(t - (1 - c) T) / (c T))

Rooms that are not alike end their run one after the other: c is how far, and the surplus energy stays (u/D - 1) T whatever it is.

This is the delayed exponential of Lang, Anderson and Fannin (IEEE Trans. PAS-101(4), 1982), with its three parameters from the
equivalent thermal model (Ihara and Schweppe, IEEE Trans. PAS-100(9), 1981) instead of from a record. Tests hold it against a
simulated population.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federates.grid.load import load_class

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Thermal:
    """Rooms and their devices. tau_s: time constant of a room; band: width of the thermostat's band over the device's lift R P;
    design_heating_c, design_cooling_c: outdoor temperature at which a device runs `most_duty` of the time. Assumptions of this
    project in the usual range of houses (time constants of 1 to 6 h, bands of 1 K, devices sized a quarter over the coldest day).
    """

    tau_s: float = 7200.0
    band: float = 0.03
    design_heating_c: float = -15.0
    design_cooling_c: float = 38.0
    most_duty: float = 0.8
    unlike: float = 0.15  # c: rooms differ by some ten per cent


HOUSES = Thermal()


@dataclass(frozen=True)
class ColdLoad:
    """The curve of thermostatic load after one outage: `ratio` times its normal power for `hold_s`, then back with `decay_s`."""

    ratio: float
    hold_s: float
    decay_s: float

    def at(self, since_s: float) -> float:
        """Power over normal power `since_s` after energising."""
        if since_s <= self.hold_s:
            return self.ratio
        if self.decay_s == 0.0:
            return 1.0
        return 1.0 + (self.ratio - 1.0) * float(np.exp(-(since_s - self.hold_s) / self.decay_s))


def cold_load(duty: float, out_s: float, thermal: Thermal = HOUSES) -> ColdLoad:
    """The curve for devices of this normal duty (0..1, exclusive) after `out_s` without supply. ValueError outside."""
    if not 0.0 < duty < 1.0 or out_s < 0.0:
        raise ValueError(f"duty = {duty}, out_s = {out_s}: a duty lies between 0 and 1, an outage is not negative")
    tau, band = thermal.tau_s, min(thermal.band, duty)
    off_s = tau * np.log(1.0 + band / (duty - band / 2.0))
    called = duty + (1.0 - duty) * min(1.0, out_s / off_s)
    missing = duty * -np.expm1(-out_s / tau)
    run_s = float(tau * np.log((missing + 1.0 - duty) / (1.0 - duty)))
    return ColdLoad(float(called / duty), (1.0 - thermal.unlike) * run_s, thermal.unlike * run_s)


def thermostatic(class_name: str, temperature_c: float, thermal: Thermal = HOUSES) -> tuple[float, float]:
    """(share of a load of this class that is thermostatic at this outdoor temperature, the duty of its devices)."""
    c = load_class(class_name)
    heating_k, cooling_k = max(c.heating_below_c - temperature_c, 0.0), max(temperature_c - c.cooling_above_c, 0.0)
    follows = c.heating_per_k * heating_k + c.cooling_per_k * cooling_k
    span_k = c.heating_below_c - thermal.design_heating_c if heating_k else thermal.design_cooling_c - c.cooling_above_c
    duty = thermal.most_duty * min((heating_k + cooling_k) / span_k, 1.0)
    return follows / (1.0 + follows), max(duty, thermal.band)


def cold_load_of(class_name: str, temperature_c: float, out_s: float) -> ColdLoad:
    """The curve of the thermostatic load of a class."""
    return cold_load(thermostatic(class_name, temperature_c)[1], out_s)


def cold_load_factor(classes: Sequence[str], temperature_c: float, out_s: float, since_s: float) -> FloatArray:
    """Factor on P and Q of each load [n], `since_s` after it was energised again; 1 for load that does not follow the weather."""
    factor = {}
    for name in set(classes):
        share, duty = thermostatic(name, temperature_c)
        factor[name] = 1.0 + share * (cold_load(duty, out_s).at(since_s) - 1.0) if share else 1.0
    return np.array([factor[name] for name in classes])
