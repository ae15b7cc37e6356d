"""The enumerations of the standard and the declaration of one setting.

A setting is declared once, in `settings.DerSettings`, with its default, unit and meaning; construction, validation and the
content hash all read that one table.
"""

from __future__ import annotations

from dataclasses import field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
BoolArray = NDArray[np.bool_]
CodeArray = NDArray[np.int8]
Which = ArrayLike | slice  # which DERs: indices, a mask, a slice


class DerType(IntEnum):
    PV = 0
    STORAGE = 1


class NormalCategory(IntEnum):
    """Normal operating performance category (IEEE 1547-2018 clause 5.2)."""

    A = 0
    B = 1


class AbnormalCategory(IntEnum):
    """Abnormal operating performance category (clause 6.4). NONE: no ride-through modes at all, as before the 2018 edition."""

    NONE = 0
    I = 1  # noqa: E741  (the name the standard gives it)
    II = 2
    III = 3


class QMode(IntEnum):
    """The reactive power control mode (clause 5.3). One field, because at most one of them may be enabled at a time."""

    NONE = 0
    CONST_PF = 1
    QV = 2
    QP = 3
    CONST_Q = 4


class Excitation(IntEnum):
    """Direction of Q in constant power factor mode while generating: INJ delivers vars (over-excited), ABS takes them."""

    ABS = -1
    INJ = 1


class Priority(IntEnum):
    """What keeps its value when P and Q together exceed the apparent power rating, outside the required Q range."""

    ACTIVE = 0
    REACTIVE = 1


class LowPowerQ(IntEnum):
    """Reactive capability at low active power.

    SAME: the full range at any P, hence Q at night. REDUCED: what the standard asks, none below 5 % of rated P, growing to the
    full range at 20 %.
    """

    REDUCED = 0
    SAME = 1


class VoltageMeasure(IntEnum):
    """The voltage that volt-var and volt-watt of a three-phase DER follow: mean of the phase magnitudes, or positive sequence."""

    AVG = 0
    POS = 1


class DerStatus(IntEnum):
    """Operating status (clause 6.4.2, table 13 ff.). Everything but TRIP is in service; the last five are ride-through."""

    TRIP = 0
    ENTERING_SERVICE = 1
    CONTINUOUS = 2
    MANDATORY = 3
    PERMISSIVE = 4
    MOMENTARY_CESSATION = 5
    CEASE_TO_ENERGIZE = 6
    NOT_DEFINED = 7


def rows(which: Which, n: int) -> NDArray[np.intp]:
    """Indices of the DERs `which` of `n`: a slice, indices, or a mask of n. ValueError if there are no such DERs."""
    chosen = which if isinstance(which, slice) else np.asarray(which)
    if isinstance(chosen, np.ndarray) and chosen.size == 0:
        chosen = chosen.astype(np.intp)
    try:
        return np.atleast_1d(np.arange(n)[chosen])
    except IndexError:
        raise ValueError(f"DERs {which!r} of {n}: give indices below {n}, a slice, or a mask of {n}") from None


def param(
    default: float | bool | IntEnum | None, unit: str, doc: str, *, low: float = -np.inf, high: float = np.inf, points: int = 1
) -> Any:
    """Declare a setting. `default` None: derived from other settings (see `settings.DERIVED`) or, failing that, required.

    `low` and `high` bound what is accepted. `points` > 1: the setting is a row of points per DER, shape (n, points).
    """
    return field(metadata={"default": default, "unit": unit, "doc": doc, "low": low, "high": high, "points": points})
