"""Operating status: trip, enter service, ride-through (IEEE 1547-2018 clauses 4.10, 6.4, 6.5)."""

from __future__ import annotations

import numpy as np

from federates.grid.der.blocks import timer
from federates.grid.der.constants import Constants
from federates.grid.der.measure import Voltages
from federates.grid.der.parameters import BoolArray, DerStatus, FloatArray
from federates.grid.der.state import DerState

# Continuous operation (clause 6.4.2.1 and table 19); the bounds of frequency ride-through overlap it on the low side
V_CONTINUOUS_PU = (0.88, 1.1)
F_MANDATORY_HZ = (58.8, 61.2)
F_DEFINED_HZ = (57.0, 61.8)


def update_status(k: Constants, st: DerState, v: Voltages, f_hz: FloatArray, dt_s: float, *, entering_allowed: bool = True) -> None:
    """Advance every timer by `dt_s` and set `st.status`."""
    permitted = k.s.ES_PERMIT_SERVICE & st.connected & ~st.trip_order
    enter = _enter_service(k, st, v, f_hz, dt_s, permitted)
    trip = _trip(k, st, v, f_hz, dt_s) | ~permitted
    tripped = st.status == DerStatus.TRIP
    if entering_allowed:
        tripped &= ~enter
    status = _in_service(k, st, v, f_hz)
    status[tripped | trip] = DerStatus.TRIP
    st.status = status
    st.trip_order[:] = False


def _trip(k: Constants, st: DerState, v: Voltages, f_hz: FloatArray, dt_s: float) -> BoolArray:
    """Where one of the eight shall-trip timers has run out."""
    trip = np.zeros(len(k.s), dtype=np.bool_)
    rows = iter(st.trip_timer_s)
    for settings, quantity in ((k.under, v.low), (k.over, v.high), (k.under_f, f_hz), (k.over_f, f_hz)):
        for threshold, time_s in settings:
            outside = quantity < threshold if settings is k.under or settings is k.under_f else quantity > threshold
            reached = timer(next(rows), outside, time_s, dt_s)
            if reached is not None:
                trip |= reached
    return trip


def _enter_service(k: Constants, st: DerState, v: Voltages, f_hz: FloatArray, dt_s: float, permitted: BoolArray) -> BoolArray:
    """Where the enter service criteria have held for the delay, and for the randomized delay after it."""
    s = k.s
    inside = (v.low >= s.ES_V_LOW) & (v.high <= s.ES_V_HIGH) & (f_hz >= s.ES_F_LOW) & (f_hz <= s.ES_F_HIGH) & permitted
    ready = timer(st.es_timer_s, inside, s.ES_DELAY, dt_s)
    if ready is None:
        ready = inside
    begun = ready & ~st.es_ready
    st.es_wait_s = np.where(begun, s.ES_RANDOMIZED_DELAY_ACTUAL, st.es_wait_s - dt_s)
    st.es_ready = ready
    return ready & ((st.es_wait_s <= 0.0) | (dt_s > s.ES_RANDOMIZED_DELAY_ACTUAL))


def _in_service(k: Constants, st: DerState, v: Voltages, f_hz: FloatArray) -> np.ndarray:
    """Status of a DER that is in service: the region that its voltage and frequency are in."""
    status = np.where(st.es_completed, np.int8(DerStatus.CONTINUOUS), np.int8(DerStatus.ENTERING_SERVICE))
    v_low, v_high = V_CONTINUOUS_PU
    f_low, f_high = F_MANDATORY_HZ
    abnormal_v = (v.low < v_low) | (v.high > v_high)
    abnormal_f = (f_hz <= f_low) | (f_hz >= f_high)
    if not (abnormal_v.any() or abnormal_f.any()):
        return status
    status[(abnormal_v | abnormal_f) & k.rides_through] = DerStatus.MANDATORY
    status[(v.high > k.permissive_above) | (v.low < k.permissive_below)] = DerStatus.PERMISSIVE
    status[(v.high > k.cease_above) | (v.low < k.cease_below)] = DerStatus.CEASE_TO_ENERGIZE
    status[k.momentary & abnormal_v & ((v.high >= k.s.MC_HVRT_V1) | (v.low <= k.s.MC_LVRT_V1))] = DerStatus.MOMENTARY_CESSATION
    status[((f_hz < F_DEFINED_HZ[0]) | (f_hz > F_DEFINED_HZ[1])) & k.rides_through] = DerStatus.NOT_DEFINED
    return status
