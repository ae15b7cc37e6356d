"""A log that is deleted with all that lies beside it, or put in the place of another, is missed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hil.audit import CHECKPOINT_EVERY, AuditError, AuditLog, ledger_path, load_or_make_key
from hil.audit_ledger import entries
from hil.audit_verify import Verification, verify_run
from hil.exchanges import Exchange, ExchangeRecorder

RUN = "bench-20240701T120000Z-abcdef"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with a log of 100 commands, its ledger in `tmp_path`."""
    return made(tmp_path, tmp_path / RUN)


def made(tmp_path: Path, run_dir: Path, writes: int = 100) -> Path:
    log = AuditLog(run_dir / "audit" / "dev.jsonl", RUN, load_or_make_key(tmp_path / "key.pem"), tmp_path / "ledger.jsonl")
    for number in range(writes):
        log.append("command", device="dev", point="p", value=float(number))
    log.close()
    return run_dir


def problems(run_dir: Path, tmp_path: Path) -> list[str]:
    found: list[Verification] = verify_run(run_dir, ledger=tmp_path / "ledger.jsonl")
    return [problem for each in found for problem in each.problems]


def test_a_whole_log_agrees_with_its_ledger(run_dir: Path, tmp_path: Path) -> None:
    assert problems(run_dir, tmp_path) == []
    noted = list(entries(tmp_path / "ledger.jsonl"))
    assert [entry.n for entry in noted][:2] == [1, CHECKPOINT_EVERY + 1] and len(noted) == 3, "begin, a checkpoint, end"


def test_a_log_deleted_with_its_head_is_missed(run_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(run_dir / "audit")
    assert any("dev.jsonl" in problem and "the log is gone" in problem for problem in problems(run_dir, tmp_path))


def test_a_log_cut_off_with_a_fitting_older_head_is_found(run_dir: Path, tmp_path: Path) -> None:
    """An old head was kept, and put back with the log as it was then: no signature is wrong, only the ledger knows better."""
    other = made(tmp_path / "elsewhere", tmp_path / "elsewhere" / RUN, writes=3)
    assert problems(other, tmp_path / "elsewhere") == []
    path = run_dir / "audit" / "dev.jsonl"
    key = load_or_make_key(tmp_path / "key.pem")
    lines = path.read_text().splitlines(keepends=True)[:40]
    path.write_text("".join(lines))
    from base64 import b64encode

    from federates.runtime.port import canonical_json
    from hil.audit import digest, signed_text

    last = digest(lines[-1].rstrip("\n"))
    head = {"n": 40, "last": last, "signature": b64encode(key.sign(signed_text("head", RUN, 40, last))).decode()}
    path.with_suffix(".head").write_text(canonical_json(head))
    assert all("ledger" in problem for problem in problems(run_dir, tmp_path)) and problems(run_dir, tmp_path)


def test_another_log_in_its_place_is_found(run_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(run_dir / "audit")
    log = AuditLog(run_dir / "audit" / "dev.jsonl", RUN, load_or_make_key(tmp_path / "key.pem"))
    log.close()
    assert any("another log" in problem for problem in problems(run_dir, tmp_path))


def test_a_changed_ledger_is_named(run_dir: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    rows[1]["n"] = 12
    ledger.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert any("signature" in problem for problem in problems(run_dir, tmp_path))


def test_the_runs_records_miss_a_log_where_there_is_no_ledger(run_dir: Path, tmp_path: Path) -> None:
    record = ExchangeRecorder(run_dir, "dev", {"audit": "dev.jsonl"})
    for kind in ("poll", "command", "follow", "fallback"):
        record.add(Exchange(kind, *[0] * 10, outcome="ok"))
    record.close()
    assert problems(run_dir, tmp_path / "nowhere") == []
    shutil.rmtree(run_dir / "audit")
    (found,) = problems(run_dir, tmp_path / "nowhere")
    assert "2 commands and 1 fallbacks were sent to dev" in found


def test_records_of_more_writes_than_the_log_has_are_found(tmp_path: Path) -> None:
    run_dir = made(tmp_path, tmp_path / RUN, writes=1)
    record = ExchangeRecorder(run_dir, "dev", {"audit": "dev.jsonl"})
    for _ in range(2):
        record.add(Exchange("command", *[0] * 10, outcome="ok"))
    record.close()
    assert any("1 commands to dev, and 2 were sent" in problem for problem in problems(run_dir, tmp_path))


def test_a_ledger_that_cannot_be_written_stops_the_log_at_its_beginning(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="ledger"):
        AuditLog(tmp_path / "dev.jsonl", RUN, load_or_make_key(tmp_path / "key.pem"), tmp_path / "no" / "ledger.jsonl")


def test_the_ledger_is_beside_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRIDTANDEM_AUDIT_KEY", str(tmp_path / "key.pem"))
    log = AuditLog(tmp_path / RUN / "audit" / "dev.jsonl", RUN)
    log.close()
    assert ledger_path() == tmp_path / "audit_ledger.jsonl" and ledger_path().stat().st_mode & 0o777 == 0o600
    shutil.rmtree(tmp_path / RUN / "audit")
    assert any("gone" in problem for found in verify_run(tmp_path / RUN) for problem in found.problems)
