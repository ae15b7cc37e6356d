"""Where a whitelist could be passed: waiting, rounding, odd numbers, the first write, half of a command, pids, frames in pieces."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.fallback import send_all, send_owed
from hil.guard import Guard, Refused
from hil.plan import Interlock
from hil.point_csv import parse_map
from hil.point_dnp3 import wire_command
from hil.point_modbus import modbus_point
from hil.points import MapPoint, PointMap
from hil.read_only import Dnp3ReadOnly
from hil.relay import Relay
from hil.safety import EmergencyStop
from hil.vigil import Vigil
from protocols.dnp3.application import Function
from protocols.dnp3.link import LinkFrame, Primary
from protocols.modbus.points import PointError, raw_from_value, value_from_raw

S_NS = 1_000_000_000
RATED = parse_map(
    "name,direction,table,address,type,unit,min,max,rate_per_s,min_interval_s,fallback\n"
    "closed,read,holding,0,u16,1,,,,,\n"
    "power,write,holding,1,s16,W,-100,100,10,0.5,value=0\n"
)


def guard(points: PointMap = RATED, closed: float = 1.0) -> tuple[Guard, dict[str, float]]:
    now = {"closed": closed}
    return Guard(points, [Interlock("power", "closed", 1.0)], now.__getitem__), now


def test_two_orders_judged_before_either_went_out_do_not_both_go():
    made, _ = guard()
    one, other = (made.judge("power", value, S_NS) for value in (90.0, -90.0))
    made.still(one, S_NS)
    made.sent(one, S_NS)
    with pytest.raises(Refused, match=r"at least 0\.5 s"):
        made.still(other, S_NS + 1000)
    with pytest.raises(Refused, match="faster than 10 a second"):
        made.still(other, 2 * S_NS)
    assert made.refused == 2


def test_an_interlock_that_closes_while_the_order_waits_holds_it():
    made, now = guard()
    order = made.judge("power", 5.0, 0)
    now["closed"] = math.nan
    with pytest.raises(Refused, match="interlocked"):
        made.still(order, 0)


def test_what_did_not_leave_is_not_measured_against():
    made, _ = guard()
    made.sent(made.judge("power", 5.0, 0), 0)
    take_back = made.sent(made.judge("power", 9.0, S_NS), S_NS)
    take_back()
    assert made.last("power") == 5.0
    made.judge("power", 6.0, S_NS)  # its interval counts from what left


def test_the_first_change_is_no_faster_than_the_rate_either():
    made, _ = guard()
    assert made.within_rate(RATED.point("power"), 100.0, 0) == 100.0, "nothing is known of what the device holds"
    made.holds("power", 20.0, 0)
    assert made.within_rate(RATED.point("power"), 100.0, S_NS // 10) == pytest.approx(21.0)
    with pytest.raises(Refused, match="faster"):
        made.judge("power", 90.0, S_NS)
    assert made.last("power") is None, "the fallback `last` is what we sent, not what was there"


@pytest.mark.parametrize("wish", [math.nan, math.inf, -math.inf, 10**400, -(10**400), 1e308])
def test_a_number_that_is_none_is_refused(wish: float):
    with pytest.raises(Refused, match=r"no finite number|outside its limits"):
        guard()[0].judge("power", wish, 0)


def test_a_negative_zero_goes_out_as_zero():
    order = guard()[0].judge("power", -0.0, 0)
    assert math.copysign(1.0, order.value) == 1.0


LIMITS = st.floats(-1000.0, 1000.0).map(lambda x: round(x, 3))


@given(LIMITS, LIMITS, st.sampled_from([0.001, 0.1, 0.25, 1.0, 3.0, 100.0, -0.1]), st.floats(0.0, 1.0), st.booleans())
def test_rounding_to_raw_steps_never_leaves_the_limits(one: float, other: float, scale: float, share: float, dnp3: bool):
    low, high = sorted((one, other))
    value = low + share * (high - low)
    table = "analog_output,i32" if dnp3 else "holding,s32"
    row = f"p,write,{table.split(',')[0]},1,{table.split(',')[1]},W,{low},{high},{scale},hold\n"
    (point,) = parse_map_unchecked(row)
    value = min(max(value, low), high)
    try:
        sent: Any
        if dnp3:
            sent = wire_command(point, value) * scale
        else:
            compiled = modbus_point(point)
            sent = value_from_raw(compiled, raw_from_value(compiled, value))
    except (ValueError, PointError) as error:
        assert "lies within" in str(error)
        assert math.floor(high / abs(scale) + 1e-9) < math.ceil(low / abs(scale) - 1e-9), "only where no step lies between"
        return
    slack = 1e-8 * (1 + abs(sent) + abs(scale))
    assert low - slack <= sent <= high + slack and abs(sent - value) <= abs(scale) + slack


def parse_map_unchecked(row: str) -> tuple[MapPoint, ...]:
    """The row without the check that its limits are raw steps, which is about what is written and not about what is sent."""
    from hil.points import Direction, Fallback, FallbackKind, PointTable

    name, _, table, address, type_, unit, low, high, scale, _ = row.strip().split(",")
    return (
        MapPoint(
            name, PointTable(table), int(address), Direction.WRITE, type=type_, unit=unit, minimum=float(low), maximum=float(high),
            scale=float(scale), fallback=Fallback(FallbackKind.HOLD),
        ),
    )  # fmt: skip


def test_a_scale_factor_read_from_the_device_cannot_carry_a_value_over_its_limit():
    (point,) = parse_map_unchecked("p,write,holding,1,u16,W,0,160,1.0,hold\n")
    compiled = modbus_point(point)
    assert value_from_raw(compiled, raw_from_value(compiled, 160.0, 2), 2) == 100
    assert value_from_raw(compiled, raw_from_value(compiled, 140.0, 2), 2) == 100


# -- the fallback that is owed


class _Line:
    """A master whose device does not acknowledge until told."""

    def __init__(self) -> None:
        self.sends: list[float] = []
        self.answers = False

    async def send(self, order: Any) -> Any:
        from hil.drivers.base import Sent

        self.sends.append(order.value)
        return Sent("ok" if self.answers else "no answer", order.value, 0, 0, True, self.answers)


def test_a_fallback_that_left_without_an_answer_is_owed_and_counts_as_sent():
    made, line = guard()[0], _Line()
    made.sent(made.judge("power", 50.0, 0), 0)
    fallen = asyncio.run(send_all(line, RATED, made))  # type: ignore[arg-type]
    assert line.sends == [0.0] and [one.is_owed for one in fallen] == [True]
    assert made.last("power") == 0.0, "what follows is measured from the fallback"
    line.answers = True
    (paid,) = asyncio.run(send_owed(line, made, fallen))  # type: ignore[arg-type]
    assert line.sends == [0.0, 0.0] and not paid.is_owed


# -- the vigil


def test_solvers_in_several_processes_are_all_watched_and_no_descriptor_is_left(tmp_path: Path) -> None:
    async def scene() -> tuple[str, int]:
        causes: list[str] = []
        vigil = Vigil(EmergencyStop(tmp_path / "STOP"), causes.append, S_NS)
        vigil.start()
        others = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)]
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            for other in others:
                vigil.process("solver", other.pid)
        grown = len(os.listdir("/proc/self/fd")) - before
        others[0].kill()
        end_s = time.monotonic() + 5.0
        while not causes and time.monotonic() < end_s:
            await asyncio.sleep(0.01)
        vigil.process("solver", others[0].pid)  # its number may be somebody else's by now
        vigil.close()
        for other in others:
            other.kill()
            other.communicate()
        assert len(causes) == 1 and str(others[0].pid) in causes[0]
        return causes[0], grown

    assert asyncio.run(scene())[1] == 2


def test_a_look_on_demand_sees_a_stop_before_the_regular_one(tmp_path: Path) -> None:
    causes: list[str] = []
    stop = EmergencyStop(tmp_path / "STOP")
    vigil = Vigil(stop, causes.append, S_NS)
    assert vigil.look() == ""
    stop.path.touch()
    assert "emergency stop" in vigil.look() and len(causes) == 1


# -- the gate of a dry run


def octets_of(user_data: bytes) -> bytes:
    return LinkFrame(10, 1, Primary.UNCONFIRMED_USER_DATA, user_data=user_data).encode()


READ = octets_of(bytes((0xC0, 0xC0, Function.READ, 60, 2, 6)))
WRITE = octets_of(bytes((0xC0, 0xC0, Function.WRITE, 80, 1, 0, 7, 7, 0)))


def test_a_function_hidden_in_the_second_segment_is_refused():
    assert Dnp3ReadOnly()(octets_of(bytes((0x40, 0xC0)))).refused
    assert Dnp3ReadOnly()(octets_of(bytes((0x40,)))).refused


def test_not_one_octet_of_a_refused_frame_passes_however_it_is_cut():
    async def scene(cut: int) -> bytes:
        got: list[bytes] = []

        async def device(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while octets := await reader.read(1000):
                got.append(octets)
            writer.close()

        server = await asyncio.start_server(device, "127.0.0.1", 0)
        relay = Relay(server.sockets[0].getsockname()[:2], gate=Dnp3ReadOnly)
        reader, writer = await asyncio.open_connection(*await relay.start())
        both = READ + WRITE
        writer.write(both[:cut])
        await asyncio.sleep(0.03)
        writer.write(both[cut:])
        assert await reader.read() == b""
        writer.close()
        await relay.close()
        server.close()
        return b"".join(got)

    for cut in (3, len(READ) - 1, len(READ), len(READ) + 2, len(READ) + 11, len(READ + WRITE) - 1):
        assert asyncio.run(scene(cut)) in (b"", READ)
    assert asyncio.run(scene(len(READ) + 2)) == READ
