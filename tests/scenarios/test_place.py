"""From a share of the load to DER at named places."""

from __future__ import annotations

import numpy as np
import pytest

from federates.grid.der import DerType, QMode
from scenarios.inventory import LoadTable
from scenarios.kinds_der import Ders, Plant, Pv, Storage
from scenarios.place import derived_seed, plan

LOADS = LoadTable(
    names=("l1", "l2", "l3", "l4"),
    bus=("1", "2", "3", "4"),
    phases=((1, 2, 3), (2,), (1, 3), (3,)),
    p_w=np.array([300e3, 40e3, 60e3, 0.0]),
    base_kv=np.full(4, 2.4),
    transformer=("1", "2", "3", "4"),
    load_class=("residential",) * 4,
)


def ders(**groups: object) -> Ders:
    return Ders(name="d", kind="ders", feeder="f", **groups)  # type: ignore[arg-type]


def test_shares_are_met_and_a_load_without_power_has_no_roof() -> None:
    placed = plan(ders(pv=Pv(share_of_load=0.5, sites=10), storage=Storage(share_of_load=0.1, sites=1)), LOADS, 1)
    pv = [site for site in placed.sites if site.name.startswith("pv")]
    assert len(pv) == 3
    assert sum(site.s_va for site in pv) == pytest.approx(0.5 * 400e3)
    assert placed.sites[-1].s_va == pytest.approx(0.1 * 400e3)
    assert {site.bus for site in pv} == {"1.1.2.3", "2.2", "3.1"}
    kv = {site.bus: site.kv for site in pv}
    assert kv["1.1.2.3"] == pytest.approx(2.4 * 3**0.5)
    assert kv["2.2"] == 2.4


def test_settings_follow_the_sites() -> None:
    plant = Plant(name="plant", type="storage", bus="1.1.2.3", kv=4.16, s_va=1e5, energy_wh=2e5, p_set_pu=-0.5, volt_var=True)
    placed = plan(
        ders(pv=Pv(share_of_load=0.5, sites=3, legacy_share=1.0, enter_service_spread_s=100.0), plants=(plant,)), LOADS, 1
    )
    settings = placed.settings
    assert placed.names == ("pv1", "pv2", "pv3", "plant")
    assert pytest.approx([site.s_va for site in placed.sites]) == settings.NP_VA_MAX
    assert list(settings.NP_TYPE) == [DerType.PV] * 3 + [DerType.STORAGE]
    assert list(settings.NP_PHASE) == [3.0, 1.0, 1.0, 3.0]
    assert list(settings.NP_AC_V_NOM) == pytest.approx([site.kv * 1e3 for site in placed.sites])
    assert list(settings.UF1_TRIP_F[:3]) == [59.3] * 3  # IEEE 1547-2003
    assert settings.Q_MODE[3] == QMode.QV
    assert settings.NP_BESS_CAPACITY[3] == 2e5
    assert placed.p_set_pu == (0.0, 0.0, 0.0, -0.5)
    assert placed.profiles[3] == "flat"
    delays = settings.ES_RANDOMIZED_DELAY_ACTUAL[:3]
    assert np.all((delays >= 0.0) & (delays < 100.0))
    assert len(set(delays)) == 3


def test_a_seed_gives_the_same_and_another_seed_something_else() -> None:
    entry = ders(pv=Pv(share_of_load=0.5, sites=2))
    one, two, other = plan(entry, LOADS, 1), plan(entry, LOADS, 1), plan(entry, LOADS, 2)
    assert one == two
    assert [site.s_va for site in one.sites] != [site.s_va for site in other.sites]


def test_seeds_do_not_depend_on_the_other_federates() -> None:
    assert derived_seed(1, "a") == derived_seed(1, "a")
    assert len({derived_seed(seed, name) for seed in range(20) for name in "abcdef"}) == 120


def test_settings_by_name_and_their_errors() -> None:
    placed = plan(ders(pv=Pv(share_of_load=0.5, sites=1, settings={"QV_OLRT": 7.0})), LOADS, 1)
    assert placed.settings.QV_OLRT[0] == 7.0
    with pytest.raises(ValueError, match="no such DER setting: QV_OLTR"):
        plan(ders(pv=Pv(share_of_load=0.5, sites=1, settings={"QV_OLTR": 7.0})), LOADS, 1)


def test_a_feeder_without_load() -> None:
    empty = LoadTable((), (), (), np.zeros(0), np.zeros(0), (), ())
    with pytest.raises(ValueError, match="no load to stand a share of DER at; write plants"):
        plan(ders(pv=Pv(share_of_load=0.5)), empty, 1)
