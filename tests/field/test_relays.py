"""Relays and special schemes as federates, and the breakers that they open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from federates.field.breakers import LikeBreakers
from federates.field.distribution import Distribution, DistributionFederate
from federates.field.profile import Diversity, LoadProfile
from federates.field.relays import Relays, RelaysFederate
from federates.field.schemes import Schemes, SchemesFederate
from federates.grid.feeder import DerSite
from federates.grid.feeder_library import builtin_feeder
from federates.grid.logic import Condition, Row
from federates.grid.relay import Stage
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Sample

STAGES = (
    Stage("ufls", 1, "f_hz", 59.5, 100 * MS_NS, 80 * MS_NS, feeders=3),
    Stage("uvls", 1, "v_pu", 0.9, 3 * S_NS, 80 * MS_NS),
)
RELAYS = Relays("relays", "16", STAGES)
ROWS = (Row("both", (Condition("line_open", "16-17"), Condition("generator_out", "G30")), (("f1", 2), ("f2", None)), 50 * MS_NS),)
SITES = (DerSite("d1", "680.1.2.3", 4.16, 600e3),)


def relay_inputs(
    t_ns: int, f_hz: float, v_pu: float = 1.0, begins: bool = False, commands: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    emergency = (Event(t_ns, "grid.emergency", 1, {"active": True, "step_ns": 20 * MS_NS}),) if begins else ()
    events = tuple(Event(t_ns, "bay.to_relays", k + 1, payload) for k, payload in enumerate(commands))
    return {"f_hz": Sample.of(f_hz, t_ns), "v_pu": Sample.of(v_pu, t_ns), "emergency": emergency, "command": events}


@pytest.mark.parametrize(
    "spec",
    [
        Spec("relays", "federates.field.relays:RelaysFederate", RELAYS),
        Spec("wired", "federates.field.relays:RelaysFederate", replace(RELAYS, stages=STAGES[1:], wired=STAGES[:1])),
        Spec("schemes", "federates.field.schemes:SchemesFederate", Schemes("schemes", ROWS, ("f1", "f2"))),
    ],
    ids=lambda spec: spec.name,
)
def test_they_satisfy_the_contract(spec: Spec) -> None:
    check_federate(spec)


def test_the_command_arrives_when_the_contacts_part() -> None:
    """Pickup at 1.00 s, operation at 1.10 s, contacts at 1.18 s; the link of a command takes a millisecond."""
    federate = RelaysFederate(RELAYS)
    federate.start(0)
    step = federate.step(S_NS, relay_inputs(S_NS, 59.4, begins=True))
    assert step.outputs["soe"][0]["event"] == "relay_pickup" and step.next_ns == S_NS + 20 * MS_NS
    trips: list[tuple[int, Any]] = []
    t_ns = step.next_ns
    while t_ns < 2 * S_NS:
        step = federate.step(t_ns, relay_inputs(t_ns, 59.4))
        trips += [(t_ns, trip) for trip in step.outputs["trip"]]
        assert step.next_ns is not None
        t_ns = step.next_ns
    assert trips == [(S_NS + 179 * MS_NS, {"action": "open_breaker", "cause": "ufls:1", "feeders": 3})]


def test_a_stage_that_is_left_to_a_device_waits_for_its_contact() -> None:
    """The relay of our own does not act on it; its breaker and feeders are as the stage says; it operates once."""
    federate = RelaysFederate(replace(RELAYS, stages=STAGES[1:], wired=STAGES[:1]))
    assert federate.start(0) == {"operated": [0.0, 0.0]}
    calm = federate.step(S_NS, relay_inputs(S_NS, 59.0))
    assert calm.outputs["soe"] == [] and federate.step(2 * S_NS, relay_inputs(2 * S_NS, 59.0)).outputs["soe"] == []
    contact = {"action": "operate", "stage": "ufls:1"}
    t_ns = 2 * S_NS + 5 * MS_NS
    step = federate.step(t_ns, relay_inputs(t_ns, 59.0, commands=(contact, contact)))
    assert [row["event"] for row in step.outputs["soe"]] == ["relay_operate"]
    assert step.outputs["operated"] == [0.0, 1.0] and step.next_ns == t_ns + 79 * MS_NS
    opened = federate.step(step.next_ns, relay_inputs(step.next_ns, 59.0))
    assert opened.outputs["trip"] == [{"action": "open_breaker", "cause": "ufls:1", "feeders": 3}]
    again = federate.step(3 * S_NS, relay_inputs(3 * S_NS, 59.0, commands=(contact, {"action": "operate", "stage": "uvls:1"})))
    assert [row["event"] for row in again.outputs["soe"]] == ["refused"]
    assert "no stage 'uvls:1' is left to a device; ufls:1 is" in again.outputs["soe"][0]["reason"]


def test_a_row_trips_its_feeders_when_both_conditions_have_held() -> None:
    federate = SchemesFederate(Schemes("schemes", ROWS, ("f1", "f2")))
    federate.start(0)

    def step(t_ns: int, line: float, generator: float) -> Any:
        values = {
            "line_status": Sample.of([line], t_ns),
            "loading": Sample.of([0.5], t_ns),
            "gen_status": Sample.of([generator], t_ns),
        }
        return federate.step(t_ns, {**values, "emergency": (), "seen": ()})

    assert step(0, 0.0, 1.0).outputs["soe"] == []
    picked = step(S_NS, 0.0, 0.0)
    assert picked.outputs["soe"][0]["event"] == "scheme_pickup" and picked.next_ns == S_NS + 50 * MS_NS
    acted = step(S_NS + 50 * MS_NS, 0.0, 0.0).outputs
    assert acted["trip_f1"] == [{"action": "open_breaker", "cause": "sls:both", "feeders": 2}]
    assert acted["trip_f2"] == [{"action": "open_breaker", "cause": "sls:both"}]


class Bank:
    """Ten like feeders walked by hand."""

    def __init__(self, temperature_c: float = 18.0, der_w: float = 0.0) -> None:
        profile = LoadProfile("flat", noise=0.0, temperature_mean_c=temperature_c, temperature_swing_k=0.0)
        model = builtin_feeder("ieee13").with_(der=SITES)
        self.federate = DistributionFederate(Distribution(model, "16", 10, profile=profile, diversity=Diversity(0.0, 0.0)))
        self.federate.start(0)
        self.der_w = der_w
        self.step(0)

    def step(self, t_ns: int, *commands: dict[str, Any]) -> dict[str, Any]:
        values = {"v_pu": 1.0, "angle_rad": 0.0, "f_hz": 60.0, "der_p_w": self.der_w, "der_q_var": 0.0}
        inputs: dict[str, Any] = {name: Sample.of(value, t_ns) for name, value in values.items()}
        events = tuple(Event(t_ns, "relays.trip", k + 1, payload) for k, payload in enumerate(commands))
        return dict(self.federate.step(t_ns, {**inputs, "command": events, "emergency": ()}).outputs)


def test_opened_feeders_leave_the_bus_and_the_row_says_what_went() -> None:
    bank = Bank(der_w=400e3)
    before = bank.step(S_NS)
    after = bank.step(2 * S_NS, {"action": "open_breaker", "feeders": 4, "cause": "ufls:1"})
    row = after["soe"][0]
    assert row["event"] == "open_breaker" and row["closed"] == 6 and after["feeders_closed"] == [6.0]
    assert row["p_w"] == pytest.approx(0.4 * before["bus_p_w"].sum())
    assert before["bus_p_w"].sum() - after["bus_p_w"].sum() == pytest.approx(row["p_w"], rel=1e-6)
    assert row["load_w"] == pytest.approx(4 * before["load_p_w"].sum()) and row["der_w"] == pytest.approx(4 * 400e3)


def test_with_all_of_them_open_nothing_has_voltage_and_a_second_trip_says_nothing() -> None:
    bank = Bank(der_w=400e3)
    off = bank.step(S_NS, {"action": "open_breaker", "cause": "sls:x"})
    assert off["bus_p_w"].tolist() == off["head_p_w"].tolist() == [0.0, 0.0, 0.0]
    assert not off["der_v_pu"].any() and not off["load_v_pu"].any()
    assert bank.step(2 * S_NS, {"action": "open_breaker", "cause": "ufls:1"})["soe"] == []


def test_a_feeder_that_returns_takes_cold_load_which_decays() -> None:
    bank = Bank(temperature_c=-5.0)
    normal_w = bank.step(S_NS)["bus_p_w"].sum()
    bank.step(2 * S_NS, {"action": "open_breaker"})
    back_ns = 2402 * S_NS
    at_once = bank.step(back_ns, {"action": "close_breaker"})["bus_p_w"].sum()
    assert 1.05 * normal_w < at_once < 1.4 * normal_w
    later = [bank.step(back_ns + hours * 3600 * S_NS)["bus_p_w"].sum() for hours in (1, 3)]
    assert at_once > later[0] >= later[1] and later[1] == pytest.approx(normal_w, rel=0.005)


def test_part_of_them_returns_with_cold_load_and_without_der() -> None:
    bank = Bank(temperature_c=-5.0, der_w=400e3)
    normal_w = bank.step(S_NS)["bus_p_w"].sum()
    bank.step(2 * S_NS, {"action": "open_breaker", "feeders": 5})
    first = bank.step(1802 * S_NS, {"action": "close_breaker", "feeders": 2})
    assert first["feeders_closed"] == [7.0]
    own = first["head_p_w"].sum()
    assert first["bus_p_w"].sum() > 7 * own + 2 * 400e3  # cold load beside the missing DER
    bank.step(1803 * S_NS, {"action": "close_breaker"})
    assert bank.step(9 * 3600 * S_NS)["bus_p_w"].sum() == pytest.approx(normal_w, rel=0.002)


def test_feeders_that_returned_and_open_again_are_not_counted_until_they_return_again() -> None:
    """Eight feeders at -5 degrees: four out for an hour and back, six open, and all back."""
    breakers, load_w = LikeBreakers(8, ("residential",), der_return_s=300.0), np.ones(1)
    hour, t_ns = 3600 * S_NS, 3600 * S_NS

    def missing(t_ns: int) -> float:
        return breakers.beyond(t_ns, -5.0, load_w)[1]

    breakers.open({"feeders": 4}, 0)
    breakers.close({"feeders": 4}, hour)
    assert missing(t_ns + S_NS) == 4.0
    breakers.open({"feeders": 6}, hour + 10 * S_NS)
    assert breakers.closed == 2 and missing(t_ns + 20 * S_NS) == 0.0
    breakers.close({"feeders": 6}, hour + 60 * S_NS)
    assert missing(t_ns + 70 * S_NS) == 6.0 and missing(t_ns + 400 * S_NS) == 0.0


def test_what_cannot_be_opened_is_refused() -> None:
    rows = Bank().step(S_NS, {"action": "open_breaker", "feeders": 0})["soe"]
    assert rows[0]["event"] == "refused" and "feeders is 0" in rows[0]["reason"]
    assert np.isfinite(Bank().step(S_NS, {"action": "close_breaker"})["bus_p_w"]).all()
