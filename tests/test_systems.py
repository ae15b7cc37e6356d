"""The table of the 23 systems is honest: each is a file that exists, or waits for something that is named."""

from __future__ import annotations

import importlib
from pathlib import Path

import federates
from federates import FACTORY_OF_KIND, SYSTEM_FILE, SYSTEM_WAITS_FOR
from scenarios.kinds import FEDERATE_MODELS

ROOT = Path(federates.__file__).parent.parent


def test_each_of_the_23_systems_is_there_or_waits() -> None:
    assert not SYSTEM_FILE.keys() & SYSTEM_WAITS_FOR.keys()
    assert len(SYSTEM_FILE) + len(SYSTEM_WAITS_FOR) == 23
    assert [file for file in SYSTEM_FILE.values() if not (ROOT / file).is_file()] == []


def test_a_system_that_came_is_taken_off_the_waiting_list() -> None:
    """Studies of the distribution system are one file each, named as the system is."""
    named = {"DOMA": "doma", "DCA": "dca", "MFR": "mfr", "VVWO": "vvwo", "load management": "lms"}
    there = [system for system, name in named.items() if (ROOT / "federates" / "dms" / f"{name}.py").is_file()]
    assert not set(there) & SYSTEM_WAITS_FOR.keys()


def test_every_kind_of_a_scenario_has_its_class() -> None:
    assert FACTORY_OF_KIND.keys() == FEDERATE_MODELS.keys()
    for factory in FACTORY_OF_KIND.values():
        module, _, name = factory.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), type)
