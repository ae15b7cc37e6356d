"""Records: a killed run keeps what it had, and merging gives one form whatever the processes were."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from federates.runtime.federate import Federation, Spec
from federates.runtime.port import Document, Event, Port, Sample
from federates.runtime.record import RecordError, RunRecorder, merge, read_stream

FEDERATION = Federation("test", 10**9, (Spec("f", "none:none", None), Spec("g", "none:none", None)), ())
Y = Port("y", "W", ("a", "b"), "doc")


def canonical(run_dir: Path) -> dict[str, bytes]:
    """Every file of the run directory but timing and logs."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.name != "timing.parquet" and "log" not in path.parts
    }


def write(run_dir: Path, process: str, parts: str, flush_every: int) -> None:
    """What a process that hosts the federates `parts` records: 50 samples, events and documents each."""
    recorder = RunRecorder(run_dir, process, FEDERATION)
    for k in range(50):
        for part in parts:
            recorder.vector(part, Y, k, Sample.of([k, np.nan], k - 1, [0, 128]))
            recorder.event(Event(k // 10, f"{part}.out", k + 1, {"k": k}))
            recorder.document(part, Port("tblm", kind="document", ids=(f"bus_{part}",)), Document(f'{{"k":{k}}}', k, k + 1))
            recorder.call(part, k, 1000 + k, 5)
        if k % flush_every == 0:
            recorder.flush()
    recorder.close()


def test_merged_records_hold_everything_in_order(tmp_path: Path) -> None:
    write(tmp_path, "p1", "f", 7)
    write(tmp_path, "p2", "g", 9)
    merge(tmp_path)
    table = pq.read_table(tmp_path / "signals" / "f.y.parquet")
    assert json.loads(table.schema.metadata[b"gridtandem"]) == {
        "federate": "f", "port": "y", "unit": "W", "ids": ["a", "b"], "doc": "doc"
    }  # fmt: skip
    assert table["t_ns"].to_pylist() == list(range(50)) and table["t_meas_ns"].to_pylist()[3] == [2, 2]
    assert table["quality"].to_pylist()[0] == [0, 128] and table["values"].to_pylist()[3][0] == 3.0
    rows = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    keys = [(row["t_ns"], row["source"], row["seq"]) for row in rows]
    assert keys == sorted(keys) and len(keys) == 100
    documents = [json.loads(line) for line in (tmp_path / "tblm" / "bus_f.jsonl").read_text().splitlines()]
    assert [d["document"]["k"] for d in documents] == list(range(50)) and documents[4]["version"] == 5
    timing = pq.read_table(tmp_path / "timing.parquet").to_pydict()
    assert len(timing["t_ns"]) == 100 and timing["federate"][:2] == ["f", "g"] and timing["t_ns"] == sorted(timing["t_ns"])
    assert {path.name for path in tmp_path.iterdir()} == {"signals", "events.jsonl", "timing.parquet", "tblm", "documents"}


def test_the_merged_bytes_do_not_tell_how_often_or_by_how_many_it_was_written(tmp_path: Path) -> None:
    forms = []
    for processes, flush_every in ((("fg",), 50), (("f", "g"), 3), (("g", "f"), 11)):
        run_dir = tmp_path / f"{flush_every}"
        for parts in processes:
            write(run_dir, f"process_{parts}", parts, flush_every)
        merge(run_dir)
        forms.append(canonical(run_dir))
    assert forms[0] == forms[1] == forms[2] and len(forms[0]) == 5


def test_a_second_merge_changes_nothing_and_an_interrupted_one_is_taken_up(tmp_path: Path) -> None:
    write(tmp_path, "p1", "f", 7)
    write(tmp_path, "p2", "g", 7)
    kept = (tmp_path / "events" / "p2.jsonl").read_bytes()
    merge(tmp_path)
    whole = canonical(tmp_path)
    merge(tmp_path)
    assert canonical(tmp_path) == whole
    (tmp_path / "events").mkdir()  # as where it was ended between writing the whole and removing the parts
    (tmp_path / "events" / "p2.jsonl").write_bytes(kept)
    merge(tmp_path)
    assert canonical(tmp_path) == whole


@pytest.mark.parametrize("cut", [1, 9, 200, 1000, 1500])
def test_a_torn_stream_gives_the_batches_that_are_whole(tmp_path: Path, cut: int) -> None:
    write(tmp_path, "p1", "f", 5)
    path = tmp_path / "signals" / "f.y.arrows"
    path.write_bytes(path.read_bytes()[:-cut])
    table = read_stream(path)
    assert table["t_ns"].to_pylist() == list(range(table.num_rows)) and 30 <= table.num_rows <= 50
    events = tmp_path / "events" / "p1.jsonl"
    events.write_bytes(events.read_bytes()[:-3])
    merge(tmp_path)
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 49


def test_a_stream_without_a_whole_schema_is_no_table(tmp_path: Path) -> None:
    for content in (b"", b"\xff\xff\xff\xff\x10"):
        (tmp_path / "signals").mkdir(exist_ok=True)
        (tmp_path / "signals" / "f.y.arrows").write_bytes(content)
        assert read_stream(tmp_path / "signals" / "f.y.arrows").num_rows == 0
        merge(tmp_path)
        assert list((tmp_path / "signals").iterdir()) == []


def test_what_was_recorded_half_a_second_before_a_kill_is_readable(tmp_path: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from test_record import FEDERATION, Y
        from federates.runtime.port import Event, Sample
        from federates.runtime.record import RunRecorder
        recorder = RunRecorder(Path(sys.argv[1]), "p1", FEDERATION)
        for k in range(100):
            recorder.vector("f", Y, k, Sample.of([k, k], k))
            recorder.event(Event(k, "f.out", k + 1, {}))
            recorder.call("f", k, k, 1)
        print("written", flush=True)
        time.sleep(60)
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], stdout=subprocess.PIPE, env=env)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"written\n"
        stream, events = tmp_path / "signals" / "f.y.arrows", tmp_path / "events" / "p1.jsonl"
        while (
            read_stream(stream).num_rows < 100 or events.read_bytes().count(b"\n") < 100
        ):  # the flushing thread is what this waits for; the test's timeout bounds it
            assert child.poll() is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    merge(tmp_path)
    assert pq.read_table(tmp_path / "signals" / "f.y.parquet").num_rows == 100
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 100


def test_a_full_disk_is_said_at_the_next_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = RunRecorder(tmp_path, "p1", FEDERATION)
    recorder.vector("f", Y, 0, Sample.of([1.0, 2.0], 0))

    def full(self: RunRecorder) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunRecorder, "flush", full)
    recorder._thread.join(5.0)
    with pytest.raises(RecordError, match=r"cannot write the records: .*No space left.*; free space or choose another --out"):
        recorder.vector("f", Y, 1, Sample.of([1.0, 2.0], 1))
    with pytest.raises(RecordError):
        recorder.close()


def test_a_run_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="file: cannot write the records"):
        RunRecorder(tmp_path / "file", "p1", FEDERATION)


def test_a_wide_port_and_many_federates_keep_their_types(tmp_path: Path) -> None:
    port = Port("v", "pu", tuple(f"n{k}" for k in range(3000)))
    recorder = RunRecorder(tmp_path, "p1", FEDERATION)
    recorder.vector("g", port, 5, Sample.of(np.linspace(0.9, 1.1, 3000), 4))
    recorder.close()
    merge(tmp_path)
    table = pq.read_table(tmp_path / "signals" / "g.v.parquet")
    assert table.schema.field("values").type == pa.list_(pa.float64(), 3000)
    assert np.array(table["values"].to_pylist()[0]).tobytes() == np.linspace(0.9, 1.1, 3000).tobytes()
