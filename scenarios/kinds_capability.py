"""What a scenario may say about capability and dispatch stack in a TBLM, and the parameters that makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from scenarios.fields import NotNegative, Positive, Seconds, Share, Strict, nanoseconds

if TYPE_CHECKING:
    from federates.tblm.flexibility import FlexibilityParams


class Terms(Strict):
    """On what terms a kind of DER enters the dispatch stack."""

    cost_up_per_mwh: float | None = Field(default=None, description="for generating more, at its terminals; null: not offered")
    cost_down_per_mwh: float | None = Field(default=None, description="for generating less, likewise")
    ramp_w_per_s: Positive | None = Field(default=None, description="of one DER; null: no limit")
    duration_s: Positive | None = Field(default=None, description="longest time at a stretch; null: no limit")
    energy_wh: Positive | None = Field(default=None, description="of one DER; null: no limit")
    rebound: Share = Field(default=0.0, description="part of the energy that comes back afterwards")


class Capability(Strict):
    """The P-Q regions and the dispatch stack in the TBLM."""

    every_s: Seconds = Field(description="how old they may become; a change of a switch, capacitor or DER makes them anew at once")
    v_pu: tuple[Positive, Positive] = Field(default=(0.95, 1.05), description="voltages that every node of the feeder must keep")
    bus_v_pu: tuple[Positive, ...] = Field(
        default=(), description="voltages of the transmission bus to compute for; none: the present"
    )
    line_rating_share: Positive | None = Field(default=1.0, description="of each line's normal rating in the file; null: no limit")
    line_above_v: NotNegative = Field(default=1000.0, description="lines of a lower voltage to ground have no limit")
    delivery_s: tuple[Positive, ...] = Field(default=(2.0, 60.0), description="classes: 2 inverters, 60 taps and capacitors too")
    devices: tuple[str, ...] | None = Field(default=None, description="regulators and capacitors that may be moved; null: all")
    tap_moves: int = Field(default=8, ge=0, description="most taps that a regulator is moved by")
    directions: int = Field(default=24, ge=8, description="most directions of a region")
    pv_sigma: Share = Field(default=0.1, description="standard deviation of what PV has available, part of it: P10 and P90")
    pv: Terms | None = Field(default=None, description="terms of PV; null: not in the stack")
    storage: Terms | None = Field(default=None, description="terms of storage; null: not in the stack")

    @model_validator(mode="after")
    def _rising(self) -> Capability:
        if self.v_pu[0] >= self.v_pu[1] or list(self.delivery_s) != sorted(set(self.delivery_s)):
            raise ValueError("v_pu and delivery_s must rise; write for instance [0.95, 1.05] and [2, 60]")
        return self


def flexibility_params(entry: Capability | None) -> FlexibilityParams | None:
    """The builder's parameters; None where the scenario asks for no capability."""
    if entry is None:
        return None
    from federates.tblm.capability.compute import CapabilityOptions
    from federates.tblm.capability.limits import LimitRules
    from federates.tblm.capability.region import RegionOptions
    from federates.tblm.dispatch import Terms as DispatchTerms
    from federates.tblm.flexibility import FlexibilityParams

    def terms(given: Terms | None) -> DispatchTerms | None:
        if given is None:
            return None
        values = given.model_dump()
        return DispatchTerms(values.pop("cost_up_per_mwh"), values.pop("cost_down_per_mwh"), **values)

    return FlexibilityParams(
        every_ns=nanoseconds(entry.every_s),
        rules=LimitRules(entry.v_pu, rated_share=entry.line_rating_share, rated_above_v=entry.line_above_v),
        options=CapabilityOptions(
            v_pu=entry.bus_v_pu,
            delivery_s=entry.delivery_s,
            devices=entry.devices,
            tap_moves=entry.tap_moves,
            region=RegionOptions(directions=entry.directions),
        ),
        sigma=entry.pv_sigma,
        pv=terms(entry.pv),
        storage=terms(entry.storage),
    )
