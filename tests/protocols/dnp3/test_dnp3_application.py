"""Headers are parsed with distrust, and what a fragment writer writes is what a parser reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3.application import IIN, MAX_HEADERS, Control, Function, ObjectError, Request, Response, parse_objects
from protocols.dnp3.fragment import FragmentWriter
from protocols.dnp3.objects import find


@given(st.integers(0, 255))
def test_the_control_octet_round_trips(octet):
    assert Control.decode(octet).encode() == octet


@given(control=st.integers(0, 255), iin=st.integers(0, 0x3FFF), objects=st.binary(max_size=20))
def test_responses_round_trip(control, iin, objects):
    response = Response(Control.decode(control), Function.RESPONSE, IIN(iin), objects)
    assert Response.decode(response.encode()) == response


def test_fragments_that_are_none_are_refused():
    assert Request.decode(b"\xc0") is None
    for octets in (b"\xc0\x81\x00", b"\xc0\x01\x00\x00"):
        with pytest.raises(ValueError, match="a response has"):
            Response.decode(octets)


@pytest.mark.parametrize(
    ("octets", "indexes", "limit"),
    [
        ("1e 00 06", None, None),
        ("1e 00 00 03 05", range(3, 6), None),
        ("1e 00 01 00 01 02 01", range(256, 259), None),
        ("20 00 07 09", None, 9),
        ("20 00 08 00 01", None, 256),
        ("1e 00 17 02 04 01", (4, 1), None),
        ("1e 00 28 01 00 04 01", (0x0104,), None),
    ],
)
def test_every_qualifier_of_a_read(octets, indexes, limit):
    octets = bytes.fromhex(octets)
    (header,) = parse_objects(octets, with_data=False)
    assert (header.indexes, header.limit, header.items, header.raw) == (indexes, limit, (), octets)


@pytest.mark.parametrize(
    ("octets", "with_data", "iin"),
    [
        ("1e", False, IIN.PARAMETER_ERROR),
        ("1e 00 00 03", False, IIN.PARAMETER_ERROR),
        ("1e 00 00 05 03", False, IIN.PARAMETER_ERROR),
        ("1e 00 3f", False, IIN.PARAMETER_ERROR),
        ("1e 00 28 ff ff 00 00", False, IIN.PARAMETER_ERROR),
        ("22 01 06", True, IIN.PARAMETER_ERROR),
        ("22 01 00 00 01 05 00", True, IIN.PARAMETER_ERROR),
        ("22 03 01 00 00 ff ff", True, IIN.PARAMETER_ERROR),
        ("22 00 00 00 00 05", True, IIN.OBJECT_UNKNOWN),
        ("77 01 00 00 00 05", True, IIN.OBJECT_UNKNOWN),
        ("01 01 17 01 00 01", True, IIN.PARAMETER_ERROR),
    ],
)
def test_what_cannot_be_read_names_its_indication(octets, with_data, iin):
    with pytest.raises(ObjectError) as error:
        parse_objects(bytes.fromhex(octets), with_data=with_data)
    assert error.value.iin == iin


def test_a_flood_of_headers_is_refused():
    assert len(parse_objects(bytes((60, 1, 6)) * MAX_HEADERS, with_data=False)) == MAX_HEADERS
    with pytest.raises(ObjectError, match="more than"):
        parse_objects(bytes((60, 1, 6)) * (MAX_HEADERS + 1), with_data=False)


@given(octets=st.binary(max_size=80), with_data=st.booleans())
def test_arbitrary_octets_are_headers_or_an_object_error(octets, with_data):
    try:
        headers = parse_objects(octets, with_data=with_data)
    except ObjectError as error:
        assert error.iin in (IIN.PARAMETER_ERROR, IIN.OBJECT_UNKNOWN)
    else:
        assert b"".join(header.raw for header in headers) == octets


STATICS = st.lists(
    st.tuples(st.sampled_from([(1, 1), (1, 2), (3, 1), (30, 2), (30, 6)]), st.integers(0, 600), st.integers(0, 1)),
    max_size=60,
    unique_by=lambda item: item[:2],
)


@given(points=STATICS, capacity=st.integers(20, 400))
def test_static_points_come_out_as_they_went_in(points, capacity):
    writer, fragments, expected = FragmentWriter(capacity), [], []
    for (group, variation), index, value in sorted(points):
        row = find(group, variation)
        if not writer.add_static(row, index, value, 1, 0):
            fragments.append(writer.finish())
            assert writer.add_static(row, index, value, 1, 0), "an empty fragment takes any point"
        expected.append((group, index, value))
    fragments.append(writer.finish())
    assert all(len(fragment) <= capacity for fragment in fragments)
    read = []
    for fragment in fragments:
        for header in parse_objects(fragment, with_data=True):
            for index, item in zip(header.indexes, header.items, strict=True):
                read.append((header.group, index, item[0] if header.row.bits else header.row.decode(item).value))
    assert read == expected


EVENTS = st.lists(
    st.tuples(
        st.sampled_from([(2, 1), (2, 2), (2, 3), (4, 3), (32, 7)]), st.integers(0, 255), st.integers(0, 200_000), st.booleans()
    ),
    max_size=60,
)


@given(events=EVENTS, capacity=st.integers(40, 400), wide=st.booleans())
def test_events_keep_their_order_and_relative_times_refer_to_a_common_one(events, capacity, wide):
    writer, fragments = FragmentWriter(capacity), []
    for (group, variation), index, time_ms, synchronized in events:
        row = find(group, variation)
        if not writer.add_event(row, index, 1, 1, time_ms, wide=wide, synchronized=synchronized):
            fragments.append(writer.finish())
            assert writer.add_event(row, index, 1, 1, time_ms, wide=wide, synchronized=synchronized)
    fragments.append(writer.finish())
    assert all(len(fragment) <= capacity for fragment in fragments)
    read = []
    for fragment in fragments:
        common = None
        for header in parse_objects(fragment, with_data=True):
            if header.group == 51:
                common = (header.row.decode(header.items[0]).time_ms, header.variation == 1)
                continue
            for index, item in zip(header.indexes, header.items, strict=True):
                reading = header.row.decode(item)
                if header.row.relative_time:
                    read.append((header.group, index, common[0] + reading.time_ms, common[1]))
                else:
                    read.append((header.group, index, reading.time_ms, None))
    timed = [
        (group, index, time_ms if variation != 1 else None, synchronized if variation == 3 else None)
        for (group, variation), index, time_ms, synchronized in events
    ]
    assert read == timed


def test_more_than_255_events_fit_behind_one_octet_prefixes():
    writer = FragmentWriter(4000)
    for number in range(300):
        assert writer.add_event(find(2, 1), number % 256, 1, 1, 0, wide=False)
    headers = parse_objects(writer.finish(), with_data=True)
    assert [len(header.items) for header in headers] == [255, 45]


def test_a_fragment_writer_refuses_without_changing_anything():
    writer = FragmentWriter(19)
    assert writer.add_static(find(30, 5), 0, 1.0, 1, 0)
    assert writer.add_static(find(30, 5), 1, 1.0, 1, 0)
    assert not writer.add_static(find(30, 5), 2, 1.0, 1, 0)
    assert not writer.add_block(bytes(30))
    (header,) = parse_objects(writer.finish(), with_data=True)
    assert header.indexes == range(0, 2)
