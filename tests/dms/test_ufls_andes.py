"""The study's swing with its stages against ANDES on IEEE 39: machines, network and relays there, one mass here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from federates.dms.ufls import Swing, swing
from federates.grid.dynamics.client import Dynamics
from federates.grid.dynamics.loads import NativeModel
from federates.grid.frequency import FrequencyModel, Machine, ScheduledLoss
from federates.grid.governor import Governor
from federates.grid.native_shedding import SheddingBlock
from federates.grid.relay import Stage
from federates.grid.shedding import FeederBank
from federates.grid.transmission import Transmission, TransmissionModel

WITHOUT_ANDES = importlib.util.find_spec("andes") is None
pytestmark = [
    pytest.mark.skipif(WITHOUT_ANDES, reason="ANDES is not installed: pip install 'gridtandem[dynamics]'"),
    pytest.mark.timeout(600),  # the first start of a version generates code
]

STEPS_PER_S, LOSS_S, STOP_S = 64, 1.0, 12.0
LOST = ("G34", "G30")
SHARE, PARTS = 0.03, 100
EXPONENTS = 0.0, 2.0
STAGES = tuple(Stage("ufls", k, "f_hz", f, 100_000_000, 80_000_000) for k, f in enumerate((59.85, 59.75, 59.4), start=1))
"""Higher than any program's: the governors of this case hold 59.5 Hz by themselves."""


def machine_tables() -> tuple[list[dict[str, float]], dict[str, dict[str, float]]]:
    """Rows of the machines, and of their governors by machine, from the case as ANDES ships it."""
    import openpyxl

    (folder,) = importlib.util.find_spec("andes").submodule_search_locations  # type: ignore[union-attr]
    book = openpyxl.load_workbook(Path(folder) / "cases" / "ieee39" / "ieee39_full.xlsx", read_only=True)

    def rows(sheet: str) -> list[dict[str, float]]:
        head, *body = book[sheet].iter_rows(values_only=True)
        return [dict(zip(head, row, strict=True)) for row in body if row[0] is not None]

    return rows("GENROU"), {str(row["syn"]): row for row in rows("TGOV1N")}


def one_mass(p_w: dict[str, float], more_losses_w: float) -> FrequencyModel:
    """IEEE 39 as one mass: inertia M = 2 H and droop of each machine, its governor as TGOV1 has it."""
    genrou, tgov = machine_tables()
    machines, governors = [], []
    for row in genrou:
        name, rating_va, governor = f"G{int(row['bus'])}", float(row["Sn"]) * 1e6, tgov[str(row["idx"])]
        stages = (0.0, governor["T1"]), (governor["T2"], governor["T3"])
        governors.append(Governor(name, float(governor["R"]), 0.0, stages))
        room_w = float(governor["VMAX"]) * rating_va - p_w[name]
        machines.append(Machine(name, rating_va, float(row["M"]) / 2.0, name, headroom_w=room_w, footroom_w=p_w[name]))
    t_ns = round(LOSS_S * 1e9)
    losses = [ScheduledLoss(t_ns, p_w[name], name) for name in LOST]
    return FrequencyModel(60.0, tuple(machines), tuple(governors), 0.0, losses=(*losses, ScheduledLoss(t_ns, more_losses_w)))


def in_andes(network: Transmission) -> tuple[np.ndarray, list[str]]:
    """(frequency at inner steps, Hz; the stages that shed); load of constant active power, so that only frequency decides."""
    flow, case = network.solve(), network.case
    with Dynamics("ieee39", STEPS_PER_S) as engine:
        static = engine.static
        native = np.column_stack((case.native_p_w, case.native_q_var)) / static.base_va
        fed = np.zeros_like(native)
        blocks = [SheddingBlock(stage, SHARE) for stage in STAGES]
        powers = flow.generator_p_w / static.base_va
        engine.begin(fed, native, np.abs(case.base_v), flow.v_pu, powers, NativeModel(*EXPONENTS, 0.0), blocks)
        seen, stages = [], list[str]()
        for k in range(STEPS_PER_S // 8, round(STOP_S * STEPS_PER_S) + 1, STEPS_PER_S // 8):
            if k == round(LOSS_S * STEPS_PER_S) + STEPS_PER_S // 8:
                for name in LOST:
                    engine.order(k - STEPS_PER_S // 8, "trip", static.generator_names().index(name))
            _, rows, f_hz = engine.advance(k, fed, 0.0)
            seen.append(np.atleast_1d(f_hz))
            stages += [str(row["stage"]) for row in rows if row.get("event") == "native_load_shed"]
    return np.concatenate(seen), stages


def more_losses_w(network: Transmission) -> float:
    """By how much network losses grow when others carry what is lost, by a power flow before and one after."""
    after = Transmission(network.model)
    before_w = after.solve().losses_w
    shares = dict.fromkeys((name for name in after.generator_names if name not in LOST), 1.0)
    for name in LOST:
        after.trip_generator(name)
    after.set_slack_shares(shares)
    return after.solve().losses_w - before_w


def in_the_study(network: Transmission) -> Swing:
    flow = network.solve()
    load_w = float(flow.bus_p_w.sum())
    model = one_mass(dict(zip(network.generator_names, flow.generator_p_w.tolist(), strict=True)), more_losses_w(network))
    each = FeederBank("all", PARTS, load_w / PARTS, load_w / PARTS, 0.0)
    feeders = round(SHARE * PARTS)
    stages = [Stage(s.scheme, s.number, s.quantity, s.pickup, s.delay_ns, s.breaker_ns, feeders=feeders) for s in STAGES]
    return swing(model, 0.0, flow.losses_w, [(each, stages)], stop_ns=round(STOP_S * 1e9))


def test_the_nadir_is_within_20_mhz_of_andes_with_twelve_per_cent_lost() -> None:
    network = Transmission(TransmissionModel("andes:ieee39", EXPONENTS))
    (seen, stages), found = in_andes(network), in_the_study(network)
    assert stages == [trip.stage.name for trip, _ in found.trips] == ["ufls:1", "ufls:2"]
    assert found.nadir_hz == pytest.approx(float(seen.min()), abs=0.02)
