"""The federate that makes the TBLM of one bus, from delivered telemetry and a study of its own.

When it publishes: every period; after a change of a switch, a capacitor or a DER's service (a tap move is not one: the fast set
holds within a tap of the snapshot, and the settled one says where taps go); after a request; when the measured bus power has
left the published curve; and when telemetry first arrives. A change first republishes the last curves as questionable, at once,
and rebuilds when nothing more has happened for `debounce_ns`, or `longest_wait_ns` after the first change at the latest. Never
more than one document a second; the last change is never lost.

A study that fails never silences the bus: the last curves go out again as questionable, with the reason; before there are any,
those of the file's own loads, as bad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from federates.grid.der import DerSettings
from federates.grid.emergency import EmergencyThresholds
from federates.grid.feeder import FeederError, FeederModel, FeederState
from federates.runtime.federate import MS_NS, S_NS, Step
from federates.runtime.port import NEVER_NS, Inputs, Outputs, Port
from federates.tblm.armed import Plans
from federates.tblm.assembly import Assembler
from federates.tblm.bands import HeadTelemetry
from federates.tblm.curves import CurveOptions
from federates.tblm.emergency import Surroundings
from federates.tblm.emergency_section import EmergencySection
from federates.tblm.flexibility import FlexibilityParams, FlexibilitySection
from federates.tblm.model import Flag, Tblm, Trigger, Validity, evaluate, to_json
from federates.tblm.snapshot import FeederSnapshot, allocate, as_filed, operating_base
from federates.tblm.study import Study, StudyError


@dataclass(frozen=True)
class TblmParams:
    """Parameters of `TblmBuilder`.

    bus: name of the transmission bus, the id of the document port. model, der: feeder and the settings of its DER sites, in
    their order (None without sites). like_feeders: how many like feeders the bus carries. s_base_va: base of tolerances and
    errors; None: like_feeders times the file's load. horizon_ns: how long a document may be used. deviation_pct: measured bus P
    off the fast curve by this much of S_base, `deviation_scans` polls running, makes a rebuild. flexibility: None leaves capability
    and dispatch stack out. thresholds: when an emergency begins and ends, the transmission system's own. head: data sheet of the
    points that measure the bus.
    """

    name: str
    bus: str
    model: FeederModel
    der: DerSettings | None = None
    like_feeders: int = 1
    s_base_va: float | None = None
    period_ns: int = 60 * S_NS
    horizon_ns: int = 180 * S_NS
    poll_ns: int = S_NS
    debounce_ns: int = 2 * S_NS
    longest_wait_ns: int = 4 * S_NS
    least_gap_ns: int = S_NS
    deviation_pct: float = 2.0
    deviation_scans: int = 3
    options: CurveOptions = field(default_factory=CurveOptions)
    flexibility: FlexibilityParams | None = None
    plans: Plans = field(default_factory=Plans)
    surroundings: Surroundings = field(default_factory=Surroundings)
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)
    head: HeadTelemetry = field(default_factory=HeadTelemetry)

    def __post_init__(self) -> None:
        if self.like_feeders < 1:
            raise ValueError(f"TBLM builder {self.name}: like_feeders = {self.like_feeders}; give 1 or more")
        times = (self.period_ns, self.horizon_ns, self.poll_ns, self.least_gap_ns)
        if min(times) <= 0 or self.debounce_ns < 0 or self.longest_wait_ns < self.debounce_ns:
            raise ValueError(f"TBLM builder {self.name}: times must be positive, and longest_wait_ns at least debounce_ns")
        if self.s_base_va is not None and not self.s_base_va > 0.0:
            raise ValueError(f"TBLM builder {self.name}: s_base_va = {self.s_base_va}; give a positive number or none")


@dataclass
class _Pending:
    """A change that has not been rebuilt for."""

    trigger: Trigger
    first_ns: int
    last_ns: int
    marked: bool = False


class TblmBuilder:
    """The builder of one bus. Inputs are SCADA's and AMI's outputs of the same names; output `tblm` is the document."""

    def __init__(self, params: TblmParams) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._study = Study(params.model, params.der)
        self._flexibility = FlexibilitySection(params.model, params.der, params.flexibility)
        feeder, bus = self._study.feeder, (params.bus,)
        self._hash = params.model.hash()
        filed_va = max(float(np.hypot(feeder.load_p0_w.sum(), feeder.load_q0_var.sum())), 1.0)
        self._s_va = params.s_base_va or params.like_feeders * filed_va
        self._assembler = Assembler(params.bus, params.model, params.der, params.like_feeders, self._s_va, params.options)
        phases, loads, ders = ("a", "b", "c"), feeder.load_names, feeder.der_names
        layout: dict[str, tuple[str, tuple[str, ...]]] = {
            "head_p_w": ("W", phases), "head_q_var": ("var", phases), "bus_p_w": ("W", phases), "bus_q_var": ("var", phases),
            "bus_v_pu": ("pu", bus), "bus_angle_rad": ("rad", bus), "f_hz": ("Hz", ()),
            "feeders_closed": ("1", ()),
            "tap": ("1", feeder.reg_names), "capacitor": ("1", feeder.capacitor_names), "switch": ("1", feeder.switch_names),
            "der_p_w": ("W", ders), "der_q_var": ("var", ders), "der_status": ("1", ders), "der_available_w": ("W", ders),
            "der_soc_wh": ("Wh", params.der.storage(ders) if params.der else ()),
            "load_p_w": ("W", loads), "load_q_var": ("var", loads), "coverage": ("1", ("bus",)),
        }  # fmt: skip
        vectors = tuple(Port(n, unit, ids, _PORT_DOC.get(n, "")) for n, (unit, ids) in layout.items() if ids or n in _SCALARS)
        self._vectors = tuple(port.name for port in vectors)
        self.inputs: Sequence[Port] = (
            *vectors,
            Port("soe", doc="sequence-of-events rows as SCADA delivered them", kind="event"),
            Port("ack", doc="EMS: {bus, seq, accepted, reason}, of this bus and of others", kind="event"),
            Port("request", doc="asks for a document now; any payload", kind="event"),
            Port(
                "equivalent", doc="EMS: the transmission system as this bus sees it, {buses: {bus: {e_pu, ...}}}", kind="document"
            ),
        )
        self.outputs: Sequence[Port] = (
            Port("tblm", ids=bus, doc="the TBLM of the bus", kind="document"),
            Port("verification", ids=bus, doc="full solves beside a document's curves: {bus, seq, points}", kind="document"),
        )
        self._emergency = EmergencySection(
            params.plans,
            params.model.base_hz,
            params.surroundings,
            params.like_feeders,
            params.thresholds,
            ders,
            params.bus,
            params.head,
        )
        self._watched: dict[str, Trigger] = {
            **dict.fromkeys(feeder.switch_names, "topology"),
            **dict.fromkeys(feeder.capacitor_names, "capacitor"),
            **dict.fromkeys(ders, "der"),
        }
        self._reset()

    def _reset(self) -> None:
        self._seq = 0
        self._checks: list[dict[str, Any]] = []
        self._last: Tblm | None = None
        self._published_ns = -NEVER_NS
        self._pending: _Pending | None = None
        self._seen: dict[Trigger, np.ndarray] = {}
        self._blind = True
        self._devices: FeederState | None = None
        self._off_curve, self._off_seen_ns = 0, -1
        self._emergency.reset()
        self._flexibility.reset()

    def start(self, t_ns: int) -> Outputs:
        """Nothing is published before the first step."""
        self._reset()
        return {}

    def stop(self) -> None:
        """Free the study feeders."""
        self._study.close()
        self._flexibility.close()

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Look at what has changed, and publish when it is time."""
        p = self.params
        snapshot = FeederSnapshot.take(t_ns, self._hash, inputs, self._vectors)
        self._notice(t_ns, snapshot, inputs)
        pending, free_ns = self._pending, self._published_ns + p.least_gap_ns
        tblm: Tblm | None = None
        if t_ns >= free_ns:
            if pending and t_ns >= self._rebuild_ns(pending):
                tblm, self._pending = self._build(t_ns, snapshot, pending.trigger), None
            elif t_ns % p.period_ns == 0 or self._last is None:
                tblm = self._build(t_ns, snapshot, pending.trigger if pending else "periodic" if self._last else "start")
            elif pending and not pending.marked and self._last is not None:
                tblm = self._again(
                    t_ns,
                    self._last,
                    pending.trigger,
                    "questionable",
                    _BEING_WORKED_IN.get(pending.trigger, f"{pending.trigger} change") + " being worked in",
                )
                tblm = self._emergency.refreshed(tblm, snapshot)
            elif not pending and self._last is not None and self._emergency.due(self._last):
                quality = replace(self._last.quality, trigger="emergency")
                valid = self._validity(t_ns, self._last.t_valid.t_meas_ns)
                tblm = self._numbered(t_ns, replace(self._last, quality=quality, t_valid=valid))
                tblm = self._emergency.refreshed(tblm, snapshot)
            if pending:
                pending.marked = True
        next_ns = t_ns - t_ns % p.poll_ns + p.poll_ns
        if self._pending:
            wanted = self._rebuild_ns(self._pending) if self._pending.marked else t_ns
            next_ns = min(next_ns, max(wanted, self._published_ns + p.least_gap_ns, t_ns + MS_NS))
        if tblm is None:
            return Step({}, next_ns)
        checks, self._checks = self._checks, []
        outputs: dict[str, Any] = {"tblm": to_json(tblm)}
        if checks:
            outputs["verification"] = {"bus": self.params.bus, "seq": tblm.version.seq, "points": checks}
        return Step(outputs, next_ns)

    # ---- what has changed

    def _notice(self, t_ns: int, snapshot: FeederSnapshot, inputs: Inputs) -> None:
        """Note changes by events, by telemetry that differs from what was published, and by power that has left the curve."""
        for event in inputs["soe"]:
            trigger = self._trigger_of(event.payload)
            if trigger:
                self._change(t_ns, trigger)
        if self._emergency.notice(t_ns, snapshot, inputs, self._last):
            self._change(t_ns, "emergency")
        if inputs["request"]:
            self._change(t_ns, "request", urgent=True)
        for event in inputs["ack"]:
            about = event.payload.get("bus"), event.payload.get("seq")  # every builder hears of every bus
            refused = event.payload.get("accepted") is False and about == (self.params.bus, self._seq)
            if refused and self._last and self._last.quality.trigger != "request" and self._last.quality.flag != "bad":
                self._change(t_ns, "request", urgent=True)
        arrived = self._blind and _sees(snapshot)
        for trigger, now in snapshot.states().items():
            seen, known = self._seen.get(trigger, np.full(now.shape, np.nan)), ~np.isnan(now)
            self._seen[trigger] = np.where(known, now, seen)  # a state that is lost has not changed
            new = known & np.isnan(seen)  # nor has one that is heard of for the first time
            arrived = arrived or bool(new.any())
            if (known & ~new & (now != seen)).any():
                self._change(t_ns, trigger)
        if self._last is None:
            return
        if arrived:
            self._blind = False
            self._change(t_ns, "start" if self._last.quality.trigger == "start" else "recovery")
        self._watch_curve(t_ns, snapshot, self._last)

    def _trigger_of(self, payload: Mapping[str, Any]) -> Trigger | None:
        """What an event row is about: the watched device that one of its texts names, alone or as `kind.name`."""
        for value in payload.values():
            if isinstance(value, str):
                found = self._watched.get(value.lower()) or self._watched.get(value.lower().partition(".")[2])
                if found:
                    return found
        return None

    def _change(self, t_ns: int, trigger: Trigger, *, urgent: bool = False) -> None:
        """A change of this kind at `t_ns`; an urgent one waits for nothing more."""
        first_ns = t_ns - self.params.longest_wait_ns if urgent else t_ns
        if self._pending is None:
            self._pending = _Pending(trigger, first_ns, t_ns, marked=urgent)
        else:
            self._pending.last_ns, self._pending.first_ns = t_ns, min(self._pending.first_ns, first_ns)
            if _RANK.index(trigger) < _RANK.index(self._pending.trigger):
                self._pending.trigger, self._pending.marked = trigger, self._pending.marked and urgent

    def _rebuild_ns(self, pending: _Pending) -> int:
        p = self.params
        return min(pending.last_ns + p.debounce_ns, pending.first_ns + p.longest_wait_ns)

    def _watch_curve(self, t_ns: int, snapshot: FeederSnapshot, last: Tblm) -> None:
        """Count polls at which what was last measured of the bus is off the published fast curve. What stays within its deadband is
        not sent again, so that a poll counts without a new sample too.
        """
        p_w, v, f = snapshot.total("bus_p_w"), snapshot.scalar("bus_v_pu"), snapshot.scalar("f_hz")
        seen_ns = int(snapshot.samples["bus_p_w"].times_ns.max())
        told = np.isfinite([p_w, v, f]).all() and seen_ns > self._off_seen_ns  # not what a rebuild has answered
        if not told or self._pending or t_ns % self.params.poll_ns:
            return
        expected = float(evaluate(last.curve("fast"), v, f).p_w)
        off = abs(p_w - expected) > self.params.deviation_pct / 100.0 * self._s_va
        self._off_curve = self._off_curve + 1 if off else 0
        if self._off_curve >= self.params.deviation_scans:
            self._off_curve, self._off_seen_ns = 0, seen_ns
            self._change(t_ns, "deviation", urgent=True)

    # ---- building

    def _build(self, t_ns: int, snapshot: FeederSnapshot, trigger: Trigger) -> Tblm:
        """A document from the snapshot; where the study fails the last one again, else that of the file's own loads."""
        self._blind = not _sees(snapshot)
        validity = self._validity(t_ns, snapshot.oldest_ns(("head_p_w", "head_q_var", "bus_v_pu", "f_hz")))
        study, make = self._study, self._assembler.tblm
        try:
            base, reasons = operating_base(snapshot, study, self._devices)
            if snapshot.feeders_closed(self.params.like_feeders):
                found = allocate(snapshot, study, base)
            else:
                found, reasons = as_filed(study), [*reasons, "no feeder in service"]
            tblm = make(study, snapshot, found, validity, trigger, reasons)
        except (StudyError, FeederError, ValueError) as error:
            why = f"study failed: {error}"
            if self._last is not None:
                return self._emergency.refreshed(self._again(t_ns, self._last, trigger, "questionable", why), snapshot)
            tblm = make(study, snapshot, as_filed(study), validity, trigger, (why, "loads of the network file taken"), bad=True)
        else:
            self._devices = base.state
            self._checks = self._assembler.verification(study, tblm)
            tblm = self._emergency.made(study, found.base, snapshot, tblm)
            tblm = self._flexibility.made(t_ns, found.base, tblm)
        self._last = tblm
        return self._numbered(t_ns, tblm)

    def _again(self, t_ns: int, last: Tblm, trigger: Trigger, flag: Flag, why: str) -> Tblm:
        """The last document under a new sequence number, with a worse flag and the reason."""
        worse: Flag = "bad" if last.quality.flag == "bad" else flag
        quality = replace(last.quality, flag=worse, trigger=trigger, reasons=(why, *last.quality.reasons))
        return self._numbered(t_ns, replace(last, quality=quality, t_valid=self._validity(t_ns, last.t_valid.t_meas_ns)))

    def _numbered(self, t_ns: int, tblm: Tblm) -> Tblm:
        self._seq, self._published_ns = self._seq + 1, t_ns
        return replace(tblm, version=replace(tblm.version, seq=self._seq))

    def _validity(self, t_ns: int, measured_ns: int) -> Validity:
        horizon_ns = self.params.horizon_ns
        return Validity(measured_ns, t_ns, t_ns, t_ns + horizon_ns, horizon_ns / S_NS)


def _sees(snapshot: FeederSnapshot) -> bool:
    """Whether the bus itself is measured."""
    return bool(np.isfinite(snapshot.total("head_p_w")) and np.isfinite(snapshot.scalar("bus_v_pu")))


_BEING_WORKED_IN: Mapping[Trigger, str] = {"start": "first telemetry", "recovery": "telemetry that came back"}
_RANK: tuple[Trigger, ...] = ("emergency", "topology", "der", "capacitor", "recovery", "start", "deviation", "request", "periodic")
_SCALARS = ("f_hz", "feeders_closed")
_PORT_DOC = {
    "feeders_closed": "how many of the like feeders have their breaker closed",
    "head_p_w": "the solved feeder at the transmission bus, load positive",
    "bus_p_w": "all like feeders of the bus together, load positive",
    "bus_v_pu": "magnitude, of the substation's primary",
    "coverage": "share of the bus's meters heard from",
    "der_status": "IEEE 1547 operating status, 0 is out of service",
}
