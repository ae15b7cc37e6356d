"""What the resources on the feeders did: DER and storage output, and how much of the metering was heard from."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from monitor.figures.lines import Clock, held, line, lines_or_band, time_plot
from monitor.figures.style import COLOURS, engineering, legend
from monitor.page import Section, heading, paragraph
from monitor.results import Results


def der_section(results: Results, clock: Clock) -> Section | None:
    """Output of every DER federate: those that publish both `available_w` or `soc_wh`, and `p_w`."""
    federates = {results.layouts[name].federate for port in ("available_w", "soc_wh") for name in results.find(port)}
    blocks: list[Any] = []
    for federate in sorted(federates):
        if f"{federate}.p_w" in results.layouts:
            blocks += _output(results, clock, federate)
        if f"{federate}.status" in results.layouts:
            blocks += _status(results, clock, federate)
        if f"{federate}.soc_wh" in results.layouts:
            blocks += _storage(results, clock, federate)
    return Section("der", "DER and storage", blocks) if blocks else None


def _output(results: Results, clock: Clock, federate: str) -> list[Any]:
    p = results.vector(f"{federate}.p_w")
    storage = _storage_ids(results, federate)
    stores = np.array([name in storage for name in p.layout.columns])
    totals = {"PV": np.nansum(p.values[:, ~stores], axis=1), "storage": np.nansum(p.values[:, stores], axis=1)}
    available = results.vector(f"{federate}.available_w") if f"{federate}.available_w" in results.layouts else None
    possible = np.nansum(available.values[:, ~stores], axis=1) if available else np.zeros(1)
    divisor, prefix = engineering(float(max(np.abs(total).max(initial=0.0) for total in (*totals.values(), possible))))
    fig = time_plot(clock, f"active power ({prefix}W)")
    if available and not stores.all():
        line(fig, clock, available.t_s, possible / divisor, "available to PV", COLOURS[5], "dashed")
    for (name, total), count, colour in zip(totals.items(), ((~stores).sum(), stores.sum()), COLOURS, strict=False):
        if count:
            line(fig, clock, p.t_s, total / divisor, f"{count} {name}", colour, width=2.0)
    legend(fig)
    blocks: list[Any] = [
        heading(f"{federate}: active power"),
        paragraph(
            "Generation is positive, charging negative. Output under the dashed line was held back, by volt-watt, frequency droop "
            "or a limit, or was lost to a trip; a slow ramp is a DER that enters service again."
        ),
        fig,
    ]
    if f"{federate}.q_var" in results.layouts:
        q = results.vector(f"{federate}.q_var")
        total_q = np.nansum(q.values, axis=1)
        divisor, prefix = engineering(float(np.abs(total_q).max(initial=0.0)))
        fig = time_plot(clock, f"reactive power ({prefix}var)", height=220)
        line(fig, clock, q.t_s, total_q / divisor, "Q of all DER", COLOURS[2], width=2.0)
        legend(fig)
        blocks += [
            heading(f"{federate}: reactive power together"),
            paragraph(
                "Positive raises the voltage (injection), negative lowers it: the volt-var answer to the voltage at the terminals."
            ),
            fig,
        ]
    return blocks


def _storage_ids(results: Results, federate: str) -> frozenset[str]:
    """The DER that ever hold energy: PV reports 0."""
    if f"{federate}.soc_wh" not in results.layouts:
        return frozenset()
    soc = results.vector(f"{federate}.soc_wh")
    holds = (np.nan_to_num(soc.values) != 0.0).any(axis=0)
    return frozenset(name for name, yes in zip(soc.layout.columns, holds, strict=True) if yes)


def _status(results: Results, clock: Clock, federate: str) -> list[Any]:
    status = results.vector(f"{federate}.status")
    codes = np.unique(status.values[np.isfinite(status.values)])
    words = {float(code): word.replace("_", " ") for code, word in re.findall(r"(\d+) ([A-Za-z_]+)", status.layout.port.doc)}
    fig = time_plot(clock, "number of DER", height=200, y_range=(0.0, 1.15 * status.values.shape[1]))
    for k, code in enumerate(codes):
        count = (status.values == code).sum(axis=1).astype(np.float64)
        line(fig, clock, *held(status.t_s, count, clock.end_s), words.get(code, f"status {code:g}"), COLOURS[k % len(COLOURS)])
    legend(fig)
    return [
        heading(f"{federate}: how many DER are in which status"),
        paragraph("A step marks a trip, or a DER that enters service again."),
        fig,
    ]


def _storage(results: Results, clock: Clock, federate: str) -> list[Any]:
    soc = results.vector(f"{federate}.soc_wh")
    names = sorted(_storage_ids(results, federate))
    if not names:
        return []
    values = soc.values[:, [soc.layout.columns.index(name) for name in names]]
    divisor, prefix = engineering(float(np.nanmax(np.abs(values))))
    fig = time_plot(clock, f"stored energy ({prefix}Wh)", height=220)
    lines_or_band(fig, clock, soc.t_s, values / divisor, names, "batteries")
    legend(fig)
    return [heading(f"{federate}: energy in storage"), paragraph("Falls while a battery supplies, rises while it charges."), fig]


def meter_section(results: Results, clock: Clock) -> Section | None:
    """Share of meters from which a reading has arrived, as each AMI federate reports it."""
    blocks: list[Any] = []
    for name in results.find("coverage"):
        vector = results.vector(name)
        percent = vector.values * (1.0 if vector.layout.port.unit == "%" else 100.0)
        if not np.isfinite(percent).any():
            continue
        fig = time_plot(clock, "meters heard from (%)", height=240, y_range=(0.0, 104.0))
        lines_or_band(fig, clock, *held(vector.t_s, percent, clock.end_s), vector.layout.columns, "groups of meters")
        legend(fig)
        last = percent[-1][np.isfinite(percent[-1])]
        blocks += [
            heading(f"{vector.layout.federate}: coverage"),
            paragraph(
                "Share of meters of which a reading was delivered in time. It begins low, since nothing may be used before it was "
                "delivered; good is a line that stays near 100 %. What is missing is estimated, and marked so."
                + (
                    f" At the end: {last.min():.1f} % to {last.max():.1f} %."
                    if last.size > 1
                    else f" At the end: {last[0]:.1f} %."
                    if last.size
                    else ""
                )
            ),
            fig,
        ]
    return Section("meters", "Meter coverage", blocks) if blocks else None
