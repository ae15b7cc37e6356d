"""The audit log: every mutation of it is found, by whoever and wherever it is made."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run_cosim
from federates.runtime.port import canonical_json
from hil.audit import CHECKPOINT_EVERY, AuditError, AuditLog, digest, load_or_make_key, public_text, signed_text
from hil.audit_verify import verify, verify_run

RECORDS = 2 * CHECKPOINT_EVERY + 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some hundred records, ended in good order."""
    place = tmp_path_factory.mktemp("audit")
    log = AuditLog(place / "audit" / "dev.jsonl", "run-1", load_or_make_key(place / "key.pem"))
    for n in range(RECORDS):
        log.append("command", point=f"p{n % 5}", value=n / 7, kind_of="x")
    log.close()
    return place


def trusted(folder: Path) -> str:
    return public_text(load_or_make_key(folder / "key.pem").public_key())


def judge(folder: Path, octets: bytes, tmp_path: Path, key: str | None = None) -> list[str]:
    """Problems of the log with other octets in place of its own."""
    path = tmp_path / "dev.jsonl"
    path.write_bytes(octets)
    shutil.copy(folder / "audit" / "dev.head", path.with_suffix(".head"))
    return verify(path, key or trusted(folder)).problems


def test_an_honest_log_is_whole(folder: Path) -> None:
    (found,) = verify_run(folder, trusted(folder))
    assert found.problems == [] and found.ended
    assert found.records == RECORDS + 2 + 2  # begin and end, and two checkpoints


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_mutation_is_found(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    octets = (folder / "audit" / "dev.jsonl").read_bytes()
    lines = octets.splitlines(keepends=True)
    ways = ["flip", "delete octets", "insert", "cut", "delete", "swap", "repeat", "cut lines", "cut head"]
    what = data.draw(st.sampled_from(ways))
    at = data.draw(st.integers(0, len(octets) - 1))
    row = data.draw(st.integers(0, len(lines) - 1))
    if what == "flip":
        changed = bytearray(octets)
        changed[at] ^= data.draw(st.integers(1, 255))
        mutated = bytes(changed)
    elif what == "delete octets":
        mutated = octets[:at] + octets[at + data.draw(st.integers(1, 50)) :]
    elif what == "insert":
        mutated = octets[:at] + data.draw(st.binary(min_size=1, max_size=20)) + octets[at:]
    elif what == "cut":
        mutated = octets[:at]
    elif what == "delete":
        mutated = b"".join(lines[:row] + lines[row + 1 :])
    elif what == "swap":
        other = data.draw(st.integers(0, len(lines) - 1).filter(lambda k: k != row))
        lines[row], lines[other] = lines[other], lines[row]
        mutated = b"".join(lines)
    elif what == "repeat":
        mutated = b"".join(lines[: row + 1] + lines[row:])
    elif what == "cut lines":
        mutated = b"".join(lines[:row])
    else:
        mutated = b"".join(lines[row + 1 :])
    if mutated != octets:
        assert judge(folder, mutated, tmp_path), what


def rechained(lines: list[bytes]) -> bytes:
    """What somebody without the key can make: numbers and hashes that fit."""
    previous, out = "0" * 64, []
    for n, line in enumerate(lines, start=1):
        record = json.loads(line)
        record["n"], record["prev"] = n, previous
        text = canonical_json(record)
        previous = digest(text)
        out.append(text.encode() + b"\n")
    return b"".join(out)


def test_a_chain_made_again_without_the_key_is_found(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "audit" / "dev.jsonl").read_bytes().splitlines()
    assert any("signature" in problem for problem in judge(folder, rechained(lines[:10] + lines[11:]), tmp_path))


def test_a_log_made_again_with_another_key_is_found(folder: Path, tmp_path: Path) -> None:
    forged = AuditLog(tmp_path / "audit" / "dev.jsonl", "run-1", load_or_make_key(tmp_path / "other.pem"))
    forged.append("command", point="p", value=1.0)
    forged.close()
    path = tmp_path / "audit" / "dev.jsonl"
    assert verify(path).problems == []
    assert any("trusted" in problem for problem in verify(path, trusted(folder)).problems)


def test_a_checkpoints_signature_does_not_pass_for_a_heads(folder: Path, tmp_path: Path) -> None:
    """Cut the log at a checkpoint, and make a head of that checkpoint's own signature."""
    lines = (folder / "audit" / "dev.jsonl").read_bytes().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if b'"kind":"checkpoint"' in line)
    kept = lines[:at]
    path = tmp_path / "dev.jsonl"
    path.write_bytes(b"".join(kept))
    signature = json.loads(lines[at])["signature"]
    last = digest(kept[-1].decode().rstrip("\n"))
    path.with_suffix(".head").write_text(canonical_json({"n": at, "last": last, "signature": signature}))
    assert verify(path).problems
    assert signed_text("head", "r", 1, "x") != signed_text("checkpoint", "r", 1, "x")


def test_the_head_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that is on the disk before its octets are would leave an empty head after a crash, and a log that is accused."""
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append(("rename", str(path)))
        return replace(path, target)

    log = AuditLog(tmp_path / "dev.jsonl", "run-1", load_or_make_key(tmp_path / "key.pem"))
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    log.append("command", point="p", value=1.0)
    part = str(tmp_path / "dev.head.part")
    assert done == [("sync", str(tmp_path / "dev.jsonl")), ("sync", part), ("rename", part)]
    log.close()
    assert done[-1] == ("sync", str(tmp_path)), "the end is for good: an older head would accuse the log"


def test_a_removed_log_or_head_is_found(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "audit", tmp_path / "audit")
    (tmp_path / "audit" / "dev.jsonl").unlink()
    assert any("gone" in problem for found in verify_run(tmp_path) for problem in found.problems)
    shutil.copy(folder / "audit" / "dev.jsonl", tmp_path / "audit")
    (tmp_path / "audit" / "dev.head").unlink()
    assert any("head" in problem for found in verify_run(tmp_path) for problem in found.problems)


def test_a_killed_writer_leaves_a_whole_log_without_an_end(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit" / "dev.jsonl", "run-1", load_or_make_key(tmp_path / "key.pem"))
    log.append("command", point="p", value=1.0)
    (found,) = verify_run(tmp_path)
    assert found.problems == [] and not found.ended


def test_a_field_cannot_take_the_place_of_the_logs_own(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "dev.jsonl", "run-1", load_or_make_key(tmp_path / "key.pem"))
    log.append("command", prev="forged", n=7)
    log.close()
    assert verify(tmp_path / "dev.jsonl").problems == []


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    key = load_or_make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert public_text(load_or_make_key(path).public_key()) == public_text(key.public_key())
    path.write_text("rubbish")
    with pytest.raises(AuditError, match="GRIDTANDEM_AUDIT_KEY"):
        load_or_make_key(path)


def test_the_command_judges(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cosim.main(["audit", "verify", str(folder), "--key", trusted(folder)]) == 0
    assert "whole" in capsys.readouterr().out
    shutil.copytree(folder / "audit", tmp_path / "audit")
    octets = (tmp_path / "audit" / "dev.jsonl").read_bytes()
    (tmp_path / "audit" / "dev.jsonl").write_bytes(octets.replace(b'"point":"p3"', b'"point":"p4"', 1))
    assert run_cosim.main(["audit", "verify", str(tmp_path), "--key", trusted(folder)]) == 1
    assert "NOT WHOLE" in capsys.readouterr().out
    assert run_cosim.main(["audit", "verify", str(tmp_path / "nothing")]) == 2
