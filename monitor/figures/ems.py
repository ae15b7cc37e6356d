"""What the EMS foretold with TBLM curves and with constant P, Q, against what then happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.figures.ems_scan import ack_blocks, scan_blocks
from monitor.figures.style import CONSTANT, MARKERS, TBLM, draw, engineering, from_zero, hover, legend, plot
from monitor.figures.system import frequencies
from monitor.page import Html, Section, heading, paragraph, table, tag
from monitor.results import Results

VIEWS = {
    "prediction": "As predicted",
    "change": "The change alone",
    "at_voltage": "At the true V and f",
}
QUANTITIES = {
    "v_pu": ("voltage", "pu"),
    "f_hz": ("lowest frequency", "Hz"),
    "p_w": ("active power", "W"),
    "q_var": ("reactive power", "var"),
}
_ALIKE = 0.02
"""Errors that differ by less than this share of the larger one are called alike."""
_MOST_ROWS = 30


@dataclass(frozen=True)
class Judged:
    """One quantity of one bus after one event: what it became, and the error of either way (predicted less true)."""

    view: str
    event: str
    t_s: float
    bus: str
    horizon: str
    quantity: str
    truth: float
    with_tblm: float
    with_constant: float

    @property
    def label(self) -> str:
        """A line that names it in a figure."""
        return f"{self.event} at {self.t_s:.0f} s" + (f", bus {self.bus}, {self.horizon}" if self.bus else "")

    @property
    def sizes(self) -> tuple[float, float]:
        """Size of the error with the TBLM and with constant P, Q."""
        return abs(self.with_tblm), abs(self.with_constant)

    @property
    def nearer(self) -> str:
        """`TBLM`, `constant` or `alike`."""
        return nearer(*self.sizes)


def judged(results: Results) -> list[Judged]:
    """Every comparison that an EMS published and in which both ways made a prediction, in order of time."""
    found: list[Judged] = []
    for federate in results.document_ports.get("outcome", ()):
        for recorded in results.documents("outcome", federate):
            for row in recorded.document["outcomes"]:
                found += _judge(row)
                found += _judge_frequency(row, results)
    found = [item for item in found if np.isfinite(item.sizes).all()]
    return sorted(found, key=lambda item: (item.t_s, item.event, item.horizon, item.bus))


def _judge(row: Mapping[str, Any]) -> Iterable[Judged]:
    """The three views on one outcome, for each bus and each of V, P, Q.

    The first holds the prediction against what came; the second takes out what had drifted between scan and event; the third asks
    the curves alone, at the voltage and frequency that came, against the power before.
    """
    truth, before, base = row["truth"], row["before"], row["base"] or {}
    for quantity in ("v_pu", "p_w", "q_var"):
        for bus, true in truth[quantity].items():
            predicted = [_value_of(row[f"predicted_with_{way}"], quantity, bus) for way in ("tblm", "constant")]
            was, drawn = before[quantity][bus], _value_of(base, quantity, bus)
            errors = {
                "prediction": [value - true for value in predicted],
                "change": [(value - drawn) - (true - was) for value in predicted],
            }
            if quantity != "v_pu":
                errors["at_voltage"] = [_value_of(row["at_true_voltage_with_tblm"], quantity, bus) - true, was - true]
            for view, (with_tblm, with_constant) in errors.items():
                t_s = row["t_ns"] / 1e9
                yield Judged(view, row["event"], t_s, bus, row["horizon"], quantity, true, with_tblm, with_constant)


def _judge_frequency(row: Mapping[str, Any], results: Results) -> Iterable[Judged]:
    """The lowest frequency that was published between the loss and the last comparison, at the small steps of an emergency."""
    if row["kind"] != "generator" or row["horizon"] != "settled":
        return
    t_s, until_s = row["t_ns"] / 1e9, row["compared_ns"] / 1e9
    for vector in frequencies(results)[:1]:
        after = vector.values[(vector.t_s >= t_s) & (vector.t_s <= until_s), 0]
        if after.size:
            true = float(after.min())
            errors = [float((row[f"predicted_with_{way}"] or {}).get("nadir_hz", np.nan)) - true for way in ("tblm", "constant")]
            yield Judged("prediction", row["event"], t_s, "", "settled", "f_hz", true, *errors)


def _value_of(values: Mapping[str, Any] | None, quantity: str, bus: str) -> float:
    found = ((values or {}).get(quantity) or {}).get(bus)
    return float("nan") if found is None else float(found)


def nearer(with_tblm: float, with_constant: float) -> str:
    """`TBLM`, `constant` or `alike`, from the sizes of both errors."""
    if abs(with_tblm - with_constant) <= _ALIKE * max(with_tblm, with_constant):
        return "alike"
    return "TBLM" if with_tblm < with_constant else "constant"


def findings(found: Sequence[Judged]) -> list[str]:
    """One sentence a quantity: how often either way's prediction was nearer to what came, and the median errors."""
    sentences = []
    for quantity, (name, unit) in QUANTITIES.items():
        own = [item for item in found if item.view == "prediction" and item.quantity == quantity]
        if own:
            count = Counter(item.nearer for item in own)
            curves, constant = (float(np.median([item.sizes[k] for item in own])) for k in (0, 1))
            sentences.append(
                f"{name.capitalize()}: the TBLM was nearer in {count['TBLM']} of {len(own)}, constant P, Q in {count['constant']}, "
                f"alike in {count['alike']}; median error {_value(curves, unit)} against {_value(constant, unit)}."
            )
    return sentences


def section(results: Results) -> Section | None:
    """Outcomes first, since they can be judged; then what the EMS took and rejected; then the last N-1."""
    found = judged(results)
    blocks = [*_outcome_blocks(found), *ack_blocks(results), *scan_blocks(results)]
    if not blocks:
        return None
    explanation = paragraph(
        "At every scan the EMS solves the network as it is and after each outage, twice: with the P(V, f) and Q(V, f) of the "
        "TBLMs, and with P and Q of the TBLM buses held constant; all other load follows voltage and frequency as the EMS's own "
        "model says, both times. When one of these outages then really happens, both predictions are judged by what followed. This "
        "is what a TBLM is for."
    )
    return Section("ems", "EMS predictions against the truth", [explanation, *blocks])


def _outcome_blocks(found: Sequence[Judged]) -> list[Any]:
    if not found:
        return []
    sentences = findings(found)
    head = "Predictions made at the last scan before an event, held against what came:"
    none = "No prediction covered what happened: the N-1 of the last scan before lacked it, or had no solution."
    blocks: list[Any] = [
        tag("div", paragraph(head if sentences else none), tag("ul", *(tag("li", s) for s in sentences)), css="finding"),
        _findings_table(found),
        paragraph(
            "P and Q are those of the whole bus, its native load included. "
            f"{VIEWS['change']}: load that drifted between the scan and the event is taken out of either way. "
            f"{VIEWS['at_voltage']}: no power flow is involved; the curves are asked at the voltage and frequency that came, and "
            f"constant P, Q is the power before the event. Alike: the sizes differ by less than {100 * _ALIKE:.0f} %.",
            css="note",
        ),
    ]
    if not any(item.view == "prediction" for item in found):
        return blocks
    blocks += [
        heading("Size of the errors of the predictions"),
        paragraph(
            "One line an event, bus and horizon: the further left, the nearer to the truth. A blue dot left of the orange diamond "
            "means that the TBLM was nearer. Fast: seconds after the event; settled: after the controls came to rest."
        ),
    ]
    for quantity, (name, unit) in QUANTITIES.items():
        known = [item for item in found if item.quantity == quantity and item.view == "prediction"]
        shown = sorted(known, key=lambda item: max(item.sizes), reverse=True)[:_MOST_ROWS]
        if len(known) > len(shown):
            blocks.append(paragraph(f"The {_MOST_ROWS} largest of {len(known)} errors in {name}:", css="note"))
        if shown:
            blocks.append(_dumbbells(shown, name, unit))
    return [*blocks, heading("Every prediction and what came"), _outcome_table(found)]


def _findings_table(found: Sequence[Judged]) -> Html:
    rows = []
    for view, words in VIEWS.items():
        for quantity, (name, unit) in QUANTITIES.items():
            for horizon in sorted({item.horizon for item in found}):
                own = [i for i in found if (i.view, i.quantity, i.horizon) == (view, quantity, horizon)]
                if own:
                    count = Counter(item.nearer for item in own)
                    medians = [_value(float(np.median([item.sizes[k] for item in own])), unit) for k in (0, 1)]
                    counts = [str(count[verdict]) for verdict in ("TBLM", "constant", "alike")]
                    rows.append([words, name, horizon, str(len(own)), *counts, *medians])
    headers = ["How", "Quantity", "Horizon", "Compared", "TBLM nearer", "Constant nearer", "Alike"]
    return table([*headers, "Median, TBLM", "Median, constant"], rows, numeric=range(3, 9))


def _dumbbells(shown: Sequence[Judged], name: str, unit: str) -> Any:
    from bokeh.models.glyphs import Scatter, Segment

    errors = np.array([item.sizes for item in shown])
    divisor, prefix = (1e-3, "m") if unit in ("pu", "Hz") else engineering(float(errors.max()))
    labels = [f"{k + 1}  {item.label}" for k, item in enumerate(shown)]
    title = f"size of the error in {name} ({prefix}{unit})"
    fig = plot("", title, height=104 + 24 * len(shown), y_range=labels[::-1], x_range=from_zero())
    source = {"y": labels, "tblm": errors[:, 0] / divisor, "constant": errors[:, 1] / divisor}
    bar = draw(fig, Segment(x0="tblm", y0="y", x1="constant", y1="y", line_color="#c5cdd5", line_width=3), source)
    ways = (("constant", MARKERS[3], 11, CONSTANT, "with constant P, Q"), ("tblm", MARKERS[0], 10, TBLM, "with the TBLM"))
    drawn = [
        draw(fig, Scatter(x=x, y="y", marker=marker, size=size, fill_color=colour, line_color=colour), bar.data_source, words)
        for x, marker, size, colour, words in ways
    ]
    hover(fig, drawn, ("", "@y"), ("with the TBLM", "@tblm{0.0000}"), ("with constant P, Q", "@constant{0.0000}"))
    fig.ygrid.grid_line_color = None
    legend(fig, "above")
    return fig


def _outcome_table(found: Sequence[Judged]) -> Html:
    change = {(i.event, i.t_s, i.bus, i.horizon, i.quantity): i for i in found if i.view == "change"}
    rows = []
    for item in found:
        if item.view != "prediction":
            continue
        name, unit = QUANTITIES[item.quantity]
        alone = change.get((item.event, item.t_s, item.bus, item.horizon, item.quantity))
        errors = [_value(error, unit, sign=True) for error in (item.with_tblm, item.with_constant)]
        changes = [_value(error, unit, sign=True) for error in (alone.with_tblm, alone.with_constant)] if alone else ["-", "-"]
        place = [f"{item.event} at {item.t_s:.0f}\u00a0s", item.bus, item.horizon, name, _value(item.truth, unit)]
        rows.append([*place, *errors, item.nearer, *changes])
    headers = [
        "Event",
        "Bus",
        "Horizon",
        "Quantity",
        "What came",
        "Error, TBLM",
        "constant",
        "Nearer",
        "Change alone, TBLM",
        "constant",
    ]
    return table(headers, rows, numeric=(4, 5, 6, 8, 9))


def _value(value: float, unit: str, sign: bool = False) -> str:
    plus = "+" if sign else ""
    if unit in ("pu", "Hz"):
        return f"{value:{plus}.5f} {unit}"
    divisor, prefix = engineering(value)
    return f"{value / divisor:{plus}.4g} {prefix}{unit}"
