"""The bands of published documents: judged by replays with seeds that did not set them, and how they widen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from band_replays import JUDGED_BY, SET_BY, Replay, covered, runs
from telemetry import Truth, ieee123_with_der, inverters
from test_builder import Desk

from federates.grid.relay import Stage
from federates.runtime.federate import MS_NS, S_NS
from federates.runtime.port import Quality, Sample
from federates.tblm.armed import Plans, Program
from federates.tblm.bands import HeadTelemetry
from federates.tblm.emergency_model import UncertainPower
from federates.tblm.model import Tblm

LEAST, MOST = 0.85, 0.95


@pytest.fixture(scope="module")
def judged() -> dict[str, list[Replay]]:
    assert not set(SET_BY) & set(JUDGED_BY)
    return runs(JUDGED_BY)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("bands")
@pytest.mark.parametrize("quantity", ["P", "ufls:1", "dr:homes"])
def test_the_90_per_cent_band_of_published_documents_covers_85_to_95_per_cent(
    judged: dict[str, list[Replay]], quantity: str
) -> None:
    """Of 540 documents of 90 federations."""
    found = judged[quantity]
    assert len(found) >= 500
    assert LEAST <= covered(found) <= MOST, f"{covered(found):.1%} of {len(found)}"
    middle = np.median([replay.error_w / replay.p50_w for replay in found])
    assert abs(middle) < 0.02


@pytest.fixture
def desk() -> Iterator[Desk]:
    plans = Plans((Stage("ufls", 1, "f_hz", 59.5, 100 * MS_NS, feeders=4),), "f", (), (Program("dr:homes", "residential", 0.3),))
    truth = Truth(ieee123_with_der(), inverters(), like_feeders=10, available_w=120e3)
    made = Desk(truth, plans=plans, head=HeadTelemetry(0.003, 10e3, 6.0), deviation_pct=100.0)
    yield made
    made.builder.stop()


def band(tblm: Tblm | None, quantity: str = "P") -> UncertainPower:
    assert tblm is not None and tblm.emergency is not None
    return next(b for b in tblm.emergency.bands if b.quantity == quantity)


def width(tblm: Tblm | None, quantity: str = "P") -> float:
    return band(tblm, quantity).P95_W - band(tblm, quantity).P05_W


def asked(desk: Desk, t_s: int, **changed: Sample) -> Tblm | None:
    desk.changed = dict(changed)
    return desk.call(t_s * S_NS, {"request": ({},)})


def test_a_bus_that_is_not_heard_of_is_less_certain_the_longer_it_lasts_and_most_when_it_is_lost(desk: Desk) -> None:
    bus_w = desk.truth.values()["bus_p_w"]

    def silent(t_s: int, since_s: int, quality: Quality = Quality.STALE) -> Tblm | None:
        return asked(desk, t_s, bus_p_w=Sample(bus_w, since_s * S_NS, np.full(3, int(quality), np.uint16)))

    fresh = width(asked(desk, 600))
    widths = [width(silent(t_s, 600)) for t_s in (610, 660, 900, 2400)]
    lost = width(silent(2500, 600, Quality.STALE | Quality.LOST))
    assert [fresh, *widths, lost] == sorted([fresh, *widths, lost]) and lost > 3.0 * fresh


def test_a_value_that_has_stayed_within_its_deadband_is_not_old(desk: Desk) -> None:
    bus_w = desk.truth.values()["bus_p_w"]
    still = [width(asked(desk, t_s, bus_p_w=Sample(bus_w, 590 * S_NS, np.zeros(3, np.uint16)))) for t_s in (600, 700, 850)]
    assert still == [still[0]] * 3


def test_der_that_are_lost_widen_the_bus_and_readings_that_are_lost_a_program(desk: Desk) -> None:
    whole = asked(desk, 600)
    values = desk.truth.values()
    gone = np.where(np.arange(12) < 6, int(Quality.LOST), 0).astype(np.uint16)
    assert width(asked(desk, 700, der_p_w=Sample(values["der_p_w"], 699 * S_NS, gone))) > width(whole)
    unread = np.full(values["load_p_w"].size, int(Quality.LOST), np.uint16)
    assert width(asked(desk, 800, load_p_w=Sample(values["load_p_w"], 500 * S_NS, unread)), "dr:homes") > width(whole, "dr:homes")


def test_transducers_are_those_of_the_data_sheet() -> None:
    """Gain errors and deadbands of three phases add up as squares: 10 kW each are uniform within, and 0.3 % of each phase."""
    truth = Truth(ieee123_with_der(), inverters(), like_feeders=10, available_w=120e3)
    plans = Plans((), "", (), (Program("cvr:all", v_set_pu=-0.02),))
    desk = Desk(truth, plans=plans, head=HeadTelemetry(0.003, 10e3, 6.0))
    sigma = {d.name: d.sigma_W for d in band(asked(desk, 600)).drivers}["scada"]
    desk.builder.stop()
    phases = truth.values()["bus_p_w"]
    expected = np.hypot(0.003 * np.sqrt((phases**2).sum()), 10e3 * np.sqrt(3.0) / np.sqrt(3.0))
    assert sigma == pytest.approx(expected, rel=1e-3)
