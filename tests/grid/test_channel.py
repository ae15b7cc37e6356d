"""The seeded channel: known answers, independence of batches, and the distributions it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.grid.channel import LOST_NS, Channel, ChannelParams, Confirmed, philox4x32

S_NS = 1_000_000_000
MESH = ChannelParams(latency_s=1.5, sigma=0.5, jitter_s=0.2, loss=0.1, duplicate=0.2)

# Known answers of philox4x32-10, from the test vectors of Random123 (D. E. Shaw Research): counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: tuple[int, ...], key: tuple[int, int], result: tuple[int, ...]) -> None:
    assert tuple(philox4x32(np.array(counter, np.uint64)[:, None], key)[:, 0].tolist()) == result


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(60)), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_the_same_message_has_the_same_fate_in_any_batch_and_order(order: list[int], cuts: list[int]) -> None:
    channel, message = Channel(MESH, 7, "mesh"), np.arange(60)
    hops = 1 + message % 8
    whole = channel.send(0, 3, message, hops)
    for part in np.split(np.array(order), sorted(set(cuts) - {60})):
        if part.size:
            piece = channel.send(0, 3, message[part], hops[part])
            assert np.array_equal(piece.arrival_ns, whole.arrival_ns[part])
            assert np.array_equal(piece.duplicate_ns, whole.duplicate_ns[part])


def test_every_part_of_the_identity_counts() -> None:
    message = np.arange(500)
    base = Channel(MESH, 7, "mesh").send(0, 3, message).arrival_ns
    others = [
        Channel(MESH, 8, "mesh").send(0, 3, message),
        Channel(MESH, 7, "other").send(0, 3, message),
        Channel(MESH, 7, "mesh").send(0, 4, message),
        Channel(MESH, 7, "mesh").send(0, 3, message + 2**33),
        Channel(MESH, 7, "mesh").send(0, 3, message, attempt=1),
    ]
    for other in others:
        assert np.mean(other.arrival_ns == base) < 0.05  # lost in both


def test_latency_loss_and_duplicates_have_the_configured_distribution() -> None:
    n = 40_000
    link = ChannelParams(latency_s=1.5, sigma=0.5, loss=0.1, duplicate=0.2)
    delivery = Channel(link, 1, "cdf").send(0, 0, np.arange(n))
    arrived = np.sort(delivery.arrival_ns[~delivery.lost] / S_NS)
    for part in (0.05, 0.25, 0.5, 0.75, 0.95):
        from_normal = {0.05: -1.6448536, 0.25: -0.6744898, 0.5: 0.0, 0.75: 0.6744898, 0.95: 1.6448536}[part]
        assert arrived[int(part * arrived.size)] == pytest.approx(1.5 * np.exp(0.5 * from_normal), rel=0.05)
    assert delivery.lost.mean() == pytest.approx(0.1, abs=0.01)
    twice = (delivery.duplicate_ns != LOST_NS)[~delivery.lost]
    assert twice.mean() == pytest.approx(0.2, abs=0.01)
    assert not (delivery.duplicate_ns != LOST_NS)[delivery.lost].any()


def test_hops_add_up_and_are_independent() -> None:
    channel = Channel(ChannelParams(latency_s=1.0, sigma=0.5), 1, "hops")
    delay_s = channel.send(0, 0, np.arange(20_000), 6).arrival_ns / S_NS
    assert delay_s.mean() == pytest.approx(6 * np.exp(0.125), rel=0.02)
    assert delay_s.var() == pytest.approx(6 * (np.exp(0.25) - 1) * np.exp(0.25), rel=0.06)


def test_fixed_latency_and_jitter() -> None:
    assert Channel(ChannelParams(latency_s=0.25), 1, "x").send(S_NS, 0, 1, 3).arrival_ns.tolist() == [1_750_000_000]
    delay = Channel(ChannelParams(latency_s=0.25, jitter_s=0.1), 1, "x").send(0, 0, np.arange(5000)).arrival_ns / S_NS
    assert 0.25 <= delay.min() < 0.251 and 0.349 < delay.max() < 0.35


def test_an_outage_loses_what_is_sent_in_it() -> None:
    channel = Channel(ChannelParams(latency_s=5.0, outages_s=((10.0, 20.0),)), 1, "x")
    sent = np.array([9, 10, 19, 20]) * S_NS
    assert channel.send(sent, 0, np.arange(4)).lost.tolist() == [False, True, True, False]


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"latency_s": -1.0}, {"sigma": float("nan")}, {"outages_s": ((2.0, 1.0),)}])
def test_impossible_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        ChannelParams(**wrong)


def _transfer(link: ChannelParams, seed: int, items: int, attempts: int | None = None) -> tuple[list, list, int]:
    confirmed: Confirmed[int] = Confirmed(Channel(link, seed, "there"), Channel(link, seed, "back"), S_NS, attempts)
    arrived, given_up = [], []
    for k in range(items):
        assert confirmed.offer(k * S_NS // 10, k, k)
        assert not confirmed.offer(k * S_NS // 10, k, k)
    while confirmed.next_ns != LOST_NS:
        done = confirmed.advance(confirmed.next_ns)
        arrived += done.arrived
        given_up += done.given_up
    return arrived, given_up, confirmed.repeats_dropped


def test_a_confirmed_transfer_delivers_each_item_once_over_a_lossy_link() -> None:
    link = ChannelParams(latency_s=0.3, sigma=0.8, loss=0.3, duplicate=0.3)
    arrived, given_up, dropped = _transfer(link, 5, 200)
    assert sorted(item for _, item in arrived) == list(range(200))
    assert given_up == []
    assert dropped > 50  # the channel did offer copies
    assert [t for t, _ in arrived] == sorted(t for t, _ in arrived)


def test_a_dead_link_is_given_up_after_its_attempts() -> None:
    arrived, given_up, _ = _transfer(ChannelParams(loss=1.0), 5, 3, attempts=4)
    assert arrived == [] and given_up == [0, 1, 2]


def test_a_transfer_keeps_only_what_is_under_way_and_the_last_keys() -> None:
    link = ChannelParams(latency_s=0.3, sigma=0.8, loss=0.3, duplicate=0.3)
    confirmed: Confirmed[int] = Confirmed(Channel(link, 5, "there"), Channel(link, 5, "back"), S_NS, remember=50)
    arrived: list[int] = []
    for k in range(500):
        confirmed.offer(k * S_NS, k, k)
        arrived += [item for _, item in confirmed.advance(k * S_NS).arrived]
        assert len(confirmed._items) < 30 and len(confirmed._keys) <= 50
    while confirmed.next_ns != LOST_NS:
        arrived += [item for _, item in confirmed.advance(confirmed.next_ns).arrived]
    assert sorted(arrived) == list(range(500)) and not confirmed._items
    assert not confirmed.offer(600 * S_NS, 499, 499), "among the last: known again"
    assert confirmed.offer(600 * S_NS, 3, 3), "long ago: taken for another"
