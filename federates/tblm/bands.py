"""The bands of a document: `uncertainty` applied to what a snapshot knows of the bus and of each action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from federates.runtime.federate import S_NS
from federates.runtime.port import Quality
from federates.tblm import emergency_model as record
from federates.tblm.armed import Program
from federates.tblm.model import Tblm
from federates.tblm.snapshot import FeederSnapshot, usable
from federates.tblm.study import Base, Study
from federates.tblm.uncertainty import CALIBRATED, Band, Scada, claimed_part, measured_total

_LOST_S = 1e6  # age of what is lost


@dataclass(frozen=True)
class HeadTelemetry:
    """The data sheet of the points that measure the bus. accuracy: standard deviation of each phase's gain error, pu; deadband_w:
    of each phase; fresh_s: a value that is not marked stale is at most so old, whatever its own time: what has stayed within its
    deadband is not reported again."""

    accuracy: float = 0.003
    deadband_w: float = 0.0
    fresh_s: float = 6.0


def of(
    study: Study,
    base: Base,
    snapshot: FeederSnapshot,
    tblm: Tblm,
    programs: Sequence[Program],
    stages: Sequence[record.ArmedStage],
    head: HeadTelemetry,
) -> tuple[record.UncertainPower, ...]:
    """Bands of the bus's power, of each stage, and of each program that claims single loads."""
    k, p_w = tblm.like_feeders.factor, tblm.operating_point.P_W
    der = study.feeder.der_names
    der_age = _age_s(snapshot, "der_p_w") if der else np.zeros(0)
    der_w = _der_w(study, base, snapshot) if der else np.zeros(0)
    # like feeders are not independent of each other: they share classes, weather and the hour
    whole = measured_total(p_w, k * base.load_p_w, k * der_w, der_age, _scada(snapshot, p_w, head), CALIBRATED)
    found = [_record("P", whole, 1.0)]
    for stage in stages:
        if stage.feeders and p_w:
            found.append(_record(stage.stage, whole, stage.P_net_W / p_w))
    load = snapshot.samples.get("load_p_w")
    coverage = snapshot.scalar("coverage") if "coverage" in snapshot.samples else np.nan
    for program in programs:
        asked = np.array([program.load_class in (None, of) for of in study.feeder.load_class])
        if not program.expected or not asked.any() or load is None:
            continue
        taken = k * program.share * base.load_p_w[asked]
        age = _age_s(snapshot, "load_p_w")[asked]
        read, count = load.good()[asked], tblm.like_feeders.count
        part = claimed_part(taken, read, age, coverage if np.isfinite(coverage) else 0.0, program.participation, CALIBRATED, count)
        found.append(_record(program.name, part, 1.0))
    return tuple(found)


def _der_w(study: Study, base: Base, snapshot: FeederSnapshot) -> np.ndarray:
    """What DER are thought to give, W: of those that are lost what was last seen, or their rating, for it may all be there."""
    seen = snapshot.samples["der_p_w"].values
    lost = np.where(np.isfinite(seen), seen, study.feeder.der_s_va)
    return np.where(np.isfinite(base.der_p_w), base.der_p_w * base.der_in_service, lost)


def _scada(snapshot: FeederSnapshot, p_w: float, head: HeadTelemetry) -> Scada:
    """The measurement of the bus as that of one total: the phases' gain errors and deadbands add up as squares."""
    sample, phases = snapshot.samples["bus_p_w"], snapshot.known("bus_p_w")
    each = np.where(np.isfinite(phases), phases, p_w / max(phases.size, 1))
    accuracy = head.accuracy * float(np.sqrt((each**2).sum())) / max(abs(p_w), 1.0)
    stale = (sample.quality & int(Quality.STALE)) != 0
    age = _age_s(snapshot, "bus_p_w")
    age_s = float(np.where(stale, age, np.minimum(age, np.where(np.isfinite(age), head.fresh_s, np.inf))).max())
    return Scada(accuracy, head.deadband_w * float(np.sqrt(phases.size)), age_s if np.isfinite(age_s) else _LOST_S)


def _age_s(snapshot: FeederSnapshot, port: str) -> np.ndarray:
    """Age of each value, s; infinite where it cannot be used."""
    sample = snapshot.samples[port]
    return np.where(usable(sample), sample.age_ns(snapshot.t_ns) / S_NS, np.inf)


def _record(quantity: str, band: Band, share: float) -> record.UncertainPower:
    low, middle, high = sorted(float(np.round(share * x)) + 0.0 for x in (band.p05_w, band.p50_w, band.p95_w))
    drivers = tuple(record.Driver(name, float(np.round(abs(share) * sigma))) for name, sigma in band.drivers)  # type: ignore[arg-type]
    return record.UncertainPower(quantity, low, middle, high, drivers)
