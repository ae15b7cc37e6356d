"""What a scenario may say about systems without a network: areas of one frequency each, and recorded traces."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scenarios.fields import Name, NotNegative, Positive, Seconds, Share, Strict

Nominal = Annotated[float, Field(description="50 or 60")]
Turbine = Literal["steam", "gas", "hydro", "lag"]


class AreaEmergency(Strict):
    """When the federates go over to small steps, and how small."""

    step_s: Seconds = Field(default=0.1, description="step while it lasts, s")
    deviation_hz: Positive = Field(default=0.1, description="begins when |f - nominal| is larger")
    rocof_hz_per_s: Positive = Field(default=0.05, description="begins when |df/dt| is larger")
    v_min_pu: Positive = Field(default=0.9, description="begins when the voltage is lower")
    hold_s: Seconds = Field(default=10.0, description="over when all have been within half of it for this long, s")


class FleetEntry(Strict):
    """Plant of one kind that follows frequency."""

    name: Name
    turbine: Turbine = Field(default="steam", description="steam with reheat, gas, hydro, or lag: one lag of lag_s")
    lag_s: Annotated[float, Field(ge=0.005)] = Field(default=1.0, description="of turbine: lag, s; at least 0.005")
    rating_va: Positive = Field(description="base of the droop, VA")
    droop_pu: Positive = Field(default=0.05, description="per unit of frequency for per unit of power")
    dead_band_hz: NotNegative = Field(default=0.015, description="either side of nominal")
    headroom_w: NotNegative = Field(description="what it can add, W")
    footroom_w: NotNegative = Field(default=0.0, description="what it can take off, W")


class ProfileEntry(Strict):
    """Power on top of the schedule as a course in time; negative is what is lost."""

    name: Name
    points: Annotated[tuple[tuple[NotNegative, float], ...], Field(min_length=1)] = Field(
        description="[t_s, p_w]: linear between points, then held"
    )

    @model_validator(mode="after")
    def _rising(self) -> ProfileEntry:
        if any(b[0] <= a[0] for a, b in pairwise(self.points)):
            raise ValueError("points must rise in time; write them in order, each time once")
        return self


class SheddingEntry(Strict):
    """Load that is taken off below a frequency, and the generation on the same feeders that goes with it."""

    scheme: Literal["ufls", "interruptible"] = Field(default="ufls", description="a stage of UFLS, or customers under contract")
    pickup_hz: Positive = Field(description="picks up when the frequency is lower")
    delay_s: NotNegative = Field(description="definite time from pickup to operation")
    breaker_s: NotNegative = Field(default=0.08, description="from operation until the contacts have parted")
    load_w: Positive = Field(description="demand that it disconnects, W")
    embedded_w: NotNegative = Field(default=0.0, description="generation still running on these feeders, W")
    reset_hz: NotNegative = Field(default=0.02, description="drops out this far above its pickup")


class EmbeddedEntry(Strict):
    """Embedded generation that trips by its own protection."""

    name: Name
    p_w: Positive = Field(description="generation, W")
    under_hz: Positive | None = Field(default=None, description="trips below; null: no such limit")
    over_hz: Positive | None = Field(default=None, description="trips above; null: no such limit")
    rocof_hz_per_s: Positive | None = Field(default=None, description="trips when |df/dt| is larger; null: no such limit")
    window_s: Seconds = Field(default=0.5, description="over which df/dt is measured")
    delay_s: NotNegative = Field(default=0.0, description="for so long a limit must be passed")

    @model_validator(mode="after")
    def _some(self) -> EmbeddedEntry:
        if self.under_hz is None and self.over_hz is None and self.rocof_hz_per_s is None:
            raise ValueError("it never trips; write under_hz, over_hz or rocof_hz_per_s, or leave it in the schedule")
        return self


class AreaEntry(Strict):
    """One mass with its load."""

    name: Name
    inertia_ws: Positive = Field(description="kinetic energy of what turns, W.s (210 GVA.s: 2.1e+11)")
    load_w: Positive = Field(description="demand at nominal frequency, W; feeders included")
    damping_pu: NotNegative = Field(default=1.0, description="per unit of load for per unit of frequency")
    fleets: tuple[FleetEntry, ...] = Field(default=(), description="plant that follows frequency")
    profiles: tuple[ProfileEntry, ...] = Field(default=(), description="power as a course in time")
    shedding: tuple[SheddingEntry, ...] = Field(default=(), description="load shedding by frequency")
    embedded: tuple[EmbeddedEntry, ...] = Field(default=(), description="embedded generation that may trip")


class TieEntry(Strict):
    """What joins two areas until the action open_tie."""

    name: Name
    from_area: Name = Field(description="name of an area")
    to_area: Name = Field(description="name of another")
    p_w: float = Field(description="flow at the start, W")
    stiffness_w_per_rad: Positive = Field(default=2.0e10, description="more flow over it for each radian of angle")


class AreasSystem(Strict):
    """The bulk system as one or several areas, each with one frequency, and no network."""

    name: Name
    kind: Literal["areas"]
    nominal_hz: Nominal = Field(default=60.0, description="50 or 60")
    step_s: Seconds = Field(default=0.01, description="grid of time on which it is computed, s")
    period_s: Seconds = Field(default=1.0, description="between values that are published, s; in an emergency its step")
    kv: Positive = Field(default=115.0, description="nominal voltage of the bus of feeders, kV")
    emergency: AreaEmergency = Field(default=AreaEmergency(), description="when and how finely values are published")
    areas: Annotated[tuple[AreaEntry, ...], Field(min_length=1, description="one or several")]
    ties: tuple[TieEntry, ...] = Field(default=(), description="between areas")

    @model_validator(mode="after")
    def _whole(self) -> AreasSystem:
        steps = (self.period_s / self.step_s, self.emergency.step_s / self.step_s)
        if any(abs(n - round(n)) > 1e-6 or n < 1.0 - 1e-6 for n in steps):
            raise ValueError("period_s and emergency.step_s must be multiples of step_s; write for instance 1, 0.1 and 0.01")
        if self.nominal_hz not in (50.0, 60.0):
            raise ValueError(f"{self.nominal_hz:g} is no system's frequency; write nominal_hz: 50 or 60")
        return self


class Points(Strict):
    """A short record: as many values as times."""

    t_s: Annotated[tuple[NotNegative, ...], Field(min_length=2, description="times, rising")]
    f_hz: tuple[Positive, ...] | None = Field(default=None, description="frequency at each; left out: nominal")
    v_pu: tuple[NotNegative, ...] | None = Field(default=None, description="voltage at each; left out: v_pu of the player")

    @model_validator(mode="after")
    def _alike(self) -> Points:
        if any(given is not None and len(given) != len(self.t_s) for given in (self.f_hz, self.v_pu)):
            raise ValueError("t_s, f_hz and v_pu need one length")
        if self.f_hz is None and self.v_pu is None:
            raise ValueError("it records nothing; write f_hz or v_pu")
        if any(b <= a for a, b in pairwise(self.t_s)):
            raise ValueError("t_s must rise; write the points in order of time, each time once")
        return self


class Player(Strict):
    """A recorded trace in place of the transmission system. Feeders, relays and DER follow it; it does not answer."""

    name: Name
    kind: Literal["player"]
    nominal_hz: Nominal = Field(default=60.0, description="50 or 60")
    file: str | None = Field(
        default=None, description="CSV with a head line: t_s, and f_hz or v_pu or both; one of file and points"
    )
    points: Points | None = Field(default=None, description="a short record, written here")
    from_s: NotNegative = Field(default=0.0, description="time in the record at which the run starts, s")
    short_circuit_va: Positive | None = Field(
        default=None, description="the recorded voltage is behind a reactance of this short-circuit power; null: at the bus itself"
    )
    v_pu: Positive = Field(default=1.0, description="voltage where the record has none")
    kv: Positive = Field(default=115.0, description="nominal voltage of the buses, kV")
    period_s: Seconds = Field(default=1.0, description="step, s; the feeders have the same")
    emergency: AreaEmergency = Field(default=AreaEmergency(step_s=0.02), description="when feeders go over to small steps")

    @model_validator(mode="after")
    def _one(self) -> Player:
        if (self.file is None) == (self.points is None):
            raise ValueError("it plays one record; write one of file and points")
        if self.nominal_hz not in (50.0, 60.0):
            raise ValueError(f"{self.nominal_hz:g} is no system's frequency; write nominal_hz: 50 or 60")
        return self


class Recorded(Strict):
    """What was measured of a real event: points that the report lays over a signal, with the errors of the run."""

    signal: str = Field(description="federate.port, or federate.port[id]")
    source: str = Field(description="where it was published")
    points: tuple[tuple[NotNegative, float], ...] = Field(default=(), description="[t_s, value] in simulated time")
    file: str | None = Field(default=None, description="CSV with a head line: t_s and the column")
    column: str | None = Field(default=None, description="name of the column in the file; default: its second one")
    from_s: NotNegative = Field(default=0.0, description="time in the file at t = 0 of the run, s")

    @model_validator(mode="after")
    def _one(self) -> Recorded:
        if bool(self.points) == (self.file is not None):
            raise ValueError("it needs one of points and file")
        if any(b[0] <= a[0] for a, b in pairwise(self.points)):
            raise ValueError("points must rise in time; write them in order, each time once")
        return self


class MotorStall(Strict):
    """Single-phase motors (air conditioners) among the loads of a feeder, which stall when the voltage stays low."""

    share: Share = Field(description="part of every load's active power that is such motors")
    v_stall_pu: Positive = Field(default=0.6, description="they stall below it")
    t_stall_s: NotNegative = Field(default=0.033, description="after so long below it")
    restart_share: Share = Field(default=0.2, description="part that turns again when the voltage is back")
    v_restart_pu: Positive = Field(default=0.95, description="above it they turn again")
    t_restart_s: NotNegative = Field(default=0.3, description="after so long above it")
    r_stall_pu: Positive = Field(default=0.124, description="resistance of the stalled motor, of its rated impedance")
    x_stall_pu: Positive = Field(default=0.114, description="reactance of the stalled motor, likewise")
    t_heat_s: Positive = Field(default=15.0, description="thermal time constant")
    heat_trip_from_pu: Positive = Field(default=0.7, description="temperature at which the first of them trip")
    heat_trip_to_pu: Positive = Field(default=1.9, description="temperature at which all have tripped")
