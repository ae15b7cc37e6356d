"""What a scenario may say about each kind of federate. Units are in the key names; what is left out takes the default shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, description="lower-case letters, digits and _, starting with a letter")]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _whole_us(seconds: float) -> float:
    if _ns(seconds) % 1000 or not _ns(seconds):
        raise ValueError(f"{seconds:g} s is not a whole number of microseconds; write for instance 0.02 or 1")
    return seconds


def _nominal(hz: float) -> float:
    if hz not in (50.0, 60.0):
        raise ValueError(f"{hz:g} is no system's frequency; write 50 or 60")
    return hz


Seconds = Annotated[float, Field(gt=0, le=86_400 * 366), AfterValidator(_whole_us)]


class Strict(BaseModel):
    """Immutable; an unknown key or a value of another type is an error, and so is an infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Frequency(Strict):
    """System frequency response: one mass, a group of like governors, damping of the native load, secondary control."""

    nominal_hz: Annotated[float, AfterValidator(_nominal)] = Field(default=60.0, description="50 or 60")
    inertia_s: Positive = Field(default=4.0, description="stored energy over the rating of the running machines, s")
    governor: Literal["steam", "gas", "hydro"] = Field(default="steam", description="turbine of the machines that have a governor")
    governed_share: Share = Field(
        default=0.8, description="part of the fleet, by rating, that has a governor; the largest machines first"
    )
    droop_pu: Positive = Field(default=0.05, description="per unit of frequency for per unit of power")
    dead_band_hz: NotNegative = 0.036
    headroom: Share = Field(default=0.15, description="power that a governor may add, per unit of rating")
    native_damping_pu: NotNegative = Field(
        default=1.0, description="per unit of native load for per unit of frequency; feeders answer by their own models"
    )
    secondary_bias_w_per_hz: NotNegative = Field(default=0.0, description="of automatic generation control; 0 is none")
    secondary_time_s: Positive = 60.0


class Emergency(Strict):
    """When the coupled federates go over to small steps, and how small."""

    step_s: Seconds = Field(default=0.02, description="step while it lasts, s")
    deviation_hz: Positive = Field(default=0.1, description="begins when |f - nominal| is larger")
    rocof_hz_per_s: Positive = Field(default=0.05, description="begins when |df/dt| is larger")
    v_min_pu: Positive = Field(default=0.9, description="begins when a voltage at a TBLM bus is lower")
    hold_s: Seconds = Field(default=10.0, description="over when all have been within half of it for this long, s")


class Native(Strict):
    """Load of the network that no modelled feeder stands for."""

    p_exponent: NotNegative = 1.0
    q_exponent: NotNegative = 2.0


class Transmission(Strict):
    """The transmission system: AC power flow, outages, frequency."""

    name: Name
    kind: Literal["transmission"]
    network: str = Field(description="pandapower:<case>, or the path of a MATPOWER .m/.mat or pandapower .json case")
    period_s: Seconds = 1.0
    engine: Literal["response"] = "response"
    frequency: Frequency = Frequency()
    emergency: Emergency = Emergency()
    native: Native = Native()


class Ltc(Strict):
    """Load tap changer of the substation."""

    v_set_pu: Positive = 1.0
    band_pu: Positive = 0.0167
    delay_s: NotNegative = 30.0
    tap_delay_s: NotNegative = 2.0
    range_pu: Positive = 0.10
    taps: int = Field(default=16, gt=0)


class Substation(Strict):
    """Transformer between the transmission bus and the feeder. Its primary voltage is the bus's."""

    mva: Positive
    x_pct: Positive = 8.0
    r_pct: NotNegative = 0.5
    connection: Literal["delta-wye", "wye-wye"] = "delta-wye"
    ltc: Ltc | None = Ltc()


class Diversity(Strict):
    """How the like feeders at a bus differ from the one that is solved."""

    scale_sigma: NotNegative = Field(default=0.05, description="standard deviation of a feeder's size around the solved one")
    lag_s: NotNegative = Field(default=300.0, description="standard deviation of the shift of its profile, s")


class Profile(Strict):
    """Load over time, as multiples of the feeder's own load."""

    source: Literal["smartds", "flat"] = Field(default="smartds", description="smartds: each load a customer of its class; flat: 1")
    scale: Positive = 1.0
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
    period_s: Seconds = 1.0
    substation: Substation | None = Field(default=None, description="default: what the built-in feeder comes with")
    open_switches: tuple[str, ...] = ()
    close_switches: tuple[str, ...] = ()
    vmin_pu: Positive = Field(default=0.7, description="below it a load becomes a constant impedance")
    vmax_pu: Positive = 1.3
    load_classes: dict[str, Literal["residential", "commercial", "industrial"]] = Field(default={}, description="load name: class")
    default_class: Literal["residential", "commercial", "industrial"] = "residential"
    diversity: Diversity = Diversity()
    profile: Profile = Profile()


Standard = Literal["ieee1547_2018", "ieee1547_2003"]


class DerFunctions(Strict):
    """Standard and functions of a group of DER; `settings` are fields of IEEE 1547's common file format, for instance QV_OLRT."""

    standard: Standard = "ieee1547_2018"
    category: Literal["I", "II", "III"] = Field(default="III", description="abnormal operating performance")
    normal_category: Literal["A", "B"] = "B"
    volt_var: bool = False
    volt_watt: bool = False
    droop: bool = True
    settings: dict[str, float] = {}


class Pv(DerFunctions):
    """Rooftop PV at the feeder's loads."""

    share_of_load: Positive = Field(description="sum of ratings over the feeder's own load")
    sites: int = Field(default=20, ge=1, description="loads that have one, drawn by the seed")
    legacy_share: Share = Field(default=0.0, description="part of the sites that follow IEEE 1547-2003")
    enter_service_spread_s: NotNegative = Field(
        default=300.0, description="a site enters service up to this much later than its delay, drawn"
    )
    profile: Literal["smartds", "flat"] = Field(
        default="smartds", description="smartds: each site a roof with its tilt and azimuth, drawn; flat: full sun"
    )


class Storage(DerFunctions):
    """Batteries at the feeder's loads."""

    share_of_load: Positive = Field(description="sum of ratings over the feeder's own load")
    sites: int = Field(default=3, ge=1)
    hours: Positive = Field(default=4.0, description="energy over power")
    soc_start: Share = 0.5
    p_set_pu: Annotated[float, Field(ge=-1, le=1)] = Field(default=0.0, description="scheduled power, generation positive")


class Plant(DerFunctions):
    """One DER at a named bus."""

    name: Name
    type: Literal["pv", "storage"]
    bus: str = Field(description="feeder bus with its phases: 76.1.2.3")
    kv: Positive = Field(description="line to line, or line to neutral of a single-phase plant")
    s_va: Positive
    energy_wh: Positive | None = None
    soc_start: Share = 0.5
    p_set_pu: Annotated[float, Field(ge=-1, le=1)] = 0.0
    profile: Literal["smartds", "flat"] = "smartds"

    @model_validator(mode="after")
    def _energy(self) -> Plant:
        if (self.type == "storage") != (self.energy_wh is not None):
            raise ValueError("energy_wh belongs to storage and only to it; write type: storage with energy_wh, or type: pv without")
        return self


class Ders(Strict):
    """The DER of a feeder and their controllers."""

    name: Name
    kind: Literal["ders"]
    feeder: Name = Field(description="name of the distribution federate")
    period_s: Seconds = 1.0
    pv: Pv | None = None
    storage: Storage | None = None
    plants: tuple[Plant, ...] = ()

    @model_validator(mode="after")
    def _some(self) -> Ders:
        if not (self.pv or self.storage or self.plants):
            raise ValueError("it has no DER; write pv, storage or plants, or remove the entry")
        return self


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
    feeder: Name
    scan_s: Seconds = Field(default=2.0, description="of measured values; a changed status is sent at once")
    der_scan_s: Seconds = Field(default=4.0, description="of DER")
    deadband_pct: NotNegative = Field(default=0.5, description="of full scale; smaller changes are not reported")
    accuracy_pct: NotNegative = Field(default=0.3, description="standard deviation of a transducer's gain error")
    telemetry: Channel = Channel(latency_s=0.15, sigma=0.3)
    control: Channel = Channel(latency_s=0.15, sigma=0.3)
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
    feeder: Name
    period_s: Seconds = Field(default=1.0, description="how often a meter looks")
    interval_s: Seconds = Field(default=300.0, description="length of an interval average")
    shares_s: Seconds = Field(default=60.0, description="how often a customer's share of its load moves")
    customer_w: Positive = Field(default=4_000.0, description="nominal power of an average customer, per phase")
    accuracy_class: NotNegative = Field(default=0.5, description="percent")
    clock_ahead_s: NotNegative = Field(default=0.0, description="a meter's clock is ahead by up to this, drawn")

    @model_validator(mode="after")
    def _whole(self) -> Meters:
        if _ns(self.interval_s) % _ns(self.shares_s) or _ns(self.shares_s) % _ns(self.period_s):
            raise ValueError(
                "interval_s must be a multiple of shares_s, and shares_s of period_s; write for instance 300, 60 and 1"
            )
        return self


class Ami(Strict):
    """Delivery of meter readings over a radio mesh, validation, estimation of gaps, outages from last gasps."""

    name: Name
    kind: Literal["ami"]
    feeder: Name
    period_s: Seconds = 5.0
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
    feeder: Name
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

    @model_validator(mode="after")
    def _rising(self) -> Tblm:
        if self.v_pu[0] >= self.v_pu[1] or (self.f_hz and self.f_hz[0] >= self.f_hz[1]):
            raise ValueError("a range must rise; write [lower, higher] for v_pu and f_hz")
        return self


class Ems(Strict):
    """The transmission operator's EMS."""

    name: Name
    kind: Literal["ems"]
    grid: Name
    period_s: Seconds = Field(default=1.0, description="how often it looks at its telemetry")
    scan_s: Seconds = Field(default=60.0, description="between scans: a power flow and an N-1")
    generators: tuple[str, ...] = Field(default=(), description="whose loss is studied; none: the three largest in service")

    @model_validator(mode="after")
    def _whole(self) -> Ems:
        if _ns(self.scan_s) % _ns(self.period_s):
            raise ValueError("scan_s must be a multiple of period_s; write for instance 60 and 1")
        return self


Federate = Annotated[
    Transmission | Distribution | Ders | Scada | Meters | Ami | Tblm | Ems,
    Field(discriminator="kind"),
]
FEDERATE_MODELS: dict[str, type[Strict]] = {
    model.model_fields["kind"].annotation.__args__[0]: model  # type: ignore[union-attr]
    for model in (Transmission, Distribution, Ders, Scada, Meters, Ami, Tblm, Ems)
}
