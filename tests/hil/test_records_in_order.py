"""The audit log of a wire while the disk is slow: each record is made, in the order in which things happened."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from test_master_wire import PLAN, Scene, play, until

from hil.audit import AuditLog, load_or_make_key
from hil.plan import DevicePlan, Role
from hil.point_csv import parse_map
from hil.safety import EmergencyStop
from hil.wire import OutstationWire, Surroundings

POINTS = parse_map(
    "name,signal,direction,table,address,type,unit,min,max,fallback\n"
    "measured,plant.p_w,read,holding,0,u16,W,,,\n"
    "power,plant.p_w,write,holding,10,u16,W,0,2000,value=777\n"
)
COMMANDS = 12


class Listener:
    """An end that we play, whose masters are this test."""

    masters, last_error, address = 1, "", ("", 0)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def show(self, *_: Any) -> None: ...


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(0.02)
        at_once(descriptor)

    monkeypatch.setattr(os, "fsync", slow)


@pytest.mark.parametrize("settles_s", [0.0, 0.05])
def test_commands_of_a_master_are_all_recorded_in_order_also_at_the_end(tmp_path: Path, slow_disk: None, settles_s: float) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit" / "dev.jsonl", "run", load_or_make_key(tmp_path / "key.pem"))
        around = Surroundings(
            tmp_path, tmp_path, log, EmergencyStop(tmp_path / "STOP"), lambda *cause: None, lambda *cause: None,
            lambda: "", lambda: False,
        )  # fmt: skip
        plan = DevicePlan("dev", Role.SERVER, "127.0.0.1:0", POINTS, 20_000_000)
        wire = OutstationWire(plan, around, lambda wire: Listener())
        for value in range(COMMANDS):
            assert wire.command("power", float(value), {"unit": 1}) == ""
        await asyncio.sleep(settles_s)
        await wire.close()
        log.close()

    asyncio.run(scene())
    rows = [json.loads(line) for line in (tmp_path / "audit" / "dev.jsonl").read_text().splitlines()]
    assert [row["value"] for row in rows if row["kind"] == "served"] == list(range(COMMANDS))


def test_a_record_that_cannot_be_made_at_the_end_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError("No space left on device")

    async def scene() -> None:
        made = Scene(tmp_path, PLAN)
        with monkeypatch.context() as patch:
            patch.setattr(made.log, "append", full)
            made.wire.enter("done", point="power")
            with pytest.raises(OSError, match="No space left"):
                await made.wire.close()
        made.bridge.close()
        made.log.close()

    asyncio.run(scene())


def test_what_became_of_a_command_is_recorded_though_the_wire_is_closed_meanwhile(tmp_path: Path, slow_disk: None) -> None:
    async def scene(made: Scene) -> None:
        await made.running()
        made.wants(500.0)
        await until(lambda: made.powers)

    play(tmp_path, scene)
    rows = [json.loads(line) for line in (tmp_path / "audit" / "dev.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows if row.get("point") == "power"] == ["command", "done"]
