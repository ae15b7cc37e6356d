"""Limits of apparent and reactive power, and which of P and Q gives way (IEEE 1547-2018 clauses 5.2, 5.3)."""

from __future__ import annotations

import numpy as np

from federates.grid.der.constants import LOW_P_PU, LOW_P_SHARE, Q_REQUIRED_INJ_PU, Constants
from federates.grid.der.parameters import FloatArray, Priority, QMode


def limited(k: Constants, p_desired: FloatArray, q_desired: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P and Q within the ratings, both pu on NP_VA_MAX, from desired P (pu on NP_P_MAX) and Q (pu on NP_VA_MAX)."""
    p = p_desired * k.p_base
    radius = np.where(p_desired >= 0.0, 1.0, k.va_charge) if k.any_storage else np.ones(len(k.s))
    p_out, q_out = p, np.zeros(len(k.s))
    if k.by_capability.any():
        q = q_range(k, p_desired, q_desired)
        p_new, q = _by_priority(k, p, q, radius)
        p_out, q_out = np.where(k.by_capability, p_new, p_out), np.where(k.by_capability, q, q_out)
    if k.has_mode[QMode.CONST_PF]:
        p_new, q = _const_pf(k, p, q_desired, radius)
        p_out, q_out = np.where(k.mode[QMode.CONST_PF], p_new, p_out), np.where(k.mode[QMode.CONST_PF], q, q_out)
    if k.has_mode[QMode.QP]:
        p_new, q = _watt_var(k, p_desired, p, q_desired, radius)
        p_out, q_out = np.where(k.mode[QMode.QP], p_new, p_out), np.where(k.mode[QMode.QP], q, q_out)
    return p_out, q_out


def q_range(k: Constants, p: FloatArray, q: FloatArray) -> FloatArray:
    """`q` cut to the reactive capability at active power `p` (pu on NP_P_MAX)."""
    if not k.any_reduced:
        return np.minimum(k.q_max_inj, np.maximum(-k.q_max_abs, q))
    share = np.where(k.reduced, np.interp(p, LOW_P_PU, LOW_P_SHARE), 1.0)
    return np.minimum(k.q_max_inj * share, np.maximum(-k.q_max_abs * share, q))


def _by_priority(k: Constants, p: FloatArray, q: FloatArray, radius: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Volt-var and constant Q: Q keeps its value and P gives way; under active power priority Q first gives up what the standard
    does not require of it.
    """
    room = radius**2
    over = p * p + q * q >= room
    if not over.any():
        return p, q
    required = np.where(q > 0.0, Q_REQUIRED_INJ_PU, k.q_required_abs)
    active = k.s.NP_PRIO_OUTSIDE_MIN_Q_REQ == Priority.ACTIVE
    q_kept = np.where(active, np.minimum(np.abs(q), required), np.abs(q))
    p_new = np.minimum(np.abs(p), np.sqrt(np.maximum(room - q_kept**2, 0.0)))
    q_new = np.where(active, np.minimum(np.abs(q), np.sqrt(np.maximum(room - p_new**2, 0.0))), q_kept)
    return np.where(over, p_new * np.sign(p), p), np.where(over, q_new * np.sign(q), q)


def _const_pf(k: Constants, p: FloatArray, q: FloatArray, radius: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Constant power factor: both shrink together to the apparent power, then to where its circle meets the reactive capability."""
    square = p * p + q * q
    over = square >= radius**2
    q_new, p_new = q, p
    if over.any():
        shrink = np.where(over, np.minimum(1.0, radius / np.sqrt(np.maximum(square, 1e-18))), 1.0)
        p_new, q_new = p * shrink, q * shrink
    generating, injecting = p > 0.0, q_new > 0.0
    corner_p, corner_q = (
        np.where(
            generating,
            np.where(injecting, k.pf_intercept[1.0, True][j], k.pf_intercept[1.0, False][j]),
            np.where(injecting, k.pf_intercept[-1.0, True][j], k.pf_intercept[-1.0, False][j]),
        )
        for j in (0, 1)
    )
    beyond = np.abs(q_new) > corner_q
    p_new = np.where(beyond, np.minimum(np.abs(corner_p), np.abs(p)) * np.sign(p), p_new)
    return p_new, q_range(k, p_new / k.p_base, q_new)


def _watt_var(
    k: Constants, p_desired: FloatArray, p: FloatArray, q: FloatArray, radius: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Watt-var: beyond the apparent power, to where its circle meets the watt-var curve."""
    over = p * p + q * q >= radius**2
    p_new, q_new = p, q
    if over.any():
        generating = p > 0.0
        corner_p, corner_q = (np.where(generating, k.qp_intercept[1.0][j], k.qp_intercept[-1.0][j]) for j in (0, 1))
        p_new = np.where(over, np.where(generating, np.minimum(corner_p, p), np.maximum(corner_p, p)), p)
        q_new = np.where(over, np.minimum(corner_q, np.abs(q)) * np.sign(q), q)
    return p_new, q_range(k, p_desired, q_new)
