"""The ANDES system of one case: start, faults, trips, and steps, with everything that ANDES does not say turned into an error.

The only importer of ANDES. ANDES raises nothing: results are judged by the return value, `TDS.busted`, `TDS.err_msg`, the time
reached and finite values. A step that does not converge is tried again by Newton's method in full, which changes nothing else; then
with every load as an impedance, and in halves; then smaller islands are given up, and after that the run ends. All but the first of
these is told (`rows`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import andes
import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import CASES, DynamicsError
from federates.grid.dynamics.governors import Governors
from federates.grid.dynamics.islands import find_islands
from federates.grid.dynamics.loads import NativeModel, ZipLoads, drawn
from federates.grid.dynamics.tables import read_tables

FloatArray = NDArray[np.float64]

_HALVINGS = 5
_AGREEMENT_PU = 1e-5
_SYNC_V_PU, _SYNC_RAD, _SYNC_HZ = 0.1, float(np.radians(20.0)), 0.2


class AndesSystem:
    """A case of ANDES. Arrays over buses, branches and generators are in the order of `static`; times are inner steps, `k`."""

    def __init__(self, case: str, code_folder: Path, steps_per_s: int) -> None:
        """Load the case; generates numerical code where `code_folder` has none. DynamicsError "start"."""
        # the folder is given although no log is written: without one ANDES makes one in the system's, and leaves it there
        andes.config_logger(stream_level=logging.CRITICAL, file=False, log_path=str(code_folder))
        logging.getLogger("andes").setLevel(logging.CRITICAL)  # records that nobody reads take a twentieth of the time
        # no rc file of the user's, and no output files: a run depends on what the scenario says alone
        ss: Any = andes.load(
            andes.get_case(CASES[case]), setup=False, no_output=True, default_config=True, pycode_path=str(code_folder)
        )
        if ss is None:
            raise DynamicsError("start", f"ANDES cannot read its case {CASES[case]}")
        for bus in list(ss.Bus.idx.v):
            ss.add("Fault", {"bus": bus, "tf": -1.0, "tc": -1.0})
        if not ss.setup():
            raise DynamicsError("start", f"ANDES cannot set up its case {CASES[case]}")
        # Cases ship with events of their own, and at times between our steps; nothing happens that the scenario does not say.
        for timed in (ss.Toggle, ss.Alter):
            timed.t.v[:] = -1.0
        self._ss, self.case, self.steps_per_s, self.k = ss, case, steps_per_s, 0
        self.static, self._machines = read_tables(ss, case)
        n = len(self.static.bus_names)
        first: dict[int, int] = {}
        for row, (bus, _, _) in enumerate(self.static.loads):
            first.setdefault(bus, row)
        self._load_bus, self._load_row = np.array(list(first)), np.array(list(first.values()))
        ends = np.array([row[:2] for row in self.static.branches])
        self._ends = ends[:, 0], ends[:, 1]
        self._machine_bus = np.array([m.bus for m in self._machines])
        self._machine_generator = np.array([m.generator for m in self._machines])
        self._inertia = np.array([float(m.model.M.v[m.row]) for m in self._machines])
        self._governors = Governors(ss, self._machines, len(self.static.generators))
        self._killed = np.zeros(n, dtype=bool)
        self._kept = 1.0
        self._faulted: dict[int, int] = {}
        self._before_fault: FloatArray | None = None
        self.rows: list[dict[str, Any]] = []

    # Start

    def begin(
        self,
        fed: FloatArray,
        native: FloatArray,
        stated_v_pu: FloatArray,
        v_pu: FloatArray,
        generator_p: FloatArray,
        native_model: NativeModel,
    ) -> None:
        """Power flow with the loads of the start, which must give `v_pu` [bus], and initialisation of the machines.

        `fed`, `native` [bus, 2]: pu of the base, the native at `stated_v_pu` [bus]; `generator_p` [generator], pu.
        DynamicsError "start".
        """
        ss, at, rows = self._ss, self._load_bus, self._load_row
        others = np.setdiff1d(np.arange(len(self.static.bus_names)), at)
        if np.abs(fed[others]).any() or np.abs(native[others]).any():
            names = ", ".join(self.static.bus_names[i] for i in others if np.abs(fed[i]).any() or np.abs(native[i]).any())
            raise DynamicsError("start", f"bus {names} has no load in {self.case}; put feeders under buses that have one")
        self.loads = ZipLoads(native_model, v_pu[at], stated_v_pu[at], native[at], fed[at])
        wanted = drawn(self.loads.coefficients(0.0, 1.0), v_pu[at])
        for parameter, column in ((ss.PQ.p0, 0), (ss.PQ.q0, 1)):
            parameter.v[:] = 0.0
            parameter.v[rows] = wanted[:, column]
        self._set_static_generation(generator_p)
        ss.PQ.config.pq2z = 0
        ss.PFlow.config.tol = 1e-10
        ss.PFlow.config.report = 0
        if not (ss.PFlow.run() and ss.PFlow.converged):
            raise DynamicsError("start", f"ANDES finds no power flow for {self.case} with the loads of the start")
        gap = np.abs(ss.Bus.v.v - v_pu)
        if not gap.max() <= _AGREEMENT_PU:
            worst = self.static.bus_names[int(np.argmax(gap))]
            raise DynamicsError(
                "start", f"ANDES and the power flow differ by {gap.max():.2g} pu at bus {worst}; the engine cannot start from it"
            )
        load, config, tds = ss.PQ.config, ss.TDS.config, ss.TDS
        load.p2p = load.q2q = 1.0
        load.p2i = load.p2z = load.q2i = load.q2z = 0.0
        config.fixt, config.shrinkt, config.save_every, config.no_tqdm, config.criteria = 1, 0, 0, 1, 0
        config.tstep = 1.0 / self.steps_per_s
        tds.init()
        if tds.test_ok is not True:
            raise DynamicsError(
                "start", f"ANDES cannot initialise the machines of {self.case} at this dispatch (a limit is passed)"
            )
        load.p2p = load.p2i = load.p2z = load.q2q = load.q2i = load.q2z = 1.0
        ss.PQ.refresh_inputs()
        ss.PQ.refresh_inputs_arg()
        dae = ss.dae
        self._x_omega = np.array([m.model.omega.a[m.row] for m in self._machines])
        self._x_delta = np.array([m.model.delta.a[m.row] for m in self._machines])
        self._y_p = np.array([m.model.Pe.a[m.row] for m in self._machines])
        self._y_tm = np.array([m.model.tm.a[m.row] for m in self._machines])
        self._y_v, self._y_a = np.array(ss.Bus.v.a), np.array(ss.Bus.a.a)
        self._tm0 = dae.y[self._y_tm].copy()
        self._angle_offset = 0.0
        self._reconnect(first=True)
        self._angle_offset = -self._centre_rad()
        self._write_loads()

    def _set_static_generation(self, generator_p: FloatArray) -> None:
        ss = self._ss
        by_bus = sorted((bus, n) for n, bus in enumerate(self._rows_of(ss.PV.bus.v)))
        for k, (_, n) in enumerate(by_bus):
            ss.PV.p0.v[n] = generator_p[k]

    def _rows_of(self, buses: Any) -> list[int]:
        row = {idx: i for i, idx in enumerate(self._ss.Bus.idx.v)}
        return [row[bus] for bus in buses]

    # Stepping

    def step(self) -> None:
        """One inner step with everything as it is set. DynamicsError "diverged" with the time and what ANDES says."""
        target = (self.k + 1) / self.steps_per_s
        if not self._run(target, 1.0 / self.steps_per_s):
            self._persevere(target)
        self.k += 1
        self._ended_well()
        v_pu = self._ss.dae.y[self._y_v]
        if self.loads.see(v_pu[self._load_bus]):
            self._ss.TDS.custom_event = True
        self._write_loads()

    def _persevere(self, target: float) -> None:
        """Newton's method in full first, which changes nothing else; then what has to be told."""
        tds, whole_s = self._ss.TDS, 1.0 / self.steps_per_s
        said = tds.err_msg.splitlines()[0] if tds.err_msg else "no message"
        if self._run(target, whole_s, careful=True):
            return
        while True:
            for halving in range(_HALVINGS + 1):
                self._write_loads(soft_v_pu=self._ss.dae.y[self._y_v][self._load_bus])
                if self._run(target, whole_s / 2**halving, careful=True):
                    text = f"solved with loads as impedances{f', in steps of 1/{2**halving}' if halving else ''}"
                    self.rows.append({"event": "engine_retry", "said": said, "now": text})
                    return
            given_up = self._give_up_an_island()
            if given_up is None:
                tried = f"with loads as impedances and steps down to 1/{2**_HALVINGS}"
                raise DynamicsError("diverged", f"ANDES finds no solution at t = {target:.9g} s, {tried}: {said}")
            self.rows.append({"event": "island_collapsed", "buses": given_up, "said": said})

    def _run(self, target: float, step_s: float, careful: bool = False) -> bool:
        """ANDES to `target`; whether it got there. Where it did not, the state is that of the last part that converged.

        `careful`: a new Jacobian in every iteration, and a line search; otherwise ANDES renews it when it must.
        """
        ss, tds = self._ss, self._ss.TDS
        tds.config.honest = tds.config.linesearch = int(careful)
        tds.config.tstep, tds.config.tf = step_s, target
        tds.busted, tds.err_msg = False, ""
        ok = tds.run(no_summary=True)
        return bool(ok) and not tds.busted and float(ss.dae.t) == target

    def _ended_well(self) -> None:
        dae = self._ss.dae
        if not (np.isfinite(dae.x).all() and np.isfinite(dae.y).all()):
            raise DynamicsError("diverged", f"ANDES gives values that are not finite at t = {float(dae.t):.9g} s")

    def _write_loads(self, soft_v_pu: FloatArray | None = None) -> None:
        made = self.loads.coefficients(self.frequency_pu() - 1.0, self._kept, soft_v_pu)
        load, rows = self._ss.PQ, self._load_row
        for column, constants in enumerate(((load.Ppf, load.Ipeq, load.Req), (load.Qpf, load.Iqeq, load.Xeq))):
            for power, constant in enumerate(constants):
                constant.v[:] = 0.0
                constant.v[rows] = made[:, column, power]
        self._drawn = made

    # What is set from outside

    def feed(self, fed: FloatArray) -> None:
        """What the feeders draw [bus, 2], pu, from now on."""
        self.loads.fed = fed[self._load_bus]
        self._write_loads()

    def keep(self, share: float) -> None:
        """The part of native load that is left after shedding."""
        if share != self._kept:
            self._kept = share
            self._ss.TDS.custom_event = True
            self._write_loads()

    def set_secondary(self, p: float) -> None:
        """Secondary control's power, pu, shared by rating among the governors of the main island."""
        self._governors.set_secondary(p)
        self._write_references()

    def schedule(self, generator: int, change: float) -> None:
        """Change of a generator's schedule, pu. DynamicsError "refused" where no governor could carry it."""
        self._governors.schedule(generator, change)
        self._write_references()

    def _write_references(self) -> None:
        self._governors.write(self._running() & (self.islands.label[self._machine_bus] == self.islands.main))

    def fault(self, bus: int) -> None:
        """A bolted three-phase fault at a bus (1e-4 pu, as ANDES has it). DynamicsError "refused" where there is one already."""
        if bus in self._faulted or self._killed[bus]:
            raise DynamicsError("refused", "it is faulted already" if bus in self._faulted else "it is dead")
        ss = self._ss
        if not self._faulted:
            self._before_fault = np.array(ss.dae.y)
        self._faulted[bus] = bus
        ss.Fault.uf.v[bus] = 1.0
        self._changed()

    def clear(self, bus: int) -> None:
        """The fault is gone. Algebraic variables begin at their values of before, which Newton's method needs."""
        if self._faulted.pop(bus, None) is None:
            return
        ss = self._ss
        ss.Fault.uf.v[bus] = 0.0
        if not self._faulted and self._before_fault is not None:
            ss.dae.y[:] = self._before_fault
        self._changed()

    def trip(self, generator: int) -> None:
        """Disconnect the machines of a generator."""
        for machine in self._machines:
            if machine.generator == generator:
                self._ss.set_status(machine.model.class_name, machine.model.idx.v[machine.row], 0)
        self._reconnect()

    def switch(self, branch: int, closed: bool) -> None:
        """Open or close a branch. DynamicsError "refused" for a closing that no synchronism check would let pass."""
        ss = self._ss
        if closed:
            i, j = (int(end[branch]) for end in self._ends)
            self._check_synchronism(i, j)
        ss.set_status("Line", ss.Line.idx.v[branch], int(closed))
        self._reconnect()

    def _check_synchronism(self, i: int, j: int) -> None:
        islands, y = self.islands, self._ss.dae.y
        if islands.dead[i] or islands.dead[j]:
            return
        dv = abs(float(y[self._y_v[i]] - y[self._y_v[j]]))
        gap = float(y[self._y_a[i]] - y[self._y_a[j]])
        angle = abs(float(np.angle(np.exp(1j * gap))))
        slip = self.static.f0_hz * abs(self.frequency_pu(int(islands.label[i])) - self.frequency_pu(int(islands.label[j])))
        if islands.label[i] != islands.label[j] and (dv > _SYNC_V_PU or angle > _SYNC_RAD or slip > _SYNC_HZ):
            text = f"its ends are {dv:.2f} pu, {np.degrees(angle):.0f} degrees and {slip:.2f} Hz apart, too much to connect islands"
            raise DynamicsError("refused", text)

    # Connections

    def is_closed(self) -> NDArray[np.bool_]:
        """[branch]: whether its breakers are closed."""
        return np.asarray(self._ss.Line.u.v) > 0.0

    def _running(self) -> NDArray[np.bool_]:
        return np.array([m.model.ue.v[m.row] > 0.0 for m in self._machines])

    def _reconnect(self, first: bool = False) -> None:
        """Find islands anew after a switching: dead ones are taken out, what is supplied again comes back."""
        ss = self._ss
        turning = np.array([m.model.u.v[m.row] > 0.0 for m in self._machines])
        centre = None if first else self._centre_rad() + self._angle_offset
        self.islands = islands = find_islands(
            len(self._killed), self._ends, self.is_closed(), self._machine_bus, self._inertia * turning
        )
        if islands.main < 0:
            raise DynamicsError("diverged", f"no machine is left that turns, at t = {float(ss.dae.t):.9g} s")
        for k, machine in enumerate(self._machines):
            if turning[k] and islands.dead[machine.bus]:
                ss.set_status(machine.model.class_name, machine.model.idx.v[machine.row], 0)
                name = self.static.generator_names()[machine.generator]
                self.rows.append({"event": "machine_off", "generator": name, "because": "its bus stands alone"})
        for bus in np.flatnonzero(islands.dead != self._killed).tolist():
            ss.set_status("Bus", ss.Bus.idx.v[bus], int(not islands.dead[bus]))
            if not islands.dead[bus]:
                self._revive(bus)
        self._killed = islands.dead.copy()
        ss.conn.check_connectivity(info=False)
        if not first:
            self._changed()
            self._angle_offset = float(centre or 0.0) - self._centre_rad()
            self._write_references()

    def _revive(self, bus: int) -> None:
        """A bus that is supplied again begins at the voltage of a live bus of its island."""
        y = self._ss.dae.y
        alive = np.flatnonzero((self.islands.label == self.islands.label[bus]) & ~self._killed)
        source = int(alive[0])
        y[self._y_v[bus]], y[self._y_a[bus]] = y[self._y_v[source]], y[self._y_a[source]]

    def _give_up_an_island(self) -> list[str] | None:
        """Black out the smallest island beside the main one; its buses, None where there is no other."""
        apart = np.unique(self.islands.label[self.islands.apart])
        if not len(apart):
            return None
        size = [int((self.islands.label == label).sum()) for label in apart]
        label = int(apart[int(np.argmin(size))])
        for machine in self._machines:
            if self.islands.label[machine.bus] == label and machine.model.u.v[machine.row] > 0.0:
                self._ss.set_status(machine.model.class_name, machine.model.idx.v[machine.row], 0)
        buses = [self.static.bus_names[i] for i in np.flatnonzero(self.islands.label == label)]
        self._reconnect()
        return buses

    def _changed(self) -> None:
        ss = self._ss
        ss.TDS.custom_event = True
        ss.vars_to_models()

    # What is read

    def frequency_pu(self, label: int | None = None) -> float:
        """Speed of the centre of inertia of an island (default: the main one), pu."""
        x = self._ss.dae.x
        weight = self._weight(self.islands.main if label is None else label)
        return float(weight @ x[self._x_omega] / weight.sum())

    def _weight(self, label: int) -> FloatArray:
        return np.asarray(self._inertia * self._running() * (self.islands.label[self._machine_bus] == label), np.float64)

    def _centre_rad(self) -> float:
        weight = self._weight(self.islands.main)
        return float(weight @ self._ss.dae.x[self._x_delta] / weight.sum())

    def state(self) -> dict[str, Any]:
        """Everything that is published, pu: arrays by bus, branch, generator. A dead bus has 0 V and draws nothing."""
        y = self._ss.dae.y
        dead = self.islands.dead
        v_pu = np.where(dead, 0.0, y[self._y_v])
        turn = self._centre_rad() + self._angle_offset
        load = np.zeros((len(v_pu), 2))
        load[self._load_bus] = drawn(self._drawn, v_pu[self._load_bus])
        load[dead] = 0.0
        running = self._running()
        generators = len(self.static.generators)

        def by_generator(values: FloatArray) -> FloatArray:
            return np.asarray(np.bincount(self._machine_generator, weights=values, minlength=generators), np.float64)

        main = running & (self.islands.label[self._machine_bus] == self.islands.main)
        return {
            "v_pu": v_pu,
            "angle_rad": np.where(dead, 0.0, np.angle(np.exp(1j * (y[self._y_a] - turn)))),
            "dead": dead.copy(),
            "apart": self.islands.apart,
            "load": load,
            "closed": self.is_closed(),
            "p": by_generator(np.where(running, y[self._y_p], 0.0)),
            "running": by_generator(running.astype(float)) > 0.0,
            "governor": float(np.where(main, y[self._y_tm] - self._tm0 - self._governors.scheduled_by_machine(), 0.0).sum()),
            "f_pu": self.frequency_pu(),
        }
