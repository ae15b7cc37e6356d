"""Who may run ahead of whom, and what travels then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federates.runtime.ahead import Inbox, Outbox, order_of, windows
from federates.runtime.federate import S_NS, Coupling, Federation, FederationError, Link, Spec
from federates.runtime.local import check_names

GROUPS = {"field": ("a", "b"), "middle": ("c",), "studies": ("d", "e")}
LINKS = (Link("a", "y", "c", "x"), Link("c", "y", "d", "x"), Link("b", "y", "e", "x"), Link("d", "y", "e", "x"))


def federation(*links: Link) -> Federation:
    specs = tuple(Spec(name, "nowhere:Nothing", None) for name in "abcde")
    return Federation("ahead", 25 * S_NS, specs, links, groups=GROUPS)


def test_processes_without_a_way_back_are_ordered_by_how_deep_they_lie() -> None:
    order = order_of(federation(*LINKS))
    assert order is not None
    assert order.depth == {"field": 0, "middle": 1, "studies": 2}
    assert order.below == {"field": {"middle", "studies"}, "middle": {"studies"}, "studies": frozenset()}


@pytest.mark.parametrize("back", [Link("d", "y", "a", "x"), Link("e", "y", "c", "x")])
def test_a_way_back_makes_them_go_in_step(back: Link) -> None:
    assert order_of(federation(*LINKS, back)) is None


def test_so_do_coupling_across_processes_a_clock_on_the_wall_and_one_process() -> None:
    plain = federation(*LINKS)
    assert order_of(replace(plain, coupling=Coupling("a", ("c",)))) is not None  # the leader above its followers: one way only
    assert order_of(replace(plain, coupling=Coupling("a", ("c",)), links=(*LINKS, Link("c", "y", "a", "x")))) is None
    assert order_of(replace(plain, real_time=True)) is None
    assert order_of(replace(plain, groups={"all": tuple("abcde")})) is None


def test_windows_cover_the_run() -> None:
    assert list(windows(federation())) == [(0, 10 * S_NS), (10 * S_NS, 20 * S_NS), (20 * S_NS, 25 * S_NS)]
    with pytest.raises(FederationError, match="window"):
        check_names(replace(federation(), window_ns=1_500_000))


def test_a_bundle_gives_each_message_at_its_instant() -> None:
    outbox, inbox = Outbox(), Inbox("link a.y -> b.x")
    for wire_ns, message in ((-1, b"start"), (0, b"zero"), (5, b""), (10, b"ten")):
        outbox.add(wire_ns, message)
    inbox.accept(outbox.bundle(3), 3)
    assert [inbox.before(t) for t in (0, 0, 6, 10, 11, 12)] == [b"start", None, b"", None, b"ten", None]
    inbox.accept(outbox.bundle(4), 4)
    assert list(inbox.all()) == []


def test_of_windows_in_which_nobody_looked_only_the_last_message_is_kept() -> None:
    """A reader that is called once in an hour would else keep an hour of everything."""
    outbox, inbox = Outbox(), Inbox("here")
    for window in range(100):
        for wire_ns in (10 * window, 10 * window + 5):
            outbox.add(wire_ns, f"{wire_ns}".encode())
        inbox.accept(outbox.bundle(window), window)
        assert len(inbox.messages) <= 3
    assert inbox.before(991) == b"990"
    inbox.accept(outbox.bundle(100), 100)
    assert inbox.before(1001) == b"995"


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"", lambda b: b[:20]])
def test_a_bundle_that_is_cut_or_of_another_window_is_refused(harm: object) -> None:
    outbox = Outbox()
    outbox.add(7, b"something")
    bundle = outbox.bundle(2)
    with pytest.raises(FederationError, match="window 2 came in place of that of window 3"):
        Inbox("here").accept(bundle, 3)
    with pytest.raises(FederationError, match="that are no bundle of ours"):
        Inbox("here").accept(harm(bundle), 2)  # type: ignore[operator]
