"""State of charge of storage and the power it allows."""

from __future__ import annotations

import numpy as np

from federates.grid.der.constants import Constants
from federates.grid.der.parameters import FloatArray
from federates.grid.der.state import DerState


def charge(k: Constants, st: DerState, dt_s: float) -> None:
    """Move `st.soc` by the power of the last step held for `dt_s`. The whole round-trip loss is taken while charging."""
    s = k.s
    into_w = np.where(st.p_w > 0.0, -st.p_w, -s.NP_EFFICIENCY * st.p_w)
    per_hour = into_w / s.NP_BESS_CAPACITY - s.NP_BESS_SELF_DISCHARGE - s.NP_BESS_SELF_DISCHARGE_SOC * st.soc
    st.soc = np.maximum(st.soc + per_hour * (dt_s / 3600.0), 0.0)


def power_limits(k: Constants, st: DerState, dt_s: float) -> tuple[FloatArray, FloatArray]:
    """Greatest charging and discharging power now, pu on NP_P_MAX, both positive.

    By state of charge, and such that the state of charge does not leave its limits within `dt_s`.
    """
    s = k.s
    leak = s.NP_BESS_SELF_DISCHARGE + s.NP_BESS_SELF_DISCHARGE_SOC * st.soc
    per_soc = s.NP_BESS_CAPACITY / s.NP_P_MAX
    room = np.maximum((s.NP_BESS_SOC_MAX - st.soc) * (3600.0 / dt_s) + leak, 0.0) * per_soc / s.NP_EFFICIENCY
    stock = np.maximum((st.soc - s.NP_BESS_SOC_MIN) * (3600.0 / dt_s) - leak, 0.0) * per_soc
    charging = np.minimum(k.charge_limit.at(st.soc) * k.charge_base, room)
    discharging = np.minimum(k.discharge_limit.at(st.soc), np.minimum(stock, 1.0))
    return charging, discharging


def ramp_demand(k: Constants, st: DerState, tripped: np.ndarray, step_pu: FloatArray) -> FloatArray:
    """The set-point of storage after its own ramp, pu on NP_P_MAX; from 0 after a trip."""
    demand = st.p_demand_w / k.s.NP_P_MAX
    if st.started[0]:
        demand = np.clip(demand, st.p_demand_ramp_pu - step_pu, st.p_demand_ramp_pu + step_pu)
    demand[tripped] = 0.0
    st.p_demand_ramp_pu = demand
    return demand
