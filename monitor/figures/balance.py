"""An areas system over time: what was lost, what answered, what was shed, and what embedded generation took away."""

from __future__ import annotations

from typing import Any

import numpy as np

from monitor.figures.lines import Clock, at_least, held, line, time_plot
from monitor.figures.style import COLOURS, engineering, legend
from monitor.page import Section, heading, paragraph, table
from monitor.results import Results

_SHOWN = (
    ("response_p_w", "response on top of the schedule"),
    ("relief_p_w", "relief by load shedding, net of generation lost with it"),
    ("embedded_lost_p_w", "embedded generation tripped"),
)


def section(results: Results, clock: Clock) -> Section | None:
    """Powers of each area, its extremes and what it shed; None where no areas system ran."""
    blocks: list[Any] = []
    for name in results.find("relief_p_w", "W"):
        federate = results.layouts[name].federate
        for a, area in enumerate(results.layouts[name].columns):
            blocks += _area(results, clock, federate, area, a)
        rows = _shed(results, federate)
        if rows:
            blocks += [
                heading("What was shed, and what went with it"),
                paragraph(
                    "Relief is what the system gains: the load that a stage disconnects less the generation on the same feeders. "
                    "A stage with much generation on its feeders relieves far less than its nominal share of demand."
                ),
                table(("t (s)", "what", "load (MW)", "generation lost (MW)", "relief (MW)"), rows, numeric=(0, 2, 3, 4)),
            ]
    return Section("balance", "Response, losses and shedding", blocks) if blocks else None


def drawn_section(results: Results, clock: Clock) -> Section | None:
    """What the feeders under a recorded voltage draw, bus by bus; None where no record was played."""
    blocks: list[Any] = []
    for name in results.find("load_p_w", "W"):
        federate = results.layouts[name].federate
        if f"{federate}.v_pu" not in results.layouts or f"{federate}.gen_p_w" in results.layouts:
            continue
        for port, letter, unit in (("load_p_w", "P", "W"), ("load_q_var", "Q", "var")):
            vector = results.vector(f"{federate}.{port}")
            scale, prefix = engineering(float(np.nanmax(np.abs(vector.values), initial=1.0)))
            t_s, values = held(vector.t_s, vector.values / scale, clock.end_s)
            fig = time_plot(clock, f"{letter} ({prefix}{unit})", y_range=at_least(values, 0.0))
            for k, bus in enumerate(vector.layout.columns):
                line(fig, clock, t_s, values[:, k], f"bus {bus}", COLOURS[k % len(COLOURS)])
            legend(fig)
            blocks += [heading(f"{letter} at the buses of {federate}"), fig]
    text = "Net of the generation in the feeders: a step up that stays is generation that was lost, a step down is load."
    return Section("drawn", "What the buses draw", [paragraph(text), *blocks]) if blocks else None


def _area(results: Results, clock: Clock, federate: str, area: str, a: int) -> list[Any]:
    vectors = [(results.vector(f"{federate}.{port}"), label) for port, label in _SHOWN if f"{federate}.{port}" in results.layouts]
    most = max((float(np.nanmax(np.abs(v.values[:, a]), initial=0.0)) for v, _ in vectors), default=0.0)
    if not most:
        return []
    scale, prefix = engineering(most)
    together = np.concatenate([v.values[:, a] for v, _ in vectors]) / scale
    fig = time_plot(clock, f"power ({prefix}W)", y_range=at_least(together, 0.0))
    for k, (vector, label) in enumerate(vectors):
        t_s, values = held(vector.t_s, vector.values[:, a] / scale, clock.end_s)
        line(fig, clock, t_s, values, label, COLOURS[k])
    legend(fig)
    last = {
        port: float(results.vector(f"{federate}.{port}").values[-1, a])
        for port in ("lowest_hz", "lowest_at_s", "highest_hz", "highest_at_s")
    }
    text = (
        f"Lowest {last['lowest_hz']:.3f} Hz at {last['lowest_at_s']:.2f} s, highest {last['highest_hz']:.3f} Hz at "
        f"{last['highest_at_s']:.2f} s, at every step of the computation."
    )
    return [heading(f"Area {area}"), paragraph(text), fig]


def _shed(results: Results, federate: str) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for row in results.event_rows():
        payload = row["payload"]
        if row["source"] != f"{federate}.soe" or payload.get("event") not in ("load_shed", "shed_load", "embedded_trip"):
            continue
        if payload["event"] == "load_shed":
            what, load_w, lost_w = str(payload["relay"]), float(payload["load_w"]), float(payload["embedded_w"])
        elif payload["event"] == "shed_load":
            what, load_w, lost_w = str(payload.get("cause") or "order"), float(payload["p_w"]), 0.0
        else:
            what, load_w, lost_w = str(payload["relay"]), 0.0, float(payload["p_w"])
        at_s = payload.get("t_relay_ns", row["t_ns"]) / 1e9
        rows.append((f"{at_s:.2f}", what, f"{load_w / 1e6:.0f}", f"{lost_w / 1e6:.0f}", f"{(load_w - lost_w) / 1e6:.0f}"))
    return rows
