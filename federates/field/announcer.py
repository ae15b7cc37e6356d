"""Whoever leads the federation's time in an emergency says when it begins and ends, and what its step is."""

from __future__ import annotations

from typing import Any

from federates.grid.emergency import EmergencyDetector, EmergencyThresholds


class Announcer:
    """The detector with the two events that follow from it. step_ns: what coupled federates step at while it lasts."""

    def __init__(self, thresholds: EmergencyThresholds, nominal_hz: float, step_ns: int) -> None:
        self._detector = EmergencyDetector(thresholds, nominal_hz)
        self._step_ns = step_ns

    def update(
        self, t_ns: int, f_hz: float, rocof_hz_per_s: float, v_pu: float
    ) -> tuple[dict[str, Any], list[dict[str, Any]], int | None]:
        """Outputs `emergency` (where it changed), rows for the sequence of events, and when to be called next."""
        was = self._detector.active
        active = self._detector.update(t_ns, f_hz, rocof_hz_per_s, v_pu)
        wish_ns = (t_ns // self._step_ns + 1) * self._step_ns if active else None
        if active == was:
            return {}, [], wish_ns
        row = {"event": "emergency_begins" if active else "emergency_ends", "f_hz": f_hz, "v_min_pu": v_pu}
        return {"emergency": [{"active": active, "step_ns": self._step_ns}]}, [row], wish_ns
