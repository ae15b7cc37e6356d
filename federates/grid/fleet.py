"""The generators of a network file as a fleet that answers frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from federates.grid.frequency import FrequencyModel, Governor, Machine
from federates.grid.transmission import Transmission

_POWER_FACTOR = 0.9  # of a machine's rating, since network files state active power only


@dataclass(frozen=True)
class FrequencySettings:
    """How the fleet of the network file answers: one inertia, one kind of governor, secondary control (bias 0: none)."""

    nominal_hz: float = 60.0
    inertia_s: float = 4.0
    governor: Literal["steam", "gas", "hydro"] = "steam"
    governed_share: float = 0.8
    droop_pu: float = 0.05
    dead_band_hz: float = 0.036
    headroom: float = 0.15
    native_damping_pu: float = 1.0
    secondary_bias_w_per_hz: float = 0.0
    secondary_time_s: float = 60.0

    def model(self, engine: Transmission) -> FrequencyModel:
        """The frequency model of a network: machines in service that hold a voltage, the largest ones governed first."""
        case = engine.case
        rating = {
            name: case.generator_p_max_w[i] / _POWER_FACTOR for i, name in enumerate(case.generator_names) if self._turns(engine, i)
        }
        by_size = sorted(rating, key=lambda name: (-rating[name], name))
        governed: set[str] = set()
        wanted = self.governed_share * sum(rating.values())
        for name in by_size:
            if sum(rating[g] for g in governed) < wanted:
                governed.add(name)
        make = getattr(Governor, "steam_reheat" if self.governor == "steam" else self.governor)
        groups = (make(self.governor, self.droop_pu, self.dead_band_hz, 1.0),) if governed else ()
        machines = tuple(
            Machine(
                name,
                va,
                self.inertia_s,
                self.governor if name in governed else None,
                headroom_w=self.headroom * va,
                footroom_w=self.headroom * va,
            )
            for name, va in rating.items()
        )
        return FrequencyModel(
            self.nominal_hz,
            machines,
            groups,
            self.native_damping_pu,
            self.secondary_bias_w_per_hz if governed else 0.0,
            self.secondary_time_s,
        )

    @staticmethod
    def _turns(engine: Transmission, i: int) -> bool:
        case = engine.case
        return case.generator_table[i][0] == "gen" and bool(case.generator_in_service[i]) and case.generator_p_max_w[i] > 0.0
