"""Default settings by edition of the standard, as values for `DerSettings.of`.

Sources: IEEE 1547-2018 tables 4 (enter service), 8 to 10 (reactive and volt-watt), 11 to 13 (voltage trips), 18 (frequency trips);
IEEE 1547-2003 tables 1 and 2 (DER up to 30 kW) and clause 4.2.6 (reconnection after five minutes).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from federates.grid.der.parameters import AbnormalCategory, NormalCategory, QMode

ABNORMAL: Mapping[str, Mapping[str, float | bool]] = {
    "I": {"OV1_TRIP_T": 2.0, "UV1_TRIP_V": 0.7, "UV1_TRIP_T": 2.0, "UV2_TRIP_V": 0.45, "UV2_TRIP_T": 0.16, "MC_ENABLE": False},
    "II": {"OV1_TRIP_T": 2.0, "UV1_TRIP_V": 0.7, "UV1_TRIP_T": 10.0, "UV2_TRIP_V": 0.45, "UV2_TRIP_T": 0.16, "MC_ENABLE": False},
    "III": {"OV1_TRIP_T": 13.0, "UV1_TRIP_V": 0.88, "UV1_TRIP_T": 21.0, "UV2_TRIP_V": 0.5, "UV2_TRIP_T": 2.0, "MC_ENABLE": True},
}
NORMAL: Mapping[str, Mapping[str, float]] = {
    "A": {
        "QV_CURVE_V1": 0.9, "QV_CURVE_V2": 1.0, "QV_CURVE_V3": 1.0, "QV_CURVE_V4": 1.1,
        "QV_CURVE_Q1": 0.25, "QV_CURVE_Q4": -0.25, "QV_OLRT": 10.0, "QP_CURVE_Q3_GEN": -0.25, "QP_CURVE_Q3_LOAD": 0.44,
    },
    "B": {},
}  # fmt: skip
IEEE1547_2003: Mapping[str, float | bool | int] = {
    "NP_ABNORMAL_OP_CAT": int(AbnormalCategory.NONE),
    "Q_MODE": int(QMode.CONST_PF),
    "CONST_PF": 1.0,
    "PF_MODE_ENABLE": False,
    "MC_ENABLE": False,
    "OV2_TRIP_V": 1.2, "OV2_TRIP_T": 0.16, "OV1_TRIP_V": 1.1, "OV1_TRIP_T": 1.0,
    "UV1_TRIP_V": 0.88, "UV1_TRIP_T": 2.0, "UV2_TRIP_V": 0.5, "UV2_TRIP_T": 0.16,
    "OF2_TRIP_F": 60.5, "OF2_TRIP_T": 0.16, "OF1_TRIP_F": 60.5, "OF1_TRIP_T": 0.16,
    "UF1_TRIP_F": 59.3, "UF1_TRIP_T": 0.16, "UF2_TRIP_F": 57.0, "UF2_TRIP_T": 0.16,
    "ES_V_LOW": 0.917, "ES_V_HIGH": 1.058, "ES_F_LOW": 59.3, "ES_F_HIGH": 60.5, "ES_DELAY": 300.0, "ES_RAMP_RATE": 0.0,
}  # fmt: skip


def ieee1547_2018(category: str, normal_category: str) -> dict[str, float | bool | int]:
    """Defaults of the 2018 edition for categories "I", "II" or "III" and "A" or "B"; ValueError for any other."""
    if category not in ABNORMAL or normal_category not in NORMAL:
        raise ValueError(f"IEEE 1547-2018 categories {category!r}, {normal_category!r}: give I, II or III and A or B")
    return {
        "NP_ABNORMAL_OP_CAT": int(AbnormalCategory[category]),
        "NP_NORMAL_OP_CAT": int(NormalCategory[normal_category]),
        **ABNORMAL[category],
        **NORMAL[normal_category],
    }


def randomized_delay_s(n: int, longest_s: float, seed: int) -> np.ndarray:
    """ES_RANDOMIZED_DELAY_ACTUAL of `n` DERs, uniform between 0 and `longest_s` (clause 4.10.3), from `seed`; shape (n,), s."""
    return np.random.default_rng(seed).uniform(0.0, longest_s, n)
