"""The EMS's own picture of the transmission system: power flow and N-1, with TBLM curves and, beside it, with constant P and Q.

The two ways differ at the TBLM buses alone. All other load follows voltage by the exponents of the EMS's own model and frequency by
its damping, in both ways alike. So does, with TBLMs, what a TBLM bus draws beside its feeders: measured power less the curve's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from federates.grid.contingency import contingencies
from federates.grid.fleet import FrequencySettings
from federates.grid.frequency import FrequencyResponse
from federates.grid.transmission import LoadCurve, PowerFlow, Transmission, TransmissionError, TransmissionModel
from federates.tblm.model import CurveSet, Tblm, at_frequency, evaluate

FloatArray = NDArray[np.float64]
Method = Literal["with_constant", "with_tblm"]
_TOLERANCE_PU = 1e-7  # of voltages: a hundredth of what telemetry resolves
_RIDE_S, _RIDE_STEP_S, _REST_STEP_S = 15.0, 0.5, 15.0  # fine while frequency swings


@dataclass(frozen=True)
class Telemetry:
    """The transmission system as measured at `t_ns`, in the order of the network's names; statuses: 1 is in service."""

    t_ns: int
    f_hz: float
    v_pu: FloatArray
    load_p_w: FloatArray
    load_q_var: FloatArray
    line_status: FloatArray
    gen_p_w: FloatArray
    gen_status: FloatArray


class View:
    """A network of its own, set to telemetry. `buses` are those that TBLMs speak of."""

    def __init__(self, model: TransmissionModel, buses: Sequence[str], settings: FrequencySettings) -> None:
        self.engine = Transmission(model)
        self.buses = tuple(buses)
        self._at = [self.engine.bus_names.index(bus) for bus in self.buses]
        self._settings = settings
        fleet = settings.model(self.engine)
        self._fleet = fleet
        self._exponents = model.native_exponents
        shares = {m.name: m.rating_va for m in fleet.machines if m.governor is not None}
        self.engine.set_slack_shares(shares or None)

    def set(self, telemetry: Telemetry) -> None:
        """Take over topology, generation and loads: what a bus was measured to draw, at its measured voltage."""
        engine = self.engine
        for name, status in zip(engine.branch_names, telemetry.line_status.tolist(), strict=True):
            (engine.close_line if status > 0.5 else engine.open_line)(name)
        at_work = zip(engine.generator_names, telemetry.gen_p_w.tolist(), telemetry.gen_status.tolist(), strict=True)
        for name, p_w, status in at_work:
            if status > 0.5:
                engine.restore_generator(name)
                engine.set_generator(name, p_w)
            else:
                engine.trip_generator(name)
        engine.set_native_at(telemetry.v_pu, telemetry.load_p_w, telemetry.load_q_var)
        engine.scale_native(1.0)
        for bus, i in zip(self.buses, self._at, strict=True):
            engine.set_bus_load(bus, float(telemetry.load_p_w[i]), float(telemetry.load_q_var[i]))
            engine.set_native_share(bus, 0.0)

    def _native_factor(self, telemetry: Telemetry, f_hz: float) -> float:
        """What frequency makes of native active power, against the time of the telemetry."""
        damping, f0 = self._settings.native_damping_pu, self._settings.nominal_hz
        return (1.0 + damping * (f_hz / f0 - 1.0)) / (1.0 + damping * (telemetry.f_hz / f0 - 1.0))

    def curves(self, telemetry: Telemetry, tblms: Mapping[str, Tblm], which: CurveSet, f_hz: float) -> dict[str, LoadCurve]:
        """Load of each TBLM bus over voltage at a frequency: what was measured, moved as the TBLM's curve moves."""
        made: dict[str, LoadCurve] = {}
        for bus, i in zip(self.buses, self._at, strict=True):
            if bus in tblms:
                made[bus] = self._moved(tblms[bus], which, telemetry, i, f_hz)
        return made

    def _moved(self, tblm: Tblm, which: CurveSet, telemetry: Telemetry, i: int, f_hz: float) -> LoadCurve:
        v0 = float(telemetry.v_pu[i])
        before = at_frequency(tblm.curve("fast"), telemetry.f_hz)(v0)
        rest_w = (float(telemetry.load_p_w[i]) - before[0]) * self._native_factor(telemetry, f_hz)
        rest_var = float(telemetry.load_q_var[i]) - before[1]
        after, (np_, nq) = at_frequency(tblm.curve(which), f_hz), self._exponents

        def curve(v_pu: float) -> tuple[float, float]:
            p, q = after(v_pu)
            return rest_w * (v_pu / v0) ** np_ + p, rest_var * (v_pu / v0) ** nq + q

        return curve

    def base(self, telemetry: Telemetry, curves: Mapping[str, LoadCurve]) -> dict[str, Any]:
        """Power flow of the present state at the TBLM buses."""
        try:
            return self._row(self.engine.solve_with_curves(curves, _TOLERANCE_PU, near_v_pu=telemetry.v_pu), telemetry.f_hz)
        except TransmissionError as error:
            return self._failed(error)

    def outages(
        self, telemetry: Telemetry, curves: Mapping[str, LoadCurve], names: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The TBLM buses after the outage of each branch named; None: of each in service."""
        wanted = [n for n in self.engine.branch_names if self.engine.is_closed(n)] if names is None else names
        table = contingencies(self.engine, wanted, curves, telemetry.v_pu, _TOLERANCE_PU)
        rows: dict[str, dict[str, Any]] = {}
        for k, name in enumerate(table.outages):
            if table.status[k] != "ok":
                rows[name] = {"converged": False, "reason": table.status[k]}
                continue
            rows[name] = self._values(table.v_pu[k, self._at], telemetry, curves)
        return rows

    def generator_loss(
        self, telemetry: Telemetry, name: str, tblms: Mapping[str, Tblm], method: Method, horizons_s: Mapping[CurveSet, float]
    ) -> dict[CurveSet, dict[str, Any]]:
        """The TBLM buses at each horizon after losing a generator, and the lowest frequency of its first 15 s or until the last.

        First a power flow right after the loss, which says what load and losses change by with the voltages. Then frequency by the
        EMS's own response model, in which the TBLM buses follow frequency by their fast curves (`with_tblm`) or not at all
        (`with_constant`). At each horizon a power flow with the governors' power and the frequency of that moment.
        """
        left = [m for m in self._fleet.machines if m.name != name and self.engine.is_running(m.name)]
        if not self.engine.is_running(name) or not any(m.inertia_s > 0.0 for m in left):
            reason = "no_inertia" if self.engine.is_running(name) else "out_of_service"
            return {which: {"converged": False, "reason": reason} for which in horizons_s}
        used = tblms if method == "with_tblm" else {}
        try:
            first = self._without(name, {}, telemetry, self.curves(telemetry, used, "fast", telemetry.f_hz), telemetry.f_hz)
        except TransmissionError as error:
            return {which: self._failed(error) for which in horizons_s}
        rows: dict[CurveSet, dict[str, Any]] = {}
        ride, fixed_w, native_w = self._loss(telemetry, name)
        by_voltage_w = float(first.bus_p_w.sum()) + first.losses_w - float(telemetry.gen_p_w.sum())
        shift_hz = telemetry.f_hz - self._settings.nominal_hz  # the model starts in balance at nominal frequency
        f_hz, t_s = telemetry.f_hz, 0.0
        seen = [(t_s, f_hz)]
        follows = [self._follows(telemetry, tblm, bus, first.v_pu) for bus, tblm in used.items()]
        ends: list[tuple[float, CurveSet | None]] = [(horizon_s, which) for which, horizon_s in horizons_s.items()]
        for end_s, which in sorted([*ends, (_RIDE_S, None)], key=lambda end: end[0]):
            while t_s < end_s:
                follows_w = sum(change_w(f_hz) for change_w in follows)
                step_s = min(_RIDE_STEP_S if t_s < _RIDE_S else _REST_STEP_S, end_s - t_s)
                state = ride.step(round(step_s * 1e9), fixed_w + by_voltage_w + follows_w, native_w)
                f_hz, t_s = shift_hz + state.f_hz, t_s + step_s
                seen.append((t_s, f_hz))
            if which is not None:
                curves = self.curves(telemetry, used, which, f_hz)
                try:
                    flow = self._without(name, ride.response_by_machine(), telemetry, curves, f_hz)
                except TransmissionError as error:
                    rows[which] = self._failed(error)
                else:
                    rows[which] = {**self._values(flow.v_pu[self._at], telemetry, curves), "f_hz": f_hz}
        nadir_hz = _lowest(seen)
        return {which: {**row, "nadir_hz": nadir_hz} for which, row in rows.items()}

    def _loss(self, telemetry: Telemetry, name: str) -> tuple[FrequencyResponse, float, float]:
        """A response model that has just lost a generator, what is drawn at the TBLM buses and lost, and all other load, W."""
        native_w = float(telemetry.load_p_w.sum() - telemetry.load_p_w[self._at].sum())
        fixed_w = float(telemetry.gen_p_w.sum()) - native_w
        ride = FrequencyResponse(self._fleet, fixed_w, native_w)
        turning = [machine.name for machine in self._fleet.machines]
        for machine in turning:
            if not self.engine.is_running(machine):  # its inertia and its governor are gone
                ride.trip(machine, 0.0)
        lost_w = float(telemetry.gen_p_w[self.engine.generator_names.index(name)])
        ride.trip(name if name in turning else None, lost_w)
        return ride, fixed_w, native_w

    def _follows(self, telemetry: Telemetry, tblm: Tblm, bus: str, v_pu: FloatArray) -> Callable[[float], float]:
        """What frequency (Hz) alone changes at a TBLM bus, W."""
        v, curve = float(v_pu[self.engine.bus_names.index(bus)]), tblm.curve("fast")
        before_w = float(evaluate(curve, v, telemetry.f_hz).p_w)
        return lambda f_hz: float(evaluate(curve, v, f_hz).p_w) - before_w

    def _without(
        self, name: str, response: Mapping[str, float], telemetry: Telemetry, curves: Mapping[str, LoadCurve], f_hz: float
    ) -> PowerFlow:
        """The network without a generator, with the governors' power and the frequency given. Raises TransmissionError."""
        engine = self.engine
        engine.trip_generator(name)
        engine.set_response({g: p for g, p in response.items() if engine.is_running(g)})
        engine.scale_native(self._native_factor(telemetry, f_hz), 1.0)
        try:
            return engine.solve_with_curves(curves, _TOLERANCE_PU, near_v_pu=telemetry.v_pu)
        finally:
            engine.set_response({})
            engine.scale_native(1.0)
            engine.restore_generator(name)

    def largest_generators(self, telemetry: Telemetry, count: int) -> list[str]:
        """The machines whose loss moves frequency most."""
        turning = {m.name for m in self._fleet.machines}
        at_work = zip(telemetry.gen_p_w.tolist(), self.engine.generator_names, strict=True)
        by_power = sorted((-p_w, name) for p_w, name in at_work if name in turning and p_w > 0.0)
        return [name for _, name in by_power[:count]]

    def at_voltage(
        self, telemetry: Telemetry, tblms: Mapping[str, Tblm], which: CurveSet, v_pu: Mapping[str, float], f_hz: float
    ) -> dict[str, Any]:
        """What the TBLM buses draw at given voltages and frequency, without a power flow (a sag that is already there)."""
        p_w, q_var = {}, {}
        for bus, i in zip(self.buses, self._at, strict=True):
            p, q = float(telemetry.load_p_w[i]), float(telemetry.load_q_var[i])
            if bus in tblms:
                p, q = self._moved(tblms[bus], which, telemetry, i, f_hz)(v_pu[bus])
            p_w[bus], q_var[bus] = p, q
        return {"v_pu": dict(v_pu), "p_w": p_w, "q_var": q_var, "converged": True}

    def measured(self, telemetry: Telemetry) -> dict[str, Any]:
        """The TBLM buses as measured."""
        pick = {bus: i for bus, i in zip(self.buses, self._at, strict=True)}
        return {
            "v_pu": {bus: float(telemetry.v_pu[i]) for bus, i in pick.items()},
            "p_w": {bus: float(telemetry.load_p_w[i]) for bus, i in pick.items()},
            "q_var": {bus: float(telemetry.load_q_var[i]) for bus, i in pick.items()},
            "f_hz": telemetry.f_hz,
        }

    def _row(self, flow: PowerFlow, f_hz: float) -> dict[str, Any]:
        pick = {bus: i for bus, i in zip(self.buses, self._at, strict=True)}
        return {
            "v_pu": {bus: float(flow.v_pu[i]) for bus, i in pick.items()},
            "p_w": {bus: float(flow.bus_p_w[i]) for bus, i in pick.items()},
            "q_var": {bus: float(flow.bus_q_var[i]) for bus, i in pick.items()},
            "f_hz": f_hz,
            "converged": True,
        }

    def _values(self, v_pu: FloatArray, telemetry: Telemetry, curves: Mapping[str, LoadCurve]) -> dict[str, Any]:
        """The TBLM buses at solved voltages."""
        p_w, q_var = {}, {}
        for bus, i, v in zip(self.buses, self._at, v_pu.tolist(), strict=True):
            p_w[bus], q_var[bus] = (
                curves[bus](v) if bus in curves else (float(telemetry.load_p_w[i]), float(telemetry.load_q_var[i]))
            )
        return {
            "v_pu": dict(zip(self.buses, v_pu.tolist(), strict=True)),
            "p_w": p_w,
            "q_var": q_var,
            "f_hz": telemetry.f_hz,
            "converged": True,
        }

    @staticmethod
    def _failed(error: TransmissionError) -> dict[str, Any]:
        return {"converged": False, "reason": error.kind}


def _lowest(seen: Sequence[tuple[float, float]]) -> float:
    """The lowest of a frequency seen at times (s, Hz): the vertex of the parabola through the lowest one and its neighbours."""
    k = min(range(len(seen)), key=lambda i: seen[i][1])
    if not 0 < k < len(seen) - 1:
        return seen[k][1]
    (t0, f0), (t1, f1), (t2, f2) = seen[k - 1 : k + 2]
    left, right = (f1 - f0) / (t1 - t0), (f2 - f1) / (t2 - t1)
    bend = (right - left) / (t2 - t0)
    if bend <= 0.0:
        return f1
    slope = left + bend * (t1 - t0)  # at t1
    return f1 - slope**2 / (4.0 * bend)
