"""The bridge as a federate: ports by the map, ages as STALE and LOST, commands both ways, and the rules of every federate."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Quality, Sample
from federates.runtime.process import PRIVATE_VARIABLE
from hil.bridge import MOST_REACTIONS, MOST_REPORTS, MOST_WAITING, Bridge, BridgeFederate, command_for
from hil.channel import SOE_ROWS, Channel, Frame, Word, channel_path
from hil.layout import layout
from hil.plan import Role
from hil.point_csv import parse_map

MASTER = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,codes,fallback\n"
    "a,f.v_pu:1,read,analog_input,0,,pu,,,,\n"
    "b,f.v_pu:2,read,analog_input,1,,pu,,,,\n"
    "c,g.v_pu:1,read,analog_input,2,,pu,,,,\n"
    "own,,read,analog_input,3,,W,,,,\n"
    "p_set,f.p_w:x,write,analog_output,0,f32,W,0,9,,hold\n"
    "trip,f.switch:sw1,write,binary_output,0,,1,,,trip,hold\n"
)
DEVICE = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,codes,fallback\n"
    "closed,f.switch:sw1,read,binary_input,0,,1,,,,\n"
    "op,f.switch:sw1,write,binary_output,0,,1,,,trip|close,hold\n"
    "tap,f.tap:r1,write,analog_output,0,i16,1,-16,16,,hold\n"
    "cap,f.capacitor:c1,write,analog_output,1,i16,1,0,1,,hold\n"
)


def bridge(points: object, role: Role) -> Bridge:
    return Bridge("dev", points, role, 100 * MS_NS, 300 * MS_NS, S_NS)  # type: ignore[arg-type]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setenv(PRIVATE_VARIABLE, str(tmp_path))
    return Channel(channel_path(tmp_path, "dev"), 4, 1, make=True)


def test_ports_follow_from_the_map() -> None:
    made = BridgeFederate(bridge(MASTER, Role.MASTER))
    inputs = {port.name: (port.unit, port.ids) for port in made.inputs}
    outputs = {port.name: (port.unit, port.ids) for port in made.outputs if port.kind == "vector"}
    assert inputs["p_w"] == ("W", ("x",)) and "switch" not in inputs  # a control follows nothing
    assert outputs["f_v_pu"] == ("pu", ("1", "2")) and outputs["g_v_pu"] == ("pu", ("1",)) and outputs["own"] == ("W", ())
    served = BridgeFederate(bridge(DEVICE, Role.OUTSTATION))
    assert [port.name for port in served.inputs] == ["switch"]
    assert "to_f" in {port.name for port in served.outputs}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("x,f.v_pu:1,0,pu\ny,f.v_pu:1,1,pu\n", "both stand for f.v_pu:1"),
        ("x,f.v_pu:1,0,pu\ny,f.v_pu:2,1,V\n", "share the port 'v_pu'"),
        ("a.b,,0,pu\na-b,,1,pu\n", "make the same port"),
        ("link,,0,1\n", "which every device has"),
    ],
)
def test_points_that_cannot_share_a_port_are_named(rows: str, words: str) -> None:
    points = parse_map("name,signal,address,unit,table\n" + "".join(f"{row},analog_input\n" for row in rows.split()))
    with pytest.raises(ValueError, match=words):
        layout(points, Role.MASTER)


@pytest.mark.parametrize(("points", "role"), [(MASTER, Role.MASTER), (DEVICE, Role.OUTSTATION)])
def test_it_is_a_federate(points: object, role: Role) -> None:
    assert check_federate(Spec("dev", "hil.bridge:BridgeFederate", bridge(points, role))) == []


def inputs(value: float = 5.0) -> dict[str, object]:
    return {"p_w": Sample.of([value], 0), "command": ()}


def test_readings_age_into_stale_and_lost(gate: Channel) -> None:
    made = BridgeFederate(bridge(MASTER, Role.MASTER))
    made.start(0)
    now_ns = time.monotonic_ns()
    gate.set(Word.GATE_BEAT, now_ns)
    measured = np.array([now_ns, now_ns - 500 * MS_NS, now_ns - 2 * S_NS, 0])
    gate.put_inward(Frame(np.array([1.0, 2.0, 3.0, 4.0]), measured, np.array([0, 0, 0, int(Quality.FORCED)], np.uint16)))
    outputs = made.step(10 * S_NS, inputs()).outputs
    v = outputs["f_v_pu"]
    assert v.values.tolist() == [1.0, 2.0] and v.quality.tolist() == [0, int(Quality.STALE)]
    assert 10 * S_NS - v.t_ns[1] == pytest.approx(500 * MS_NS, abs=100 * MS_NS)
    assert np.isnan(outputs["g_v_pu"].values[0]) and outputs["g_v_pu"].quality[0] & Quality.LOST
    assert outputs["own"].quality[0] & Quality.LOST and outputs["own"].quality[0] & Quality.FORCED
    assert outputs["link"].quality.tolist() == [0, 0, 0, 0]
    gate.set(Word.GATE_BEAT, now_ns - 3 * S_NS)
    assert made.step(11 * S_NS, inputs()).outputs["link"].quality[0] & Quality.LOST


def test_values_commands_and_the_end_reach_the_gatekeeper(gate: Channel) -> None:
    made = BridgeFederate(bridge(MASTER, Role.MASTER))
    made.start(0)
    assert gate.get(Word.SOLVER_PID) and not gate.get(Word.SOLVER_BEAT)
    trip = Event(0, "scenario.dev.command", 1, {"action": "control", "point": "trip", "code": "trip"})
    curve = Event(0, "scenario.dev.command", 2, {"action": "set_points", "values": [["z", 1.0], ["a", 2.0]]})
    bad = Event(0, "scenario.dev.command", 3, {"action": "set_points", "values": []})
    answer = made.step(S_NS, {**inputs(7.0), "command": (trip, curve, bad)}).outputs
    frame = gate.outward()
    assert frame is not None and frame.values.tolist() == [7.0] and frame.quality.tolist() == [0]
    *messages, refused = gate.take_for_device()
    taken = [message["values"] for message in messages]
    assert "'values': []" in refused["refused"] and refused["id"] == "scenario.dev.command/3", "for the audit log"
    assert taken == [[["trip", "trip"]], [["z", 1.0], ["a", 2.0]]]  # in their order
    assert [result["id"] for result in answer["result"]] == ["scenario.dev.command/3"]
    assert gate.get(Word.SOLVER_T) == S_NS and gate.get(Word.SOLVER_BEAT)
    made.stop()
    assert gate.get(Word.OVER) == 1


def chatter(gate: Channel, first: int) -> int:
    """Messages full of events until the ring takes no more; the number of the next event."""
    while gate.send_to_bridge({"event": "soe", "rows": [[0, float(n), n] for n in range(first, first + SOE_ROWS)]}):
        first += SOE_ROWS
    return first


def test_a_device_that_chatters_is_slowed_down_and_nothing_is_lost(gate: Channel) -> None:
    made = BridgeFederate(bridge(MASTER, Role.MASTER))
    made.start(0)
    total = chatter(gate, 0)
    seen = []
    for k in range(total // MOST_REPORTS + 1):
        rows = made.step(k * S_NS, inputs()).outputs["soe"]
        assert len(rows) <= MOST_REPORTS
        seen += [(row["point"], row["value"], row["device_utc_ns"]) for row in rows]
    assert seen == [("a", float(n), n) for n in range(total)] and total > 4000


def test_what_waits_in_the_bridge_is_bounded_and_results_never_wait(gate: Channel) -> None:
    """Events come faster than steps take them: they stay with the gatekeeper, which says so when it has too many."""
    made = BridgeFederate(bridge(MASTER, Role.MASTER))
    made.start(0)
    sent, seen, k = 0, 0, 0
    for k in range(60):
        sent = chatter(gate, sent)
        seen += len(made.step(k * S_NS, inputs()).outputs["soe"])
        assert sent - seen <= MOST_WAITING + 256 * SOE_ROWS
    assert sent > 30_000
    seen += len(made.step((k + 1) * S_NS, inputs()).outputs["soe"])
    while not gate.send_to_bridge({"event": "result", "id": "r", "outcome": "ok"}):
        k += 1
        seen += len(made.step(k * S_NS, inputs()).outputs["soe"])
    for _ in range(10):
        outputs = made.step(99 * S_NS, inputs()).outputs
        seen += len(outputs["soe"])
        if outputs["result"]:
            break
    assert outputs["result"] == [{"id": "r", "outcome": "ok"}]
    assert seen < sent, "it passed events that wait"
    for k in range(100, 150):
        seen += len(made.step(k * S_NS, inputs()).outputs["soe"])
    assert seen == sent


def test_commands_of_the_devices_master_act_on_the_feeder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PRIVATE_VARIABLE, str(tmp_path))
    plan = layout(DEVICE, Role.OUTSTATION)
    gate = Channel(channel_path(tmp_path, "dev"), len(plan.inward), len(plan.outward), make=True)
    made = BridgeFederate(bridge(DEVICE, Role.OUTSTATION))
    made.start(0)
    for _ in range(MOST_REACTIONS):
        gate.send_to_bridge({"event": "command", "point": "op", "value": 1.0})
    for point, value in (("op", 0.0), ("op", 1.0), ("tap", -3.0), ("cap", 1.0)):
        gate.send_to_bridge({"event": "command", "point": point, "value": value})
    assert len(made.step(0, {"switch": Sample.of([1.0], 0)}).outputs["to_f"]) == MOST_REACTIONS, "a master cannot flood a feeder"
    sent = made.step(0, {"switch": Sample.of([1.0], 0)}).outputs["to_f"]
    assert sent == [
        {"action": "open_switch", "switch": "sw1"},
        {"action": "close_switch", "switch": "sw1"},
        {"action": "set_tap", "regulator": "r1", "tap": -3},
        {"action": "set_capacitor", "capacitor": "c1", "steps": 1},
    ]
    assert command_for(MASTER.point("p_set"), 2.5) == {"action": "write", "port": "p_w", "id": "x", "value": 2.5}
