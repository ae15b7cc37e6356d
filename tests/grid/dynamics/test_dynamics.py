"""The dynamics engine: its start against lightsim2grid, its motion against closed forms, and everything that ANDES does not say."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from federates.grid.dynamics.cases import CASES, DynamicsError
from federates.grid.native_shedding import SheddingBlock
from federates.grid.relay import Stage
from tests.grid.dynamics.andes_cases import needs_andes, network, running

pytestmark = needs_andes


@pytest.mark.parametrize("case", CASES)
def test_the_start_is_the_power_flow_of_lightsim2grid_and_stays_there(case: str) -> None:
    """Voltages and angles to 1e-5 (1e-6 pu on IEEE 39), and no frequency deviation of 1e-5 Hz in a second."""
    _, flow = network(case)
    with running(case, damping_pu=1.0) as c:
        dv = np.abs(c.begun["v_pu"] - flow.v_pu).max()
        assert dv < (1e-6 if case == "ieee39" else 1e-5)
        turned = c.begun["angle_rad"] - flow.angle_rad
        assert np.abs(turned - turned[0]).max() < 2e-5
        assert c.begun["p"] * c.base_va == pytest.approx(flow.generator_p_w, abs=1e5)
        state, rows, f_hz = c.run(1.0)
        assert rows == [] and np.abs(f_hz - 60.0).max() < 1e-5 and np.abs(state["v_pu"] - flow.v_pu).max() < 1e-5


def test_a_trip_falls_as_the_inertia_that_is_left_says_and_settles_at_the_droop() -> None:
    """df/dt = -f0 dP / (2 E) while governors have not moved; then dP = -df / (f0 R) over the governors that are left.

    All active load is constant power here. E of the ten machines is 90.692 GVA s, of which G30 has 4.368 (M of the case's file).
    """
    net, _ = network("ieee39")
    loaded = zip(net.bus_names, (net.case.native_p_w / 1e6).tolist(), strict=True)
    with running("ieee39", fed_mw={bus: mw for bus, mw in loaded if mw > 0.0}, steps_per_s=128) as c:
        lost = c.generator("G30")
        lost_w = float(c.begun["p"][lost]) * c.base_va
        c.order("trip", lost)
        _, _, f_hz = c.run(0.125)
        assert (f_hz[7] - 60.0) / (8 / 128) == pytest.approx(-60.0 * lost_w / (2.0 * (90.692e9 - 4.368e9)), rel=0.05)
        state, _, f_hz = c.run(20.0)
        assert not state["running"][lost] and state["p"][lost] == 0.0
        rating_va = sum(row[3] for row in c.static.generators) - c.static.generators[lost][3]
        assert state["governor"] * c.base_va == pytest.approx(-(f_hz[-1] / 60.0 - 1.0) * rating_va / 0.05, rel=0.02)


def test_loads_are_power_and_not_impedance() -> None:
    """Trap: ANDES makes every load an impedance. A feeder's 300 MW stay 300 MW where the voltage moves by percents."""
    with running("ieee39", fed_mw={"16": 300.0}) as c:
        c.order("trip", c.generator("G33"))
        state, _, _ = c.run(2.0)
        at = c.bus("16")
        assert abs(state["v_pu"][at] - c.begun["v_pu"][at]) > 0.005
        native = (329e6 - 300e6) * state["v_pu"][at] / abs(c.network.case.base_v[at])
        assert state["load"][at, 0] * c.base_va == pytest.approx(300e6 + native, rel=1e-6)


def test_a_fault_at_a_bus_of_constant_power_is_solved_told_and_cleared() -> None:
    """Constant power has no solution at a faulted bus; the load is an impedance there, and power again afterwards."""
    with running("ieee39", fed_mw={"16": 320.0}) as c:
        at = c.bus("16")
        c.order("fault", at)
        c.engine.order(4, "clear", at)
        during, rows, _ = c.run(0.125)
        assert during["v_pu"][at] < 0.01 and during["load"][at, 0] < 1e-3
        assert [row["event"] for row in rows] == ["engine_retry"] and "impedances" in rows[0]["now"]
        after, _, f_hz = c.run(3.0)
        assert after["v_pu"][at] > 0.95 and np.abs(f_hz - 60.0).max() < 0.5
        assert after["load"][at, 0] * c.base_va == pytest.approx(320e6 + 9e6, rel=0.01)


def test_islands_and_dead_buses_are_named_come_back_and_are_not_put_together_blindly() -> None:
    with running("ieee39", damping_pu=1.0) as c:
        parted = [c.bus(bus) for bus in ("19", "20", "33", "34")]
        c.order("switch", c.branch("16-19"), False)
        state, _, _ = c.run(3.0)
        assert np.flatnonzero(state["apart"]).tolist() == parted and not state["dead"].any()
        for line in ("26-28", "28-29"):
            c.order("switch", c.branch(line), False)
        state, _, _ = c.run(1.0)
        alone = c.bus("28")
        assert state["dead"][alone] and state["v_pu"][alone] == 0.0 and state["load"][alone].tolist() == [0.0, 0.0]
        c.order("switch", c.branch("28-29"), True)
        c.order("switch", c.branch("16-19"), True)
        state, rows, _ = c.run(1.0)
        assert not state["dead"].any() and state["v_pu"][alone] > 0.9
        assert [(row["event"], row["action"]) for row in rows] == [("refused", "switch")] and "Hz apart" in rows[0]["reason"]
        c.order("switch", c.branch("2-30"), False)
        state, rows, _ = c.run(0.5)
        assert {"event": "machine_off", "generator": "G30", "because": "its bus stands alone", "t_ns": 5_000_000_000} in rows
        assert not state["running"][c.generator("G30")] and state["dead"][c.bus("30")]


def test_an_island_without_a_machine_is_dead() -> None:
    with running("ieee39") as c:
        c.order("switch", c.branch("16-19"), False)
        c.order("trip", c.generator("G33"))
        c.order("trip", c.generator("G34"))
        state, _, _ = c.run(0.5)
        dead = [c.static.bus_names[i] for i in np.flatnonzero(state["dead"])]
        assert dead == ["19", "20", "33", "34"] and state["load"][c.bus("20"), 0] == 0.0


def test_machines_may_swing_past_180_degrees() -> None:
    """Trap: ANDES stops at 180 degrees between rotors, which an island passes in seconds."""
    with running("ieee39", damping_pu=1.0) as c:
        c.order("switch", c.branch("16-19"), False)
        _, _, f_hz = c.run(4.0)
        assert len(f_hz) == 128


def test_no_solution_is_an_error_with_its_time() -> None:
    with running("kundur") as c:
        c.run(0.5)
        c.fed[c.bus("7"), 0] = np.nan
        with pytest.raises(DynamicsError, match=r"ANDES finds no solution at t = 0\.53125 s, with loads as impedances") as error:
            c.run(10.0)
        assert error.value.kind == "diverged"


def test_a_process_that_dies_is_named() -> None:
    with running("kundur") as c:
        os.kill(c.engine.pid, signal.SIGKILL)
        with pytest.raises(DynamicsError, match=r"the process of ANDES was ended by SIGKILL while advancing to t = 1 s") as error:
            c.run(1.0)
        assert error.value.kind == "process"


def test_native_load_is_shed_by_stage_at_its_time() -> None:
    """The first sample under the pickup starts the timer; delay, then the breaker, both to the inner step."""
    blocks = [SheddingBlock(Stage("native", 1, "f_hz", 59.6, 100_000_000, 80_000_000), 0.10)]
    with running("kundur", blocks=blocks) as c:
        c.order("trip", c.generator("G2"))
        state, rows, f_hz = c.run(8.0)
        below = int(np.flatnonzero(f_hz < 59.6)[0]) + 1
        picked, operated, shed = rows
        assert picked["event"] == "relay_pickup" and picked["t_ns"] == below * 31_250_000
        assert operated["t_relay_ns"] == picked["t_ns"] + 100_000_000
        assert shed["event"] == "native_load_shed" and shed["t_relay_ns"] == operated["t_relay_ns"] + 80_000_000
        assert shed["t_ns"] - shed["t_relay_ns"] < 31_250_000
        v = state["v_pu"] / np.abs(c.network.case.base_v)
        assert state["load"][:, 0] * c.base_va == pytest.approx(0.9 * c.network.case.native_p_w * v, rel=1e-6)


@pytest.mark.parametrize("case", ["kundur", "ieee39", "wecc"])
def test_secondary_power_arrives_whatever_the_governor_is(case: str) -> None:
    """TGOV1 adds it to speed, TGOV1N and IEEEG1 to power. Only the droop takes 100 MW more: 1 / R = 20 of all ratings."""
    with running(case) as c:
        asked = 1e8 / c.base_va
        state, _, _ = c.run(0.5, asked)
        assert 0.1 * asked < state["governor"] < asked, "it arrives by the turbines' time constants"
        _, _, f_hz = c.run(8.0, asked)
        rating = sum(row[3] for row in c.static.generators) / c.base_va
        assert f_hz[-16:].mean() - 60.0 == pytest.approx(60.0 * asked / (20.0 * rating), rel=0.25)


def test_a_schedule_moves_one_machine() -> None:
    with running("kundur") as c:
        before = c.begun["p"]
        c.order("schedule", c.generator("G3"), -0.5)
        state, _, _ = c.run(30.0)
        moved = dict(zip(c.static.generator_names(), (state["p"] - before) * c.base_va / 1e6, strict=True))
        # minus 50 MW, of which four like governors give back a quarter each
        assert moved == pytest.approx({"G1": 12.5, "G2": 12.5, "G3": -37.5, "G4": 12.5}, abs=1.5)


def test_a_second_fault_at_a_bus_is_refused_and_leaves_the_first_to_its_own_end() -> None:
    with running("kundur") as c:
        at = c.bus("8")
        for begins, ends in ((0, 8), (2, 4)):
            c.engine.order(begins, "fault", at)
            c.engine.order(ends, "clear", at)
        during, rows, _ = c.run(6 / 32)
        assert [row["reason"] for row in rows if row["event"] == "refused"] == ["it is faulted already"]
        assert during["v_pu"][at] < 0.01, "the end of the second is none of the first"
        after, _, _ = c.run(4 / 32)
        assert after["v_pu"][at] > 0.5
        c.engine.order(c.k, "fault", at)
        c.engine.order(c.k + 2, "clear", at)
        again, rows, _ = c.run(1 / 32)
        assert again["v_pu"][at] < 0.01 and not [row for row in rows if row["event"] == "refused"]


def test_a_schedule_is_no_part_of_what_governors_give_where_its_machine_is_out() -> None:
    """Governors answer the loss of the machine alike, whatever its schedule had been changed by."""
    given = []
    for change in (0.0, -0.5):
        with running("kundur") as c:
            c.order("schedule", c.generator("G3"), change)
            c.order("trip", c.generator("G3"))
            state, _, _ = c.run(1.0)
            given.append(float(state["governor"]))
    assert given[1] == pytest.approx(given[0], abs=1e-9)


@pytest.mark.parametrize("killed", [False, True])
def test_andes_leaves_nothing_in_the_systems_temporary_folder(
    killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make a folder for its log at every start; one that is killed could not remove it, so that none is made."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running("kundur") as c:
        c.run(1 / 32)
        assert list(tmp_path.iterdir()) == []
        if killed:
            os.kill(c.engine.pid, signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []
