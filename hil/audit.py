"""The audit log of a device: what was asked, by whom, what was allowed, what was sent. Append-only, chained, signed.

A JSON object a line. Each carries its number and the SHA-256 of the line before it, so that a record that is changed, removed,
moved or put in breaks the chain. A chain alone can be made again from any point by whoever can write the file: so every
`CHECKPOINT_EVERY` records, and at the end, a checkpoint signs the chain so far with Ed25519, and beside the log the `.head` file
holds a signature of the latest record, so that records cut off at the end are missed too; and outside the run directory a ledger
(`audit_ledger.py`) misses logs that are gone as a whole. The private key belongs to the operator's account
(`GRIDTANDEM_AUDIT_KEY`, or `~/.config/gridtandem/audit_ed25519.pem`), not to the run directory.

`append` returns after the record is on the disk: a command goes out after that. `audit_verify.py` judges.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federates.runtime.port import canonical_json
from hil.audit_ledger import LEDGER_NAME, Entry, note

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CHECKPOINT_EVERY = 64
FOLDER = "audit"
GENESIS = "0" * 64
_OWN = ("n", "prev", "utc", "mono_ns", "kind")


class AuditError(Exception):
    """The log cannot be written, or a key cannot be used; says which file and what to do."""


def key_path() -> Path:
    """Where the operator's signing key is."""
    named = os.environ.get("GRIDTANDEM_AUDIT_KEY")
    return Path(named) if named else Path.home() / ".config" / "gridtandem" / "audit_ed25519.pem"


def ledger_path() -> Path:
    """Where the ledger of this account's logs is: beside the key."""
    return key_path().with_name(LEDGER_NAME)


def load_or_make_key(path: Path | None = None) -> Ed25519PrivateKey:
    """The private key; made, readable by its owner alone, where there is none. AuditError."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = path or key_path()
    try:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            plain = serialization.NoEncryption()
            pem = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.touch(mode=0o600)
            partial.write_bytes(pem)
            try:
                os.link(partial, path)  # of several that start at once, one wins
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise AuditError(f"{path}: the audit key cannot be used: {error}; name another with GRIDTANDEM_AUDIT_KEY") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditError(f"{path}: the audit key is no Ed25519 key; remove it, or name another with GRIDTANDEM_AUDIT_KEY")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as 64 hexadecimal digits."""
    return key.public_bytes_raw().hex()


def digest(line: str) -> str:
    """SHA-256 of a line without its end."""
    return hashlib.sha256(line.encode()).hexdigest()


def signed_text(what: str, run: str, count: int, last: str) -> bytes:
    """What a signature covers. `what` keeps a checkpoint's signature from passing for that of a head."""
    return f"gridtandem audit {what}/{run}/{count}/{last}".encode()


def _replace(path: Path, text: str) -> None:
    """Put `text` in place of a file so that a crash leaves the old one or the new one, whole: a rename alone may reach the disk
    before the octets do. OSError."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _sync_names(folder: Path) -> None:
    """Bring the names in a folder to the disk: a crash then loses no file that was made, and brings none back that was replaced.
    OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AuditLog:
    """One log, one writer. Threads may share it. AuditError where it cannot be made or written."""

    def __init__(self, path: Path, run: str, key: Ed25519PrivateKey | None = None, ledger: Path | None = None) -> None:
        """Without a `key` the account's key and ledger are used; with one, the `ledger` that is given, or none."""
        self.path, self.run = path, run
        self._ledger = ledger if key is not None else ledger or ledger_path()
        self._key = key or load_or_make_key()
        self._first = GENESIS
        self._lock = threading.Lock()
        self._count, self._last, self._since_checkpoint = 0, GENESIS, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="utf-8")
        except OSError as error:
            raise AuditError(f"{path}: the audit log cannot be made: {error.strerror}; nothing was sent to a device") from error
        self.append("begin", run=run, key=public_text(self._key.public_key()))
        self._first = self._last
        self._enter()

    @property
    def count(self) -> int:
        """Records so far."""
        return self._count

    def append(self, kind: str, **facts: Any) -> int:
        """Add a record and give its number, once it is on the disk. AuditError."""
        with self._lock:
            number = self._write(kind, facts)
            self._since_checkpoint += 1
            is_due = self._since_checkpoint >= CHECKPOINT_EVERY
            if is_due:
                self._checkpoint("checkpoint")
            self._sync(names=is_due or number == 1)
            if is_due:
                self._enter()  # after the log: a ledger that knows more than the log would accuse it
        return number

    def close(self) -> None:
        """End the log with a signed record. Closing twice is harmless."""
        with self._lock:
            if not self._file.closed:
                self._checkpoint("end")
                self._sync(names=True)
                self._enter()
                self._file.close()

    def _enter(self) -> None:
        """Note the latest record in the ledger."""
        if self._ledger is None:
            return
        signature = base64.b64encode(self._key.sign(signed_text("head", self.run, self._count, self._last))).decode()
        key = public_text(self._key.public_key())
        try:
            note(self._ledger, Entry(self.run, self.path.name, self._first, self._count, self._last, key, signature))
        except OSError as error:
            raise AuditError(f"{self._ledger}: the ledger of audit logs cannot be written: {error.strerror}") from error

    def _checkpoint(self, kind: str) -> None:
        signature = self._key.sign(signed_text("checkpoint", self.run, self._count, self._last))
        self._write(kind, {"signs": self._count, "signature": base64.b64encode(signature).decode()})
        self._since_checkpoint = 0

    def _write(self, kind: str, facts: dict[str, Any]) -> int:
        record = {
            "n": self._count + 1,
            "prev": self._last,
            "utc": datetime.now(UTC).isoformat(timespec="microseconds"),
            "mono_ns": time.monotonic_ns(),
            "kind": kind,
            **{f"x_{name}" if name in _OWN else name: value for name, value in facts.items()},
        }
        line = canonical_json(record)
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be written: {error.strerror}") from error
        self._count, self._last = self._count + 1, digest(line)
        return self._count

    def _sync(self, *, names: bool = False) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            head = self._key.sign(signed_text("head", self.run, self._count, self._last))
            text = canonical_json({"n": self._count, "last": self._last, "signature": base64.b64encode(head).decode()})
            _replace(self.path.with_suffix(".head"), text)
            if names:  # else a crash may leave the head of some records ago, which a log may be ahead of
                _sync_names(self.path.parent)
        except OSError as error:
            raise AuditError(f"{self.path}: the audit log cannot be written: {error.strerror}; free space") from error
