"""Where a feeder's DER stand and how they are set: from a share of the load to named sites, by the scenario's seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scenarios.kinds_der import DerFunctions, Ders, Plant, Pv, Storage

if TYPE_CHECKING:
    from federates.grid.der import DerSettings
    from federates.grid.feeder import DerSite
    from scenarios.inventory import LoadTable

_SIZE_SPREAD = 0.25
"""Standard deviation of the logarithm of a rating around its share."""


@dataclass(frozen=True)
class DerPlan:
    """DER in the order of every DER port: sites and their settings; `p_set_pu` is the schedule of storage, generation positive;
    `profiles` are keys of irradiance for PV, `flat` for the rest."""

    sites: tuple[DerSite, ...]
    settings: DerSettings
    p_set_pu: tuple[float, ...]
    profiles: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the DER, as the feeder knows them."""
        return tuple(site.name for site in self.sites)


def plan(entry: Ders, loads: LoadTable, seed: int) -> DerPlan:
    """The DER of a feeder with these loads. Raises ValueError for a setting that does not exist or is out of its range."""
    from federates.grid.der import DerSettings, randomized_delay_s
    from federates.grid.load import pv_profiles

    sites: list[DerSite] = []
    parts: list[DerSettings] = []
    schedule: list[float] = []
    roofs: list[bool] = []
    rng = np.random.default_rng(derived_seed(seed, entry.name))
    if entry.pv:
        placed = _rooftops("pv", entry.pv, loads, rng)
        sites += placed
        old = rng.permutation(len(placed)) < round(entry.pv.legacy_share * len(placed))
        delays = randomized_delay_s(len(placed), entry.pv.enter_service_spread_s, derived_seed(seed, f"{entry.name}/delay"))
        for n, site in enumerate(placed):
            values = {"ES_RANDOMIZED_DELAY_ACTUAL": delays[n]}
            parts.append(_settings(entry.pv.model_copy(update={"standard": "ieee1547_2003"}) if old[n] else entry.pv, site, values))
        schedule += [0.0] * len(placed)
        roofs += [entry.pv.profile == "smartds"] * len(placed)
    if entry.storage:
        placed = _rooftops("battery", entry.storage, loads, rng)
        sites += placed
        for site in placed:
            parts.append(_settings(entry.storage, site, _battery(entry.storage.hours * site.s_va, entry.storage.soc_start)))
        schedule += [entry.storage.p_set_pu] * len(placed)
        roofs += [False] * len(placed)
    for plant in entry.plants:
        site = _site(plant)
        sites.append(site)
        parts.append(_settings(plant, site, _battery(plant.energy_wh, plant.soc_start) if plant.energy_wh else {}))
        schedule.append(plant.p_set_pu)
        roofs.append(plant.type == "pv" and plant.profile == "smartds")
    keys = pv_profiles()
    drawn = rng.integers(len(keys), size=len(sites)).tolist()
    profiles = tuple(keys[k] if roof else "flat" for k, roof in zip(drawn, roofs, strict=True))
    return DerPlan(tuple(sites), DerSettings.joined(*parts), tuple(schedule), profiles)


def derived_seed(seed: int, name: str) -> int:
    """A seed of its own for everything with a name, so that adding a federate does not change the others' draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "little")


def _rooftops(stem: str, group: Pv | Storage, loads: LoadTable, rng: np.random.Generator) -> list[DerSite]:
    """Sites at loads drawn by their size, each rated in proportion to its load, more or less."""
    from federates.grid.feeder import DerSite

    weight = np.maximum(loads.p_w, 0.0)
    count = min(group.sites, int(np.count_nonzero(weight)))
    if count == 0:
        raise ValueError("the feeder has no load to stand a share of DER at; write plants with a bus instead")
    drawn = np.sort(rng.choice(len(weight), size=count, replace=False, p=weight / weight.sum()))
    rating = weight[drawn] * np.exp(rng.normal(0.0, _SIZE_SPREAD, count))
    rating *= group.share_of_load * weight.sum() / rating.sum()
    sites = []
    for n, (load, s_va) in enumerate(zip(drawn.tolist(), rating.tolist(), strict=True), start=1):
        phases = loads.phases[load] if len(loads.phases[load]) == 3 else loads.phases[load][:1]
        kv = loads.base_kv[load] * (np.sqrt(3.0) if len(phases) == 3 else 1.0)
        bus = ".".join([loads.bus[load], *map(str, phases)])
        sites.append(DerSite(f"{stem}{n}", bus, float(kv), float(s_va)))
    return sites


def _site(plant: Plant) -> DerSite:
    from federates.grid.feeder import DerSite

    return DerSite(plant.name, plant.bus, plant.kv, plant.s_va)


def _battery(energy_wh: float, soc: float) -> dict[str, Any]:
    return {"NP_TYPE": "STORAGE", "NP_BESS_CAPACITY": energy_wh, "SOC_INIT": soc}


def _settings(functions: DerFunctions, site: DerSite, values: dict[str, Any]) -> DerSettings:
    from federates.grid.der import DerSettings

    nameplate = {
        "NP_VA_MAX": site.s_va,
        "NP_PHASE": 3.0 if len(site.phases) == 3 else 1.0,
        "NP_AC_V_NOM": site.kv * 1e3,
        **values,
    }
    if functions.standard == "ieee1547_2003":
        return DerSettings.ieee1547_2003(1, **nameplate)
    chosen = {
        "Q_MODE": "QV" if functions.volt_var else "CONST_PF",
        "PV_MODE_ENABLE": functions.volt_watt,
        "PF_MODE_ENABLE": functions.droop,
    }
    return DerSettings.ieee1547_2018(
        1, functions.category, functions.normal_category, **{**nameplate, **chosen, **functions.settings}
    )
