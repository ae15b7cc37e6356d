"""Whether the bulk system is in an emergency: thresholds with hysteresis on frequency, RoCoF and voltage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmergencyThresholds:
    """When an emergency begins and ends.

    Entered when one threshold is passed. Left when all have stayed within `exit_fraction` of them for `hold_ns`
    (voltage: of the threshold's distance to 1 pu).
    """

    deviation_hz: float = 0.1
    rocof_hz_per_s: float = 0.05
    v_min_pu: float = 0.9
    exit_fraction: float = 0.5
    hold_ns: int = 10_000_000_000


class EmergencyDetector:
    """Whether the bulk system is in an emergency: pure, driven by the times it is given."""

    def __init__(self, thresholds: EmergencyThresholds, f0_hz: float) -> None:
        self.thresholds, self.f0_hz = thresholds, f0_hz
        self.active = False
        self._calm_since_ns: int | None = None

    def update(self, t_ns: int, f_hz: float, rocof_hz_per_s: float, v_pu: float) -> bool:
        """The state at `t_ns`, given frequency, RoCoF and the lowest voltage watched. NaN is an emergency."""
        if self._beyond(1.0, f_hz, rocof_hz_per_s, v_pu):
            self.active, self._calm_since_ns = True, None
        elif self.active and self._beyond(self.thresholds.exit_fraction, f_hz, rocof_hz_per_s, v_pu):
            self._calm_since_ns = None
        elif self.active:
            self._calm_since_ns = t_ns if self._calm_since_ns is None else self._calm_since_ns
            self.active = t_ns - self._calm_since_ns < self.thresholds.hold_ns
        return self.active

    def _beyond(self, fraction: float, f_hz: float, rocof_hz_per_s: float, v_pu: float) -> bool:
        limits = self.thresholds
        within = (
            abs(f_hz - self.f0_hz) <= fraction * limits.deviation_hz
            and abs(rocof_hz_per_s) <= fraction * limits.rocof_hz_per_s
            and v_pu >= 1.0 - fraction * (1.0 - limits.v_min_pu)
        )
        return not within
