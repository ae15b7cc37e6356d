"""Everything a fleet remembers between two steps, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from federates.grid.der.parameters import BoolArray, CodeArray, ComplexArray, DerStatus, FloatArray
from federates.grid.der.settings import DerSettings

NORMAL, SUPPORT, CEASED, TRIPPED = 0, 1, 2, 3  # what the current control does


@dataclass
class DerState:
    """State of n DERs; arrays of n. A (2, n) array is the memory of a lag: last input, last output."""

    started: BoolArray  # shape (1,): False before the first step, when lags and ramps start at rest on their input
    status: CodeArray
    connected: BoolArray  # own switch closed
    trip_order: BoolArray  # trip at the next step
    trip_timer_s: FloatArray  # (8, n): UV1 UV2 OV1 OV2 UF1 UF2 OF1 OF2
    es_timer_s: FloatArray
    es_wait_s: FloatArray  # left of the randomized delay
    es_ready: BoolArray  # enter service criteria met at the last step
    es_ramp_pu: FloatArray
    es_completed: BoolArray
    v_meas: FloatArray
    vref: FloatArray
    volt_var: FloatArray
    watt_var: FloatArray
    const_pf: FloatArray
    const_q: FloatArray
    volt_watt: FloatArray
    droop: FloatArray
    q_mode: CodeArray  # mode of the last step in service; -1 before the first
    q_moving: BoolArray  # in transition from one mode to another
    q_desired_pu: FloatArray
    ap_limit_pu: FloatArray
    droop_known: BoolArray  # the droop function has run
    droop_under: BoolArray  # frequency below its deadband at the last step in service
    droop_over: BoolArray
    droop_under_active: BoolArray
    droop_over_active: BoolArray
    droop_p_pre_pu: FloatArray  # power before the disturbance
    control: CodeArray
    cease_timer_s: FloatArray
    mc_timer_s: FloatArray
    mc_return_timer_s: FloatArray
    i_active_pu: FloatArray  # memory of its ramp
    i_generating: BoolArray  # sign of the last active current that flowed
    current: ComplexArray  # (2, n): lag of the current phasor
    p_w: FloatArray
    q_var: FloatArray
    p_demand_w: FloatArray  # set-point of storage
    p_demand_ramp_pu: FloatArray
    soc: FloatArray

    @classmethod
    def initial(cls, s: DerSettings) -> Self:
        """At rest, nothing measured yet. Timers start run out: a condition there from the start is taken as long-standing."""
        n = len(s)
        zero, no, pair = np.zeros(n), np.zeros(n, dtype=np.bool_), np.zeros((2, n))
        trip_times = (
            s.UV1_TRIP_T,
            s.UV2_TRIP_T,
            s.OV1_TRIP_T,
            s.OV2_TRIP_T,
            s.UF1_TRIP_T,
            s.UF2_TRIP_T,
            s.OF1_TRIP_T,
            s.OF2_TRIP_T,
        )
        given = {
            "started": np.zeros(1, dtype=np.bool_),
            "status": np.where(s.STATUS_INIT, DerStatus.CONTINUOUS, DerStatus.TRIP).astype(np.int8),
            "connected": ~no,
            "trip_timer_s": np.stack(trip_times),
            "es_timer_s": s.ES_DELAY.copy(),
            "es_ready": ~no,
            "es_ramp_pu": np.where(s.STATUS_INIT, 1.1, 0.0),
            "es_completed": s.STATUS_INIT.copy(),
            "q_mode": np.full(n, -1, dtype=np.int8),
            "ap_limit_pu": np.ones(n),
            "control": np.full(n, TRIPPED, dtype=np.int8),
            "cease_timer_s": s.NP_CTE_RESP_T.copy(),
            "mc_timer_s": s.MC_RESP_T.copy(),
            "mc_return_timer_s": s.MC_RETURN_T.copy(),
            "i_generating": ~no,
            "current": np.zeros((2, n), dtype=np.complex128),
            "soc": s.SOC_INIT.copy(),
        }
        lags = ("v_meas", "vref", "volt_var", "watt_var", "const_pf", "const_q", "volt_watt", "droop")
        flags = ("trip_order", "q_moving", "droop_known", "droop_under", "droop_over", "droop_under_active", "droop_over_active")
        given.update({name: pair.copy() for name in lags}, **{name: no.copy() for name in flags})
        return cls(**{item.name: given.get(item.name, zero.copy()) for item in fields(cls)})

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of all arrays, by name."""
        return {name: array.copy() for name, array in vars(self).items()}

    def copy(self) -> Self:
        """The same state in arrays of its own."""
        return type(self)(**self.arrays())

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], n: int) -> Self:
        """From what `arrays` gave, copied; ValueError if a name is missing or the number of DERs is another one."""
        names = [item.name for item in fields(cls)]
        if sorted(arrays) != sorted(names):
            raise ValueError(f"state of another kind of fleet: names {sorted(set(arrays) ^ set(names))} are missing or too many")
        if arrays["status"].shape != (n,):
            raise ValueError(f"state of {arrays['status'].shape[0]} DERs, the fleet has {n}")
        return cls(**{name: arrays[name].copy() for name in names})
