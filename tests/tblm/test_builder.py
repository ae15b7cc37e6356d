"""The federate: what it publishes, when, and what it says when something is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from telemetry import Truth, ieee123_with_der, inverters

from federates.grid.der import DerStatus
from federates.grid.feeder_library import builtin_feeder
from federates.runtime.conformance import check_federate
from federates.runtime.federate import S_NS, Spec
from federates.runtime.port import Port, Quality, Sample, canonical_json
from federates.tblm.builder import TblmBuilder, TblmParams
from federates.tblm.model import LARGEST_BYTES, Tblm, evaluate, from_json


class Desk:
    """A builder, called as the runtime would call it, and what it published: (time in ns, document)."""

    def __init__(self, truth: Truth, **params: Any) -> None:
        like = truth.like_feeders
        self.truth = truth
        self.builder = TblmBuilder(TblmParams("b16", "16", truth.model, truth.settings, like_feeders=like, **params))
        self.builder.start(0)
        self.asked_ns, self.t_ns = 0, 0
        self.documents: list[tuple[int, Tblm]] = []
        self.changed: dict[str, Any] = {}

    def call(self, t_ns: int, events: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> Tblm | None:
        inputs = self.truth.inputs(self.builder.inputs, t_ns, events, **self.changed)
        step = self.builder.step(t_ns, inputs)
        assert step.next_ns is not None and step.next_ns > t_ns
        self.asked_ns = step.next_ns
        if "tblm" not in step.outputs:
            return None
        tblm = from_json(canonical_json(step.outputs["tblm"]))
        self.documents.append((t_ns, tblm))
        return tblm

    def run(self, until_ns: int, events: Mapping[int, Mapping[str, Sequence[Mapping[str, Any]]]] | None = None) -> None:
        """Call it at its periods, when it asks, and when events (by time) arrive, up to `until_ns`."""
        waiting = sorted((events or {}).items())
        while True:
            period_ns = self.builder.period_ns
            due = min(self.asked_ns, -(-(self.t_ns + 1) // period_ns) * period_ns if self.documents else 0)
            if waiting and waiting[0][0] <= due:
                due, batch = waiting.pop(0)
            else:
                batch = {}
            if due > until_ns:
                return
            self.t_ns = due
            self.call(due, batch)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(Truth(builtin_feeder("ieee13"), like_feeders=3))
    yield made
    made.builder.stop()


def test_a_document_says_what_was_measured(desk: Desk) -> None:
    tblm = desk.call(0)
    assert tblm is not None
    head_p, head_q = (float(x.sum()) for x in desk.truth.feeder.head())
    point = tblm.operating_point
    assert (point.P_W, point.Q_var) == pytest.approx((3 * head_p, 3 * head_q))
    assert (point.V_pu, point.f_Hz) == (1.01, 60.0)
    assert tblm.quality.flag == "good" and tblm.quality.reasons == () and tblm.quality.trigger == "start"
    assert tblm.like_feeders.factor == pytest.approx(3.0) and tblm.version.model_hash == desk.truth.model.hash()
    for curve in tblm.load.curves:
        at = evaluate(curve, 1.01, 60.0)
        assert (float(at.p_w), float(at.q_var)) == pytest.approx((point.P_W, point.Q_var), abs=2e-4 * tblm.bus.S_base_VA)
        assert at.inside
    parts = tblm.native_vs_der
    whole = parts.P_gross_W - parts.P_der_W + parts.P_loss_W + parts.P_unmodelled_W
    assert whole == pytest.approx(point.P_W, abs=1.0)
    assert parts.Q_gross_var - parts.Q_der_var + parts.Q_network_var + parts.Q_unmodelled_var == pytest.approx(point.Q_var, abs=1.0)
    assert tblm.load.kpf == pytest.approx(0.8, abs=0.1)


def test_largest_document_fits() -> None:
    desk = Desk(Truth(ieee123_with_der(), inverters(12, legacy=3), like_feeders=4))
    tblm = desk.call(0)
    assert tblm is not None
    step = desk.builder.step(60 * S_NS, desk.truth.inputs(desk.builder.inputs, 60 * S_NS))
    assert len(canonical_json(step.outputs["tblm"])) < LARGEST_BYTES
    assert tblm.der.in_service == 12
    der_w = pytest.approx(4 * desk.truth.der_p_w.sum(), rel=1e-3)
    assert der_w == tblm.der.P_W
    assert tblm.native_vs_der.P_der_W == pytest.approx(tblm.der.P_W, rel=1e-3)
    desk.builder.stop()


def test_curves_against_the_true_feeder_driven_to_the_same_point() -> None:
    """What delivered telemetry missed: loads that moved by 3 % after the meters were read, head measured afresh."""
    truth = Truth(builtin_feeder("ieee123"))
    desk = Desk(truth)
    old_p, old_q = truth.feeder.load_power()
    rng = np.random.default_rng(5)
    truth.p0_w = truth.p0_w * (1.0 + 0.03 * rng.standard_normal(truth.p0_w.size))
    truth.settle()
    desk.changed = {"load_p_w": Sample.of(old_p, 0), "load_q_var": Sample.of(old_q, 0)}
    tblm = desk.call(300 * S_NS)
    assert tblm is not None and tblm.quality.flag == "good"
    misses = []
    for v in np.linspace(0.93, 1.07, 8):
        truth.feeder.set_source(v)
        truth.feeder.solve()
        misses.append(float(evaluate(tblm.curve("fast"), v, 60.0).p_w) - float(truth.feeder.head()[0].sum()))
    assert 100.0 * np.abs(misses).max() / tblm.bus.S_base_VA <= 0.2
    desk.builder.stop()


def test_periodic_documents_count_up(desk: Desk) -> None:
    desk.run(180 * S_NS)
    assert [t // S_NS for t, _ in desk.documents] == [0, 60, 120, 180]
    assert [tblm.version.seq for _, tblm in desk.documents] == [1, 2, 3, 4]
    assert {tblm.quality.trigger for _, tblm in desk.documents[1:]} == {"periodic"}
    assert all(tblm.t_valid.to_ns > t + 60 * S_NS for t, tblm in desk.documents)


def test_a_switch_operation_is_marked_at_once_and_rebuilt_within_five_seconds(desk: Desk) -> None:
    desk.run(70 * S_NS)
    before = desk.documents[-1][1]
    desk.truth.feeder.set_switch("671692", False)
    desk.truth.settle()
    event_ns = 70 * S_NS + 250_000_000
    desk.run(80 * S_NS, {event_ns: {"soe": [{"event": "switch", "element": "671692", "closed": False}]}})
    (marked_ns, marked), (rebuilt_ns, rebuilt) = desk.documents[-2:]
    assert marked_ns - event_ns <= S_NS and rebuilt_ns - event_ns <= 5 * S_NS
    assert marked.quality.flag == "questionable" and marked.quality.trigger == "topology"
    assert marked.load == before.load and marked.version.seq == before.version.seq + 1
    assert rebuilt.quality.trigger == "topology" and rebuilt.quality.flag == "good"
    assert rebuilt.native_vs_der.P_gross_W < 0.9 * before.native_vs_der.P_gross_W, "the load behind the switch is gone"


def test_a_change_that_only_telemetry_shows_is_found(desk: Desk) -> None:
    desk.run(70 * S_NS)
    desk.truth.feeder.set_capacitor("cap1", 0)
    desk.truth.settle()
    desk.run(80 * S_NS)
    assert [tblm.quality.trigger for _, tblm in desk.documents[-2:]] == ["capacitor", "capacitor"]
    assert desk.documents[-1][0] <= 75 * S_NS and desk.documents[-1][1].quality.flag == "good"


def test_a_tap_move_is_no_event(desk: Desk) -> None:
    desk.run(70 * S_NS)
    desk.truth.feeder.set_taps(desk.truth.feeder.taps() + np.array([1, 0, 0, 0]))
    desk.truth.feeder.solve()
    desk.run(80 * S_NS)
    assert len(desk.documents) == 2


def test_a_storm_is_coalesced_and_its_last_event_kept(desk: Desk) -> None:
    """A recloser's shots: forty changes in ten seconds, the last of them open."""
    desk.run(60 * S_NS)
    count = len(desk.documents)
    toggles = {61 * S_NS + k * 250_000_000: k % 2 == 1 for k in range(41)}
    for t_ns, closed in toggles.items():
        desk.truth.feeder.set_switch("671692", closed)
        desk.truth.settle()
        desk.run(t_ns, {t_ns: {"soe": [{"event": "switch", "element": "line.671692"}]}})
    desk.run(80 * S_NS)
    times = [t for t, _ in desk.documents[count:]]
    assert all(b - a >= S_NS for a, b in pairwise(times))
    assert times[0] - 61 * S_NS <= S_NS, "marked at once"
    assert max(b - a for a, b in pairwise(times)) <= 6 * S_NS, "a storm does not put the rebuild off for ever"
    last_ns, last = desk.documents[-1]
    assert last_ns - max(toggles) <= 5 * S_NS and last.quality.flag == "good"
    fresh = Desk(desk.truth)
    reference = fresh.call(last_ns)
    fresh.builder.stop()
    assert reference is not None
    assert last.native_vs_der.P_gross_W == pytest.approx(reference.native_vs_der.P_gross_W, rel=1e-6), (
        "the last state, not an earlier one"
    )


def test_a_der_trip_is_published() -> None:
    truth = Truth(ieee123_with_der(4), inverters(4))
    desk = Desk(truth)
    desk.run(60 * S_NS)
    truth.der_status = np.array([float(DerStatus.TRIP), 2.0, 2.0, 2.0])
    truth.der_p_w = truth.der_p_w * (truth.der_status > 0)
    truth.settle()
    desk.run(70 * S_NS, {63 * S_NS: {"soe": [{"event": "trip", "der": "der1"}]}})
    t_ns, last = desk.documents[-1]
    assert t_ns <= 68 * S_NS and last.quality.trigger == "der" and last.der.in_service == 3
    assert last.quality.flag == "good"
    desk.builder.stop()


def test_power_off_the_curve_makes_a_rebuild(desk: Desk) -> None:
    desk.run(70 * S_NS)
    desk.truth.p0_w = desk.truth.p0_w * 1.05
    desk.truth.settle()
    desk.run(80 * S_NS)
    t_ns, last = desk.documents[-1]
    assert last.quality.trigger == "deviation" and t_ns <= 76 * S_NS
    bus_p_w = 3 * float(desk.truth.feeder.head()[0].sum())
    assert pytest.approx(bus_p_w) == last.operating_point.P_W


def test_power_off_the_curve_that_is_not_sent_again_makes_one_rebuild(desk: Desk) -> None:
    """SCADA reports by exception: a step of the load is told once, and silence says that it stands."""
    desk.run(70 * S_NS)
    desk.truth.p0_w = desk.truth.p0_w * 1.05
    desk.truth.settle()
    told_w = desk.truth.values()["bus_p_w"].astype(float)
    desk.changed = {"bus_p_w": Sample.of(told_w, 70 * S_NS)}
    desk.run(100 * S_NS)
    found = [(t_ns, tblm) for t_ns, tblm in desk.documents if tblm.quality.trigger == "deviation"]
    assert len(found) == 1 and found[0][0] <= 76 * S_NS
    assert pytest.approx(3 * float(desk.truth.feeder.head()[0].sum())) == found[0][1].operating_point.P_W


def test_a_request_is_answered_and_a_refusal_answered_once(desk: Desk) -> None:
    desk.run(70 * S_NS)
    desk.run(75 * S_NS, {71 * S_NS: {"request": [{"why": "operator"}]}})
    assert desk.documents[-1][0] == 71 * S_NS and desk.documents[-1][1].quality.trigger == "request"
    desk.run(125 * S_NS)
    seq = desk.documents[-1][1].version.seq
    refusal = {"ack": [{"bus": "16", "seq": seq, "accepted": False, "reason": "expired"}]}
    desk.run(130 * S_NS, {126 * S_NS: refusal})
    assert desk.documents[-1][1].version.seq == seq + 1
    desk.run(140 * S_NS, {131 * S_NS: {"ack": [{"bus": "16", "seq": seq + 1, "accepted": False, "reason": "no"}]}})
    assert desk.documents[-1][1].version.seq == seq + 1


def test_a_refusal_of_another_bus_or_of_an_older_document_is_not_answered(desk: Desk) -> None:
    desk.run(70 * S_NS)
    count, seq = len(desk.documents), desk.documents[-1][1].version.seq
    acks = [{"bus": "15", "seq": seq}, {"bus": "16", "seq": seq - 1}, {"seq": seq}]
    desk.run(80 * S_NS, {71 * S_NS: {"ack": [{**ack, "accepted": False, "reason": "no"} for ack in acks]}})
    assert len(desk.documents) == count


# ---- missing and wrong telemetry


def test_before_telemetry_arrives_the_document_is_bad_and_never_zero(desk: Desk) -> None:
    desk.changed = {p.name: Sample.missing(p.size) for p in desk.builder.inputs if p.kind == "vector"}
    first = desk.call(0)
    assert first is not None and first.quality.flag == "bad" and "head_p_w not measured" in first.quality.reasons
    assert evaluate(first.curve("fast"), 1.0, 60.0).p_w > 0.5 * first.bus.S_base_VA, "the network file's own loads, not 0 kW"
    desk.t_ns = 0
    desk.run(2 * S_NS)
    desk.changed = {}
    desk.run(10 * S_NS)
    t_ns, last = desk.documents[-1]
    assert last.quality.flag == "good" and t_ns <= 7 * S_NS, "not only at the next period"
    assert {tblm.quality.trigger for _, tblm in desk.documents} == {"start"}, "nothing has changed, it was only heard of"


def test_states_that_are_heard_of_later_are_no_change_and_those_that_come_back_changed_are(desk: Desk) -> None:
    values = desk.truth.values()
    desk.changed = {"switch": Sample.missing(1), "capacitor": Sample.missing(2)}
    assert desk.call(0) is not None
    desk.t_ns = 0
    desk.changed = {}
    desk.run(10 * S_NS)
    assert [tblm.quality.trigger for _, tblm in desk.documents] == ["start"] * 3 and desk.documents[-1][1].quality.flag == "good"
    desk.changed = {"switch": Sample.of(values["switch"].astype(float), 10 * S_NS, int(Quality.LOST))}
    desk.run(20 * S_NS)
    desk.changed = {}
    desk.truth.feeder.set_switch("671692", False)
    desk.truth.settle()
    desk.run(30 * S_NS)
    assert [tblm.quality.trigger for _, tblm in desk.documents[3:]] == ["topology"] * 2


def test_loss_of_scada_is_said_and_ended(desk: Desk) -> None:
    desk.run(60 * S_NS)
    values = desk.truth.values()
    desk.changed = {
        p.name: Sample.of(values[p.name].astype(float), 59 * S_NS, int(Quality.LOST))
        for p in desk.builder.inputs
        if p.kind == "vector" and p.name not in ("load_p_w", "load_q_var", "coverage")
    }
    desk.run(130 * S_NS)
    lost = desk.documents[-1][1]
    assert lost.quality.flag == "bad" and lost.quality.scada_ok == 0.0
    assert evaluate(lost.curve("settled"), 1.0, 60.0).p_w > 0.5 * lost.bus.S_base_VA
    desk.changed = {}
    desk.run(140 * S_NS)
    assert desk.documents[-1][1].quality.flag == "good" and desk.documents[-1][1].quality.trigger == "recovery"


def test_stale_values_make_it_questionable_with_the_reason(desk: Desk) -> None:
    values = desk.truth.values()["tap"].astype(float)
    desk.changed = {"tap": Sample.of(values, 0, int(Quality.STALE))}
    tblm = desk.call(60 * S_NS)
    assert tblm is not None and tblm.quality.flag == "questionable"
    assert tblm.quality.reasons == ("tap: 4 of 4 not good",) and tblm.quality.max_age_s == 60.0
    tap = next(s for s in tblm.sources if s.name == "tap")
    assert (tap.flag, tap.good, tap.oldest_s) == ("questionable", 0, 60.0)


def test_a_failed_study_repeats_the_last_curves_with_the_reason(desk: Desk) -> None:
    desk.run(60 * S_NS)
    good = desk.documents[-1][1]
    desk.changed = {"head_p_w": Sample.of([9e7, 9e7, 9e7], 119 * S_NS), "head_q_var": Sample.of([9e7, 9e7, 9e7], 119 * S_NS)}
    desk.run(120 * S_NS)
    repeated = desk.documents[-1][1]
    assert repeated.quality.flag == "questionable" and "study failed" in repeated.quality.reasons[0]
    assert repeated.load == good.load and repeated.version.seq > good.version.seq
    assert repeated.t_valid.t_meas_ns == good.t_valid.t_meas_ns, "as old as it is"


def test_values_that_were_not_delivered_play_no_part() -> None:
    """The truth changes all the time; a builder that is fed an old delivery gives bit for bit what it gives when the truth
    stands still."""
    truth = Truth(builtin_feeder("ieee13"))
    frozen = {name: Sample.of(value.astype(float), 0) for name, value in truth.values().items()}
    texts = []
    for moves in (False, True):
        desk = Desk(truth)
        desk.changed = dict(frozen)
        if moves:
            truth.p0_w, truth.v_pu = truth.p0_w * 3.0, 0.9
            truth.settle()
        desk.run(120 * S_NS)
        texts.append([repr(document) for document in desk.documents])
        desk.builder.stop()
    assert texts[0] == texts[1]


# ---- contract


def test_two_builders_give_the_same_bits() -> None:
    texts = []
    for _ in range(2):
        desk = Desk(Truth(ieee123_with_der(4), inverters(4)))
        desk.run(130 * S_NS, {65 * S_NS: {"request": [{}]}})
        texts.append([(t, repr(tblm)) for t, tblm in desk.documents])
        desk.builder.stop()
    assert texts[0] == texts[1]


def telemetry_for_conformance(port: Port, t_ns: int) -> Any:
    """Plausible telemetry of IEEE 13 for `check_federate`; events of every kind."""
    if port.kind == "event":
        return [{"element": "671692"}] if t_ns else []
    if port.kind == "document":
        found = {"e_pu": 1.04, "r_pu": 0.01, "x_pu": 0.1, "s_base_va": 1e7, "error_pu": 1e-4}
        return canonical_json({"t_ns": t_ns, "valid_to_ns": t_ns + 180 * S_NS, "buses": {"16": found}, "after": {}, "failed": {}})
    values = _TRUTH.values()[port.name].astype(float)
    return Sample.of(values, max(t_ns - S_NS, 0))


_TRUTH = Truth(builtin_feeder("ieee13"))


def test_conformance() -> None:
    spec = Spec("tblm", "federates.tblm.builder:TblmBuilder", TblmParams("b16", "16", builtin_feeder("ieee13")))
    assert check_federate(spec, telemetry_for_conformance) == []


def test_ports_follow_the_model() -> None:
    bare, with_der = Desk(Truth(builtin_feeder("ieee34"))), Desk(Truth(ieee123_with_der(4), inverters(4)))
    names = {p.name for p in bare.builder.inputs}
    assert not names & {"der_p_w", "der_q_var", "der_status", "der_available_w", "switch"}
    ports = {p.name: p for p in with_der.builder.inputs}
    assert ports["der_p_w"].ids == with_der.truth.feeder.der_names
    assert ports["f_hz"].ids == () and ports["bus_v_pu"].ids == ("16",) and ports["coverage"].ids == ("bus",)
    assert [(p.name, p.kind) for p in with_der.builder.outputs] == [("tblm", "document"), ("verification", "document")]
    bare.builder.stop()
    with_der.builder.stop()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"like_feeders": 0}, "like_feeders = 0; give 1 or more"),
        ({"period_ns": 0}, "times must be positive"),
        ({"longest_wait_ns": S_NS}, "longest_wait_ns at least debounce_ns"),
        ({"s_base_va": -1.0}, "give a positive number"),
    ],
)
def test_parameters_are_checked(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TblmParams("b16", "16", builtin_feeder("ieee13"), **wrong)


def test_settings_and_sites_must_match() -> None:
    with pytest.raises(ValueError, match="4 DER sites in the feeder model, 3 in the DER settings"):
        TblmBuilder(TblmParams("b16", "16", ieee123_with_der(4), inverters(3)))
