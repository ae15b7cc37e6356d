"""What the DER of a solved feeder no longer deliver of what they did in calm, each followed by name.

A DER leaves by ceasing or by tripping, in either order, and comes back, wholly at once or by a ramp. What it had is its power as
telemetry showed it in calm, so that the account fits the power of the bus of then; where there is no telemetry, the most that its
own rows say. What has come back of it is told by telemetry. Rows count by when they happened, not by when they were heard.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

S_NS = 1_000_000_000
_TRIP, _STATUS = "der_trip", "der_status"
OUT = frozenset({"trip", "cease_to_energize", "momentary_cessation"})
"""Statuses in which a DER delivers nothing."""
_REMEMBERED = 512  # samples of a DER: of its ramp back, at a poll of 2 s
_WHOLE = 0.999  # of what it had, and a DER is back


@dataclass(frozen=True, order=True)
class _Row:
    """A change of status: whether it is out since, and what it delivered before."""

    t_ns: int
    out: bool
    whole: bool  # its entering of service is over
    p_before_w: float
    enters: bool  # it enters service, from nothing; who has only ceased goes on where it was


class DerAccount:
    """The DER of one solved feeder. All powers W of it, generation positive."""

    def __init__(self) -> None:
        self._calm_ns = 0
        self._rows: dict[str, list[_Row]] = {}
        self._seen: dict[str, deque[tuple[int, float]]] = {}
        self._calm_w: dict[str, float] = {}

    def hear(self, row: Mapping[str, Any]) -> float | None:
        """Take a row of the sequence of events; None where it is none of a DER's. Gives what the DER stopped to deliver by it, 0
        where it goes on delivering."""
        event = row.get("event")
        if event not in (_TRIP, _STATUS):
            return None
        out = event == _TRIP or row.get("to") in OUT
        whole = row.get("from") == "entering_service" and row.get("to") == "continuous"
        enters, t_ns, p_w = row.get("to") == "entering_service", int(row.get("t_event_ns", 0)), float(row.get("p_before_w", 0.0))
        insort(self._rows.setdefault(str(row.get("der")), []), _Row(t_ns, out, whole, p_w, enters))
        return p_w if out else 0.0

    def measured(self, samples: Iterable[tuple[str, int, float]]) -> None:
        """Take telemetry: (name, when measured, W delivered)."""
        for name, t_ns, p_w in samples:
            kept = self._seen.setdefault(name, deque(maxlen=_REMEMBERED))
            if not kept or t_ns > kept[-1][0]:
                kept.append((t_ns, p_w))

    def calm(self, t_ns: int) -> None:
        """All was calm when the power of the bus was measured at t: what each DER delivers then is what it can lose. What left
        before is not in that power, and no loss of what comes."""
        for name, kept in self._seen.items():
            at_ns, p_w = kept[-1]
            if not any(t_ns <= row.t_ns < at_ns for row in self._rows.get(name, ())):
                self._calm_w[name] = p_w
            self._seen[name] = deque([kept[-1]], _REMEMBERED)
        for name, rows in self._rows.items():
            past = [row for row in rows if row.t_ns < t_ns]
            self._rows[name] = [*past[-1:], *rows[len(past) :]]
        self._calm_ns = t_ns

    def lost_w(self, t_ns: int) -> float:
        """What the feeder's DER delivered in calm and did not at t; negative where one delivers that was out then."""
        return sum(self._lost_w(name, rows, t_ns) for name, rows in self._rows.items())

    def _lost_w(self, name: str, rows: list[_Row], t_ns: int) -> float:
        then = [row.out for row in rows if row.t_ns < self._calm_ns]  # more than one where rows of that time were heard later
        out = was_out = bool(then) and then[-1]
        told_w, back, whole = 0.0, None, False
        for row in rows:
            if not self._calm_ns <= row.t_ns < t_ns:
                continue
            told_w = max(told_w, row.p_before_w, key=abs)
            if row.out:
                out, back, whole = True, None, False
            elif out:
                out, back = False, row
            elif row.whole:
                whole = True
        had_w = 0.0 if was_out else self._calm_w.get(name, told_w)
        if out:
            return had_w
        return 0.0 if back is None else self._still_lost_w(name, had_w, back, t_ns, whole and not was_out)

    def _still_lost_w(self, name: str, had_w: float, back: _Row, t_ns: int, whole: bool) -> float:
        """Of a DER that is on its way back, as far as telemetry shows it; all of it is back where there is none."""
        seen = self._seen.get(name)
        if whole or not seen:
            return 0.0
        since = [p_w for at_ns, p_w in seen if back.t_ns <= at_ns <= t_ns]
        if not since:
            # what is within its deadband of the last report is not reported again: who had only ceased stands where that says
            last = [] if back.enters else [p_w for at_ns, p_w in seen if at_ns <= t_ns]
            return had_w - last[-1] if last else had_w
        again = had_w != 0.0 and any(p_w / had_w >= _WHOLE for p_w in since)
        return 0.0 if again else had_w - since[-1]
