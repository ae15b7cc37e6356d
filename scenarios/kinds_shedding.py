"""What a scenario may say about load shedding: relays and their stages, special schemes, programs that a TBLM reckons with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scenarios.fields import Name, NotNegative, Positive, Seconds, Share, Strict


class Stage(Strict):
    """A stage of load shedding. Frequency or voltage has to stay below the pickup for `delay_s`; then breakers open."""

    stage: int | None = Field(default=None, ge=1, description="its number in the scheme; default: its place in the list")
    delay_s: NotNegative = Field(description="definite time from pickup to operation")
    breaker_s: NotNegative = Field(default=0.08, description="from operation until the contacts have parted")
    feeders: int | None = Field(default=None, ge=1, description="how many of the like feeders it opens; default: all that are left")
    by: Name | None = Field(default=None, description="the device that does it, relay or stand-in; default: it is simulated")


class UnderFrequencyStage(Stage):
    """A stage of under-frequency load shedding."""

    pickup_hz: Positive = Field(description="picks up when the frequency is lower")
    reset_hz: NotNegative = Field(default=0.02, description="drops out this far above its pickup")
    inhibit_v_pu: NotNegative = Field(default=0.5, description="blocked while the voltage is lower")


class UnderVoltageStage(Stage):
    """A stage of under-voltage load shedding."""

    pickup_pu: Positive = Field(description="picks up when the voltage at the bus is lower")
    reset_pu: NotNegative = Field(default=0.02, description="drops out this far above its pickup")


class Relays(Strict):
    """Load-shedding relays of a feeder's substation: they measure the bus and open the breakers of the like feeders."""

    name: Name
    kind: Literal["relays"]
    feeder: Name = Field(description="name of the distribution federate")
    period_s: Seconds = Field(default=1.0, description="how often they look outside an emergency; within one, at its every step")
    ufls: tuple[UnderFrequencyStage, ...] = Field(default=(), description="stages of under-frequency load shedding")
    uvls: tuple[UnderVoltageStage, ...] = Field(default=(), description="stages of under-voltage load shedding")

    @model_validator(mode="after")
    def _some(self) -> Relays:
        if not (self.ufls or self.uvls):
            raise ValueError("it has no stage; write ufls or uvls, or remove the entry")
        for name, stages in (("ufls", self.ufls), ("uvls", self.uvls)):
            numbers = [stage.stage or place for place, stage in enumerate(stages, start=1)]
            if len(set(numbers)) < len(numbers):
                raise ValueError(f"two stages of {name} have one number; give each its own, or none a number")
        return self


class SchemeCondition(Strict):
    """One of: a line that is open, a line loaded above `above` of its rating, a generator that is out."""

    line_open: str | None = Field(default=None, description='a line that is out of service: "16-17"')
    line_loading: str | None = Field(default=None, description="a line that is loaded above `above`")
    above: Positive = Field(default=1.0, description="of line_loading, of the rating")
    generator_out: str | None = Field(default=None, description="a generator that is out of service: G31")

    @model_validator(mode="after")
    def _one(self) -> SchemeCondition:
        if sum(given is not None for given in (self.line_open, self.line_loading, self.generator_out)) != 1:
            raise ValueError("a condition is one of line_open, line_loading (with above) and generator_out")
        return self


class SchemeTrip(Strict):
    """Whose breakers a scheme opens."""

    feeder: Name = Field(description="name of the distribution federate")
    feeders: int | None = Field(default=None, ge=1, description="how many of the like feeders; default: all that are left")


class SchemeRow(Strict):
    """A row of the logic table: when all conditions have held for `delay_s`, the feeders are tripped."""

    name: Name
    when: Annotated[tuple[SchemeCondition, ...], Field(min_length=1, description="conditions, all of which must hold")]
    trip: Annotated[tuple[SchemeTrip, ...], Field(min_length=1, description="whose breakers open then")]
    delay_s: NotNegative = Field(default=0.0, description="for so long all conditions must have held")
    required_w: NotNegative = Field(default=0.0, description="what the row has to relieve; an alarm when less is armed")


class Schemes(Strict):
    """A special protection scheme: a logic table over statuses of the transmission system."""

    name: Name
    kind: Literal["schemes"]
    grid: Name = Field(description="name of the transmission federate")
    period_s: Seconds = Field(default=0.1, description="how often the table is evaluated when nothing is reported")
    rows: Annotated[tuple[SchemeRow, ...], Field(min_length=1, description="the logic table")]


class Program(Strict):
    """Something beside relays that can take load off a feeder; the TBLM says what it is worth, alone and after others."""

    name: Annotated[str, Field(pattern=r"^(dr|cvr|interruptible|sls):[a-z0-9_]+$")] = Field(
        description="dr:homes, cvr:all and the like"
    )
    load_class: Literal["residential", "commercial", "industrial"] | None = Field(
        default=None, description="whose loads; default: all"
    )
    share: Share = Field(default=0.0, description="of each of these loads")
    participation: Share = Field(
        default=0.8, description="part of the customers asked who take part; share times this is reckoned with"
    )
    opens: tuple[str, ...] = Field(default=(), description="lines of the feeder that it opens")
    v_set_pu: Annotated[float, Field(ge=-0.2, le=0)] = Field(
        default=0.0, description="change of the voltage set-points of the feeder, the head's and those along it"
    )
    cost: NotNegative = Field(default=0.0, description="of ordering it, where a MWh not served costs 1")
    speed_s: NotNegative = Field(default=60.0, description="from the order until it is done")


class Priorities(Strict):
    """What a MWh that is not taken costs in a plan: the weight of the action that takes it, times the priority of the load that it
    is taken from. Other feeders have priorities of their own, in their own entries."""

    actions: dict[str, NotNegative] = Field(
        default={},
        description="weight by action (ufls:1, dr:homes) or kind; default: ufls, uvls, sls 1, interruptible 0.5, dr 0.3, cvr 0.1",
    )
    classes: dict[Literal["residential", "commercial", "industrial"], NotNegative] = Field(
        default={}, description="priority of loads by their class; default: 1"
    )
    loads: dict[str, NotNegative] = Field(
        default={}, description="priority of single loads of the feeder, before that of their class"
    )
