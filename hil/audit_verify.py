"""Judges audit logs: any record that was flipped, removed, reordered or cut off is found (`run_cosim.py audit verify RUN_DIR`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federates.runtime.port import canonical_json
from hil.audit import FOLDER, GENESIS, AuditError, digest, ledger_path, signed_text
from hil.audit_ledger import LEDGER_NAME, Entry, Witness, entries, witnesses
from hil.exchanges import FOLDER as RECORDS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(slots=True)
class Verification:
    """What was found in one log: its records, whether it was ended in good order, and everything that is wrong, with its line."""

    path: Path
    records: int = 0
    ended: bool = False
    key: str = ""
    problems: list[str] = field(default_factory=list)

    def wrong(self, line: int, what: str) -> None:
        self.problems.append(f"{self.path.name}:{line}: {what}")


def verify(path: Path, trusted: str | None = None) -> Verification:
    """Judge a log. `trusted` is the public key (64 hexadecimal digits) that must have signed it; None takes the log's own word."""
    found = Verification(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found.wrong(1, f"the log cannot be read: {error}")
        return found
    lines = text.split("\n")
    if lines.pop() != "":
        found.wrong(len(lines) + 1, "the last record is cut short")
    previous, run, key = GENESIS, "", None
    digests = [GENESIS]
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None:
            found.wrong(number, "is no record as this log writes them: it was changed")
            record = {}
        else:
            if record.get("n") != number:
                found.wrong(number, f"record {record.get('n')} where {number} belongs: one was removed, put in or moved")
            if record.get("prev") != previous:
                found.wrong(number, "does not follow from the record before it: one of the two was changed, removed or moved")
        if found.ended:
            found.wrong(number, "a record after the end")
        if number == 1:
            run, found.key = str(record.get("run", "")), str(record.get("key", ""))
            key = _public(found.key)
            if record.get("kind") != "begin" or key is None:
                found.wrong(1, "the log does not begin with its key: its beginning was cut off or changed")
        elif record.get("kind") in ("checkpoint", "end"):
            _check_signature(found, number, record, key, run, digests)
            found.ended = record.get("kind") == "end"
        previous = digest(line)
        digests.append(previous)
    found.records = len(lines)
    if not lines:
        found.wrong(1, "the log is empty: its records were cut off")
    if trusted is not None and found.key != trusted:
        found.wrong(
            1, f"signed by key {found.key[:16] or '?'}..., not by the trusted {trusted[:16]}...: it was made by somebody else"
        )
    _check_head(found, key, run, digests)
    return found


def _record(line: str) -> dict[str, Any] | None:
    """The record of a line, where it is exactly what `AuditLog` writes."""
    try:
        record = json.loads(line)
        return record if isinstance(record, dict) and canonical_json(record) == line else None
    except (ValueError, RecursionError):
        return None


def _public(text: str) -> Ed25519PublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError:
        return None


def _is_signed(key: Ed25519PublicKey | None, signature: Any, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        if key is not None:
            key.verify(base64.b64decode(str(signature), validate=True), message)
            return True
    except (InvalidSignature, ValueError):
        pass
    return False


def _check_signature(
    found: Verification, number: int, record: dict[str, Any], key: Ed25519PublicKey | None, run: str, digests: list[str]
) -> None:
    if record.get("signs") != number - 1 or not _is_signed(
        key, record.get("signature"), signed_text("checkpoint", run, number - 1, digests[-1])
    ):
        found.wrong(number, "the signature does not fit the records before it")


def _check_head(found: Verification, key: Ed25519PublicKey | None, run: str, digests: list[str]) -> None:
    """The latest record, as signed beside the log. The log may be ahead by one whose head was not written; never behind."""
    path = found.path.with_suffix(".head")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        count, last = int(head["n"]), str(head["last"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.problems.append(f"{path.name}: the signed head of the log cannot be read: {error}")
        return
    if not _is_signed(key, head.get("signature"), signed_text("head", run, count, last)):
        found.problems.append(f"{path.name}: its signature does not fit: it was changed")
    elif count >= len(digests):
        found.wrong(len(digests), f"the log ends here, and {count} records were signed: its end was cut off")
    elif digests[count] != last:
        found.wrong(count, "is not the record that was signed in the head")
    elif found.ended and count != len(digests) - 1:
        found.wrong(count, "the log was ended, and its head is older: the head was put back")


def verify_run(run_dir: Path, trusted: str | None = None, ledger: Path | None = None) -> list[Verification]:
    """Judge every log of a run directory, in the order of their names, against what its records and the account's ledger (None: its
    usual place) know of them. AuditError where there is nothing to judge."""
    folder = run_dir / FOLDER
    judged = {path.name: verify(path, trusted) for path in sorted(folder.glob("*.jsonl"))}
    for head in sorted(folder.glob("*.head")):
        _gone(judged, head.with_suffix(".jsonl"), "the log is gone; its head is still there")
    known: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries(ledger or ledger_path()):
        known.setdefault((entry.run, entry.log), []).append(entry)
    for found in list(judged.values()):
        _check_ledger(found, known)
    for run, log in known:
        if run == run_dir.name:
            _gone(judged, folder / log, "the log is gone; the ledger beside the key knows that there was one")
    for witness in witnesses(run_dir / RECORDS):
        told = f"{witness.writes} commands and {witness.fallbacks} fallbacks were sent to {witness.device}"
        _gone(judged, folder / witness.log, f"the log is gone; by the run's records {told}")
        _check_witness(judged[witness.log], witness)
    if not judged:
        raise AuditError(f"{run_dir}: there is no audit log here; runs with devices leave them in {FOLDER}/")
    return [judged[name] for name in sorted(judged)]


def _gone(judged: dict[str, Verification], path: Path, what: str) -> None:
    """Add a verification for a log that should be there and is not."""
    if path.name not in judged:
        judged[path.name] = Verification(path)
        judged[path.name].wrong(1, what)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []


def _check_ledger(found: Verification, known: Mapping[tuple[str, str], Sequence[Entry]]) -> None:
    lines = _lines(found.path)
    begin = _record(lines[0]) if lines else None
    if begin is None:
        return  # said before
    run, digests = str(begin.get("run", "")), [GENESIS, *(digest(line) for line in lines)]
    noted = known.get((run, found.path.name), ())
    own = [entry for entry in noted if entry.first == digests[1]]
    if noted and not own:
        found.wrong(1, "the ledger beside the key knows another log of this run and name: this one was put in its place")
    for entry in own:
        if not _is_signed(_public(entry.key), entry.signature, signed_text("head", run, entry.n, entry.last)):
            found.problems.append(f"{LEDGER_NAME}: the signature of record {entry.n} of {entry.log} does not fit: it was changed")
        elif entry.n >= len(digests):
            found.wrong(len(lines), f"the log ends here, and the ledger knows {entry.n} records: its end was cut off")
        elif digests[entry.n] != entry.last:
            found.wrong(entry.n, "is not the record that the ledger knows")


def _check_witness(found: Verification, witness: Witness) -> None:
    """Every write is audited before it goes out, so the log has at least as many commands as the records."""
    rows = [record for line in _lines(found.path) if (record := _record(line)) is not None]
    audited = sum(row.get("kind") == "command" and row.get("device") == witness.device for row in rows)
    if rows and audited < witness.writes:
        found.wrong(len(rows), f"{audited} commands to {witness.device}, and {witness.writes} were sent by the run's records")
