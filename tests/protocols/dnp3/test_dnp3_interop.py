"""Our outstation polled, commanded and restarted by yadnp3's master over loopback; tshark judges every octet."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dnp3_bench import Bench, Scenario
from dnp3_bench import play as play_on

from protocols.dnp3 import CommandStatus, Flag, PointConfig, PointType
from protocols.dnp3.application import IIN
from protocols.dnp3.server import OutstationServer

pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")

P = PointType
PEER = Path(__file__).with_name("yadnp3_master.py")


def play(
    scenario: Scenario,
    tmp_path: Path,
    points: list[PointConfig] | None = None,
    *,
    peer: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Runs a scenario once the master has made its integrity poll; `peer` are settings of the master."""

    async def started(bench: Bench) -> None:
        await bench.peer.wait("task", task="STARTUP_INTEGRITY_POLL", result="SUCCESS")
        await scenario(bench)

    def command(port: int) -> list[str]:
        return [sys.executable, str(PEER), json.dumps({"port": port} | (peer or {}))]

    play_on(started, tmp_path / "bench.pcap", command, points, **settings)


def test_integrity_brings_every_type_with_its_value(tmp_path):
    async def scenario(bench: Bench) -> None:
        values = {
            P.BINARY_INPUT: True,
            P.DOUBLE_BIT_INPUT: 2,
            P.BINARY_OUTPUT: True,
            P.COUNTER: 4_000_000_000,
            P.FROZEN_COUNTER: 17,
            P.ANALOG_INPUT: 1.25,
            P.ANALOG_OUTPUT: -7.5,
            P.OCTET_STRING: b"RTU \xff",
        }
        for kind, value in values.items():
            bench.server.update(kind, 1, value)
        bench.peer.said.clear()
        await bench.peer.order("scan", classes="0")
        await bench.peer.wait("task", task="USER_TASK", result="SUCCESS")
        static = {
            each["gv"]: each["value"]
            for each in bench.peer.said
            if each["what"] == "value" and each["index"] == 1 and not each["event"]
        }
        assert static == {
            "Group1Var2": True,
            "Group3Var2": 2,
            "Group10Var2": True,
            "Group20Var1": 4_000_000_000,
            "Group21Var5": 17,
            "Group30Var5": 1.25,
            "Group40Var3": -7.5,
            "Group110Var0": "RTU \xff",
        }

    play(scenario, tmp_path, unsolicited=False)


@pytest.mark.parametrize("unsolicited", [True, False], ids=["unsolicited", "polled"])
def test_events_of_every_type_arrive_with_time_and_value_intact(tmp_path, unsolicited):
    async def scenario(bench: Bench) -> None:
        if unsolicited:
            await bench.peer.wait("task", task="ENABLE_UNSOLICITED", result="SUCCESS")
        bench.peer.said.clear()
        values = {
            ("Group2Var2", P.BINARY_INPUT): True,
            ("Group4Var2", P.DOUBLE_BIT_INPUT): 1,
            ("Group11Var2", P.BINARY_OUTPUT): True,
            ("Group22Var5", P.COUNTER): 123_456,
            ("Group23Var5", P.FROZEN_COUNTER): 99,
            ("Group32Var7", P.ANALOG_INPUT): 0.1,
            ("Group42Var8", P.ANALOG_OUTPUT): 0.1,
        }
        for step, ((_, kind), value) in enumerate(values.items()):
            bench.server.update(kind, 2, value, time_ms=1_750_000_000_000 + step, flags=Flag.ONLINE | Flag.LOCAL_FORCED)
        bench.server.update(P.OCTET_STRING, 2, b"late")
        if not unsolicited:
            await bench.peer.order("scan", classes="123")
        (string,) = await bench.peer.wait("value", gv="Group111Var0")
        assert string["value"] == "late" and string["index"] == 2
        for step, ((name, _), value) in enumerate(values.items()):
            (event,) = await bench.peer.wait("value", gv=name)
            assert event["time"] == 1_750_000_000_000 + step and event["index"] == 2
            assert event["flags"] & 0x11 == 0x11
            wanted = pytest.approx(value, rel=1e-7) if name == "Group32Var7" else value
            assert event["value"] == wanted
        buffer = bench.outstation.sessions()[0].buffer
        for _ in range(200):
            if not len(buffer):
                break
            await asyncio.sleep(0.01)
        assert len(buffer) == 0, "everything was confirmed"

    points = [PointConfig(kind, 2, event_variation=8 if kind is P.ANALOG_OUTPUT else 0) for kind in PointType]
    play(scenario, tmp_path, points, unsolicited=unsolicited)


def test_relative_times_are_put_together_as_they_were_taken_apart(tmp_path):
    async def scenario(bench: Bench) -> None:
        for step in range(4):
            for kind, value in ((P.BINARY_INPUT, step % 2 == 0), (P.DOUBLE_BIT_INPUT, 1 + step % 2)):
                bench.server.update(kind, 0, value, time_ms=1_750_000_000_000 + 40_000 * step)
        await bench.peer.order("scan", classes="123")
        for name in ("Group2Var3", "Group4Var3"):
            events = await bench.peer.wait("value", count=4, gv=name)
            assert [event["time"] for event in events] == [1_750_000_000_000 + 40_000 * step for step in range(4)]

    points = [PointConfig(kind, 0, event_variation=3) for kind in (P.BINARY_INPUT, P.DOUBLE_BIT_INPUT)]
    # A clock of its own: tshark 4.0 does not know the common time of an unsynchronised clock, nor the contents of g4v3.
    play(scenario, tmp_path, points, judged=False, unsolicited=False, need_time=False)


def test_a_thousand_points_in_fragments_and_ranges(tmp_path):
    async def scenario(bench: Bench) -> None:
        for index in range(1000):
            bench.server.update(P.ANALOG_INPUT, index, index + 0.5)
        bench.peer.said.clear()
        await bench.peer.order("scan", classes="0")
        await bench.peer.wait("task", task="USER_TASK", result="SUCCESS")
        values = {each["index"]: each["value"] for each in bench.peer.said if each["what"] == "value"}
        assert values == {index: index + 0.5 for index in range(1000)}
        bench.peer.said.clear()
        await bench.peer.order("range", group=30, variation=6, start=250, stop=260)
        await bench.peer.wait("task", task="USER_TASK", result="SUCCESS")
        named = [(each["gv"], each["index"]) for each in bench.peer.said if each["what"] == "value"]
        assert named == [("Group30Var6", index) for index in range(250, 261)]

    play(scenario, tmp_path, [PointConfig(P.ANALOG_INPUT, index, event_class=0) for index in range(1000)])


def test_select_before_operate_and_its_refusals(tmp_path):
    async def command(bench: Bench, do: str, kind: str, value: Any, index: int) -> tuple[str, str]:
        bench.peer.said.clear()
        await bench.peer.order(do, type=kind, value=value, index=index)
        (result,) = await bench.peer.wait("result")
        assert result["summary"] == "SUCCESS", "the exchange itself is complete, whatever the status"
        return result["points"][0]["state"], result["points"][0]["status"]

    async def scenario(bench: Bench) -> None:
        for kind, value in (("crob", "LATCH_ON"), ("i16", -5), ("i32", 100_000), ("f32", 1.5), ("f64", 0.1)):
            assert await command(bench, "select", kind, value, 0) == ("SUCCESS", "SUCCESS")
            assert await command(bench, "direct", kind, value, 0) == ("SUCCESS", "SUCCESS")
        assert [each.crob.code if each.crob else each.value for each, _ in bench.handler.operated[::2]] == [
            3,
            -5,
            100_000,
            1.5,
            0.1,
        ]
        bench.handler.operated.clear()
        assert await command(bench, "select", "crob", "LATCH_ON", 77) == ("SELECT_FAIL", "NOT_SUPPORTED")
        assert await command(bench, "select", "f64", 1e9, 1) == ("SELECT_FAIL", "OUT_OF_RANGE")
        bench.handler.status = CommandStatus.AUTOMATION_INHIBIT
        assert await command(bench, "select", "crob", "LATCH_ON", 0) == ("SELECT_FAIL", "AUTOMATION_INHIBIT")
        bench.outstation.local_control = True
        assert (await command(bench, "direct", "crob", "LATCH_ON", 0))[1] == "LOCAL"
        assert not bench.handler.operated

    points = [PointConfig(P.BINARY_OUTPUT, 0), PointConfig(P.ANALOG_OUTPUT, 0), PointConfig(P.ANALOG_OUTPUT, 1, maximum=100.0)]
    play(scenario, tmp_path, points)


@pytest.mark.parametrize(("mode", "task"), [("LAN", "LAN_TIME_SYNC"), ("NonLAN", "NON_LAN_TIME_SYNC")])
def test_the_time_is_set(tmp_path, mode, task):
    async def scenario(bench: Bench) -> None:
        (asked, *_) = await bench.peer.wait("iin")
        assert asked["value"] & IIN.NEED_TIME
        await bench.peer.wait("task", result="SUCCESS", task=task)
        assert not bench.outstation.needs_time
        assert abs(bench.outstation.time_ms() - time.time() * 1000) < 250
        await bench.peer.order("scan", classes="0")
        await bench.peer.wait("iin", value=0)

    play(scenario, tmp_path, peer={"time_sync": mode})


def test_a_restart_is_seen_and_what_follows_is_resumed(tmp_path):
    async def scenario(bench: Bench) -> None:
        await bench.peer.wait("task", task="ENABLE_UNSOLICITED", result="SUCCESS")
        bench.peer.said.clear()
        await bench.peer.order("restart", kind="cold")
        (done,) = await bench.peer.wait("restart")
        assert done["summary"] == "SUCCESS" and bench.outstation.restarts == 1
        await bench.peer.wait("closed")
        await bench.peer.wait("open")
        await bench.peer.wait("task", task="CLEAR_RESTART", result="SUCCESS")
        await bench.peer.wait("task", task="ENABLE_UNSOLICITED", result="SUCCESS")
        seen = [each["value"] for each in bench.peer.said if each["what"] == "iin"]
        assert any(value & IIN.DEVICE_RESTART for value in seen) and not seen[-1] & IIN.DEVICE_RESTART
        bench.server.update(P.ANALOG_INPUT, 0, 3.5)
        (event,) = await bench.peer.wait("value", gv="Group32Var7", value=3.5)
        assert event["event"]

    play(scenario, tmp_path)


def test_events_of_an_interruption_arrive_after_the_reconnection(tmp_path):
    async def scenario(bench: Bench) -> None:
        await bench.peer.wait("task", task="ENABLE_UNSOLICITED", result="SUCCESS")
        port = bench.server.address[1]
        await bench.server.close()
        await bench.peer.wait("closed")
        for step in range(3):
            bench.server.update(P.ANALOG_INPUT, 0, float(step + 1), time_ms=1000 + step)
        again = OutstationServer(bench.outstation, port=port)
        await again.start()
        bench.server = again
        try:
            for step in range(3):
                (event,) = await bench.peer.wait("value", gv="Group32Var7", value=float(step + 1))
                assert event["time"] == 1000 + step
        finally:
            await again.close()

    play(scenario, tmp_path)


def test_freeze_classes_dead_bands_and_link_status(tmp_path):
    async def scenario(bench: Bench) -> None:
        bench.server.update(P.COUNTER, 0, 55)
        await bench.peer.order("freeze")
        (event,) = await bench.peer.wait("value", gv="Group23Var5", value=55)
        assert event["index"] == 0
        await bench.peer.order("deadband", index=0, value=5.0)
        await bench.peer.wait("deadband")
        assert bench.outstation.database.point(P.ANALOG_INPUT, 0).deadband == 5.0
        await bench.peer.order("perform", name="assign", function="ASSIGN_CLASS", headers=[[60, 4], [30, 0]])
        await bench.peer.order("link")
        await bench.peer.wait("link")
        for _ in range(200):
            if bench.outstation.database.point(P.ANALOG_INPUT, 2).event_class == 3:
                break
            await asyncio.sleep(0.01)
        assert {point.event_class for point in bench.outstation.database.points(P.ANALOG_INPUT).values()} == {3}

    play(scenario, tmp_path)
