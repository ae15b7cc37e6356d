"""A run directory as pandas frames: `load(run_dir)`, in a notebook or for the report.

Everything is read when it is asked for, so that a run with thousands of nodes opens at once. A run that was killed, and was
therefore never merged into its final form, reads like one that ended well, up to its last flush.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from federates.runtime.port import Floats, Port, canonical_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from federates.tblm.model import Tblm

_TRACES = ("meta.json", "signals", "timing", "timing.parquet", "events", "events.jsonl")
_METADATA_KEY = b"gridtandem"


class NotARunError(ValueError):
    """The directory does not exist or holds nothing that a run leaves behind."""


class NoSuchRecordError(LookupError):
    """The run recorded no signal, bus or document of that name; the message lists what it did record."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a recorded signal is: who published it, and the port with its unit, ids and doc."""

    federate: str
    port: Port

    @property
    def columns(self) -> tuple[str, ...]:
        """The ids, or the port's name for a scalar."""
        return self.port.ids or (self.port.name,)


@dataclass(frozen=True, slots=True)
class Vector:
    """A signal as arrays: `t_ns` int64 [k] of publication, `values` float64 [k, n] in the layout's unit and order of ids."""

    layout: Layout
    t_ns: NDArray[np.int64]
    values: Floats

    @property
    def t_s(self) -> Floats:
        """Time of publication in seconds, float64 [k]."""
        return self.t_ns / 1e9


@dataclass(frozen=True, slots=True)
class RecordedDocument:
    """One version of a document as it was published: `document` is the parsed JSON, `version` counts from 1."""

    federate: str
    t_ns: int
    version: int
    document: Any


def load(run_dir: Path | str) -> Results:
    """Open a run directory. NotARunError when it is none."""
    path = Path(run_dir)
    if not path.is_dir():
        raise NotARunError(f"{path}: there is no such directory; name a run directory, as printed at the end of a run")
    if not any((path / trace).exists() for trace in _TRACES):
        raise NotARunError(f"{path}: this is not a run directory: it has none of {', '.join(_TRACES)}; name one under runs/")
    return Results(path)


class Results:
    """The records of one run. Made by `load`; a notebook's way in.

    Times are simulated; frames are indexed by seconds (`t_s`), arrays carry the exact nanoseconds.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._tblms: dict[str, list[Tblm]] = {}

    def __repr__(self) -> str:
        return f"Results({self.run_dir.name}: {len(self.signals)} signals, TBLMs of {len(self.buses)} buses)"

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """What the run says about itself (`meta.json`); empty for a run that was killed before it could write it."""
        path = self.run_dir / "meta.json"
        if not path.exists():
            return {}
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return {"cause": f"meta.json cannot be read ({error}): the run was killed while writing it"}
        return meta if isinstance(meta, dict) else {"cause": "meta.json holds no JSON object"}

    @property
    def nominal_hz(self) -> float | None:
        """Nominal frequency of the system, as the run states it; None for a run without one."""
        nominal = self.meta.get("nominal_hz")
        return float(nominal) if isinstance(nominal, int | float) else None

    # ---- signals

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """Every recorded signal, by `federate.port`, in order of name. Reads schemas, not values."""
        found = {name: _read_layout(path) for name, path in self._signal_paths.items()}
        return {name: layout for name, layout in found.items() if layout is not None}

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the recorded signals, `federate.port`."""
        return tuple(self.layouts)

    def signal(self, name: str) -> pd.DataFrame:
        """Values of a signal: index `t_s` (seconds of publication), a column per id, attrs unit, doc and federate.

        One row an instant: where a federate published twice (its start and its first step), the last. `matrix` has every row.
        """
        return self._frame(self._layout(name), *self._last_of_instants(name, "values"))

    def quality(self, name: str) -> pd.DataFrame:
        """Quality bits (`federates.runtime.port.Quality`) of a signal, uint16, in the shape of `signal(name)`."""
        return self._frame(self._layout(name), *self._last_of_instants(name, "quality"))

    def measured_at(self, name: str) -> pd.DataFrame:
        """When each value of a signal was measured, in seconds, in the shape of `signal(name)`."""
        t_ns, measured_ns = self._last_of_instants(name, "t_meas_ns")
        return self._frame(self._layout(name), t_ns, measured_ns / 1e9)

    def vector(self, name: str) -> Vector:
        """Values of a signal as arrays for a figure: of several rows of one instant (a start and a step) the last.

        NoSuchRecordError for an unknown name.
        """
        return Vector(self._layout(name), *self._last_of_instants(name, "values"))

    def matrix(self, name: str, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """`t_ns` [k] and one recorded column [k, n] of a signal: `values`, `quality` or `t_meas_ns`, bit for bit."""
        size = self._layout(name).port.size
        table = _read_table(self._signal_paths[name], ["t_ns", column])
        parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table.column(column).chunks]
        flat = np.concatenate(parts) if parts else np.empty(0, table.schema.field(column).type.value_type.to_pandas_dtype())
        return table.column("t_ns").to_numpy(), flat.reshape(-1, size)

    def _last_of_instants(self, name: str, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        t_ns, values = self.matrix(name, column)
        last = np.append(t_ns[1:] != t_ns[:-1], np.ones(min(len(t_ns), 1), bool))
        return t_ns[last], values[last]

    def times_ns(self, name: str) -> NDArray[np.int64]:
        """Times of publication of a signal, int64 [k], without its values."""
        self._layout(name)
        return np.asarray(_read_table(self._signal_paths[name], ["t_ns"]).column("t_ns").to_numpy(), np.int64)

    def find(self, port: str, unit: str | None = None) -> tuple[str, ...]:
        """Names of the signals whose port has this name (and unit), whichever federate published them."""
        return tuple(
            name for name, layout in self.layouts.items() if layout.port.name == port and (unit is None or layout.port.unit == unit)
        )

    @cached_property
    def _signal_paths(self) -> Mapping[str, Path]:
        folder = self.run_dir / "signals"
        # merge removes a stream only after its Parquet file is complete: where both exist, the stream is the one to trust
        merged = {path.name.removesuffix(".parquet"): path for path in folder.glob("*.parquet")}
        streams = {path.name.removesuffix(".arrows"): path for path in folder.glob("*.arrows")}
        return dict(sorted({**merged, **streams}.items()))

    def _layout(self, name: str) -> Layout:
        if name not in self.layouts:
            raise NoSuchRecordError(f"{self.run_dir}: no signal '{name}' was recorded; there are {_some(self.signals)}")
        return self.layouts[name]

    @staticmethod
    def _frame(layout: Layout, t_ns: NDArray[np.int64], values: NDArray[Any]) -> pd.DataFrame:
        import pandas as pd

        frame = pd.DataFrame(values, index=pd.Index(t_ns / 1e9, name="t_s"), columns=list(layout.columns))
        frame.attrs.update(unit=layout.port.unit, doc=layout.port.doc, federate=layout.federate)
        return frame

    # ---- events, documents, timing

    def event_rows(self) -> list[dict[str, Any]]:
        """Events in the order of (t_ns, source, seq), each {t_ns, source, seq, payload}."""
        return list(self._events)

    @cached_property
    def _events(self) -> tuple[dict[str, Any], ...]:
        merged = self.run_dir / "events.jsonl"
        paths = [merged] if merged.exists() else []
        paths += sorted((self.run_dir / "events").glob("*.jsonl"))
        # a merge that was interrupted leaves rows in both forms; (t_ns, source, seq) names an event
        rows = {(row["t_ns"], row["source"], row["seq"]): row for path in paths for row in read_lines(path)}
        return tuple(rows[key] for key in sorted(rows))

    def events(self) -> pd.DataFrame:
        """The sequence of events: index `t_s`, columns t_ns, source, seq, payload (a dict)."""
        import pandas as pd

        frame = pd.DataFrame(self.event_rows(), columns=["t_ns", "source", "seq", "payload"])
        frame.index = pd.Index(frame["t_ns"].astype("int64") / 1e9, name="t_s")
        return frame

    @cached_property
    def buses(self) -> tuple[str, ...]:
        """Buses for which TBLMs were published."""
        return tuple(sorted(unquote(path.stem) for path in (self.run_dir / "tblm").glob("*.jsonl")))

    def tblms(self, bus: str) -> list[Tblm]:
        """Every TBLM published for a bus, oldest first. NoSuchRecordError for a bus without any, TblmError for a foreign schema."""
        from federates.tblm.model import from_json

        if bus not in self._tblms:
            texts = [canonical_json(recorded.document) for recorded in self.tblm_documents(bus)]
            self._tblms[bus] = [from_json(text) for text in texts]
        return self._tblms[bus]

    def tblm_documents(self, bus: str) -> list[RecordedDocument]:
        """Every TBLM published for a bus as plain JSON, whatever its schema. NoSuchRecordError for a bus without any."""
        if bus not in self.buses:
            raise NoSuchRecordError(f"{self.run_dir}: no TBLM was published for bus '{bus}'; there are {_some(self.buses)}")
        return _read_documents(self.run_dir / "tblm" / f"{quote(bus, safe=' ')}.jsonl")

    @cached_property
    def document_ports(self) -> Mapping[str, tuple[str, ...]]:
        """The other documents: port -> federates that published it."""
        ports: dict[str, tuple[str, ...]] = {}
        for path in sorted((self.run_dir / "documents").glob("*/*.jsonl")):
            ports[path.parent.name] = (*ports.get(path.parent.name, ()), path.stem)
        return ports

    def documents(self, port: str, federate: str) -> list[RecordedDocument]:
        """Every version of a document, oldest first. NoSuchRecordError when this federate published none."""
        if federate not in self.document_ports.get(port, ()):
            have = [f"{p} of {f}" for p, federates in self.document_ports.items() for f in federates]
            raise NoSuchRecordError(f"{self.run_dir}: no document {port} of {federate} was recorded; there are {_some(have)}")
        return _read_documents(self.run_dir / "documents" / port / f"{federate}.jsonl")

    def timing(self) -> pd.DataFrame:
        """One row a call of a federate: federate, t_ns (simulated), started_ns (wall, arbitrary origin), compute_ns."""
        import pandas as pd
        import pyarrow as pa

        streams = sorted((self.run_dir / "timing").glob("*.arrows"))
        paths = streams or [path for path in [self.run_dir / "timing.parquet"] if path.exists()]
        names = ["federate", "t_ns", "started_ns", "compute_ns"]
        tables = [table for path in paths if (table := _read_table(path, names)).num_rows]
        if not tables:
            return pd.DataFrame(columns=names)
        plain = [table.set_column(0, "federate", table.column("federate").cast(pa.string())) for table in tables]
        return pa.concat_tables(plain).to_pandas().sort_values(["t_ns", "federate", "started_ns"], ignore_index=True)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file; the last line of a killed run, when torn, is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _read_documents(path: Path) -> list[RecordedDocument]:
    return [RecordedDocument(row["federate"], row["t_ns"], row["version"], row["document"]) for row in read_lines(path)]


def _read_layout(path: Path) -> Layout | None:
    """The layout in a record's schema; None for a stream that was killed before its schema reached the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        schema = pq.read_schema(path)
    else:
        with pa.OSFile(str(path), "rb") as source:
            try:
                schema = pa.ipc.open_stream(source).schema
            except pa.ArrowInvalid:
                return None
    text = json.loads(schema.metadata[_METADATA_KEY])
    return Layout(text["federate"], Port(text["port"], text["unit"], tuple(text["ids"]), text["doc"]))


def _read_table(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow.parquet as pq

    from federates.runtime.record import read_stream

    if path.suffix == ".parquet":
        return pq.read_table(path, columns=columns)
    table = read_stream(path)
    return table.select(columns) if table.num_columns else table


def _some(names: tuple[str, ...] | list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
