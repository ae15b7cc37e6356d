"""The voltages a DER looks at, from phase voltages at its terminals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from federates.grid.der.constants import Constants
from federates.grid.der.parameters import ComplexArray, FloatArray

A = np.exp(2j * np.pi / 3)
ROOT3 = np.sqrt(3.0)


class Voltages(NamedTuple):
    """Per unit, shape (n,) each."""

    mean: FloatArray  # of the phase magnitudes
    low: FloatArray  # least and greatest of phase and line to line voltages: what trips and enter service look at
    high: FloatArray
    positive: FloatArray  # magnitude of the positive sequence
    direction: ComplexArray | None  # its unit phasor; None: 1 everywhere
    negative: ComplexArray | None  # negative sequence seen from the positive one; None: 0 everywhere


def measure(k: Constants, v_pu: np.ndarray) -> Voltages:
    """Voltages of the DERs from `v_pu`.

    Shape (n, 3): phase to neutral voltages, complex phasors or magnitudes (then at 0, -120 and 120 degrees); a single-phase DER
    looks at column 0. Shape (n,): the one voltage of single-phase and of balanced three-phase DERs.
    """
    v = np.asarray(v_pu)
    n = len(k.s)
    if v.shape not in ((n,), (n, 3)):
        raise ValueError(f"v_pu has shape {v.shape}; give ({n},) or ({n}, 3)")
    if v.ndim == 1 or not k.three.size:
        return _one(v if v.ndim == 1 else v[:, 0])
    if not k.single.size:
        return _three(v)
    return _mixed(k, v)


def _one(v: np.ndarray) -> Voltages:
    magnitude = np.abs(v).astype(np.float64, copy=False)
    return Voltages(magnitude, magnitude, magnitude, magnitude, _direction(v, magnitude) if np.iscomplexobj(v) else None, None)


def _direction(phasor: ComplexArray, magnitude: FloatArray) -> ComplexArray:
    return np.divide(phasor, magnitude, out=np.ones_like(phasor, dtype=np.complex128), where=magnitude > 0.0)


def _three(v: np.ndarray) -> Voltages:
    a, b, c = v[:, 0], v[:, 1], v[:, 2]
    if np.iscomplexobj(v):
        va, vb, vc = np.abs(a), np.abs(b), np.abs(c)
        lines = (np.abs(a - b), np.abs(b - c), np.abs(c - a))
        turned_b, turned_c = A * b, np.conj(A) * c
        phasor = (a + turned_b + turned_c) / 3.0
        positive = np.abs(phasor)
        direction = _direction(phasor, positive)
        negative = (a + np.conj(A) * b + A * c) / 3.0 * np.conj(direction)
    else:
        va, vb, vc = (np.abs(x) for x in (a, b, c))
        lines = (np.sqrt(va * va + vb * vb + va * vb), np.sqrt(vb * vb + vc * vc + vb * vc), np.sqrt(vc * vc + va * va + vc * va))
        positive = (va + vb + vc) / 3.0
        direction = None
        negative = (va + A * vb + np.conj(A) * vc) / 3.0
    low_line, high_line = np.minimum(np.minimum(*lines[:2]), lines[2]) / ROOT3, np.maximum(np.maximum(*lines[:2]), lines[2]) / ROOT3
    low = np.minimum(np.minimum(np.minimum(va, vb), vc), low_line)
    high = np.maximum(np.maximum(np.maximum(va, vb), vc), high_line)
    return Voltages((va + vb + vc) / 3.0, low, high, positive, direction, negative)


def _mixed(k: Constants, v: np.ndarray) -> Voltages:
    three, one = _three(v[k.three]), _one(v[k.single, 0])
    n = len(k.s)

    def merge(a: FloatArray, b: FloatArray) -> FloatArray:
        out = np.empty(n)
        out[k.three], out[k.single] = a, b
        return out

    direction: ComplexArray | None = None
    if three.direction is not None and one.direction is not None:
        direction = np.empty(n, dtype=np.complex128)
        direction[k.three], direction[k.single] = three.direction, one.direction
    negative = np.zeros(n, dtype=np.complex128)
    negative[k.three] = three.negative
    return Voltages(
        merge(three.mean, one.mean),
        merge(three.low, one.low),
        merge(three.high, one.high),
        merge(three.positive, one.positive),
        direction,
        negative,
    )
