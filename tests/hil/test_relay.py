"""The relay stops what a dry run must not send, and shows a clock's offset; ends of both protocols agree about quality."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federates.runtime.port import Quality
from hil.clock import DRIFT_PPM, DeviceClock
from hil.drivers.quality import from_flags, to_flags
from hil.read_only import ANSWERED_HERE, READ_ONLY, Dnp3ReadOnly
from hil.relay import Relay
from protocols.dnp3.application import Function, Response
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.transport import segment


def frame(function: int) -> bytes:
    (only,) = segment(bytes((0xC0, function, 60, 2, 6)), 0)
    return LinkFrame(10, 1, Primary.UNCONFIRMED_USER_DATA, user_data=only).encode()


@pytest.mark.parametrize("function", list(Function))
def test_only_reading_passes(function: Function) -> None:
    passed = Dnp3ReadOnly()(frame(function))
    assert passed.onward == (frame(function) if function in (Function.CONFIRM, Function.READ) else b"")
    assert bool(passed.answer) == (function in ANSWERED_HERE)
    assert bool(passed.refused) == (function not in READ_ONLY | ANSWERED_HERE)


@given(st.integers(0, 255), st.integers(1, 30))
def test_a_frame_in_pieces_or_behind_another_is_still_seen(function: int, cut: int) -> None:
    gate = Dnp3ReadOnly()
    octets = frame(Function.READ) + frame(function)
    passed = [gate(octets[:cut]), gate(octets[cut:])]
    onward = b"".join(each.onward for each in passed)
    assert any(each.refused for each in passed) == (function not in READ_ONLY | ANSWERED_HERE)
    assert onward in ((octets,) if function in READ_ONLY else (frame(Function.READ), b""))


def test_what_a_device_never_hears_is_answered_in_its_stead() -> None:
    answer = Dnp3ReadOnly()(frame(Function.ENABLE_UNSOLICITED)).answer
    (only,) = LinkParser().feed(answer)
    assert (only.destination, only.source, only.from_master, only.primary) == (1, 10, False, True)
    response = Response.decode(only.user_data[1:])
    assert (response.control.sequence, response.control.fir, response.control.fin, response.control.con) == (0, True, True, False)
    assert (response.iin, response.objects) == (0, b"")


def test_nothing_goes_on_that_is_not_allowed() -> None:
    async def scene() -> None:
        got: list[bytes] = []

        async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while octets := await reader.read(1000):
                got.append(octets)
            writer.close()

        server = await asyncio.start_server(device, "127.0.0.1", 0)
        taps: list[bytes] = []
        target = server.sockets[0].getsockname()[:2]
        relay = Relay(target, tap=lambda a, b, octets, t: taps.append(octets), gate=Dnp3ReadOnly)
        reader, writer = await asyncio.open_connection(*await relay.start())
        writer.write(frame(Function.READ))
        await asyncio.sleep(0.1)
        writer.write(frame(Function.OPERATE))
        assert await reader.read() == b""  # cut
        assert got == taps == [frame(Function.READ)]
        assert "OPERATE" in relay.last_error
        writer.close()
        await relay.close()
        server.close()

    asyncio.run(scene())


def test_no_device_is_named() -> None:
    async def scene() -> None:
        probe = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        relay = Relay(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(*await relay.start())
        assert await reader.read() == b""
        assert str(port) in relay.last_error and relay.connected == 0
        writer.close()
        await relay.close()

    asyncio.run(scene())


@given(
    st.integers(-(10**9), 10**9),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=20),
)
def test_the_true_offset_lies_within_the_uncertainty(offset_ns: int, exchanges: list[tuple[int, int, int]]) -> None:
    clock, now_ns = DeviceClock(), 10**18
    assert clock.offset is None
    for wait_ns, before_ns, after_ns in exchanges:
        now_ns += wait_ns
        clock.saw(now_ns + offset_ns, now_ns - before_ns, now_ns + after_ns)
        found = clock.offset
        assert found is not None and abs(found.offset_ns - offset_ns) <= found.uncertainty_ns + 1
    assert clock.jumps == 0


def test_a_clock_that_jumps_is_followed() -> None:
    clock = DeviceClock()
    clock.saw(1_000, 0, 10)
    clock.saw(5_000_000, 100, 110)
    assert clock.jumps == 1 and clock.offset is not None and clock.offset.offset_ns == pytest.approx(4_999_895, abs=10)
    assert DRIFT_PPM > 0


@pytest.mark.parametrize("quality", [0, *(int(bit) for bit in Quality if bit)])
def test_what_is_bad_stays_bad_over_the_wire(quality: int) -> None:
    back = from_flags(to_flags(quality), analog=True)
    assert (back == 0) == (quality in (0, int(Quality.ESTIMATED)))
    if quality in (int(Quality.LOST), int(Quality.RESTART), int(Quality.FORCED), int(Quality.OVERFLOW), int(Quality.STALE)):
        assert back & quality
