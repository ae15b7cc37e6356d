"""The document: strict round trip, schema, evaluation, the consumer's rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import federates.tblm
from federates.runtime.port import canonical_json
from federates.tblm import model
from federates.tblm.model import Axes, Curve, Range, Tblm, TblmError, evaluate, evaluate_slopes, from_json, to_json, validate

S_NS = 1_000_000_000


def curve(which: str = "fast") -> Curve:
    """P = 1 MW (V + 0.1 (f - 60)), with a step of 0.2 MW at 1.0 pu; Q is minus half of it."""
    v, f = (0.9, 1.0, 1.0, 1.1), (59.0, 60.0, 61.0)
    p = tuple(tuple(1e6 * (x + 0.1 * (y - 60.0)) + (2e5 if i >= 2 else 0.0) for y in f) for i, x in enumerate(v))
    q = tuple(tuple(-0.5 * x for x in row) for row in p)
    return Curve(which, Axes(v, f), p, q, Range((0.9, 1.08), (59.0, 61.0)), (), 0.1, 0.05, 12)  # type: ignore[arg-type]


def tblm(**quality: Any) -> Tblm:
    """A good document, seq 4, published at 100 s and valid for 180 s."""
    m = model
    good = m.QualityOfData("good", 1.0, 1.0, 2.0, 0.0, 0.1, "periodic", ())
    return Tblm(
        m.Bus("5f1d4c9e-2f0b-5a57-9d35-6a1a5c0b7e11", "16", 115.0, 1e6, "load_positive"),
        m.Version(4, "a" * 64, "b" * 64, "1.0"),
        m.Validity(99 * S_NS, 100 * S_NS, 100 * S_NS, 280 * S_NS, 180.0),
        replace(good, **quality),
        m.OperatingPoint(1.01, -0.1, 60.0, 1.01e6, -5e5, 1.0),
        m.Load(
            (curve("fast"), curve("settled")), (m.ZipFit("fast", 1.01, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), 0.1, 0.1),), (), 0.8, None
        ),
        m.NativeVsDer(1.2e6, 1e5, 2e5, 0.0, 1e4, -6e5, 0.0, 0.0),
        m.DerSummary(1, 1, 4e5, 2e5, 2e5, 0.0),
        m.LikeFeeders(3, 3.1, 10.0, -5.0),
        (m.Source("head_p_w", "good", 3, 3, 1.0),),
    )


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every object in a document."""
    if isinstance(value, dict):
        return [path, *(p for k, v in value.items() for p in paths(v, (*path, k)))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in paths(v, (*path, i))]
    return []


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_round_trip_keeps_every_bit() -> None:
    original = tblm()
    assert from_json(canonical_json(to_json(original))) == original


def test_committed_schema_is_up_to_date() -> None:
    committed = json.loads((Path(federates.tblm.__file__).parent / "tblm.schema.json").read_text())
    assert committed == model.json_schema(), "run python -m federates.tblm.model > federates/tblm/tblm.schema.json"


def test_schema_accepts_a_document_and_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(model.json_schema())
    validator.check_schema(model.json_schema())
    text = canonical_json(to_json(tblm()))
    validator.validate(json.loads(text))
    for path in paths(json.loads(text)):
        document = json.loads(text)
        at(document, path)["unheard_of"] = 1
        assert not validator.is_valid(document), path
        with pytest.raises(TblmError, match="unheard_of"):
            from_json(json.dumps(document))


def test_every_missing_field_is_named() -> None:
    text = canonical_json(to_json(tblm()))
    for path in paths(json.loads(text)):
        for name in at(json.loads(text), path):
            document = json.loads(text)
            del at(document, path)[name]
            with pytest.raises(TblmError, match=rf"{name}: missing"):
                from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version", "seq"), 1.5, "version.seq: wanted a whole number"),
        (("version", "seq"), True, "version.seq: wanted a whole number"),
        (("version", "schema"), "9.9", "version.schema: '9.9' is none of 1.0"),
        (("quality", "flag"), "fine", "quality.flag"),
        (("quality", "reasons"), "none", "quality.reasons: wanted a list"),
        (("bus", "S_base_VA"), None, "bus.S_base_VA: wanted a number"),
        (("bus", "S_base_VA"), 10**400, "bus.S_base_VA"),
        (("load", "curves", 0, "axes", "V_pu"), [1.0, 0.9, 1.0, 1.1], "axes.V_pu needs at least two values, rising"),
        (("load", "curves", 0, "P_W"), [[1.0, 2.0, 3.0]], "P_W is not a table of 4 x 3"),
        (("load", "curves", 0, "range_ok", "V_pu"), [1.0], "V_pu: wanted 2 values"),
        (("sources",), {}, "sources: wanted a list"),
        (("bus",), 3, "bus: wanted an object"),
    ],
)
def test_wrong_values_are_refused_by_name(path: tuple[Any, ...], value: Any, says: str) -> None:
    document = json.loads(canonical_json(to_json(tblm())))
    at(document, path[:-1])[path[-1]] = value
    with pytest.raises(TblmError) as refusal:
        from_json(json.dumps(document))
    assert says in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "NaN", '{"bus": NaN}', "[" * 100_000, '"' + "x" * 70_000 + '"'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(TblmError):
        from_json(text)


def test_numbers_that_json_lacks_are_not_written() -> None:
    with pytest.raises(TblmError, match="nan"):
        to_json(tblm(residual=float("nan")))


def test_evaluate_between_points_at_a_jump_and_outside() -> None:
    table = curve()
    p, q, inside = evaluate(table, [0.95, 1.0, np.nextafter(1.0, 0.0), 1.05], 60.5)
    assert np.allclose(p, [1.0e6, 1.25e6, 1.05e6, 1.3e6], rtol=1e-12)
    assert np.allclose(q, -0.5 * p, rtol=1e-12) and inside.all()
    assert evaluate(table, [0.89, 1.09, 1.0, 1.0], [60.0, 60.0, 58.9, 61.1]).inside.tolist() == [False] * 4
    below = evaluate(table, 0.45, 60.0)
    assert float(below.p_w) == pytest.approx(0.25 * 0.9e6), "outside, the edge goes on as a constant impedance"


@given(st.floats(0.5, 1.4), st.floats(58.0, 62.0))
def test_slopes_are_the_derivatives(v: float, f: float) -> None:
    table, h = curve(), 1e-7
    if min(abs(v - x) for x in table.axes.V_pu) < 1e-5 or min(abs(f - x) for x in table.axes.f_Hz) < 1e-5:
        return
    s = evaluate_slopes(table, v, f)
    low, high = evaluate(table, v - h, f), evaluate(table, v + h, f)
    assert float(s.dp_dv) == pytest.approx(float(high.p_w - low.p_w) / (2 * h), rel=1e-4, abs=2.0)
    assert float(s.dq_dv) == pytest.approx(float(high.q_var - low.q_var) / (2 * h), rel=1e-4, abs=2.0)
    low, high = evaluate(table, v, f - 1e-6), evaluate(table, v, f + 1e-6)
    assert float(s.dp_df) == pytest.approx(float(high.p_w - low.p_w) / 2e-6, rel=1e-4, abs=2.0)
    assert float(s.dq_df) == pytest.approx(float(high.q_var - low.q_var) / 2e-6, rel=1e-4, abs=2.0)


def test_evaluate_is_vectorised() -> None:
    v, f = np.linspace(0.8, 1.2, 7)[:, None], np.linspace(58.5, 61.5, 5)[None, :]
    whole = evaluate_slopes(curve(), v, f)
    assert whole.p_w.shape == (7, 5)
    for i in range(7):
        for j in range(5):
            one = evaluate_slopes(curve(), v[i, 0], f[0, j])
            assert all(np.array_equal(a[i, j], b) for a, b in zip(whole, one, strict=True))


def test_consumer_rules() -> None:
    known = {"a" * 64}
    assert validate(tblm(), 150 * S_NS, 3, known) == []
    rules = {
        "quality is bad: no meter": (tblm(flag="bad", reasons=("no meter",)), 150 * S_NS, 3, known),
        "expired 1 s ago": (tblm(), 281 * S_NS, 3, known),
        "not valid for another 1 s": (tblm(), 99 * S_NS, 3, known),
        "sequence 4 does not follow 4": (tblm(), 150 * S_NS, 4, known),
        "model aaaaaaaaaaaa is not known": (tblm(), 150 * S_NS, 3, {"c" * 64}),
    }
    for reason, arguments in rules.items():
        assert validate(*arguments) == [reason]
    assert len(validate(tblm(flag="bad"), 281 * S_NS, 9, ())) == 4, "all reasons, not the first"
