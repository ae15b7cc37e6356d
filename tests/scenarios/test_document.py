"""YAML as untrusted input."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.document import parse_document, read_document
from scenarios.problem import ScenarioError


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse_document(text, "f.yaml")
    return str(caught.value)


def test_types_of_yaml_1_2_and_lines() -> None:
    document = parse_document("a: 1\nb:\n  - 2.5\n  - {c: 1e-3}\nd: no\ne: true\nf: 012\ng: 2024-07-01T12:00:00\nh:\n", "f.yaml")
    assert document.data == {
        "a": 1, "b": [2.5, {"c": 1e-3}], "d": "no", "e": True, "f": 12, "g": "2024-07-01T12:00:00", "h": None,
    }  # fmt: skip
    assert not document.problems
    assert document.line(("b", 1, "c")) == 4
    assert document.line(("b", 1, "missing")) == 4
    assert document.line(("g",)) == 8


def test_duplicate_keys_are_all_named_with_both_lines() -> None:
    document = parse_document("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f.yaml")
    assert [str(p) for p in document.problems] == [
        "f.yaml:2: b.c: this key is already on line 2; remove one of the two",
        "f.yaml:3: a: this key is already on line 1; remove one of the two",
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("- 1\n", 1, "mapping"),
        ("a: 1\n\tb: 2\n", 2, "tab"),
        ("a: 1\nb: [1\nc: 2\n", 3, "not YAML"),
        ("a: &x 1\nb: 2\n", 1, "anchor (&x)"),
        ("a: 1\nb: *x\n", 2, "alias (*x)"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "a tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: \x01\n", 1, "character"),
        ("a: " + "[" * 100_000, 1, "nested deeper"),
        ("a: " + "{b: " * 1000, 1, "nested deeper"),
    ],
)
def test_refused_with_its_line(text: str, line: int, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"f.yaml:{line}: ")
    assert words in message


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    assert "alias" in refusal("\n".join(lines))


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999", "9" * 5000])
def test_numbers_that_are_no_quantities(value: str) -> None:
    document = parse_document(f"a: {value}\n", "f.yaml")
    assert [p.place for p in document.problems] == [("a",)]


def test_100_megabytes_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    began = time.monotonic()
    with pytest.raises(ScenarioError, match=r"large\.yaml:1: .*100000 kB; a scenario has at most 250 kB"):
        read_document(path)
    assert time.monotonic() - began < 1.0


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: x\nabout: Größe\n".encode("latin-1"))
    with pytest.raises(ScenarioError, match=r":2: .*is not UTF-8"):
        read_document(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match=":1: "):
        read_document(tmp_path / name)


@given(st.text(alphabet="ab:-[]{},&*!\"' \n\t#|>%@`1.", max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_data_or_a_problem(text: str) -> None:
    try:
        document = parse_document(text, "f.yaml")
    except ScenarioError as error:
        assert error.problems
    else:
        assert isinstance(document.data, dict)
