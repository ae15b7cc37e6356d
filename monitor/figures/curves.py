"""The curves of a bus: P and Q over voltage and frequency, both sets, with points of full solves beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from federates.runtime.port import Floats
from federates.tblm.model import Curve, CurveSet, Tblm, evaluate
from monitor.figures.style import COLOURS, QUIET, TRUTH, draw, engineering, hover, legend, plot, rule, side_by_side, single
from monitor.page import Section, heading, paragraph, table
from monitor.results import Results

_SETS: tuple[tuple[CurveSet, str, str], ...] = (("fast", COLOURS[0], "circle"), ("settled", COLOURS[1], "square"))
_AXIS = {"v": "bus voltage (pu)", "f": "frequency (Hz)"}


def along_v(curve: Curve, f_hz: float) -> tuple[Floats, Floats]:
    """The table's own points over V at one frequency: V [n] and P, Q [2, n]. Both sides of a discontinuity are kept."""
    v, f, values = curve.arrays
    return v, np.array([[np.interp(f_hz, f, row) for row in quantity] for quantity in values])


def along_f(curve: Curve, v_pu: float) -> tuple[Floats, Floats]:
    """The table's own points over f at one voltage: f [n] and P, Q [2, n]."""
    v, f, values = curve.arrays
    return f, np.array([[np.interp(v_pu, v, column) for column in quantity.T] for quantity in values])


def section(results: Results) -> Section | None:
    """For each bus: the curves of its last TBLM that is not bad, where they hold, and how they stand against full solves."""
    blocks: list[Any] = []
    for bus in results.buses:
        tblms = results.tblms(bus)
        if tblms:
            usable = [tblm for tblm in tblms if tblm.quality.flag != "bad"] or tblms
            blocks += _bus(usable[-1], verification(results, bus), results.nominal_hz)
    if not blocks:
        return None
    explanation = paragraph(
        "What a bus takes when its voltage or its frequency changes. Fast: within about two seconds, taps and capacitors as they "
        "stand; settled: when every control has come to rest, so that regulators have flattened the voltage dependence. Dots are "
        "the points of the table, the cross is the operating point; black marks are full solves that the table did not know: good "
        "is a mark on its line. Beyond the grey lines the curves do not hold; a dotted line in the colour of a curve is where that "
        "one bends or jumps at once (a DER's limit or trip, a tap at its end)."
    )
    return Section("curves", "TBLM curves", [explanation, *blocks])


def verification(results: Results, bus: str) -> list[dict[str, Any]]:
    """Points from full solves, each {set, V_pu, f_Hz, P_W, Q_var}, that were published for this bus's last TBLM."""
    last: list[dict[str, Any]] = []
    for federate in results.document_ports.get("verification", ()):
        for row in results.documents("verification", federate):
            if row.document["bus"] == bus:
                last = row.document["points"]
    return last


def _bus(tblm: Tblm, points: list[dict[str, Any]], nominal_hz: float | None) -> list[Any]:
    from bokeh.models.glyphs import Scatter

    point, s_base = tblm.operating_point, tblm.bus.S_base_VA
    divisor, prefix = engineering(max(abs(point.P_W), abs(point.Q_var)))
    axis_hz = tblm.curve("fast").axes.f_Hz
    f0 = min(axis_hz, key=lambda f_hz: abs(f_hz - point.f_Hz)) if nominal_hz is None else nominal_hz
    figures = []
    for axis, quantity in (("v", 0), ("v", 1), ("f", 0)):
        fig = plot(f"{'PQ'[quantity]} ({prefix}{('W', 'var')[quantity]})", _AXIS[axis], height=360)
        for which, colour, marker in _SETS:
            _draw(fig, tblm.curve(which), axis, quantity, f0, point.V_pu, divisor, colour, which)
            own = [p for p in points if p["set"] == which]
            _verify(fig, own, axis, quantity, f0, point.V_pu, divisor, marker, which)
        at = point.V_pu if axis == "v" else point.f_Hz
        value = (point.P_W, point.Q_var)[quantity] / divisor
        cross = Scatter(x="x", y="y", marker="x", size=13, line_width=3, line_color=TRUTH)
        draw(fig, cross, {"x": [at], "y": [value]}, "operating point")
        legend(fig, "below")
        figures.append(fig)
    reasons = "; ".join(tblm.quality.reasons)
    published = tblm.t_valid.t_publish_ns / 1e9
    return [
        heading(f"Bus {tblm.bus.name}"),
        paragraph(
            f"TBLM {tblm.version.seq}, published at t = {published:.2f} s because of: {tblm.quality.trigger}; quality "
            f"{tblm.quality.flag}"
            + (f" ({reasons})" if reasons else "")
            + f". Curves over V at {f0:g} Hz, over f at {point.V_pu:.4f} pu."
            + (f" The operating point is at {point.f_Hz:.3f} Hz, and so beside them." if abs(point.f_Hz - f0) >= 0.05 else ""),
            css="note",
        ),
        side_by_side(*figures),
        _table(tblm, points, s_base),
    ]


def _draw(fig: Any, curve: Curve, axis: str, quantity: int, f0: float, v0: float, divisor: float, colour: str, which: str) -> None:
    from bokeh.models.glyphs import Line, Scatter

    x, values = along_v(curve, f0) if axis == "v" else along_f(curve, v0)
    source = {"x": single(x), "y": single(values[quantity] / divisor)}
    drawn = draw(fig, Line(x="x", y="y", line_color=colour, line_width=2), source, which)
    draw(fig, Scatter(x="x", y="y", fill_color=colour, line_color=colour, size=4), drawn.data_source, which)
    hover(fig, [drawn], ("", which), (_AXIS[axis], "@x{0.0000}"), ("value", "@y{0.0000}"))
    limits = curve.range_ok.V_pu if axis == "v" else curve.range_ok.f_Hz
    for limit in limits:
        rule(fig, limit, "height", QUIET, "solid")
    for cut in curve.breakpoints:
        if (cut.axis == "V_pu") == (axis == "v"):
            rule(fig, cut.value, "height", colour, "dotted")


def _verify(
    fig: Any, points: list[dict[str, Any]], axis: str, quantity: int, f0: float, v0: float, divisor: float, marker: str, which: str
) -> None:
    """Full solves that lie on the line shown: at its frequency, or at its voltage."""
    from bokeh.models.glyphs import Scatter

    on = [p for p in points if (abs(p["f_Hz"] - f0) < 1e-6 if axis == "v" else abs(p["V_pu"] - v0) < 1e-6)]
    if on:
        x = np.array([p["V_pu" if axis == "v" else "f_Hz"] for p in on])
        y = np.array([p[("P_W", "Q_var")[quantity]] for p in on]) / divisor
        ring = Scatter(x="x", y="y", marker=marker, size=8, fill_color=None, line_color=TRUTH)
        draw(fig, ring, {"x": single(x), "y": single(y)}, f"full solve, {which}")


def _table(tblm: Tblm, points: list[dict[str, Any]], s_base: float) -> Any:
    rows = []
    for which, _, _ in _SETS:
        curve = tblm.curve(which)
        own = [p for p in points if p["set"] == which]
        checked = "-"
        if own:
            guess = evaluate(curve, [p["V_pu"] for p in own], [p["f_Hz"] for p in own])
            error = np.hypot(guess.p_w - [p["P_W"] for p in own], guess.q_var - [p["Q_var"] for p in own])
            checked = f"{100.0 * error.max() / s_base:.3f} in {len(own)} points"
        exponent = next((fit for fit in tblm.load.exponents if fit.set == which), None)
        kpv, kqv = (exponent.kpv, exponent.kqv) if exponent else (None, None)
        rows.append(
            [
                which,
                f"{len(curve.axes.V_pu)} x {len(curve.axes.f_Hz)}",
                f"{curve.range_ok.V_pu[0]:.3f} to {curve.range_ok.V_pu[1]:.3f}",
                f"{curve.range_ok.f_Hz[0]:.2f} to {curve.range_ok.f_Hz[1]:.2f}",
                f"{curve.error_pct:.3f}",
                checked,
                *("-" if k is None else f"{k:.3f}" for k in (kpv, kqv)),
                *("-" if k is None or which != "fast" else f"{k:.3f}" for k in (tblm.load.kpf, tblm.load.kqf)),
            ]
        )
    headers = ["Set", "Points V x f", "Holds for V (pu)", "and f (Hz)", "Error, builder (% S)", "Error, full solves (% S)"]
    return table([*headers, "kpv", "kqv", "kpf", "kqf"], rows, numeric=range(4, 10))
