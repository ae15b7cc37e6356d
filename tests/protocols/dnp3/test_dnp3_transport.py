"""Segments and their reassembly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3.transport import FIN, FIR, Reassembler, segment


@given(fragment=st.binary(min_size=1, max_size=2048), sequence=st.integers(0, 63))
def test_round_trip(fragment, sequence):
    reassembler = Reassembler(2048)
    segments = segment(fragment, sequence)
    assert all(len(each) <= 250 for each in segments)
    results = [reassembler.receive(each) for each in segments]
    assert results == [None] * (len(segments) - 1) + [fragment]


def test_a_repeated_segment_is_ignored():
    first, second = segment(bytes(300), 62)
    reassembler = Reassembler()
    assert reassembler.receive(first) is None
    assert reassembler.receive(first) is None, "a first segment starts anew"
    assert reassembler.receive(second) == bytes(300)
    a, b, c = segment(bytes(range(250)) * 3, 0)[:3]
    reassembler.receive(a)
    assert reassembler.receive(b) is None
    assert reassembler.receive(b) is None
    assert reassembler.receive(c) is None


def test_a_gap_drops_everything_until_the_next_first():
    a, _, c, d = segment(bytes(4 * 249), 0)
    reassembler = Reassembler()
    assert [reassembler.receive(each) for each in (a, c, d)] == [None, None, None]
    assert reassembler.discarded == 2
    assert reassembler.receive(bytes((FIR | FIN, 7))) == b"\x07"


def test_a_new_first_segment_starts_anew():
    a, _ = segment(bytes(300), 0)
    reassembler = Reassembler()
    reassembler.receive(a)
    assert reassembler.receive(bytes((FIR | FIN | 9, 1, 2))) == b"\x01\x02"


@pytest.mark.parametrize("one", [b"", bytes((FIR | FIN,)), bytes((FIN, 1)), bytes((0, 1))])
def test_what_cannot_start_a_fragment_is_dropped(one):
    reassembler = Reassembler()
    assert reassembler.receive(one) is None and reassembler.discarded == 1


def test_fragments_that_never_finish_hold_a_bounded_amount():
    reassembler = Reassembler(2048)
    reassembler.receive(bytes((FIR,)) + bytes(249))
    for number in range(1, 5000):
        assert reassembler.receive(bytes((number & 0x3F,)) + bytes(249)) is None
        assert len(reassembler._held) <= 2048


def test_an_empty_fragment_is_refused():
    with pytest.raises(ValueError, match="at least one octet"):
        segment(b"", 0)
