"""A running feeder: set its source, loads and DER, solve, read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .build import SOURCES, build, load_terminals, terminal_pairs
from .engine import CONTROLS_OFF, CONTROLS_STATIC, CONTROLS_TIME, Batch, Engine
from .model import FeederError, FeederModel, FeederState
from .script import read_script
from .topology import distance_km, lost_without, service_transformers, supply_tree

FloatArray = NDArray[np.float64]

# A generator that stood at exactly 0 kW injects nothing in the first solve after it is raised, and the engine says converged.
_LEAST_KW = 1e-6


class Feeder:
    """One feeder in an OpenDSS context of its own; several may live in one process, and a study copy beside the live one is just
    another `Feeder(model)`.

    Powers are W and var: positive is consumption for loads and the head, generation for DER. Voltages are per unit of the bus's
    base. Every array returned is a fresh copy.
    Not for use by two threads at once; different feeders may solve in different threads.

    Attributes, which give the order of every array argument and result (all names in lower case):
        node_names [n_nodes]: 'bus.phase'; node_base_kv: line to neutral, NaN where the file gives none
        node_distance_km: from the head, NaN without supply
        load_names [n_loads]; load_bus; load_phases; load_class
        load_p0_w, load_q0_var: nominal power as the file gives it, its load multiplier included
        load_transformer: the service transformer upstream as 'transformer.name', without one the load's bus
        load_shape: the name of its yearly (else daily) profile in the file, or ''
        reg_names; capacitor_names, capacitor_steps: how many each has; switch_names: lines declared as switches, and those that the
            model opens or closes
        der_names, der_s_va: the sites of the model
        pv_names, generator_names, storage_names: the file's own DER, which stay in the circuit at what the file says
        left_out: statements of the file that were not executed, as ('file:line', statement)

    Raises FeederError when the file is missing, refused, does not compile or does not converge."""

    def __init__(self, model: FeederModel) -> None:
        self.model = model
        script = read_script(model.master, model.edits)
        self.left_out = tuple(script.left_out)
        self._engine = engine = Engine(model.master)
        try:
            head_bus = build(engine, script, model)
            self._open(head_bus)
            self.settle()
        except BaseException:
            engine.close()
            raise

    def _open(self, head_bus: str) -> None:
        engine, model = self._engine, self.model
        self._t_s = 0.0
        self._exact_ratio: dict[tuple[str, int], float] = {}
        engine.solve(CONTROLS_OFF, "first solve")  # makes the lists of nodes that everything below refers to
        self.node_names = engine.node_names()
        base_kv = engine.bus_base_kv()
        bases = np.array([base_kv[name.rsplit(".", 1)[0]] for name in self.node_names])
        self.node_base_kv = np.where(bases > 0.0, bases, np.nan)
        self._base_v = np.concatenate(([1.0], self.node_base_kv * 1e3))  # [0] is ground
        self._head_bus = head_bus
        tree = supply_tree(head_bus, engine.branches(model.line_unit_km))
        self.node_distance_km = np.array(distance_km(self.node_names, tree))

        ours = {site.name.lower() for site in model.der}
        self._sources = Batch(engine, "vsource").only(SOURCES)
        self._source_index = _positions(engine, "Vsources", SOURCES)
        self._loads = Batch(engine, "load")
        self._generators = Batch(engine, "generator").only(ours)
        self.load_names = self._loads.names()
        self.load_p0_w, self.load_q0_var = self._loads.get(b"kW") * 1e3, self._loads.get(b"kvar") * 1e3
        terminals = load_terminals(engine, self._loads)
        self.load_bus = tuple(t.bus for t in terminals)
        self.load_phases = tuple(t.phases for t in terminals)
        self.load_transformer = service_transformers(self.load_bus, tree)
        classes = {name.lower(): load_class for name, load_class in model.load_classes}
        self._check_names("load_classes", classes, self.load_names)
        self.load_class = tuple(classes.get(name, model.default_class) for name in self.load_names)
        self.load_shape = tuple(
            yearly or daily for yearly, daily in zip(self._loads.texts("yearly"), self._loads.texts("daily"), strict=True)
        )
        self._load_pairs = terminal_pairs([t.pairs for t in terminals], self._base_v)

        self.der_names = self._generators.names()
        by_name = {site.name.lower(): site for site in model.der}
        self.der_s_va = np.array([by_name[name].s_va for name in self.der_names])
        self._der_nodes = np.zeros((len(self.der_names), 3), np.int64)
        for row, (name, refs) in enumerate(zip(self.der_names, self._generators.node_refs(), strict=True)):
            for phase, ref in zip(by_name[name].phases, refs, strict=False):
                self._der_nodes[row, phase - 1] = ref

        self.pv_names = Batch(engine, "pvsystem").names()
        self.generator_names = Batch(engine, "generator").without(ours).names()
        self.storage_names = Batch(engine, "storage").names()
        self._regs, self._capacitors = Batch(engine, "regcontrol"), Batch(engine, "capacitor")
        self.reg_names, self.capacitor_names = self._regs.names(), self._capacitors.names()
        self._cap_steps = self._capacitors.get_int(b"numsteps")
        self.capacitor_steps = self._cap_steps.astype(np.int64)
        self._lines = dict(zip((lines := Batch(engine, "line")).names(), lines.items, strict=True))
        named = {name.lower().removeprefix("line.") for name in (*model.open_switches, *model.close_switches)}
        is_switch = dict(zip(lines.names(), lines.get_int(b"switch"), strict=True))
        self.switch_names = tuple(name for name in self._lines if is_switch[name] or name in named)

    # ---- what drives the feeder

    def set_source(self, v_pu: ArrayLike, angle_rad: ArrayLike = 0.0) -> None:
        """Voltage at the transmission bus. v_pu: per phase [3] or one for all, of kv_primary / sqrt 3; angle_rad: of phase a (b
        and c follow at -+120 degrees), or [3], one a phase."""
        v = np.broadcast_to(np.asarray(v_pu, float), 3)
        angle = np.asarray(angle_rad, float)
        if not (np.isfinite(v).all() and np.isfinite(angle).all()):
            raise ValueError(f"source voltage {v} pu at {angle} rad is not finite")
        degrees = np.degrees(angle) + (np.array([0.0, -120.0, 120.0]) if angle.ndim == 0 else 0.0)
        api = self._engine.api
        for phase, index in enumerate(self._source_index):
            api.Vsources_Set_idx(index)
            api.Vsources_Set_pu(v[phase])
            api.Vsources_Set_AngleDeg(degrees[phase])

    def set_loads(self, p_w: ArrayLike, q_var: ArrayLike) -> None:
        """Nominal power of every load at nominal voltage, [n_loads] each; what a load then takes follows its own voltage model.
        Frequency response enters here, by `federates.grid.load`."""
        p_kw, q_kvar = _vector(p_w, self._loads.n, "p_w") / 1e3, _vector(q_var, self._loads.n, "q_var") / 1e3
        self._loads.set(b"kW", p_kw)
        self._loads.set(b"kvar", q_kvar)

    def set_der(self, p_w: ArrayLike, q_var: ArrayLike) -> None:
        """Injection of every DER site, [n_der] each, generation positive, spread evenly over its phases."""
        p_kw, q_kvar = _vector(p_w, self._generators.n, "p_w") / 1e3, _vector(q_var, self._generators.n, "q_var") / 1e3
        self._generators.set(b"kW", np.where(np.abs(p_kw) < _LEAST_KW, _LEAST_KW, p_kw))
        self._generators.set(b"kvar", q_kvar)

    def solve(self) -> None:
        """Power flow with taps and capacitors as they stand. Raises FeederError when it does not converge."""
        self._engine.solve(CONTROLS_OFF, "solve")

    def step_controls(self, dt_s: float) -> None:
        """Advance the controls' clock by dt_s and solve; regulators and capacitor controls act when their delays are over."""
        self._t_s += dt_s
        self._set_clock()
        self._engine.solve(CONTROLS_TIME, "solve with controls")

    def settle(self, max_iterations: int = 100) -> int:
        """Run every control to rest, without delays; pending timed actions are dropped. Returns the control iterations.

        Raises FeederError when the controls do not come to rest within max_iterations."""
        self._drop_pending()
        self._engine.dss.Solution.MaxControlIterations(max_iterations)
        return self._engine.solve(CONTROLS_STATIC, "controls do not come to rest")

    # ---- what is read

    def head(self) -> tuple[FloatArray, FloatArray]:
        """(p_w [3], q_var [3]) per phase from the transmission bus into the substation transformer."""
        power = -self._sources.total_powers().reshape(3, 2, 2)[:, 0, :] * 1e3
        return power[:, 0].copy(), power[:, 1].copy()

    def load_power(self) -> tuple[FloatArray, FloatArray]:
        """(p_w, q_var) that each load takes at its present voltage, [n_loads] each."""
        power = self._loads.total_powers().reshape(self._loads.n, 2) * 1e3
        return power[:, 0].copy(), power[:, 1].copy()

    def der_power(self) -> tuple[FloatArray, FloatArray]:
        """(p_w, q_var) that each DER site injects, [n_der] each."""
        power = -self._generators.total_powers().reshape(self._generators.n, 2) * 1e3
        return power[:, 0].copy(), power[:, 1].copy()

    def load_total(self) -> tuple[float, float]:
        """(p_w, q_var) of all loads together, as taken."""
        p, q = self.load_power()
        return float(p.sum()), float(q.sum())

    def losses_w(self) -> float:
        """Active losses of lines and transformers, the substation's included."""
        return float(np.asarray(self._engine.dss.Circuit.Losses()).view(float)[0])

    def node_phasor_v(self) -> NDArray[np.complex128]:
        """Phasor of each node to ground, V, [n_nodes]."""
        return self._engine.node_voltages()[1:]

    def begin_at(self, phasor_v: NDArray[np.complex128]) -> None:
        """Phasors, as `node_phasor_v` gives them, from which the next solve iterates. Without it that is the last solution, and
        the same state may give other last digits, within the tolerance."""
        self._engine.set_node_voltages(np.concatenate(([0.0], phasor_v)))

    def node_v_pu(self) -> FloatArray:
        """Voltage magnitude of each node to ground, [n_nodes]."""
        return np.abs(self._engine.node_voltages()[1:]) / self._base_v[1:]

    def load_v_pu(self) -> FloatArray:
        """Mean over its phases of the voltage across each load, [n_loads]: to neutral for wye, between phases for delta, per unit
        of the bus's base."""
        first, second, weight = self._load_pairs
        v = self._engine.node_voltages()
        return np.asarray((np.abs(v[first] - v[second]) * weight).sum(axis=1))

    def der_v_pu(self) -> FloatArray:
        """Voltage to ground of each phase a, b, c of each DER site, [n_der, 3]; NaN where it has no such phase."""
        magnitude = np.abs(self._engine.node_voltages()) / self._base_v
        magnitude[0] = np.nan
        return magnitude[self._der_nodes]

    def der_nodes(self) -> NDArray[np.int64]:
        """Node of each phase a, b, c of each DER site, [n_der, 3], counted from 1 in `node_names`; 0 where it has no such phase."""
        return self._der_nodes.copy()

    def behind(self, line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(loads, DER sites) that lose their supply when a line opens, switches as they stand. ValueError for an unknown line."""
        name = line.lower().removeprefix("line.")
        if name not in self._lines:
            raise ValueError(f"no line `{line}` in {self.model.master}")
        dead = lost_without(f"line.{name}", self._head_bus, self._engine.branches(self.model.line_unit_km))
        sites = {site.name.lower(): site.bus.split(".")[0].lower() for site in self.model.der}
        loads = tuple(load for load, bus in zip(self.load_names, self.load_bus, strict=True) if bus in dead)
        return loads, tuple(der for der in self.der_names if sites[der] in dead)

    # ---- discrete states

    def taps(self) -> NDArray[np.int32]:
        """Tap of each regulator, [n_regs], 0 in the middle."""
        return self._regs.get_int(b"tapnum")

    def tap_range(self) -> NDArray[np.int64]:
        """Lowest and highest tap of each regulator, [2, n_regs]."""
        controls, transformers, out = self._engine.dss.RegControls, self._engine.dss.Transformers, []
        for name in self.reg_names:
            controls.Name(name)
            transformers.Name(controls.Transformer())
            transformers.Wdg(controls.TapWinding())
            least, most, steps = transformers.MinTap(), transformers.MaxTap(), max(transformers.NumTaps(), 1)
            one = (most - least) / steps or 1.0
            out.append((round((least - 1.0) / one), round((most - 1.0) / one)))
        return np.array(out, np.int64).reshape(-1, 2).T

    def set_taps(self, taps: ArrayLike) -> None:
        """Move every regulator to a tap, [n_regs]; to its exact ratio, which step by step is met up to rounding only."""
        wanted = np.asarray(taps).tolist()
        if len(wanted) != len(self.reg_names):
            raise ValueError(f"{len(wanted)} taps for {len(self.reg_names)} regulators")
        controls = self._engine.dss.RegControls
        for name, tap in zip(self.reg_names, wanted, strict=True):
            controls.Name(name)
            if controls.TapNumber() != tap or self._tap_ratio() != self._exact_ratio.get((name, tap)):
                controls.TapNumber(tap)
                self._exact_ratio[name, tap] = self._tap_ratio()

    def _tap_ratio(self) -> float:
        """Ratio of the winding that the active regulator moves."""
        controls, transformers = self._engine.dss.RegControls, self._engine.dss.Transformers
        transformers.Name(controls.Transformer())
        transformers.Wdg(controls.TapWinding())
        return float(transformers.Tap())

    def capacitor_states(self) -> NDArray[np.int32]:
        """Steps in service of each capacitor, [n_capacitors]."""
        out = np.zeros(len(self.capacitor_names), np.int32)
        capacitors, api = self._engine.dss.Capacitors, self._engine.lib
        for i, name in enumerate(self.capacitor_names):
            capacitors.Name(name)
            # a control opens the terminal of a one-step bank and leaves its step flag
            out[i] = 0 if api.Alt_CE_IsOpen(self._capacitors.items[i], 1, 0) else sum(capacitors.States())
        return out

    def set_capacitor_states(self, steps: ArrayLike) -> None:
        """Put this many steps of each capacitor into service, [n_capacitors]."""
        wanted = np.asarray(steps).tolist()
        if len(wanted) != len(self.capacitor_names):
            raise ValueError(f"{len(wanted)} states for {len(self.capacitor_names)} capacitors")
        present = self.capacitor_states().tolist()
        for name, steps_wanted, steps_now in zip(self.capacitor_names, wanted, present, strict=True):
            if steps_wanted != steps_now:
                self.set_capacitor(name, steps_wanted)

    def set_capacitor(self, name: str, steps: int) -> None:
        """Put `steps` steps of one capacitor into service."""
        i = self._index("capacitor", name, self.capacitor_names)
        available = int(self._cap_steps[i])
        if not 0 <= steps <= available:
            raise ValueError(f"capacitor {name} has {available} steps, not {steps}")
        item, api = self._capacitors.items[i], self._engine.lib
        (api.Alt_CE_Close if steps else api.Alt_CE_Open)(item, 1, 0)
        self._engine.dss.Capacitors.Name(name)
        self._engine.dss.Capacitors.States([1] * max(steps, 1) + [0] * (available - max(steps, 1)))
        self._engine.check()

    def switch_states(self) -> NDArray[np.bool_]:
        """Whether each switch is closed, [n_switches]."""
        return np.array([self._is_closed(name) for name in self.switch_names], bool)

    def set_switch(self, name: str, closed: bool) -> bool:
        """Open or close all phases of any line at its first terminal; gives whether it moved. Raises ValueError for an unknown
        line."""
        line = name.lower().removeprefix("line.")
        if line not in self._lines:
            raise ValueError(f"no line `{name}` in {self.model.master}; its switches are {', '.join(self.switch_names)}")
        if self._is_closed(line) == closed:
            return False
        (self._engine.lib.Alt_CE_Close if closed else self._engine.lib.Alt_CE_Open)(self._lines[line], 1, 0)
        self._engine.check()
        return True

    def state(self) -> FeederState:
        """Taps, capacitors, switches and the controls' clock."""
        return FeederState(self.taps(), self.capacitor_states(), self.switch_states(), self._t_s)

    def restore(self, state: FeederState) -> None:
        """Back to a state. Delays that were running are not part of it: every control starts its delay anew when it next sees a
        reason. Solve before reading."""
        self._drop_pending()
        self._t_s = state.t_s
        self._set_clock()
        self.set_taps(state.taps)
        self.set_capacitor_states(state.capacitors)
        for name, closed in zip(self.switch_names, state.switches.tolist(), strict=True):
            self.set_switch(name, closed)

    def close(self) -> None:
        """Free the engine's memory. The feeder cannot be used afterwards."""
        self._engine.close()

    def __enter__(self) -> Feeder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- internals

    def _set_clock(self) -> None:
        solution = self._engine.dss.Solution
        hours = int(self._t_s // 3600.0)
        solution.Hour(hours)
        solution.Seconds(self._t_s - 3600.0 * hours)

    def _drop_pending(self) -> None:
        """Empty the queue of timed actions and disarm the controls that wait for them; a control reset may move its device, so the
        devices are put back."""
        taps, capacitors = self.taps(), self.capacitor_states()
        self._engine.command("reset controls")
        self._engine.dss.CtrlQueue.ClearQueue()
        self.set_taps(taps)
        self.set_capacitor_states(capacitors)

    def _is_closed(self, line: str) -> bool:
        item, lib = self._lines[line], self._engine.lib
        return not (lib.Alt_CE_IsOpen(item, 1, 0) or lib.Alt_CE_IsOpen(item, 2, 0))

    def _index(self, kind: str, name: str, names: tuple[str, ...]) -> int:
        if name.lower() not in names:
            raise ValueError(f"no {kind} `{name}` in {self.model.master}; there are {', '.join(names) or 'none'}")
        return names.index(name.lower())

    def _check_names(self, what: str, given: Mapping[str, str], known: tuple[str, ...]) -> None:
        unknown = [name for name in given if name not in set(known)]
        if unknown:
            raise FeederError(
                self.model.master, f"{what} names loads that it has not: {', '.join(unknown[:5])}", "correct the names"
            )


def _positions(engine: Engine, interface: str, names: tuple[str, ...]) -> list[int]:
    """The index by which the engine's API selects each element."""
    all_names = [str(n).lower() for n in getattr(engine.dss, interface).AllNames()]
    return [all_names.index(name) + 1 for name in names]


def _vector(values: ArrayLike, n: int, name: str) -> FloatArray:
    array = np.asarray(values, float)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape}, needs ({n},)")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite, the first at {int(np.argmin(np.isfinite(array)))}")
    return array
