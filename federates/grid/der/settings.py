# ruff: noqa: RUF009 - param declares a field as dataclasses.field does
"""Settings of n DERs: nameplate and functions, in the names of the IEEE 1547-2018 common file format where it has one.

Per-unit bases are those of the standard: voltages on NP_AC_V_NOM, active power on NP_P_MAX, reactive power on NP_VA_MAX.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federates.grid.der import vintages
from federates.grid.der.parameters import (
    AbnormalCategory,
    BoolArray,
    CodeArray,
    DerType,
    Excitation,
    FloatArray,
    LowPowerQ,
    NormalCategory,
    Priority,
    QMode,
    VoltageMeasure,
    Which,
    param,
    rows,
)


@dataclass(frozen=True, eq=False)
class DerSettings:
    """Nameplate and function settings of n DERs: one array of n (or n x points) per setting.

    Build it with `ieee1547_2018`, `ieee1547_2003` or `of`, change it with `updated`. Immutable, picklable, equal and hashable by
    content. Errors: ValueError names the setting, the first DER concerned and what is accepted.
    """

    # nameplate
    NP_VA_MAX: FloatArray = param(None, "VA", "apparent power rating", low=1e-3)
    NP_P_MAX: FloatArray = param(None, "W", "active power rating at unity power factor; NP_VA_MAX if not given", low=1e-3)
    NP_TYPE: CodeArray = param(DerType.PV, "", "PV or STORAGE")
    NP_PHASE: FloatArray = param(3.0, "", "number of phases, 1 or 3", low=1, high=3)
    NP_AC_V_NOM: FloatArray = param(
        240.0, "V", "nominal: line to line of a three-phase DER, at the terminals of a single-phase one", low=1e-3
    )
    NP_NORMAL_OP_CAT: CodeArray = param(NormalCategory.B, "", "normal operating performance category")
    NP_ABNORMAL_OP_CAT: CodeArray = param(AbnormalCategory.III, "", "abnormal operating performance category")
    NP_Q_MAX_INJ: FloatArray = param(None, "var", "reactive power injection rating; 0.44 NP_VA_MAX if not given", low=0)
    NP_Q_MAX_ABS: FloatArray = param(
        None, "var", "reactive power absorption rating; 0.44 (category B) or 0.25 NP_VA_MAX if not given", low=0
    )
    NP_P_MAX_CHARGE: FloatArray = param(None, "W", "active power charge rating; NP_P_MAX if not given", low=1e-3)
    NP_APPARENT_POWER_CHARGE_MAX: FloatArray = param(None, "VA", "apparent power charge rating; NP_VA_MAX if not given", low=1e-3)
    NP_P_MIN_PU: FloatArray = param(None, "pu", "least active power: 0 of PV, -1 of storage if not given", low=-1, high=1)
    NP_EFFICIENCY: FloatArray = param(
        1.0, "", "PV: DC to AC; storage: round trip, all of it taken while charging", low=1e-3, high=1
    )
    NP_REACTIVE_SUSCEPTANCE: FloatArray = param(0.0, "S", "filter susceptance left on line in cease to energize")
    NP_Q_CAPABILITY_LOW_P: CodeArray = param(
        None, "", "Q at low P: SAME (Q at night) or REDUCED; SAME of storage, else REDUCED if not given"
    )
    NP_PRIO_OUTSIDE_MIN_Q_REQ: CodeArray = param(Priority.REACTIVE, "", "ACTIVE or REACTIVE power priority")
    NP_V_MEAS_UNBALANCE: CodeArray = param(VoltageMeasure.AVG, "", "voltage that volt-var and volt-watt follow: AVG or POS")
    NP_V_MEAS_DELAY: FloatArray = param(0.0, "s", "open loop response time of the voltage measurement", low=0)
    NP_INV_DELAY: FloatArray = param(0.02, "s", "open loop response time of the current control", low=0)
    NP_CURRENT_PU: FloatArray = param(1.2, "pu", "current limit on NP_VA_MAX at nominal voltage", low=1e-3)
    NP_MODE_TRANSITION_TIME: FloatArray = param(15.0, "s", "time of 1 pu of Q when the reactive mode changes (clause 4.6.3)", low=0)
    NP_RT_RAMP_UP_TIME: FloatArray = param(0.0, "s", "active current from 0 to 1 pu after a fault (clause 6.4.2.7)", low=0)
    NP_CTE_RESP_T: FloatArray = param(0.16, "s", "time to cease to energize", low=0)
    STATUS_INIT: BoolArray = param(True, "", "in service at the start")
    # storage
    NP_BESS_CAPACITY: FloatArray = param(None, "Wh", "energy capacity; 4 h at NP_P_MAX if not given", low=1e-3)
    NP_BESS_SOC_MAX: FloatArray = param(1.0, "pu", "highest state of charge used", low=0, high=1)
    NP_BESS_SOC_MIN: FloatArray = param(0.0, "pu", "lowest state of charge used", low=0, high=1)
    NP_BESS_SELF_DISCHARGE: FloatArray = param(0.0, "pu/h", "constant self-discharge", low=0)
    NP_BESS_SELF_DISCHARGE_SOC: FloatArray = param(0.0, "1/h", "self-discharge in proportion to the state of charge", low=0)
    NP_BESS_P_RAMP_TIME: FloatArray = param(0.0, "s", "set-point from 0 to 1 pu", low=0)
    SOC_P_CHARGE_MAX: FloatArray = param(None, "pu", "two states of charge at which P_CHARGE_MAX_PU holds", low=0, high=1, points=2)
    P_CHARGE_MAX_PU: FloatArray = param(1.0, "pu", "charging limit at them, on NP_P_MAX_CHARGE", low=0, high=1, points=2)
    SOC_P_DISCHARGE_MAX: FloatArray = param(
        None, "pu", "two states of charge at which P_DISCHARGE_MAX_PU holds", low=0, high=1, points=2
    )
    P_DISCHARGE_MAX_PU: FloatArray = param(1.0, "pu", "discharging limit at them, on NP_P_MAX", low=0, high=1, points=2)
    SOC_INIT: FloatArray = param(0.5, "pu", "state of charge at the start", low=0, high=1)
    # active power limit (4.6.2)
    AP_LIMIT_ENABLE: BoolArray = param(False, "", "limit active power")
    AP_LIMIT: FloatArray = param(1.0, "pu", "the limit; below 0 on NP_P_MAX_CHARGE", low=-1, high=1)
    AP_RT: FloatArray = param(15.0, "s", "time of 1 pu of the limit", low=0)
    # enter service (4.10)
    ES_PERMIT_SERVICE: BoolArray = param(True, "", "permit service; withdrawn: trips at once")
    ES_V_LOW: FloatArray = param(0.917, "pu", "lowest voltage")
    ES_V_HIGH: FloatArray = param(1.05, "pu", "highest voltage")
    ES_F_LOW: FloatArray = param(59.5, "Hz", "lowest frequency")
    ES_F_HIGH: FloatArray = param(60.1, "Hz", "highest frequency")
    ES_DELAY: FloatArray = param(300.0, "s", "time for which voltage and frequency must hold", low=0)
    ES_RAMP_RATE: FloatArray = param(300.0, "s", "time of 1 pu of active power after it", low=0)
    ES_RANDOMIZED_DELAY_ACTUAL: FloatArray = param(0.0, "s", "delay drawn for this DER, after ES_DELAY", low=0)
    # reactive power (5.3)
    Q_MODE: CodeArray = param(QMode.CONST_PF, "", "reactive power control mode")
    CONST_PF: FloatArray = param(1.0, "", "power factor", low=1e-3, high=1)
    CONST_PF_EXCITATION: CodeArray = param(Excitation.ABS, "", "INJ or ABS")
    CONST_PF_RT: FloatArray = param(5.0, "s", "open loop response time", low=0)
    CONST_Q: FloatArray = param(0.0, "pu", "constant reactive power", low=-1, high=1)
    CONST_Q_RT: FloatArray = param(5.0, "s", "open loop response time", low=0)
    QV_VREF: FloatArray = param(1.0, "pu", "reference voltage, moves the whole curve", low=0.5, high=1.5)
    QV_VREF_AUTO_MODE: BoolArray = param(False, "", "the reference follows the slow voltage")
    QV_VREF_TIME: FloatArray = param(300.0, "s", "time constant of that", low=0)
    QV_VREF_MIN: FloatArray = param(0.95, "pu", "lowest reference in auto mode")
    QV_VREF_MAX: FloatArray = param(1.05, "pu", "highest reference in auto mode")
    QV_CURVE_V1: FloatArray = param(0.92, "pu", "volt-var V1")
    QV_CURVE_V2: FloatArray = param(0.98, "pu", "volt-var V2")
    QV_CURVE_V3: FloatArray = param(1.02, "pu", "volt-var V3")
    QV_CURVE_V4: FloatArray = param(1.08, "pu", "volt-var V4")
    QV_CURVE_Q1: FloatArray = param(0.44, "pu", "volt-var Q1", low=-1, high=1)
    QV_CURVE_Q2: FloatArray = param(0.0, "pu", "volt-var Q2", low=-1, high=1)
    QV_CURVE_Q3: FloatArray = param(0.0, "pu", "volt-var Q3", low=-1, high=1)
    QV_CURVE_Q4: FloatArray = param(-0.44, "pu", "volt-var Q4", low=-1, high=1)
    QV_OLRT: FloatArray = param(5.0, "s", "open loop response time", low=0)
    QP_CURVE_P1_GEN: FloatArray = param(0.2, "pu", "watt-var P1", low=0, high=1)
    QP_CURVE_P2_GEN: FloatArray = param(0.5, "pu", "watt-var P2", low=0, high=1)
    QP_CURVE_P3_GEN: FloatArray = param(1.0, "pu", "watt-var P3", low=0, high=1)
    QP_CURVE_Q1_GEN: FloatArray = param(0.0, "pu", "watt-var Q1", low=-1, high=1)
    QP_CURVE_Q2_GEN: FloatArray = param(0.0, "pu", "watt-var Q2", low=-1, high=1)
    QP_CURVE_Q3_GEN: FloatArray = param(-0.44, "pu", "watt-var Q3", low=-1, high=1)
    QP_CURVE_P1_LOAD: FloatArray = param(-0.2, "pu", "watt-var P'1, charging, on NP_P_MAX_CHARGE", low=-1, high=0)
    QP_CURVE_P2_LOAD: FloatArray = param(-0.5, "pu", "watt-var P'2", low=-1, high=0)
    QP_CURVE_P3_LOAD: FloatArray = param(-1.0, "pu", "watt-var P'3", low=-1, high=0)
    QP_CURVE_Q1_LOAD: FloatArray = param(0.0, "pu", "watt-var Q'1", low=-1, high=1)
    QP_CURVE_Q2_LOAD: FloatArray = param(0.0, "pu", "watt-var Q'2", low=-1, high=1)
    QP_CURVE_Q3_LOAD: FloatArray = param(0.44, "pu", "watt-var Q'3", low=-1, high=1)
    QP_RT: FloatArray = param(5.0, "s", "open loop response time", low=0)
    # volt-watt (5.4)
    PV_MODE_ENABLE: BoolArray = param(False, "", "volt-watt")
    PV_CURVE_V1: FloatArray = param(1.06, "pu", "volt-watt V1")
    PV_CURVE_V2: FloatArray = param(1.1, "pu", "volt-watt V2")
    PV_CURVE_P1: FloatArray = param(1.0, "pu", "volt-watt P1", low=0, high=1)
    PV_CURVE_P2: FloatArray = param(0.0, "pu", "volt-watt P2; below 0 on NP_P_MAX_CHARGE", low=-1, high=1)
    PV_OLRT: FloatArray = param(10.0, "s", "open loop response time", low=0)
    # frequency droop (6.5.2.7)
    PF_MODE_ENABLE: BoolArray = param(True, "", "frequency droop")
    PF_DBOF: FloatArray = param(0.036, "Hz", "deadband above 60 Hz", low=0)
    PF_DBUF: FloatArray = param(0.036, "Hz", "deadband below 60 Hz", low=0)
    PF_KOF: FloatArray = param(0.05, "", "droop above: pu of frequency for 1 pu of power", low=1e-6)
    PF_KUF: FloatArray = param(0.05, "", "droop below", low=1e-6)
    PF_OLRT: FloatArray = param(5.0, "s", "open loop response time", low=0)
    # shall-trip settings (6.4.1, 6.5.1)
    OV2_TRIP_V: FloatArray = param(1.2, "pu", "over-voltage 2")
    OV2_TRIP_T: FloatArray = param(0.16, "s", "over-voltage 2", low=0)
    OV1_TRIP_V: FloatArray = param(1.1, "pu", "over-voltage 1")
    OV1_TRIP_T: FloatArray = param(13.0, "s", "over-voltage 1", low=0)
    UV1_TRIP_V: FloatArray = param(0.88, "pu", "under-voltage 1")
    UV1_TRIP_T: FloatArray = param(21.0, "s", "under-voltage 1", low=0)
    UV2_TRIP_V: FloatArray = param(0.5, "pu", "under-voltage 2")
    UV2_TRIP_T: FloatArray = param(2.0, "s", "under-voltage 2", low=0)
    OF2_TRIP_F: FloatArray = param(62.0, "Hz", "over-frequency 2")
    OF2_TRIP_T: FloatArray = param(0.16, "s", "over-frequency 2", low=0)
    OF1_TRIP_F: FloatArray = param(61.2, "Hz", "over-frequency 1")
    OF1_TRIP_T: FloatArray = param(300.0, "s", "over-frequency 1", low=0)
    UF1_TRIP_F: FloatArray = param(58.5, "Hz", "under-frequency 1")
    UF1_TRIP_T: FloatArray = param(300.0, "s", "under-frequency 1", low=0)
    UF2_TRIP_F: FloatArray = param(56.5, "Hz", "under-frequency 2")
    UF2_TRIP_T: FloatArray = param(0.16, "s", "under-frequency 2", low=0)
    # momentary cessation and dynamic voltage support (6.4.2)
    MC_ENABLE: BoolArray = param(True, "", "momentary cessation")
    MC_HVRT_V1: FloatArray = param(1.1, "pu", "at and above this voltage", low=1.1)
    MC_LVRT_V1: FloatArray = param(0.5, "pu", "at and below this voltage", low=0, high=0.879)
    MC_RESP_T: FloatArray = param(0.0, "s", "time to cease", low=0)
    MC_RETURN_T: FloatArray = param(0.0, "s", "time to return", low=0)
    DVS_MODE_ENABLE: BoolArray = param(False, "", "dynamic voltage support in mandatory and permissive operation")
    DVS_K: FloatArray = param(2.0, "", "pu of current per pu of voltage", low=0)

    @classmethod
    def of(cls, n: int, **values: ArrayLike) -> Self:
        """Settings of `n` DERs: each value a number, a name of its enumeration, or n of them; the rest takes its default."""
        unknown = sorted(set(values) - SPEC.keys())
        if unknown:
            raise ValueError(f"no such DER setting: {', '.join(unknown)}; the settings are the fields of DerSettings")
        if n < 0:
            raise ValueError(f"number of DERs {n} is negative")
        arrays: dict[str, NDArray[Any]] = {}
        for name, spec in SPEC.items():
            value = values.get(name, spec["default"])
            if value is None:
                if name not in DERIVED:
                    raise ValueError(f"DER setting {name} ({spec['doc']}) has no default: give it")
                value = DERIVED[name](arrays)
            arrays[name] = _coerce(name, value, n)
        return cls(**arrays)

    @classmethod
    def ieee1547_2018(cls, n: int, category: str = "III", normal_category: str = "B", **values: ArrayLike) -> Self:
        """Default settings of IEEE 1547-2018 for an abnormal category ("I", "II", "III") and a normal one ("A", "B").

        `values` overrides, and must give NP_VA_MAX.
        """
        return cls.of(n, **{**vintages.ieee1547_2018(category, normal_category), **values})

    @classmethod
    def ieee1547_2003(cls, n: int, **values: ArrayLike) -> Self:
        """The earlier vintage: narrow trips, no ride-through, unity power factor, no frequency droop. `values` as above."""
        return cls.of(n, **{**vintages.IEEE1547_2003, **values})

    def __post_init__(self) -> None:
        for name in SPEC:
            getattr(self, name).setflags(write=False)
        check(self)

    def __len__(self) -> int:
        return len(self.NP_VA_MAX)

    def __reduce__(self) -> tuple[Any, ...]:
        # through the constructor, so that a copy in another process is immutable too
        return (type(self), tuple(getattr(self, name) for name in SPEC))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DerSettings) and self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return int(self.content_hash[:15], 16)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over every name, shape and value, in hexadecimal."""
        digest = hashlib.sha256()
        for name in SPEC:
            array = getattr(self, name)
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def storage(self, names: Sequence[str]) -> tuple[str, ...]:
        """Which of the DERs, named in their order, are storage."""
        return tuple(name for name, kind in zip(names, self.NP_TYPE.tolist(), strict=True) if kind == DerType.STORAGE)

    def updated(self, which: Which, **values: ArrayLike) -> Self:
        """A copy with `values` for the DERs `which` (indices, a mask or a slice)."""
        unknown = sorted(set(values) - SPEC.keys())
        if unknown:
            raise ValueError(f"no such DER setting: {', '.join(unknown)}; the settings are the fields of DerSettings")
        index = rows(which, len(self))
        arrays = {name: getattr(self, name) for name in SPEC}
        for name, value in values.items():
            arrays[name] = arrays[name].copy()
            arrays[name][index] = _coerce(name, value, index.size)
        return type(self)(**arrays)

    def take(self, which: Which) -> Self:
        """The settings of the DERs `which` (indices, a mask or a slice), in that order."""
        index = rows(which, len(self))
        return type(self)(**{name: getattr(self, name)[index] for name in SPEC})

    @classmethod
    def joined(cls, *parts: DerSettings) -> Self:
        """The DERs of `parts` one after the other: a fleet of several vintages."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in SPEC})


SPEC: Mapping[str, Mapping[str, Any]] = {item.name: item.metadata for item in fields(DerSettings)}
ENUMS: Mapping[str, type[IntEnum]] = {
    **{name: type(spec["default"]) for name, spec in SPEC.items() if isinstance(spec["default"], IntEnum)},
    "NP_Q_CAPABILITY_LOW_P": LowPowerQ,
}
DERIVED: Mapping[str, Callable[[Mapping[str, NDArray[Any]]], ArrayLike]] = {
    "NP_P_MAX": lambda a: a["NP_VA_MAX"],
    "NP_Q_MAX_INJ": lambda a: 0.44 * a["NP_VA_MAX"],
    "NP_Q_MAX_ABS": lambda a: np.where(a["NP_NORMAL_OP_CAT"] == NormalCategory.A, 0.25, 0.44) * a["NP_VA_MAX"],
    "NP_P_MAX_CHARGE": lambda a: a["NP_P_MAX"],
    "NP_APPARENT_POWER_CHARGE_MAX": lambda a: a["NP_VA_MAX"],
    "NP_P_MIN_PU": lambda a: np.where(a["NP_TYPE"] == DerType.STORAGE, -1.0, 0.0),
    "NP_Q_CAPABILITY_LOW_P": lambda a: np.where(a["NP_TYPE"] == DerType.STORAGE, LowPowerQ.SAME, LowPowerQ.REDUCED),
    "NP_BESS_CAPACITY": lambda a: 4.0 * a["NP_P_MAX"],
    "SOC_P_CHARGE_MAX": lambda a: np.stack([a["NP_BESS_SOC_MIN"], a["NP_BESS_SOC_MAX"]], axis=1),
    "SOC_P_DISCHARGE_MAX": lambda a: np.stack([a["NP_BESS_SOC_MIN"], a["NP_BESS_SOC_MAX"]], axis=1),
}
CURVES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "volt-var": (
        ("QV_CURVE_V1", "QV_CURVE_V2", "QV_CURVE_V3", "QV_CURVE_V4"),
        ("QV_CURVE_Q1", "QV_CURVE_Q2", "QV_CURVE_Q3", "QV_CURVE_Q4"),
    ),
    "volt-watt": (("PV_CURVE_V1", "PV_CURVE_V2"), ("PV_CURVE_P1", "PV_CURVE_P2")),
    "watt-var": (
        ("QP_CURVE_P3_LOAD", "QP_CURVE_P2_LOAD", "QP_CURVE_P1_LOAD", "QP_CURVE_P1_GEN", "QP_CURVE_P2_GEN", "QP_CURVE_P3_GEN"),
        ("QP_CURVE_Q3_LOAD", "QP_CURVE_Q2_LOAD", "QP_CURVE_Q1_LOAD", "QP_CURVE_Q1_GEN", "QP_CURVE_Q2_GEN", "QP_CURVE_Q3_GEN"),
    ),
}


def _coerce(name: str, value: ArrayLike, n: int) -> NDArray[Any]:
    """`value` as a new array of the setting's type and shape; ValueError if it is neither one value nor n of them."""
    spec = SPEC[name]
    shape = (n,) if spec["points"] == 1 else (n, spec["points"])
    if name in ENUMS:
        kind = ENUMS[name]
        names = np.asarray(value)
        if names.dtype.kind in "US":
            unknown = sorted({str(word) for word in names.ravel()} - kind.__members__.keys())
            if unknown:
                raise ValueError(f"DER setting {name}: {', '.join(unknown)} is none of {', '.join(kind.__members__)}")
            names = np.array([kind[str(word)] for word in names.ravel()]).reshape(names.shape)
        array = names.astype(np.int8)
    elif isinstance(spec["default"], bool):
        array = np.asarray(value).astype(np.bool_)
    else:
        array = np.asarray(value, dtype=np.float64)
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise ValueError(f"DER setting {name}: shape {array.shape} does not fit {shape}; give one value or one per DER") from None


def _refuse(name: str, bad: BoolArray, settings: DerSettings, want: str) -> None:
    found = np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim))))
    if found.size:
        value = getattr(settings, name)[found[0]]
        raise ValueError(f"DER setting {name} is {value} for DER {found[0]} ({found.size} in all): {want}")


def check(settings: DerSettings) -> None:
    """ValueError for the first setting out of its range, curve out of order or combination that the model cannot represent."""
    n = len(settings)
    for name, spec in SPEC.items():
        array = getattr(settings, name)
        if array.shape != ((n,) if spec["points"] == 1 else (n, spec["points"])):
            raise ValueError(f"DER setting {name} has shape {array.shape}, NP_VA_MAX has {n} DERs; build it with DerSettings.of")
        if name in ENUMS:
            _refuse(name, ~np.isin(array, list(ENUMS[name])), settings, f"one of {', '.join(ENUMS[name].__members__)}")
        elif array.dtype != np.bool_:
            _refuse(name, ~np.isfinite(array), settings, "a finite number")
            _refuse(
                name,
                (array < spec["low"]) | (array > spec["high"]),
                settings,
                f"{spec['low']:g} to {spec['high']:g} {spec['unit']}".strip(),
            )
    for title, (abscissas, ordinates) in CURVES.items():
        for k in range(len(abscissas) - 1):
            step = getattr(settings, abscissas[k + 1]) - getattr(settings, abscissas[k])
            _refuse(abscissas[k + 1], step < 0, settings, f"at least {abscissas[k]} ({title} curve)")
            jump = (step == 0) & (getattr(settings, ordinates[k + 1]) != getattr(settings, ordinates[k]))
            _refuse(
                ordinates[k + 1],
                jump,
                settings,
                f"equal to {ordinates[k]} where {abscissas[k]} = {abscissas[k + 1]} ({title} curve)",
            )
    for name in ("SOC_P_CHARGE_MAX", "SOC_P_DISCHARGE_MAX"):
        points = getattr(settings, name)
        _refuse(name, points[:, 1] < points[:, 0], settings, "two states of charge in rising order")
    _refuse("NP_PHASE", ~np.isin(settings.NP_PHASE, (1.0, 3.0)), settings, "1 or 3")
    storage = settings.NP_TYPE == DerType.STORAGE
    _refuse("NP_Q_CAPABILITY_LOW_P", storage & (settings.NP_Q_CAPABILITY_LOW_P != LowPowerQ.SAME), settings, "SAME for storage")
    _refuse("NP_P_MAX", settings.NP_P_MAX > settings.NP_VA_MAX, settings, "at most NP_VA_MAX")
    _refuse(
        "NP_P_MAX_CHARGE",
        settings.NP_P_MAX_CHARGE > settings.NP_APPARENT_POWER_CHARGE_MAX,
        settings,
        "at most NP_APPARENT_POWER_CHARGE_MAX",
    )
    for name in ("NP_Q_MAX_INJ", "NP_Q_MAX_ABS"):
        _refuse(name, getattr(settings, name) > settings.NP_VA_MAX, settings, "at most NP_VA_MAX")
    _refuse("NP_BESS_SOC_MAX", settings.NP_BESS_SOC_MAX <= settings.NP_BESS_SOC_MIN, settings, "above NP_BESS_SOC_MIN")
