"""Load composition and profiles."""

from datetime import UTC, datetime

import numpy as np
import pytest

from federates.grid.load import (
    LOAD_CLASSES,
    customer_profile,
    customer_profiles,
    frequency_response,
    pv_profile,
    pv_profiles,
    seconds_of_year,
    smartds_folder,
    weather_factor,
)

NOON_29_JUNE = 179 * 86400 + 12 * 3600


def test_frequency_response_by_hand() -> None:
    # Kundur table 7.1: commercial 1.2 and -1.6; 59.4 Hz is -0.01 pu
    p, q = frequency_response([100.0, 200.0], [50.0, 0.0], "commercial", 59.4, 60.0)
    assert p == pytest.approx([98.8, 197.6])
    assert q == pytest.approx([50.8, 0.0])


def test_frequency_response_one_class_a_load() -> None:
    p, q = frequency_response([1.0, 1.0], [1.0, 1.0], ("residential", "industrial"), 50.5, 50.0)
    assert p == pytest.approx([1.008, 1.026])
    assert q == pytest.approx([0.978, 1.016])


def test_nominal_frequency_changes_no_bit() -> None:
    p0 = np.array([1.1, 2.7, 3.3])
    p, q = frequency_response(p0, p0, "industrial", 60.0, 60.0)
    assert (p == p0).all() and (q == p0).all()


def test_unknown_class() -> None:
    with pytest.raises(ValueError, match="no load class `farm`; there are residential, commercial, industrial"):
        frequency_response(1.0, 1.0, "farm", 60.0, 60.0)


def test_weather() -> None:
    assert weather_factor(tuple(LOAD_CLASSES), 18.0).tolist() == [1.0, 1.0, 1.0]
    assert weather_factor("residential", 30.0) == pytest.approx(1.25)
    assert weather_factor("residential", 5.0) == pytest.approx(1.10)
    assert weather_factor("industrial", 40.0) == 1.0


def test_customers_and_pv_of_smartds() -> None:
    customers = customer_profiles()
    assert [c.load_class for c in customers].count("residential") == 8 and len(customers) == 28
    assert len(pv_profiles()) == 6 and "25_180" in pv_profiles()
    assert customers == tuple(sorted(customers, key=lambda c: c.key))


def test_profile_meets_the_file_at_its_points_and_lies_between() -> None:
    raw = np.loadtxt(f"{smartds_folder()}/res_kw_14705_pu.csv")
    p, q = customer_profile("res_14705", [0.0, 900.0, 450.0, NOON_29_JUNE])
    assert p[:2].tolist() == raw[:2].tolist() and p[3] == raw[NOON_29_JUNE // 900]
    assert p[2] == pytest.approx((raw[0] + raw[1]) / 2)
    assert q.shape == (4,) and (q > 0).all()


def test_the_year_closes() -> None:
    year = 35040 * 900.0
    p, _ = customer_profile("com_1835", [0.0, year, year - 1e-3, -900.0, year - 900.0])
    assert p[0] == p[1] and p[2] == pytest.approx(p[0], abs=1e-5) and p[3] == p[4]


def test_pv_is_dark_at_night_and_bright_at_noon() -> None:
    night, noon = pv_profile("25_180", [NOON_29_JUNE - 12 * 3600, NOON_29_JUNE])
    assert night == 0.0 and 0.5 < noon < 1.1


def test_unknown_profile() -> None:
    with pytest.raises(ValueError, match=r"no profile file res_kw_1_pu\.csv; the keys are com_16017, "):
        customer_profile("res_1", 0.0)


def test_seconds_of_year() -> None:
    assert seconds_of_year(datetime(2018, 6, 29, 12, tzinfo=UTC)) == NOON_29_JUNE
