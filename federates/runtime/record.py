"""What a run leaves on disk: one writer per process while it runs, one canonical form at the end.

While running, each (federate, port) has an Arrow stream of its own and each process its events; both are flushed at least twice
a second, so that a killed run keeps what it recorded. `merge` turns that into the run directory's final form: Parquet, events and
documents in canonical order, the same bytes whichever runner and however many processes wrote them.

    signals/<federate>.<port>.arrows -> .parquet     t_ns, t_meas_ns, values[n], quality[n]; unit, ids and doc in the schema
    events/<process>.jsonl           -> events.jsonl
    timing/<process>.arrows          -> timing.parquet     with lateness_ns where the run was held to the wall clock
    hil/<device>.exchanges.arrows    -> .parquet           written by gatekeepers
    tblm/<bus>.jsonl                 one TBLM a line                 documents/<port>/<federate>.jsonl   every other document
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote  # a bus is named by a network file: it must not name a path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from federates.runtime.federate import Federation
from federates.runtime.pace import read_t0_ns
from federates.runtime.port import Document, Event, Port, Sample, canonical_json

FLUSH_S = 0.5
_TIMING = pa.schema(
    [
        ("federate", pa.dictionary(pa.int32(), pa.string())),
        ("t_ns", pa.int64()),
        ("started_ns", pa.int64()),
        ("compute_ns", pa.int64()),
    ]
)


class RecordError(OSError):
    """A record cannot be written or read: says which file, and what the system said."""


class _VectorStream:
    """The rows of one port, buffered, and the Arrow stream they go to."""

    def __init__(self, path: Path, federate: str, port: Port) -> None:
        self.path, self.size = path, port.size
        text = {"federate": federate, "port": port.name, "unit": port.unit, "ids": list(port.ids), "doc": port.doc}
        self.schema = pa.schema(
            [
                ("t_ns", pa.int64()),
                ("t_meas_ns", pa.list_(pa.int64(), self.size)),
                ("values", pa.list_(pa.float64(), self.size)),
                ("quality", pa.list_(pa.uint16(), self.size)),
            ],
            metadata={"gridtandem": canonical_json(text)},
        )
        self.rows: deque[tuple[int, Sample]] = deque()  # appended to by one thread while another empties it
        self.sink = pa.OSFile(str(path), "wb")
        self.writer = pa.ipc.new_stream(self.sink, self.schema)
        self.sink.flush()  # readable from the beginning

    def flush(self) -> None:
        rows = [self.rows.popleft() for _ in range(len(self.rows))]
        if not rows:
            return
        times = np.array([t for t, _ in rows], np.int64)
        measured = np.concatenate([sample.times_ns for _, sample in rows])
        values = np.concatenate([sample.values for _, sample in rows])
        quality = np.concatenate([sample.quality for _, sample in rows])
        columns = [_array(times)]
        columns += [pa.FixedSizeListArray.from_arrays(_array(flat), self.size) for flat in (measured, values, quality)]
        self.writer.write_batch(pa.record_batch(columns, schema=self.schema))
        self.sink.flush()

    def close(self) -> None:
        self.flush()
        self.writer.close()
        self.sink.close()


def _array(values: np.ndarray) -> pa.Array:
    """An Arrow array of numbers over the same memory. pa.array would import pandas, which takes half a second."""
    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(whole.dtype), len(whole), [None, pa.py_buffer(whole)])


def _strings(texts: Sequence[str]) -> pa.Array:
    """An Arrow array of strings, likewise."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


class RunRecorder:
    """Writes what the seats of one process report; implements `seat.Recorder`.

    A thread flushes every half second, so that a federate that hangs does not take its past with it.
    RecordError when the run directory cannot be written.
    """

    def __init__(self, run_dir: Path, process: str, federation: Federation) -> None:
        self.run_dir, self.process = run_dir, process
        self._lock = threading.Lock()
        self._vectors: dict[tuple[str, str], _VectorStream] = {}
        self._documents: dict[Path, Any] = {}
        self._calls: deque[tuple[str, int, int, int]] = deque()
        self._failed: OSError | None = None
        try:
            for folder in ("signals", "events", "timing", "tblm", "documents"):
                (run_dir / folder).mkdir(parents=True, exist_ok=True)
            self._events = (run_dir / "events" / f"{process}.jsonl").open("w", encoding="utf-8")
            self._timing_sink = pa.OSFile(str(run_dir / "timing" / f"{process}.arrows"), "wb")
        except OSError as error:
            raise RecordError(f"{run_dir}: cannot write the records: {error}; free space or choose another --out") from error
        self._timing = pa.ipc.new_stream(self._timing_sink, _TIMING, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True))
        names = [spec.name for spec in federation.specs]
        self._index = {name: i for i, name in enumerate(names)}
        self._names = _strings(names)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, name="recorder", daemon=True)
        self._thread.start()

    def vector(self, federate: str, port: Port, t_ns: int, sample: Sample) -> None:
        """Keep one sample of a recorded port."""
        self._raise_if_failed()
        stream = self._vectors.get((federate, port.name))
        if stream is None:
            with self._lock:
                stream = _VectorStream(self.run_dir / "signals" / f"{federate}.{port.name}.arrows", federate, port)
                self._vectors[federate, port.name] = stream
        stream.rows.append((t_ns, sample))

    def document(self, federate: str, port: Port, document: Document) -> None:
        """Write one version of a document; a TBLM goes to the file of its bus."""
        self._raise_if_failed()
        if port.name == "tblm":
            path = self.run_dir / "tblm" / f"{quote(port.ids[0] if port.ids else federate, safe=' ')}.jsonl"
        else:
            path = self.run_dir / "documents" / port.name / f"{federate}.jsonl"
        with self._lock:
            if path not in self._documents:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._documents[path] = path.open("w", encoding="utf-8")
            self._documents[path].write(
                f'{{"federate":{json.dumps(federate)},"t_ns":{document.t_ns},"version":{document.version},"document":{document.text}}}\n'
            )

    def event(self, event: Event) -> None:
        """Write one event."""
        self._raise_if_failed()
        row = {"t_ns": event.t_ns, "source": event.source, "seq": event.seq, "payload": event.payload}
        with self._lock:
            self._events.write(canonical_json(row) + "\n")

    def call(self, federate: str, t_ns: int, started_ns: int, compute_ns: int) -> None:
        """Keep how long one call of a federate took."""
        self._calls.append((federate, t_ns, started_ns, compute_ns))

    def flush(self) -> None:
        """Write everything kept so far to the files."""
        with self._lock:
            for stream in self._vectors.values():
                stream.flush()
            for file in (self._events, *self._documents.values()):
                file.flush()
            calls = [self._calls.popleft() for _ in range(len(self._calls))]
            if calls:
                index = _array(np.array([self._index[name] for name, *_ in calls], np.int32))
                names = pa.DictionaryArray.from_arrays(index, self._names)
                numbers = [_array(np.array([call[k] for call in calls], np.int64)) for k in (1, 2, 3)]
                self._timing.write_batch(pa.record_batch([names, *numbers], schema=_TIMING))
                self._timing_sink.flush()

    def close(self) -> None:
        """Write the rest and close every file; RecordError when something could not be written."""
        self._ended.set()
        self._thread.join()
        self._raise_if_failed()
        try:
            self.flush()
            for stream in self._vectors.values():
                stream.close()
            for file in (self._events, *self._documents.values()):
                file.close()
            self._timing.close()
            self._timing_sink.close()
        except OSError as error:
            self._failed = error
            self._raise_if_failed()

    def _flush_regularly(self) -> None:
        while not self._ended.wait(FLUSH_S):
            try:
                self.flush()
            except OSError as error:
                self._failed = error
                return

    def _raise_if_failed(self) -> None:
        if self._failed:
            raise RecordError(f"{self.run_dir}: cannot write the records: {self._failed}; free space or choose another --out")


def read_stream(path: Path) -> pa.Table:
    """The rows of an Arrow stream, however it ended: the whole batches of a torn file are read, the rest is left out."""
    batches: list[pa.RecordBatch] = []
    with pa.OSFile(str(path), "rb") as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            return pa.table({})
        with contextlib.suppress(pa.ArrowInvalid, OSError):  # the writer was killed in the middle of a batch
            batches.extend(reader)
        return pa.Table.from_batches(batches, reader.schema)


def merge(run_dir: Path) -> None:
    """Turn what the processes left into the canonical form. May be called again: what is merged already stays."""
    for path in [*sorted((run_dir / "signals").glob("*.arrows")), *sorted((run_dir / "hil").glob("*.arrows"))]:
        _to_parquet(read_stream(path), path.with_suffix(".parquet"))
        path.unlink()
    timing = sorted((run_dir / "timing").glob("*.arrows"))
    if timing:
        tables = [table for path in timing if (table := read_stream(path)).num_rows]
        if tables:
            plain = [table.set_column(0, "federate", table.column("federate").cast(pa.string())) for table in tables]
            whole = pa.concat_tables(plain).sort_by([("t_ns", "ascending"), ("federate", "ascending"), ("started_ns", "ascending")])
            if (t0_ns := read_t0_ns(run_dir)) is not None:
                late = whole.column("started_ns").to_numpy() - whole.column("t_ns").to_numpy() - t0_ns
                whole = whole.append_column("lateness_ns", _array(late))
            _to_parquet(whole, run_dir / "timing.parquet")
        _remove(timing, run_dir / "timing")
    events = sorted((run_dir / "events").glob("*.jsonl"))
    if events:
        whole_path, partial = run_dir / "events.jsonl", run_dir / "events.jsonl.part"
        before = [whole_path] if whole_path.exists() else []  # of a merge that was interrupted
        by_order = {(row["t_ns"], row["source"], row["seq"]): row for path in (*before, *events) for row in _lines(path)}
        partial.write_text("".join(canonical_json(by_order[key]) + "\n" for key in sorted(by_order)), encoding="utf-8")
        partial.replace(whole_path)
        _remove(events, run_dir / "events")


def _to_parquet(table: pa.Table, path: Path) -> None:
    if table.num_columns:
        pq.write_table(table.combine_chunks(), path, compression="zstd")  # the same bytes however often it was flushed


def _remove(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        path.unlink()
    folder.rmdir()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file; a torn last line is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


class MemoryRecorder:
    """A recorder for tests and notebooks: keeps everything in lists."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], list[tuple[int, Sample]]] = {}
        self.documents: dict[tuple[str, str], list[Document]] = {}
        self.events: list[Event] = []
        self.calls: list[tuple[str, int]] = []

    def vector(self, federate: str, port: Port, t_ns: int, sample: Sample) -> None:
        """Keep one sample."""
        self.samples.setdefault((federate, port.name), []).append((t_ns, sample))

    def document(self, federate: str, port: Port, document: Document) -> None:
        """Keep one version of a document."""
        self.documents.setdefault((federate, port.name), []).append(document)

    def event(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)

    def call(self, federate: str, t_ns: int, started_ns: int, compute_ns: int) -> None:
        """Keep that a federate was called, without the time that it took."""
        self.calls.append((federate, t_ns))
