"""The plain loop: links, order of calls, events, coupling."""

from __future__ import annotations

from typing import Any

import pytest
from parts import IN, OUT, Part, Solver, X, federation, run, values

from federates.runtime.federate import MS_NS, S_NS, Coupling, FederateFailure, FederationError, Injection, Link, Step
from federates.runtime.local import run_local
from federates.runtime.port import Port
from federates.runtime.record import MemoryRecorder

BOTH = Link("leader", "y", "follower", "x"), Link("follower", "y", "leader", "x")


def test_a_federate_is_called_at_its_period_at_wishes_and_when_events_arrive() -> None:
    sender = Part(lambda t, i: Step({"out": [{"n": t}]}, t + 300 * MS_NS if t % S_NS == 0 else None))
    reader = Part(inputs=(IN,), period_ns=2 * S_NS)
    run({"sender": sender, "reader": reader}, Link("sender", "out", "reader", "in", 5 * MS_NS), stop_ns=2 * S_NS)
    assert sender.times() == [0, 300 * MS_NS, S_NS, 1300 * MS_NS]
    assert reader.times() == [0, 5 * MS_NS, 305 * MS_NS, S_NS + 5 * MS_NS, 1305 * MS_NS]
    assert [[e.payload["n"] for e in i["in"]] for _, i in reader.steps] == [[], [0], [300 * MS_NS], [S_NS], [1300 * MS_NS]]


def test_a_value_wakes_nobody_and_is_seen_strictly_after_it_was_published() -> None:
    ping = Part(lambda t, i: Step({"y": [0.0, i["x"].scalar + 1.0]}), inputs=(X,))
    pong = Part(lambda t, i: Step({"y": [0.0, 10.0 * i["x"].scalar]}), inputs=(X,))
    slow = Part(inputs=(X,), period_ns=2 * S_NS)
    links = Link("ping", "y", "pong", "x"), Link("pong", "y", "ping", "x"), Link("ping", "y", "slow", "x")
    recorder = run({"ping": ping, "pong": pong, "slow": slow}, *links)
    assert [v[1] for _, v in values(recorder, "ping")] == [-1.0, 0.0, -9.0, 1.0]
    assert [v[1] for _, v in values(recorder, "pong")] == [-1.0, -10.0, 0.0, -90.0]
    assert [(t, i["x"].scalar) for t, i in slow.steps] == [(0, -1.0), (2 * S_NS, -9.0)]


def test_events_of_one_call_come_in_the_order_of_time_source_and_sequence() -> None:
    """Sent at 0 and 100 ms over links whose delays let them arrive together, with the scenario's own between."""
    late = Part(lambda t, i: Step({"out": [{"n": k} for k in range(2)]}), period_ns=100 * MS_NS)
    early = Part(lambda t, i: Step({"out": [{"n": 7}]} if t == 0 else {}))
    reader = Part(inputs=(IN,), period_ns=S_NS)
    links = Link("late", "out", "reader", "in", 100 * MS_NS), Link("early", "out", "reader", "in", 200 * MS_NS)
    run(
        {"reader": reader, "late": late, "early": early},
        *links,
        stop_ns=250 * MS_NS,
        injections=[Injection(200 * MS_NS, "reader", "in", {})],
    )
    (batch,) = [i["in"] for t, i in reader.steps if t == 200 * MS_NS]
    assert [(e.t_ns // MS_NS, e.source, e.seq) for e in batch] == [
        (0, "early.out", 1),
        (100, "late.out", 3),
        (100, "late.out", 4),
        (200, "scenario.reader.in", 1),
    ]


def test_events_beyond_the_stop_are_not_delivered_and_are_recorded_as_sent() -> None:
    sender, reader = Part(lambda t, i: Step({"out": [{}]})), Part(inputs=(IN,))
    recorder = run({"sender": sender, "reader": reader}, Link("sender", "out", "reader", "in", S_NS), stop_ns=2 * S_NS)
    assert [e.t_ns for e in recorder.events] == [0, S_NS]
    assert [len(i["in"]) for _, i in reader.steps] == [0, 1]


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (Link("nobody", "y", "b", "x"), "there is no federate nobody"),
        (Link("a", "z", "b", "x"), "a has no output z; it has y, out"),
        (Link("a", "y", "b", "z"), "b has no input z; it has x, in, volts, all, lone"),
        (Link("a", "out", "b", "x"), "a event cannot feed a vector"),
        (Link("a", "y", "b", "volts"), "unit W cannot feed unit V; link ports of one unit"),
        (Link("a", "y", "b", "all"), "the source has no c; it has a, b"),
        (Link("a", "y", "b", "lone"), "the source has no scalar value; it has a, b"),
        (Link("a", "out", "b", "in", 0), "an event needs a delay of at least a microsecond"),
        (Link("a", "out", "b", "in", 999), "an event needs a delay of at least a microsecond"),
    ],
)
def test_a_link_that_does_not_fit_is_refused_with_its_name(link: Link, message: str) -> None:
    inputs = (X, IN, Port("volts", "V", ("a",)), Port("all", "W", ("a", "c")), Port("lone", "W"))
    a, b = Part(), Part(inputs=inputs)
    where = f"link {link.source}.{link.source_port} -> {link.target}.{link.target_port}"
    with pytest.raises(FederationError, match=f"{where}: {message}"):
        run({"a": a, "b": b}, link)
    assert (a.times(), a.stopped, b.stopped) == ([], 1, 1)


def test_an_input_takes_one_source_and_an_event_port_several() -> None:
    reader = Part(inputs=(X, IN))
    parts = {"a": Part(lambda t, i: Step({"out": [{}]})), "b": Part(lambda t, i: Step({"out": [{}]})), "reader": reader}
    run(parts, Link("a", "out", "reader", "in"), Link("b", "out", "reader", "in"), stop_ns=S_NS)
    assert [len(i["in"]) for _, i in reader.steps] == [0, 2]
    with pytest.raises(FederationError, match=r"reader\.x: this input already has a source"):
        run(parts, Link("a", "y", "reader", "x"), Link("b", "y", "reader", "x"))


def test_federations_that_cannot_be_are_refused() -> None:
    with pytest.raises(FederationError, match="the federation is empty"):
        run({})
    with pytest.raises(FederationError, match="used twice: a"):
        run_local(federation(["a", "a"]), MemoryRecorder(), federates={"a": Part()})
    with pytest.raises(FederationError, match="the run stops at 1500 ns"):
        run({"a": Part()}, stop_ns=1500)
    with pytest.raises(FederationError, match="an event names b, and there is no such federate; there are a"):
        run({"a": Part(inputs=(IN,))}, injections=[Injection(0, "b", "in", {})])
    with pytest.raises(FederationError, match="coupling names b"):
        run({"a": Solver(0.0, 0.0)}, coupling=Coupling("a", ("b",)))
    with pytest.raises(FederationError, match="federate b takes part in coupling and lacks solve"):
        run({"a": Solver(0.0, 0.0), "b": Part()}, coupling=Coupling("a", ("b",)))
    with pytest.raises(FederationError, match="max_iterations is 1000; give 1 to 95"):
        run({"a": Solver(0.0, 0.0)}, coupling=Coupling("a", (), max_iterations=1000))
    with pytest.raises(FederationError, match="coupled federates need one period, and have leader"):
        parts = {"leader": Solver(0.0, 0.0), "follower": Solver(0.0, 0.0, 2 * S_NS)}
        run(parts, *BOTH, coupling=Coupling("leader", ("follower",), always=True))


@pytest.mark.parametrize("order", [("leader", "follower"), ("follower", "leader")])
@pytest.mark.parametrize("always", [False, True])
def test_coupled_federates_come_to_their_fixed_point_whatever_their_order(order: tuple[str, str], always: bool) -> None:
    """a = 1 + b / 10, b = 2 + a / 10 gives a = 1.2 / 0.99."""
    made: dict[str, Any] = {"leader": Solver(1.0, 0.1), "follower": Solver(2.0, 0.1)}
    coupling = Coupling("leader", ("follower",), always, 1e-9)
    recorder = run({name: made[name] for name in order}, *BOTH, coupling=coupling, stop_ns=2 * S_NS)
    committed = [v[1] for _, v in values(recorder, "leader")[1:]]
    assert committed == pytest.approx([1.2 / 0.99] * 2, abs=1e-9 if always else 1e-7)
    state = values(recorder, "leader", "coupling")
    assert [v[0] for _, v in state] == [0.0] * len(state) and len(state) == (3 if always else 2)
    assert all(0.0 <= v[2] <= 1e-9 for _, v in state) and 4 <= state[1][1][1] <= 7
    assert made["follower"].times() == made["leader"].times() == [0, S_NS]
    assert made["leader"].solves == made["follower"].solves + len(state) - 1


def test_a_bystander_sees_the_commit_only() -> None:
    reader = Part(inputs=(X,), period_ns=S_NS // 2)
    parts = {"leader": Solver(1.0, 0.1), "follower": Solver(2.0, 0.1), "reader": reader}
    recorder = run(parts, *BOTH, Link("leader", "y", "reader", "x"), coupling=Coupling("leader", ("follower",), True, 1e-9))
    published = {v[1] for _, v in values(recorder, "leader")}
    assert {i["x"].scalar for _, i in reader.steps} <= published


def test_events_during_the_rounds_wait_until_they_are_over() -> None:
    leader, follower = Solver(1.0, 0.1), Solver(2.0, 0.1)
    injections = [Injection(t, name, "in", {}) for name in ("leader", "follower") for t in (0, 3, S_NS, S_NS + 4)]
    coupling = Coupling("leader", ("follower",), True, 1e-9)
    run({"leader": leader, "follower": follower}, *BOTH, coupling=coupling, injections=injections, stop_ns=2 * S_NS)
    for part in (leader, follower):
        calls = [(t, [e.t_ns for e in i["in"]]) for t, i in part.steps]
        # at 0 the commit takes them; later the event has its own call, then comes the commit
        assert calls == [(0, [0]), (1000, [3]), (S_NS, [S_NS]), (S_NS, []), (S_NS + 1000, [S_NS + 4])]


def test_a_group_that_does_not_converge_is_named_with_what_to_do() -> None:
    parts = {"leader": Solver(1.0, 2.0), "follower": Solver(2.0, 2.0)}
    with pytest.raises(FederateFailure, match=r"leader failed in coupling at t = 0 s: no convergence in 5 iterations: residual .*"
                                              r"raise coupling.max_iterations") as caught:  # fmt: skip
        run(parts, *BOTH, coupling=Coupling("leader", ("follower",), max_iterations=5))
    assert caught.value.federate == "leader"


def test_a_follower_with_a_shorter_period_iterates_at_the_start_only() -> None:
    leader, follower = Solver(1.0, 0.1), Solver(2.0, 0.1, S_NS // 2)
    run({"leader": leader, "follower": follower}, *BOTH, coupling=Coupling("leader", ("follower",)), stop_ns=S_NS)
    assert follower.times() == [0, S_NS // 2] and follower.solves > 2
    assert OUT in leader.outputs
