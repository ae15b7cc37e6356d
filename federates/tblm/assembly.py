"""From a snapshot and the loads that explain it to the document of the bus.

The bus is the solved feeder times a factor, plus an offset. The factor is measured bus P over measured head P, which takes in
how the like feeders differ from the solved one at the moment; where the head carries too little to tell, it is their number.
The offset makes the operating point the measured one; it is taken as constant power.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from federates.grid.der import DerSettings
from federates.grid.feeder import FeederModel
from federates.tblm.curves import CurveOptions, Solve, build_curve
from federates.tblm.model import (
    SCHEMA,
    Axes,
    Breakpoint,
    Bus,
    Curve,
    CurveSet,
    DerSummary,
    Flag,
    LikeFeeders,
    Load,
    NativeVsDer,
    OperatingPoint,
    QualityOfData,
    Range,
    Tblm,
    Trigger,
    Validity,
    Version,
)
from federates.tblm.snapshot import SCADA_PORTS, Allocation, FeederSnapshot
from federates.tblm.study import FAST_S, Base, Study, StudyError
from federates.tblm.views import exponent_fit, frequency_coefficients, zip_fit

NAMESPACE = uuid.UUID("5f1d4c9e-2f0b-5a57-9d35-6a1a5c0b7e11")
"""Of the buses' mRIDs: uuid5 of the bus name in it."""

_TELLING_HEAD = 0.2  # of S: below it the ratio of bus to head power says nothing of the number of feeders
_FACTOR_SPREAD = 0.5  # like feeders together are within this part of count times the solved one
_NO_FEEDER = 1e-9  # factor where every like feeder is open: the tables are nothing, and keep their shape
_RESIDUAL_PCT = 2.0
_COVERED = 0.9


class Assembler:
    """Makes documents of one bus, without their sequence number. s_base_va: base of tolerances and errors, W and var alike."""

    def __init__(
        self, bus: str, model: FeederModel, der: DerSettings | None, like_feeders: int, s_base_va: float, options: CurveOptions
    ) -> None:
        self.bus, self.model, self.der, self.count, self.s_va, self.options = bus, model, der, like_feeders, s_base_va, options

    def tblm(
        self,
        study: Study,
        snapshot: FeederSnapshot,
        found: Allocation,
        validity: Validity,
        trigger: Trigger,
        reasons: Sequence[str],
        *,
        bad: bool = False,
    ) -> Tblm:
        """The document. reasons: what had to be assumed. bad: mark it so, whatever was measured. StudyError: nothing
        converges."""
        base, s_va, f0 = found.base, self.s_va, self.model.base_hz
        study.begin(base)
        like, bus_p, bus_q = self._like_feeders(snapshot, found)
        curves = (
            self._curve("fast", study.fast, FAST_S, base, like),
            self._curve("settled", study.settled, math.inf, base, like),
        )
        v0, angle, phases = base.v_pu, snapshot.scalar("bus_angle_rad"), snapshot.known("bus_p_w")
        known = bool(np.isfinite(phases).all())
        return Tblm(
            Bus(str(uuid.uuid5(NAMESPACE, self.bus)), self.bus, self._base_kv(study), s_va, "load_positive"),
            Version(0, snapshot.model_hash, snapshot.snapshot_id, SCHEMA),
            validity,
            self._quality(snapshot, found, like, trigger, reasons, bad),
            OperatingPoint(
                V_pu=v0,
                angle_rad=angle if np.isfinite(angle) else 0.0,
                f_Hz=base.f_hz,
                P_W=bus_p,
                Q_var=bus_q,
                imbalance_pct=300.0 * float(np.abs(phases - phases.mean()).max()) / s_va if known else 0.0,
            ),
            Load(
                curves,
                tuple(zip_fit(c, v0, f0, s_va) for c in curves),
                tuple(exponent_fit(c, v0, f0, s_va) for c in curves),
                *frequency_coefficients(curves[0], v0, f0, s_va),
            ),
            _composition(found, like),
            _der_summary(study, found, like),
            like,
            snapshot.sources(),
        )

    def verification(self, study: Study, tblm: Tblm) -> list[dict[str, Any]]:
        """Full solves in the range of each curve of the document just made: {set, V_pu, f_Hz, P_W, Q_var} of the bus. Two at
        nominal frequency, one at the operating point's voltage, one anywhere, drawn by the snapshot's identity; one without a
        solution is left out."""
        like, points = tblm.like_feeders, []
        v0, f0 = tblm.operating_point.V_pu, self.model.base_hz
        rng = np.random.Generator(np.random.Philox(key=int(tblm.version.snapshot_id[:16], 16)))
        for curve in tblm.load.curves:
            solve = study.fast if curve.set == "fast" else study.settled
            for v_pu, f_hz in ((None, f0), (None, f0), (v0, None), (None, None)):
                v = float(rng.uniform(*curve.range_ok.V_pu)) if v_pu is None else v_pu
                f = float(rng.uniform(*curve.range_ok.f_Hz)) if f_hz is None else f_hz
                try:
                    point = solve(v, f)
                except StudyError:
                    continue
                p_w, q_var = like.factor * point.p_w + like.offset_P_W, like.factor * point.q_var + like.offset_Q_var
                points.append({"set": curve.set, "V_pu": v, "f_Hz": f, "P_W": p_w, "Q_var": q_var})
        return points

    def _curve(self, which: CurveSet, solve: Solve, horizon_s: float, base: Base, like: LikeFeeders) -> Curve:
        band = (self.model.vmin_pu, self.model.vmax_pu)
        f0, breaks = self.model.base_hz, _breaks(self.der, self.model.base_hz, horizon_s)
        return self._scaled(build_curve(which, solve, base.v_pu, f0, self.s_va / like.factor, self.options, breaks, band), like)

    def _base_kv(self, study: Study) -> float:
        substation = self.model.substation
        return substation.kv_primary if substation is not None else float(study.feeder.node_base_kv.max() * math.sqrt(3.0))

    def _like_feeders(self, snapshot: FeederSnapshot, found: Allocation) -> tuple[LikeFeeders, float, float]:
        """Factor and offset from feeder to bus, and bus P and Q: as measured, or the model's where they are not."""
        count = snapshot.feeders_closed(self.count)
        head_p, bus_p, bus_q = (snapshot.total(name) for name in ("head_p_w", "bus_p_w", "bus_q_var"))
        factor = max(float(count), _NO_FEEDER)
        if (
            count
            and np.isfinite([head_p, bus_p]).all()
            and abs(head_p) >= _TELLING_HEAD * self.s_va / count
            and bus_p * head_p > 0.0
        ):
            factor = float(np.clip(bus_p / head_p, (1.0 - _FACTOR_SPREAD) * count, (1.0 + _FACTOR_SPREAD) * count))
        model_p, model_q = factor * found.head_p_w, factor * found.head_q_var
        bus_p = bus_p if np.isfinite(bus_p) else model_p
        bus_q = bus_q if np.isfinite(bus_q) else model_q
        return LikeFeeders(count, factor, bus_p - model_p, bus_q - model_q), bus_p, bus_q

    def _scaled(self, curve: Curve, like: LikeFeeders) -> Curve:
        """A feeder's table as the bus's, in numbers of seven digits of S_base."""
        k, digits = like.factor, 6 - math.floor(math.log10(self.s_va))
        p = tuple(tuple(round(k * x + like.offset_P_W, digits) for x in row) for row in curve.P_W)
        q = tuple(tuple(round(k * x + like.offset_Q_var, digits) for x in row) for row in curve.Q_var)
        axes = Axes(tuple(round(x, 6) for x in curve.axes.V_pu), tuple(round(x, 6) for x in curve.axes.f_Hz))
        breaks = tuple(
            Breakpoint(b.axis, round(b.value, 6), round(b.width, 6), b.cause, round(k * b.jump_P_W, 1), round(k * b.jump_Q_var, 1))
            for b in curve.breakpoints
        )
        v_low, v_high = curve.range_ok.V_pu
        good = Range((round(v_low, 6), round(v_high, 6)), (axes.f_Hz[0], axes.f_Hz[-1]))
        error = round(curve.error_pct, 6)
        return replace(curve, axes=axes, P_W=p, Q_var=q, range_ok=good, breakpoints=breaks, error_pct=error)

    def _quality(
        self, snapshot: FeederSnapshot, found: Allocation, like: LikeFeeders, trigger: Trigger, assumed: Sequence[str], bad: bool
    ) -> QualityOfData:
        """The flag and why. Bad: the bus itself is not measured. Questionable: something is old, lost or does not fit.
        Estimated: loads are."""
        sources = {source.name: source for source in snapshot.sources()}
        scada = [source for name, source in sources.items() if name in SCADA_PORTS]
        unseen = [f"{name} not measured" for name in ("head_p_w", "bus_v_pu") if sources[name].flag == "bad"]
        doubtful = [*assumed, *(f"{s.name}: {s.values - s.good} of {s.values} not good" for s in scada if s.good < s.values)]
        residual = 100.0 * found.residual_va * like.factor / self.s_va
        if residual > _RESIDUAL_PCT:
            doubtful.append(f"model and measured head power differ by {residual:.2g} % of S_base")
        coverage, estimated = snapshot.scalar("coverage"), list[str]()
        if found.unread_loads:
            estimated.append(f"{found.unread_loads} of {found.base.load_p_w.size} loads without a meter reading: shares taken")
        if coverage < _COVERED:
            estimated.append(f"AMI coverage {coverage:.0%}")
        flag: Flag = "bad" if bad or unseen else "questionable" if doubtful else "estimated" if estimated else "good"
        return QualityOfData(
            flag,
            coverage if np.isfinite(coverage) else None,
            sum(s.good for s in scada) / sum(s.values for s in scada),
            max((s.oldest_s for s in scada if s.oldest_s is not None), default=0.0),
            residual,
            100.0 * found.adjusted_va * like.factor / self.s_va,
            trigger,
            (*unseen, *doubtful, *estimated),
        )


def _composition(found: Allocation, like: LikeFeeders) -> NativeVsDer:
    """DER are the balance of loads, losses and head power, so that those in the feeder's own file count among them."""
    k = like.factor
    network_q = found.head_q_var - found.load_q_var + found.der_q_var
    return NativeVsDer(
        P_gross_W=k * found.load_p_w,
        Q_gross_var=k * found.load_q_var,
        P_der_W=k * (found.load_p_w + found.loss_w - found.head_p_w),
        Q_der_var=k * found.der_q_var,
        P_loss_W=k * found.loss_w,
        Q_network_var=k * network_q,
        P_unmodelled_W=like.offset_P_W,
        Q_unmodelled_var=like.offset_Q_var,
    )


def _der_summary(study: Study, found: Allocation, like: LikeFeeders) -> DerSummary:
    k, base = like.factor, found.base
    return DerSummary(
        sites=base.der_in_service.size,
        in_service=int(base.der_in_service.sum()),
        S_rated_VA=k * float(study.feeder.der_s_va.sum()),
        P_available_W=k * float(base.der_available_w[base.der_in_service].sum()),
        P_W=k * found.der_p_w,
        Q_var=k * found.der_q_var,
    )


def _breaks(settings: DerSettings | None, f0: float, horizon_s: float) -> tuple[float, ...]:
    """Frequencies at which DER trip, or begin to answer, within the horizon."""
    if settings is None or not len(settings):
        return ()
    s, out = settings, set[float]()
    for f, t in (
        (s.UF1_TRIP_F, s.UF1_TRIP_T),
        (s.UF2_TRIP_F, s.UF2_TRIP_T),
        (s.OF1_TRIP_F, s.OF1_TRIP_T),
        (s.OF2_TRIP_F, s.OF2_TRIP_T),
    ):
        out.update(f[t <= horizon_s].tolist())
    droop = s.PF_MODE_ENABLE & (horizon_s >= s.PF_OLRT)
    out.update((f0 + s.PF_DBOF[droop]).tolist())
    out.update((f0 - s.PF_DBUF[droop]).tolist())
    return tuple(sorted(out))
