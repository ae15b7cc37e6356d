"""Companions: ready before the workers, ended after them, named when they fail, gone when the run is over."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from federates.runtime import supervisor
from federates.runtime.companion import CompanionFailure, Host, private_directory
from federates.runtime.federate import MS_NS, Companion, Federation, Spec, Step
from federates.runtime.port import Inputs, Outputs, Port


def serve(params: dict[str, Any], host: Host) -> None:
    """Notes when it is ready, asked to stop, and ends; or fails as told."""
    notes = Path(params["notes"])

    def note(text: str) -> None:
        with notes.open("a") as file:
            file.write(f"{host.name} {text}\n")

    assert private_directory() == host.directory
    if params.get("fail") == "start":
        raise CompanionFailure("relay7", "its cable is out")
    if params.get("fail") == "own":
        raise KeyError("a mistake of its own")
    time.sleep(params.get("slow_s", 0.0))
    note(f"ready {os.getpid()}")
    host.ready()
    while not host.asked_to_stop:
        host.beat()
        if params.get("fail") == "later" and "federate started" in notes.read_text():
            raise CompanionFailure("relay7", "it hung up", 40 * MS_NS)
        time.sleep(0.01)
    note("asked")
    time.sleep(params.get("linger_s", 0.0))
    note("ended")


class Counter:
    """Writes that it started, and steps for a while."""

    def __init__(self, params: str) -> None:
        self.period_ns, self._notes = 10 * MS_NS, Path(params)
        self.inputs = ()
        self.outputs = (Port("x"),)

    def start(self, t_ns: int) -> Outputs:
        with self._notes.open("a") as file:
            file.write("federate started\n")
        return {"x": [0.0]}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        return Step({"x": [1.0]})

    def stop(self) -> None:
        with self._notes.open("a") as file:
            file.write("federate stopped\n")


def federation(notes: Path, *companions: tuple[str, bool, dict[str, Any]], stop_ms: int = 1000) -> Federation:
    made = tuple(
        Companion(name, f"{__name__}:serve", {"notes": str(notes), **params}, ends_last) for name, ends_last, params in companions
    )
    spec = Spec("counter", f"{__name__}:Counter", str(notes))
    return Federation("c", stop_ms * MS_NS, (spec,), (), real_time=True, companions=made)


@pytest.mark.parametrize("runner", ["local", "helics"])
def test_they_are_there_before_and_after_the_workers(runner: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    last, first = ("device", True, {}), ("gate", False, {"slow_s": 0.5, "linger_s": 0.2})
    outcome = supervisor.run(federation(notes, last, first), tmp_path / "run", runner)
    assert outcome.exit_code == 0, outcome.message
    lines = [" ".join(line.split()[:2]) for line in notes.read_text().splitlines()]
    assert set(lines[:2]) == {"device ready", "gate ready"} and lines[2] == "federate started"
    assert lines[-4:] == ["gate asked", "gate ended", "device asked", "device ended"]
    assert lines.index("federate stopped") < lines.index("gate asked")
    pids = [int(line.split()[2]) for line in notes.read_text().splitlines() if " ready " in line]
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("start", "device relay7: its cable is out"),
        ("later", "device relay7 at t = 0.04 s: it hung up"),
        ("own", "device gate: KeyError: 'a mistake of its own'"),
    ],
)
def test_its_failure_is_exit_code_4_and_names_the_device(fail: str, words: str, tmp_path: Path) -> None:
    began_s = time.monotonic()
    outcome = supervisor.run(
        federation(tmp_path / "notes", ("gate", False, {"fail": fail}), stop_ms=20_000), tmp_path / "run", "local"
    )
    assert outcome.exit_code == 4 and outcome.message == words
    assert time.monotonic() - began_s < 15.0
    assert (tmp_path / "notes").exists() == (fail == "later")  # nothing else was started


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    outcome = supervisor.run(federation(tmp_path / "notes", ("local", False, {})), tmp_path / "run", "local")
    assert outcome.exit_code == 2 and "name of its own" in outcome.message
