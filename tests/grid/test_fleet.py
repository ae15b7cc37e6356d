"""The fleet that a network file stands for: who has inertia, who a governor, and how large a machine is."""

from __future__ import annotations

from pathlib import Path

import pandapower as pp
import pytest
from pandapower import networks

from federates.grid.fleet import FrequencySettings
from federates.grid.frequency import FrequencyModel
from federates.grid.transmission import Transmission, TransmissionModel


def fleet(tmp_path: Path, **columns: dict[int, float]) -> FrequencyModel:
    """IEEE 39 with values of its generator table changed, by column and row."""
    net = networks.case39()
    for column, values in columns.items():
        for row, value in values.items():
            net.gen.loc[row, column] = value
    path = tmp_path / "net.json"
    pp.to_json(net, str(path))
    return FrequencySettings().model(Transmission(TransmissionModel(str(path))))


def ratings(model: FrequencyModel) -> dict[str, float]:
    return {machine.name: machine.rating_va for machine in model.machines}


def test_a_machine_is_as_large_as_its_active_limit_over_the_power_factor(tmp_path: Path) -> None:
    net = networks.case39()
    at = ratings(fleet(tmp_path))
    assert len(at) == 10
    assert at["G30"] == pytest.approx(1e6 * net.gen.max_p_mw[0] / 0.9)


def test_a_stated_rating_counts(tmp_path: Path) -> None:
    assert ratings(fleet(tmp_path, sn_mva={0: 777.0}))["G30"] == pytest.approx(777e6)


def test_a_condenser_has_inertia_by_its_reactive_limit_and_no_governor(tmp_path: Path) -> None:
    model = fleet(tmp_path, max_p_mw={0: 0.0}, p_mw={0: 0.0}, max_q_mvar={0: 400.0}, min_q_mvar={0: -250.0})
    (condenser,) = [machine for machine in model.machines if machine.name == "G30"]
    assert condenser.rating_va == pytest.approx(400e6) and condenser.inertia_s == 4.0 and condenser.governor is None


def test_a_machine_whose_file_leaves_its_limits_at_nothing_is_as_large_as_what_it_delivers(tmp_path: Path) -> None:
    model = fleet(tmp_path, max_p_mw={3: 0.0}, max_q_mvar={3: 0.0}, min_q_mvar={3: 0.0})
    net = networks.case39()
    pp.runpp(net, numba=False)
    assert ratings(model)["G34"] == pytest.approx(1e6 * (net.res_gen.p_mw[3] ** 2 + net.res_gen.q_mvar[3] ** 2) ** 0.5, rel=1e-6)
