"""What the EMS does at each scan: which TBLMs it took, and the N-1 computed with and without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monitor.figures.style import QUIET, TBLM, draw, hover, plot
from monitor.page import Html, heading, paragraph, table, tag
from monitor.results import Results

_ISLANDED = "islanded"
"""The reason that an EMS gives for a contingency without a power flow because it cuts buses off."""
_MODES = {"tblm": "its newest TBLM", "last_good": "its last good TBLM, newer ones were rejected", "constant": "constant P, Q"}


def ack_blocks(results: Results) -> list[Any]:
    """How many TBLMs of each bus were accepted and rejected, and why."""
    acks = [row["payload"] for row in results.event_rows() if row["source"].endswith(".ack") and "accepted" in row["payload"]]
    rows = []
    for bus in sorted({str(ack.get("bus", "")) for ack in acks}):
        own = [ack for ack in acks if str(ack.get("bus", "")) == bus]
        reasons = Counter(str(ack.get("reason") or "no reason given") for ack in own if not ack["accepted"])
        words = [_reason(reason, count) for reason, count in reasons.most_common()]
        rows.append([bus, sum(bool(ack["accepted"]) for ack in own), sum(reasons.values()), Html("".join(words))])
    if not rows:
        return []
    return [
        heading("TBLMs as the EMS received them"),
        paragraph("The first ones are made before any telemetry was delivered; they say so, and are not used.", css="note"),
        table(["Bus", "Accepted", "Rejected", "Why rejected"], rows, numeric=(1, 2)),
    ]


def _reason(reason: str, count: int) -> Html:
    """How often, and the reason: the first thing it says, the rest behind a click."""
    first, _, rest = reason.partition("; ")
    head = f"{count} x {first}"
    return tag("details", tag("summary", f"{head} ..."), paragraph(rest)) if rest else tag("div", head)


def scan_blocks(results: Results) -> list[Any]:
    """The last N-1 of each EMS: the contingencies in which both ways differ most."""
    blocks: list[Any] = []
    for federate in results.document_ports.get("prediction", ()):
        scans = results.documents("prediction", federate)
        if scans:
            blocks += _last_scan(federate, len(scans), scans[-1].document)
    return blocks


def _last_scan(federate: str, number: int, scan: Mapping[str, Any]) -> list[Any]:
    rows: list[tuple[float, list[str]]] = []
    pairs: list[tuple[float, float, str]] = []
    failed = islanded = 0
    for contingency in scan["contingencies"]:
        name, kind = contingency["name"], contingency["kind"]
        curves, constant = contingency["with_tblm"], contingency["with_constant"]
        if not (curves["converged"] and constant["converged"]):
            island = _ISLANDED in (curves.get("reason"), constant.get("reason"))
            islanded, failed = islanded + island, failed + (not island)
            words = ["solved" if way["converged"] else str(way.get("reason", "no solution")) for way in (curves, constant)]
            rows.append((np.inf if curves["converged"] != constant["converged"] else -1.0, [name, kind, "-", *words, "-"]))
            continue
        bus = max(curves["v_pu"], key=lambda bus: abs(curves["v_pu"][bus] - constant["v_pu"][bus]))
        v, w = curves["v_pu"][bus], constant["v_pu"][bus]
        pairs.append((v, w, name))
        rows.append((abs(v - w), [name, kind, bus, f"{v:.5f}", f"{w:.5f}", f"{1e3 * (v - w):+.3f}"]))
    rows.sort(key=lambda row: row[0], reverse=True)
    modes = [f"bus {bus}: {_MODES.get(mode, mode)}" for bus, mode in (scan.get("modes") or {}).items()]
    headers = ["Contingency", "Kind", "Bus", "V with the TBLM (pu)", "V with constant P, Q (pu)", "Difference (mpu)"]
    return [
        heading(f"The last N-1 of {federate}: where both ways differ most"),
        paragraph(
            f"Scans: {number}. The last, at t = {scan['scan_ns'] / 1e9:.2f} s, covered {len(scan['contingencies'])} contingencies"
            + (f"; {islanded} of them cut buses off (islanding), which is no power flow of one network" if islanded else "")
            + (f"; {failed} have no solution in at least one of the two ways" if failed else "")
            + (f". In use: {', '.join(modes)}" if modes else "")
            + ". Nobody knows the truth of an outage that did not happen: a difference says how much the choice matters, not who "
            "is right."
        ),
        *([_spread(pairs)] if pairs else []),
        table(headers, [cells for _, cells in rows], numeric=(3, 4, 5), limit=12),
    ]


def _spread(pairs: Sequence[tuple[float, float, str]]) -> Any:
    from bokeh.models.glyphs import Line, Scatter

    curves, constant, names = (list(column) for column in zip(*pairs, strict=True))
    fig = plot("V with the TBLM (pu)", "V with constant P, Q (pu), at the bus where both differ most", height=300)
    ends = [min(*constant, *curves), max(*constant, *curves)]
    draw(fig, Line(x="x", y="y", line_color=QUIET, line_dash="dashed"), {"x": ends, "y": ends})
    dot = Scatter(x="x", y="y", size=7, fill_color=TBLM, line_color=TBLM, fill_alpha=0.7)
    drawn = draw(fig, dot, {"x": constant, "y": curves, "name": names})
    hover(fig, [drawn], ("", "@name"), ("with the TBLM", "@y{0.0000}"), ("with constant P, Q", "@x{0.0000}"))
    return fig
