"""A scenario: everything that a run needs, as strict pydantic models (`run_cosim.py schema` prints their JSON Schema)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from scenarios.actions import Action
from scenarios.devices import Device
from scenarios.fields import Name, NotNegative, Positive, Seconds, Strict
from scenarios.kinds import Federate
from scenarios.kinds_replay import Recorded

SIGNAL_PATTERN = re.compile(r"^([a-z][a-z0-9_]*)\.([A-Za-z][A-Za-z0-9_]*)(?:\[([^\[\]]+)\])?$")
PORT_PATTERN = r"^[a-z][a-z0-9_]*\.[A-Za-z][A-Za-z0-9_]*$"
FederatePort = Annotated[str, Field(pattern=PORT_PATTERN, description="federate.port")]


class CouplingMode(Strict):
    """How transmission and distribution agree at an instant."""

    mode: Literal["jacobi", "iterate"] = Field(default="jacobi", description="one exchange a step, or solve again until they agree")
    tolerance_pu: Positive = Field(default=1e-6, description="largest change of voltage between two iterations")
    max_iterations: int = Field(default=20, ge=1, le=95, description="number of iterations after which the run ends as failed")


class LinkEntry(Strict):
    """A connection beyond those that the kinds imply."""

    source: FederatePort = Field(description="federate.port that gives")
    target: FederatePort = Field(description="federate.port that takes")
    delay_s: Positive = Field(default=0.001, description="of events; values travel without delay")


class ScenarioEvent(Strict):
    """Something that happens: `action` reaches the federate `to` at `t_s`."""

    t_s: NotNegative = Field(description="simulated time, s")
    to: Name = Field(description="name of the federate")
    action: Action = Field(description="what is asked of it")


class Expectation(Strict):
    """What must hold of a recorded signal, at an instant or all the time within a span. Failing it is exit code 1."""

    signal: str = Field(description="federate.port, or federate.port[id]")
    at_s: NotNegative | None = Field(default=None, description="an instant, s; one of at_s and within_s")
    within_s: tuple[NotNegative, NotNegative] | None = Field(default=None, description="[from, to]")
    since_s: NotNegative | None = Field(default=None, description="judge the change since this instant; default: the value itself")
    min: float | None = Field(default=None, description="no value is lower, in the unit of the signal")
    max: float | None = Field(default=None, description="no value is higher, in the unit of the signal")
    equals: float | None = Field(default=None, description="the value, in the unit of the signal; with tolerance")
    tolerance: NotNegative | None = Field(default=None, description="of equals, in the unit of the signal")
    because: str = Field(description="why it must hold")
    mode: Literal["any", "live", "dry"] = Field(default="any", description="judged in live or in dry runs of devices alone")

    @model_validator(mode="after")
    def _complete(self) -> Expectation:
        if not SIGNAL_PATTERN.match(self.signal):
            raise ValueError(f"signal {self.signal!r} is not federate.port or federate.port[id]; write for instance grid.f_hz")
        if (self.at_s is None) == (self.within_s is None):
            raise ValueError("it needs one of at_s and within_s; write at_s: 30, or within_s: [0, 60]")
        if self.within_s is not None and self.within_s[0] > self.within_s[1]:
            raise ValueError("within_s ends before it starts; write the earlier time first")
        if self.since_s is not None and self.since_s > (self.within_s or (self.at_s or 0.0,))[0]:
            raise ValueError("since_s is after what is judged; write an earlier time")
        if self.min is None and self.max is None and self.equals is None:
            raise ValueError("it expects nothing; write min, max, or equals with tolerance")
        if (self.equals is None) != (self.tolerance is None):
            raise ValueError("equals and tolerance belong together; write both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g}), which no value can meet; write the lower one as min")
        return self


class Scenario(Strict):
    """A co-simulation study."""

    name: Name
    about: str = Field(default="", description="a sentence or two for `list` and the report")
    seed: int = Field(default=1, ge=0, lt=2**31, description="of everything that is drawn at random")
    start: datetime = Field(description="wall time of t = 0: 2024-07-01T12:00:00")
    stop_s: Seconds = Field(description="length of the run, s")
    watchdog_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="a step that computes longer ends the run, s of real time"
    )
    start_limit_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=120.0, description="the same for building and starting, s of real time"
    )
    coupling: CouplingMode = Field(default=CouplingMode(), description="how transmission and distribution agree at an instant")
    groups: dict[Name, tuple[Name, ...]] = Field(
        default={},
        description="process: its federates; default: all in main. Where nothing comes back from one, the others need not wait",
    )
    federates: Annotated[tuple[Federate, ...], Field(min_length=1, description="who takes part")]
    links: tuple[LinkEntry, ...] = Field(default=(), description="connections beyond those that the kinds imply")
    devices: tuple[Device, ...] = Field(default=(), description="real devices, or stand-ins for them")
    real_time: bool | None = Field(
        default=None, description="hold the run to the clock on the wall; default: where there are devices"
    )
    events: tuple[ScenarioEvent, ...] = Field(default=(), description="what happens, in any order")
    record: Literal["default", "all"] | tuple[FederatePort, ...] = Field(
        default="default", description="vector ports whose values are kept"
    )
    recorded: tuple[Recorded, ...] = Field(default=(), description="what was measured in reality, for the report to compare with")
    expect: tuple[Expectation, ...] = Field(default=(), description="what must hold; if it does not, the exit code is 1")

    def federate(self, name: str) -> Federate:
        """The entry of that name; KeyError when there is none."""
        for entry in self.federates:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def of_kind(self, kind: str) -> list[Any]:
        """The entries of a kind, in their order."""
        return [entry for entry in self.federates if entry.kind == kind]
