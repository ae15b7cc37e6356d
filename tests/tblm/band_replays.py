"""Replays that published bands are set and judged by: federations of their own, in which documents go out over links that lose a
fifth of what is sent, and what was true at that moment.

    python tests/tblm/band_replays.py       sets the factors on the seeds SET_BY, judges them on JUDGED_BY, prints both (minutes)

Each run: a feeder of 15 loads under a recorded voltage, ten like it, customers and roofs of SMART-DS at an hour of its own between
six and eighteen; in every third run the substation says nothing for a while. Six documents of each are looked at.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from federates.runtime.federate import S_NS
from federates.runtime.local import run_local
from federates.runtime.record import MemoryRecorder
from federates.tblm.builder import TblmBuilder, TblmParams
from federates.tblm.curves import CurveOptions
from federates.tblm.model import Curve, CurveSet, from_json
from federates.tblm.uncertainty import CALIBRATED, Factors, fitted
from scenarios.build import build
from scenarios.document import parse_document
from scenarios.inventory import take_inventory
from scenarios.load import check_document

SET_BY, JUDGED_BY = range(5000, 5100), range(90)
FIRST_S, EVERY_S, STOP_S, COUNT, SHARE = 90, 30, 244, 10, 0.3
_STEP_S, _PARTICIPATION = 4, 0.8
_COARSE = CurveOptions((0.99, 1.05), (59.9, 60.1), (59.95, 60.05), tolerance_pct=20.0)
_QUICK = "band_replays:QuickBuilder"
_SCENARIO = """\
name: bands
seed: {seed}
start: 2024-06-{day:02d}T{hour:02d}:{minute:02d}:00
stop_s: {stop}
federates:
  - {{name: grid, kind: player, period_s: {step}, v_pu: {v}, points: {{t_s: [0, 1000], f_hz: [60, 60]}}}}
  - {{name: fa, kind: distribution, feeder: ieee13, grid: grid, bus: city, count: {count}, period_s: {step}}}
  - {{name: ders, kind: ders, feeder: fa, period_s: {step}, pv: {{share_of_load: {pv}, sites: 3}}}}
  - {{name: relays, kind: relays, feeder: fa, ufls: [{{pickup_hz: 59.5, delay_s: 0.1, feeders: 4}}]}}
  - {{name: scada, kind: scada, feeder: fa, scan_s: {step}, telemetry: {{latency_s: 0.4, sigma: 0.4, loss: 0.2}}}}
  - {{name: meters, kind: meters, feeder: fa, interval_s: 60, period_s: {step}}}
  - {{name: ami, kind: ami, feeder: fa, period_s: {step}, ready_after_s: 20, backfill_s: null,
     mesh: {{latency_s: 1, sigma: 0.5, loss: 0.2}}}}
  - {{name: tblm, kind: tblm, feeder: fa, period_s: {every}, deviation_pct: 50, poll_s: {step},
     programs: [{{name: "dr:homes", load_class: residential, share: {share}, participation: {part}}}]}}
events: {events}
"""


class QuickBuilder(TblmBuilder):
    """The builder with tables of its first document in all others: no band is made from a table, and they take most of its time."""

    def __init__(self, params: TblmParams) -> None:
        super().__init__(params)
        make, known = self._assembler._curve, dict[str, Curve]()

        def once(which: CurveSet, *given: Any) -> Curve:
            if which not in known:
                known[which] = make(which, *given)
            return known[which]

        self._assembler._curve = once  # type: ignore[method-assign]
        self._assembler.verification = lambda *_: []  # type: ignore[method-assign]


class Replay(NamedTuple):
    """A power of a document, what it turned out to be, and the standard deviation of each driver."""

    quantity: str
    p05_w: float
    p50_w: float
    p95_w: float
    truth_w: float
    drivers: Mapping[str, float]

    @property
    def error_w(self) -> float:
        """Truth less estimate."""
        return self.truth_w - self.p50_w


def run(seed: int) -> list[Replay]:
    """The documents of one run, each with its quantities."""
    rng = np.random.default_rng([seed, 77])
    silent = int(rng.integers(70, 180))
    events = [{"t_s": silent, "to": "scada", "action": {"do": "comm_fail", "rtu": "substation", "duration_s": 60}}]
    text = _SCENARIO.format(
        seed=seed, day=1 + seed % 28, hour=int(rng.integers(6, 18)), minute=int(rng.integers(60)), stop=STOP_S, step=_STEP_S,
        count=COUNT, pv=round(float(rng.uniform(0.05, 0.5)), 2), every=EVERY_S, share=SHARE, part=_PARTICIPATION,
        v=round(float(rng.uniform(1.0, 1.04)), 3),
        events=str(events if seed % 3 == 0 else []).replace("'", '"'),
    )  # fmt: skip
    loaded = check_document(parse_document(text, "bands.yaml"), Path())
    federation = build(loaded, take_inventory(loaded))
    specs = tuple(
        replace(spec, factory=_QUICK, params=replace(spec.params, options=_COARSE)) if spec.name == "tblm" else spec
        for spec in federation.specs
    )
    recorder = MemoryRecorder()
    run_local(replace(federation, specs=specs, record=frozenset({"fa.bus_p_w", "fa.load_p_w", "fa.head_p_w"})), recorder)
    found = []
    for document in recorder.documents["tblm", "tblm"]:
        tblm = from_json(document.text)
        at_ns = tblm.t_valid.t_publish_ns
        if at_ns < FIRST_S * S_NS or at_ns % (EVERY_S * S_NS) or tblm.emergency is None:
            continue
        bus_w = float(_at(recorder, "bus_p_w", at_ns).sum())
        like = bus_w / float(_at(recorder, "head_p_w", at_ns).sum())
        part = rng.binomial(COUNT, _PARTICIPATION, len(_at(recorder, "load_p_w", at_ns))) / COUNT
        truth = {
            "P": bus_w,
            "ufls:1": 0.4 * bus_w,
            "dr:homes": like * SHARE * float((part * _at(recorder, "load_p_w", at_ns)).sum()),
        }
        found += [
            Replay(b.quantity, b.P05_W, b.P50_W, b.P95_W, truth[b.quantity], {d.name: d.sigma_W for d in b.drivers})
            for b in tblm.emergency.bands
        ]
    return found


def _at(recorder: MemoryRecorder, port: str, t_ns: int) -> np.ndarray:
    return next(s.values for t, s in reversed(recorder.samples["fa", port]) if t <= t_ns)


def runs(seeds: Iterable[int]) -> dict[str, list[Replay]]:
    """By quantity. Twenty runs a process: what a closed feeder leaves in the engine's bindings ends with it."""
    found = defaultdict[str, list[Replay]](list)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=20) as pool:
        for replay in (replay for replays in pool.imap(run, seeds) for replay in replays):
            found[replay.quantity].append(replay)
    return dict(found)


def factors_of(replays: Mapping[str, Sequence[Replay]], used: Factors) -> Factors:
    """The factors that replays ask for, which were made with those `used`."""
    whole, part = replays["P"], replays["dr:homes"]
    drivers = [(r.drivers["age"] / used.age, r.drivers["weather"] / used.weather) for r in whole]
    age, weather = fitted([r.error_w for r in whole], drivers, [r.drivers["scada"] for r in whole])
    readings = [(np.hypot(r.drivers["ami"], r.drivers["age"]) / used.readings,) for r in part]
    (of_part,) = fitted([r.error_w for r in part], readings, [r.drivers["participation"] for r in part])
    return Factors(*(round(float(x), 2) for x in (age, weather, of_part)))


def covered(replays: Sequence[Replay]) -> float:
    """The part of replays whose truth is within the band."""
    return float(np.mean([replay.p05_w <= replay.truth_w <= replay.p95_w for replay in replays]))


if __name__ == "__main__":
    print("factors:", factors_of(runs(SET_BY), CALIBRATED.factors))
    for quantity, judged in runs(JUDGED_BY).items():
        print(f"{quantity}: {len(judged)} replays, {covered(judged):.1%} covered by the bands as published now")
