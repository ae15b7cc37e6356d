"""The point map of the stand-in inverter: what a master most often reads and sets, and what plays the grid."""

from __future__ import annotations

import time
from dataclasses import replace

from hil.devices.inverter_model import DEFAULT_RATING, Inverter
from hil.devices.inverter_sunspec import InverterSunSpec
from hil.point_modbus import map_point
from hil.points import Direction, Fallback, FallbackKind, MapPoint, PointMap, PointTable

_HOLD, _OFF = Fallback(FallbackKind.HOLD), Fallback(FallbackKind.RELEASE, 0.0)
_READ = {
    "p_w": "701.W", "q_var": "701.Var", "s_va": "701.VA", "v_ln_v": "701.LNV", "f_hz": "701.Hz", "state": "701.InvSt",
    "p_limit_remaining_s": "704.WMaxLimPctRvrtRem", "volt_var_remaining_s": "705.RvrtRem", "adopted": "705.AdptCrvRslt",
}  # fmt: skip
_WRITE: dict[str, tuple[str, float, float, Fallback]] = {
    "p_limit_pct": ("704.WMaxLimPct", 0.0, 100.0, _HOLD),
    "p_limit_revert_s": ("704.WMaxLimPctRvrtTms", 0.0, 3600.0, _HOLD),
    "p_limit_on": ("704.WMaxLimPctEna", 0.0, 1.0, _OFF),
    "volt_var_points": ("705.Crv[1].ActPt", 2.0, 4.0, _HOLD),
    "volt_var_response_s": ("705.Crv[1].RspTms", 0.0, 90.0, _HOLD),
    **{f"volt_var_v{i + 1}_pct": (f"705.Crv[1].Pt[{i}].V", 80.0, 120.0, _HOLD) for i in range(4)},
    **{f"volt_var_q{i + 1}_pct": (f"705.Crv[1].Pt[{i}].Var", -100.0, 100.0, _HOLD) for i in range(4)},
    "volt_var_adopt": ("705.AdptCrvReq", 1.0, 3.0, _HOLD),
    "volt_var_revert_s": ("705.RvrtTms", 0.0, 3600.0, _HOLD),
    "volt_var_on": ("705.Ena", 0.0, 1.0, _OFF),
}
_GRID = {"v_pu": (0, "pu", 0.0, 2.0), "grid_hz": (2, "Hz", 0.0, 100.0), "available_w": (4, "W", 0.0, 1e7)}


def inverter_map(unit: int = 1, grid_unit: int = 200) -> PointMap:
    """Rows to read and to write, with limits and fallbacks; signals are left to whoever wires it."""
    served = InverterSunSpec(Inverter(DEFAULT_RATING), unit, time.monotonic).points
    rows: list[MapPoint] = []
    for name, point in _READ.items():
        rows.append(replace(map_point(served[point]), name=name, note=point))
    for name, (point, low, high, fallback) in _WRITE.items():
        row = replace(map_point(served[point]), name=name, note=point, direction=Direction.WRITE)
        rows.append(replace(row, minimum=low, maximum=high, fallback=fallback))
    for factor in sorted({row.scale_factor for row in rows if row.scale_factor}):
        rows.append(map_point(served[factor]))
    for name, (address, unit_of_measure, low, high) in _GRID.items():
        row = MapPoint(name, PointTable.HOLDING, address, Direction.WRITE, unit_id=grid_unit, type="f32", unit=unit_of_measure)
        rows.append(replace(row, minimum=low, maximum=high, fallback=_HOLD, note="what the terminals see"))
    return PointMap(tuple(rows))
