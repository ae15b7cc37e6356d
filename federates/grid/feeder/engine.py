"""One isolated OpenDSS context. The only file that imports opendssdirect.

Two of the engine's interfaces are used: its API for commands and for single values, and its batch functions for whole classes of
elements. Batch edits here always carry `AvoidFullRecalc`: without it every changed load rebuilds its admittance matrix and the next
solve is four to five times dearer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .script import FeederError, Script
from .topology import Branch

FloatArray = NDArray[np.float64]

_SET = 0  # BatchOperation_Set
_AVOID_FULL_RECALC = 2  # SetterFlags_AvoidFullRecalc
CONTROLS_OFF, CONTROLS_STATIC, CONTROLS_TIME = -1, 0, 2
_LENGTH_KM = {1: 1.609344, 2: 0.3048, 3: 1.0, 4: 1e-3, 5: 0.3048e-3, 6: 2.54e-5, 7: 1e-5, 8: 1e-6}  # engine's unit code -> km


class Batch:
    """The enabled elements of one class, in the engine's order."""

    def __init__(self, engine: Engine, class_name: str) -> None:
        self._engine, ffi = engine, engine.ffi
        pointer, dims = ffi.new("void***"), ffi.new("int32_t[4]")
        engine.lib.Batch_CreateByClassS(engine.ctx, pointer, dims, class_name.encode())
        engine.check()
        self.items: list[Any] = [pointer[0][i] for i in range(dims[0])] if dims[0] > 0 and pointer[0] != ffi.NULL else []
        engine.lib.Batch_Dispose(pointer[0])
        self._use(self.items)
        self._use([item for item, enabled in zip(self.items, self.get_int(b"enabled"), strict=True) if enabled])

    def _use(self, items: list[Any]) -> None:
        self.items, self.n = items, len(items)
        self._list = self._engine.ffi.new("void*[]", items or [self._engine.ffi.NULL])

    def only(self, names: Collection[str]) -> Batch:
        """Restricted to the elements of these names, in the engine's order."""
        self._use([item for item, name in zip(self.items, self.names(), strict=True) if name in names])
        return self

    def without(self, names: Collection[str]) -> Batch:
        """Restricted to the elements of other names."""
        return self.only([name for name in self.names() if name not in names])

    def names(self) -> tuple[str, ...]:
        ffi, lib = self._engine.ffi, self._engine.lib
        return tuple(ffi.string(lib.Obj_GetName(item)).decode().lower() for item in self.items)

    def get(self, name: bytes) -> FloatArray:
        engine = self._engine
        if not self.n:
            return np.zeros(0)
        engine.lib.Batch_GetFloat64S(engine.doubles, engine.dims, self._list, self.n, name)
        return engine.read_doubles()

    def set(self, name: bytes, values: FloatArray) -> None:
        """Set one float property of every element; values: contiguous float64 [n]."""
        if self.n:
            engine = self._engine
            engine.lib.Batch_Float64ArrayS(
                self._list, self.n, name, _SET, engine.ffi.cast("double*", values.ctypes.data), _AVOID_FULL_RECALC
            )
            engine.check()

    def get_int(self, name: bytes) -> NDArray[np.int32]:
        engine = self._engine
        if not self.n:
            return np.zeros(0, np.int32)
        pointer, dims = engine.ffi.new("int32_t**"), engine.ffi.new("int32_t[4]")
        engine.lib.Batch_GetInt32S(pointer, dims, self._list, self.n, name)
        engine.check()
        out = np.frombuffer(engine.ffi.buffer(pointer[0], dims[0] * 4), np.int32).copy()
        engine.lib.DSS_Dispose_PInteger(pointer)
        return out

    def total_powers(self) -> FloatArray:
        """Complex power into each terminal, kW and kvar, flat in the order element, terminal."""
        engine = self._engine
        if not self.n:
            return np.zeros(0)
        engine.lib.Alt_CEBatch_Get_TotalPowers(engine.doubles, engine.dims, self._list, self.n)
        return engine.read_doubles()

    def texts(self, name: str) -> tuple[str, ...]:
        """One property of every element as text."""
        ffi, lib = self._engine.ffi, self._engine.lib
        pointer, dims = ffi.new("char***"), ffi.new("int32_t[4]")
        if not self.n:
            return ()
        lib.Batch_GetAsStringS(pointer, dims, self._list, self.n, name.encode())
        self._engine.check()
        out = tuple(ffi.string(pointer[0][i]).decode() for i in range(dims[0]))
        lib.DSS_Dispose_PPAnsiChar(pointer, dims[1])
        return out

    def node_refs(self) -> list[NDArray[np.int32]]:
        """Per element, the node reference (0 is ground) of each conductor of each terminal."""
        engine, refs = self._engine, []
        pointer, dims = engine.ffi.new("int32_t**"), engine.ffi.new("int32_t[4]")
        for item in self.items:
            engine.lib.Alt_CE_Get_NodeRef(pointer, dims, item)
            engine.check()
            refs.append(np.frombuffer(engine.ffi.buffer(pointer[0], dims[0] * 4), np.int32).copy())
        engine.lib.DSS_Dispose_PInteger(pointer)
        return refs


class _Closed:
    """Stands for the bindings after `close`: any use is an error instead of a crash."""

    def __init__(self, master: str) -> None:
        self._master = master

    def __getattr__(self, name: str) -> Any:
        raise FeederError(self._master, "the feeder is closed", "build a new Feeder from its model")


class Engine:
    """A context with a circuit in it. Every engine error becomes a FeederError that names the master file."""

    def __init__(self, master: str) -> None:
        import opendssdirect

        self.master = master
        self._error_class = opendssdirect.DSSException
        self.dss: Any = opendssdirect.NewContext()
        for permission in (
            self.dss.Basic.AllowEditor,
            self.dss.Basic.AllowForms,
            self.dss.Basic.AllowDOScmd,
            self.dss.Basic.AllowChangeDir,
        ):
            permission(False)
        util = self.dss.Basic._api_util
        self._util, self.ctx, self.ffi = util, util.ctx, util.ffi
        self.lib: Any = util.lib_unpatched
        self.api: Any = util.lib
        self.doubles, self.dims = self.ffi.new("double**"), self.ffi.new("int32_t[4]")
        self._voltages = self.ffi.new("double**")

    def close(self) -> None:
        """Free the circuit. About 1 MB of an empty context stays until the process ends: registries of the bindings hold it."""
        if isinstance(self.dss, _Closed):
            return
        self.dss.Text.Command("clearall")
        self.lib.DSS_Dispose_PDouble(self.doubles)
        self.dss = self.lib = self.api = _Closed(self.master)  # pointers into the circuit are dead from here

    def check(self) -> None:
        """Raise what a batch call left in the context's error slot."""
        if self._util._errorPtr[0]:
            number = self._util._errorPtr[0]
            self._util._errorPtr[0] = 0
            text = self._util.get_string(self.api.Error_Get_Description())
            raise FeederError(self.master, f"OpenDSS error {number}: {text.strip()}", "correct the network file")

    def command(self, text: str, where: str | None = None) -> None:
        """One text command. where: the file and line to blame, the master by default."""
        try:
            self.dss.Text.Command(text)
        except self._error_class as error:
            raise FeederError(where or self.master, f"`{text[:80]}`: {_one_line(error)}", "correct the network file") from error

    def load(self, script: Script, base_hz: float) -> None:
        """Build the circuit from statements that `read_script` let through."""
        self.command("clear")
        self.command(
            f"set defaultbasefrequency={base_hz:.17g}"
        )  # before the circuit: set later, every voltage is 0 and the engine says converged
        for where, statement in script.statements:
            self.command(statement, where)
        if self.dss.Solution.Frequency() != base_hz:
            hint = f"give base_hz={self.dss.Solution.Frequency():g} in the model, or correct `set DefaultBaseFrequency` in the file"
            raise FeederError(
                self.master, f"is a {self.dss.Solution.Frequency():g} Hz network, the model says {base_hz:g} Hz", hint
            )

    def solve(self, controls: int, what: str) -> int:
        """Solve with a control mode; returns the control iterations. From a flat start once more when the warm start fails."""
        solution = self.dss.Solution
        try:
            solution.ControlMode(controls)
            for attempt in range(2):
                solution.Solve()
                if solution.Converged():
                    return int(solution.ControlIterations())
                if attempt == 0:
                    self.api.YMatrix_Set_SolutionInitialized(0)
        except self._error_class as error:
            raise FeederError(
                self.master, f"{what}: {_one_line(error)}", "check loading, source voltage and switch states"
            ) from error
        raise FeederError(
            self.master, f"{what}: the power flow does not converge", "check loading, source voltage and switch states"
        )

    def node_voltages(self) -> NDArray[np.complex128]:
        """Phasors of all nodes, V; [0] is ground, [i] the i-th name of `node_names`."""
        self.api.YMatrix_getVpointer(self._voltages)
        return np.frombuffer(self.ffi.buffer(self._voltages[0], self._n_nodes * 16), np.complex128).copy()

    def set_node_voltages(self, phasors: NDArray[np.complex128]) -> None:
        """Where the next solve's iteration begins; as `node_voltages` gives them."""
        self.api.YMatrix_getVpointer(self._voltages)
        np.frombuffer(self.ffi.buffer(self._voltages[0], self._n_nodes * 16), np.complex128)[:] = phasors

    def node_names(self) -> tuple[str, ...]:
        """'bus.phase' in the order of the engine's own vectors."""
        names = tuple(str(n).lower() for n in self.dss.Circuit.YNodeOrder())
        self._n_nodes = len(names) + 1
        return names

    def read_doubles(self) -> FloatArray:
        self.check()
        return np.frombuffer(self.ffi.buffer(self.doubles[0], self.dims[0] * 8), np.float64).copy()

    def property(self, element: str, name: str) -> str:
        self.command(f"? {element}.{name}")
        return str(self.dss.Text.Result())

    def bus_base_kv(self) -> dict[str, float]:
        """Base voltage of each bus, kV line to neutral; 0.0 where the file sets none."""
        bases = {}
        for i in range(self.dss.Circuit.NumBuses()):
            self.dss.Circuit.SetActiveBusi(i)
            bases[self.dss.Bus.Name().lower()] = float(self.dss.Bus.kVBase())
        return bases

    def branches(self, line_unit_km: float) -> list[Branch]:
        """Every enabled line, transformer and series reactor or capacitor."""
        out: list[Branch] = []
        element, dss = self.dss.CktElement, self.dss
        for name in dss.Circuit.AllElementNames():
            kind = name.split(".")[0].lower()
            if kind not in ("line", "transformer", "autotrans", "reactor", "capacitor"):
                continue
            dss.Circuit.SetActiveElement(name)
            buses = tuple(b.split(".")[0].lower() for b in element.BusNames())
            if not element.Enabled() or len(set(buses)) < 2:
                continue
            km, low_kv = 0.0, 0.0
            if kind == "line":
                dss.Lines.Name(name.split(".", 1)[1])
                km = dss.Lines.Length() * _LENGTH_KM.get(int(dss.Lines.Units()), line_unit_km)
            elif kind == "transformer":
                low_kv = min(kv for _, kv in self.winding_kvs(name))
            dss.Circuit.SetActiveElement(name)
            closed = not any(element.IsOpen(t, 0) for t in range(1, element.NumTerminals() + 1))
            out.append(Branch(name.lower(), buses, km, closed, low_kv))
        return out

    def winding_kvs(self, transformer: str) -> list[tuple[int, float]]:
        """(phases, rated kV) of each winding."""
        transformers = self.dss.Transformers
        transformers.Name(transformer.split(".", 1)[1])
        phases, out = int(self.dss.CktElement.NumPhases()), []
        for winding in range(1, transformers.NumWindings() + 1):
            transformers.Wdg(winding)
            out.append((phases, float(transformers.kV())))
        return out


def _one_line(error: Exception) -> str:
    return " ".join(str(part) for part in error.args).replace("\r", " ").replace("\n", " ").strip()
