"""The record of a device: a row per exchange, and the octets as a capture.

    hil/<device>.exchanges.arrows -> .parquet     see `SCHEMA`; `points` are indices into the names in the schema's metadata
    hil/<device>.pcap                             for Wireshark and tshark

Rows are written by a thread twice a second, so that a gatekeeper that is killed leaves what it did.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any

import pyarrow as pa

from federates.runtime.port import canonical_json
from protocols.pcap import CaptureWriter

FOLDER = "hil"
FLUSH_S = 0.5


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange with a device. Times of the wall clock are UTC, ns; `sent_ns` and `received_ns` are CLOCK_MONOTONIC.

    kind: poll, command, fallback, served (a command that a master gave us). `lateness_ns` of the grid's instant that it belongs to,
    `overruns` so far. `points`, `raw` (before scaling), `values` (after), `quality` go together, one entry a point.
    `clock_offset_ns` (the device's clock is ahead of ours by so much) is 0 with an uncertainty of -1 where no clock was read.
    """

    kind: str
    t_ns: int
    sent_ns: int
    received_ns: int
    wall_ns: int
    round_trip_ns: int
    attempt: int
    requests: int
    lateness_ns: int
    deadline_ns: int
    overruns: int
    outcome: str
    points: Sequence[int] = ()
    raw: Sequence[float] = ()
    values: Sequence[float] = ()
    quality: Sequence[int] = ()
    device_ns: Sequence[int] = ()
    clock_offset_ns: int = 0
    clock_uncertainty_ns: int = -1


_TYPES: Mapping[str, pa.DataType] = {
    "kind": pa.string(), "outcome": pa.string(), "points": pa.list_(pa.int16()), "raw": pa.list_(pa.float64()),
    "values": pa.list_(pa.float64()), "quality": pa.list_(pa.uint16()), "device_ns": pa.list_(pa.int64()),
}  # fmt: skip
SCHEMA = pa.schema([(f.name, _TYPES.get(f.name, pa.int64())) for f in fields(Exchange)])


class ExchangeRecorder:
    """Writes the exchanges and the capture of one device. `facts` go into the schema's metadata."""

    def __init__(self, run_dir: Path, device: str, facts: Mapping[str, Any]) -> None:
        folder = run_dir / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._rows: deque[Exchange] = deque()
        self._octets: deque[tuple[tuple[str, int], tuple[str, int], bytes, int]] = deque()
        self._schema = SCHEMA.with_metadata({"gridtandem": canonical_json({"device": device, **facts})})
        self._sink = pa.OSFile(str(folder / f"{device}.exchanges.arrows"), "wb")
        self._writer = pa.ipc.new_stream(self._sink, self._schema)
        self._sink.flush()
        self._pcap_file = (folder / f"{device}.pcap").open("wb")
        self._pcap = CaptureWriter(self._pcap_file)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.failed: OSError | None = None
        """Why nothing is recorded any more."""
        self._thread = threading.Thread(target=self._flush_regularly, name=f"record-{device}", daemon=True)
        self._thread.start()

    def add(self, exchange: Exchange) -> None:
        """Keep a row, unless nothing can be written any more."""
        if self.failed is None:
            self._rows.append(exchange)

    def capture(self, sender: tuple[str, int], receiver: tuple[str, int], octets: bytes, utc_ns: int) -> None:
        """Keep octets likewise."""
        if self.failed is None:
            self._octets.append((sender, receiver, octets, utc_ns))

    def flush(self) -> None:
        """Write what is kept. OSError."""
        with self._lock:
            rows = [self._rows.popleft() for _ in range(len(self._rows))]
            if rows:
                columns = zip(*(astuple(row) for row in rows), strict=True)
                arrays = [pa.array(list(column), SCHEMA.field(k).type) for k, column in enumerate(columns)]
                self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
                self._sink.flush()
            while self._octets:
                sender, receiver, octets, utc_ns = self._octets.popleft()
                self._pcap.write(_ipv4(sender), _ipv4(receiver), octets, utc_ns)
            self._pcap_file.flush()

    def close(self) -> None:
        """Write the rest."""
        self._ended.set()
        self._thread.join()
        self.flush()
        with self._lock:
            self._writer.close()
            self._sink.close()
            self._pcap.close()
            self._pcap_file.close()

    def _flush_regularly(self) -> None:
        while not self._ended.wait(FLUSH_S):
            try:
                self.flush()
            except OSError as error:
                self.failed = error
                return


def _ipv4(address: tuple[str, int]) -> tuple[str, int]:
    """The address as a capture over IPv4 can show it."""
    try:
        return str(IPv4Address(address[0])), address[1]
    except AddressValueError:
        return "0.0.0.0", address[1]
