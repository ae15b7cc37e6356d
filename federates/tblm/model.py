"""The Transmission Bus Load Model (TBLM): what a distribution control centre tells the EMS about one transmission bus.

This is all that a consumer needs (numpy only): the document, `from_json` and `to_json`, `evaluate` for P and Q at a voltage and
frequency, `validate` for the rules by which a document may be used. How one is made is in `builder`. Signs: load positive at
the bus; DER generation positive in the DER fields. SI units, in the field names.

Two sets of curves, because P(V) means two things: `fast` is what the bus does within about two seconds (taps and capacitors as
they stand, inverters after their fast responses), `settled` what remains when every control has come to rest. Regulators make
them differ by a factor of seven in dP/dV on common feeders.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from federates.tblm import document
from federates.tblm.document import TblmError
from federates.tblm.emergency_model import Emergency
from federates.tblm.flexibility_model import Flexibility

__all__ = [
    "Curve", "Evaluated", "Slopes", "Tblm", "TblmError", "at_frequency", "evaluate", "evaluate_slopes", "from_json", "json_schema",
    "to_json", "validate",
]  # fmt: skip

Floats = NDArray[np.float64]
Flag = Literal["good", "estimated", "questionable", "bad"]
CurveSet = Literal["fast", "settled"]
Trigger = Literal["start", "periodic", "emergency", "topology", "capacitor", "der", "deviation", "request", "recovery"]

SCHEMA: Literal["1.0"] = "1.0"
LARGEST_BYTES = 64 * 1024
"""Largest document that a consumer accepts."""


@dataclass(frozen=True)
class Bus:
    """The transmission bus that the document is about."""

    mRID: Annotated[str, "stable identifier of the bus, derived from its name"]
    name: str
    base_kV: Annotated[float, "line-to-line base of every V_pu in the document"]
    S_base_VA: Annotated[float, "base of every tolerance and error given in per cent"]
    sign: Literal["load_positive"]


@dataclass(frozen=True)
class Version:
    """Which document this is and what it was made from."""

    seq: Annotated[int, "counts from 1 per bus, by one"]
    model_hash: Annotated[str, "sha256 of the feeder model"]
    snapshot_id: Annotated[str, "sha256 of the telemetry snapshot from which the curves were computed"]
    schema: Literal["1.0"]


@dataclass(frozen=True)
class Validity:
    """When it was measured, published, and until when it may be used."""

    t_meas_ns: Annotated[int, "measurement time of the oldest value among head power, bus voltage and frequency"]
    t_publish_ns: int
    from_ns: int
    to_ns: int
    horizon_s: float


@dataclass(frozen=True)
class QualityOfData:
    """How far it can be trusted."""

    flag: Flag
    ami_coverage: Annotated[float | None, "share of the bus's meters heard from, 0..1; null: not reported"]
    scada_ok: Annotated[float, "share of the SCADA values in use that are good, 0..1"]
    max_age_s: Annotated[float, "age of the oldest SCADA value in use at publication"]
    residual: Annotated[float, "% of S_base: model against measured head power after load allocation"]
    adjusted_pct: Annotated[float, "% of S_base: added to the meters' readings to meet the head measurement"]
    trigger: Trigger
    reasons: Annotated[tuple[str, ...], "why the flag is not good; empty when it is"]


@dataclass(frozen=True)
class OperatingPoint:
    """The bus as measured at the snapshot."""

    V_pu: float
    angle_rad: float
    f_Hz: float
    P_W: float
    Q_var: float
    imbalance_pct: Annotated[float, "largest deviation of a phase's P from the mean of the three, % of S_base / 3"]


@dataclass(frozen=True)
class Axes:
    """Grid of a curve table. A value given twice is a discontinuity: the first row is its lower side, the second its upper."""

    V_pu: tuple[float, ...]
    f_Hz: tuple[float, ...]


@dataclass(frozen=True)
class Range:
    """Where the curves hold. Outside, `evaluate` continues and says so."""

    V_pu: tuple[float, float]
    f_Hz: tuple[float, float]


@dataclass(frozen=True)
class Breakpoint:
    """A place on an axis where the slope or the value changes at once."""

    axis: Literal["V_pu", "f_Hz"]
    value: float
    width: Annotated[float, "it lies within value +- width"]
    cause: str
    jump_P_W: Annotated[float, "P just above less P just below"]
    jump_Q_var: float


@dataclass(frozen=True)
class Curve:
    """P and Q of the bus over voltage and frequency; rows follow V_pu, columns f_Hz."""

    set: CurveSet
    axes: Axes
    P_W: tuple[tuple[float, ...], ...]
    Q_var: tuple[tuple[float, ...], ...]
    range_ok: Range
    breakpoints: tuple[Breakpoint, ...]
    tolerance_pct: Annotated[float, "% of S_base asked for between grid points"]
    error_pct: Annotated[float, "% of S_base: largest interpolation error seen where it was checked by full solves"]
    solves: Annotated[int, "operating points computed"]

    def __post_init__(self) -> None:
        v, f = self.axes.V_pu, self.axes.f_Hz
        for name, axis in (("axes.V_pu", v), ("axes.f_Hz", f)):
            if len(axis) < 2 or any(b < a for a, b in pairwise(axis)) or axis[0] == axis[1] or axis[-1] == axis[-2]:
                raise TblmError(f"{name} needs at least two values, rising; only inner values may come twice")
        for name, table in (("P_W", self.P_W), ("Q_var", self.Q_var)):
            if len(table) != len(v) or any(len(row) != len(f) for row in table):
                raise TblmError(f"{name} is not a table of {len(v)} x {len(f)}")

    @cached_property
    def arrays(self) -> tuple[Floats, Floats, Floats]:
        """(v [nv], f [nf], table [2, nv, nf] of P and Q)."""
        return np.array(self.axes.V_pu), np.array(self.axes.f_Hz), np.array([self.P_W, self.Q_var])


@dataclass(frozen=True)
class ZipFit:
    """P(V) = (z u^2 + i u + c) with u = V / V0_pu, at f0, fitted to a curve over its range. In W and var, because Q may pass
    through 0."""

    set: CurveSet
    V0_pu: float
    P_W: Annotated[tuple[float, float, float], "z, i, c"]
    Q_var: Annotated[tuple[float, float, float], "z, i, c"]
    error_P_pct: Annotated[float, "largest, % of S_base"]
    error_Q_pct: float


@dataclass(frozen=True)
class ExponentFit:
    """P(V) = P0 u^kpv, Q(V) = Q0 u^kqv; null where P0 or Q0 is under 5 % of S_base."""

    set: CurveSet
    kpv: float | None
    kqv: float | None
    error_P_pct: Annotated[float | None, "largest, % of S_base"]
    error_Q_pct: float | None


@dataclass(frozen=True)
class Load:
    """Voltage and frequency dependence of the bus. The tables are the model; the rest are views of them."""

    curves: tuple[Curve, ...]
    zip: tuple[ZipFit, ...]
    exponents: tuple[ExponentFit, ...]
    kpf: Annotated[float | None, "(dP/P0) / (df/f0), fast set, operating point; null where P0 is under 5 % of S_base"]
    kqf: Annotated[float | None, "(dQ/Q0) / (df/f0), likewise"]


@dataclass(frozen=True)
class NativeVsDer:
    """What the bus power is made of: P_bus = gross - DER + loss + unmodelled, and likewise Q with the network's vars for the
    loss."""

    P_gross_W: Annotated[float, "what customers' loads take"]
    Q_gross_var: float
    P_der_W: Annotated[float, "generation of DER"]
    Q_der_var: float
    P_loss_W: float
    Q_network_var: Annotated[float, "of lines, transformers and capacitors together"]
    P_unmodelled_W: Annotated[float, "measured less modelled"]
    Q_unmodelled_var: float


@dataclass(frozen=True)
class DerSummary:
    """DER sites of the solved feeder, scaled to the bus; generation positive."""

    sites: int
    in_service: int
    S_rated_VA: float
    P_available_W: float
    P_W: float
    Q_var: float


@dataclass(frozen=True)
class LikeFeeders:
    """How the solved feeder stands for the bus: bus = factor * feeder + offset. The offset is taken as constant power."""

    count: int
    factor: Annotated[float, "measured bus P over measured head P where head P is large enough to tell, else the count"]
    offset_P_W: float
    offset_Q_var: float


@dataclass(frozen=True)
class Source:
    """One group of telemetry that went in."""

    name: str
    flag: Flag
    values: int
    good: int
    oldest_s: Annotated[float | None, "age of the oldest value in use at the snapshot; null when there is none"]


@dataclass(frozen=True)
class Tblm:
    """A Transmission Bus Load Model."""

    bus: Bus
    version: Version
    t_valid: Validity
    quality: QualityOfData
    operating_point: OperatingPoint
    load: Load
    native_vs_der: NativeVsDer
    der: DerSummary
    like_feeders: LikeFeeders
    sources: tuple[Source, ...]
    emergency: Emergency | None = None
    flexibility: Flexibility | None = None

    def curve(self, which: CurveSet) -> Curve:
        """The table of that set; TblmError when the document lacks it."""
        for curve in self.load.curves:
            if curve.set == which:
                return curve
        raise TblmError(f"$.load.curves: no set '{which}'")


def to_json(tblm: Tblm) -> dict[str, Any]:
    """The document as plain JSON objects, which is what a document port takes. TblmError for a number that is not finite."""
    encoded: dict[str, Any] = document.encode(tblm)
    return encoded


def from_json(text: str) -> Tblm:
    """The document of JSON text, strictly: TblmError names the field that is missing, unknown or of a wrong type, and text over
    64 KiB."""
    if len(text.encode()) > LARGEST_BYTES:
        raise TblmError(f"$: {len(text.encode())} bytes; a TBLM has at most {LARGEST_BYTES}")
    return document.decode(Tblm, text)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the document, as committed in `tblm.schema.json`."""
    return document.schema(Tblm, f"tblm/{SCHEMA}")


class Evaluated(NamedTuple):
    """P and Q of the bus and whether the point lies where the curve holds; each of the shape of the arguments."""

    p_w: Floats
    q_var: Floats
    inside: NDArray[np.bool_]


class Slopes(NamedTuple):
    """`Evaluated` with derivatives: W and var per pu of voltage and per Hz. At a discontinuity they are those of the upper
    side."""

    p_w: Floats
    q_var: Floats
    inside: NDArray[np.bool_]
    dp_dv: Floats
    dq_dv: Floats
    dp_df: Floats
    dq_df: Floats


def evaluate(curve: Curve, v_pu: ArrayLike, f_hz: ArrayLike) -> Evaluated:
    """P and Q by bilinear interpolation; see `evaluate_slopes`."""
    return Evaluated(*evaluate_slopes(curve, v_pu, f_hz)[:3])


def evaluate_slopes(curve: Curve, v_pu: ArrayLike, f_hz: ArrayLike) -> Slopes:
    """P, Q and their derivatives at voltages and frequencies that broadcast together.

    Outside the axes the value at the edge goes on as a constant impedance in V and is held in f, and `inside` is False, as it
    is outside `range_ok`. Exactly at a discontinuity the upper side counts.
    """
    v_axis, f_axis, table = curve.arrays
    v, f = np.broadcast_arrays(np.asarray(v_pu, np.float64), np.asarray(f_hz, np.float64))
    vc, fc = np.clip(v, v_axis[0], v_axis[-1]), np.clip(f, f_axis[0], f_axis[-1])
    i = np.clip(np.searchsorted(v_axis, vc, side="right") - 1, 0, v_axis.size - 2)
    j = np.clip(np.searchsorted(f_axis, fc, side="right") - 1, 0, f_axis.size - 2)
    dv, df = v_axis[i + 1] - v_axis[i], f_axis[j + 1] - f_axis[j]
    x, y = (vc - v_axis[i]) / dv, (fc - f_axis[j]) / df
    low, high = table[:, i, j], table[:, i + 1, j]
    low_up, high_up = table[:, i, j + 1], table[:, i + 1, j + 1]
    below, above = low + y * (low_up - low), high + y * (high_up - high)
    value, slope_v = below + x * (above - below), (above - below) / dv
    slope_f = np.where(fc == f, ((1.0 - x) * (low_up - low) + x * (high_up - high)) / df, 0.0)
    beyond = vc != v
    ratio = v / vc
    slope_v = np.where(beyond, 2.0 * value * ratio / vc, slope_v)
    value, slope_f = value * ratio**2, slope_f * ratio**2
    (v_low, v_high), (f_low, f_high) = curve.range_ok.V_pu, curve.range_ok.f_Hz
    inside = (v >= v_low) & (v <= v_high) & (f >= f_low) & (f <= f_high)
    return Slopes(value[0], value[1], inside, slope_v[0], slope_v[1], slope_f[0], slope_f[1])


def at_frequency(curve: Curve, f_hz: float) -> Callable[[float], tuple[float, float]]:
    """`evaluate` at one frequency as a function V (pu) -> (P in W, Q in var), for solvers that ask for one voltage at a time."""
    v_axis, f_axis, table = curve.arrays
    f = float(np.clip(f_hz, f_axis[0], f_axis[-1]))
    j = int(np.clip(np.searchsorted(f_axis, f, side="right") - 1, 0, f_axis.size - 2))
    y = (f - f_axis[j]) / (f_axis[j + 1] - f_axis[j])
    p_w, q_var = (table[:, :, j] + y * (table[:, :, j + 1] - table[:, :, j])).tolist()
    v = v_axis.tolist()
    last = len(v) - 2

    def at(v_pu: float) -> tuple[float, float]:
        inside = min(max(v_pu, v[0]), v[-1])
        i = min(max(bisect_right(v, inside) - 1, 0), last)
        x = (inside - v[i]) / (v[i + 1] - v[i])
        beyond = (v_pu / inside) ** 2
        return (p_w[i] + x * (p_w[i + 1] - p_w[i])) * beyond, (q_var[i] + x * (q_var[i + 1] - q_var[i])) * beyond

    return at


def validate(tblm: Tblm, now_ns: int, last_seq: int, known_hashes: Collection[str]) -> list[str]:
    """Why a consumer must not use the document; empty when it may. `last_seq`: of the last one accepted for this bus, 0 before
    the first.

    A consumer that rejects keeps its last good document with a wider uncertainty until that expires, and takes constant P, Q
    after it.
    """
    reasons = []
    if tblm.quality.flag == "bad":
        reasons.append(f"quality is bad: {'; '.join(tblm.quality.reasons) or 'no reason given'}")
    if now_ns > tblm.t_valid.to_ns:
        reasons.append(f"expired {(now_ns - tblm.t_valid.to_ns) / 1e9:.9g} s ago")
    if now_ns < tblm.t_valid.from_ns:
        reasons.append(f"not valid for another {(tblm.t_valid.from_ns - now_ns) / 1e9:.9g} s")
    if tblm.version.seq <= last_seq:
        reasons.append(f"sequence {tblm.version.seq} does not follow {last_seq}")
    if tblm.version.model_hash not in known_hashes:
        reasons.append(f"model {tblm.version.model_hash[:12]} is not known")
    return reasons


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
