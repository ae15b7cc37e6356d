"""What a bus can give: its P-Q regions by delivery class and quantile, and its dispatch stack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from federates.tblm.flexibility_model import CapabilityRegion, DispatchBlock, Flexibility
from federates.tblm.model import Tblm
from monitor.figures.style import COLOURS, TRUTH, draw, engineering, hover, legend, plot, side_by_side, single
from monitor.page import Html, Section, heading, paragraph, render, table
from monitor.results import Results

_DASH = {"P10": "dotted", "P50": "solid", "P90": "dashed"}
_CLASS = {2.0: "inverters, 2 s", 60.0: "taps and capacitors too, 60 s", 900.0: "what has to be asked for too, 15 min"}
_MOST_REASONS = 3


def section(results: Results) -> Section | None:
    """For each bus: regions and stack of its last TBLM that has any."""
    blocks: list[Any] = []
    for bus in results.buses:
        with_any = [tblm for tblm in results.tblms(bus) if tblm.flexibility is not None]
        if with_any:
            found = [tblm for tblm in with_any if tblm.flexibility and tblm.flexibility.capability] or with_any
            blocks += _bus(found[-1])
    return Section("capability", "What the bus can give", [_explanation(), *blocks]) if blocks else None


def write_page(path: Path, title: str, regions: Sequence[CapabilityRegion], present: tuple[float, float]) -> None:
    """A page of its own with the regions of a feeder. present: P in W and Q in var of the head, load positive."""
    voltages = sorted({region.V_pu for region in regions})
    figures = [block for v in voltages for block in (heading(f"{v:.4g} pu"), figure([r for r in regions if r.V_pu == v], present))]
    blocks = [_explanation(), *figures, _region_table(regions)]
    path.write_text(
        render(title, "P-Q regions at the head of the feeder", [Section("capability", title, blocks)]), encoding="utf-8"
    )


def figure(regions: Sequence[CapabilityRegion], present: tuple[float, float]) -> Any:
    """The regions in one P-Q plane, a colour for each delivery class and a dash for each quantile, with the present point."""
    from bokeh.models.glyphs import Patch, Scatter

    size = max([abs(value) for region in regions for value in (*region.P_W, *region.Q_var)], default=max(map(abs, present)))
    divisor, prefix = engineering(size)
    fig = plot(f"Q ({prefix}var), load positive", f"P ({prefix}W), load positive", height=460)
    classes = sorted({region.delivery_s for region in regions})
    for region in regions:
        colour = COLOURS[classes.index(region.delivery_s) % len(COLOURS)]
        glyph = Patch(
            x="x", y="y", line_color=colour, line_width=2, line_dash=_DASH[region.quantile], fill_color=colour,
            fill_alpha=0.08 if region.quantile == "P50" else 0.0,
        )  # fmt: skip
        columns = {"x": single(np.array(region.P_W) / divisor), "y": single(np.array(region.Q_var) / divisor)}
        name = f"{_CLASS.get(region.delivery_s, f'within {region.delivery_s:g} s')}, {region.quantile}"
        draw(fig, glyph, columns, name)
        corners = draw(fig, Scatter(x="x", y="y", size=4, fill_color=colour, line_color=colour), columns, name)
        hover(fig, [corners], ("", name), ("P", "@x{0.000}"), ("Q", "@y{0.000}"))
    cross = Scatter(x="x", y="y", marker="x", size=13, line_width=3, line_color=TRUTH)
    draw(fig, cross, {"x": [present[0] / divisor], "y": [present[1] / divisor]}, "at present")
    legend(fig, "below")
    return fig


def _explanation() -> Html:
    return paragraph(
        "Where P and Q can be brought within the limits of the network behind, the cross being where they are. Every corner was "
        "held by a full three-phase power flow. Solid: with what is expected to be available; dotted: with what is there nine "
        "times in ten; dashed: with what is there one time in ten."
    )


def _bus(tblm: Tblm) -> list[Any]:
    flexibility = tblm.flexibility
    assert flexibility is not None
    point, out = tblm.operating_point, [heading(f"Bus {tblm.bus.name}")]
    out.append(paragraph(f"Computed at t = {flexibility.t_ns / 1e9:.2f} s, in TBLM {tblm.version.seq}.", css="note"))
    if flexibility.reasons:
        shown = "; ".join(flexibility.reasons[:_MOST_REASONS])
        out.append(paragraph(f"Left out: {shown}" + (" ..." if len(flexibility.reasons) > _MOST_REASONS else ""), css="note"))
    regions = flexibility.capability
    voltages = sorted({region.V_pu for region in regions})
    if regions:
        out.append(side_by_side(*[figure([r for r in regions if r.V_pu == v], (point.P_W, point.Q_var)) for v in voltages]))
        out.append(_region_table(regions))
    if flexibility.dispatchable:
        out += [_stack_figure(flexibility), _stack_table(flexibility.dispatchable)]
    return out


def _region_table(regions: Sequence[CapabilityRegion]) -> Html:
    rows = []
    for r in regions:
        p, q = np.array(r.P_W) / 1e6, np.array(r.Q_var) / 1e6
        area = 0.5 * abs(float(p @ np.roll(q, -1) - q @ np.roll(p, -1)))
        spans = [f"{x.min():.3f} to {x.max():.3f}" for x in (p, q)]
        rows.append([f"{r.V_pu:.4f}", f"{r.delivery_s:g}", r.quantile, *spans, f"{area:.3f}", len(p), f"{r.gap_pct:.2f}"])
    headers = ["V (pu)", "Within (s)", "Quantile", "P (MW)", "Q (Mvar)", "Area (MW Mvar)", "Corners", "May be missing (%)"]
    return table(headers, rows, numeric=(0, 1, 5, 6, 7))


def _stack_figure(flexibility: Flexibility) -> Any:
    """Cost over MW: to the right what the bus can give, to the left what it can take."""
    from bokeh.models.glyphs import Step

    fig = plot("cost at the bus (per MWh)", "MW less load (left: more)", height=300)
    for direction, sign, colour in (("up", 1.0, COLOURS[0]), ("down", -1.0, COLOURS[1])):
        blocks = [b for b in flexibility.dispatchable if b.direction == direction]
        if blocks:
            mw = np.concatenate(([0.0], np.cumsum([b.P_W for b in blocks]))) * sign / 1e6
            cost = np.array([b.cost_per_MWh for b in blocks] + [blocks[-1].cost_per_MWh])
            draw(
                fig,
                Step(x="x", y="y", mode="after", line_color=colour, line_width=2),
                {"x": single(mw), "y": single(cost)},
                direction,
            )
    legend(fig, "below")
    return fig


def _stack_table(blocks: Sequence[DispatchBlock]) -> Html:
    def optional(value: float | None, divisor: float = 1.0) -> str:
        return "-" if value is None else f"{value / divisor:g}"

    rows = [
        [
            b.direction, f"{b.P_W / 1e6:.3f}", f"{b.Q_var / 1e6:.3f}", f"{b.cost_per_MWh:.2f}", f"{b.notice_s:g}",
            optional(b.ramp_W_per_s, 1e6), optional(b.duration_s), optional(b.energy_Wh, 1e6), f"{b.rebound:g}", b.resources,
        ]
        for b in blocks
    ]  # fmt: skip
    headers = [
        "Direction",
        "MW",
        "Mvar with it",
        "Cost per MWh",
        "Notice (s)",
        "Ramp (MW/s)",
        "For (s)",
        "Energy (MWh)",
        "Rebound",
        "DER",
    ]
    return table(headers, rows, numeric=range(1, 10))
