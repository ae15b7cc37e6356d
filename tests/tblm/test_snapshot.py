"""The snapshot and the loads that explain it."""

from __future__ import annotations

import numpy as np
import pytest
from telemetry import Truth, ieee123_with_der, inverters

from federates.grid.feeder_library import builtin_feeder
from federates.runtime.federate import S_NS
from federates.runtime.port import Quality, Sample
from federates.tblm.builder import TblmBuilder, TblmParams
from federates.tblm.snapshot import Allocation, FeederSnapshot, allocate, operating_base

T_NS = 600 * S_NS


def explain(truth: Truth, **changed: Sample) -> tuple[FeederSnapshot, Allocation, list[str], TblmBuilder]:
    builder = TblmBuilder(TblmParams("b", "16", truth.model, truth.settings))
    inputs = truth.inputs(builder.inputs, T_NS, None, **changed)
    snapshot = FeederSnapshot.take(T_NS, "hash", inputs, [p.name for p in builder.inputs if p.kind == "vector"])
    base, reasons = operating_base(snapshot, builder._study, None)
    return snapshot, allocate(snapshot, builder._study, base), reasons, builder


@pytest.mark.parametrize("name", ["ieee13", "ieee34", "ieee123"])
def test_readings_and_head_agree_with_the_truth(name: str) -> None:
    truth = Truth(builtin_feeder(name), f_hz=59.9)
    _, found, reasons, builder = explain(truth)
    s_va = builder._s_va
    assert reasons == [] and found.unread_loads == 0
    assert found.residual_va < 2e-4 * s_va and found.adjusted_va < 2e-3 * s_va
    assert np.abs(found.base.load_p_w - truth.p0_w).max() < 0.01 * truth.p0_w.max(), "loads at nominal voltage and frequency"
    assert found.loss_w == pytest.approx(truth.feeder.losses_w(), rel=0.01)
    assert found.head_p_w == pytest.approx(found.load_p_w + found.loss_w, rel=1e-4)
    builder.stop()


def test_missing_readings_are_filled_and_the_head_still_matches() -> None:
    truth = Truth(builtin_feeder("ieee123"))
    p, q = truth.feeder.load_power()
    quality = np.where(np.arange(p.size) % 3 == 0, int(Quality.LOST), 0)
    lost = {"load_p_w": Sample.of(p, 0, quality), "load_q_var": Sample.of(q, 0, quality)}
    _, found, _, builder = explain(truth, **lost)
    assert found.unread_loads == int((quality > 0).sum())
    assert found.head_p_w == pytest.approx(float(truth.feeder.head()[0].sum()), rel=1e-3)
    unread, read = quality > 0, quality == 0
    miss = np.abs(found.base.load_p_w - truth.p0_w) / truth.p0_w
    assert miss[read].mean() < miss[unread].mean(), "what was read is trusted more than what was not"
    builder.stop()


def test_without_a_head_measurement_readings_stand() -> None:
    truth = Truth(builtin_feeder("ieee13"))
    lost = {name: Sample.missing(3) for name in ("head_p_w", "head_q_var")}
    _, found, _, builder = explain(truth, **lost)
    assert found.head_p_w == pytest.approx(float(truth.feeder.head()[0].sum()), rel=5e-3)
    builder.stop()


def test_der_are_taken_apart_from_loads() -> None:
    truth = Truth(ieee123_with_der(), inverters())
    _, found, reasons, builder = explain(truth)
    assert reasons == []
    assert found.der_p_w == pytest.approx(truth.der_p_w.sum(), rel=1e-3)
    assert found.load_p_w == pytest.approx(truth.feeder.load_total()[0], rel=2e-3)
    builder.stop()


def test_snapshot_id_is_a_hash_of_everything() -> None:
    truth = Truth(builtin_feeder("ieee13"))
    one, _, _, builder = explain(truth)
    same, _, _, other = explain(truth)
    assert one.snapshot_id == same.snapshot_id
    tap = truth.feeder.taps().astype(float)
    for changed in (
        Sample.of(tap + np.array([1, 0, 0, 0]), T_NS - S_NS),
        Sample.of(tap, T_NS - 2 * S_NS),
        Sample.of(tap, T_NS - S_NS, int(Quality.STALE)),
    ):
        different, _, _, third = explain(truth, tap=changed)
        assert different.snapshot_id != one.snapshot_id
        third.stop()
    builder.stop()
    other.stop()


def test_unknown_positions_are_said() -> None:
    truth = Truth(builtin_feeder("ieee13"))
    _, _, reasons, builder = explain(truth, tap=Sample.missing(4), switch=Sample.missing(1), f_hz=Sample.missing(1))
    assert reasons == [
        "position of 4 of 4 regulators unknown: last known taken",
        "position of 1 of 1 switches unknown: last known taken",
        "frequency unknown: nominal value taken",
    ]
    builder.stop()
