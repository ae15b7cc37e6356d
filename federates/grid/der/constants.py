"""What follows from the settings alone, worked out once when they change and not at every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from federates.grid.der.blocks import Curve, Lag, circle_intercept, lag, rate, settled_lag
from federates.grid.der.parameters import (
    AbnormalCategory,
    BoolArray,
    DerType,
    Excitation,
    FloatArray,
    LowPowerQ,
    NormalCategory,
    QMode,
    VoltageMeasure,
)
from federates.grid.der.settings import DerSettings

# Reactive capability over active power of LowPowerQ.REDUCED, as a part of the full range (IEEE 1547-2018 clause 5.2): nothing under
# 5 % of rated P, then in proportion to P up to 20 %. The jump at 5 % is given a width so that the curve is a function.
LOW_P_PU = (0.0, 0.04999, 0.05, 0.2, 1.0)
LOW_P_SHARE = (0.0, 0.0, 0.25, 1.0, 1.0)

# Least reactive capability (table 7), which active power priority must leave alone
Q_REQUIRED_INJ_PU = 0.44
Q_REQUIRED_ABS_PU = {NormalCategory.A: 0.25, NormalCategory.B: 0.44}

# Ride-through regions by category (tables 14 to 16): above the first or below the second voltage the DER ceases to energize;
# above the third or below the fourth it is in permissive operation. Between those and 0.88 to 1.1 pu operation is mandatory.
RIDE_THROUGH_PU = {
    AbnormalCategory.NONE: (np.inf, -np.inf, np.inf, -np.inf),
    AbnormalCategory.I: (1.2, 0.5, 1.1, 0.7),
    AbnormalCategory.II: (1.2, 0.3, 1.1, 0.65),
    AbnormalCategory.III: (np.inf, -np.inf, np.inf, -np.inf),
}


@dataclass(frozen=True)
class Lags:
    """Lag coefficients and rate limits for one time step."""

    v_meas: Lag
    vref: Lag
    volt_var: Lag
    watt_var: Lag
    const_pf: Lag
    const_q: Lag
    volt_watt: Lag
    droop: Lag
    current: Lag
    current_passes: bool  # no DER's current control is slower than the step
    ap_limit_pu: FloatArray
    enter_service_pu: FloatArray
    mode_transition_pu: FloatArray
    storage_pu: FloatArray
    current_up_pu: FloatArray


class Constants:
    """Arrays derived from `settings`, and the lags for a time step."""

    def __init__(self, settings: DerSettings) -> None:
        s = self.s = settings
        self.storage: BoolArray = s.NP_TYPE == DerType.STORAGE
        self.any_storage = bool(self.storage.any())
        self.three = np.flatnonzero(s.NP_PHASE == 3.0)
        self.single = np.flatnonzero(s.NP_PHASE == 1.0)
        self.v_positive: BoolArray = s.NP_V_MEAS_UNBALANCE == VoltageMeasure.POS

        self.p_base = s.NP_P_MAX / s.NP_VA_MAX  # pu of active power to pu of apparent power
        self.charge_base = s.NP_P_MAX_CHARGE / s.NP_P_MAX
        self.va_charge = s.NP_APPARENT_POWER_CHARGE_MAX / s.NP_VA_MAX
        self.q_max_inj, self.q_max_abs = s.NP_Q_MAX_INJ / s.NP_VA_MAX, s.NP_Q_MAX_ABS / s.NP_VA_MAX
        self.q_required_abs = np.where(s.NP_NORMAL_OP_CAT == NormalCategory.A, *Q_REQUIRED_ABS_PU.values())
        self.reduced: BoolArray = s.NP_Q_CAPABILITY_LOW_P == LowPowerQ.REDUCED
        self.any_reduced = bool(self.reduced.any())
        self.mode = {mode: np.equal(s.Q_MODE, mode) for mode in QMode}
        self.has_mode = {mode: bool(mask.any()) for mode, mask in self.mode.items()}
        self.by_capability: BoolArray = self.mode[QMode.QV] | self.mode[QMode.CONST_Q]

        self.ap_limit = np.where(s.AP_LIMIT > 0, s.AP_LIMIT, s.AP_LIMIT * self.charge_base)
        tan_phi = np.sqrt(1.0 - s.CONST_PF**2) / s.CONST_PF
        self.q_per_p = np.where(s.CONST_PF_EXCITATION == Excitation.INJ, tan_phi, -tan_phi) * self.p_base  # pu to pu
        p2 = np.where(s.PV_CURVE_P2 > 0, s.PV_CURVE_P2, s.PV_CURVE_P2 * self.charge_base)
        self.volt_watt = Curve.through((s.PV_CURVE_V1, s.PV_CURVE_V2), (s.PV_CURVE_P1, p2))
        self.volt_var = Curve.through(
            (s.QV_CURVE_V1, s.QV_CURVE_V2, s.QV_CURVE_V3, s.QV_CURVE_V4),
            (s.QV_CURVE_Q1, s.QV_CURVE_Q2, s.QV_CURVE_Q3, s.QV_CURVE_Q4),
        )
        watt_var_p = (
            s.QP_CURVE_P3_LOAD,
            s.QP_CURVE_P2_LOAD,
            s.QP_CURVE_P1_LOAD,
            s.QP_CURVE_P1_GEN,
            s.QP_CURVE_P2_GEN,
            s.QP_CURVE_P3_GEN,
        )
        watt_var_q = (
            s.QP_CURVE_Q3_LOAD,
            s.QP_CURVE_Q2_LOAD,
            s.QP_CURVE_Q1_LOAD,
            s.QP_CURVE_Q1_GEN,
            s.QP_CURVE_Q2_GEN,
            s.QP_CURVE_Q3_GEN,
        )
        self.watt_var = Curve.through(watt_var_p, watt_var_q)
        self.charge_limit = Curve.through(*_points(s.SOC_P_CHARGE_MAX, s.P_CHARGE_MAX_PU))
        self.discharge_limit = Curve.through(*_points(s.SOC_P_DISCHARGE_MAX, s.P_DISCHARGE_MAX_PU))
        self._intercepts(watt_var_p, watt_var_q)

        category = s.NP_ABNORMAL_OP_CAT.astype(np.intp)
        table = np.array([RIDE_THROUGH_PU[c] for c in AbnormalCategory])
        self.cease_above, self.cease_below, self.permissive_above, self.permissive_below = table[category].T.copy()
        self.rides_through: BoolArray = s.NP_ABNORMAL_OP_CAT != AbnormalCategory.NONE
        self.momentary: BoolArray = s.MC_ENABLE & self.rides_through
        self.under = ((s.UV1_TRIP_V, s.UV1_TRIP_T), (s.UV2_TRIP_V, s.UV2_TRIP_T))
        self.over = ((s.OV1_TRIP_V, s.OV1_TRIP_T), (s.OV2_TRIP_V, s.OV2_TRIP_T))
        self.under_f = ((s.UF1_TRIP_F, s.UF1_TRIP_T), (s.UF2_TRIP_F, s.UF2_TRIP_T))
        self.over_f = ((s.OF1_TRIP_F, s.OF1_TRIP_T), (s.OF2_TRIP_F, s.OF2_TRIP_T))
        self.any_volt_watt, self.any_ap_limit = bool(s.PV_MODE_ENABLE.any()), bool(s.AP_LIMIT_ENABLE.any())
        self.any_vref_auto = bool(s.QV_VREF_AUTO_MODE.any())
        self.any_support = bool((s.DVS_MODE_ENABLE & self.rides_through).any())
        self.any_positive = bool(self.v_positive.any())
        self._lags: tuple[float, Lags] | None = None
        self._settled: dict[float, Lags] = {}

    def _intercepts(self, watt_var_p: tuple[FloatArray, ...], watt_var_q: tuple[FloatArray, ...]) -> None:
        """Where the capability and watt-var curves meet the apparent power circle, generating and charging (pu on NP_VA_MAX)."""
        unit = np.ones(len(self.s))
        if self.has_mode[QMode.CONST_PF]:
            low_p = tuple(np.where(self.reduced, p, 2.0 * p - 1.0) * self.p_base for p in LOW_P_PU)
            shares = tuple(np.where(self.reduced, share, 1.0) for share in LOW_P_SHARE)
            self.pf_intercept = {
                (side, inj): circle_intercept(
                    unit if side > 0 else self.va_charge, low_p, tuple(share * q_max for share in shares), side
                )
                for side in (1.0, -1.0)
                for inj, q_max in ((True, self.q_max_inj), (False, self.q_max_abs))
            }
        if self.has_mode[QMode.QP]:
            charge = self.charge_base * self.p_base
            xs = (-charge, *(p * charge for p in watt_var_p[:3]), *(p * self.p_base for p in watt_var_p[3:]), self.p_base)
            ys = (watt_var_q[0], *watt_var_q, watt_var_q[-1])
            self.qp_intercept = {side: circle_intercept(unit if side > 0 else self.va_charge, xs, ys, side) for side in (1.0, -1.0)}

    def lags(self, dt_s: float) -> Lags:
        """Coefficients for a step of `dt_s`, remembered while it stays the same."""
        if self._lags is None or self._lags[0] != dt_s:
            self._lags = (dt_s, self._build(dt_s, settled=False))
        return self._lags[1]

    def settled(self, horizon_s: float) -> Lags:
        """Coefficients that run to rest what answers within `horizon_s` and hold the rest, remembered for each horizon."""
        if horizon_s not in self._settled:
            self._settled[horizon_s] = self._build(horizon_s, settled=True)
        return self._settled[horizon_s]

    def _build(self, dt_s: float, *, settled: bool) -> Lags:
        s, of = self.s, settled_lag if settled else lag
        current = of(s.NP_INV_DELAY, dt_s)
        return Lags(
            v_meas=of(s.NP_V_MEAS_DELAY, dt_s),
            vref=of(s.QV_VREF_TIME * 2.3, dt_s),
            volt_var=of(s.QV_OLRT, dt_s),
            watt_var=of(s.QP_RT, dt_s),
            const_pf=of(s.CONST_PF_RT, dt_s),
            const_q=of(s.CONST_Q_RT, dt_s),
            volt_watt=of(s.PV_OLRT, dt_s),
            droop=of(s.PF_OLRT, dt_s),
            current=current,
            current_passes=bool((current.now == 1.0).all()),
            ap_limit_pu=rate(s.AP_RT, dt_s),
            enter_service_pu=rate(s.ES_RAMP_RATE, dt_s),
            mode_transition_pu=rate(s.NP_MODE_TRANSITION_TIME, dt_s),
            storage_pu=rate(s.NP_BESS_P_RAMP_TIME, dt_s),
            current_up_pu=rate(s.NP_RT_RAMP_UP_TIME, dt_s),
        )


def _points(xs: FloatArray, ys: FloatArray) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
    return tuple(np.ascontiguousarray(x) for x in xs.T), tuple(np.ascontiguousarray(y) for y in ys.T)
