"""The EMS federate: takes TBLMs, scans, predicts, and holds its predictions against what then happened.

It looks at telemetry every period and when the transmission system reports an event. At each scan it solves the present state and
an N-1 over every branch and the largest generators, once with the TBLMs and once with constant P and Q, and publishes both as
`prediction`. When a branch or a generator is then lost, the last prediction made before is compared with what the buses do:
`fast_ns` after the loss with the fast set, `settled_ns` after it with the settled one (`outcome`). At each scan, at once after a
change of topology and when a bus's first TBLM has come it also tells the distribution control centres the equivalent of the
transmission system at their buses (`equivalent`), as it is and after the outage that takes each bus lowest; it holds for three
scans. Times are those of the measurements: a loss is dated by the first sample that shows it, which the event's report brings at
once, and compared with the sample of that time plus the horizon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from federates.ems.equivalent import equivalents, worst_outages
from federates.ems.mailbox import Mailbox
from federates.ems.view import Telemetry, View
from federates.grid.feeder import FeederModel
from federates.grid.fleet import FrequencySettings
from federates.grid.transmission import TransmissionModel
from federates.runtime.federate import DEFAULT_EVENT_DELAY_NS, S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port
from federates.tblm.model import CurveSet, Tblm

_LARGEST = 3
_EQUIVALENT_SCANS = 3
_HORIZONS: tuple[CurveSet, ...] = ("fast", "settled")


@dataclass(frozen=True)
class Feed:
    """A TBLM builder (name of its federate), its bus, and the feeder models whose documents are known to the EMS."""

    builder: str
    bus: str
    models: tuple[FeederModel, ...]


@dataclass(frozen=True)
class Ems:
    """Parameters of the EMS federate. `generators`: whose loss is studied at each scan; none: the three largest in service."""

    model: TransmissionModel
    feeds: tuple[Feed, ...]
    frequency: FrequencySettings = field(default_factory=FrequencySettings)
    scan_ns: int = 60 * S_NS
    period_ns: int = S_NS
    generators: tuple[str, ...] = ()
    fast_ns: int = 2 * S_NS
    settled_ns: int = 120 * S_NS


@dataclass(frozen=True)
class _Scan:
    """What a scan was made from, and when it was made."""

    t_ns: int
    telemetry: Telemetry
    tblms: Mapping[str, Tblm]


@dataclass
class _Watched:
    """A loss that has happened, waiting to be compared."""

    name: str
    kind: str
    t_ns: int
    before: Telemetry
    scan: _Scan | None
    foretold: Mapping[CurveSet, Mapping[str, Any]]
    tblms: Mapping[str, Tblm]
    open: list[CurveSet]


class EmsFederate:
    """The EMS of the transmission operator."""

    def __init__(self, params: Ems) -> None:
        if params.scan_ns % params.period_ns:
            raise ValueError(f"EMS: scan_ns {params.scan_ns} is not a multiple of period_ns {params.period_ns}")
        self.params = params
        self.period_ns = params.period_ns
        buses = tuple(feed.bus for feed in params.feeds)
        self._view = view = View(params.model, buses, params.frequency)
        engine = view.engine
        self._mailboxes = {
            feed.builder: Mailbox(feed.bus, frozenset(model.hash() for model in feed.models)) for feed in params.feeds
        }
        self.inputs: Sequence[Port] = (
            *(Port(f"tblm_{feed.builder}", kind="document", doc=f"TBLM of bus {feed.bus}") for feed in params.feeds),
            Port("f_hz", "Hz"),
            Port("all_v_pu", "pu", engine.bus_names),
            Port("load_p_w", "W", engine.bus_names),
            Port("load_q_var", "var", engine.bus_names),
            Port("line_status", "1", engine.branch_names),
            Port("gen_p_w", "W", engine.generator_names),
            Port("gen_status", "1", engine.generator_names, "1: in service"),
            Port("soe", doc="rows of the transmission system: one says that there is something new to see", kind="event"),
        )
        self.outputs: Sequence[Port] = (
            Port("prediction", kind="document", doc="present state and N-1, with TBLMs and with constant P, Q"),
            Port("outcome", kind="document", doc="a prediction and what then happened, a document a loss, bus and horizon"),
            Port("ack", kind="event", doc="{bus, seq, accepted, reason} for every TBLM"),
            Port("equivalent", kind="document", doc="the transmission system as each TBLM bus sees it, Thevenin"),
        )
        self._horizons_s: dict[CurveSet, float] = {"fast": params.fast_ns / S_NS, "settled": params.settled_ns / S_NS}
        self._last: Telemetry | None = None
        self._scanned: _Scan | None = None
        self._watched: list[_Watched] = []
        self._told: frozenset[str] = frozenset()
        self._worst: Mapping[str, str] = {}

    def start(self, t_ns: int) -> Outputs:
        """Nothing is known yet."""
        return {}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Judge new TBLMs, look for losses, compare, and scan when it is time."""
        acks = [ack for builder, box in self._mailboxes.items() if (ack := box.take(inputs[f"tblm_{builder}"], t_ns)) is not None]
        outputs: dict[str, Any] = {"ack": acks}
        now = _telemetry(inputs)
        if now is None:
            return Step(outputs)
        modes = {box.bus: box.usable(t_ns) for box in self._mailboxes.values()}
        tblms = {bus: tblm for bus, (_, tblm) in modes.items() if tblm is not None}
        if self._last is not None:
            self._watch_losses(self._last, now, tblms)
        outcomes = [row for watched in self._watched for row in self._compare(watched, now)]
        self._watched = [watched for watched in self._watched if watched.open]
        if outcomes:
            outputs["outcome"] = {"outcomes": outcomes}
        if t_ns % self.params.scan_ns == 0:
            outputs["prediction"] = self._scan(t_ns, now, tblms, {bus: mode for bus, (mode, _) in modes.items()})
        if tblms and (t_ns % self.params.scan_ns == 0 or self._told != tblms.keys() or self._switched(now)):
            self._view.set(now)
            valid_to_ns = t_ns + _EQUIVALENT_SCANS * self.params.scan_ns
            outputs["equivalent"] = equivalents(self._view, now, tblms, valid_to_ns, self._worst)
            self._told = frozenset(tblms)
        self._last = now
        due = [self._due_ns(watched, which) + DEFAULT_EVENT_DELAY_NS for watched in self._watched for which in watched.open]
        return Step(outputs, min((due_ns for due_ns in due if due_ns > t_ns), default=None))

    def stop(self) -> None:
        """Nothing to release."""

    def _switched(self, now: Telemetry) -> bool:
        """Whether a branch or a generator has changed its status since the last look."""
        last = self._last
        if last is None:
            return True
        return not (np.array_equal(last.line_status, now.line_status) and np.array_equal(last.gen_status, now.gen_status))

    def _due_ns(self, watched: _Watched, which: CurveSet) -> int:
        """Of which time the sample is that a loss is compared with."""
        return watched.t_ns + round(self._horizons_s[which] * S_NS)

    def _scan(self, t_ns: int, now: Telemetry, tblms: Mapping[str, Tblm], modes: Mapping[str, str]) -> dict[str, Any]:
        view = self._view
        view.set(now)
        generators = [g for g in self.params.generators if view.engine.is_running(g)] or view.largest_generators(now, _LARGEST)
        fast = view.curves(now, tblms, "fast", now.f_hz)
        constant, with_tblm = view.outages(now, {}), view.outages(now, fast)
        self._worst = worst_outages(with_tblm, view.buses)
        soon: dict[CurveSet, float] = {"fast": self._horizons_s["fast"]}
        for name in generators:
            constant[name] = view.generator_loss(now, name, {}, "with_constant", soon)["fast"]
            with_tblm[name] = view.generator_loss(now, name, tblms, "with_tblm", soon)["fast"]
        self._scanned = _Scan(t_ns, now, dict(tblms))
        return {
            "scan_ns": t_ns,
            "measured_ns": now.t_ns,
            "modes": modes,
            "measured": view.measured(now),
            "base": {"with_tblm": view.base(now, fast), "with_constant": view.base(now, {})},
            "contingencies": [
                {
                    "name": name,
                    "kind": "generator" if name in generators else "line",
                    "with_constant": constant[name],
                    "with_tblm": with_tblm[name],
                }
                for name in constant
            ],
        }

    def _foretold(self, scan: _Scan, kind: str, name: str) -> dict[CurveSet, dict[str, Any]]:
        """What the last scan says of one loss at both horizons, by both methods: from that scan's telemetry and TBLMs alone."""
        view, seen, tblms = self._view, scan.telemetry, scan.tblms
        view.set(seen)
        if kind == "generator":
            constant = view.generator_loss(seen, name, {}, "with_constant", self._horizons_s)
            with_tblm = view.generator_loss(seen, name, tblms, "with_tblm", self._horizons_s)
        else:
            row = view.outages(seen, {}, (name,))[name]
            constant = dict.fromkeys(_HORIZONS, row)
            with_tblm = {
                which: view.outages(seen, view.curves(seen, tblms, which, seen.f_hz), (name,))[name] for which in _HORIZONS
            }
        return {which: {"with_constant": constant[which], "with_tblm": with_tblm[which]} for which in _HORIZONS}

    def _watch_losses(self, before: Telemetry, now: Telemetry, tblms: Mapping[str, Tblm]) -> None:
        engine = self._view.engine
        lost = [("line", engine.branch_names[i]) for i in np.flatnonzero((before.line_status > 0.5) & (now.line_status < 0.5))]
        lost += [
            ("generator", engine.generator_names[i]) for i in np.flatnonzero((before.gen_status > 0.5) & (now.gen_status < 0.5))
        ]
        for kind, name in lost:
            foretold = self._foretold(self._scanned, kind, name) if self._scanned else {}
            self._watched.append(_Watched(name, kind, now.t_ns, before, self._scanned, foretold, dict(tblms), list(_HORIZONS)))

    def _compare(self, watched: _Watched, now: Telemetry) -> list[dict[str, Any]]:
        rows = []
        for which in list(watched.open):
            if now.t_ns < self._due_ns(watched, which):
                continue
            watched.open.remove(which)
            truth = self._view.measured(now)
            given_voltage = self._view.at_voltage(watched.before, watched.tblms, which, truth["v_pu"], now.f_hz)
            scan, row = watched.scan, watched.foretold.get(which)
            rows.append(
                {
                    "event": watched.name,
                    "kind": watched.kind,
                    "t_ns": watched.t_ns,
                    "compared_ns": now.t_ns,
                    "horizon": which,
                    "scan_ns": scan.t_ns if scan else None,
                    "base": self._view.measured(scan.telemetry) if scan else None,
                    "before": self._view.measured(watched.before),
                    "truth": truth,
                    "predicted_with_tblm": row["with_tblm"] if row else None,
                    "predicted_with_constant": row["with_constant"] if row else None,
                    "at_true_voltage_with_tblm": given_voltage,
                }
            )
        return rows


def _telemetry(inputs: Inputs) -> Telemetry | None:
    """The measured state; None while something is missing."""
    names = ("all_v_pu", "load_p_w", "load_q_var", "line_status", "gen_p_w", "gen_status")
    arrays = [inputs[name].values for name in names]
    f_hz = inputs["f_hz"].scalar
    if not np.isfinite(f_hz) or not all(np.isfinite(array).all() for array in arrays):
        return None
    return Telemetry(int(inputs["line_status"].times_ns.max()), f_hz, *arrays)
