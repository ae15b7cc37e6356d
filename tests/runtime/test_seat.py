"""What a seat hands to its federate and makes of its answers: ages, order, malformed outputs, rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parts import IN, OUT, Part, Solver, X, Y, run, values

from federates.runtime.federate import MS_NS, S_NS, Coupling, FederateFailure, FederationError, Injection, Link, Step
from federates.runtime.port import Port, Quality, Sample


def test_inputs_are_complete_lost_before_anything_arrives_and_stale_when_old() -> None:
    silent = Part(lambda t, i: Step({"y": Sample.of([1.0, 2.0], 0)} if t == 0 else {}))
    linked, unlinked = Port("x", "W", ("b",), max_age_ns=S_NS), Port("unlinked", "V", ("p", "q"))
    reader = Part(inputs=(linked, unlinked, Port("doc", kind="document"), IN))
    run({"silent": silent, "reader": reader}, Link("silent", "y", "reader", "x"), stop_ns=4 * S_NS)
    assert [i["x"].values.tolist() for _, i in reader.steps] == [[-1.0], [2.0], [2.0], [2.0]]
    assert [int(i["x"].quality[0]) for _, i in reader.steps] == [0, 0, Quality.STALE, Quality.STALE]
    for _, inputs in reader.steps:
        assert set(inputs) == {"x", "unlinked", "doc", "in"}
        assert np.isnan(inputs["unlinked"].values).all() and (inputs["unlinked"].quality == Quality.LOST).all()
        assert inputs["doc"].version == 0 and inputs["in"] == ()


def test_each_value_ages_by_its_own_time_of_measurement() -> None:
    source = Part(lambda t, i: Step({"y": Sample.of([1.0, 2.0], np.array([t, 0]))}))
    reader = Part(inputs=(Port("x", "W", ("b", "a"), max_age_ns=S_NS),))
    run({"source": source, "reader": reader}, Link("source", "y", "reader", "x"), stop_ns=4 * S_NS)
    assert [i["x"].quality.tolist() for _, i in reader.steps] == [[0, 0], [0, 0], [int(Quality.STALE), 0], [int(Quality.STALE), 0]]


def test_what_is_published_is_a_copy_that_nobody_can_change() -> None:
    mine = np.zeros(4)

    def act(t_ns: int, inputs: Any) -> Step:
        mine[:] = t_ns
        return Step({"y": Sample(mine[:2], np.int64(t_ns), np.zeros(2, np.uint16))})  # type: ignore[arg-type]

    reader = Part(inputs=(X,), period_ns=S_NS // 2)
    recorder = run({"source": Part(act), "reader": reader}, Link("source", "y", "reader", "x"))
    assert [v for _, v in values(recorder, "source")][1:] == [[t * 1e9, t * 1e9] for t in range(3)]
    sample = reader.steps[-1][1]["x"]
    assert sample.scalar == 2e9 and type(sample.t_ns) is int
    assert not sample.values.flags.writeable and not sample.quality.flags.writeable


def test_the_last_wish_counts_and_none_leaves_it() -> None:
    wishes = {0: 700 * MS_NS, 100 * MS_NS: 300 * MS_NS, 200 * MS_NS: None, 300 * MS_NS: S_NS}
    part = Part(lambda t, i: Step({}, wishes.get(t)), inputs=(IN,))
    injections = [Injection(t * MS_NS, "part", "in", {}) for t in (100, 200)]
    run({"part": part}, stop_ns=2 * S_NS, injections=injections)
    assert part.times() == [t * MS_NS for t in (0, 100, 200, 300, 1000)]


def test_a_wish_that_falls_into_the_rounds_of_an_instant_is_met_once() -> None:
    follower = Solver(1.0, 0.5)
    follower.act = lambda t, i: Step({"y": [0.0, 1.0]}, 1 if t == 0 else None)
    coupling = Coupling("leader", ("follower",), tolerance=1e-9)
    links = Link("leader", "y", "follower", "x"), Link("follower", "y", "leader", "x")
    run({"leader": Solver(1.0, 0.5), "follower": follower}, *links, coupling=coupling)
    assert follower.times() == [0, 1000, S_NS, 2 * S_NS]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Step({"y": [1.0]}), r"port y takes 2 values, got shape \(1,\)"),
        (Step({"y": Sample(np.zeros(2), 0, np.zeros(3, np.uint16))}), r"port y takes 2 values, got shape \(3,\)"),
        (Step({"y": Sample(np.zeros(2), np.zeros(1, np.int64), np.zeros(2, np.uint16))}), r"port y takes 2 values, got shape"),
        (Step({"y": [1.0, np.nan]}), r"port y, b: nan without a quality; flag it LOST or SUSPECT"),
        (Step({"y": [1.0, np.inf]}), r"port y, b: inf without a quality"),
        (Step({"y": "many"}), r"port y takes numbers"),
        (Step({"z": [1.0]}), r"no output port z; it has y, out"),
        (Step({"out": {"a": 1}}), r"port out takes a sequence of JSON objects"),
        (Step({"out": [{"a": object()}]}), r"port out: object cannot be written as JSON"),
        (Step({}, 0), r"its next call at 0 ns, which is not later"),
        (Step({}, 1.5), r"at 1.5; give a whole number of nanoseconds"),  # type: ignore[arg-type]
        (None, r"it returned a NoneType; return a Step"),
        (Step([]), r"its outputs are a list; give a mapping"),  # type: ignore[arg-type]
    ],
)
def test_a_malformed_answer_is_a_failure_that_says_what_is_wrong(answer: Any, message: str) -> None:
    good, bad = Part(), Part(lambda t, i: answer)
    with pytest.raises(FederateFailure, match=f"federate bad failed in .* at t = 0 s: .*{message}") as caught:
        run({"good": good, "bad": bad})
    assert (caught.value.federate, caught.value.t_ns) == ("bad", 0)
    assert good.stopped == bad.stopped == 1


def test_a_flagged_nan_is_published() -> None:
    recorder = run({"part": Part(lambda t, i: Step({"y": Sample.of([np.nan, 1.0], t, [int(Quality.LOST), 0])}))}, stop_ns=S_NS)
    assert recorder.samples["part", "y"][-1][1].quality.tolist() == [int(Quality.LOST), 0]


@pytest.mark.parametrize("first", [{}, {"y": [1.0]}, None, {"y": [np.nan, 0.0]}])
def test_a_start_without_sound_first_values_is_a_failure(first: Any) -> None:
    part = Part()
    part.first = first
    with pytest.raises(FederateFailure, match="federate part failed"):
        run({"part": part})
    assert part.stopped == 1


def test_exceptions_and_exits_become_failures_that_name_the_federate_and_the_time() -> None:
    for error, said in ((ValueError("no tap"), "ValueError: no tap"), (SystemExit(0), r"it called sys.exit\(0\)")):

        def act(t_ns: int, inputs: Any, error: BaseException = error) -> Step:
            if t_ns == S_NS:
                raise error
            return Step()

        with pytest.raises(FederateFailure, match=rf"federate part failed in step at t = 1 s: {said}"):
            run({"part": Part(act)})


def test_a_failure_in_stop_is_reported_after_all_have_stopped_and_hides_no_earlier_one() -> None:
    class Stubborn(Part):
        def stop(self) -> None:
            raise OSError("port busy")

    other = Part()
    with pytest.raises(FederateFailure, match=r"federate a failed in stop .* port busy"):
        run({"a": Stubborn(), "b": other})
    assert other.stopped == 1
    with pytest.raises(FederateFailure, match="in step") as caught:
        run({"a": Stubborn(lambda t, i: None)})
    assert "port busy" in caught.value.__notes__[0]


@pytest.mark.parametrize("period_ns", [0, -S_NS, 1500])
def test_a_period_that_is_no_positive_number_of_microseconds_is_refused(period_ns: int) -> None:
    with pytest.raises(FederationError, match=r"federate part: period .* whole number of microseconds"):
        run({"part": Part(period_ns=period_ns)})


def test_unknown_units_and_ports_named_twice_are_refused() -> None:
    with pytest.raises(FederationError, match="federate part, port p: unit 'MW' is not known; use one of 1, W"):
        run({"part": Part(outputs=(Port("p", "MW"),))})
    with pytest.raises(FederationError, match="federate part: port names used twice: y"):
        run({"part": Part(outputs=(Y, Y))})


def test_an_event_to_a_port_that_is_none_is_refused() -> None:
    for port in ("y", "orders"):
        with pytest.raises(FederationError, match=f"federate part has no event port {port}; it has in"):
            run({"part": Part(inputs=(IN,), outputs=(Y, OUT))}, injections=[Injection(0, "part", port, {})])
