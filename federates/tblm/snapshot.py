"""What is known of a feeder at an instant, from delivered telemetry alone, and the loads that explain it.

`FeederSnapshot` holds the values as they were delivered, each with its own measurement time and quality. `operating_base` turns
it into a state that a study can start from: a device whose position is unknown is taken where it was last known, and the reason
is kept. `allocate` then finds loads that agree with both kinds of reading: the meters say how the load is shared, the head
measurement says how much there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.der import DerStatus
from federates.grid.feeder import FeederState
from federates.grid.load import frequency_response
from federates.runtime.port import Quality, Sample
from federates.tblm.model import Source, Trigger
from federates.tblm.phases import PhaseMatch
from federates.tblm.study import Base, Study

Floats = NDArray[np.float64]

SCADA_PORTS = (
    "head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "bus_v_pu", "bus_angle_rad", "f_hz", "feeders_closed", "tap", "capacitor",
    "switch", "der_p_w", "der_q_var", "der_status", "der_available_w", "der_soc_wh",
)  # fmt: skip
_USELESS = int(Quality.LOST | Quality.OVERFLOW | Quality.RESTART)
_SURE = {"good": 0.1, "estimated": 0.5, "questionable": 0.5}
_UNREAD = 1.0  # relative uncertainty of a load that no meter reports
_ALIVE_PU = 0.01  # below it a load is without supply
_Q_FLOOR = 0.2  # a load's reactive power may be corrected by this part of its active power, however small it is itself
_ROUNDS = 12
_PHASE_ROUNDS = 2
_MATCHED = 1e-4  # of the feeder's apparent power


def usable(sample: Sample) -> NDArray[np.bool_]:
    """True where a value may be used at all: finite, and neither lost nor made worthless by its device; it may be stale."""
    ok: NDArray[np.bool_] = np.isfinite(sample.values) & ((sample.quality & _USELESS) == 0)
    return ok


@dataclass(frozen=True, eq=False)
class FeederSnapshot:
    """Delivered values by port name at `t_ns`, for one feeder model. `snapshot_id` is a hash of all of it."""

    t_ns: int
    model_hash: str
    samples: Mapping[str, Sample]
    snapshot_id: str

    @classmethod
    def take(cls, t_ns: int, model_hash: str, inputs: Mapping[str, Any], ports: Sequence[str]) -> FeederSnapshot:
        """The samples of `ports` among a federate's inputs; what was measured after `t_ns` is not there to be used."""
        samples = {name: inputs[name] for name in sorted(ports)}
        digest = hashlib.sha256(f"{t_ns} {model_hash}".encode())
        for name, sample in samples.items():
            digest.update(name.encode())
            for array in (sample.values, np.ascontiguousarray(sample.times_ns), sample.quality):
                digest.update(array.tobytes())
        return cls(t_ns, model_hash, samples, digest.hexdigest())

    def known(self, name: str) -> Floats:
        """Values of a port, NaN where they cannot be used; empty where the feeder has no such port."""
        sample = self.samples.get(name)
        return np.where(usable(sample), sample.values, np.nan) if sample is not None else np.zeros(0)

    def total(self, name: str) -> float:
        """Sum over the values of a port, NaN unless all can be used."""
        return float(self.known(name).sum())

    def scalar(self, name: str) -> float:
        """The only value of a port, NaN where it cannot be used."""
        return float(self.known(name)[0])

    def feeders_closed(self, count: int) -> int:
        """How many of `count` like feeders are in service; all where telemetry does not say."""
        told = self.known("feeders_closed")
        return int(min(max(round(float(told[0])), 0), count)) if told.size and np.isfinite(told[0]) else count

    def sources(self) -> tuple[Source, ...]:
        """How good each group of values is."""
        return tuple(self._source(name, sample) for name, sample in self.samples.items())

    def _source(self, name: str, sample: Sample) -> Source:
        use, good = usable(sample), sample.good()
        if good.all():
            flag = "good"
        elif not use.any():
            flag = "bad"
        else:
            flag = "questionable" if (sample.quality & int(Quality.STALE | Quality.SUSPECT | _USELESS)).any() else "estimated"
        oldest = float(sample.age_ns(self.t_ns)[use].max()) / 1e9 if use.any() else None
        return Source(name, flag, sample.values.size, int(good.sum()), oldest)  # type: ignore[arg-type]

    def oldest_ns(self, names: Sequence[str]) -> int:
        """Measurement time of the oldest usable value among ports; `t_ns` where there is none."""
        times = [s.times_ns[usable(s)] for name, s in self.samples.items() if name in names]
        return int(min((t.min() for t in times if t.size), default=self.t_ns))

    def states(self) -> dict[Trigger, Floats]:
        """What the curves hang on, by the trigger it pulls: switches, capacitors, DER in service; NaN: unknown."""
        der = self.known("der_status")
        service = np.where(np.isnan(der), np.nan, der != DerStatus.TRIP)
        return {
            "emergency": self.known("feeders_closed"), "topology": self.known("switch"), "capacitor": self.known("capacitor"),
            "der": service,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Allocation:
    """Loads that explain the snapshot. base: for `Study.begin`. Powers are the feeder's, as the study computes them at the
    snapshot."""

    base: Base
    head_p_w: float
    head_q_var: float
    load_p_w: float
    load_q_var: float
    loss_w: float
    der_p_w: float
    der_q_var: float
    residual_va: float
    adjusted_va: float
    unread_loads: int


def operating_base(snapshot: FeederSnapshot, study: Study, last: FeederState | None) -> tuple[Base, list[str]]:
    """The state to start from, loads still the file's own, and what had to be assumed. `last`: discrete states last known."""
    feeder, reasons = study.feeder, list[str]()
    state = last or study.rest

    def discrete(port: str, fallback: NDArray[Any], what: str) -> NDArray[Any]:
        if not fallback.size:
            return fallback
        known = snapshot.known(port)
        if np.isnan(known).any():
            reasons.append(f"position of {int(np.isnan(known).sum())} of {known.size} {what} unknown: last known taken")
        return np.where(np.isnan(known), fallback, np.rint(known)).astype(fallback.dtype)

    taps = discrete("tap", state.taps, "regulators")
    capacitors = discrete("capacitor", state.capacitors, "capacitors")
    switches = discrete("switch", state.switches, "switches")
    v = _last("bus_v_pu", "bus voltage", snapshot, 1.0, reasons)
    f = _last("f_hz", "frequency", snapshot, feeder.model.base_hz, reasons)
    n = len(feeder.der_names)
    status, p, q, available = (
        snapshot.known(x) if n else np.zeros(0) for x in ("der_status", "der_p_w", "der_q_var", "der_available_w")
    )
    if n and np.isnan(status).any():
        reasons.append(f"status of {int(np.isnan(status).sum())} of {n} DER unknown: in service if they deliver")
    in_service = np.where(np.isnan(status), np.abs(np.nan_to_num(p)) > 0.0, status != DerStatus.TRIP)
    if n and np.isnan(p).any():
        reasons.append(f"power of {int(np.isnan(p).sum())} of {n} DER unknown: what is available taken, or none")
    available = np.where(np.isnan(available), np.maximum(np.nan_to_num(p), 0.0), available)
    base = Base(
        FeederState(taps, capacitors, switches, state.t_s),
        feeder.load_p0_w.copy(),
        feeder.load_q0_var.copy(),
        v,
        f,
        in_service,
        available,
        p,
        q,
        snapshot.known("der_soc_wh"),
    )
    return base, reasons


def _last(port: str, what: str, snapshot: FeederSnapshot, nominal: float, reasons: list[str]) -> float:
    """A scalar, or the last value that was known, or its nominal value. One below nothing, entered by hand, is as unknown."""
    value = snapshot.scalar(port)
    if np.isfinite(value) and value >= 0.0:
        return value
    held = snapshot.samples[port].scalar
    known = np.isfinite(held) and held > 0.0
    reasons.append(f"{what} unknown: {'last' if known else 'nominal'} value taken")
    return held if known else nominal


def allocate(snapshot: FeederSnapshot, study: Study, base: Base) -> Allocation:
    """Loads, at nominal voltage and frequency, with which the model's head flow is the one measured.

    Each load starts at its meter's reading, or at its share of the file's load where there is none, at the file's power factor.
    What is left between head measurement and model is spread over the loads in proportion to their power and to how little is
    known of each: first by phase (`phases`), then in total, a few rounds over, because losses and voltages answer. Without head
    measurement the readings stand as they are. StudyError where the flow does not converge.
    """
    feeder = study.feeder
    read_p, read_q, unsure = _readings(snapshot)
    p0, q0 = feeder.load_p0_w, feeder.load_q0_var
    got = np.isfinite(read_p) & np.isfinite(read_q)
    rated = float(p0[got].sum())
    head_p, head_q = snapshot.total("head_p_w"), snapshot.total("head_q_var")
    der_p = float(np.nan_to_num(base.der_p_w).sum())
    if rated > 0.0:
        share = float(read_p[got].sum()) / rated
    else:
        share = (head_p + der_p) / float(p0.sum()) if np.isfinite(head_p) and p0.sum() else 1.0
    taken_p, taken_q = np.where(got, read_p, share * p0), np.where(got, read_q, share * q0)
    unsure = np.where(got, unsure, _UNREAD)
    s_va = max(float(np.hypot(p0.sum(), q0.sum())), 1.0)
    # What a load takes is its nominal power times what voltage and frequency make of it.
    per_p, per_q = frequency_response(np.ones(p0.size), np.ones(p0.size), feeder.load_class, base.f_hz, feeder.model.base_hz)
    nominal_p, nominal_q = taken_p / per_p, taken_q / per_q
    adjusted = 0.0
    phases, head = PhaseMatch(feeder.load_phases), np.concatenate((snapshot.known("head_p_w"), snapshot.known("head_q_var")))

    def head_with(p_w: Floats, q_var: Floats) -> Floats:
        study.operate_as_measured(base._replace(load_p_w=p_w / per_p, load_q_var=q_var / per_q))
        return np.concatenate(feeder.head())

    for turn in range(_ROUNDS):
        study.operate_as_measured(base._replace(load_p_w=nominal_p, load_q_var=nominal_q))
        now_p, now_q = feeder.load_power()
        alive = feeder.load_v_pu() > _ALIVE_PU
        model_p, model_q = (float(x.sum()) for x in feeder.head())
        miss_p = head_p - model_p if np.isfinite(head_p) else 0.0
        miss_q = head_q - model_q if np.isfinite(head_q) else 0.0
        if turn == 0:
            per_p, per_q = _ratio(now_p, nominal_p, per_p, alive), _ratio(now_q, nominal_q, per_q, alive)
            # the readings are what was taken at the voltage of the day, not what would be at nominal voltage
            nominal_p, nominal_q = taken_p / per_p, taken_q / per_q
            continue
        if turn == 1:
            adjusted = float(np.hypot(miss_p, miss_q))
        by_phase = turn <= _PHASE_ROUNDS and bool(np.isfinite(head).all())
        if not by_phase and max(abs(miss_p), abs(miss_q)) <= _MATCHED * s_va:
            break
        per_p, per_q = _ratio(now_p, nominal_p, per_p, alive), _ratio(now_q, nominal_q, per_q, alive)
        taken_p, taken_q = np.where(alive, now_p, taken_p), np.where(alive, now_q, taken_q)
        weight_p = alive * unsure * np.abs(taken_p)
        weight_q = alive * unsure * (np.abs(taken_q) + _Q_FLOOR * np.abs(taken_p))
        if by_phase:
            taken_p, taken_q = phases.corrected(taken_p, taken_q, weight_p, weight_q, head, head_with)
        else:
            taken_p, taken_q = taken_p + miss_p * _weights(weight_p), taken_q + miss_q * _weights(weight_q)
        nominal_p, nominal_q = taken_p / per_p, taken_q / per_q
    out_p, out_q = feeder.der_power() if feeder.der_names else (np.zeros(0), np.zeros(0))
    return Allocation(
        base._replace(load_p_w=nominal_p, load_q_var=nominal_q),
        model_p,
        model_q,
        float(now_p.sum()),
        float(now_q.sum()),
        feeder.losses_w(),
        float(out_p.sum()),
        float(out_q.sum()),
        float(np.hypot(miss_p, miss_q)),
        adjusted,
        int((~got).sum()),
    )


def as_filed(study: Study) -> Allocation:
    """The feeder of the network file: its loads, nominal voltage and frequency, no DER. StudyError where that does not
    converge."""
    feeder = study.feeder
    nothing = np.zeros(len(feeder.der_names))
    filed = (feeder.load_p0_w, feeder.load_q0_var)
    base = Base(study.rest, *filed, 1.0, feeder.model.base_hz, nothing > 0.0, nothing, nothing, nothing)
    study.operate_as_measured(base)
    p, q = (float(x.sum()) for x in feeder.head())
    return Allocation(base, p, q, *feeder.load_total(), feeder.losses_w(), 0.0, 0.0, 0.0, 0.0, len(feeder.load_names))


def _readings(snapshot: FeederSnapshot) -> tuple[Floats, Floats, Floats]:
    """(P, Q, relative uncertainty) of each load by its meter; NaN where there is no usable reading."""
    p, q = snapshot.samples["load_p_w"], snapshot.samples["load_q_var"]
    worst = p.quality | q.quality
    unsure = np.where(worst == 0, _SURE["good"], _SURE["estimated"])
    return snapshot.known("load_p_w"), snapshot.known("load_q_var"), unsure


def _ratio(now: Floats, nominal: Floats, otherwise: Floats, alive: NDArray[np.bool_]) -> Floats:
    told = alive & (np.abs(nominal) > 1e-6)  # a load without supply says nothing of its nominal power
    return np.asarray(np.divide(now, nominal, out=np.array(otherwise, float), where=told))


def _weights(size: Floats) -> Floats:
    total = float(size.sum())
    return np.asarray(size / total) if total > 0.0 else np.full(size.size, 1.0 / size.size)
