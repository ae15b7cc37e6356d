"""Voltage of every node of a feeder against its distance from the substation, at chosen times."""

from __future__ import annotations

from typing import Any

import numpy as np

from federates.runtime.port import Floats
from monitor.figures.lines import Clock, band, time_plot
from monitor.figures.style import COLOURS, MARKERS, draw, hover, legend, plot, rule, single
from monitor.page import Section, heading, paragraph
from monitor.results import Results, Vector

_DEAD_PU = 0.1
_NAMES_UP_TO = 1500
"""Feeders with more nodes than this come without names under the pointer, to keep the page small."""


def section(results: Results, clock: Clock) -> Section | None:
    """For each feeder whose node voltages were recorded: the profile at a few times, and the range over the run."""
    blocks: list[Any] = []
    for name in results.find("node_v_pu"):
        vector = results.vector(name)
        feeder = vector.layout.federate
        live = np.where(vector.values > _DEAD_PU, vector.values, np.nan)
        if not np.isfinite(live).any():
            continue
        catalogue = results.documents("catalogue", feeder) if feeder in results.document_ports.get("catalogue", ()) else []
        if catalogue:
            blocks += _profile(feeder, vector, live, catalogue[-1].document)
        blocks += [
            heading(f"{feeder}: all node voltages over time"),
            paragraph(
                f"Lowest, mean and highest voltage over the {vector.layout.port.size} nodes of the feeder. Good is inside 0.95 to "
                "1.05 pu (ANSI C84.1 range A, dashed)."
            ),
        ]
        fig = time_plot(clock, "node voltage (pu)", height=240)
        band(fig, clock, vector.t_s, live, f"{vector.layout.port.size} nodes", COLOURS[0])
        _limits(fig)
        legend(fig)
        blocks.append(fig)
    return Section("profile", "Voltage along the feeders", blocks) if blocks else None


def _profile(feeder: str, vector: Vector, live: Floats, catalogue: dict[str, Any]) -> list[Any]:
    from bokeh.models.glyphs import Scatter

    where = dict(zip(catalogue["node_names"], catalogue["node_distance_m"], strict=True))
    distance_km = np.array([where.get(node, np.nan) for node in vector.layout.columns], np.float64) / 1e3
    rows = _chosen(live)
    fig = plot("node voltage (pu)", "distance from the substation (km)", height=340)
    for k, (row, word) in enumerate(rows):
        shown = np.isfinite(live[row]) & np.isfinite(distance_km)
        columns: dict[str, Any] = {"x": single(distance_km[shown]), "y": single(live[row][shown])}
        tips = [("distance", "@x{0.00} km"), ("voltage", "@y{0.0000} pu")]
        if shown.sum() <= _NAMES_UP_TO:
            columns["node"] = [node for node, yes in zip(vector.layout.columns, shown, strict=True) if yes]
            tips.insert(0, ("node", "@node"))
        dot = Scatter(
            x="x",
            y="y",
            marker=MARKERS[k],
            fill_color=COLOURS[k],
            line_color=COLOURS[k],
            fill_alpha=0.65,
            line_alpha=0.65,
            size=5 if shown.sum() < 2000 else 3,
        )
        drawn = draw(fig, dot, columns, f"{word}: t = {vector.t_s[row]:.0f} s")
        hover(fig, [drawn], *tips)
    _limits(fig)
    legend(fig)
    dead = int((~np.isfinite(live[rows[-1][0]])).sum())
    return [
        heading(f"{feeder}: voltage against distance"),
        paragraph(
            "Each dot is one node (a phase of a bus). A feeder that only feeds falls from left to right; steps up are regulators "
            "and capacitors, a rise towards the end is generation. Good is inside the dashed band of 0.95 to 1.05 pu."
            + (f" At the last of these times {dead} nodes are without voltage and not shown." if dead else "")
        ),
        fig,
    ]


def _chosen(live: Floats) -> list[tuple[int, str]]:
    """Rows worth a look, in order of time: the first and last with voltages, and those of the lowest and highest node voltage."""
    alive = np.flatnonzero(np.isfinite(live).any(axis=1))
    lowest = int(np.unravel_index(np.nanargmin(live), live.shape)[0])
    highest = int(np.unravel_index(np.nanargmax(live), live.shape)[0])
    words: dict[int, str] = {}
    for row, word in ((lowest, "lowest node"), (highest, "highest node"), (int(alive[0]), "start"), (int(alive[-1]), "end")):
        words.setdefault(row, word)
    return sorted(words.items())


def _limits(fig: Any) -> None:
    for value in (0.95, 1.05):
        rule(fig, value, "width")
