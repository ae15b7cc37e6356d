"""The DER federate: commands, the emergency's steps, state of charge, what a lost input leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federates.field.ders import Ders, DersFederate, Unit
from federates.grid.der import DerSettings, DerStatus, DerType
from federates.runtime.conformance import check_federate
from federates.runtime.federate import MS_NS, S_NS, Spec
from federates.runtime.port import Event, Sample

UNITS = (Unit("pv1", (1, 2, 3)), Unit("pv2", (2,)), Unit("bat", (1, 2, 3), p_set_pu=0.5))
P_MAX = np.array([100e3, 10e3, 40e3])


def settings() -> DerSettings:
    return DerSettings.of(
        3,
        NP_TYPE=[DerType.PV, DerType.PV, DerType.STORAGE],
        NP_P_MAX=P_MAX, NP_VA_MAX=P_MAX, NP_P_MAX_CHARGE=P_MAX, NP_BESS_CAPACITY=[1.0, 1.0, 40e3],
    )  # fmt: skip


class Run:
    """A federate walked by hand."""

    def __init__(self) -> None:
        self.federate = DersFederate(Ders(UNITS, settings()))
        self.first = self.federate.start(0)
        self.t_ns = 0
        self.v_pu, self.f_hz = np.ones(7), 60.0

    def step(
        self, t_ns: int, *commands: dict[str, Any], emergency: tuple[dict[str, Any], ...] = (), **given: Any
    ) -> dict[str, Any]:
        inputs: dict[str, Any] = {"v_pu": Sample.of(self.v_pu, t_ns), "f_hz": Sample.of(self.f_hz, t_ns), **given}
        for name, payloads in (("command", commands), ("emergency", emergency)):
            inputs[name] = tuple(Event(t_ns, "test.out", k + 1, payload) for k, payload in enumerate(payloads))
        self.answer = self.federate.step(t_ns, inputs)
        self.t_ns = t_ns
        return dict(self.answer.outputs)

    def until(self, t_ns: int, period_ns: int = S_NS) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for at in range(self.t_ns + period_ns, t_ns + 1, period_ns):
            outputs = self.step(at)
        return outputs


def test_it_starts_in_service_at_what_is_available_and_at_its_set_points() -> None:
    run = Run()
    assert run.first["p_w"] == pytest.approx([100e3, 10e3, 20e3], rel=1e-6)
    outputs = run.until(10 * S_NS)
    assert outputs["p_w"] == pytest.approx([100e3, 10e3, 20e3], rel=1e-6) and outputs["available_w"] == pytest.approx(P_MAX)
    assert (outputs["status"] == DerStatus.CONTINUOUS).all()


def test_a_trip_is_reported_lasts_and_ends_after_delay_and_ramp() -> None:
    run = Run()
    run.until(2 * S_NS)
    tripped = run.step(3 * S_NS, {"action": "trip", "units": "pv1"})
    events = [row["event"] for row in tripped["soe"]]
    assert events == ["trip", "der_trip"] and tripped["soe"][0]["units"] == ["pv1"]
    assert tripped["soe"][1] == {
        "event": "der_trip",
        "der": "pv1",
        "from": "continuous",
        "to": "trip",
        "p_before_w": pytest.approx(100e3),
    }
    assert tripped["p_w"] == pytest.approx([0.0, 10e3, 20e3], rel=1e-6)
    assert run.until(30 * S_NS)["p_w"][0] == 0.0
    run.step(31 * S_NS, {"action": "permit_service", "units": ["pv1"]})
    assert run.until(200 * S_NS)["p_w"][0] == 0.0  # the delay of 300 s is not over
    powers = [run.until(t * S_NS)["p_w"][0] for t in range(330, 700, 30)]
    assert powers == sorted(powers) and 0.0 < powers[3] < 90e3 and powers[-1] == pytest.approx(100e3, rel=1e-6)


def test_limits_and_set_points_by_group_and_by_name() -> None:
    run = Run()
    run.until(S_NS)
    rows = run.step(2 * S_NS, {"action": "limit", "units": "pv", "p_pu": 0.4}, {"action": "set_power", "p_pu": -0.25})["soe"]
    assert [(row["event"], row["units"]) for row in rows] == [("limit", ["pv1", "pv2"]), ("set_power", ["bat"])]
    assert run.until(300 * S_NS)["p_w"] == pytest.approx([40e3, 4e3, -10e3], rel=1e-3)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"action": "trip", "units": ["pv1", "pv9"]}, "no DER pv9; there are pv1, pv2, bat"),
        ({"action": "trip", "units": 7}, "not iterable"),
        ({"action": "limit", "units": "pv"}, "the command lacks 'p_pu'"),
        ({"action": "limit", "units": "pv", "p_pu": float("nan")}, "p_pu is nan; give a finite number"),
        ({"action": "set_power", "units": "pv1", "p_pu": 0.5}, "DER 0 is PV and takes no active power set-point"),
        ({"action": "shine"}, "unknown action; it takes trip, permit_service, limit, set_power"),
    ],
)
def test_a_refused_command_becomes_a_row(command: dict[str, Any], reason: str) -> None:
    run = Run()
    outputs = run.step(S_NS, command)
    assert outputs["soe"][0]["event"] == "refused" and reason in outputs["soe"][0]["reason"]
    assert outputs["p_w"] == pytest.approx([100e3, 10e3, 20e3], rel=1e-6)


def test_a_command_to_nobody_changes_nothing() -> None:
    assert Run().step(S_NS, {"action": "limit", "units": [], "p_pu": 0.1})["p_w"] == pytest.approx([100e3, 10e3, 20e3], rel=1e-6)


def test_stored_energy_falls_by_the_integral_of_power() -> None:
    run = Run()
    start_wh = run.step(0)["soc_wh"][2]
    after_wh = run.until(360 * S_NS, 10 * S_NS)["soc_wh"]
    assert start_wh - after_wh[2] == pytest.approx(20e3 * 0.1, rel=1e-6) and after_wh[:2].tolist() == [0.0, 0.0]


def test_in_an_emergency_it_follows_at_20_ms_and_frequency_droop_acts() -> None:
    run = Run()
    run.until(S_NS)
    outputs = run.step(S_NS + MS_NS, emergency=({"active": True, "step_ns": 20 * MS_NS},))
    assert run.answer.next_ns == 1020 * MS_NS
    run.f_hz = 60.5
    while run.t_ns < 8 * S_NS:
        assert run.answer.next_ns == (run.t_ns // (20 * MS_NS) + 1) * 20 * MS_NS
        outputs = run.step(run.answer.next_ns)
    assert outputs["p_w"][0] < 90e3
    run.step(8 * S_NS + MS_NS, emergency=({"active": False, "step_ns": 20 * MS_NS},))
    assert run.answer.next_ns is None


@pytest.mark.parametrize("from_ns", [20 * MS_NS, S_NS])
def test_a_trip_is_timed_from_the_first_abnormal_sample_however_long_the_step_before_it_was(from_ns: int) -> None:
    """UF2 is 56.5 Hz for 0.16 s. The step that brings the first sample below it may be one of 20 ms or of a whole second."""
    run = Run()
    run.until(2 * S_NS)
    run.f_hz = 56.0
    at = 2 * S_NS + from_ns
    run.step(at, emergency=({"active": True, "step_ns": 20 * MS_NS},))
    while not (run.answer.outputs["status"] == DerStatus.TRIP).any():
        assert run.t_ns < at + S_NS
        run.step(run.t_ns + 20 * MS_NS)
    assert run.t_ns == at + 140 * MS_NS


def test_a_lost_phase_keeps_its_own_last_voltage() -> None:
    run = Run()
    run.step(S_NS, v_pu=Sample.of([1.0, 0.98, 0.96, 0.9, 1.0, 1.0, 1.0], 0))
    run.step(2 * S_NS, v_pu=Sample.missing(7), f_hz=Sample.missing(1))
    assert run.federate._v[:2].tolist() == [[1.0, 0.98, 0.96], [0.9, 0.9, 0.9]] and run.federate._f_hz == 60.0


def test_conforms() -> None:
    assert check_federate(Spec("ders", "federates.field.ders:DersFederate", Ders(UNITS, settings()))) == []
