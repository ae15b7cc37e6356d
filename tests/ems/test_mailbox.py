"""Which TBLM may be used: what is rejected and why, and how the consumer degrades."""

from __future__ import annotations

from typing import Any

import pytest
from documents import HASH, document, exponential, tblm

from federates.ems.mailbox import Mailbox
from federates.runtime.federate import S_NS
from federates.runtime.port import NO_DOCUMENT, Document

LOAD = exponential(100e6, 30e6, 1.0, 2.0)


def box() -> Mailbox:
    return Mailbox("16", frozenset({HASH}))


def made(version: int, **more: Any) -> Document:
    return document(tblm(more.pop("bus", "16"), LOAD, points=21, **more), version)


def test_a_good_document_is_accepted_once_and_used() -> None:
    mailbox = box()
    assert mailbox.take(NO_DOCUMENT, 0) is None and mailbox.usable(0) == ("constant", None)
    assert mailbox.take(made(1, seq=7), S_NS) == {"bus": "16", "seq": 7, "accepted": True, "reason": ""}
    assert mailbox.take(made(1, seq=7), 2 * S_NS) is None
    mode, used = mailbox.usable(2 * S_NS)
    assert mode == "tblm" and used is not None and used.version.seq == 7


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"seq": 7}, "sequence 7 does not follow 7"),
        ({"seq": 3}, "sequence 3 does not follow 7"),
        ({"seq": 8, "flag": "bad"}, "quality is bad"),
        ({"seq": 8, "bus": "15"}, "it is about bus 15, not 16"),
        ({"seq": 8, "model_hash": "c" * 64}, "model cccccccccccc is not known"),
        ({"seq": 8, "horizon_s": 5.0}, "expired 5 s ago"),
        ({"seq": 8, "at_ns": 20 * S_NS}, "not valid for another 10 s"),
        ({"seq": 8, "sets": ("fast",)}, "it has no curves of the set settled"),
    ],
)
def test_a_bad_document_is_rejected_with_its_reason_and_the_last_good_one_stays(wrong: dict[str, Any], reason: str) -> None:
    mailbox = box()
    mailbox.take(made(1, seq=7), 0)
    ack = mailbox.take(made(2, **wrong), 10 * S_NS)
    assert ack is not None and not ack["accepted"] and reason in ack["reason"] and ack["seq"] == wrong["seq"]
    mode, used = mailbox.usable(10 * S_NS)
    assert mode == "last_good" and used is not None and used.version.seq == 7
    assert mailbox.take(made(2, **wrong), 11 * S_NS) is None


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"bus": 1}', "\x00", '{"a":' * 5000, "9" * 70_000])
def test_text_that_is_no_tblm_is_rejected_and_breaks_nothing(text: str) -> None:
    mailbox = box()
    ack = mailbox.take(Document(text, 0, 1), S_NS)
    assert ack is not None and (ack["accepted"], ack["seq"]) == (False, 0) and ack["reason"]
    assert mailbox.take(made(2), S_NS)["accepted"]  # type: ignore[index]


def test_it_degrades_to_the_last_good_one_and_after_its_expiry_to_constant_power() -> None:
    mailbox = box()
    mailbox.take(made(1, seq=1, horizon_s=60.0), 0)
    modes = []
    for t_s, document_ in (
        (10, None),
        (30, made(2, seq=2, flag="bad")),
        (60, None),
        (61, None),
        (70, made(3, seq=3, at_ns=70 * S_NS)),
    ):
        if document_ is not None:
            mailbox.take(document_, t_s * S_NS)
        modes.append(mailbox.usable(t_s * S_NS)[0])
    assert modes == ["tblm", "last_good", "last_good", "constant", "tblm"]


def test_a_rejected_sequence_number_is_not_used_up() -> None:
    mailbox = box()
    mailbox.take(made(1, seq=5, flag="bad"), 0)
    assert mailbox.take(made(2, seq=5), S_NS)["accepted"]  # type: ignore[index]
