"""The EMS federate over time: what it scans, what it foretold of a loss and when it compares, and whom it acknowledges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from case39 import BUSES, CASE39, LOADS, truth
from documents import document, exponential, tblm

from federates.ems.ems import Ems, EmsFederate, Feed
from federates.ems.view import Telemetry, View
from federates.grid.feeder_library import builtin_feeder
from federates.grid.fleet import FrequencySettings
from federates.grid.transmission import Transmission
from federates.runtime.conformance import check_federate
from federates.runtime.federate import S_NS, Spec
from federates.runtime.port import Document, Event, Port, Sample

FEEDER = builtin_feeder("ieee13")
FEEDS = tuple(Feed(f"tblm{bus}", bus, (FEEDER,)) for bus in BUSES)
PARAMS = Ems(
    CASE39, FEEDS, FrequencySettings(), scan_ns=4 * S_NS, generators=("G30",), fast_ns=2 * S_NS, settled_ns=3 * S_NS
)  # fmt: skip
OTHER = exponential(200e6, 10e6, 0.1, 0.1)
SETTLED = exponential(320e6, 100e6, 0.2, 0.2)
TBLMS = {bus: tblm(bus, LOADS[bus], SETTLED, points=41, model_hash=FEEDER.hash()) for bus in BUSES}
PAPERS = {f"tblm_tblm{bus}": document(TBLMS[bus], 1) for bus in BUSES}
NEWER = {f"tblm_tblm{b}": document(tblm(b, OTHER, seq=2, points=41, model_hash=FEEDER.hash()), 2) for b in BUSES}


@cache
def at_rest() -> Telemetry:
    """The network as it is without an event."""
    return truth(Transmission(CASE39))


@cache
def without(name: str, f_hz: float = 60.0, scale: float = 1.0) -> Telemetry:
    """The network after the loss of a branch or of a generator."""
    engine = Transmission(CASE39)
    (engine.trip_generator if engine.has_generator(name) else engine.open_line)(name)
    return truth(engine, f_hz, scale)


def inputs(now: Telemetry, t_ns: int, papers: Mapping[str, Document] = PAPERS) -> dict[str, Any]:
    """What the transmission system sends, and the TBLMs."""
    named: dict[str, Any] = {"f_hz": [now.f_hz], "all_v_pu": now.v_pu, "load_p_w": now.load_p_w, "load_q_var": now.load_q_var}
    named |= {"line_status": now.line_status, "gen_p_w": now.gen_p_w, "gen_status": now.gen_status}
    return {**papers, "soe": (), **{name: Sample.of(values, t_ns) for name, values in named.items()}}


def run(after: Telemetry, papers: Mapping[str, Document] = PAPERS, stop_s: int = 8) -> list[dict[str, Any]]:
    """What it publishes each second: at rest until a loss at 4 s, which is the instant of a scan; `papers` from then on."""
    federate = EmsFederate(PARAMS)
    federate.start(0)
    steps = []
    for k in range(stop_s):
        now, known = (at_rest(), PAPERS) if k < 4 else (after, papers)
        steps.append(dict(federate.step(k * S_NS, inputs(now, k * S_NS, known)).outputs))
    return steps


def outcomes(steps: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    """Outcomes by second."""
    return {k: outputs["outcome"]["outcomes"] for k, outputs in enumerate(steps) if "outcome" in outputs}


def foretold(row: Mapping[str, Any]) -> tuple[Any, Any]:
    """Both predictions of an outcome."""
    return row["predicted_with_tblm"], row["predicted_with_constant"]


def assert_published(row: Mapping[str, Any], scan: Mapping[str, Any]) -> None:
    """An outcome's fast predictions are those that the scan published, to where the solver starts from."""
    (contingency,) = [found for found in scan["contingencies"] if found["name"] == row["event"]]
    for ours, published in zip(foretold(row), (contingency["with_tblm"], contingency["with_constant"]), strict=True):
        assert ours["v_pu"] == pytest.approx(published["v_pu"], abs=1e-8)
        assert ours["p_w"] == pytest.approx(published["p_w"], rel=1e-7)
        assert ours["q_var"] == pytest.approx(published["q_var"], rel=1e-7)
        assert ours["f_hz"] == published["f_hz"] and ours["converged"] and published["converged"]


def test_a_line_is_compared_once_a_horizon_with_what_the_scan_before_its_loss_foretold() -> None:
    steps = run(without("15-16"))
    assert [k for k, outputs in enumerate(steps) if "prediction" in outputs] == [0, 4]
    came = outcomes(steps)
    assert {k: [row["horizon"] for row in rows] for k, rows in came.items()} == {6: ["fast"], 7: ["settled"]}
    (fast,), (settled,) = came[6], came[7]
    for row in (fast, settled):
        # the scan of 4 s saw the loss already
        assert (row["event"], row["kind"], row["t_ns"], row["scan_ns"]) == ("15-16", "line", 4 * S_NS, 0)
    assert (fast["compared_ns"], settled["compared_ns"]) == (6 * S_NS, 7 * S_NS)
    assert_published(fast, steps[0]["prediction"])
    assert "15-16" not in {row["name"] for row in steps[4]["prediction"]["contingencies"]}
    real = fast["truth"]["v_pu"]["15"]
    assert abs(fast["predicted_with_tblm"]["v_pu"]["15"] - real) < 0.02 * abs(fast["predicted_with_constant"]["v_pu"]["15"] - real)
    view = View(CASE39, BUSES, PARAMS.frequency)
    view.set(at_rest())
    curves = view.curves(at_rest(), TBLMS, "settled", 60.0)
    solved = view.outages(at_rest(), curves, ("15-16",))["15-16"]
    assert settled["predicted_with_tblm"]["v_pu"] == pytest.approx(solved["v_pu"], abs=1e-9)
    assert settled["predicted_with_constant"] == fast["predicted_with_constant"]  # constant is constant
    assert abs(solved["v_pu"]["15"] - fast["predicted_with_tblm"]["v_pu"]["15"]) > 1e-4  # settled curves are others


def test_nothing_from_the_loss_on_moves_a_prediction_of_it() -> None:
    """The same scan, then another future: other loads, another frequency, other TBLMs at the very instant of the loss."""
    one, other = (outcomes(run(*future)) for future in ((without("15-16"),), (without("15-16", 59.8, 0.9), NEWER)))
    assert one.keys() == other.keys() == {6, 7}
    for k in one:
        (row,), (twin,) = one[k], other[k]
        assert foretold(row) == foretold(twin) and (row["base"], row["before"]) == (twin["base"], twin["before"])
        assert abs(row["truth"]["p_w"]["15"] - twin["truth"]["p_w"]["15"]) > 1e7


def test_a_generator_is_foretold_with_its_lowest_frequency() -> None:
    steps = run(without("G30", 59.7))
    came = outcomes(steps)
    (fast,), (settled,) = came[6], came[7]
    assert (fast["event"], fast["kind"], fast["scan_ns"]) == ("G30", "generator", 0)
    assert fast["truth"]["f_hz"] == 59.7
    assert_published(fast, steps[0]["prediction"])
    for soon, late in zip(foretold(fast), foretold(settled), strict=True):
        assert soon["f_hz"] != late["f_hz"]
        assert soon["nadir_hz"] == late["nadir_hz"] <= min(soon["f_hz"], late["f_hz"]) < 60.0
    assert fast["predicted_with_tblm"]["nadir_hz"] > fast["predicted_with_constant"]["nadir_hz"]  # the buses draw less


def test_a_loss_before_the_first_scan_was_foretold_by_nobody() -> None:
    federate = EmsFederate(replace(PARAMS, scan_ns=3600 * S_NS))
    steps = []
    for k in range(1, 8):
        now = at_rest() if k == 1 else without("15-16")
        steps.append(dict(federate.step(k * S_NS, inputs(now, k * S_NS)).outputs))
    came = [row for rows in outcomes(steps).values() for row in rows]
    assert [(row["horizon"], row["compared_ns"]) for row in came] == [("fast", 4 * S_NS), ("settled", 5 * S_NS)]
    assert all((row["scan_ns"], row["base"], *foretold(row)) == (None,) * 4 for row in came)


def test_every_document_is_acknowledged_once() -> None:
    def acks(seq: int, accepted: bool = True) -> list[tuple[Any, ...]]:
        return [(bus, seq, accepted) for bus in BUSES]

    federate, seen = EmsFederate(PARAMS), []
    again = {name: replace(paper, version=3) for name, paper in PAPERS.items()}  # seq 1 after seq 2
    for k, papers in enumerate((PAPERS, PAPERS, NEWER, NEWER, again, again), start=1):
        # without telemetry it has nothing to solve, and judges documents all the same
        blind = inputs(at_rest(), k * S_NS, papers) | {"all_v_pu": Sample.missing(39)}
        seen.append([(ack["bus"], ack["seq"], ack["accepted"]) for ack in federate.step(k * S_NS, blind).outputs["ack"]])
    assert seen == [acks(1), [], acks(2), [], acks(1, accepted=False), []]


def test_without_telemetry_it_predicts_nothing_and_still_judges_documents() -> None:
    federate = EmsFederate(PARAMS)
    blind = inputs(at_rest(), 0) | {"all_v_pu": Sample.missing(39)}
    outputs = federate.step(0, {**blind, "tblm_tblm16": Document("not JSON", 0, 1)}).outputs
    assert "prediction" not in outputs and [ack["accepted"] for ack in outputs["ack"]] == [True, False]
    assert "prediction" not in federate.step(4 * S_NS, blind).outputs


def measured(port: Port, t_ns: int) -> Any:
    """What it sends at t."""
    value = inputs(at_rest(), t_ns)[port.name]
    return value.text if port.kind == "document" else value


def test_conforms() -> None:
    params = replace(PARAMS, scan_ns=3600 * S_NS)
    assert check_federate(Spec("ems", "federates.ems.ems:EmsFederate", params), measured, periods=2) == []


def test_in_an_emergency_a_loss_is_dated_and_compared_by_its_own_samples() -> None:
    """Lost at 4.5 s: the event wakes the EMS a millisecond later; samples of 20 ms, comparisons of 6.5 s and of 7.5 s."""
    federate = EmsFederate(PARAMS)
    federate.start(0)
    event_ns, after = 4_500_000_000, without("15-16")
    came, t_ns, asked = [], 0, None
    while t_ns < 9 * S_NS:
        seen_ns = max(t_ns - 1, 0) // 20_000_000 * 20_000_000  # the newest that was published before
        values = inputs(after if seen_ns >= event_ns else at_rest(), seen_ns)
        rows = (Event(event_ns, "grid.soe", 1, {"event": "open_line"}),) if t_ns == event_ns + 1_000_000 else ()
        step = federate.step(t_ns, {**values, "soe": rows})
        came += [(t_ns, row) for row in step.outputs.get("outcome", {"outcomes": []})["outcomes"]]
        asked = step.next_ns or asked
        wakes = [(t_ns // S_NS + 1) * S_NS, event_ns + 1_000_000, asked or 0]
        t_ns = min(wake for wake in wakes if wake > t_ns)
    assert [(t, row["t_ns"], row["compared_ns"], row["horizon"]) for t, row in came] == [
        (6_501_000_000, event_ns, 6_500_000_000, "fast"),
        (7_501_000_000, event_ns, 7_500_000_000, "settled"),
    ]


def test_a_generator_at_no_power_is_not_lost_and_one_that_trips_at_no_power_is() -> None:
    idle = replace(at_rest(), gen_p_w=np.where(np.arange(10) == 0, 0.0, at_rest().gen_p_w))
    out = replace(idle, gen_status=np.where(np.arange(10) == 0, 0.0, 1.0))
    federate = EmsFederate(replace(PARAMS, scan_ns=3600 * S_NS))
    steps = []
    for k, now in enumerate((at_rest(), idle, idle, idle, idle, idle, out, out, out, out, out), start=1):
        steps.append(dict(federate.step(k * S_NS, inputs(now, k * S_NS)).outputs))
    came = [row for rows in outcomes(steps).values() for row in rows]
    assert [(row["event"], row["t_ns"]) for row in came] == [("G30", 7 * S_NS)] * 2
