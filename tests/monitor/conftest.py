"""One made-up run for all tests that only read."""

from __future__ import annotations

from pathlib import Path

import fake_run
import pytest


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run.make(tmp_path_factory.mktemp("runs") / "fake")


@pytest.fixture(scope="session")
def killed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed run leaves: streams cut off in the middle, a torn last line, no merge, no end in meta.json."""
    path = fake_run.make(tmp_path_factory.mktemp("killed") / "fake", finish=False)
    for stream in [*path.glob("signals/*.arrows"), *path.glob("timing/*.arrows")]:
        stream.write_bytes(stream.read_bytes()[:-13])
    (path / "signals" / "grid.bus_q_var.arrows").write_bytes(b"")
    with (path / "events" / "federation.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"t_ns": 12')
    return path
