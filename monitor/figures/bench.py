"""Real devices: how punctual and quick the exchanges were, what was commanded, how good the readings were, what the clocks said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federates.runtime.pace import read_t0_ns
from federates.runtime.record import read_stream
from monitor.figures.lines import Clock, line, time_plot
from monitor.figures.style import COLOURS, draw, from_zero, hover, plot, single
from monitor.page import Section, heading, paragraph, table
from monitor.results import Results

if TYPE_CHECKING:
    import pandas as pd

_CYCLES = ("poll", "shown")
_COMMANDS = ("command", "follow", "fallback", "served")
_MOST_COMMANDS = 200
_BINS = 60


@dataclass(frozen=True)
class DeviceRecord:
    """The exchanges of one device, and what its gatekeeper said of it."""

    name: str
    facts: dict[str, Any]
    rows: pd.DataFrame


def records(results: Results) -> list[DeviceRecord]:
    """What the gatekeepers of a run left, merged or not, by name."""
    import pyarrow.parquet as pq

    found = []
    folder = results.run_dir / "hil"
    for path in [*sorted(folder.glob("*.exchanges.parquet")), *sorted(folder.glob("*.exchanges.arrows"))]:
        read = pq.read_table(path) if path.suffix == ".parquet" else read_stream(path)
        if read.num_rows:
            facts = json.loads((read.schema.metadata or {}).get(b"gridtandem", b"{}"))
            found.append(DeviceRecord(str(facts.get("device", path.name.split(".")[0])), facts, read.to_pandas()))
    return found


def section(results: Results, clock: Clock) -> Section | None:
    """Tables, histograms and quality of all devices."""
    devices = records(results)
    if not devices:
        return None
    mode = results.meta.get("devices") or {}
    who = f", armed by {mode['operator']}" if mode.get("operator") else ""
    blocks: list[Any] = [
        paragraph(
            f"{len(devices)} devices, {mode.get('mode', 'mode unknown')}{who}. Each has a grid of instants of its own, kept by the "
            "kernel; an instant that was missed is an overrun and is counted. The octets are in hil/*.pcap, audit logs in audit/."
        ),
        table(_HEADERS, [_device_row(device) for device in devices], numeric=range(4, 14)),
        paragraph(_PRIORITY),
        heading("Lateness of the instants of the grid"),
        *_histograms(devices, "lateness_ns", "lateness (ms)"),
        heading("Latency of a cycle: everything read or shown once"),
        *_histograms(devices, "round_trip_ns", "latency (ms)"),
    ]
    blocks += _commands(devices)
    blocks += [
        heading("Quality of the readings"),
        paragraph(
            "Part of a device's values with no quality flag set, in per cent; values are STALE or LOST while it is not heard."
        ),
        _quality(devices, clock),
    ]
    blocks += _clocks(devices)
    blocks += _federation(results)
    return Section("bench", "Real devices", blocks)


_PRIORITY = (
    "Priority: what the machine let the device's gatekeeper have. An ordinary process waits its turn beside others that compute, "
    "and so does a fallback: where that must not be, allow it real time (CAP_SYS_NICE, or `ulimit -r 1`)."
)
_HEADERS = (
    "Device", "Role", "Address", "Priority", "Period (ms)", "Cycles", "Overruns", "Lateness p50 (ms)", "p99", "max",
    "Latency p50 (ms)", "p99", "max", "Cycles that failed",
)  # fmt: skip


def _device_row(device: DeviceRecord) -> list[str]:
    cycles = device.rows[device.rows.kind.isin(_CYCLES)]
    stand_in = " (stand-in)" if device.facts.get("stand_in") else ""
    address = "in this run" if device.facts.get("stand_in") else str(device.facts.get("address", ""))
    who = [device.name + stand_in, str(device.facts.get("role", "")), address, str(device.facts.get("rank") or "not recorded")]
    head = [*who, f"{device.facts.get('period_ns', 0) / 1e6:g}"]
    overruns = int(device.rows.overruns.max()) if len(device.rows) else 0
    failed = int((cycles.outcome != "ok").sum())
    return [
        *head,
        f"{len(cycles):,}",
        f"{overruns:,}",
        *_spread(cycles, "lateness_ns"),
        *_spread(cycles, "round_trip_ns"),
        f"{failed:,}",
    ]


def _spread(rows: pd.DataFrame, column: str) -> list[str]:
    if rows.empty:
        return ["", "", ""]
    ms = rows[column].to_numpy() / 1e6
    return [f"{np.percentile(ms, 50):.2f}", f"{np.percentile(ms, 99):.2f}", f"{ms.max():.2f}"]


def _histograms(devices: list[DeviceRecord], column: str, label: str) -> list[Any]:
    """One histogram a device, on a logarithmic axis of milliseconds."""
    from bokeh.models.glyphs import Quad

    figures = []
    for k, device in enumerate(devices):
        ms = device.rows[device.rows.kind.isin(_CYCLES)][column].to_numpy() / 1e6
        ms = np.maximum(ms[np.isfinite(ms)], 1e-3)
        if not ms.size:
            continue
        edges = np.geomspace(ms.min() * 0.9, ms.max() * 1.1, _BINS)
        counts, _ = np.histogram(ms, edges)
        fig = plot("cycles", f"{device.name}: {label}", height=200, x_axis_type="log", y_range=from_zero())
        quad = Quad(
            left="left", right="right", top="n", bottom=0, fill_color=COLOURS[k % len(COLOURS)], line_color=None, fill_alpha=0.85
        )
        drawn = draw(fig, quad, {"left": single(edges[:-1]), "right": single(edges[1:]), "n": single(counts.astype(float))})
        hover(fig, [drawn], (label, "@left{0.000} to @right{0.000}"), ("cycles", "@n{0}"))
        figures.append(fig)
    return figures


def _commands(devices: list[DeviceRecord]) -> list[Any]:
    rows = []
    for device in devices:
        names = device.facts.get("points", [])
        some = device.rows[device.rows.kind.isin(_COMMANDS)]
        for row in some.to_dict("records"):
            points = ", ".join(names[i] if i < len(names) else str(i) for i in row["points"])
            values = ", ".join(f"{value:g}" for value in row["values"])
            cells = [f"{row['t_ns'] / 1e9:.3f}", device.name, row["kind"], points, values, row["outcome"]]
            rows.append((row["t_ns"], row["kind"], [*cells, f"{row['round_trip_ns'] / 1e6:.2f}"]))
    if not rows:
        return []
    followed = sum(kind == "follow" for _, kind, _ in rows)
    shown = [cells for _, kind, cells in sorted(rows, key=lambda row: row[0]) if kind != "follow"]
    return [
        heading("Commands and their round trips"),
        paragraph(
            f"{len(shown)} commands; {followed} set-points that follow the simulation are left out here. A round trip ends with "
            "the device's answer: a select and an operate where the point asks for both, and the reading back of a register."
        ),
        table(
            ("t (s)", "Device", "Kind", "Point", "Value", "Outcome", "Round trip (ms)"), shown, numeric=(0, 6), limit=_MOST_COMMANDS
        ),
    ]


def _quality(devices: list[DeviceRecord], clock: Clock) -> Any:
    fig = time_plot(clock, "good values (%)", height=220, y_range=(-5, 105))
    for k, device in enumerate(devices):
        cycles = device.rows[device.rows.kind.isin(_CYCLES) & (device.rows.t_ns > 0)]
        cycles = cycles.drop_duplicates("t_ns")  # polls go on for a moment after the run, and are no part of it
        shares = np.array([100.0 * np.mean(np.asarray(q) == 0) if len(q) else np.nan for q in cycles.quality])
        known = np.isfinite(shares)
        if known.any():
            line(fig, clock, cycles.t_ns.to_numpy()[known] / 1e9, shares[known], device.name, COLOURS[k % len(COLOURS)])
    return fig


def _clocks(devices: list[DeviceRecord]) -> list[Any]:
    rows = []
    for device in devices:
        known = device.rows[device.rows.clock_uncertainty_ns >= 0]
        if known.empty:
            rows.append([device.name, _no_clock(device.facts), ""])
        else:
            last = known.iloc[-1]
            rows.append([device.name, f"{last.clock_offset_ns / 1e6:+.2f}", f"{last.clock_uncertainty_ns / 1e6:.2f}"])
    note = (
        "How far a device's clock is ahead of this machine's, from requests of its time (DNP3) or the row of the map that is its "
        "clock (Modbus) and their round trips; the true offset lies within the uncertainty."
    )
    return [heading("Clocks"), paragraph(note), table(("Device", "Offset (ms)", "Uncertainty (ms)"), rows, numeric=(1, 2))]


def _no_clock(facts: dict[str, Any]) -> str:
    """Why there is no offset."""
    role = facts.get("role")
    if role in ("outstation", "server"):
        return "no clock of its own: played here"
    if role == "client":
        return f"no clock: {facts['clock']} was never read" if facts.get("clock") else "no clock: its map marks no row as one"
    return "no clock: it did not tell its time when asked"


def _federation(results: Results) -> list[Any]:
    """How well the simulation itself kept to the clock on the wall."""
    timing, t0_ns = results.timing(), read_t0_ns(results.run_dir)
    if t0_ns is None or timing.empty:
        return []
    timing["lateness_ns"] = timing.started_ns - timing.t_ns - t0_ns
    stop_ns = results.meta.get("stop_ns", 2**62)
    during = timing[(timing.t_ns > 0) & (timing.t_ns < stop_ns)]
    rows = [[name, f"{len(part):,}", *_spread(part, "lateness_ns")] for name, part in during.groupby("federate")]
    note = "How late each call began against the clock on the wall. Federates of one process are called one after the other."
    headers = ("Federate", "Calls", "Lateness p50 (ms)", "p99", "max")
    return [heading("The simulation against the clock on the wall"), paragraph(note), table(headers, rows, numeric=range(1, 5))]
