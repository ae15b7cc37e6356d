"""Which TBLM of a bus may be used: the consumer's rules, and how it degrades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from federates.runtime.port import Document
from federates.tblm.model import Tblm, TblmError, from_json, validate

Mode = Literal["tblm", "last_good", "constant"]


@dataclass
class Mailbox:
    """The TBLMs of one bus.

    Every new document is accepted or rejected, once, with the reason. `usable` gives the newest accepted one while it is valid;
    it counts as `last_good` when newer ones were rejected, and when it has expired the EMS is left with constant P and Q.
    """

    bus: str
    known_hashes: frozenset[str]
    accepted: Tblm | None = None
    seen_version: int = 0
    last_seq: int = 0
    rejected_since: int = 0

    def take(self, document: Document, now_ns: int) -> dict[str, Any] | None:
        """Judge a document that has not been judged yet; gives the acknowledgement {bus, seq, accepted, reason}."""
        if document.version == self.seen_version:
            return None
        self.seen_version = document.version
        try:
            tblm = from_json(document.text)
            seq = tblm.version.seq
            reasons = validate(tblm, now_ns, self.last_seq, self.known_hashes)
            if tblm.bus.name != self.bus:
                reasons.append(f"it is about bus {tblm.bus.name}, not {self.bus}")
            if missing := {"fast", "settled"} - {curve.set for curve in tblm.load.curves}:
                reasons.append(f"it has no curves of the set {', '.join(sorted(missing))}")
        except TblmError as error:
            seq, reasons = 0, [str(error)]
        if reasons:
            self.rejected_since += 1
            return {"bus": self.bus, "seq": seq, "accepted": False, "reason": "; ".join(reasons)}
        self.accepted, self.last_seq, self.rejected_since = tblm, seq, 0
        return {"bus": self.bus, "seq": seq, "accepted": True, "reason": ""}

    def usable(self, now_ns: int) -> tuple[Mode, Tblm | None]:
        """What may be used now."""
        if self.accepted is None or now_ns > self.accepted.t_valid.to_ns:
            return "constant", None
        return ("last_good" if self.rejected_since else "tblm"), self.accepted
