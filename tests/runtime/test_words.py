"""Events as a reader sees them: what happened first, units with the numbers, nothing in brackets and quotes."""

# ruff: noqa: E501  (tables of whole lines)

from __future__ import annotations

from typing import Any

import pytest

from federates.runtime.words import event_words, is_news


@pytest.mark.parametrize(
    ("source", "payload", "words"),
    [
        ("grid.soe", {"event": "emergency_begins", "f_hz": 59.96133549, "v_min_pu": 1.0216831}, "grid: emergency begins, f 59.9613 Hz, v min 1.02168 pu"),
        ("scenario.ders13", {"action": "trip", "units": ["a", "b"]}, "scenario to ders13: trip, units a b"),
        ("scenario.scada", {"action": "operate", "point": "switch.sw7", "command": {"action": "close_switch", "switch": "sw7"}}, "scenario to scada: operate, point switch.sw7, command: (close switch, switch sw7)"),
        ("ders13.soe", {"event": "der_trip", "der": "battery1", "p_before_w": 173300.0, "reason": ""}, "ders13: der trip, der battery1, p before 173.3 kW"),
        ("ems.ack", {"accepted": True, "bus": "16", "reason": "", "seq": 3}, "ems: TBLM 3 of bus 16 taken"),
        ("ems.ack", {"accepted": False, "bus": "16", "reason": "quality is bad: a; b; c", "seq": 1}, "ems: TBLM 1 of bus 16 rejected, quality is bad: a and 2 reasons more"),
        ("rtu.soe", {"point": "breaker", "value": 0.0, "device_utc_ns": 1_795_406_001_100_000_000}, "rtu: point breaker, value 0, device utc 2026-11-23 03:53:21.100"),
        ("a.soe", {"t_relay_ns": 1_500_000_000, "closed": False}, "a: t relay 1.5 s, closed False"),
    ],
)  # fmt: skip
def test_an_event_is_one_line(source: str, payload: dict[str, Any], words: str) -> None:
    assert event_words(source, payload) == words


def test_what_scada_repeats_and_what_went_as_expected_is_no_news() -> None:
    assert is_news("ders13.soe", {"event": "der_trip"})
    assert not is_news("scada13.soe", {"event": "der_trip", "source": "ders13.soe", "t_event_ns": 1})
    assert is_news("ems.ack", {"accepted": False, "seq": 1})
    assert not is_news("ems.ack", {"accepted": True, "seq": 1})
