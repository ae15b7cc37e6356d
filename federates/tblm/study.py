"""A feeder of the builder's own, on which operating points are tried out. Never the live one.

    fast(v, f)     taps and capacitors as in the snapshot; DER after what they do within `FAST_S`
    settled(v, f)  every control at rest: regulators, capacitor controls and DER

Both start from the snapshot at every point, never from the neighbouring one, so that they are functions of (v, f). DER deliver
their snapshot power at first, and what trips on that way stays out, as it would for minutes; on the way to rest they act before
the first regulator does.

Whole taps would not give a function worth a table: where a regulator stops depends on every step it took, and on IEEE 34 the
bus power jumps by 1 % between neighbouring voltages. So regulators rest as they would on the average over the chances of single
taps: one that is still inside its band has not moved; one that left it has come back to half a tap within the edge it crossed
(`Rest`). A real one is within half a tap of that. Capacitor controls are switched in whole steps, by the engine.

Frequency enters through the loads' kpf and kqf and the DER only. The network stays at nominal frequency: OpenDSS loads have no
frequency response, and its own frequency setting, changed alone, yields 0 W with "converged".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federates.grid.der import DerFleet, DerSettings, DerStatus, DerType
from federates.grid.feeder import Feeder, FeederError, FeederModel, FeederState
from federates.grid.load import frequency_response
from federates.tblm.neighbours import At, Neighbours
from federates.tblm.rest import RATIO_STILL, Rest, StudyError
from federates.tblm.secants import Secants

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

__all__ = ["FAST_S", "Base", "Point", "Study", "StudyError"]

FAST_S = 2.0
_ITERATIONS = 40
_DER_TOLERANCE = 4e-4  # P and Q by which all DER together may miss their answer, of the rating of all
_MARGIN_PU = 0.03
_NEARLY_AT_REST = 0.005  # less than a tap


class Base(NamedTuple):
    """What every point starts from. Loads at nominal voltage and frequency, as `Feeder.set_loads` takes them."""

    state: FeederState
    load_p_w: Floats
    load_q_var: Floats
    v_pu: float
    f_hz: float
    der_in_service: Bools
    der_available_w: Floats
    der_p_w: Floats  # as measured, generation positive; NaN where it is not known
    der_q_var: Floats
    storage_wh: Floats | None = None  # stored by each DER that is storage, in their order; NaN where it is not known


class Point(NamedTuple):
    """Head power of the feeder at one (v, f); `mark` tells states apart between which P and Q jump."""

    p_w: float
    q_var: float
    mark: bytes
    load_v_min: float
    load_v_max: float


class Study:
    """A feeder with its DER. `settings` may be None for a model without DER sites. Errors: FeederError as `Feeder`, ValueError
    where settings and sites differ in number."""

    def __init__(self, model: FeederModel, settings: DerSettings | None = None) -> None:
        self.feeder = Feeder(model)
        self.rest = self.feeder.state()
        n, given = len(self.feeder.der_names), len(settings) if settings is not None else 0
        if n != given:
            self.feeder.close()
            raise ValueError(f"{n} DER sites in the feeder model, {given} in the DER settings; give one setting a site")
        self.settings = settings if n else None
        self.first_control_s = _first_control_s(model)
        self._three = settings.NP_PHASE == 3.0 if settings is not None else np.zeros(0, bool)
        self._fleet: DerFleet | None = None
        self._offset_p_w = self._offset_q_var = np.zeros(n)
        self._rated_va = float(settings.NP_VA_MAX.sum()) if settings is not None and n else 1.0
        self._der = self._der0 = np.zeros(2 * n)  # P, then Q, as parts of the rating of all
        self._neighbours = Neighbours()
        self._fast_steps, self._settled_steps = Secants(), Secants()
        self._v_range = (1.0, 1.0)
        self._rest = Rest(self.feeder)
        self._base: Base | None = None
        self._whole: tuple[Base, Floats] | None = None
        self._opened: list[str] = []
        self._loads_at_hz = np.nan

    def close(self) -> None:
        """Free the engine's memory."""
        self.feeder.close()

    def operate_as_measured(self, base: Base) -> None:
        """Solve a snapshot itself: its taps, loads and DER. StudyError where the flow does not converge."""
        self._base, self._whole = base, None
        self._loads_at_hz = np.nan
        self._rest.leave()
        self.feeder.restore(base.state)
        self._operate(base.v_pu, base.f_hz)
        if self.settings is not None:
            p_w = np.where(np.isfinite(base.der_p_w), base.der_p_w, np.where(base.der_in_service, base.der_available_w, 0.0))
            self.feeder.set_der(p_w, np.nan_to_num(base.der_q_var))
        self._solve()

    def begin(self, base: Base) -> None:
        """Take a snapshot's state as what every point starts from. StudyError where its own flow does not converge."""
        self.operate_as_measured(base)
        self._rest.begin()
        self._neighbours.begin()
        if self.settings is None:
            return
        self._fleet = fleet = DerFleet(self.settings)
        storage = np.flatnonzero(self.settings.NP_TYPE == DerType.STORAGE)
        if storage.size:
            fleet.set_p(storage, np.nan_to_num(base.der_p_w)[storage])
        v = self.der_terminals()
        self._v_range = (float(v.min()) / base.v_pu, float(v.max()) / base.v_pu)
        out = fleet.settle(v, base.f_hz, base.der_available_w, in_service=base.der_in_service)
        # Set-points and limits that telemetry does not carry show as a difference to the model, kept while the DER is in service.
        self._offset_p_w = np.where(base.der_in_service & np.isfinite(base.der_p_w), base.der_p_w - out.p_w, 0.0)
        self._offset_q_var = np.where(base.der_in_service & np.isfinite(base.der_q_var), base.der_q_var - out.q_var, 0.0)
        self._der0 = np.concatenate((out.p_w + self._offset_p_w, out.q_var + self._offset_q_var)) / self._rated_va

    def ders_at_rest(self) -> tuple[DerFleet | None, tuple[Floats, Floats]]:
        """A copy of the DER as `begin` found them, to be stepped in time (None without DER), and what they give, W and var."""
        self._begun()
        p_w, q_var = self._der0.reshape(2, -1) * self._rated_va
        if self.settings is None or self._fleet is None:
            return None, (p_w, q_var)
        copy = DerFleet(self.settings)
        copy.restore(self._fleet.state())
        return copy, (p_w, q_var)

    @property
    def der_offset(self) -> tuple[Floats, Floats]:
        """What DER were measured to give beyond what their model says, W and var: limits and set-points that
        telemetry does not carry."""
        return self._offset_p_w, self._offset_q_var

    def curtail(self, load_left: Floats, der_left: Floats, opened: Sequence[str] = ()) -> None:
        """From now on this part [n_loads] of each load, the DER [n_der] of which more than half is left, and these lines open,
        until `restore_all`. StudyError without a snapshot."""
        base, der0 = self._begun(), self._der0
        self._whole = base, der0
        p_w, q_var = base.load_p_w * load_left, base.load_q_var * load_left
        on = base.der_in_service & (der_left > 0.5)
        self._base, self._der0 = base._replace(load_p_w=p_w, load_q_var=q_var, der_in_service=on), der0 * np.tile(on, 2)
        self._opened = [line for line in opened if self.feeder.set_switch(line, False)]
        self._loads_at_hz = np.nan

    def restore_all(self) -> None:
        """Take back what `curtail` did."""
        if self._whole is None:
            return
        self._base, self._der0 = self._whole
        self._whole = None
        for line in self._opened:
            self.feeder.set_switch(line, True)
        self._loads_at_hz = np.nan

    # ---- the two kinds of point

    def fast(self, v_pu: float, f_hz: float) -> Point:
        """The bus within `FAST_S` after a change to (v, f). StudyError where the flow does not converge."""
        base = self._begun()
        self._rest.go_back()
        self._operate(v_pu, f_hz)
        state = _DerState(base.der_in_service, np.zeros(base.der_in_service.size, bool))
        if self._fleet is None:
            self._solve()
            return self._point(state)
        self._set_der(self._der0)
        self._fast_steps.begin()
        for _ in range(_ITERATIONS):
            self._solve()
            before = state
            state, miss, moved = self._answer(f_hz, FAST_S, state)
            if moved <= _DER_TOLERANCE and state.same(before):
                return self._point(state)
            self._set_der(self._fast_steps.next(self._der, miss) if state.same(before) else self._der + miss)
        raise StudyError(f"fast at V = {v_pu:.4f} pu, f = {f_hz:.3f} Hz: DER and network do not come to rest")

    def settled(self, v_pu: float, f_hz: float) -> Point:
        """The bus at (v, f) with every control at rest. StudyError where the flow does not converge or the controls hunt."""
        base, rest = self._begun(), self._rest
        state = _DerState(base.der_in_service, np.zeros(base.der_in_service.size, bool))
        first = self._fleet is not None and self._may_trip(v_pu, f_hz)
        if first or rest.whole_steps:
            rest.go_back()
        self._operate(v_pu, f_hz)
        if first:
            self._set_der(self._der0)
            self._solve()
            state, miss, _ = self._answer(f_hz, self.first_control_s, state)
            self._set_der(self._der + miss)
            state = _DerState(state.in_service, np.zeros_like(state.ceased))  # what only ceased comes back as regulators act
        if guess := self._neighbours.guess(v_pu, f_hz, state.in_service):
            rest.start_at(guess.ratios)
            self._set_der(guess.der)
        rest.switch_capacitors()
        self._settled_steps.begin()
        for _ in range(_ITERATIONS):
            self._solve()
            ratios, shift = rest.proposed()
            if shift > _NEARLY_AT_REST:
                rest.start_at(ratios)
                continue
            new, miss, moved = self._answer(f_hz, np.inf, state)
            before = state
            # DER are not to trip for good on voltages that only the way to the solution has
            state = new if moved <= 100.0 * _DER_TOLERANCE else state
            at, short = np.concatenate((self._der, rest.ratios)), np.concatenate((miss, ratios - rest.ratios))
            then = self._settled_steps.next(at, short) if new.same(before) else at + short
            there = At(then[self._der.size :], then[: self._der.size])
            if shift <= RATIO_STILL and moved <= _DER_TOLERANCE and state.same(before):
                if not state.ceased.any():
                    self._neighbours.add(v_pu, f_hz, state.in_service, there)
                return self._point(state)
            rest.start_at(there.ratios)
            self._set_der(there.der)
        raise StudyError(f"settled at V = {v_pu:.4f} pu, f = {f_hz:.3f} Hz: regulators and DER do not come to rest")

    # ---- internals

    def _begun(self) -> Base:
        if self._base is None:
            raise StudyError("no snapshot: call begin first")
        return self._base

    def _operate(self, v_pu: float, f_hz: float) -> None:
        base, feeder = self._begun(), self.feeder
        feeder.set_source(v_pu)
        if f_hz != self._loads_at_hz:
            feeder.set_loads(*frequency_response(base.load_p_w, base.load_q_var, feeder.load_class, f_hz, feeder.model.base_hz))
            self._loads_at_hz = f_hz

    def _solve(self) -> None:
        try:
            self.feeder.solve()
        except FeederError as error:
            raise StudyError(str(error)) from error

    def der_terminals(self) -> Floats:
        """Voltages that the DERs see, [n, 3]; a DER of one or two phases sees their mean in the first column."""
        v = self.feeder.der_v_pu()
        if self._three.all():
            return v
        mean = np.nanmean(v, axis=1, keepdims=True)
        return np.asarray(np.where(self._three[:, None], v, mean))

    def _may_trip(self, v_pu: float, f_hz: float) -> bool:
        """Whether a DER may leave service with taps standing still; judged with a margin by the snapshot's terminal
        voltages."""
        assert self.settings is not None
        s, (low, high) = self.settings, self._v_range
        quiet_v = low * v_pu > s.UV1_TRIP_V.max() + _MARGIN_PU and high * v_pu < s.OV1_TRIP_V.min() - _MARGIN_PU
        quiet_f = max(s.UF1_TRIP_F.max(), s.UF2_TRIP_F.max()) < f_hz < min(s.OF1_TRIP_F.min(), s.OF2_TRIP_F.min())
        return not (quiet_v and quiet_f)

    def _answer(self, f_hz: float, horizon_s: float, state: _DerState) -> tuple[_DerState, Floats, float]:
        """What the DER say to the voltages of the last solve: their new state, by how much they miss it, and the sum of that.

        Who has tripped or ceased stays so: else a DER that ceases at 1.1 pu would come back as soon as its own absence has
        lowered the voltage, and never rest."""
        base, fleet = self._begun(), self._fleet
        if fleet is None:
            return state, np.zeros(0), 0.0
        out = fleet.steady(self.der_terminals(), f_hz, base.der_available_w, horizon_s=horizon_s, in_service=state.in_service)
        in_service = state.in_service & (out.status != DerStatus.TRIP)
        ceasing = (out.status == DerStatus.MOMENTARY_CESSATION) | (out.status == DerStatus.CEASE_TO_ENERGIZE)
        ceased = in_service & (state.ceased | ceasing)
        flows = in_service & ~ceased
        p = np.where(flows, out.p_w + self._offset_p_w, 0.0)
        q = np.where(flows, out.q_var + self._offset_q_var, np.where(ceasing, out.q_var, 0.0))
        miss = np.concatenate((p, q)) / self._rated_va - self._der
        return _DerState(in_service, ceased), miss, float(np.abs(miss).sum())

    def _set_der(self, der: Floats) -> None:
        self._der = der
        self.feeder.set_der(*(der.reshape(2, -1) * self._rated_va))

    def _point(self, state: _DerState) -> Point:
        p, q = self.feeder.head()
        v = self.feeder.load_v_pu()
        mark = np.packbits(state.in_service).tobytes() + np.packbits(state.ceased).tobytes() + self._rest.capacitors
        return Point(float(p.sum()), float(q.sum()), mark, float(v.min()), float(v.max()))


class _DerState(NamedTuple):
    """Which DER are in service, and which of them deliver nothing because of the voltage."""

    in_service: Bools
    ceased: Bools

    def same(self, other: _DerState) -> bool:
        return np.array_equal(self.in_service, other.in_service) and np.array_equal(self.ceased, other.ceased)


def _first_control_s(model: FeederModel) -> float:
    """When the first regulator may move: the substation's delay or that given for the file's own; 15 s, the engine's default,
    where neither is given."""
    delays = [model.regulator_delay_s] if model.regulator_delay_s is not None else [15.0]
    if model.substation is not None and model.substation.ltc is not None:
        delays.append(model.substation.ltc.delay_s)
    return min(delays)
