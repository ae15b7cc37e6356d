"""What a scenario may say about each kind of federate. Units are in the key names; what is left out takes the default shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scenarios.fields import Name, NotNegative, Positive, Seconds, Share, Strict, nanoseconds
from scenarios.kinds_capability import Capability
from scenarios.kinds_der import Ders
from scenarios.kinds_dynamics import Dynamics, NativeStage
from scenarios.kinds_replay import AreasSystem, MotorStall, Player
from scenarios.kinds_shedding import Priorities, Program, Relays, Schemes


def _nominal(hz: float) -> float:
    if hz not in (50.0, 60.0):
        raise ValueError(f"{hz:g} is no system's frequency; write 50 or 60")
    return hz


class Frequency(Strict):
    """System frequency response: one mass, a group of like governors, damping of the native load, secondary control."""

    nominal_hz: Annotated[float, AfterValidator(_nominal)] = Field(default=60.0, description="50 or 60")
    inertia_s: Positive = Field(default=4.0, description="stored energy over the rating of the running machines, s")
    governor: Literal["steam", "gas", "hydro"] = Field(default="steam", description="turbine of the machines that have a governor")
    governed_share: Share = Field(
        default=0.8, description="part of the fleet, by rating, that has a governor; the largest machines first"
    )
    droop_pu: Positive = Field(default=0.05, description="per unit of frequency for per unit of power")
    dead_band_hz: NotNegative = Field(default=0.036, description="of the governors, either side of nominal")
    headroom: Share = Field(default=0.15, description="power that a governor may add, per unit of rating")
    native_damping_pu: NotNegative = Field(
        default=1.0, description="per unit of native load for per unit of frequency; feeders answer by their own models"
    )
    secondary_bias_w_per_hz: NotNegative = Field(default=0.0, description="of automatic generation control; 0 is none")
    secondary_time_s: Positive = Field(default=60.0, description="time constant of automatic generation control, s")


class Emergency(Strict):
    """When the coupled federates go over to small steps, and how small."""

    step_s: Seconds | None = Field(
        default=None, description="step while it lasts, s; default: 0.02, and 0.125 with engine: dynamics"
    )
    deviation_hz: Positive = Field(default=0.1, description="begins when |f - nominal| is larger")
    rocof_hz_per_s: Positive = Field(default=0.05, description="begins when |df/dt| is larger")
    v_min_pu: Positive = Field(default=0.9, description="begins when a voltage at a TBLM bus is lower")
    hold_s: Seconds = Field(default=10.0, description="over when all have been within half of it for this long, s")


class Native(Strict):
    """Load of the network that no modelled feeder stands for."""

    p_exponent: NotNegative = Field(
        default=1.0, description="of P over V: 0 constant power, 1 constant current, 2 constant impedance"
    )
    q_exponent: NotNegative = Field(default=2.0, description="of Q over V, likewise")


class Transmission(Strict):
    """The transmission system: AC power flow, outages, frequency; or the electromechanical dynamics of a case with machines."""

    name: Name
    kind: Literal["transmission"]
    network: str = Field(description="pandapower:<case>, andes:<case>, or the path of a MATPOWER .m/.mat or pandapower .json case")
    period_s: Seconds = Field(default=1.0, description="step, s; the feeders have the same")
    engine: Literal["response", "dynamics"] = Field(
        default="response", description="response: power flow and one mass; dynamics: machines and controllers of an andes: case"
    )
    dynamics: Dynamics = Field(default=Dynamics(), description="of the dynamics engine")
    shedding: tuple[NativeStage, ...] = Field(default=(), description="under-frequency stages of native load")
    frequency: Frequency = Field(default=Frequency(), description="the system's frequency response")
    emergency: Emergency = Field(
        default=Emergency(), description="when the coupled federates go over to small steps, and how small"
    )
    native: Native = Field(default=Native(), description="how load that no feeder stands for follows voltage")

    @model_validator(mode="after")
    def _finer(self) -> Transmission:
        step_s = self.emergency.step_s
        if step_s is not None and step_s > self.period_s:
            period = f"period_s ({self.period_s:g} s)"
            raise ValueError(f"emergency.step_s ({step_s:g} s) is longer than {period}; write a shorter one, for instance 0.02")
        return self


class Ltc(Strict):
    """Load tap changer of the substation."""

    v_set_pu: Positive = Field(default=1.0, description="voltage that it holds on the low side")
    band_pu: Positive = Field(default=0.0167, description="whole width of the band around it in which it rests")
    delay_s: NotNegative = Field(default=30.0, description="time out of band before the first move")
    tap_delay_s: NotNegative = Field(default=2.0, description="time between further moves of the same excursion")
    range_pu: Positive = Field(default=0.10, description="regulation range each way")
    taps: int = Field(default=16, gt=0, description="number of steps each way")


class Substation(Strict):
    """Transformer between the transmission bus and the feeder. Its primary voltage is the bus's."""

    mva: Positive = Field(description="rating, MVA")
    x_pct: Positive = Field(default=8.0, description="leakage reactance, per cent on the rating")
    r_pct: NotNegative = Field(default=0.5, description="total winding resistance, per cent on the rating")
    connection: Literal["delta-wye", "wye-wye"] = Field(default="delta-wye", description="of the windings, high side first")
    ltc: Ltc | None = Field(default=Ltc(), description="load tap changer; null: a fixed ratio")


class Diversity(Strict):
    """How the like feeders at a bus differ from the one that is solved."""

    scale_sigma: NotNegative = Field(default=0.05, description="standard deviation of a feeder's size around the solved one")
    lag_s: NotNegative = Field(default=300.0, description="standard deviation of the shift of its profile, s")


class Profile(Strict):
    """Load over time, as multiples of the feeder's own load."""

    source: Literal["smartds", "flat"] = Field(default="smartds", description="smartds: each load a customer of its class; flat: 1")
    scale: Positive = Field(default=1.0, description="multiple of the feeder's own load")
    noise: Share = Field(default=0.02, description="standard deviation of a load's own fluctuation")
    noise_s: Positive = Field(default=300.0, description="correlation time of it, s")
    temperature_mean_c: float = Field(default=18.0, ge=-60, le=60, description="of the day")
    temperature_swing_k: float = Field(default=6.0, ge=0, le=40, description="warmest at 15 h by this much above the mean")


class Distribution(Strict):
    """One distribution feeder, and how many like it hang at its bus."""

    name: Name
    kind: Literal["distribution"]
    feeder: str = Field(description="ieee13, ieee34, ieee123, ieee9500, smartds, or the path of an OpenDSS master file")
    grid: Name = Field(description="name of the transmission federate")
    bus: str = Field(description='the transmission bus, in quotes: "16"')
    count: int = Field(default=1, ge=1, le=10_000, description="like feeders at the bus, this one included")
    period_s: Seconds = Field(default=1.0, description="step, s; the same as of the transmission system")
    substation: Substation | None = Field(default=None, description="default: what the built-in feeder comes with")
    open_switches: tuple[str, ...] = Field(default=(), description="names of lines that are open from the start")
    close_switches: tuple[str, ...] = Field(default=(), description="names of lines that are closed from the start")
    vmin_pu: Positive = Field(default=0.7, description="below it a load becomes a constant impedance")
    vmax_pu: Positive = Field(default=1.3, description="above it a load becomes a constant impedance")
    load_classes: dict[str, Literal["residential", "commercial", "industrial"]] = Field(default={}, description="load name: class")
    default_class: Literal["residential", "commercial", "industrial"] = Field(
        default="residential", description="of loads that load_classes does not name"
    )
    diversity: Diversity = Field(default=Diversity(), description="how the like feeders differ from the one that is solved")
    profile: Profile = Field(default=Profile(), description="how load moves over time")
    motors: MotorStall | None = Field(default=None, description="motors that stall at low voltage; null: none among its loads")


class Channel(Strict):
    """A communication link."""

    latency_s: NotNegative = Field(default=0.2, description="median of the delay")
    sigma: NotNegative = Field(default=0.0, description="its lognormal shape; 0 is a fixed delay")
    jitter_s: NotNegative = Field(default=0.0, description="added, uniform between 0 and this")
    loss: Share = Field(default=0.0, description="part of the messages that never arrive")
    duplicate: Share = Field(default=0.0, description="part that arrives twice")
    outages_s: tuple[tuple[NotNegative, Positive], ...] = Field(
        default=(), description="[[from, to], ...]: nothing that is sent then arrives"
    )

    @model_validator(mode="after")
    def _windows(self) -> Channel:
        if any(start >= end for start, end in self.outages_s):
            raise ValueError("an outage ends before it starts; write [from, to]")
        return self


class Scada(Strict):
    """Telemetry of a feeder's measured points, and the way commands take to it."""

    name: Name
    kind: Literal["scada"]
    feeder: Name = Field(description="name of the distribution federate")
    scan_s: Seconds = Field(default=2.0, description="of measured values; a changed status is sent at once")
    der_scan_s: Seconds = Field(default=4.0, description="of DER")
    deadband_pct: NotNegative = Field(default=0.5, description="of full scale; smaller changes are not reported")
    accuracy_pct: NotNegative = Field(default=0.3, description="standard deviation of a transducer's gain error")
    telemetry: Channel = Field(
        default=Channel(latency_s=0.15, sigma=0.3), description="link from the terminal units to the control centre"
    )
    control: Channel = Field(default=Channel(latency_s=0.15, sigma=0.3), description="link of commands the other way")
    stale_after_scans: int = Field(default=3, ge=1, description="a point silent for more scans is marked stale")
    fail_after_scans: int = Field(default=6, ge=1, description="a terminal unit silent for more scans has failed")
    integrity_s: Seconds = Field(default=300.0, description="between scans that send every point")

    @model_validator(mode="after")
    def _order(self) -> Scada:
        if self.fail_after_scans < self.stale_after_scans:
            raise ValueError("fail_after_scans is below stale_after_scans; a point goes stale first")
        return self


class Meters(Strict):
    """Revenue meters at the customers of a feeder, several to a load."""

    name: Name
    kind: Literal["meters"]
    feeder: Name = Field(description="name of the distribution federate")
    period_s: Seconds = Field(default=1.0, description="how often a meter looks")
    interval_s: Seconds = Field(default=300.0, description="length of an interval average")
    shares_s: Seconds = Field(default=60.0, description="how often a customer's share of its load moves")
    customer_w: Positive = Field(default=4_000.0, description="nominal power of an average customer, per phase")
    accuracy_class: NotNegative = Field(default=0.5, description="percent")
    clock_ahead_s: NotNegative = Field(default=0.0, description="a meter's clock is ahead by up to this, drawn")

    @model_validator(mode="after")
    def _whole(self) -> Meters:
        if nanoseconds(self.interval_s) % nanoseconds(self.shares_s) or nanoseconds(self.shares_s) % nanoseconds(self.period_s):
            raise ValueError(
                "interval_s must be a multiple of shares_s, and shares_s of period_s; write for instance 300, 60 and 1"
            )
        return self


class Ami(Strict):
    """Delivery of meter readings over a radio mesh, validation, estimation of gaps, outages from last gasps."""

    name: Name
    kind: Literal["ami"]
    feeder: Name = Field(description="name of the distribution federate")
    period_s: Seconds = Field(default=5.0, description="how often it takes what was delivered, s")
    mesh: Channel = Field(default=Channel(latency_s=1.5, sigma=0.5, loss=0.02), description="one hop of the mesh")
    gasps: Channel = Field(default=Channel(latency_s=4.0, sigma=0.6, loss=0.25), description="of last gasps")
    backfill_s: Seconds | None = Field(
        default=900.0, description="how often lost readings are fetched from the meters; null: never"
    )
    ready_after_s: Seconds = Field(default=60.0, description="loads are published this long after their interval at the latest")


class Tblm(Strict):
    """The builder of a bus's Transmission Bus Load Model."""

    name: Name
    kind: Literal["tblm"]
    feeder: Name = Field(description="name of the distribution federate")
    period_s: Seconds = Field(default=60.0, description="between documents when nothing happens")
    horizon_s: Seconds = Field(default=180.0, description="how long a document may be used")
    poll_s: Seconds = Field(default=1.0, description="how often it looks for changes")
    v_pu: tuple[Positive, Positive] = Field(default=(0.85, 1.15), description="range of the curves")
    f_hz: tuple[Positive, Positive] | None = Field(
        default=None, description="range of the curves; default: -5 % to +3.3 % of nominal"
    )
    tolerance_pct: Positive = Field(
        default=0.15, description="of the bus's apparent power: tables are refined until they are this close"
    )
    deviation_pct: Positive = Field(default=2.0, description="measured power off the curve by this much makes a new document")
    programs: tuple[Program, ...] = Field(default=(), description="what can shed load at this bus beside its relays")
    priorities: Priorities = Field(default=Priorities(), description="what the actions that shed load here cost, in plans")
    capability: Capability | None = Field(
        default=None, description="what the bus can give; null: left out, and nothing spent on it"
    )

    @model_validator(mode="after")
    def _rising(self) -> Tblm:
        if self.v_pu[0] >= self.v_pu[1] or (self.f_hz and self.f_hz[0] >= self.f_hz[1]):
            raise ValueError("a range must rise; write [lower, higher] for v_pu and f_hz")
        return self

    @model_validator(mode="after")
    def _programs_apart(self) -> Tblm:
        names = [program.name for program in self.programs]
        if twice := [name for n, name in enumerate(names) if name in names[:n]]:
            raise ValueError(f"two programs are named {twice[0]!r}; give each a name of its own")
        return self


class Ems(Strict):
    """The transmission operator's EMS."""

    name: Name
    kind: Literal["ems"]
    grid: Name = Field(description="name of the transmission federate")
    period_s: Seconds = Field(default=1.0, description="how often it looks at its telemetry")
    scan_s: Seconds = Field(default=60.0, description="between scans: a power flow and an N-1")
    generators: tuple[str, ...] = Field(default=(), description="whose loss is studied; none: the three largest in service")

    @model_validator(mode="after")
    def _whole(self) -> Ems:
        if nanoseconds(self.scan_s) % nanoseconds(self.period_s):
            raise ValueError("scan_s must be a multiple of period_s; write for instance 60 and 1")
        return self


Federate = Annotated[
    Transmission | AreasSystem | Player | Distribution | Ders | Relays | Schemes | Scada | Meters | Ami | Tblm | Ems,
    Field(discriminator="kind"),
]
FEDERATE_MODELS: dict[str, type[Strict]] = {
    model.model_fields["kind"].annotation.__args__[0]: model  # type: ignore[union-attr]
    for model in (Transmission, AreasSystem, Player, Distribution, Ders, Relays, Schemes, Scada, Meters, Ami, Tblm, Ems)
}
BULK_KINDS = ("transmission", "areas", "player")
"""What feeders may hang under."""


def nominal_hz(grid: Transmission | AreasSystem | Player) -> float:
    """Nominal frequency of what feeders hang under."""
    return grid.frequency.nominal_hz if isinstance(grid, Transmission) else grid.nominal_hz
