"""What a scenario may say about DER: rooftop PV, batteries, plants, and the functions of IEEE 1547 that they have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scenarios.fields import Name, NotNegative, Positive, Seconds, Share, Strict

PerUnit = Annotated[float, Field(ge=-1, le=1)]
Standard = Literal["ieee1547_2018", "ieee1547_2003"]


class DerFunctions(Strict):
    """Standard and functions of a group of DER; `settings` are fields of IEEE 1547's common file format, for instance QV_OLRT."""

    standard: Standard = Field(default="ieee1547_2018", description="edition of IEEE 1547 that it follows")
    category: Literal["I", "II", "III"] = Field(default="III", description="abnormal operating performance")
    normal_category: Literal["A", "B"] = Field(default="B", description="of IEEE 1547-2018: range of reactive power")
    volt_var: bool = Field(default=False, description="whether reactive power follows voltage")
    volt_watt: bool = Field(default=False, description="whether active power is limited at high voltage")
    droop: bool = Field(default=True, description="whether active power follows frequency")
    settings: dict[str, float] = Field(
        default={}, description="fields of IEEE 1547's common file format by name, in its units: QV_OLRT: 5.0"
    )


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
    sites: int = Field(default=3, ge=1, description="number of loads that have one, drawn by the seed")
    hours: Positive = Field(default=4.0, description="energy over power")
    soc_start: Share = Field(default=0.5, description="stored energy at the start, part of the capacity")
    p_set_pu: PerUnit = Field(default=0.0, description="scheduled power, of its rating, generation positive")


class Plant(DerFunctions):
    """One DER at a named bus."""

    name: Name
    type: Literal["pv", "storage"] = Field(description="pv, or storage with energy_wh")
    bus: str = Field(description="feeder bus with its phases: 76.1.2.3")
    kv: Positive = Field(description="line to line, or line to neutral of a single-phase plant")
    s_va: Positive = Field(description="rating, VA")
    energy_wh: Positive | None = Field(default=None, description="capacity of storage, Wh")
    soc_start: Share = Field(default=0.5, description="stored energy at the start, part of the capacity")
    p_set_pu: PerUnit = Field(default=0.0, description="scheduled power of storage, of its rating, generation positive")
    profile: Literal["smartds", "flat"] = Field(default="smartds", description="smartds: sun on a roof, drawn; flat: full sun")

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
    period_s: Seconds = Field(default=1.0, description="step, s; within an emergency the emergency's")
    pv: Pv | None = Field(default=None, description="rooftop PV; null: none")
    storage: Storage | None = Field(default=None, description="batteries; null: none")
    plants: tuple[Plant, ...] = Field(default=(), description="single DER at named buses")

    @model_validator(mode="after")
    def _some(self) -> Ders:
        if not (self.pv or self.storage or self.plants):
            raise ValueError("it has no DER; write pv, storage or plants, or remove the entry")
        return self
