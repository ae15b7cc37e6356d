"""Capability and dispatch stack in the document: when they are made, and what they are made of."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from telemetry import Truth, ieee123_with_der, inverters
from test_builder import Desk

from federates.grid.feeder import Feeder
from federates.runtime.federate import S_NS
from federates.runtime.port import canonical_json
from federates.tblm.capability.compute import CapabilityOptions
from federates.tblm.capability.limits import LimitRules
from federates.tblm.capability.region import RegionOptions
from federates.tblm.dispatch import Terms
from federates.tblm.flexibility import FlexibilityParams
from federates.tblm.flexibility_model import Flexibility
from federates.tblm.model import LARGEST_BYTES, Tblm, to_json
from tests.tblm.plane import margins

PARAMS = FlexibilityParams(
    every_ns=120 * S_NS,
    rules=LimitRules((0.9, 1.1)),
    options=CapabilityOptions(delivery_s=(2.0,), region=RegionOptions(directions=12)),
    sigma=0.1,
    pv=Terms(None, 30.0, 1e3),
)


@pytest.fixture(scope="module")
def desk() -> Desk:
    made = Desk(Truth(ieee123_with_der(), inverters(), like_feeders=20), flexibility=PARAMS)
    made.run(250 * S_NS)
    return made


def flexibilities(desk: Desk) -> list[tuple[int, Flexibility]]:
    found = []
    for t_ns, tblm in desk.documents:
        assert tblm.flexibility is not None
        found.append((t_ns, tblm.flexibility))
    return found


def test_made_at_its_cadence_and_held_in_between(desk: Desk) -> None:
    settled = [(t_ns, f) for t_ns, f in flexibilities(desk) if t_ns >= 10 * S_NS]
    ages_s = [(t_ns - f.t_ns) / S_NS for t_ns, f in settled]
    assert max(ages_s) <= 120.0 and len({f.t_ns for _, f in settled}) >= 2
    assert len(settled) > len({f.t_ns for _, f in settled})


def test_regions_are_of_the_bus_and_nested(desk: Desk) -> None:
    tblm = desk.documents[-1][1]
    assert tblm.flexibility is not None and not tblm.flexibility.reasons
    by = {region.quantile: np.array((region.P_W, region.Q_var)).T for region in tblm.flexibility.capability}
    point = np.array([(tblm.operating_point.P_W, tblm.operating_point.Q_var)])
    assert margins(by["P50"], point)[0] > -1e-3 * tblm.bus.S_base_VA  # where the bus is, it can be
    assert margins(by["P50"], by["P10"]).min() > -1e-3 * tblm.bus.S_base_VA
    assert margins(by["P90"], by["P50"]).min() > -1e-3 * tblm.bus.S_base_VA
    # twenty feeders of twelve inverters that have 150 kW available: the bus can take back what they give
    assert by["P50"][:, 0].max() - tblm.operating_point.P_W == pytest.approx(20 * 12 * 150e3, rel=0.1)


def test_stack_is_of_the_bus(desk: Desk) -> None:
    tblm = desk.documents[-1][1]
    assert tblm.flexibility is not None
    (block,) = tblm.flexibility.dispatchable  # PV on terms for less only
    assert block.direction == "down" and block.resources == 12
    assert pytest.approx(20 * 12 * 150e3, rel=0.1) == block.P_W
    assert block.ramp_W_per_s == pytest.approx(tblm.like_feeders.factor * 12e3)


def test_a_der_that_trips_makes_it_anew_without_it() -> None:
    desk = Desk(Truth(ieee123_with_der(), inverters()), flexibility=PARAMS)
    desk.run(62 * S_NS)
    before = desk.documents[-1][1].flexibility
    desk.truth.der_status[0] = 0.0
    desk.truth.der_available_w[0] = 0.0
    desk.truth.settle()
    desk.run(75 * S_NS)
    after = desk.documents[-1][1].flexibility
    assert before is not None and after is not None
    assert 62 * S_NS < after.t_ns <= 67 * S_NS
    assert after.dispatchable[0].resources == 11 == before.dispatchable[0].resources - 1


def test_a_network_outside_its_limits_says_so() -> None:
    rules = LimitRules((0.95, 1.05), line_i_a={"l115": 1.0})
    desk = Desk(Truth(ieee123_with_der(), inverters()), flexibility=FlexibilityParams(120 * S_NS, rules, PARAMS.options))
    desk.run(2 * S_NS)
    made = desk.documents[-1][1].flexibility
    assert made is not None and made.capability == () and made.dispatchable == ()
    assert made.reasons and all("line l115 carries" in reason for reason in made.reasons)


def test_nothing_is_spent_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    feeders = []
    opened = Feeder.__init__
    monkeypatch.setattr(Feeder, "__init__", lambda self, model: (feeders.append(1), opened(self, model))[1])
    truth = Truth(ieee123_with_der(), inverters())
    feeders.clear()
    desk = Desk(truth)
    desk.run(2 * S_NS)
    assert len(feeders) == 1
    assert desk.documents[-1][1].flexibility is None


def test_two_builders_give_the_same_bits() -> None:
    runs = []
    for _ in range(2):
        desk = Desk(Truth(ieee123_with_der(), inverters()), flexibility=PARAMS)
        desk.run(61 * S_NS)
        runs.append([canonical_json(to_json(tblm)) for _, tblm in desk.documents])
    assert runs[0] == runs[1]


def test_document_stays_small(desk: Desk) -> None:
    assert max(len(canonical_json(to_json(tblm)).encode()) for _, tblm in desk.documents) < LARGEST_BYTES / 2


def test_times_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive time"):
        FlexibilityParams(0)


NOT_TOLD = float("nan")
CAPACITY_WH, RATED_W, LOW_SOC, EFFICIENCY = 100e3, 300e3, 0.1, 0.9


@cache
def battery(stored_wh: float, terms: Terms | None = None) -> Tblm:
    """The document of a feeder with one battery at 87, which stands at 0 W, and of which so much is stored as telemetry says (NaN:
    it says nothing)."""
    model = ieee123_with_der()
    model = model.with_(der=tuple(site for site in model.der if site.name == "der87"))
    storage: dict[str, Any] = {
        "NP_TYPE": "STORAGE",
        "NP_BESS_CAPACITY": CAPACITY_WH,
        "NP_BESS_SOC_MIN": LOW_SOC,
        "NP_EFFICIENCY": EFFICIENCY,
    }
    storage |= {"NP_Q_MAX_ABS": 1e3, "NP_Q_MAX_INJ": 1e3}  # so that P alone moves the bus
    options = CapabilityOptions(delivery_s=(2.0, 60.0, 900.0), devices=(), region=RegionOptions(directions=12))
    desk = Desk(
        Truth(model, inverters(1, **storage)),
        flexibility=FlexibilityParams(120 * S_NS, LimitRules((0.9, 1.1)), options, storage=terms),
    )
    desk.truth.der_soc_wh = np.array([stored_wh])
    tblm = desk.call(0)
    assert tblm is not None and tblm.flexibility is not None and not tblm.flexibility.reasons
    return tblm


def reach_w(tblm: Tblm, quantile: str, delivery_s: float) -> tuple[float, float]:
    """How far down and up the bus can go from where it stands: what the battery gives, and takes, and the losses of that."""
    assert tblm.flexibility is not None
    (p,) = [np.array(r.P_W) for r in tblm.flexibility.capability if (r.quantile, r.delivery_s) == (quantile, delivery_s)]
    return tblm.operating_point.P_W - p.min(), p.max() - tblm.operating_point.P_W


@pytest.mark.parametrize(
    ("stored_wh", "quantile", "delivery_s", "gives_w", "takes_w"),
    [
        (50e3, "P10", 2.0, RATED_W, RATED_W),
        (12e3, "P10", 2.0, RATED_W, RATED_W),  # 2 kWh over what it keeps last 24 s
        (12e3, "P10", 60.0, 120e3, RATED_W),
        (12e3, "P10", 900.0, 8e3, RATED_W),
        (12e3, "P90", 900.0, 8e3, RATED_W),
        (10e3, "P50", 2.0, 0.0, RATED_W),
        (95e3, "P10", 900.0, RATED_W, 20e3 / EFFICIENCY),
        (NOT_TOLD, "P10", 2.0, 0.0, RATED_W),
        (NOT_TOLD, "P50", 900.0, RATED_W, RATED_W),
    ],
)
def test_storage_gives_and_takes_what_its_energy_bears_for_the_class(
    stored_wh: float, quantile: str, delivery_s: float, gives_w: float, takes_w: float
) -> None:
    """(stored - least) / t and (capacity - stored) / (efficiency t), within the rating; 12 % for the feeder's losses and its answer
    to voltage."""
    gives, takes = reach_w(battery(stored_wh), quantile, delivery_s)
    assert gives == pytest.approx(gives_w, rel=0.12, abs=300.0)
    assert takes == pytest.approx(takes_w, rel=0.12, abs=300.0)


@pytest.mark.parametrize(("duration_s", "wanted_w"), [(None, 8e3), (60.0, 120e3), (3600.0, 2e3)])
def test_what_storage_offers_lasts(duration_s: float | None, wanted_w: float) -> None:
    found = battery(12e3, Terms(50.0, None, duration_s=duration_s)).flexibility
    assert found is not None
    (block,) = found.dispatchable
    assert block.direction == "up" and pytest.approx(wanted_w, rel=0.12) == block.P_W
