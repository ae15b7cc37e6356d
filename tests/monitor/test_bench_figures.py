"""The bench page: figures of devices from what gatekeepers leave, also of a run that was killed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from federates.runtime.record import merge
from monitor.figures import bench
from monitor.figures.lines import Clock
from monitor.page import Html
from monitor.results import load

COLUMNS = {
    "kind": pa.string(), "t_ns": pa.int64(), "round_trip_ns": pa.int64(), "lateness_ns": pa.int64(), "overruns": pa.int64(),
    "outcome": pa.string(), "points": pa.list_(pa.int16()), "values": pa.list_(pa.float64()), "quality": pa.list_(pa.uint16()),
    "clock_offset_ns": pa.int64(), "clock_uncertainty_ns": pa.int64(),
}  # fmt: skip
FACTS = {
    "device": "rtu",
    "role": "master",
    "address": "10.0.0.5:20000",
    "period_ns": 100_000_000,
    "points": ["v", "<breaker>"],
    "rank": "nice -10",
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A hundred polls, the last ten without an answer, and two commands."""
    folder = tmp_path / "hil"
    folder.mkdir()
    (tmp_path / "meta.json").write_text(json.dumps({"exit_code": 0, "devices": {"mode": "live", "operator": "A <b>"}}))
    rows = [
        ("poll", k * 100_000_000, 2_000_000 + k, 100_000 * (k + 1), 3 if k > 50 else 0, "ok" if k < 90 else "no answer", [0], [1.0],
         [0 if k < 90 else 128], -7_000_000, 900_000)
        for k in range(100)
    ]  # fmt: skip
    rows += [("command", 5_000_000_000, 4_500_000, 0, 3, "ok", [1], [0.0], [], 0, -1)]
    rows += [("fallback", 9_900_000_000, 1_250_000, 0, 3, "ok", [1], [1.0], [], 0, -1)]
    schema = pa.schema(list(COLUMNS.items())).with_metadata({"gridtandem": json.dumps(FACTS)})
    arrays = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), COLUMNS.values(), strict=True)]
    with pa.OSFile(str(folder / "rtu.exchanges.arrows"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return tmp_path


@pytest.mark.parametrize("merged", [False, True])
def test_what_a_device_did_is_on_the_page(run_dir: Path, merged: bool) -> None:
    if merged:
        merge(run_dir)
        assert not list((run_dir / "hil").glob("*.arrows"))
    section = bench.section(load(run_dir), Clock(10.0))
    assert section is not None
    text = " ".join(block for block in section.blocks if isinstance(block, Html))
    assert "live, armed by A &lt;b&gt;" in text
    for cell in ("10.0.0.5:20000", "nice -10", "100", "5.05", "9.90", "10.00", "2.00"):  # lateness of 0.1 to 10 ms
        assert f">{cell}<" in text, cell
    assert ">3<" in text  # overruns
    assert ">10<" in text  # cycles that failed
    assert "&lt;breaker&gt;" in text and "4.50" in text and "1.25" in text
    assert "-7.00" in text and "0.90" in text
    assert sum(not isinstance(block, Html) for block in section.blocks) == 3  # two histograms and the quality


@pytest.mark.parametrize(
    ("role", "clock", "said"),
    [
        ("client", "", "no clock: its map marks no row as one"),
        ("client", "time_s", "no clock: time_s was never read"),
        ("master", "", "no clock: it did not tell its time when asked"),
        ("server", "", "no clock of its own: played here"),
        ("outstation", "", "no clock of its own: played here"),
    ],
)
def test_a_device_without_a_clock_is_said_to_have_none(run_dir: Path, role: str, clock: str, said: str) -> None:
    (path,) = (run_dir / "hil").glob("*.arrows")
    read = pa.ipc.open_stream(path.read_bytes()).read_all()
    unknown = pa.array([-1] * read.num_rows, pa.int64())
    facts = {b"gridtandem": json.dumps({**FACTS, "role": role, "clock": clock}).encode()}
    read = read.set_column(read.schema.get_field_index("clock_uncertainty_ns"), "clock_uncertainty_ns", unknown)
    read = read.replace_schema_metadata(facts)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, read.schema) as writer:
        writer.write_table(read)
    section = bench.section(load(run_dir), Clock(10.0))
    assert section is not None
    assert said in " ".join(block for block in section.blocks if isinstance(block, Html))


def test_a_run_without_devices_has_no_such_page(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    assert bench.section(load(tmp_path), Clock(1.0)) is None
