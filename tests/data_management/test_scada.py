"""SCADA: report by exception, quality, comm-fail, commands and events over a bad channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from federates.data_management.scada import Measured, Scada, ScadaFederate
from federates.grid.channel import ChannelParams
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Quality, Sample

FIXED = ChannelParams(latency_s=0.2)
HEAD = Measured("head_p_w", "W", ("a", "b"), rtu="substation", deadband=100.0)
SWITCH = Measured("switch", "1", ("sw1", "sw2"), kind="status", rtu="pole")
FREQUENCY = Measured("f_hz", "Hz", (), rtu="substation")
CLEAN = Scada("scada", (HEAD, SWITCH), telemetry=FIXED, control=FIXED, refresh_ns=1)


class Bench:
    """Calls a SCADA federate as a runner would: at its period, at its next_ns, and when an event arrives."""

    def __init__(self, params: Scada, truth: Callable[[str, float], Any]) -> None:
        self.federate, self.truth = ScadaFederate(params), truth
        self.events: dict[str, list[tuple[int, dict]]] = {"soe": [], "control": [], "alarm": []}
        self.calls: list[int] = []
        self.at: list[tuple[int, dict[str, Sample]]] = [(0, dict(self.federate.start(0)))]

    def run(self, stop_s: float, arriving: Iterable[tuple[float, str, dict]] = ()) -> Bench:
        queue = sorted((round(t * S_NS), k, port, payload) for k, (t, port, payload) in enumerate(arriving))
        asked, t_ns = 2**62, 0
        while t_ns < stop_s * S_NS:
            inputs: dict[str, Any] = {g.port: Sample.of(self.truth(g.port, t_ns / S_NS), t_ns) for g in self.federate.params.groups}
            for port in ("soe", "command"):
                batch = [(k, p) for t, k, name, p in queue if name == port and t == t_ns]
                inputs[port] = tuple(Event(t_ns - MS_NS, f"outside.{port}", k + 1, p) for k, p in batch)
            step = self.federate.step(t_ns, inputs)
            self.calls.append(t_ns)
            held = {**self.at[-1][1], **{k: v for k, v in step.outputs.items() if isinstance(v, Sample)}}
            self.at.append((t_ns, held))
            for name, rows in self.events.items():
                rows.extend((t_ns, row) for row in step.outputs[name])
            assert step.next_ns is None or step.next_ns > t_ns
            asked = step.next_ns or 2**62
            period = self.federate.period_ns
            t_ns = min([asked, (t_ns // period + 1) * period, *(t for t, *_ in queue if t > t_ns)])
        return self

    def shown(self, port: str, t_s: float) -> Sample:
        """What the centre shows at a time."""
        return [held for t, held in self.at if t <= t_s * S_NS][-1][port]


def steady(port: str, t_s: float) -> list[float]:
    return [1000.0, 2000.0] if port == "head_p_w" else [1.0, 0.0]


def test_nothing_is_known_before_it_was_delivered_and_then_with_its_own_time() -> None:
    bench = Bench(CLEAN, steady).run(1.0)
    before, after = bench.shown("head_p_w", 0.19), bench.shown("head_p_w", 0.2)
    assert np.isnan(before.values).all() and (before.quality == Quality.LOST).all()
    assert after.values.tolist() == [1000.0, 2000.0] and (after.quality == 0).all() and after.times_ns.tolist() == [0, 0]
    assert 200 * MS_NS in bench.calls


def test_many_rtus_make_few_calls_and_values_wait_for_the_refresh() -> None:
    ids = tuple(f"p{k}" for k in range(50))
    poles = Measured("p_w", "W", ids, rtu=ids)
    params = Scada("scada", (poles, SWITCH), telemetry=ChannelParams(latency_s=0.15, sigma=0.3))

    def truth(port: str, t_s: float) -> Any:
        return np.full(50, 1000.0 + t_s) if port == "p_w" else [1.0, 0.0]

    bench = Bench(params, truth).run(60.0)
    assert len(bench.calls) <= 60 / 2 * 4 + 2  # a scan, at most two refreshes, and one status at the start
    assert all(t % (250 * MS_NS) == 0 for t in bench.calls[2:])
    assert (bench.shown("p_w", 58.7).values >= 1058.0 - 1e-9).all()


def test_a_change_within_the_deadband_waits_for_the_integrity_scan() -> None:
    def moving(port: str, t_s: float) -> list[float]:
        return [1000.0 + (50.0 if t_s >= 4 else 0.0), 2000.0 + (150.0 if t_s >= 4 else 0.0)] if port == "head_p_w" else [1.0, 0.0]

    bench = Bench(Scada("scada", (HEAD, SWITCH), telemetry=FIXED, integrity_ns=60 * S_NS), moving).run(65.0)
    assert bench.shown("head_p_w", 10.0).values.tolist() == [1000.0, 2150.0]
    assert bench.shown("head_p_w", 10.0).times_ns.tolist() == [0, 4 * S_NS]
    assert bench.shown("head_p_w", 59.0).quality.tolist() == [0, 0]  # silent within its deadband is not silent
    assert bench.shown("head_p_w", 60.3).values.tolist() == [1050.0, 2150.0]


def test_a_status_is_sent_at_once_when_its_event_wakes_the_rtu() -> None:
    def opening(port: str, t_s: float) -> list[float]:
        return [1000.0, 2000.0] if port == "head_p_w" else [0.0 if t_s >= 2.5 else 1.0, 0.0]

    bench = Bench(CLEAN, opening).run(4.0, [(2.5, "soe", {"event": "open_switch", "switch": "sw1"})])
    assert bench.shown("switch", 2.69).values.tolist() == [1.0, 0.0]
    assert bench.shown("switch", 2.70).values.tolist() == [0.0, 0.0]
    assert bench.shown("switch", 2.70).times_ns.tolist() == [2500 * MS_NS, 0]


def test_a_late_answer_does_not_replace_a_newer_value() -> None:
    def ramp(port: str, t_s: float) -> list[float]:
        return [1000.0 * t_s, 0.0] if port == "head_p_w" else [1.0, 0.0]

    wild = ChannelParams(latency_s=3.0, sigma=1.2, duplicate=0.3)
    bench = Bench(Scada("scada", (HEAD, SWITCH), telemetry=wild, seed=2), ramp).run(120.0)
    times = [int(held["head_p_w"].times_ns[0]) for _, held in bench.at]
    assert times == sorted(times) and len(set(times)) > 20
    assert all(h["head_p_w"].values[0] == h["head_p_w"].times_ns[0] / 1e6 for _, h in bench.at if h["head_p_w"].quality[0] == 0)
    assert all(held["head_p_w"].times_ns[0] <= t for t, held in bench.at)


def test_a_failed_link_makes_its_points_stale_then_lost_and_comes_back() -> None:
    request = {"action": "comm_fail", "rtu": "pole", "duration_s": 30.0}
    bench = Bench(CLEAN, steady).run(60.0, [(10.5, "command", request)])
    assert bench.shown("switch", 16.0).quality.tolist() == [0, 0]
    assert bench.shown("switch", 18.0).quality.tolist() == [Quality.STALE] * 2  # heard last at 10.2 s, three scans are 6 s
    failed = bench.shown("switch", 24.0)
    assert failed.quality.tolist() == [Quality.STALE | Quality.LOST] * 2 and failed.values.tolist() == [1.0, 0.0]
    assert bench.shown("head_p_w", 24.0).quality.tolist() == [0, 0]
    assert bench.shown("switch", 43.0).quality.tolist() == [0, 0]
    assert [(t / S_NS, row["alarm"], row["rtu"]) for t, row in bench.events["alarm"]] == [
        (24.0, "comm_fail", "pole"),
        (42.2, "restored", "pole"),
    ]


def test_lost_answers_are_reported_again() -> None:
    lossy = ChannelParams(latency_s=0.1, loss=0.5)

    def stepping(port: str, t_s: float) -> list[float]:
        return [500.0 * (t_s // 20), 0.0] if port == "head_p_w" else [1.0, 0.0]

    bench = Bench(Scada("scada", (HEAD, SWITCH), telemetry=lossy, seed=4), stepping).run(200.0)
    for k in range(10):
        assert bench.shown("head_p_w", 20.0 * k + 18.0).values[0] == 500.0 * k


@pytest.mark.parametrize("seed", range(4))
def test_no_command_is_executed_twice_and_no_event_is_lost_at_10_percent_loss(seed: int) -> None:
    bad = ChannelParams(latency_s=0.4, sigma=0.9, loss=0.1, duplicate=0.2)
    params = Scada("scada", (HEAD, SWITCH), telemetry=bad, control=bad, seed=seed)
    order = {"action": "open_switch", "switch": "sw1"}
    requests = [
        (1.0 + k, "command", {"action": "operate", "point": "switch.sw1", "id": f"c{k}", "command": order}) for k in range(100)
    ]
    again = [(t + 0.5, port, payload) for t, port, payload in requests]
    rows = [(1.25 + k, "soe", {"event": "open_switch", "switch": "sw1", "k": k}) for k in range(100)]
    bench = Bench(params, steady).run(160.0, [*requests, *again, *rows])
    executed = [row["id"] for _, row in bench.events["control"]]
    assert len(executed) == len(set(executed)) == 100
    assert {row["action"] for _, row in bench.events["control"]} == {"open_switch"}
    assert sum("used before" in row.get("reason", "") for _, row in bench.events["alarm"]) == 100
    delivered = [row["k"] for _, row in bench.events["soe"]]
    assert sorted(delivered) == list(range(100))
    assert delivered != sorted(delivered)  # some arrived out of order; their own times put them right
    in_order = sorted(bench.events["soe"], key=lambda item: item[1]["t_event_ns"])
    assert [row["k"] for _, row in in_order] == list(range(100))
    assert all(row["t_event_ns"] == round((1.25 + row["k"]) * S_NS) - MS_NS for _, row in bench.events["soe"])
    assert all(t > row["t_event_ns"] for t, row in bench.events["soe"])
    assert bench.federate._control.repeats_dropped > 0 and bench.federate._soe.repeats_dropped > 0


def test_events_of_a_cut_off_rtu_arrive_when_it_is_back() -> None:
    bench = Bench(CLEAN, steady).run(
        60.0,
        [
            (10.0, "command", {"action": "comm_fail", "rtu": "pole", "duration_s": 20.0}),
            (15.0, "soe", {"event": "open_switch", "switch": "sw1"}),
            (15.0, "soe", {"event": "der_trip", "units": ["pv1"]}),
        ],
    )
    assert [(t / S_NS, row["event"]) for t, row in bench.events["soe"]] == [(15.2, "der_trip"), (31.2, "open_switch")]


def test_tags_guard_commands_even_on_their_way() -> None:
    operate = {"action": "operate", "point": "switch.sw1", "command": {"action": "open_switch", "switch": "sw1"}}
    params = Scada("scada", (HEAD, SWITCH), telemetry=FIXED, control=FIXED, tags=(("switch.sw1", "blocked"),))
    bench = Bench(params, steady).run(
        10.0,
        [
            (1.0, "command", operate),
            (2.0, "command", {"action": "tag", "point": "switch.sw1", "tag": "remote"}),
            (3.0, "command", operate),
            (5.0, "command", operate),
            (5.1, "command", {"action": "tag", "point": "switch.sw1", "tag": "local"}),
        ],
    )
    assert [(t / S_NS, row["action"], row["switch"], row["point"]) for t, row in bench.events["control"]] == [
        (3.2, "open_switch", "sw1", "switch.sw1")
    ]
    reasons = [row["reason"] for _, row in bench.events["alarm"]]
    assert len(reasons) == 2 and "blocked" in reasons[0] and "on its way" in reasons[1]


def test_a_command_that_is_never_confirmed_is_reported() -> None:
    params = Scada("scada", (HEAD, SWITCH), telemetry=FIXED, control=ChannelParams(loss=1.0))
    bench = Bench(params, steady).run(20.0, [(1.0, "command", {"action": "operate", "point": "switch.sw1", "id": "x"})])
    assert bench.events["control"] == []
    assert [(t / S_NS, row) for t, row in bench.events["alarm"]] == [
        (11.0, {"alarm": "command_unconfirmed", "id": "x", "point": "switch.sw1"})
    ]


def test_substitution_is_flagged_and_released() -> None:
    bench = Bench(CLEAN, steady).run(
        10.0,
        [
            (3.0, "command", {"action": "substitute", "point": "head_p_w.b", "value": 777}),
            (7.0, "command", {"action": "release", "point": "head_p_w.b"}),
        ],
    )
    by_hand, back = bench.shown("head_p_w", 5.0), bench.shown("head_p_w", 9.0)
    assert by_hand.values.tolist() == [1000.0, 777.0] and by_hand.quality.tolist() == [0, Quality.SUBSTITUTED]
    assert back.values.tolist() == [1000.0, 2000.0] and back.quality.tolist() == [0, 0]


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "operate", "point": "switch.sw9"},
        {"action": "operate", "point": "switch.sw1", "command": "open"},
        {"action": "substitute", "point": "head_p_w.a", "value": "much"},
        {"action": "release", "point": "head_p_w.a"},
        {"action": "tag", "point": "head_p_w.a", "tag": "mine"},
        {"action": "comm_fail", "rtu": "moon", "duration_s": 1.0},
        {"action": "comm_fail", "rtu": "pole", "duration_s": -1.0},
        {"action": "dance"},
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(request_: dict) -> None:
    bench = Bench(CLEAN, steady).run(4.0, [(1.0, "command", request_)])
    (alarm,) = [row for _, row in bench.events["alarm"]]
    assert alarm["alarm"] == "refused" and alarm["request"] == request_ and len(alarm["reason"]) > 10
    assert bench.events["control"] == []


def test_scaling_is_exact_to_one_lsb_accuracy_in_class_and_limits_make_suspect() -> None:
    ids = tuple(f"p{k}" for k in range(400))
    exact = Measured("p_w", "W", ids, resolution=0.5, high=1300.0)
    classed = Measured("q_var", "var", ids, accuracy=0.01)
    truth = np.linspace(1.0, 1400.0, 400)
    bench = Bench(Scada("scada", (exact, classed), telemetry=FIXED), lambda port, t_s: truth).run(2.0)
    p, q = bench.shown("p_w", 1.0), bench.shown("q_var", 1.0)
    assert np.abs(p.values - truth).max() <= 0.25
    assert ((p.quality == Quality.SUSPECT) == (p.values > 1300.0)).all()
    error = q.values / truth - 1.0
    assert error.std() == pytest.approx(0.01, rel=0.15) and np.abs(error).max() <= 0.03


def test_a_scalar_group_is_one_point_named_as_its_port() -> None:
    bench = Bench(Scada("scada", (FREQUENCY,), telemetry=FIXED), lambda port, t_s: 60.0).run(
        6.0, [(3.0, "command", {"action": "substitute", "point": "f_hz", "value": 59.5})]
    )
    assert bench.shown("f_hz", 1.0).scalar == 60.0 and bench.shown("f_hz", 4.0).scalar == 59.5


def test_an_answer_does_not_depend_on_when_else_scada_is_called() -> None:
    """A storm of refused requests between the scans changes no delivery."""
    noisy = Scada("scada", (HEAD, SWITCH), telemetry=ChannelParams(latency_s=0.5, sigma=1.0, loss=0.2), seed=9)

    def ramp(port: str, t_s: float) -> list[float]:
        return [1000.0 * (t_s // 2), 0.0] if port == "head_p_w" else [1.0, 0.0]

    quiet = Bench(noisy, ramp).run(60.0)
    storm = Bench(noisy, ramp).run(60.0, [(0.3 + 0.7 * k, "command", {"action": "dance"}) for k in range(80)])
    for t_s in np.arange(0.0, 60.0, 0.25):
        a, b = quiet.shown("head_p_w", t_s), storm.shown("head_p_w", t_s)
        assert a.values.tobytes() == b.values.tobytes() and np.array_equal(a.times_ns, b.times_ns)


@pytest.mark.parametrize("wrong", [{"rtu": ("x",)}, {"scan_ns": 0}, {"deadband": -1.0}, {"low": 2.0, "high": 1.0}])
def test_impossible_groups_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="head_p_w"):
        Measured("head_p_w", "W", ("a", "b"), **wrong)


def test_conforms() -> None:
    bad = ChannelParams(latency_s=0.4, sigma=0.9, loss=0.2, duplicate=0.2)
    params = Scada("scada", (HEAD, SWITCH, FREQUENCY), telemetry=bad, control=bad)
    assert check_federate(Spec("scada", "federates.data_management.scada:ScadaFederate", params), periods=20) == []


def test_another_value_beside_the_same_time_replaces_the_first() -> None:
    """At the start a device publishes twice at one instant: what it shows when the coupled start has ended is what counts."""

    def settled(port: str, t_s: float) -> list[float]:
        return [1000.0, 2000.0] if port == "head_p_w" else [1.0, 0.0 if t_s < 1.0 else 1.0]

    federate = ScadaFederate(CLEAN)
    federate.start(0)
    shown: dict[str, Sample] = {}
    for t_ns in (0, 200 * MS_NS, 2 * S_NS, 2 * S_NS + 200 * MS_NS):
        inputs: dict[str, Any] = {g.port: Sample.of(settled(g.port, t_ns / S_NS), 0) for g in CLEAN.groups}
        shown |= federate.step(t_ns, {**inputs, "soe": (), "command": ()}).outputs
    assert shown["switch"].values.tolist() == [1.0, 1.0] and shown["switch"].times_ns.tolist() == [0, 0]
