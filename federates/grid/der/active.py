"""Desired active power: limit, volt-watt, frequency droop, enter service ramp (clauses 4.6.2, 5.4.2, 6.5.2.7, 4.10.3)."""

from __future__ import annotations

import numpy as np

from federates.grid.der.blocks import low_pass
from federates.grid.der.constants import Constants, Lags
from federates.grid.der.parameters import BoolArray, DerStatus, FloatArray
from federates.grid.der.state import DerState

F_NOMINAL_HZ = 60.0
RAMP_TOP_PU = 1.1  # the enter service ramp ends above 1, so that passing 1 tells that it is over
DROOP_AT_REST_PU = 1e-3


def desired_active(
    k: Constants,
    st: DerState,
    lags: Lags,
    v_meas: FloatArray,
    f_hz: FloatArray,
    p_available: FloatArray,
    demand: FloatArray | None,
    limits: tuple[FloatArray, FloatArray] | None,
    tripped: BoolArray,
) -> FloatArray:
    """Active power wanted, pu on NP_P_MAX.

    `p_available` (n,): available AC power of PV, pu (1 for storage). `demand`: set-point of storage after its ramp, and
    `limits` its greatest charging and discharging power; None in a fleet without storage.
    """
    ap_limit = _ap_limit(k, st, lags, tripped)
    pv_limit = _volt_watt(k, st, lags, v_meas, tripped)
    ceiling = np.minimum(ap_limit, pv_limit)
    wanted = p_available if demand is None else np.where(k.storage, st.p_demand_w / k.s.NP_P_MAX, p_available)
    p_droop, droop_active = _droop(k, st, lags, f_hz, p_available, wanted, ceiling, tripped)

    ramp = np.minimum(RAMP_TOP_PU, st.es_ramp_pu + lags.enter_service_pu)
    ramp[tripped] = 0.0
    st.es_ramp_pu = ramp

    if demand is None:
        p = np.minimum(np.minimum(p_available, ramp), ceiling)
        if droop_active.any():
            p = np.where(droop_active, np.minimum(np.minimum(p_available, pv_limit), p_droop), p)
        np.minimum(p, 1.0, out=p)
    else:
        p = _with_storage(k, st, f_hz, p_available, demand, ramp, ceiling, pv_limit, p_droop, droop_active, limits)
    p[tripped] = 0.0
    st.es_completed = (st.es_completed | (ramp > 1.0)) & ~tripped
    return p


def _with_storage(
    k: Constants,
    st: DerState,
    f_hz: FloatArray,
    p_available: FloatArray,
    demand: FloatArray,
    ramp: FloatArray,
    ceiling: FloatArray,
    pv_limit: FloatArray,
    p_droop: FloatArray,
    droop_active: BoolArray,
    limits: tuple[FloatArray, FloatArray] | None,
) -> FloatArray:
    assert limits is not None
    ramped = np.where(k.storage, np.maximum(np.minimum(demand, ramp), -ramp), np.minimum(p_available, ramp))
    p = np.minimum(ramped, ceiling)
    if droop_active.any():
        # storage may pass its set-point, within its nameplate, to follow the droop; under volt-watt not upwards at over-frequency
        room = np.where(k.storage, 1.0, p_available)
        held = k.storage & st.droop_over_active & ~st.droop_under_active & k.s.PV_MODE_ENABLE
        room = np.where(held, st.p_demand_w / k.s.NP_P_MAX, room)
        p = np.where(droop_active, np.minimum(np.minimum(room, pv_limit), p_droop), p)
    np.minimum(p, 1.0, out=p)
    charging, discharging = limits
    return np.where(k.storage, np.maximum(-charging, np.minimum(p, discharging)), p)


def _ap_limit(k: Constants, st: DerState, lags: Lags, tripped: BoolArray) -> FloatArray:
    """Active power limit after its ramp; 1 where it is off."""
    if not k.any_ap_limit:
        st.ap_limit_pu.fill(1.0)
        return st.ap_limit_pu
    limit = (
        np.clip(k.ap_limit, st.ap_limit_pu - lags.ap_limit_pu, st.ap_limit_pu + lags.ap_limit_pu) if st.started[0] else k.ap_limit
    )
    st.ap_limit_pu = np.where(k.s.AP_LIMIT_ENABLE & ~tripped, limit, 1.0)
    return st.ap_limit_pu


def _volt_watt(k: Constants, st: DerState, lags: Lags, v_meas: FloatArray, tripped: BoolArray) -> FloatArray:
    """Volt-watt limit after its open loop response; 1 where it is off."""
    if not k.any_volt_watt:
        st.volt_watt.fill(1.0)
        limit: FloatArray = st.volt_watt[1]
        return limit
    reference = k.volt_watt.at(v_meas)
    if not st.started[0]:
        st.volt_watt[:] = reference
    limit = low_pass(st.volt_watt, reference, lags.volt_watt)
    off = tripped | ~k.s.PV_MODE_ENABLE
    limit[off] = 1.0
    st.volt_watt[:, off] = 1.0
    return limit


def _droop(
    k: Constants,
    st: DerState,
    lags: Lags,
    f_hz: FloatArray,
    p_available: FloatArray,
    wanted: FloatArray,
    ceiling: FloatArray,
    tripped: BoolArray,
) -> tuple[FloatArray, BoolArray]:
    """Power that the frequency droop asks for, and where it governs.

    The droop starts from the power at the moment the frequency left its deadband. It keeps governing after the return into
    the deadband until its lag has come to rest, so that power does not jump.
    """
    s = k.s
    low, high = F_NOMINAL_HZ - s.PF_DBUF, F_NOMINAL_HZ + s.PF_DBOF
    under, over = (f_hz < low) & s.PF_MODE_ENABLE, (f_hz > high) & s.PF_MODE_ENABLE
    before = np.where(st.droop_known, st.p_w / s.NP_P_MAX, np.minimum(wanted, ceiling))
    lasting = st.droop_known & ((under & st.droop_under) | (over & st.droop_over))
    before = np.where(lasting, st.droop_p_pre_pu, before)
    normal = np.where(st.status == DerStatus.ENTERING_SERVICE, st.p_w / s.NP_P_MAX, wanted)
    reference = np.minimum(normal, ceiling)
    outside = under | over
    if outside.any():
        p_over = np.maximum(before - (f_hz - high) / (F_NOMINAL_HZ * s.PF_KOF), s.NP_P_MIN_PU)
        p_under = np.minimum(before + (low - f_hz) / (F_NOMINAL_HZ * s.PF_KUF), p_available)
        reference = np.where(over, p_over, np.where(under, p_under, reference))
    governing = outside | st.droop_under_active | st.droop_over_active
    if governing.any():
        if not st.started[0]:
            st.droop[:] = reference
        lagged = low_pass(st.droop, reference, lags.droop)
        p_droop = np.where(governing, lagged, reference)
        st.droop[1] = p_droop
    else:
        p_droop = reference
        st.droop[:] = reference
    moving = np.abs(p_droop - reference) >= DROOP_AT_REST_PU
    awake = ~tripped
    np.copyto(st.droop_under_active, under | (st.droop_under_active & moving & s.PF_MODE_ENABLE), where=awake)
    np.copyto(st.droop_over_active, over | (st.droop_over_active & moving & s.PF_MODE_ENABLE), where=awake)
    np.copyto(st.droop_under, under, where=awake)
    np.copyto(st.droop_over, over, where=awake)
    np.copyto(st.droop_p_pre_pu, before, where=awake)
    st.droop_known |= awake
    st.droop[:, tripped | ~s.PF_MODE_ENABLE] = 0.0
    return p_droop, st.droop_under_active | st.droop_over_active
