"""The rules of the contract on random federations, checked against what was recorded."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from small import STOP_NS, SmallFederate, arrivals, random_federation

from federates.runtime.answer import bits_of
from federates.runtime.federate import Federation
from federates.runtime.local import run_local
from federates.runtime.port import Quality
from federates.runtime.record import MemoryRecorder
from federates.runtime.seat import next_instant

seeds = st.integers(0, 2**32)


def walk(federation: Federation) -> tuple[MemoryRecorder, dict[str, SmallFederate]]:
    recorder = MemoryRecorder()
    federates = {spec.name: SmallFederate(spec.params) for spec in federation.specs}
    run_local(federation, recorder, federates=federates)
    return recorder, federates


def iterates(t_ns: int, federation: Federation, name: str) -> bool:
    """Whether a federate iterates at t."""
    coupling = federation.coupling
    if coupling is None or name not in (coupling.leader, *coupling.followers):
        return False
    return t_ns == 0 or (coupling.always and t_ns % federation.spec(name).params.period_ns == 0)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_every_event_is_delivered_once_and_in_order_when_it_arrives(seed: int) -> None:
    federation = random_federation(seed)
    recorder, federates = walk(federation)
    for name, federate in federates.items():
        got = []
        for t_ns, inputs in federate.steps:
            batch = [event.order for event in inputs["news"]]
            assert batch == sorted(batch)
            got += [(t_ns, order) for order in batch]
        assert Counter(got) == Counter(arrivals(federation, name, recorder.events))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_calls_go_forward_and_each_has_its_reason(seed: int) -> None:
    federation = random_federation(seed)
    recorder, federates = walk(federation)
    for name, federate in federates.items():
        period_ns, asked_ns = federate.period_ns, None
        arriving = {at for at, _ in arrivals(federation, name, recorder.events)}
        times = [t_ns for t_ns, _ in federate.steps]
        assert all(0 <= t_ns < STOP_NS for t_ns in times)
        for before, after in pairwise(times):  # twice at one instant only where rounds follow an event
            assert before < after or (before == after > 0 and iterates(before, federation, name) and before in arriving)
        assert sorted({t_ns for t_ns in times if t_ns % period_ns == 0}) == list(range(0, STOP_NS, period_ns))
        again = SmallFederate(federate.params)
        for t_ns, inputs in federate.steps:
            assert t_ns % period_ns == 0 or t_ns == asked_ns or t_ns in arriving, f"{name} was called at {t_ns} for no reason"
            wish_ns = again.step(t_ns, inputs).next_ns
            asked_ns = asked_ns if wish_ns is None else next_instant(wish_ns)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_inputs_are_what_was_published_strictly_before(seed: int) -> None:
    federation = random_federation(seed, coupled=False)
    recorder, federates = walk(federation)
    for link in federation.links:
        if link.source_port != "y":
            continue
        rows = recorder.samples[link.source, "y"]
        position = ["abc".index(i) for i in dict(federation.spec(link.target).params.reads)[link.target_port]]
        for t_ns, inputs in federates[link.target].steps:
            published = [sample for at, sample in rows if at < t_ns] or [rows[0][1]]
            held, sent = inputs[link.target_port], published[-1]
            assert held.values.tolist() == sent.values[position].tolist() and held.t_ns == sent.t_ns
            stale = sent.age_ns(t_ns) > 150_000_000
            assert held.quality.tolist() == (sent.quality | stale * int(Quality.STALE))[position].tolist()


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_the_same_federation_gives_the_same_bits(seed: int) -> None:
    first, second = (walk(random_federation(seed)) for _ in range(2))
    assert first[0].calls == second[0].calls and first[0].events == second[0].events
    for name, federate in first[1].items():
        ours, theirs = ([(t, bits_of(i, t)) for t, i in f.steps] for f in (federate, second[1][name]))
        assert ours == theirs
