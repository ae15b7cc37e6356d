"""The device profile in docs/ says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dnp3_rig import Rig, errors

from protocols.dnp3 import OutstationConfig
from protocols.dnp3.application import IIN
from protocols.dnp3.objects import every_object
from protocols.dnp3.points import _DEFAULT_VARIATIONS

PROFILE = (Path(__file__).parents[3] / "docs" / "dnp3_outstation_profile.md").read_text()


def table(title: str) -> list[list[str]]:
    """The rows of the first table behind a heading, without its head."""
    lines = PROFILE.split(f"# {title}\n", 1)[1].splitlines()
    rows = [line for line in lines[lines.index(next(line for line in lines if line.startswith("|"))) :]]
    end = next(at for at, line in enumerate(rows) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[2:end]]


def numbers(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", text)]


def variations(text: str) -> set[int]:
    found: set[int] = set()
    for first, last in re.findall(r"v(\d+)\**(?: to v(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_object_and_no_other_is_listed():
    listed = {}
    for groups, _, given in table("Objects"):
        if "by length" in given:
            continue
        for group, part in zip(numbers(groups), given.split(";"), strict=False):
            listed[group] = variations(part)
    known: dict[int, set[int]] = {}
    for row in every_object():
        if row.group < 110:
            known.setdefault(row.group, set()).add(row.variation)
    known[50] = {1, 3}
    # Times and classes use the semicolon for something else.
    assert {group: listed[group] for group in known if group not in (50, 60)} == {
        group: known[group] for group in known if group not in (50, 60)
    }
    assert set(listed) == set(known)


def test_the_defaults_are_the_bold_ones():
    bold = {}
    for groups, _, given in table("Objects"):
        for group, part in zip(numbers(groups), given.split(";"), strict=False):
            if found := re.search(r"\*\*v(\d+)\*\*", part):
                bold[group] = int(found[1])
    for kind, (static, event) in _DEFAULT_VARIATIONS.items():
        rows = [row for row in every_object() if row.point is kind and row.group < 110]
        for wanted, word in ((static, "static"), (event, "event")):
            groups = {row.group for row in rows if row.kind.value == word}
            assert all(bold[group] == wanted for group in groups), kind


@pytest.mark.parametrize("code", range(1, 128))
def test_function_codes_are_supported_as_listed(code):
    listed = {number for codes, *_ in table("Function codes") for number in numbers(codes)}
    rig = Rig(warm_restart_s=1.0)
    answers = rig.master.request(code)
    supported = not any(errors(answer) & IIN.NO_FUNC_CODE_SUPPORT for answer in answers)
    silent = code in (6, 8, 10, 12)
    assert (code in listed) == supported or (silent and not answers)


def test_settings_are_quoted_with_their_defaults():
    config = OutstationConfig()
    quoted = re.findall(r"`(\w+_s|max_\w+|unsolicited_retries)`,? \(?(\d+)", PROFILE)
    assert len(quoted) >= 10
    for name, value in quoted:
        assert getattr(config, name) == int(value), name
