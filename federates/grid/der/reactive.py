"""Desired reactive power: the four modes of IEEE 1547-2018 clause 5.3 and the transition between them (clause 4.6.3)."""

from __future__ import annotations

import numpy as np

from federates.grid.der.blocks import Lag, low_pass
from federates.grid.der.constants import Constants, Lags
from federates.grid.der.parameters import BoolArray, FloatArray, QMode
from federates.grid.der.state import DerState


def desired_reactive(k: Constants, st: DerState, lags: Lags, v_meas: FloatArray, p: FloatArray, tripped: BoolArray) -> FloatArray:
    """Reactive power wanted, pu on NP_VA_MAX, for the desired active power `p` (pu on NP_P_MAX).

    The functions that are not in use run along, so that a change of mode finds them settled.
    """
    by_mode = (
        (QMode.CONST_PF, st.const_pf, _run(st, st.const_pf, p * k.q_per_p, lags.const_pf)),
        (QMode.CONST_Q, st.const_q, _run(st, st.const_q, k.s.CONST_Q, lags.const_q)),
        (QMode.QV, st.volt_var, _run(st, st.volt_var, _volt_var(k, st, lags, v_meas, tripped), lags.volt_var)),
        (QMode.QP, st.watt_var, _run(st, st.watt_var, k.watt_var.at(np.where(p < 0.0, p / k.charge_base, p)), lags.watt_var)),
    )
    out = tripped.any()
    q = np.zeros(len(k.s))
    for mode, memory, value in by_mode:
        if out and mode is not QMode.CONST_Q:  # a set-point goes on acting on its lag while the DER is out of service
            memory[:, tripped] = 0.0
        if k.has_mode[mode]:
            np.copyto(q, value, where=k.mode[mode])
    return _transition(k, st, lags, q, tripped)


def _run(st: DerState, memory: FloatArray, reference: FloatArray, coefficients: Lag) -> FloatArray:
    if not st.started[0]:
        memory[:] = reference
    return low_pass(memory, reference, coefficients)


def _volt_var(k: Constants, st: DerState, lags: Lags, v_meas: FloatArray, tripped: BoolArray) -> FloatArray:
    s = k.s
    if not st.started[0]:
        st.vref[:] = v_meas
    slow = low_pass(st.vref, v_meas, lags.vref)
    if tripped.any():
        np.copyto(st.vref, v_meas, where=tripped)
    vref = s.QV_VREF
    if k.any_vref_auto:
        vref = np.where(s.QV_VREF_AUTO_MODE, np.clip(slow, s.QV_VREF_MIN, s.QV_VREF_MAX), vref)
    return k.volt_var.at(v_meas - (vref - 1.0))


def _transition(k: Constants, st: DerState, lags: Lags, q: FloatArray, tripped: BoolArray) -> FloatArray:
    """Ramp Q from its present value after a change of mode, and when a DER that began out of service first enters it."""
    changed = st.q_mode != k.s.Q_MODE
    if not st.started[0]:
        st.q_moving[:] = False
    elif changed.any() or st.q_moving.any():
        moving = (changed | st.q_moving) & ~tripped
        ramped = np.clip(q, st.q_desired_pu - lags.mode_transition_pu, st.q_desired_pu + lags.mode_transition_pu)
        target, q = q, np.where(moving, ramped, q)
        st.q_moving = moving & (q != target)
    np.copyto(st.q_mode, k.s.Q_MODE, where=~tripped)
    q[tripped] = 0.0
    st.q_desired_pu = q
    return q
