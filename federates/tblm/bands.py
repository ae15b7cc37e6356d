"""The bands of a document: `uncertainty` applied to what a snapshot knows of the bus and of each action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from federates.runtime.federate import S_NS
from federates.tblm import emergency_model as record
from federates.tblm.armed import Program
from federates.tblm.model import Tblm
from federates.tblm.snapshot import FeederSnapshot, usable
from federates.tblm.study import Base, Study
from federates.tblm.uncertainty import Band, Scada, Spread, claimed_part, measured_total

ACCURACY = 0.003
DEADBAND = 0.005
"""Gain error and deadband of the head's transducers, pu; those of SCADA points where a scenario says nothing else."""
PARTICIPATION = 0.8
"""Of customers in a program who take part when they are asked."""
_SPREAD = Spread()


def of(
    study: Study, base: Base, snapshot: FeederSnapshot, tblm: Tblm, programs: Sequence[Program], stages: Sequence[record.ArmedStage]
) -> tuple[record.UncertainPower, ...]:
    """Bands of the bus's power, of each stage, and of each program that claims single loads."""
    k, p_w = tblm.like_feeders.factor, tblm.operating_point.P_W
    der = study.feeder.der_names
    der_age = _age_s(snapshot, "der_p_w") if der else np.zeros(0)
    der_w = np.nan_to_num(base.der_p_w) * base.der_in_service
    head_age = float(_age_s(snapshot, "head_p_w").max())
    # like feeders are not independent of each other: they share classes, weather and the hour
    whole = measured_total(
        p_w,
        k * base.load_p_w,
        k * der_w,
        der_age,
        Scada(ACCURACY, DEADBAND * abs(p_w), head_age if np.isfinite(head_age) else 1e6),
        _SPREAD,
    )
    found = [_record("P", whole, 1.0)]
    for stage in stages:
        if stage.feeders and p_w:
            found.append(_record(stage.stage, whole, stage.P_net_W / p_w))
    load = snapshot.samples.get("load_p_w")
    coverage = snapshot.scalar("coverage") if "coverage" in snapshot.samples else np.nan
    for program in programs:
        asked = np.array([program.load_class in (None, of) for of in study.feeder.load_class])
        if not program.share or not asked.any() or load is None:
            continue
        taken = k * program.share * base.load_p_w[asked]
        age = _age_s(snapshot, "load_p_w")[asked]
        part = claimed_part(taken, load.good()[asked], age, coverage if np.isfinite(coverage) else 0.0, PARTICIPATION, _SPREAD)
        found.append(_record(program.name, part, 1.0))
    return tuple(found)


def _age_s(snapshot: FeederSnapshot, port: str) -> np.ndarray:
    """Age of each value, s; infinite where it cannot be used."""
    sample = snapshot.samples[port]
    return np.where(usable(sample), sample.age_ns(snapshot.t_ns) / S_NS, np.inf)


def _record(quantity: str, band: Band, share: float) -> record.UncertainPower:
    low, middle, high = sorted(float(np.round(share * x)) + 0.0 for x in (band.p05_w, band.p50_w, band.p95_w))
    drivers = tuple(record.Driver(name, float(np.round(abs(share) * sigma))) for name, sigma in band.drivers)  # type: ignore[arg-type]
    return record.UncertainPower(quantity, low, middle, high, drivers)
