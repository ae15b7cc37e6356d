"""What an event of a scenario may ask of whom."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from scenarios.fields import NotNegative, Positive, Share, Strict
from scenarios.kinds_der import PerUnit


class LineAction(Strict):
    """Take a line or transformer of the transmission system out of service, or put it back."""

    do: Literal["open_line", "close_line"] = Field(description="open_line or close_line")
    line: str = Field(description='names of its two buses, in quotes: "16-17"; a second one in parallel is "16-17#2"')


class FaultAction(Strict):
    """A bolted three-phase fault at a bus, cleared by itself. Needs engine: dynamics."""

    do: Literal["fault_bus"]
    bus: str = Field(description="name of the bus, in quotes")
    duration_s: Positive = Field(description="until it is gone, s; it lasts whole inner steps, at least so long")


class GeneratorAction(Strict):
    """Trip a generator."""

    do: Literal["trip_generator"]
    generator: str = Field(description="G and its bus: G31")


class SetGenerator(Strict):
    """A new schedule."""

    do: Literal["set_generator"]
    generator: str = Field(description="G and its bus: G31")
    p_w: float = Field(description="scheduled active power, W, generation positive")
    v_pu: Positive | None = Field(default=None, description="voltage that it holds; null: as before")


class LoseGeneration(Strict):
    """Scheduled generation of an area is gone at once, and with it its inertia."""

    do: Literal["lose_generation"]
    p_w: float = Field(description="what it fed in, W; negative: demand that is cut off")
    inertia_ws: NotNegative = Field(default=0.0, description="kinetic energy that goes with it, W.s")
    area: str | None = Field(default=None, description="name of the area; left out where there is one")
    cause: str = Field(default="", description="for the records")


class AreaLoad(Strict):
    """Shed load of an area by order of its operators, or restore it."""

    do: Literal["shed_load", "restore_load"] = Field(description="shed_load or restore_load")
    p_w: Positive = Field(description="at nominal frequency, W")
    over_s: NotNegative = Field(default=0.0, description="evenly over so long, s")
    area: str | None = Field(default=None, description="name of the area; left out where there is one")
    cause: str = Field(default="operator", description="for the records")


class OpenTie(Strict):
    """Two areas part."""

    do: Literal["open_tie"]
    tie: str = Field(description="name of the tie")


class SwitchAction(Strict):
    """Open or close a switch, or any line, of a feeder."""

    do: Literal["open_switch", "close_switch"] = Field(description="open_switch or close_switch")
    switch: str = Field(description="name of the switch or line")


class BreakerAction(Strict):
    """Open or close the breakers of like feeders: a manual shed, a restoration."""

    do: Literal["open_breaker", "close_breaker"] = Field(description="open_breaker or close_breaker")
    feeders: int | None = Field(default=None, ge=1, description="number of the like feeders; default: all that are left")
    cause: str = Field(default="operator", description="who or what asks for it, for the records")


class SetTap(Strict):
    """Move a regulator; its control goes on from there."""

    do: Literal["set_tap"]
    regulator: str = Field(description="name of its control")
    tap: int = Field(ge=-32, le=32, description="number of the tap, 0 in the middle")


class SetCapacitor(Strict):
    """Put so many steps of a capacitor into service."""

    do: Literal["set_capacitor"]
    capacitor: str = Field(description="name of the capacitor")
    steps: int = Field(ge=0, description="number of steps in service, 0 is none")


class DerAction(Strict):
    """Trip DER, or permit service again (they then enter with their delay and ramp). `units`: names, `all`, `pv` or `storage`."""

    do: Literal["trip", "permit_service"] = Field(description="trip, or permit_service")
    units: str | tuple[str, ...] = Field(default="all", description="names, all, pv or storage")


class LimitDer(Strict):
    """Limit active power (IEEE 1547-2018 clause 4.6.2)."""

    do: Literal["limit"]
    p_pu: Share = Field(description="largest active power, per unit of rating")
    units: str | tuple[str, ...] = Field(default="all", description="names, all, pv or storage")


class SetStorage(Strict):
    """Scheduled power of storage, generation positive."""

    do: Literal["set_power"]
    p_pu: PerUnit = Field(description="active power, of the rating, generation positive")
    units: str | tuple[str, ...] = Field(default="storage", description="names, all or storage")


class Course(Strict):
    """Voltage and frequency of a bus in time, linear between points."""

    t_s: tuple[NotNegative, ...] = Field(description="times of the points, from the start of the course")
    v_pu: tuple[Positive, ...] = Field(description="voltage at each")
    f_hz: tuple[Positive, ...] = Field(description="frequency at each")
    as_given: bool = Field(
        default=False,
        description="true: the voltage was so with all that was shed; false: it would be so without, and shedding moves it",
    )

    @model_validator(mode="after")
    def _alike(self) -> Course:
        if len({len(self.t_s), len(self.v_pu), len(self.f_hz)}) != 1 or len(self.t_s) < 2:
            raise ValueError("t_s, v_pu and f_hz need one length, two points or more")
        if any(b < a for a, b in pairwise(self.t_s)):
            raise ValueError("t_s must not fall; write the points in order of time")
        return self


class Request(Strict):
    """Ask a TBLM builder for a document now: what would happen on a course of V and f, which actions meet a deficit in time."""

    do: Literal["request"]
    course: Course | None = Field(default=None, description="what voltage and frequency would do; null: stay as they are")
    deficit_w: Positive | None = Field(default=None, description="active power that is missing, W")
    within_s: Positive = Field(default=60.0, description="time in which the deficit has to be met")


class Operate(Strict):
    """Ask SCADA to operate a point: `command` reaches the feeder over its channel, if the point is tagged remote."""

    do: Literal["operate"]
    point: str = Field(description="port.id of a measured point: switch.sw2")
    command: Annotated[
        SwitchAction | SetTap | SetCapacitor, Field(discriminator="do", description="what the terminal unit is told")
    ]


class Substitute(Strict):
    """A value entered by hand for a point of SCADA, until it is released."""

    do: Literal["substitute"]
    point: str = Field(description="port.id of a measured point: switch.sw2")
    value: float = Field(description="in the unit of the point")


class Release(Strict):
    """Back to the measured value."""

    do: Literal["release"]
    point: str = Field(description="port.id of a measured point: switch.sw2")


class Tag(Strict):
    """Who may operate a point."""

    do: Literal["tag"]
    point: str = Field(description="port.id of a measured point: switch.sw2")
    tag: Literal["remote", "local", "blocked"] = Field(description="remote: by SCADA; local: at the device; blocked: by nobody")


class Control(Strict):
    """Send a control code to a point of a wired device, or the code that brings it to a state."""

    do: Literal["control"]
    point: str = Field(description="name of a write row of the device's map")
    code: Literal["trip", "close", "latch_on", "latch_off", "pulse_on", "pulse_off"] | None = Field(
        default=None, description="control code; one of code and state"
    )
    state: Literal[0, 1] | None = Field(default=None, description="number of the state that is wanted: 0 off, 1 on")

    @model_validator(mode="after")
    def _one(self) -> Control:
        if (self.code is None) == (self.state is None):
            raise ValueError("it needs one of code and state; write code: trip, or state: 0")
        return self


class SetPoints(Strict):
    """Send values to points of a wired device, in this order."""

    do: Literal["set_points"]
    values: Annotated[dict[str, float], Field(min_length=1)] = Field(description="name of a write row: engineering value")


class CommFail(Strict):
    """The link of a remote terminal unit carries nothing for so long."""

    do: Literal["comm_fail"]
    rtu: str = Field(description="name of the terminal unit: substation, switch_sw2, der_pv1")
    duration_s: Positive = Field(description="for so long, s")


Action = Annotated[
    LineAction
    | FaultAction
    | GeneratorAction
    | SetGenerator
    | LoseGeneration
    | AreaLoad
    | OpenTie
    | SwitchAction
    | BreakerAction
    | SetTap
    | SetCapacitor
    | Request
    | DerAction
    | LimitDer
    | SetStorage
    | Operate
    | Substitute
    | Release
    | Tag
    | CommFail
    | Control
    | SetPoints,
    Field(discriminator="do"),
]
ACTIONS_OF_KIND: dict[str, tuple[str, ...]] = {
    "transmission": ("open_line", "close_line", "trip_generator", "set_generator", "fault_bus"),
    "areas": ("lose_generation", "shed_load", "restore_load", "open_tie"),
    "distribution": ("open_switch", "close_switch", "open_breaker", "close_breaker", "set_tap", "set_capacitor"),
    "ders": ("trip", "permit_service", "limit", "set_power"),
    "tblm": ("request",),
    "scada": ("operate", "substitute", "release", "tag", "comm_fail"),
    "device": ("control", "set_points"),
}
"""Kind of federate: the actions that its `command` port takes; a TBLM builder's is called `request`."""


def payload(action: Strict) -> dict[str, Any]:
    """The event that carries an action: its keys, with `do` under the name `action`; what was left out stays out."""
    given = action.model_dump(mode="json", exclude_none=True)
    if isinstance(action, SetPoints):  # in their order, which an object of JSON does not keep
        given["values"] = [[name, value] for name, value in action.values.items()]
    inner = getattr(action, "command", None)
    if inner is not None:
        given["command"] = payload(inner)
    return {"action": given.pop("do"), **given}
