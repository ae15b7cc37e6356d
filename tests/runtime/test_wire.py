"""Bytes on the wire: what goes in comes out, and what is torn or foreign is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.runtime.federate import FederationError
from federates.runtime.port import Document, Event, Port, Sample
from federates.runtime.wire import Reader, decode_events, encode, encode_events

names = st.text(min_size=1, max_size=8)
ports = st.builds(Port, names, st.sampled_from(["W", "1", "Hz"]), st.lists(names, unique=True, max_size=6).map(tuple))
times = st.integers(-(2**62), 2**62)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def samples(draw: st.DrawFn, port: Port) -> Sample:
    n = port.size
    values = draw(st.lists(st.floats(), min_size=n, max_size=n))
    t_ns = draw(times | st.lists(times, min_size=n, max_size=n).map(lambda t: np.array(t, np.int64)))
    quality = draw(st.just([0] * n) | st.lists(st.integers(0, 65535), min_size=n, max_size=n))
    return Sample(np.array(values), t_ns, np.array(quality, np.uint16))


@settings(max_examples=40, deadline=None)
@given(ports, st.data())
def test_samples_come_back_bit_for_bit(port: Port, data: st.DataObject) -> None:
    reader, layout_hash = Reader("link"), port.layout_hash()
    for first in (True, False, False):
        sent = data.draw(samples(port))
        got = reader.decode(encode(port, layout_hash, sent, first=first))
        assert isinstance(got, Sample)
        assert got.values.tobytes() == sent.values.tobytes() and got.quality.tobytes() == sent.quality.tobytes()
        assert got.times_ns.tobytes() == sent.times_ns.tobytes() and isinstance(got.t_ns, int) == isinstance(sent.t_ns, int)
        assert not got.values.flags.writeable and not got.quality.flags.writeable
    assert reader.source is not None
    assert (reader.source.name, reader.source.unit, reader.source.ids) == (port.name, port.unit, port.ids)


@settings(max_examples=40, deadline=None)
@given(st.text(), times, st.integers(0, 2**60))
def test_documents_come_back(text: str, t_ns: int, version: int) -> None:
    port = Port("doc", kind="document")
    document = Document(text, t_ns, version)
    assert Reader("link").decode(encode(port, port.layout_hash(), document, first=True)) == document


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Event, times, names, st.integers(1, 2**60), st.dictionaries(st.text(max_size=5), anything)), min_size=1))
def test_events_come_back(events: list[Event]) -> None:
    assert decode_events(encode_events(events)) == tuple(events)


def test_values_without_or_with_another_layout_than_announced_are_refused() -> None:
    port, other = Port("y", "W", ("a", "b")), Port("y", "W", ("b", "a"))
    sample = Sample.of([1.0, 2.0], 5)
    with pytest.raises(FederationError, match="link f -> g: the layout of the values is not the one announced at start"):
        Reader("link f -> g").decode(encode(port, port.layout_hash(), sample, first=False))
    reader = Reader("link f -> g")
    reader.decode(encode(port, port.layout_hash(), sample, first=True))
    with pytest.raises(FederationError, match="the layout of the values is not the one announced at start"):
        reader.decode(encode(other, other.layout_hash(), sample, first=False))


@pytest.mark.parametrize("first", [True, False])
def test_a_torn_message_is_refused_wherever_it_is_torn(first: bool) -> None:
    port = Port("y", "W", ("a", "b"))
    sample = Sample.of([1.0, 2.0], np.array([3, 4]), [1, 2])
    whole = encode(port, port.layout_hash(), sample, first=first)
    for length in range(len(whole)):
        reader = Reader("link f -> g", port, port.layout_hash())
        with pytest.raises(FederationError, match=r"link f -> g: .* bytes that are no value of ours"):
            reader.decode(whole[:length])
    with pytest.raises(FederationError, match="no value of ours"):
        Reader("link f -> g", port, port.layout_hash()).decode(whole + b"\0")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_foreign_bytes_are_refused_and_raise_nothing_else(message: bytes) -> None:
    with pytest.raises(FederationError, match="link f -> g"):
        Reader("link f -> g", Port("y"), 1).decode(message)
    with pytest.raises(FederationError, match="no events of ours"):
        decode_events(message)


@pytest.mark.parametrize(
    "message", [b"[1,2,3]", b'{"a":1}', b"[]", b'""', b'[[2,"f.out",1,[]]]', b'[["2","f.out",1,{}]]', b"[[2,3,1,{}]]", b"\xff"]
)
def test_json_that_is_no_event_is_refused(message: bytes) -> None:
    with pytest.raises(FederationError, match="no events of ours"):
        decode_events(message)
