"""Load shedding: what stages had armed against what they shed, where the power went, and the expected sequence against the actual
one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from federates.tblm.emergency_model import Emergency
from federates.tblm.model import Tblm
from monitor.figures.lines import Clock, line, time_plot
from monitor.figures.style import COLOURS, TRUTH, draw, hover, legend, plot
from monitor.page import Html, Section, heading, paragraph, table
from monitor.results import Results

_MW = 1e6
_MOST_ROWS = 40


class _Opened(NamedTuple):
    """Breakers that opened: when, at which bus, by which stage, how many, and what went."""

    t_s: float
    bus: str
    feeder: str
    cause: str
    feeders: int
    net_w: float
    load_w: float
    der_w: float


def section(results: Results, clock: Clock) -> Section | None:
    """Only for runs in which breakers opened, or a TBLM says what is armed."""
    opened, blocks = _opened(results), list[Any]()
    documents = {bus: [t for t in results.tblms(bus) if t.emergency is not None] for bus in results.buses}
    documents = {bus: tblms for bus, tblms in documents.items() if tblms}
    if not opened and not documents:
        return None
    blocks += _closed(results, clock)
    blocks += _stages(opened, documents)
    blocks += _voltages(documents)
    blocks += _ledgers(documents)
    blocks += _sequences(documents)
    blocks += _overlaps(documents)
    blocks += _plans(documents)
    stages = opened or any(t.emergency and t.emergency.armed for tblms in documents.values() for t in tblms)
    return Section("shedding", "Load shedding" if stages else "Emergency", blocks) if blocks else None


def _opened(results: Results) -> list[_Opened]:
    """Rows of the field itself, each once: those that SCADA repeats have another source."""
    bus_of = {}
    for feeder in results.document_ports.get("catalogue", ()):
        bus_of[feeder] = str(results.documents("catalogue", feeder)[-1].document.get("bus", ""))
    found = []
    for row in results.event_rows():
        feeder, _, port = str(row["source"]).partition(".")
        payload = row["payload"]
        if feeder in bus_of and port == "soe" and payload.get("event") == "open_breaker":
            powers = (float(payload.get(key, np.nan)) for key in ("p_w", "load_w", "der_w"))
            found.append(
                _Opened(row["t_ns"] / 1e9, bus_of[feeder], feeder, str(payload["cause"]), int(payload["feeders"]), *powers)
            )
    return found


def _closed(results: Results, clock: Clock) -> list[Any]:
    """How many of the like feeders were in service."""
    names = [name for name in results.find("feeders_closed") if name.split(".")[0] in results.document_ports.get("catalogue", ())]
    moved = [v for v in map(results.vector, names) if np.ptp(v.values[:, 0]) > 0.0]
    if not moved:
        return []
    fig = time_plot(clock, "feeders in service")
    for vector, colour in zip(moved, COLOURS * 4, strict=False):
        line(fig, clock, vector.t_s, vector.values[:, 0], vector.layout.federate, colour, width=2.0)
    legend(fig)
    return [
        heading("Feeders in service"),
        paragraph("A step down is a stage, a special scheme or an order that opened breakers; a step up is restoration."),
        fig,
    ]


def _before(tblms: list[Tblm], t_s: float) -> Emergency | None:
    """What was armed in the last document before t."""
    earlier = [t for t in tblms if t.t_valid.t_publish_ns / 1e9 <= t_s and t.emergency and t.emergency.phase == "before"]
    return earlier[-1].emergency if earlier else None


def _stages(opened: list[_Opened], documents: dict[str, list[Tblm]]) -> list[Any]:
    """Armed against shed, by stage."""
    rows: list[list[Any]] = []
    armed_by, shed_by = defaultdict[str, float](float), defaultdict[str, float](float)
    for trip in opened[:_MOST_ROWS]:
        part = _before(documents.get(trip.bus, []), trip.t_s)
        armed = next((a for a in part.armed if a.stage == trip.cause), None) if part else None
        share = trip.feeders / armed.feeders if armed and armed.feeders else np.nan
        expected = armed.P_at_pickup_W * share if armed else np.nan
        shed_by[trip.cause] += trip.net_w
        armed_by[trip.cause] += expected
        note = "counter-productive: it fed back" if trip.net_w < 0.0 else ""
        off = 100.0 * (trip.net_w - expected) / max(abs(trip.load_w), 1.0)
        rows.append(
            [f"{trip.t_s:.3f}", trip.cause, trip.bus, trip.feeder, trip.feeders, _mw(expected), _mw(trip.net_w), _mw(trip.load_w),
             _mw(trip.der_w), f"{off:+.2f}" if np.isfinite(off) else "", note]
        )  # fmt: skip
    if not rows:
        return []
    names = sorted(shed_by)
    fig = plot("MW", "", height=240, x_range=names)
    from bokeh.models.glyphs import VBar
    from bokeh.transform import dodge

    for k, (label, values, colour) in enumerate((("expected", armed_by, COLOURS[0]), ("shed", shed_by, TRUTH))):
        bars = VBar(
            x=dodge("stage", 0.2 * (2 * k - 1), range=fig.x_range), top="mw", width=0.35, fill_color=colour, line_color=colour
        )
        columns = {"stage": names, "mw": [values[name] / _MW if np.isfinite(values[name]) else 0.0 for name in names]}
        hover(fig, [draw(fig, bars, columns, label)], ("", label), ("", "@stage"), ("MW", "@mw{0.0}"))
    legend(fig)
    headers = ("t (s)", "stage", "bus", "feeder", "opened", "expected MW", "shed MW", "load MW", "DER MW", "off, % of load", "")
    return [
        heading("Stages: expected and shed"),
        paragraph(
            "Expected is the relief that the last TBLM before the emergency gave for the stage at its pickup; shed is what the "
            "feeders drew when their breakers opened. A stage opens feeders: where DER give more than the load takes, it costs the "
            "system power."
        ),
        fig,
        table(headers, rows, numeric=(0, 4, 5, 6, 7, 8, 9)),
    ]


def _voltages(documents: dict[str, list[Tblm]]) -> list[Any]:
    """What the last TBLM before the emergency foresaw of under-voltage stages."""
    rows = []
    for bus, tblms in documents.items():
        known = [t.emergency.under_voltage for t in tblms if t.emergency and t.emergency.phase == "before"]
        for fall in known[-1].falls if known and known[-1] else ():
            spared = ", ".join(fall.spared) or fall.failed
            at = [bus, fall.cause, f"{fall.V_pu:.4f}"]
            for n, step in enumerate(fall.steps):
                voltages = (f"{v:.4f}" for v in (step.V_before_pu, step.V_after_pu, step.V_settled_pu))
                rows.append([*at, step.stage, f"{step.t_s:.2f}", *voltages, spared if n == len(fall.steps) - 1 else ""])
            if not fall.steps:
                rows.append([*at, "none", "", "", "", "", spared])
    if not rows:
        return []
    headers = ("bus", "what falls", "to pu", "stage", "after (s)", "from pu", "to pu", "regulators at rest", "spared")
    return [
        heading("Under-voltage stages: foreseen voltages"),
        paragraph(
            "From the last TBLM before the emergency and the equivalent of the transmission system that the EMS had sent: which "
            "stages open if the bus falls just under a pickup, or after the outage that takes it lowest, and what each does to the "
            "voltage. A spared stage picks up and drops out again."
        ),
        table(headers, rows, numeric=(2, 4, 5, 6, 7)),
    ]


def _ledgers(documents: dict[str, list[Tblm]]) -> list[Any]:
    rows = []
    for bus, tblms in documents.items():
        known = [t for t in tblms if t.emergency and t.emergency.ledger]
        if known:
            part = known[-1].emergency
            assert part is not None and part.ledger is not None
            book = part.ledger
            shed = sum(entry.P_net_W for entry in book.entries)
            rows.append(
                [bus, part.phase, f"{known[-1].t_valid.t_publish_ns / 1e9:.1f}", _mw(book.initial_W), _mw(book.served_W), _mw(shed),
                 _mw(-book.P_der_lost_W), _mw(book.P_response_W), f"{book.residual_pct:+.3f}"]
            )  # fmt: skip
    if not rows:
        return []
    headers = (
        "bus",
        "phase",
        "t (s)",
        "initial MW",
        "served MW",
        "shed MW",
        "DER lost MW",
        "response MW",
        "unexplained, % of initial",
    )
    return [
        heading("Ledger of the last TBLM that keeps one"),
        paragraph(
            "Initial is the sum of what stands after it: served, shed, DER lost (below zero: what they gave, the bus draws "
            "now), response of feeders in service to voltage and frequency, and what is unexplained."
        ),
        table(headers, rows, numeric=range(2, 9)),
    ]


def _sequences(documents: dict[str, list[Tblm]]) -> list[Any]:
    blocks: list[Any] = []
    for bus, tblms in documents.items():
        last = tblms[-1].emergency
        sequence = last.sequence if last else None
        if sequence is None or not sequence.differences:
            continue
        as_expected = sum(d.why == "as expected" for d in sequence.differences)
        rows = [[d.device, d.event, "" if d.late_s is None else f"{1e3 * d.late_s:+.0f}", d.why] for d in sequence.differences]
        blocks += [
            heading(f"Bus {bus}: expected sequence against the actual one"),
            paragraph(
                f"{as_expected} of {len(rows)} events as expected on the course of V and f asked about; both are aligned at "
                "their first common event."
            ),
            table(("device", "event", "late (ms)", "why"), rows, numeric=(2,), limit=_MOST_ROWS),
        ]
    return blocks


def _overlaps(documents: dict[str, list[Tblm]]) -> list[Any]:
    rows: list[list[Html | str]] = []
    for bus, tblms in documents.items():
        found = [t.emergency.overlap for t in tblms if t.emergency and t.emergency.phase == "before" and t.emergency.overlap]
        if found and len(found[-1].actions) > 1:
            names = found[-1].actions
            for i, first in enumerate(names):
                after = [f"{b} {_mw(found[-1].conditional_W[i][k])}" for k, b in enumerate(names) if k != i]
                rows.append([bus, first, _mw(found[-1].available_W[i]), "; ".join(after)])
    if not rows:
        return []
    return [
        heading("What actions are worth after one another"),
        paragraph("Net relief in MW of an action alone, and of the others once it has acted."),
        table(("bus", "action", "alone", "then"), rows, numeric=(2,), limit=_MOST_ROWS),
    ]


def _plans(documents: dict[str, list[Tblm]]) -> list[Any]:
    rows = []
    for bus, tblms in documents.items():
        found: dict[Any, float] = {}
        for t in tblms:
            if t.emergency and t.emergency.plan:
                found.setdefault(t.emergency.plan, t.t_valid.t_publish_ns / 1e9)
        for plan, t_s in found.items():
            met = "yes" if plan.met else "no"
            each = zip(plan.actions, plan.P_each_W, strict=True)
            named = ", then ".join(f"{action} {_mw(p_w)}" for action, p_w in each) or "none"
            rows.append(
                [bus, f"{t_s:.1f}", _mw(plan.deficit_W), f"{plan.within_s:g}", named, _mw(plan.P_net_W), f"{plan.cost:.4g}", met,
                 plan.method]
            )  # fmt: skip
    if not rows:
        return []
    headers = (
        "bus",
        "t (s)",
        "deficit MW",
        "within (s)",
        "actions, and the MW that each relieves",
        "relief MW",
        "cost",
        "met",
        "found by",
    )
    return [
        heading("Plans that were asked for"),
        paragraph(
            "The cheapest actions that meet a deficit in time, valued with the network's answer; no load is counted twice. "
            "Cost: MWh not taken in an hour, weighted by priority, and what ordering costs."
        ),
        table(headers, rows, numeric=(1, 2, 3, 5, 6)),
    ]


def _mw(watts: float) -> str:
    return f"{watts / _MW + 0.0:.2f}" if np.isfinite(watts) else ""
