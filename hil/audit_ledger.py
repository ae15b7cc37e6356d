"""What is kept of audit logs outside their run directories, so that a log that is deleted with all that lies beside it is missed.

The ledger is a file beside the operator's key: a JSON object a line, written when a log begins, at every checkpoint and at its end,
with the signature of the log's latest record. Whoever can write the run directory cannot take back what stands here. The run's own
records (`hil/<device>.exchanges.*`) are a second witness, on another machine too: they name the log, and count what was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from federates.runtime.port import canonical_json

LEDGER_NAME = "audit_ledger.jsonl"
_WRITES = ("command", "follow")


@dataclass(frozen=True, slots=True)
class Entry:
    """A log's state at a time: the run, the log's file name, the SHA-256 of its first and of its latest record, the number of the
    latest, and the signature of that by the key."""

    run: str
    log: str
    first: str
    n: int
    last: str
    key: str
    signature: str


def note(ledger: Path, entry: Entry) -> None:
    """Add an entry; it is on the disk when this returns. OSError."""
    line = canonical_json(asdict(entry)) + "\n"
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())  # one write: gatekeepers of several runs share the file
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries(ledger: Path) -> Iterator[Entry]:
    """The entries of a ledger, in order; nothing where there is no such file. Lines that are none are left out."""
    if not ledger.exists():
        return
    for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue


@dataclass(frozen=True, slots=True)
class Witness:
    """What a device's records say: the log that belongs to them, and how many writes were sent (fallbacks apart)."""

    device: str
    log: str
    writes: int
    fallbacks: int


def witnesses(folder: Path) -> Iterator[Witness]:
    """One for each device whose exchanges are in `folder` (`hil/` of a run directory) and name their log."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in sorted({*folder.glob("*.exchanges.parquet"), *folder.glob("*.exchanges.arrows")}):
        try:
            if path.suffix == ".parquet":
                table = pq.read_table(path, columns=["kind"])
            else:
                with pa.ipc.open_stream(path) as stream:
                    table = pa.Table.from_batches(list(stream), stream.schema).select(["kind"])
        except (OSError, pa.ArrowInvalid):
            continue  # cut in the middle of a batch, as a killed process leaves it
        facts: Mapping[str, Any] = json.loads((table.schema.metadata or {}).get(b"gridtandem", b"{}"))
        if "audit" in facts:
            kinds = table.column("kind").to_pylist()
            writes = sum(kind in _WRITES for kind in kinds)
            yield Witness(str(facts["device"]), str(facts["audit"]), writes, kinds.count("fallback"))
