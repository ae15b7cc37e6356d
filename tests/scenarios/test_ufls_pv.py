"""The library's `ufls_pv`, once: what stages were foretold to shed against what they shed, who feeds back, the swing foretold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from federates.dms.ufls import DerTrip, Swing, swing
from federates.grid.frequency import ScheduledLoss
from federates.grid.transmission import Transmission as Engine
from federates.runtime.federate import S_NS
from federates.runtime.local import run_local
from federates.runtime.record import MemoryRecorder
from federates.tblm.armed import bank, der_trips
from federates.tblm.model import Tblm, evaluate, from_json
from scenarios.build import build
from scenarios.inventory import take_inventory
from scenarios.load import load_scenario
from scenarios.run import changed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ufls_pv")]  # one run for all

LOSS_NS, STOP_S = 30 * S_NS, 38.0
LOST = ("G34", "G30")


@dataclass
class Run:
    """What was recorded, and the parameters of who took part."""

    recorder: MemoryRecorder
    params: dict[str, Any]

    def rows(self, event: str) -> list[tuple[int, str, dict[str, Any]]]:
        """(t_ns, federate, row) of the field's own rows."""
        found = [(e.t_ns, e.source.split(".")[0], dict(e.payload)) for e in self.recorder.events if e.source.endswith(".soe")]
        return [(t, name, row) for t, name, row in found if row.get("event") == event and not name.startswith("scada")]

    def tblms(self, feeder: str) -> list[Tblm]:
        return [from_json(document.text) for document in self.recorder.documents[f"tblm_{feeder[1:]}", "tblm"]]

    def before(self, feeder: str) -> Tblm:
        """The last document before the loss."""
        return [t for t in self.tblms(feeder) if t.t_valid.t_publish_ns <= LOSS_NS][-1]

    def held(self, port: str, t_ns: int) -> np.ndarray:
        """What the transmission system had published before t."""
        return [s for t, s in self.recorder.samples["grid", port] if t < t_ns][-1].values

    @property
    def feeders(self) -> list[str]:
        return [name for name in self.params if name[0] == "f"]


@pytest.fixture(scope="module")
def ran() -> Run:
    loaded = changed(load_scenario("ufls_pv"), STOP_S, None)
    federation = replace(build(loaded, take_inventory(loaded)), record=frozenset({"grid.f_hz", "grid.v_pu", "grid.gen_p_w"}))
    recorder = MemoryRecorder()
    run_local(federation, recorder)
    return Run(recorder, {spec.name: spec.params for spec in federation.specs})


def test_each_stage_sheds_what_the_load_models_said_within_one_per_cent(ran: Run) -> None:
    """At the V and f that the bus had when the breakers opened; summed over the feeders of a stage, and of each feeder's load."""
    buses = [a.bus for a in ran.params["grid"].attachments]
    predicted: dict[str, float] = {}
    shed: dict[str, float] = {}
    for t_ns, feeder, row in ran.rows("open_breaker"):
        tblm, params = ran.before(feeder), ran.params[feeder]
        v_pu, f_hz = float(ran.held("v_pu", t_ns)[buses.index(params.bus)]), float(ran.held("f_hz", t_ns)[0])
        expected_w = row["feeders"] / params.count * float(evaluate(tblm.curve("fast"), v_pu, f_hz).p_w)
        assert expected_w == pytest.approx(row["p_w"], abs=0.01 * row["load_w"])
        predicted[row["cause"]] = predicted.get(row["cause"], 0.0) + expected_w
        shed[row["cause"]] = shed.get(row["cause"], 0.0) + row["p_w"]
    assert sorted(shed) == ["ufls:1", "ufls:2", "ufls:3"]
    for stage, net_w in shed.items():
        assert predicted[stage] == pytest.approx(net_w, rel=0.01)


def test_feeders_that_feed_back_are_flagged_before_and_cost_power(ran: Run) -> None:
    flagged = {f for f in ran.feeders for a in ran.before(f).emergency.armed if a.counter_productive}  # type: ignore[union-attr]
    worse = {feeder for _, feeder, row in ran.rows("open_breaker") if row["p_w"] < 0.0}
    assert flagged == worse == {"fd"}


def test_the_swing_of_the_study_has_the_nadir_of_the_run(ran: Run) -> None:
    found = foretold(ran)
    seen = [float(s.values[0]) for t, s in ran.recorder.samples["grid", "f_hz"] if t >= LOSS_NS]
    assert found.nadir_hz == pytest.approx(min(seen), abs=0.03)  # the study holds voltages, the run does not
    assert {(der.bank, round(der.f_hz, 2)) for _, der, _ in found.der} == {("3", 59.3), ("4", 59.3), ("20", 59.3)}
    assert [trip.stage.number for trip, _ in found.trips] == [1] * 4 + [2] * 2 + [3] * 2


def foretold(ran: Run) -> Swing:
    """The study's swing from the documents of before the loss and the network's own frequency model."""
    grid = ran.params["grid"]
    engine = Engine(grid.model)
    model = grid.frequency.model(engine)
    powers = dict(zip(engine.generator_names, ran.held("gen_p_w", LOSS_NS).tolist(), strict=True))
    model = replace(model, losses=tuple(ScheduledLoss(S_NS, powers[name], name) for name in LOST))
    banks, trips = [], list[DerTrip]()
    for feeder in ran.feeders:
        tblm, params = ran.before(feeder), ran.params[feeder]
        banks.append((bank(tblm, params.count), ran.params[f"relays_{feeder[1:]}"].stages))
        trips += der_trips(tblm, params.count)
    native = sum(powers.values()) - sum(b.closed * b.p_w for b, _ in banks)
    return swing(model, native, 0.0, banks, trips, stop_ns=8 * S_NS)


def test_ledgers_close_and_carry_the_der_that_were_lost(ran: Run) -> None:
    tripped = {name.removeprefix("ders_") for _, name, row in ran.rows("der_trip")}
    assert tripped == {"b", "e", "g"}  # those with a quarter of legacy inverters
    for feeder in ran.feeders:
        last = ran.tblms(feeder)[-1].emergency
        assert last is not None and last.phase == "during" and last.ledger is not None
        assert abs(last.ledger.residual_pct) < 0.5
        assert (last.ledger.P_der_lost_W > 1e6) == (feeder[1:] in tripped)
    for name in tripped:
        first_ns = min(t for t, who, _ in ran.rows("der_trip") if who == f"ders_{name}")
        sites = ran.before(f"f{name}").der.in_service
        told_ns = [t.t_valid.t_publish_ns for t in ran.tblms(f"f{name}") if t.der.in_service < sites]
        assert told_ns and min(told_ns) - first_ns <= 5 * S_NS


def test_the_expected_sequence_is_set_against_the_actual_one(ran: Run) -> None:
    for feeder, stage in (("fa", "ufls:1"), ("fg", "ufls:3")):
        part = ran.tblms(feeder)[-1].emergency
        assert part is not None and part.sequence is not None
        explained = {d.device: d for d in part.sequence.differences}
        assert stage in explained and explained[stage].late_s is not None
        assert all(d.why for d in part.sequence.differences)
