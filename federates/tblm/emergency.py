"""Before, during and after: the phase of the emergency, the ledger of what acted, and what may be closed again.

Everything comes from delivered telemetry: rows of the sequence of events, bus power, voltage and frequency as SCADA shows them. A
control centre that hears late has a ledger that is late; `t_ns` of an entry is when it happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from federates.grid.cold_load import cold_load_factor, cold_load_of
from federates.grid.emergency import EmergencyDetector, EmergencyThresholds
from federates.tblm.der_account import DerAccount
from federates.tblm.emergency_model import Block, ColdLoad, Ledger, LedgerEntry, Phase, SequenceEvent
from federates.tblm.model import Curve, Tblm, evaluate

S_NS = 1_000_000_000
_MOST_EVENTS = 64
_OPENED, _CLOSED, _DER_TRIP = "open_breaker", "close_breaker", "der_trip"


@dataclass(frozen=True)
class Surroundings:
    """What a control centre knows beside telemetry: outdoor temperature, when DER enter service, the classes of the feeder's loads
    with their shares of its power."""

    temperature_c: float = 18.0
    der_return_s: float = 300.0
    classes: tuple[tuple[str, float], ...] = (("residential", 1.0),)


@dataclass
class _Open:
    """Feeders that are open together."""

    cause: str
    feeders: int
    since_ns: int
    load_w: float
    net_w: float
    der_w: float


@dataclass(frozen=True)
class _Group:
    """Feeders that opened, or came back, together. Of each: lost_w: what its DER delivered in calm and did not when it opened;
    all_w: what they do not without any in service; net_w: what it drew."""

    feeders: int
    t_ns: int
    lost_w: float
    all_w: float
    net_w: float


@dataclass
class _Began:
    """The bus when the emergency began: drawn, voltage and frequency, feeders closed."""

    p_w: float
    v_pu: float
    f_hz: float
    feeders: int
    curve: Curve


@dataclass
class Tracker:
    """The emergency of one bus, as far as has been heard. `f0_hz`: nominal."""

    f0_hz: float
    surroundings: Surroundings = field(default_factory=Surroundings)
    thresholds: EmergencyThresholds = field(default_factory=EmergencyThresholds)

    def __post_init__(self) -> None:
        self._detector = EmergencyDetector(self.thresholds, self.f0_hz)
        self._began: _Began | None = None
        self._entries: list[LedgerEntry] = []
        self._opened: list[_Open] = []
        self._ders = DerAccount()
        self._calm: _Began | None = None
        self._calm_ns = 0  # when its power was measured
        self._fresh = self._lasted = False
        self.actual: list[SequenceEvent] = []

    @property
    def phase(self) -> Phase:
        """During: V or f is off or something has acted, or did within the last seconds. After: it is over, and feeders are still
        open."""
        if self._detector.active or self._fresh:
            return "during"
        return "after" if self._opened else "before"

    def hear(self, rows: Iterable[Mapping[str, Any]], closed: int) -> bool:
        """Take delivered rows; gives whether one of them belongs in the ledger. closed: feeders in service."""
        told = False
        for row in rows:
            event, t_ns = str(row.get("event")), int(row.get("t_event_ns", 0))
            if event == _OPENED:
                cause, feeders = str(row.get("cause", "")), int(row["feeders"])
                net, load, der = (float(row.get(key, 0.0)) for key in ("p_w", "load_w", "der_w"))
                self._entries.append(LedgerEntry(t_ns, cause, feeders, net, load, der))
                self._opened.append(_Open(cause, feeders, t_ns, load / feeders, net / feeders, der / feeders))
                self._note(t_ns, cause, "open", -net)
                told = True
            elif event == _CLOSED:
                self._close(t_ns, str(row.get("cause", "")), int(row["feeders"]))
                told = True
            elif (lost := self._ders.hear(row)) is not None and closed:
                if event == _DER_TRIP:
                    self._note(t_ns, str(row.get("der")), "trip", closed * lost)
                told = told or lost != 0.0
            elif event in ("capacitor", "tap"):
                self._note(t_ns, str(row.get("capacitor") or row.get("regulator")), event, 0.0)
        return told

    def _note(self, t_ns: int, device: str, event: str, dp_w: float) -> None:
        self.actual.append(SequenceEvent(t_ns, device, event, dp_w, "actual"))
        self.actual = sorted(self.actual, key=lambda e: (e.t_ns, e.device))[-_MOST_EVENTS:]

    def _close(self, t_ns: int, cause: str, feeders: int) -> None:
        """The last opened come back first, as in the field."""
        while feeders and self._opened:
            last = self._opened[-1]
            back = min(last.feeders, feeders)
            powers = (-back * w for w in (last.net_w, last.load_w, last.der_w))
            self._entries.append(LedgerEntry(t_ns, cause or last.cause, -back, *powers))
            self._note(t_ns, cause or last.cause, "close", back * last.net_w)
            last.feeders -= back
            feeders -= back
            if not last.feeders:
                self._opened.pop()

    def operated(self) -> frozenset[str]:
        """What has opened feeders and has not closed any since, by its name as a cause."""
        now = set[str]()
        for entry in sorted(self._entries, key=lambda e: e.t_ns):
            (now.add if entry.feeders > 0 else now.discard)(entry.cause)
        return frozenset(now)

    def measured_before(self, seen_ns: int) -> bool:
        """Whether feeders have opened or closed since what was measured at `seen_ns`."""
        return any(seen_ns < entry.t_ns for entry in self._entries)

    def measured(self, samples: Iterable[tuple[str, int, float]]) -> None:
        """Take telemetry of the solved feeder's DER: (name, when measured, W delivered)."""
        self._ders.measured(samples)

    def look(
        self, t_ns: int, p_w: float, v_pu: float, f_hz: float, closed: int, last: Tblm | None, seen_ns: int | None = None
    ) -> Phase:
        """Take the bus as SCADA shows it, its power measured at `seen_ns` (None: now); values that are not finite leave the phase
        as it is."""
        last_ns = max((entry.t_ns for entry in self._entries), default=-self.thresholds.hold_ns)
        self._fresh = t_ns - last_ns < self.thresholds.hold_ns
        if np.isfinite([v_pu, f_hz]).all():
            self._detector.update(t_ns, f_hz, 0.0, v_pu)
        known = last is not None and bool(np.isfinite([p_w, v_pu, f_hz]).all())
        if self.phase != "before":
            if not self._lasted:  # what happened in calm is no part of it: a tap of hours ago is not the one that was expected
                self.actual = [event for event in self.actual if event.t_ns >= self._calm_ns]
            self._began, self._lasted = self._began or self._calm, True
        elif known:
            assert last is not None
            if self._lasted or self._entries:  # it is over: the next one has a ledger of its own
                self._entries, self._began, self.actual, self._lasted = [], None, [], False
            self._calm = _Began(p_w, v_pu, f_hz, closed, last.curve("fast"))
            self._calm_ns = t_ns if seen_ns is None else seen_ns
            self._ders.calm(self._calm_ns)
        return self.phase

    def ledger(self, p_w: float, v_pu: float, f_hz: float, seen_ns: int) -> Ledger | None:
        """Where the power of before is, with the bus as measured at `seen_ns`. None before an emergency, where the bus was not seen
        before it, and as long as it has not been measured since the last entry."""
        began = self._began
        if self.measured_before(seen_ns):
            return None
        if began is None or not np.isfinite([p_w, v_pu, f_hz]).all():
            return None
        now, then = _smooth(began, v_pu, f_hz), float(evaluate(began.curve, began.v_pu, began.f_hz).p_w)
        count = max(began.feeders, 1)
        opened, closed, der_lost = self._feeders(began.feeders, seen_ns)
        # Feeders that opened answered V and f until they did: their entries carry what they drew at that moment.
        response = closed * (then - now) / count
        for group in opened:
            response += group.feeders * (began.p_w / count + group.lost_w - group.net_w)
            der_lost += group.feeders * group.lost_w
        shed = sum(entry.P_net_W for entry in self._entries)
        unexplained = began.p_w - p_w - shed + der_lost - response
        scale = max(abs(began.p_w), 1.0)
        return Ledger(began.p_w, p_w, tuple(self._entries[-_MOST_EVENTS:]), der_lost, response, 100.0 * unexplained / scale)

    def _feeders(self, closed: int, until_ns: int) -> tuple[list[_Group], int, float]:
        """What has become of the feeders by then: those that are open, how many are closed, and what the DER of these have lost.

        The DER of a feeder in service are as the solved one's, of which the field reports. One that came back beside others that
        stayed in service has none of them yet (`der_return_s`); the first that came back to a dead bus are the solved one's own.
        """
        opened: list[_Group] = []
        back: list[_Group] = []
        returned_dead_ns = -1
        for entry in sorted(self._entries, key=lambda e: e.t_ns):
            t_ns, lost_w = entry.t_ns, self._ders.lost_w(entry.t_ns)
            if entry.feeders > 0:
                mean_w = lost_w + self._missing_w(back, t_ns, lost_w) / max(closed, 1)
                each_w = entry.P_net_W / entry.feeders, entry.P_der_W / entry.feeders
                opened.append(_Group(entry.feeders, t_ns, mean_w, lost_w + each_w[1], each_w[0]))
                closed -= entry.feeders
                _take(back, entry.feeders)
                if closed <= 0:
                    back.clear()
                continue
            if closed <= 0:
                returned_dead_ns = t_ns
            came = _take(opened, -entry.feeders)
            if t_ns != returned_dead_ns:
                back += [replace(group, t_ns=t_ns) for group in came]
            closed -= entry.feeders
        lost_w = self._ders.lost_w(until_ns)
        return opened, closed, closed * lost_w + self._missing_w(back, until_ns, lost_w)

    def _missing_w(self, back: Sequence[_Group], t_ns: int, lost_w: float) -> float:
        """Beyond what the DER of every feeder in service have lost, what those that came back are without."""
        return_ns = self.surroundings.der_return_s * S_NS
        return sum(group.feeders * (group.all_w - lost_w) for group in back if t_ns - group.t_ns < return_ns)

    def blocks(self, t_ns: int, q_of_p: float) -> tuple[Block, ...]:
        """Feeders that are open, the last opened first, and what each block would take if it were closed now. q_of_p: var per W of
        load."""
        return tuple(self._block(t_ns, block, q_of_p) for block in reversed(self._opened))

    def _block(self, t_ns: int, block: _Open, q_of_p: float) -> Block:
        around, out_s = self.surroundings, (t_ns - block.since_ns) / S_NS
        names, shares = zip(*around.classes, strict=True)
        factor = float(cold_load_factor(names, around.temperature_c, out_s, 0.0) @ np.array(shares))
        main = max(around.classes, key=lambda pair: pair[1])[0]
        curve = cold_load_of(main, around.temperature_c, out_s)
        normal = block.feeders * block.load_w
        return Block(
            block.cause, block.feeders, block.feeders * block.net_w, factor * normal, factor * normal * q_of_p, around.der_return_s,
            ColdLoad(out_s, around.temperature_c, factor, curve.hold_s, curve.decay_s),
        )  # fmt: skip


def _take(groups: list[_Group], feeders: int) -> list[_Group]:
    """Take so many from the last groups, and give them, the last first."""
    taken = []
    while feeders and groups:
        last = groups.pop()
        gone = min(last.feeders, feeders)
        feeders -= gone
        taken.append(replace(last, feeders=gone))
        if last.feeders > gone:
            groups.append(replace(last, feeders=last.feeders - gone))
    return taken


def _smooth(began: _Began, v_pu: float, f_hz: float) -> float:
    """The curve at (V, f) without the jumps between there and where the emergency began: those are DER trips, which have entries of
    their own."""
    here, there = {"V_pu": v_pu, "f_Hz": f_hz}, {"V_pu": began.v_pu, "f_Hz": began.f_hz}
    power = float(evaluate(began.curve, v_pu, f_hz).p_w)
    for point in began.curve.breakpoints:
        low, high = sorted((here[point.axis], there[point.axis]))
        if low < point.value < high:
            power += point.jump_P_W if here[point.axis] < there[point.axis] else -point.jump_P_W
    return power


def class_shares(classes: Sequence[str], p_w: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """Classes of loads with their shares of the power."""
    total: dict[str, float] = {}
    for name, p in zip(classes, p_w, strict=True):
        total[name] = total.get(name, 0.0) + max(p, 0.0)
    whole = sum(total.values()) or 1.0
    return tuple((name, w / whole) for name, w in sorted(total.items()))
