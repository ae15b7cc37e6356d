"""AMI: delivery in its own time, estimation, coverage, energy and outages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from federates.data_management.ami import MESH, Ami, AmiFederate
from federates.data_management.vee import Limits, estimate, valid
from federates.field.meters import MeteredLoad, Meters, MetersFederate, meter_ids, meter_nominal_w
from federates.grid.channel import ChannelParams
from federates.runtime.conformance import check_federate
from federates.runtime.federate import S_NS, Spec
from federates.runtime.port import Event, Quality, Sample

I_NS = 300 * S_NS
LOADS = tuple(MeteredLoad(f"l{k}", 20e3 + 2e3 * k) for k in range(12))
METERS = Meters("meters", LOADS, accuracy_class=0.0)
IDS, NOMINAL = meter_ids(METERS), np.array(meter_nominal_w(METERS))
LOAD = np.array([int(i.partition("#")[0][1:]) for i in IDS])
TRANSFORMERS = (("t1", ("l0", "l1", "l2")), ("t2", ("l3", "l4")))
SURE = ChannelParams(latency_s=1.5, sigma=0.5)
BASE = Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, mesh=SURE, gasps=ChannelParams(latency_s=4.0, sigma=0.6))

Truth = Callable[[int], np.ndarray]


def shape(k: int) -> np.ndarray:
    """P of every meter in interval k, W: a common day shape, and each customer wandering on its own."""
    own = 1.0 + 0.3 * np.sin(0.21 * k + np.arange(len(IDS)))
    return NOMINAL * own * (0.7 + 0.3 * np.sin(2 * np.pi * k / 288.0))


def walk(
    params: Ami, stop_s: int, truth: Truth = shape, events: dict[int, list[dict]] | None = None, silent: np.ndarray | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """(t_ns, everything held) after each call of an AMI federate fed with readings at interval ends, as a runner would."""
    federate = AmiFederate(params)
    held: dict[str, Any] = dict(federate.start(0))
    inputs: dict[str, Any] = {f"interval_{name}": Sample.missing(len(IDS)) for name in ("p_w", "q_var", "v_pu")}
    seen = [(0, dict(held))]
    for t_s in range(0, stop_s, 5):
        t_ns = t_s * S_NS
        batch = tuple(Event(t_ns, "meters.meter_event", t_s * 1000 + n + 1, p) for n, p in enumerate((events or {}).get(t_s, ())))
        outputs = federate.step(t_ns, {**inputs, "meter_event": batch}).outputs
        held = {**held, **outputs}
        seen.append((t_ns, dict(held)))
        if t_ns and t_ns % I_NS == 0:  # published now, seen from the next call on
            p_w = truth(t_ns // I_NS - 1)
            flags = np.zeros(len(IDS), np.uint16) if silent is None else np.where(silent, Quality.LOST, 0).astype(np.uint16)
            for name, values in (("p_w", p_w), ("q_var", 0.3 * p_w), ("v_pu", np.full(len(IDS), 1.01))):
                inputs[f"interval_{name}"] = Sample(values, t_ns, flags)
    return seen


def loads_by_interval(seen: list[tuple[int, dict[str, Any]]], name: str = "load_p_w") -> dict[int, Sample]:
    """The last version published of each interval, by its number."""
    return {int(held[name].t_ns) // I_NS - 1: held[name] for _, held in seen if (held[name].quality & Quality.LOST == 0).all()}


def by_load(values: np.ndarray) -> np.ndarray:
    return np.bincount(LOAD, values, len(LOADS))


def test_with_sure_delivery_the_loads_are_exact_good_and_covered() -> None:
    seen = walk(BASE, 3600)
    final = loads_by_interval(seen)
    assert sorted(final) == list(range(11))
    for k, sample in final.items():
        assert sample.values == pytest.approx(by_load(shape(k)), rel=1e-12)
        assert (sample.quality == 0).all() and sample.t_ns == (k + 1) * I_NS
    assert (seen[-1][1]["coverage"].values == 1.0).all()
    assert seen[-1][1]["load_v_pu"].values == pytest.approx(np.full(12, 1.01))


def test_a_reading_is_shown_after_its_own_delay_with_its_own_time() -> None:
    federate = AmiFederate(BASE)
    arrival_ns = federate._mesh.send(I_NS, np.arange(len(IDS)), 0, federate._hops).arrival_ns
    assert np.unique(federate._hops).tolist() == list(range(1, 9))
    counted = 0
    for t_ns, held in walk(BASE, 360):
        there = held["reading_p_w"].quality & Quality.LOST == 0
        assert np.array_equal(there, (arrival_ns <= t_ns) & (t_ns > I_NS))
        assert (held["reading_p_w"].times_ns[there] == I_NS).all()
        counted += 0 < there.sum() < len(IDS)
    assert counted >= 3


@pytest.mark.parametrize("stop_s", [605, 610, 620, 640])
def test_nothing_is_used_before_it_was_delivered(stop_s: int) -> None:
    """What has not arrived by a time may be anything: everything published until then stays the same, bit for bit."""
    params = Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, mesh=MESH, seed=3)
    federate = AmiFederate(params)
    last = (stop_s - 5) * S_NS
    arrival_ns = federate._mesh.send(2 * I_NS, np.arange(len(IDS)), 1, federate._hops).arrival_ns
    future = arrival_ns > last
    assert future.any() and (stop_s == 605 or not future.all())

    def poisoned(k: int) -> np.ndarray:
        return np.where(future, NOMINAL * 1.7, shape(k)) if k == 1 else shape(k) * (1.0 if k < 1 else 3.0)

    clean, dirty = walk(params, stop_s), walk(params, stop_s, poisoned)
    for (_, a), (_, b) in zip(clean, dirty, strict=True):
        for name in a:
            if name != "outage":
                one, two = (x[name] if isinstance(x[name], Sample) else Sample.of(x[name], 0) for x in (a, b))
                assert one.values.tobytes() == two.values.tobytes(), name
                assert one.quality.tobytes() == two.quality.tobytes() and np.array_equal(one.times_ns, two.times_ns)
    later, other = (loads_by_interval(walk(params, 1000, truth))[1] for truth in (shape, poisoned))
    assert not np.array_equal(later.values, other.values)  # the poison does count once it is there


@pytest.mark.parametrize("seed", range(4))
def test_with_5_percent_missing_transformer_energy_is_within_2_percent(seed: int) -> None:
    """Readings lost for good; meters whose shares wander (the real meters federate) over 3 h."""
    per_hop = 1.0 - 0.95
    mesh = ChannelParams(latency_s=1.5, sigma=0.5, loss=per_hop)
    params = Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, mesh=mesh, backfill_ns=None, seed=seed)
    meters = MetersFederate(METERS)
    meters.start(0)
    readings: dict[int, np.ndarray] = {}
    for t_s in range(0, 3 * 3600 + 1, 30):
        level = np.array([load.nominal_w for load in LOADS]) * (0.6 + 0.4 * np.sin(t_s / 4000.0) ** 2)
        ins = {"load_p_w": level, "load_q_var": 0.3 * level, "load_v_pu": np.ones(12)}
        outputs = meters.step(t_s * S_NS, {name: Sample.of(values, t_s * S_NS) for name, values in ins.items()}).outputs
        if "interval_p_w" in outputs:
            readings[t_s // 300 - 1] = outputs["interval_p_w"].values
    seen = walk(params, 3 * 3600 + 300, readings.__getitem__)
    final = loads_by_interval(seen)
    estimated = sum(int((s.quality & Quality.ESTIMATED != 0).sum()) for s in final.values())
    assert estimated > 30
    true_wh = sum(by_load(readings[k]) for k in final) / 12
    got_wh = sum(sample.values for sample in final.values()) / 12
    members = np.array([0, 0, 0, 1, 1, *range(2, 9)])
    error = np.bincount(members, got_wh) / np.bincount(members, true_wh) - 1.0
    assert np.abs(error).max() <= 0.02
    assert 0.9 < np.mean([held["coverage"].values[-1] for t, held in seen if t > 400 * S_NS]) < 0.99


def test_energy_booked_is_the_integral_within_a_thousandth() -> None:
    seen = walk(BASE, 4 * 3600)
    booked = seen[-1][1]["energy_wh"]
    intervals = int(booked.t_ns) // I_NS
    assert intervals == 4 * 12 - 7  # settled half an hour after their end
    truth = sum(shape(k) for k in range(intervals)) / 12
    expected = [truth[LOAD <= 2].sum(), truth[(LOAD == 3) | (LOAD == 4)].sum(), *(truth[k == LOAD].sum() for k in range(5, 12))]
    assert booked.values == pytest.approx([*expected, truth.sum()], rel=1e-3)
    assert (booked.quality == 0).all()


def test_coverage_is_the_delivered_part_of_nominal_power() -> None:
    silent = np.zeros(len(IDS), np.bool_)
    silent[[0, 3, 17]] = True
    coverage = walk(BASE, 700, silent=silent)[-1][1]["coverage"]
    federate = AmiFederate(BASE)
    ids = next(p.ids for p in federate.outputs if p.name == "coverage")
    assert ids == ("t1", "t2", *(f"l{k}" for k in range(5, 12)), "bus")
    heard = np.where(silent, 0.0, NOMINAL)
    assert coverage.values[0] == pytest.approx(heard[LOAD <= 2].sum() / NOMINAL[LOAD <= 2].sum(), rel=1e-12)
    assert coverage.values[-1] == pytest.approx(heard.sum() / NOMINAL.sum(), rel=1e-12)
    assert coverage.t_ns == 2 * I_NS


def test_lost_readings_are_fetched_later_and_mend_the_energy() -> None:
    mesh = ChannelParams(latency_s=1.5, sigma=0.5, loss=0.3)
    seen = walk(Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, mesh=mesh, settle_ns=5400 * S_NS), 4 * 3600)
    booked = seen[-1][1]["energy_wh"]
    truth = sum(shape(k) for k in range(int(booked.t_ns) // I_NS)).sum() / 12
    assert booked.values[-1] == pytest.approx(truth, rel=1e-3)
    never = walk(
        Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, mesh=mesh, settle_ns=5400 * S_NS, backfill_ns=None), 4 * 3600
    )
    assert (never[-1][1]["energy_wh"].quality == Quality.ESTIMATED).all()
    assert abs(booked.values[-1] / truth - 1.0) < abs(never[-1][1]["energy_wh"].values[-1] / truth - 1.0)


def test_a_wrong_reading_is_refused_shown_suspect_and_estimated() -> None:
    def broken(k: int) -> np.ndarray:
        p_w = shape(k)
        p_w[5] = 1e9 if k == 3 else p_w[5]
        return p_w

    seen = walk(BASE, 1300, broken)
    held = seen[-1][1]
    assert held["reading_p_w"].values[5] == 1e9 and held["reading_p_w"].quality[5] == Quality.SUSPECT
    load = held["load_p_w"]
    assert load.quality[LOAD[5]] == Quality.ESTIMATED and load.values[LOAD[5]] == pytest.approx(
        by_load(shape(3))[LOAD[5]], rel=0.05
    )


def test_a_load_whose_total_is_beyond_belief_is_suspect() -> None:
    """Each meter within its own range, all of one load together not."""
    seen = walk(BASE, 400, lambda k: np.where(LOAD == 7, 4.0 * NOMINAL, shape(k)))
    quality = seen[-1][1]["load_p_w"].quality
    assert quality[7] == Quality.SUSPECT and (np.delete(quality, 7) == 0).all()


def test_a_spike_is_refused_once_and_believed_when_it_stays() -> None:
    nominal, last = np.full(3, 1000.0), np.array([1000.0, 1000.0, np.nan])
    now = np.stack((np.array([8000.0, 2000.0, 8000.0]), np.zeros(3), np.ones(3)))
    first = valid(Limits(), nominal, now, last, np.full(3, np.nan))
    assert first.tolist() == [False, True, True]
    assert valid(Limits(), nominal, now, last, np.array([7900.0, np.nan, np.nan])).tolist() == [True, True, True]


def test_estimates_follow_neighbours_or_a_straight_line() -> None:
    nan, one = np.nan, np.zeros(3, np.int64)
    rows = np.array([[100.0, 200.0, 300.0], [nan, 300.0, 450.0], [nan, 300.0, 450.0], [nan, 240.0, 360.0]])
    assert estimate(rows, 3, np.ones(3), (one,), 24)[0] == pytest.approx(120.0)  # neighbours fell by a fifth from 500 to 600
    rows[3, 0] = 190.0
    assert estimate(rows, 1, np.ones(3), (one,), 24)[0] == pytest.approx(130.0)
    assert estimate(rows, 1, np.ones(3), (one,), 1)[0] == pytest.approx(150.0)  # too long a gap for a line
    never = np.array([[nan, 200.0, 400.0]])
    assert estimate(never, 0, np.array([50.0, 100.0, 200.0]), (one,), 24)[0] == pytest.approx(100.0)
    assert np.isnan(estimate(np.full((1, 3), nan), 0, np.ones(3), (one,), 24)).all()


def outage(load: str, t_s: int, event: str = "last_gasp") -> dict[str, Any]:
    return {"event": event, "load": load, "meters": 5, "t_event_ns": t_s * S_NS}


def test_an_outage_is_named_within_a_minute_with_20_percent_of_gasps_lost() -> None:
    found, late = 0, []
    for seed in range(20):
        params = Ami("ami", IDS, meter_nominal_w(METERS), TRANSFORMERS, gasps=ChannelParams(4.0, 0.6, loss=0.2), seed=seed)
        seen = walk(params, 500, events={400: [outage("l3", 400), outage("l4", 400)]})
        named = {(row["transformer"], t // S_NS) for t, held in seen for row in held.get("outage", ())}
        assert {name for name, _ in named} <= {"t2"}
        found += bool(named)
        late += [t - 400 for _, t in named]
    assert found >= 19 and max(late) <= 60


def test_one_gasp_is_no_outage_and_gasps_far_apart_are_none_either() -> None:
    lonely = Ami("ami", ("x#1", "y#1", "z#1"), (4e3, 4e3, 4e3), (("t", ("x", "y")),), gasps=ChannelParams(2.0))
    federate = AmiFederate(lonely)
    federate.start(0)
    inputs = {f"interval_{name}": Sample.missing(3) for name in ("p_w", "q_var", "v_pu")}
    rows = []
    for t_s in range(0, 400, 5):
        payload = {10: outage("x", 10), 100: outage("z", 100), 200: outage("y", 200), 230: outage("x", 230)}.get(t_s)
        batch = (Event(t_s * S_NS, "m.e", t_s + 1, payload),) if payload else ()
        rows += [(t_s, row) for row in federate.step(t_s * S_NS, {**inputs, "meter_event": batch}).outputs["outage"]]
    assert rows == [(235, {"event": "outage", "transformer": "t", "t_first_ns": 200 * S_NS, "gasps": 2})]


def test_meters_known_to_be_dead_count_nothing_and_come_back() -> None:
    dead = LOAD == 5
    before = walk(BASE, 605)
    assert loads_by_interval(before)[0].values[5] > 1e4
    seen = walk(
        BASE, 1000, lambda k: np.where(dead & (k >= 1), 0.0, shape(k)), {290: [outage("l5", 290)]}, silent=dead
    )  # its meters say nothing from the start on
    load = loads_by_interval(seen)[1]
    assert load.values[5] == 0.0 and load.quality[5] == Quality.ESTIMATED
    assert load.values[4] == pytest.approx(by_load(shape(1))[4])
    rows = [
        row
        for _, held in walk(BASE, 500, events={310: [outage("l5", 310)], 400: [outage("l5", 400, "restored")]})
        for row in held.get("outage", ())
    ]
    assert [(row["event"], row["transformer"]) for row in rows] == [("outage", "l5"), ("restored", "l5")]


def test_a_load_that_is_back_is_estimated_again_and_not_held_dead() -> None:
    """Its meters report again, then fall silent for another reason; lost messages of restoration do not matter."""
    dead = LOAD == 5
    silent = {0: False, 1: True, 2: False, 3: True}
    federate = AmiFederate(BASE)
    federate.start(0)
    inputs: dict[str, Any] = {f"interval_{name}": Sample.missing(len(IDS)) for name in ("p_w", "q_var", "v_pu")}
    load: dict[int, Sample] = {}
    for t_s in range(0, 1400, 5):
        t_ns = t_s * S_NS
        gasps = (Event(t_ns, "meters.meter_event", 1, outage("l5", 310)),) if t_s == 310 else ()
        outputs = federate.step(t_ns, {**inputs, "meter_event": gasps}).outputs
        if "load_p_w" in outputs:
            load[int(outputs["load_p_w"].t_ns) // I_NS - 1] = outputs["load_p_w"]
        if t_ns and t_ns % I_NS == 0:
            k = t_ns // I_NS - 1
            flags = np.where(dead & silent[k], Quality.LOST, 0).astype(np.uint16)
            for name, values in (("p_w", shape(k)), ("q_var", 0.3 * shape(k)), ("v_pu", np.ones(len(IDS)))):
                inputs[f"interval_{name}"] = Sample(values, t_ns, flags)
    assert load[1].values[5] == pytest.approx(by_load(shape(1))[5] / 30, rel=0.2)  # 10 s of it had voltage
    assert load[2].values[5] == pytest.approx(by_load(shape(2))[5]) and load[2].quality[5] == 0
    assert load[3].values[5] == pytest.approx(by_load(shape(3))[5], rel=0.2) and load[3].quality[5] == Quality.ESTIMATED


@pytest.mark.parametrize(
    "wrong",
    [
        {"meters": ("a#1",), "nominal_w": ()},
        {"period_ns": 2 * I_NS},
        {"transformers": (("t", ("nowhere",)),)},
        {"transformers": (("bus", ("l0",)),)},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="AMI ami"):
        AmiFederate(Ami(**{"name": "ami", "meters": IDS, "nominal_w": meter_nominal_w(METERS), **wrong}))


def test_conforms() -> None:
    assert check_federate(Spec("ami", "federates.data_management.ami:AmiFederate", BASE), periods=130) == []
