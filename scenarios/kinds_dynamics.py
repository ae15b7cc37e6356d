"""What a scenario may say of the dynamics engine, and of native load that is shed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scenarios.fields import NotNegative, Positive, Share, Strict


class Dynamics(Strict):
    """Of `engine: dynamics`: machines, exciters and governors are those of the case, integrated by ANDES."""

    steps_per_s: Literal[16, 32, 64, 128, 256] = Field(default=32, description="inner steps of the integration")
    low_v_pu: Positive = Field(default=0.7, description="voltage under which a load is an impedance, as in a fault")


class NativeStage(Strict):
    """A stage of under-frequency load shedding of the load that no feeder stands for: the same part at every bus."""

    pickup_hz: Positive = Field(description="it picks up below")
    share: Share = Field(description="of all native load as it was at the start; stages add up")
    delay_s: NotNegative = Field(default=0.1, description="for so long frequency must stay below")
    breaker_s: NotNegative = Field(default=0.08, description="from its operation to the parting of the contacts")
