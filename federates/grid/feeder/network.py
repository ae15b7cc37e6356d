"""The equations of a running feeder, read from the engine: Y V = I(V), branch currents, head power.

For studies that need derivatives. The engine solves Y V = I(V), where Y holds lines, transformers, capacitors and the linear part
of every load and generator, and I(V) their remaining currents. `Network` gives both for the feeder as it stands; what is done with
them is in `federates.grid.sensitivity`.

Rows and columns follow `Feeder.node_names`. Everything is read anew where the state may have changed: taps, capacitors and switches
change Y, powers change I(V).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .build import SOURCES
from .engine import Batch, Engine
from .feeder import Feeder

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_POWER_CONVERSION = (
    "load", "generator", "pvsystem", "storage", "isource", "indmach012", "vccs", "upfc", "gicsource", "gicline", "windgen",
)  # fmt: skip
_STEP = 1e-4  # of a node's voltage: central differences of currents are then good to about 1e-8
_DEAD = 1e-3  # of the base: a node without supply


class BranchCurrents(NamedTuple):
    """Currents into terminal 1 of lines: matrix @ node phasors, A. By row: line, node (index of its terminal 1), rated_a (0:
    none)."""

    matrix: sp.csr_matrix
    line: tuple[str, ...]
    node: NDArray[np.intp]
    rated_a: FloatArray


class Network:
    """Equations of `feeder`, whose engine they are read from. Not for a feeder that another thread solves meanwhile.

    slope_places: (rows, columns) of the entries that dI/dV may have. source_node: the three phases of the transmission bus."""

    def __init__(self, feeder: Feeder) -> None:
        self.feeder, self._engine = feeder, feeder._engine
        engine = self._engine
        self.n = len(feeder.node_names)
        present = {str(name).split(".")[0].lower() for name in engine.dss.Circuit.AllElementNames()}
        refs = [r for kind in _POWER_CONVERSION if kind in present for r in Batch(engine, kind).node_refs()]
        groups = sorted({tuple(sorted({int(x) - 1 for x in r if x})) for r in refs} - {()})
        self._colours = _coloured(groups)
        self.slope_places = _pattern(groups)
        self._base_v = np.nan_to_num(feeder.node_base_kv * 1e3, nan=1.0)
        self._sources = Batch(engine, "vsource").only(SOURCES)
        self.source_node = np.array([int(r[r > 0][0]) - 1 for r in self._sources.node_refs()])
        self._source_y = np.array([_y_prim(engine, item)[0, 0] for item in self._sources.items])
        self._currents = engine.ffi.new("double**")

    def admittance(self) -> sp.csc_matrix:
        """System admittance matrix as the engine has it at present, S, [n_nodes, n_nodes]."""
        values, rows, columns = self._engine.dss.YMatrix.getYsparse(False)
        return sp.csc_matrix((values, rows, columns), shape=(self.n, self.n))

    def injected(self, phasor_v: ComplexArray) -> ComplexArray:
        """I(V) without the sources': what loads and generators inject beside their linear part at these voltages, A, [n_nodes]."""
        engine = self._engine
        engine.set_node_voltages(np.concatenate(([0.0], phasor_v)))
        engine.api.YMatrix_ZeroInjCurr()
        engine.api.YMatrix_GetPCInjCurr()
        return self._injection_vector()

    def injection_slopes(self, phasor_v: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
        """(dI/dVr, dI/dVi) at these voltages, S: the entries at `slope_places`, complex; by central differences.

        Nodes that no element has in common are moved together, so that a feeder of any size takes some twenty evaluations."""
        rows, columns = self.slope_places
        step = _STEP * np.where(np.abs(phasor_v) > _DEAD * self._base_v, np.abs(phasor_v), self._base_v)
        slopes = []
        for turn in (1.0, 1j):
            values = np.zeros(rows.size, np.complex128)
            for nodes, entries in self._colours:
                moved = np.zeros(self.n, np.complex128)
                moved[nodes] = turn * step[nodes]
                change = self.injected(phasor_v + moved) - self.injected(phasor_v - moved)
                values[entries] = change[rows[entries]] / (2.0 * step[columns[entries]])
            slopes.append(values)
        self._engine.set_node_voltages(np.concatenate(([0.0], phasor_v)))
        return slopes[0], slopes[1]

    def head_currents(self, phasor_v: ComplexArray) -> tuple[NDArray[np.int64], ComplexArray, ComplexArray]:
        """(node, current into the feeder in A, source admittance in S) of phases a, b, c at the transmission bus."""
        engine = self._engine
        engine.api.YMatrix_ZeroInjCurr()
        engine.api.YMatrix_GetSourceInjCurrents()
        node = self.source_node
        return node, self._injection_vector()[node] - self._source_y * phasor_v[node], self._source_y

    def branch_currents(self) -> BranchCurrents:
        """The phases of every enabled line at its first terminal."""
        engine = self._engine
        lines = Batch(engine, "line")
        phases, rated = lines.get_int(b"phases"), lines.get(b"normamps")
        rows: list[int] = []
        columns: list[int] = []
        values: list[complex] = []
        names: list[str] = []
        nodes: list[int] = []
        amps: list[float] = []
        for name, item, refs, n, amp in zip(
            lines.names(), lines.items, lines.node_refs(), phases.tolist(), rated.tolist(), strict=True
        ):
            y = _y_prim(engine, item)
            for k in range(n):
                at = np.flatnonzero((y[k] != 0.0) & (refs > 0))
                if not at.size or not refs[k]:
                    continue
                rows += [len(names)] * at.size
                columns += [int(ref) - 1 for ref in refs[at]]
                values += y[k, at].tolist()
                names.append(name)
                nodes.append(int(refs[k]) - 1)
                amps.append(amp)
        matrix = sp.csr_matrix((values, (rows, columns)), shape=(len(names), self.n), dtype=np.complex128)
        return BranchCurrents(matrix, tuple(names), np.array(nodes, np.intp), np.array(amps))

    def _injection_vector(self) -> ComplexArray:
        engine = self._engine
        engine.check()
        engine.api.YMatrix_getIpointer(self._currents)
        return np.frombuffer(engine.ffi.buffer(self._currents[0], (self.n + 1) * 16), np.complex128)[1:].copy()


def _y_prim(engine: Engine, item: Any) -> ComplexArray:
    """Primitive admittance matrix of one element, S, [conductors of all terminals, same]."""
    engine.lib.Alt_CE_Get_YPrim(engine.doubles, engine.dims, item)
    flat = engine.read_doubles().view(np.complex128)
    order = round(flat.size**0.5)
    return np.asarray(flat.reshape(order, order).T)  # the engine stores columns one after another


def _pattern(groups: Sequence[tuple[int, ...]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, column) of every entry that dI/dV may have."""
    pairs = sorted({(column, row) for group in groups for row in group for column in group})
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return array[:, 1], array[:, 0]


def _coloured(groups: Sequence[tuple[int, ...]]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Nodes that may be moved at once, and the entries of `_pattern` that each such set determines."""
    reach: dict[int, set[int]] = {}
    for group in groups:
        for node in group:
            reach.setdefault(node, set()).update(group)
    colour: dict[int, int] = {}
    for node in sorted(reach):
        taken = {colour[other] for row in reach[node] for other in reach[row] if other in colour}
        colour[node] = next(c for c in range(len(taken) + 1) if c not in taken)
    _, columns = _pattern(groups)
    of_entry = np.array([colour[int(c)] for c in columns], np.int64)
    out = []
    for c in range(max(colour.values(), default=-1) + 1):
        nodes = np.array(sorted(node for node, own in colour.items() if own == c), np.int64)
        out.append((nodes, np.flatnonzero(of_entry == c)))
    return out
