"""The generators of a network file as a fleet that answers frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from federates.grid.frequency import FrequencyModel, Machine
from federates.grid.governor import Governor
from federates.grid.transmission import Transmission


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
        """The frequency model of a network: machines in service that hold a voltage, the largest ones governed first.

        Every one of them has inertia by its rating; one without active power (a condenser) has no governor.
        """
        case = engine.case
        turning = [i for i, (table, _) in enumerate(case.generator_table) if table == "gen" and case.generator_in_service[i]]
        rating = {case.generator_names[i]: float(case.generator_rating_va[i]) for i in turning if case.generator_rating_va[i] > 0.0}
        driven = {case.generator_names[i]: rating[case.generator_names[i]] for i in turning if case.generator_p_max_w[i] > 0.0}
        governed: set[str] = set()
        wanted = self.governed_share * sum(driven.values())
        for name in sorted(driven, key=lambda name: (-driven[name], name)):
            if sum(driven[g] for g in governed) < wanted:
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
