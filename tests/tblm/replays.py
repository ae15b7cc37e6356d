"""Replays that bands are calibrated and judged on: loads and sun that move, seen through the real SCADA and AMI federates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from federates.data_management.ami import Ami, AmiFederate
from federates.data_management.scada import Measured, Scada, ScadaFederate
from federates.grid.channel import ChannelParams
from federates.runtime.federate import S_NS
from federates.runtime.port import Sample
from federates.tblm import uncertainty
from federates.tblm.uncertainty import Band, Spread, claimed_part, measured_total

N, M, SCAN_S, INTERVAL_S = 24, 6, 4, 60
LOADS = tuple(f"l{k}" for k in range(N))
DERS = tuple(f"d{k}" for k in range(M))
ACCURACY, DEADBAND_W, PARTICIPATION = 0.005, 4e3, 0.8
EVALUATED_S = tuple(range(150, 451, 60))


class Replay(NamedTuple):
    """An estimate and what was true when it was made."""

    band: Band
    truth_w: float

    @property
    def covered(self) -> bool:
        return self.band.p05_w <= self.truth_w <= self.band.p95_w


class World:
    """Loads with own and common fluctuations and DER under one sky: Ornstein-Uhlenbeck, stepped exactly."""

    def __init__(self, seed: int, spread: Spread) -> None:
        self.rng, self.spread = np.random.default_rng([seed, 1]), spread
        self.base_w = self.rng.uniform(10e3, 60e3, N)
        self.rated_w = self.rng.uniform(20e3, 80e3, M)
        self.own, self.common, self.sky = self.rng.standard_normal(N), self.rng.standard_normal(), self.rng.standard_normal()

    def step(self, dt_s: float) -> None:
        def move(x: Any, tau_s: float) -> Any:
            keep = np.exp(-dt_s / tau_s)
            return keep * x + np.sqrt(1.0 - keep**2) * self.rng.standard_normal(np.shape(x))

        s = self.spread
        self.own, self.common, self.sky = move(self.own, s.own_s), move(self.common, s.common_s), move(self.sky, s.sky_s)

    def loads_w(self) -> np.ndarray:
        return self.base_w * (1.0 + self.spread.own * self.own) * (1.0 + self.spread.common * self.common)

    def der_w(self) -> np.ndarray:
        return self.rated_w * np.clip(0.7 + self.spread.sky * self.sky, 0.0, 1.0)


def replays(seed: int, spread: Spread, loss: float = 0.2) -> tuple[list[Replay], list[Replay]]:
    """(of the head's power, of what a program takes from a third of the loads), at several instants of one run."""
    world = World(seed, uncertainty.Spread())
    lossy = ChannelParams(latency_s=0.3, sigma=0.4, loss=loss)
    head = Measured("head_p_w", "W", ("bus",), rtu="substation", scan_ns=SCAN_S * S_NS, deadband=DEADBAND_W, accuracy=ACCURACY)
    der = Measured("der_p_w", "W", DERS, rtu=DERS, scan_ns=SCAN_S * S_NS, deadband=500.0, accuracy=ACCURACY)
    scada = ScadaFederate(Scada("scada", (head, der), SCAN_S * S_NS, lossy, lossy, seed, refresh_ns=1))
    mesh = ChannelParams(latency_s=1.0, sigma=0.5, loss=loss)
    ami = AmiFederate(
        Ami("ami", LOADS, (35e3,) * N, (), period_ns=SCAN_S * S_NS, interval_ns=INTERVAL_S * S_NS, mesh=mesh, seed=seed, max_hops=2,
             backfill_ns=None, ready_after_ns=20 * S_NS)
    )  # fmt: skip
    shown, read = dict(scada.start(0)), dict(ami.start(0))
    interval = {f"interval_{name}": Sample.missing(N) for name in ("p_w", "q_var", "v_pu")}
    collected: list[np.ndarray] = []
    asked = world.rng.random(N) < 1.0 / 3.0
    asked[0] = True
    heads, programs = list[Replay](), list[Replay]()
    for t_s in range(0, EVALUATED_S[-1] + 1, SCAN_S // 2):
        t_ns = t_s * S_NS
        loads, ders = world.loads_w(), world.der_w()
        collected.append(loads)
        if t_s % SCAN_S == 0:
            inputs = {
                "head_p_w": Sample.of([loads.sum() - ders.sum()], t_ns),
                "der_p_w": Sample.of(ders, t_ns),
                "soe": (),
                "command": (),
            }
            shown |= scada.step(t_ns, inputs).outputs
            read |= ami.step(t_ns, {**interval, "meter_event": ()}).outputs
            if t_s and t_s % INTERVAL_S == 0:
                average = np.mean(collected, axis=0)
                collected = []
                for name, values in (("p_w", average), ("q_var", 0.3 * average), ("v_pu", np.ones(N))):
                    interval[f"interval_{name}"] = Sample(values, t_ns, np.zeros(N, np.uint16))
        if t_s in EVALUATED_S:
            heads.append(Replay(_head(t_ns, shown, spread), float(loads.sum() - ders.sum())))
            part = world.rng.random(N) < PARTICIPATION
            programs.append(Replay(_program(t_ns, read, asked, spread), float((loads * asked * part).sum())))
        world.step(SCAN_S / 2)
    return heads, programs


def _head(t_ns: int, shown: dict[str, Any], spread: Spread) -> Band:
    head, der = shown["head_p_w"], shown["der_p_w"]
    scada = uncertainty.Scada(ACCURACY, DEADBAND_W, float(head.age_ns(t_ns).max()) / S_NS)
    loads = np.full(N, (head.values.sum() + np.nansum(der.values)) / N)
    return measured_total(float(head.values.sum()), loads, np.nan_to_num(der.values), der.age_ns(t_ns) / S_NS, scada, spread)


def _program(t_ns: int, read: dict[str, Any], asked: np.ndarray, spread: Spread) -> Band:
    load = read["load_p_w"]
    age = load.age_ns(t_ns) / S_NS + INTERVAL_S / 2.0  # an average is of the middle of its interval
    coverage = float(np.asarray(read["coverage"].values if isinstance(read["coverage"], Sample) else read["coverage"]).ravel()[-1])
    return claimed_part(load.values[asked], load.quality[asked] == 0, age[asked], coverage, PARTICIPATION, spread)
