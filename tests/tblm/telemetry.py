"""Telemetry of a true feeder, as SCADA and AMI would deliver it: what the tests of the builder feed it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.grid.der import DerFleet, DerSettings
from federates.grid.feeder import DerSite, Feeder, FeederModel
from federates.grid.feeder_library import builtin_feeder
from federates.grid.load import frequency_response
from federates.runtime.federate import S_NS
from federates.runtime.port import NO_DOCUMENT, Event, Port, Sample

DER_BUSES = ("1", "7", "13", "18", "35", "51", "60", "76", "87", "97", "105", "300")


def ieee123_with_der(sites: int = 12) -> FeederModel:
    """IEEE 123 with three-phase inverters of 400 kVA."""
    der = tuple(DerSite(f"der{bus}", f"{bus}.1.2.3", 4.16, 400e3) for bus in DER_BUSES[:sites])
    return builtin_feeder("ieee123").with_(der=der)


def inverters(n: int = 12, legacy: int = 0, **values: Any) -> DerSettings:
    """`n` inverters of 300 kW in 400 kVA: category III, the last `legacy` of them of 2003."""
    rating = {"NP_VA_MAX": 400e3, "NP_P_MAX": 300e3, "NP_AC_V_NOM": 4160.0}
    new = DerSettings.ieee1547_2018(n - legacy, **{"Q_MODE": "QV", **rating, **values})
    return DerSettings.joined(new, DerSettings.ieee1547_2003(legacy, **rating)) if legacy else new


@dataclass
class Truth:
    """A feeder whose state is known, read as telemetry. Loads are the file's times `scale`, each off by a seeded part."""

    model: FeederModel
    settings: DerSettings | None = None
    scale: float = 0.8
    spread: float = 0.2
    like_feeders: int = 1
    v_pu: float = 1.01
    f_hz: float = 60.0
    available_w: float = 150e3
    seed: int = 7
    feeder: Feeder = field(init=False)

    def __post_init__(self) -> None:
        self.feeder = feeder = Feeder(self.model)
        rng = np.random.default_rng(self.seed)
        self.p0_w = feeder.load_p0_w * self.scale * (1.0 + self.spread * rng.uniform(-1.0, 1.0, len(feeder.load_names)))
        self.q0_var = feeder.load_q0_var * self.scale * (1.0 + self.spread * rng.uniform(-1.0, 1.0, len(feeder.load_names)))
        self.n_der = len(feeder.der_names)
        self.der_available_w = np.full(self.n_der, self.available_w)
        self.der_p_w = self.der_q_var = np.zeros(self.n_der)
        stored = self.settings.storage(feeder.der_names) if self.settings is not None else ()
        self.der_soc_wh = np.zeros(len(stored))
        self.der_status = np.full(self.n_der, 2.0)
        self.settle()

    def settle(self) -> None:
        """Run controls and DER to rest at the present voltage and frequency."""
        feeder = self.feeder
        feeder.set_source(self.v_pu)
        feeder.set_loads(*frequency_response(self.p0_w, self.q0_var, feeder.load_class, self.f_hz, self.model.base_hz))
        if self.settings is not None:
            fleet = DerFleet(self.settings)
            for _ in range(20):
                feeder.set_der(self.der_p_w, self.der_q_var)
                feeder.settle()
                out = fleet.steady(feeder.der_v_pu(), self.f_hz, self.der_available_w, in_service=self.der_status > 0.0)
                self.der_p_w, self.der_q_var, self.der_status = out.p_w, out.q_var, out.status.astype(float)
            feeder.set_der(self.der_p_w, self.der_q_var)
        feeder.settle()

    def values(self) -> dict[str, np.ndarray]:
        """Every telemetered value by port name."""
        feeder = self.feeder
        head_p, head_q = feeder.head()
        load_p, load_q = feeder.load_power()
        return {
            "head_p_w": head_p, "head_q_var": head_q,
            "bus_p_w": self.like_feeders * head_p, "bus_q_var": self.like_feeders * head_q,
            "bus_v_pu": np.array([self.v_pu]), "bus_angle_rad": np.array([-0.1]), "f_hz": np.array([self.f_hz]),
            "feeders_closed": np.array([float(self.like_feeders)]),
            "tap": feeder.taps(), "capacitor": feeder.capacitor_states(), "switch": feeder.switch_states(),
            "der_p_w": self.der_p_w, "der_q_var": self.der_q_var, "der_status": self.der_status,
            "der_available_w": self.der_available_w, "der_soc_wh": self.der_soc_wh,
            "load_p_w": load_p, "load_q_var": load_q, "coverage": np.array([1.0]),
        }  # fmt: skip

    def inputs(
        self, ports: Sequence[Port], t_ns: int, events: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, **changed: Any
    ) -> dict[str, Any]:
        """Inputs of a builder at `t_ns`: SCADA measured a second ago, AMI five minutes; `changed` replaces samples."""
        values, out = self.values(), dict[str, Any]()
        for port in ports:
            if port.kind == "event":
                rows = (events or {}).get(port.name, ())
                out[port.name] = tuple(Event(t_ns, "test.out", i + 1, row) for i, row in enumerate(rows))
            elif port.kind == "document":
                out[port.name] = changed.get(port.name, NO_DOCUMENT)
            else:
                age_ns = 300 * S_NS if port.name in ("load_p_w", "load_q_var", "coverage") else S_NS
                out[port.name] = changed.get(port.name) or Sample.of(values[port.name].astype(float), max(t_ns - age_ns, 0))
        return out
