"""Governors and turbines as a few numbers: droop, dead band, and lags in series, with the usual values of each kind of plant."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST_LAG_S = 0.005
"""The grid on which `frequency.py` looks for changes of mode: a faster lag would pass between two looks."""


@dataclass(frozen=True)
class Governor:
    """A group of like governors and turbines.

    Speed -> power: dead band (continuous: no step at its edge), droop, limit to the headroom of the machines in service,
    then `stages` (lead_s, lag_s) in series, (1 + lead s) / (1 + lag s); one of (0, 0) follows at once. `secondary_share`: part of
    the secondary control's power (weights; they need not add up to 1).
    """

    name: str
    droop_pu: float = 0.05
    dead_band_hz: float = 0.0
    stages: tuple[tuple[float, float], ...] = ()
    secondary_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.droop_pu > 0.0 or not self.dead_band_hz >= 0.0 or not self.secondary_share >= 0.0:
            raise ValueError(f"governor {self.name!r}: droop_pu must be > 0, dead_band_hz and secondary_share >= 0")
        for lead_s, lag_s in self.stages:
            if not (lag_s >= SHORTEST_LAG_S or lead_s == lag_s == 0.0):
                raise ValueError(
                    f"governor {self.name!r}: a stage's lag must be at least {SHORTEST_LAG_S} s, or its lead and lag both 0; "
                    f"not {lag_s}"
                )

    @property
    def lags(self) -> tuple[tuple[float, float], ...]:
        """Its stages without those that follow at once: the ones that have a state."""
        return tuple(stage for stage in self.stages if stage[1] > 0.0)

    @classmethod
    def steam_reheat(
        cls, name: str, droop_pu: float = 0.05, dead_band_hz: float = 0.0, secondary_share: float = 0.0,
        servo_s: float = 0.2, chest_s: float = 0.3, reheat_s: float = 8.0, high_pressure: float = 0.3,
    ) -> Governor:  # fmt: skip
        """Steam with reheat: `high_pressure` is the fraction of power that does not wait for the reheater (F_H)."""
        return cls(
            name, droop_pu, dead_band_hz, ((0.0, servo_s), (0.0, chest_s), (high_pressure * reheat_s, reheat_s)), secondary_share
        )

    @classmethod
    def gas(
        cls, name: str, droop_pu: float = 0.05, dead_band_hz: float = 0.0, secondary_share: float = 0.0,
        servo_s: float = 0.1, fuel_s: float = 0.4,
    ) -> Governor:  # fmt: skip
        """Gas turbine: fuel valve and combustion as two lags."""
        return cls(name, droop_pu, dead_band_hz, ((0.0, servo_s), (0.0, fuel_s)), secondary_share)

    @classmethod
    def hydro(
        cls, name: str, droop_pu: float = 0.05, dead_band_hz: float = 0.0, secondary_share: float = 0.0,
        servo_s: float = 0.2, temporary_droop_pu: float = 0.4, reset_s: float = 5.0, water_s: float = 1.0,
    ) -> Governor:  # fmt: skip
        """Hydro with transient droop; the water column makes power move the wrong way first."""
        stages = ((0.0, servo_s), (reset_s, reset_s * temporary_droop_pu / droop_pu), (-water_s, water_s / 2.0))
        return cls(name, droop_pu, dead_band_hz, stages, secondary_share)
