"""With the dynamics engine too: a scenario gives the same records, bit for bit, in the plain loop, over HELICS, and again."""

from __future__ import annotations

from pathlib import Path

from monitor.compare import compare
from tests.grid.dynamics.andes_cases import needs_andes
from tests.test_identical import run_dir

pytestmark = needs_andes


def test_a_fault_and_a_trip_give_identical_records_in_the_loop_over_helics_and_again(tmp_path: Path) -> None:
    stop = ("--stop", "12")
    runs = [
        run_dir(tmp_path / name, "dynamics_tiny", *stop, "--runner", name.rstrip("2")) for name in ("local", "helics", "local2")
    ]
    assert '"emergency_begins"' in (runs[0] / "events.jsonl").read_text()
    for other in runs[1:]:
        found = compare(runs[0], other)
        assert found.identical and found.records > 15, str(found)
