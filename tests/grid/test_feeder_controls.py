"""The running feeder's controls: regulators, load tap changer, capacitors and switches, with their delays and at rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from feeder_case import small_network, total

from federates.grid.feeder import Feeder, FeederError, FeederModel, Ltc, Substation


def test_taps_come_back_after_an_excursion(feeder: Feeder) -> None:
    state, before = feeder.state(), total(feeder)
    feeder.set_source(0.92)
    feeder.settle()
    feeder.set_source(1.0)
    feeder.settle()
    assert (feeder.taps() != state.taps).any()  # the path matters: this is why there is restore()
    feeder.restore(state)
    feeder.solve()
    assert (feeder.taps() == state.taps).all()
    assert total(feeder) == pytest.approx(before, rel=1e-5)


def test_ltc_moves_after_its_delay_and_settles(tmp_path: Path) -> None:
    substation = Substation(115.0, 10.0, ltc=Ltc(v_set_pu=1.0, delay_s=30.0, tap_delay_s=5.0))
    with Feeder(FeederModel(small_network(tmp_path), substation)) as f:
        start = f.taps()[0]
        f.set_source(0.95)
        moves, last = [], start
        for second in range(1, 121):
            f.step_controls(1.0)
            if f.taps()[0] != last:
                moves.append(second)
                last = f.taps()[0]
        head = f.node_names.index("head.1")
        assert 30 <= moves[0] <= 32 and set(np.diff(moves)) <= {5, 6} and len(moves) >= 5
        assert abs(f.node_v_pu()[head] - 1.0) < 0.0167
        # out of band for less than the delay: no move
        f.set_source(1.0)
        for _ in range(20):
            f.step_controls(1.0)
        f.set_source(0.95)
        for _ in range(60):
            f.step_controls(1.0)
        assert f.taps()[0] == last


def test_controls_frozen_in_solve(feeder: Feeder) -> None:
    taps = feeder.taps()
    for v in (0.9, 1.1, 0.95):
        feeder.set_source(v)
        feeder.solve()
    assert (feeder.taps() == taps).all()


def test_capacitor_control_and_states(tmp_path: Path) -> None:
    control = """new capacitor.c1 bus1=mid kv=12.47 kvar=600
        new capacitor.c3 bus1=mid kv=12.47 kvar=[100 100 100] numsteps=3
        new capcontrol.cc capacitor=c1 element=line.l1 terminal=1 type=kvar ptratio=1 ctratio=1 delay=20
        ~ onsetting=200 offsetting=-400"""
    with Feeder(FeederModel(small_network(tmp_path, extra=control))) as f:
        assert f.capacitor_names == ("c1", "c3")
        f.set_capacitor_states([1, 2])
        f.solve()
        q_two = total(f).imag
        assert f.capacitor_states().tolist() == [1, 2]
        f.set_capacitor("c1", 0)
        f.solve()
        assert f.capacitor_states().tolist() == [0, 2]
        assert total(f).imag - q_two == pytest.approx(600e3, rel=0.05)
        f.set_loads(f.load_p0_w, 3 * f.load_q0_var)
        seconds = 0
        while f.capacitor_states()[0] == 0 and seconds < 60:
            f.step_controls(1.0)
            seconds += 1
        assert 20 <= seconds <= 22
        state = f.state()
        f.set_capacitor_states([0, 0])
        f.solve()
        f.restore(state)
        f.solve()
        assert f.capacitor_states().tolist() == [1, 2]
        with pytest.raises(ValueError, match="3 steps, not 4"):
            f.set_capacitor("c3", 4)


def test_switches(feeder: Feeder) -> None:
    assert feeder.switch_names == ("sw1", "sw2", "sw3", "sw4", "sw5", "sw6", "sw7", "sw8")
    assert feeder.switch_states().tolist() == [True] * 6 + [False] * 2
    state, before = feeder.state(), total(feeder)
    feeder.set_switch("sw5", False)
    feeder.solve()
    dark = [name for name, v in zip(feeder.node_names, feeder.node_v_pu(), strict=True) if v < 0.01]
    assert "300.1" in dark and total(feeder).real < before.real - 50e3
    feeder.set_switch("sw7", True)  # the tie picks the dark part up
    feeder.solve()
    assert feeder.node_v_pu().min() > 0.85
    feeder.restore(state)
    feeder.solve()
    assert total(feeder) == pytest.approx(before, rel=1e-5)
    feeder.set_switch("l115", False)  # any line can be opened
    feeder.solve()
    assert total(feeder).real < 0.1 * before.real
    with pytest.raises(ValueError, match="no line `sw99`"):
        feeder.set_switch("sw99", False)


def test_controls_that_do_not_come_to_rest(feeder: Feeder) -> None:
    feeder.set_source(0.92)
    with pytest.raises(FeederError, match="controls do not come to rest"):
        feeder.settle(max_iterations=1)
    assert feeder.settle() > 1
