"""From limited P and Q to what flows: cessation, dynamic voltage support, current limit, recovery (IEEE 1547-2018 clause 6.4.2)."""

from __future__ import annotations

import numpy as np

from federates.grid.der.blocks import timer
from federates.grid.der.constants import Constants, Lags
from federates.grid.der.measure import A, Voltages
from federates.grid.der.parameters import BoolArray, ComplexArray, DerStatus, FloatArray
from federates.grid.der.state import CEASED, NORMAL, SUPPORT, TRIPPED, DerState

V_LEAST_PU = 1e-4  # keeps the current finite at no voltage
# The active current that fits beside the reactive one is found to this part of itself, rounded down, as in OpenDER
CURRENT_STEP = 1e-4


def output(k: Constants, st: DerState, lags: Lags, v: Voltages, p: FloatArray, q: FloatArray, dt_s: float) -> None:
    """Set `st.p_w` and `st.q_var` from limited `p` and `q` (pu on NP_VA_MAX) at voltages `v`."""
    _control(k, st, dt_s)
    volts = np.maximum(v.positive, V_LEAST_PU)
    active, reactive = p / volts, q / volts  # reactive current counted positive when it delivers vars
    negative = None
    supporting = st.control == SUPPORT
    if k.any_support and supporting.any():
        reactive = np.where(supporting, reactive - (v.positive - 1.0) * k.s.DVS_K, reactive)
        if v.negative is not None:
            negative = np.where(supporting, 1j * v.negative * k.s.DVS_K, 0.0)
    active, reactive = _limit(k, active, reactive, negative)

    flows = st.control <= SUPPORT
    active = _recover(st, lags, active, flows)
    if lags.current_passes and flows.all():
        _remember(st, active, reactive, v.direction)
    else:
        active, reactive = _lagged(st, lags, active, reactive, v.direction, flows)
        stopped = ~flows
        ceased = st.control == CEASED
        active[stopped], reactive[stopped] = 0.0, 0.0
        if ceased.any():
            filter_pu = k.s.NP_REACTIVE_SUSCEPTANCE * k.s.NP_AC_V_NOM**2 / k.s.NP_VA_MAX
            reactive[ceased] = (v.positive * filter_pu)[ceased]
    st.p_w = active * v.positive * k.s.NP_VA_MAX
    st.q_var = reactive * v.positive * k.s.NP_VA_MAX


def _control(k: Constants, st: DerState, dt_s: float) -> None:
    """What the current control does, given the status and its response times."""
    s, status = k.s, st.status
    cease, momentary = status == DerStatus.CEASE_TO_ENERGIZE, status == DerStatus.MOMENTARY_CESSATION
    away = cease | momentary
    returned = timer(st.mc_return_timer_s, ~away, s.MC_RETURN_T, dt_s)
    if returned is not None:
        st.control[returned] = NORMAL
        if k.any_support:
            riding = (status == DerStatus.MANDATORY) | (status == DerStatus.PERMISSIVE)
            st.control[returned & riding & s.DVS_MODE_ENABLE] = SUPPORT
    st.control[status == DerStatus.TRIP] = TRIPPED
    for elapsed_s, condition, limit_s in ((st.cease_timer_s, cease, s.NP_CTE_RESP_T), (st.mc_timer_s, momentary, s.MC_RESP_T)):
        reached = timer(elapsed_s, condition, limit_s, dt_s)
        if reached is not None:
            st.control[reached] = CEASED


def _limit(k: Constants, active: FloatArray, reactive: FloatArray, negative: ComplexArray | None) -> tuple[FloatArray, FloatArray]:
    """Cut to the current rating of the worst phase: active current gives way first, reactive only when it alone is too much."""
    limit = k.s.NP_CURRENT_PU
    if negative is None:
        over = active * active + reactive * reactive > limit * limit
    else:
        over = _worst_phase(active, reactive, negative) > limit
    if not over.any():
        return active, reactive
    rows = np.flatnonzero(over)
    d, q, top = active[rows], reactive[rows], limit[rows]
    unbalance = np.zeros(rows.size, dtype=np.complex128) if negative is None else negative[rows]
    worst = _worst_phase(np.zeros_like(d), q, unbalance)
    too_much = worst > top
    part = np.full(rows.size, np.inf)
    for turn in (1.0, A, np.conj(A)):
        # in each phase |x d + rest| = top for the part x of the active current
        rest = -1j * q + turn * unbalance
        b, c = d * rest.real, np.abs(rest) ** 2 - top**2
        root = (np.sqrt(np.maximum(b * b - d * d * c, 0.0)) - b) / np.maximum(d * d, 1e-30)
        part = np.minimum(part, root)
    part = np.floor(np.clip(part, 0.0, 1.0) / CURRENT_STEP) * CURRENT_STEP
    active, reactive = active.copy(), reactive.copy()
    active[rows] = np.where(too_much, 0.0, d * part)
    reactive[rows] = np.where(too_much, q * top / np.maximum(worst, top), q)
    return active, reactive


def _worst_phase(active: FloatArray, reactive: FloatArray, negative: ComplexArray) -> FloatArray:
    # seen from each phase's positive sequence, the negative one is turned by 0 and by +-120 degrees
    positive = active - 1j * reactive
    magnitudes = [np.abs(positive + turn * negative) for turn in (1.0, A, np.conj(A))]
    worst: FloatArray = np.maximum(np.maximum(magnitudes[0], magnitudes[1]), magnitudes[2])
    return worst


def _recover(st: DerState, lags: Lags, active: FloatArray, flows: BoolArray) -> FloatArray:
    """Ramp of the active current away from zero, after a cessation; it starts again from zero while none flows."""
    if st.started[0]:
        up = np.where(st.i_generating, lags.current_up_pu, np.inf)
        down = np.where(st.i_generating, np.inf, lags.current_up_pu)
        active = np.clip(active, st.i_active_pu - down, st.i_active_pu + up)
    st.i_active_pu = np.where(flows, active, 0.0)
    np.copyto(st.i_generating, active >= 0.0, where=flows)
    return active


def _phasor(active: FloatArray, reactive: FloatArray, direction: ComplexArray | None) -> ComplexArray:
    current = np.empty(active.size, dtype=np.complex128)
    current.real, current.imag = active, -reactive
    if direction is not None:
        current *= direction
    return current


def _remember(st: DerState, active: FloatArray, reactive: FloatArray, direction: ComplexArray | None) -> None:
    st.current[:] = _phasor(active, reactive, direction)


def _lagged(
    st: DerState, lags: Lags, active: FloatArray, reactive: FloatArray, direction: ComplexArray | None, flows: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """The current after its lag. The lag acts on the phasor, so a jump of the voltage's angle shows in P and Q."""
    target = _phasor(active, reactive, direction)
    if not st.started[0]:
        st.current[:] = target
    current = lags.current.now * target + lags.current.before * st.current[0] + lags.current.held * st.current[1]
    st.current[0], st.current[1] = target, current
    st.current[:, ~flows] = 0.0
    if direction is not None:
        current = current * np.conj(direction)
    return current.real.copy(), -current.imag
