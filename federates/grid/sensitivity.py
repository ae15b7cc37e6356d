"""How the voltages, branch currents and head power of a feeder answer small changes of what is injected.

The solved feeder obeys F(V) = Y V - I(V) = 0 with I(V) not analytic in V, so that real and imaginary parts are unknowns of their
own: J = dF/d(Vr, Vi), twice the nodes square, from the engine's own Y and from dI/dV by coloured central differences
(`federates.grid.feeder.network`). One factorisation then answers two kinds of question:

    forward   dV of all nodes by each input: one solve an input
    adjoint   d(head P, Q) by all inputs: two solves, whatever their number

Inputs are P and Q of DER sites, and what a change of Y (a tap, a capacitor) does. Signs: DER generation positive, head power load
positive; so dP/dp of an ideal feeder is -1.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

from federates.grid.feeder import Feeder
from federates.grid.feeder.network import Network

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


class Equations:
    """Y of a feeder with its taps, capacitors and switches as they stand at present, and the places of J's entries."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.y = network.admittance()
        n, slope_rows, slope_columns = network.n, *network.slope_places
        coo = self.y.tocoo()
        key_y, key_slope = coo.col.astype(np.int64) * n + coo.row, slope_columns * n + slope_rows
        keys = np.union1d(key_y, key_slope)  # by column, then row
        self._y_values = np.zeros(keys.size, np.complex128)
        self._y_values[np.searchsorted(keys, key_y)] = coo.data
        self._slope_at = np.searchsorted(keys, key_slope)
        rows, columns = keys % n, keys // n
        count = np.bincount(columns, minlength=n)
        start = np.concatenate(([0], np.cumsum(count)))
        # a column of J holds the real rows of a column of F's slopes, then the imaginary ones
        within = np.arange(keys.size) - start[columns]
        self._real_at = 2 * start[columns] + within
        self._imaginary_at = self._real_at + count[columns]
        indices = np.empty(2 * keys.size, np.int32)
        indices[self._real_at], indices[self._imaginary_at] = rows, rows + n
        self._indices = np.concatenate((indices, indices))
        self._starts = np.concatenate((2 * start, 2 * keys.size + 2 * start[1:])).astype(np.int32)

    def jacobian(self, phasor_v: ComplexArray) -> sp.csc_matrix:
        """dF/d(Vr, Vi) at these voltages, [2 n_nodes, 2 n_nodes]. The feeder's DER must be at what they inject there."""
        halves = []
        for y, slope in zip((self._y_values, 1j * self._y_values), self.network.injection_slopes(phasor_v), strict=True):
            values = y.copy()
            values[self._slope_at] -= slope
            half = np.empty(2 * values.size)
            half[self._real_at], half[self._imaginary_at] = values.real, values.imag
            halves.append(half)
        size = 2 * self.network.n
        return sp.csc_matrix((np.concatenate(halves), self._indices, self._starts), shape=(size, size))


class Jacobian:
    """The factorised equations at one solution. phasor_v [n_nodes]: that solution; by default the feeder's present one."""

    def __init__(self, equations: Equations, phasor_v: ComplexArray | None = None) -> None:
        network = self.network = equations.network
        self.phasor_v = network.feeder.node_phasor_v() if phasor_v is None else phasor_v
        self._factors: SuperLU = splu(equations.jacobian(self.phasor_v))
        self._head = network.head_currents(self.phasor_v)
        self._weights: ComplexArray | None = None

    def head_va(self) -> complex:
        """P + jQ from the transmission bus into the feeder, W and var."""
        node, current, _ = self._head
        return complex((self.phasor_v[node] * current.conj()).sum())

    def voltages(self, current_a: ComplexArray) -> ComplexArray:
        """dV of every node by each input, V per unit of input, complex [n_nodes, n_inputs]. current_a: injected current per unit of
        input, complex, same shape."""
        n = self.network.n
        solved = self._factors.solve(np.asfortranarray(np.concatenate((current_a.real, current_a.imag))))
        return np.asarray(solved[:n] + 1j * solved[n:])

    def head_weights(self) -> ComplexArray:
        """The adjoint: by what a current injected at each node moves the head, complex w [n_nodes, 2] for P and Q, such that
        dP = Re(w[:, 0] @ dI) and dQ = Re(w[:, 1] @ dI)."""
        if self._weights is None:
            n, (node, current, y_source) = self.network.n, self._head
            v = self.phasor_v[node]
            # S = V conj(i), i = I_source - y V: dS = dV conj(i) - V conj(y) conj(dV)
            by_real, by_imaginary = current.conj() - v * y_source.conj(), 1j * current.conj() + 1j * v * y_source.conj()
            right = np.zeros((2 * n, 2))
            for column, part in enumerate((np.real, np.imag)):
                right[node, column] = part(by_real)
                right[n + node, column] = part(by_imaginary)
            adjoint = self._factors.solve(right, trans="T")
            self._weights = adjoint[:n] - 1j * adjoint[n:]
        return self._weights

    def head(self, current_a: ComplexArray) -> ComplexArray:
        """d(P + jQ) at the head by each input, [n_inputs], by the adjoint."""
        p_and_q = (current_a.T @ self.head_weights()).real
        return np.asarray(p_and_q[:, 0] + 1j * p_and_q[:, 1])

    def head_curvature(self, p_w: FloatArray, q_var: FloatArray, dv: ComplexArray) -> FloatArray:
        """Second derivatives of head P and Q by P and Q of the DER sites, [2, n_inputs, n_inputs] for inputs in the order of
        `der_inputs`, as far as they come from the sites' own currents. p_w, q_var [n_der]: what the sites inject; dv: `voltages` of
        those inputs.

        A site's current is conj(s) / (k conj(V)): it grows as the voltage falls, and both depend on all inputs. These terms are the
        network's losses, the bulk of the curvature; those of loads, which hardly follow from any single site, are left out."""
        node = self.network.feeder.der_nodes()
        site, _ = np.nonzero(node > 0)
        at, n_der, rows = node[node > 0] - 1, node.shape[0], np.arange(site.size)
        share = (node > 0).sum(axis=1)[site]
        v, conj_dv, s = self.phasor_v[at].conj(), dv[at].conj(), (p_w - 1j * q_var)[site]
        ds = np.zeros((site.size, 2 * n_der), np.complex128)
        ds[rows, site], ds[rows, site + n_der] = 1.0, -1j
        out = np.empty((2, 2 * n_der, 2 * n_der))
        for quantity in range(2):
            weight = self.head_weights()[at, quantity] / share
            cross = ds.T @ ((-weight / v**2)[:, None] * conj_dv)
            own = conj_dv.T @ ((2.0 * weight * s / v**3)[:, None] * conj_dv)
            out[quantity] = (cross + cross.T + own).real
        return out


def der_inputs(feeder: Feeder, phasor_v: ComplexArray) -> ComplexArray:
    """Current injected per W and per var of every DER site, complex [n_nodes, 2 n_der]: first all P, then all Q.

    A site injects conj(S / k / V) into each of its k phases, the same power into each."""
    node = feeder.der_nodes()
    site, _ = np.nonzero(node > 0)
    at, n_der = node[node > 0] - 1, node.shape[0]
    per_w = 1.0 / ((node > 0).sum(axis=1)[site] * phasor_v[at].conj())
    out = np.zeros((phasor_v.size, 2 * n_der), np.complex128)
    out[at, site], out[at, site + n_der] = per_w, -1j * per_w
    return out
