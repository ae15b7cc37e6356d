"""What else is usually said of a load, derived from a table: ZIP, exponents, kpf and kqf, each with its error against the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federates.tblm.model import Curve, ExponentFit, ZipFit, evaluate

Floats = NDArray[np.float64]

_SMALLEST_FIT = 0.05  # of S_base: below it a ratio to P0 or Q0 means nothing


def zip_fit(curve: Curve, v0: float, f0: float, s_va: float) -> ZipFit:
    """Constant impedance, current and power shares of P and Q at f0, least squares over the curve's range."""
    v, p, q = _line(curve, f0)
    u = v / v0
    basis = np.stack([u**2, u, np.ones_like(u)], axis=1)
    fits = [np.linalg.lstsq(basis, y, rcond=None)[0] for y in (p, q)]
    errors = [100.0 * float(np.abs(basis @ fit - y).max()) / s_va for fit, y in zip(fits, (p, q), strict=True)]
    zip_p, zip_q = (tuple(float(c) for c in fit) for fit in fits)
    return ZipFit(curve.set, v0, zip_p, zip_q, errors[0], errors[1])  # type: ignore[arg-type]


def exponent_fit(curve: Curve, v0: float, f0: float, s_va: float) -> ExponentFit:
    """Exponents of P and Q at f0, fitted to the logarithms; None where the power at v0 is too small, or changes its sign."""
    v, p, q = _line(curve, f0)
    out: list[float | None] = []
    for y, y0 in ((p, evaluate(curve, v0, f0).p_w), (q, evaluate(curve, v0, f0).q_var)):
        if abs(y0) < _SMALLEST_FIT * s_va or (y * y0 <= 0.0).any():
            out += [None, None]
            continue
        x = np.log(v / v0)
        exponent = float((x @ np.log(y / y0)) / (x @ x))
        out += [exponent, 100.0 * float(np.abs(y0 * (v / v0) ** exponent - y).max()) / s_va]
    return ExponentFit(curve.set, out[0], out[2], out[1], out[3])


def frequency_coefficients(curve: Curve, v0: float, f0: float, s_va: float) -> tuple[float | None, float | None]:
    """(kpf, kqf) from the slope between half a hertz below and above f0; None where P0 or Q0 is too small."""
    half_hz = 0.5
    low, at, high = (evaluate(curve, v0, f0 + d) for d in (-half_hz, 0.0, half_hz))
    out = []
    for below, y0, above in zip(low[:2], at[:2], high[:2], strict=True):
        slope = float(above - below) / (2.0 * half_hz)
        out.append(slope * f0 / float(y0) if abs(y0) >= _SMALLEST_FIT * s_va else None)
    return out[0], out[1]


def _line(curve: Curve, f0: float) -> tuple[Floats, Floats, Floats]:
    v = np.linspace(*curve.range_ok.V_pu, 61)
    at = evaluate(curve, v, f0)
    return v, at.p_w, at.q_var
