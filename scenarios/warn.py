"""What a reader of a run's results must know before believing them: where the run left the range in which its models hold."""

from __future__ import annotations

import numpy as np

from scenarios.expect import Records
from scenarios.schema import Scenario

FREQUENCY_SHARE = 0.03
"""Of nominal: 58.2 to 61.8 Hz. Further off, machines' own frequency protection is to be expected; nothing here models it."""
VOLTAGE_PU = (0.8, 1.2)
"""Of a bus with feeders. Beyond, motors stall, and controls and protection act that nothing here models."""


def warnings(scenario: Scenario, records: Records) -> list[str]:
    """One sentence each, in the order of the scenario."""
    found = []
    for grid in scenario.of_kind("transmission"):
        nominal = grid.frequency.nominal_hz
        if (worst := _furthest(records, f"{grid.name}.f_hz", nominal)) and abs(worst[1] - nominal) > FREQUENCY_SHARE * nominal:
            t_s, f_hz, _ = worst
            found.append(
                f"frequency went to {f_hz:.3f} Hz at t = {t_s:.6g} s, {abs(f_hz - nominal):.3g} Hz off the nominal {nominal:g} Hz: "
                "machines' own protection, which is not modelled, would have acted before; what follows is beyond the model"
            )
        middle = sum(VOLTAGE_PU) / 2
        if (worst := _furthest(records, f"{grid.name}.v_pu", middle)) and not VOLTAGE_PU[0] <= worst[1] <= VOLTAGE_PU[1]:
            t_s, v_pu, bus = worst
            found.append(
                f"voltage at bus {bus} went to {v_pu:.3f} pu at t = {t_s:.6g} s: motors and protection then do what is not "
                "modelled; what follows is beyond the model"
            )
    return found


def _furthest(records: Records, signal: str, middle: float) -> tuple[float, float, str] | None:
    """Time in s, value and id of what was furthest from `middle`; None where nothing was recorded."""
    try:
        vector = records.vector(signal)
    except LookupError:
        return None
    away = np.abs(vector.values - middle)
    if not np.isfinite(away).any():
        return None
    row, column = np.unravel_index(int(np.nanargmax(away)), away.shape)
    return float(vector.t_ns[row]) / 1e9, float(vector.values[row, column]), str(vector.layout.columns[column])
