"""A fleet of DERs in time: one call a step for all of them, commands, state for study copies, and the settled response."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from federates.grid.der import active, capability, reactive, ride_through, status, storage
from federates.grid.der.blocks import low_pass
from federates.grid.der.constants import Constants, Lags
from federates.grid.der.measure import Voltages, measure
from federates.grid.der.parameters import BoolArray, CodeArray, DerStatus, FloatArray, QMode, Which, rows
from federates.grid.der.settings import DerSettings
from federates.grid.der.state import DerState

SNAPSHOT_S = 1.0  # interval for which a settled response must be within the energy of storage


class DerOutput(NamedTuple):
    """What n DERs deliver: generation and delivered vars positive. Arrays of n; `status` holds `DerStatus` codes."""

    p_w: FloatArray
    q_var: FloatArray
    status: CodeArray


class DerFleet:
    """n DERs with their settings and state. `step` advances them; the time step may differ from call to call."""

    def __init__(self, settings: DerSettings) -> None:
        self._constants = Constants(settings)
        self._state = DerState.initial(settings)

    def __len__(self) -> int:
        return len(self.settings)

    @property
    def settings(self) -> DerSettings:
        return self._constants.s

    @property
    def status(self) -> CodeArray:
        """`DerStatus` codes, shape (n,), a copy."""
        return self._state.status.copy()

    @property
    def soc(self) -> FloatArray:
        """State of charge of storage, pu of NP_BESS_CAPACITY, shape (n,), a copy; of PV without meaning."""
        return self._state.soc.copy()

    @property
    def soc_wh(self) -> FloatArray:
        """Energy stored, Wh, shape (n,)."""
        return self._state.soc * self.settings.NP_BESS_CAPACITY

    def step(self, dt_s: float, v_pu: np.ndarray, f_hz: ArrayLike, p_available_w: ArrayLike = 0.0) -> DerOutput:
        """Advance by `dt_s` to the operating point given, which holds at the end of the step.

        v_pu: terminal voltages on NP_AC_V_NOM (phase to neutral on NP_AC_V_NOM / sqrt 3 of a three-phase DER): (n, 3) complex
        phasors or magnitudes, of which a single-phase DER looks at column 0, or (n,) where balanced. f_hz: one or n. p_available_w:
        DC power that PV could deliver, one or n; storage does not look at it.
        Errors: ValueError for a step that is not positive, or shapes and values that do not fit.
        """
        if not 0.0 < dt_s < np.inf:
            raise ValueError(f"DER time step {dt_s} s: give a positive number")
        lags = self._constants.lags(dt_s)
        return self._advance(self._state, lags, dt_s, v_pu, f_hz, p_available_w, settled=False)

    def steady(
        self,
        v_pu: np.ndarray,
        f_hz: ArrayLike,
        p_available_w: ArrayLike = 0.0,
        *,
        horizon_s: float = np.inf,
        in_service: ArrayLike | None = None,
    ) -> DerOutput:
        """P and Q that the fleet comes to when this operating point is held for `horizon_s`, starting from the present state.

        A response no slower than `horizon_s` has run to rest, a slower one has not begun; ramps have moved for `horizon_s`; trips
        whose time is within it have happened. Who is out of service stays out. `in_service` (n bools) replaces who is in service
        now. The fleet itself is not changed, and energy of storage is not used up. Other arguments as in `step`.
        """
        return self._rest(self._state.copy(), v_pu, f_hz, p_available_w, horizon_s, in_service)

    def settle(
        self, v_pu: np.ndarray, f_hz: ArrayLike, p_available_w: ArrayLike = 0.0, *, in_service: ArrayLike | None = None
    ) -> DerOutput:
        """Bring the fleet itself to rest at an operating point, as `steady` finds it; where a study begins from a snapshot.

        Who is out of service starts its enter service delay anew.
        """
        result = self._rest(self._state, v_pu, f_hz, p_available_w, np.inf, in_service)
        out = result.status == DerStatus.TRIP
        self._state.es_timer_s[out] = 0.0
        self._state.es_ready[out] = False
        return result

    def _rest(
        self,
        st: DerState,
        v_pu: np.ndarray,
        f_hz: ArrayLike,
        p_available_w: ArrayLike,
        horizon_s: float,
        in_service: ArrayLike | None,
    ) -> DerOutput:
        if not horizon_s > 0.0:
            raise ValueError(f"DER horizon {horizon_s} s: give a positive number, or infinity")
        if in_service is not None:
            _put_in_service(st, np.broadcast_to(np.asarray(in_service, dtype=np.bool_), (len(self),)))
        st.es_completed |= (st.status != DerStatus.TRIP) & (horizon_s >= self.settings.ES_RAMP_RATE)
        return self._advance(st, self._constants.settled(horizon_s), horizon_s, v_pu, f_hz, p_available_w, settled=True)

    def _advance(
        self,
        st: DerState,
        lags: Lags,
        dt_s: float,
        v_pu: np.ndarray,
        f_hz: ArrayLike,
        p_available_w: ArrayLike,
        *,
        settled: bool,
    ) -> DerOutput:
        k, n = self._constants, len(self)
        f, p_dc_w = _per_der("f_hz", f_hz, n), _per_der("p_available_w", p_available_w, n)
        v = measure(k, v_pu)
        for name, quantity in (("v_pu", v.high), ("v_pu", v.low), ("f_hz", f)):
            if not np.isfinite(quantity).all():
                raise ValueError(f"{name} of DER {np.flatnonzero(~np.isfinite(quantity))[0]} is not finite")
        v_meas = _measured(k, st, lags, v)
        status.update_status(k, st, v, f, dt_s, entering_allowed=not settled)
        tripped: BoolArray = st.status == DerStatus.TRIP

        p_available = np.maximum(p_dc_w, 0.0) / k.s.NP_P_MAX * k.s.NP_EFFICIENCY
        demand = limits = None
        if k.any_storage:
            if not settled:
                storage.charge(k, st, dt_s)
            limits = storage.power_limits(k, st, SNAPSHOT_S if settled else dt_s)
            demand = storage.ramp_demand(k, st, tripped, lags.storage_pu)
            p_available = np.where(k.storage, 1.0, p_available)
        p = active.desired_active(k, st, lags, v_meas, f, p_available, demand, limits, tripped)
        q = reactive.desired_reactive(k, st, lags, v_meas, p, tripped)
        p, q = capability.limited(k, p, q)
        ride_through.output(k, st, lags, v, p, q, dt_s)
        st.started[0] = True
        return DerOutput(st.p_w.copy(), st.q_var.copy(), st.status.copy())

    def beyond_trip_settings(self, v_pu: np.ndarray, f_hz: ArrayLike) -> bool:
        """Whether the shall-trip timer of any DER would run at this operating point; arguments as in `step`."""
        k, f, v = self._constants, _per_der("f_hz", f_hz, len(self)), measure(self._constants, v_pu)
        low = any(bool((seen < edge).any()) for pairs, seen in ((k.under, v.low), (k.under_f, f)) for edge, _ in pairs)
        return low or any(bool((seen > edge).any()) for pairs, seen in ((k.over, v.high), (k.over_f, f)) for edge, _ in pairs)

    def q_limits(self, p_w: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Least and greatest reactive power (var, n each) that the ratings allow beside active power `p_w` (one or n)."""
        k = self._constants
        p = _per_der("p_w", p_w, len(self)) / k.s.NP_P_MAX
        radius = np.where(p >= 0.0, 1.0, k.va_charge)
        room = np.sqrt(np.maximum(radius**2 - (p * k.p_base) ** 2, 0.0))
        low, high = capability.q_range(k, p, -room), capability.q_range(k, p, room)
        return low * k.s.NP_VA_MAX, high * k.s.NP_VA_MAX

    def state(self) -> dict[str, np.ndarray]:
        """A copy of everything remembered between steps, as plain arrays by name. Settings are not part of it."""
        return self._state.arrays()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to what `state` gave. ValueError if it is of another fleet."""
        self._state = DerState.of(state, len(self))

    def update_settings(self, which: Which, **values: ArrayLike) -> None:
        """New settings of the DERs `which` (indices, a mask or a slice), in force from the next step."""
        self._constants = Constants(self.settings.updated(which, **values))

    def permit_service(self, which: Which, permitted: bool) -> None:
        """Withdraw permission (the DERs trip at the next step) or give it (they enter service after their delay and ramp)."""
        self.update_settings(which, ES_PERMIT_SERVICE=permitted)

    def trip(self, which: Which) -> None:
        """Trip once at the next step; the DERs may enter service again after their delay and ramp."""
        self._state.trip_order[rows(which, len(self))] = True

    def connect(self, which: Which, closed: bool) -> None:
        """Open or close the DERs' own switches; open ones are out of service, closed ones enter it after their delay and ramp."""
        self._state.connected[rows(which, len(self))] = closed

    def limit_p(self, which: Which, limit_w: ArrayLike | None) -> None:
        """Limit active power to `limit_w` (below 0: charge at least so much) at the ramp of AP_RT; None lifts the limit."""
        if limit_w is None:
            self.update_settings(which, AP_LIMIT_ENABLE=False)
            return
        s = self.settings
        limit = np.asarray(limit_w, dtype=np.float64)
        base = np.where(limit > 0.0, s.NP_P_MAX[rows(which, len(self))], s.NP_P_MAX_CHARGE[rows(which, len(self))])
        self.update_settings(which, AP_LIMIT_ENABLE=True, AP_LIMIT=np.clip(limit / base, -1.0, 1.0))

    def set_q(self, which: Which, q_var: ArrayLike) -> None:
        """Constant reactive power mode at `q_var`, delivered vars positive."""
        q = np.asarray(q_var, dtype=np.float64) / self.settings.NP_VA_MAX[rows(which, len(self))]
        self.update_settings(which, Q_MODE=QMode.CONST_Q, CONST_Q=np.clip(q, -1.0, 1.0))

    def set_p(self, which: Which, p_w: ArrayLike) -> None:
        """Set-point of storage, discharging positive; in force from the next step. ValueError for a DER that is not storage."""
        index = rows(which, len(self))
        other = index[~self._constants.storage[index]]
        if other.size:
            raise ValueError(f"DER {other[0]} is PV and takes no active power set-point: limit_p limits it")
        self._state.p_demand_w[index] = p_w

    def set_soc(self, which: Which, soc: ArrayLike) -> None:
        """Set the state of charge, pu. ValueError outside 0 to 1."""
        value = np.asarray(soc, dtype=np.float64)
        if not ((value >= 0.0) & (value <= 1.0)).all():
            raise ValueError(f"state of charge {value}: give 0 to 1")
        self._state.soc[rows(which, len(self))] = value


def _per_der(name: str, value: ArrayLike, n: int) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (n,)):
        raise ValueError(f"{name} has shape {array.shape}; give one value or {n}")
    return array if array.shape == (n,) else np.full(n, float(array))


def _measured(k: Constants, st: DerState, lags: Lags, v: Voltages) -> FloatArray:
    """The voltage that volt-var and volt-watt follow, after the measurement's own lag."""
    followed = np.where(k.v_positive, v.positive, v.mean) if k.any_positive else v.mean
    if not st.started[0]:
        st.v_meas[:] = followed
    return low_pass(st.v_meas, followed, lags.v_meas)


def _put_in_service(st: DerState, wanted: BoolArray) -> None:
    """Make the DERs `wanted` those in service, with their enter service behind them."""
    begun = wanted & (st.status == DerStatus.TRIP)
    st.status = np.where(wanted, np.where(begun, np.int8(DerStatus.CONTINUOUS), st.status), np.int8(DerStatus.TRIP))
    st.es_completed |= begun
    st.es_ramp_pu[begun] = active.RAMP_TOP_PU
    st.connected |= begun
