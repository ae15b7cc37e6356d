"""Frames and the link rules of an answering station."""

from __future__ import annotations

import pytest
from dnp3_rig import OUTSTATION, Rig
from hypothesis import given
from hypothesis import strategies as st

from protocols.dnp3.crc import crc16, with_crc
from protocols.dnp3.link import LinkFrame, LinkParser, Primary, Secondary

FRAMES = st.builds(
    LinkFrame,
    destination=st.integers(0, 0xFFFF),
    source=st.integers(0, 0xFFFF),
    function=st.integers(0, 15),
    primary=st.booleans(),
    from_master=st.booleans(),
    fcb=st.booleans(),
    counted=st.booleans(),
    user_data=st.binary(max_size=250),
)


def test_crc_matches_the_catalogued_check_value():
    # CRC-16/DNP of "123456789" in the catalogue of parametrised CRC algorithms.
    assert crc16(b"123456789") == 0xEA82
    assert with_crc(b"123456789")[-2:] == bytes.fromhex("82ea")


def test_reset_link_frame_is_the_textbook_one():
    frame = LinkFrame(destination=1, source=1024, function=Primary.RESET_LINK_STATES, from_master=True)
    assert frame.encode() == bytes.fromhex("056405c001000004e921")


@given(frames=st.lists(FRAMES, max_size=4), cut=st.integers(1, 40))
def test_frames_survive_any_cutting_of_the_stream(frames, cut):
    wire = b"".join(frame.encode() for frame in frames)
    parser = LinkParser()
    out = [frame for at in range(0, len(wire), cut) for frame in parser.feed(wire[at : at + cut])]
    assert out == frames
    assert parser.counts.frames == len(frames) and parser.counts.bad_crc == parser.counts.skipped_octets == 0


@given(frame=FRAMES, noise=st.binary(max_size=60).filter(lambda octets: b"\x05" not in octets))
def test_noise_before_a_frame_is_skipped_and_counted(frame, noise):
    parser = LinkParser()
    assert parser.feed(noise + frame.encode()) == [frame]
    assert parser.counts.skipped_octets == len(noise)


@given(frame=FRAMES, data=st.data())
def test_one_wrong_bit_is_never_taken_for_a_frame(frame, data):
    wire = bytearray(frame.encode())
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    assert LinkParser().feed(bytes(wire)) == []


def test_a_good_frame_behind_a_damaged_one_is_found():
    good = LinkFrame(OUTSTATION, 1, Primary.REQUEST_LINK_STATUS, from_master=True)
    damaged = bytearray(LinkFrame(OUTSTATION, 1, 4, from_master=True, user_data=bytes(40)).encode())
    damaged[30] ^= 1
    parser = LinkParser()
    assert parser.feed(bytes(damaged) + good.encode()) == [good]
    assert parser.counts.bad_crc == 1


def test_a_parser_holds_no_more_than_one_frame():
    parser = LinkParser()
    for _ in range(200):
        parser.feed(b"\x05\x64" * 100)
    assert len(parser._buffer) < 292


def test_too_much_user_data_is_refused():
    with pytest.raises(ValueError, match="at most 250"):
        LinkFrame(1, 2, 4, user_data=bytes(251)).encode()


def reply(rig: Rig, function: int, user_data: bytes = b"", **fields: object) -> int | None:
    frames = rig.master.frame(function, user_data, **fields)
    assert all(not frame.primary and not frame.from_master and frame.source == OUTSTATION for frame in frames)
    return frames[0].function if frames else None


def test_link_status_and_reset_are_answered():
    rig = Rig()
    assert reply(rig, Primary.REQUEST_LINK_STATUS) == Secondary.LINK_STATUS
    assert reply(rig, Primary.RESET_LINK_STATES) == Secondary.ACK


def test_confirmed_data_needs_a_reset_and_counts_frames():
    rig = Rig()
    delay = bytes((0xC0, 0xC0, 23))
    assert reply(rig, Primary.CONFIRMED_USER_DATA, delay, counted=True, fcb=True) == Secondary.NACK
    rig.master.frame(Primary.RESET_LINK_STATES)
    frames = rig.master.frame(Primary.CONFIRMED_USER_DATA, delay, counted=True, fcb=True)
    assert frames[0].function == Secondary.ACK and len(rig.master.fragments(frames[1:])) == 1
    repeated = rig.master.frame(Primary.CONFIRMED_USER_DATA, delay, counted=True, fcb=True)
    assert [frame.function for frame in repeated] == [Secondary.ACK], "a repeated frame count is acknowledged, not delivered"
    assert len(rig.master.frame(Primary.CONFIRMED_USER_DATA, bytes((0xC1, 0xC1, 23)), counted=True, fcb=False)) == 2


def test_test_link_states_is_acknowledged_after_a_reset():
    rig = Rig()
    assert reply(rig, Primary.TEST_LINK_STATES, counted=True) == Secondary.NACK
    rig.master.frame(Primary.RESET_LINK_STATES)
    assert reply(rig, Primary.TEST_LINK_STATES, counted=True, fcb=True) == Secondary.ACK


@pytest.mark.parametrize("function", [1, 5, 8, 15])
def test_reserved_functions_are_not_supported(function):
    assert reply(Rig(), function) == Secondary.NOT_SUPPORTED


@pytest.mark.parametrize(
    "fields",
    [{"from_master": False}, {"destination": OUTSTATION + 1}, {"counted": True}, {"source": 77}, {"primary": False}],
    ids=["wrong direction", "another outstation", "wrong FCV", "unknown master", "secondary"],
)
def test_frames_that_are_not_for_us_are_ignored(fields):
    assert reply(Rig(), Primary.REQUEST_LINK_STATUS, **fields) is None


def test_self_address_only_where_enabled():
    assert reply(Rig(), Primary.REQUEST_LINK_STATUS, destination=0xFFFC) is None
    assert reply(Rig(self_address=True), Primary.REQUEST_LINK_STATUS, destination=0xFFFC) == Secondary.LINK_STATUS
