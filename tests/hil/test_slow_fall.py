"""Many points behind a slow device: every fallback goes out and is entered in the audit log, however the run is ended."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hil_rig import ModbusDevice, Run
from test_master_wire import Driver

from hil import gatekeeper
from hil.gatekeeper import Gatekeeper
from hil.plan import DevicePlan, GatekeeperPlan, Role
from hil.point_csv import parse_map
from hil.safety import Warrant
from protocols.modbus import Dispatcher, Table

POINTS = 8
HEAD = "name,signal,direction,table,address,type,unit,min,max,fallback\n"
MAP = f"{HEAD}closed,,read,holding,0,u16,1,,,\n" + "".join(
    f"p{k},{'plant.p_w' if k == 0 else ''},write,holding,{10 + k},u16,W,0,2000,value={700 + k}\n" for k in range(POINTS)
)


def test_the_gatekeeper_ends_when_every_fallback_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer together than they may stand still."""
    monkeypatch.setattr(gatekeeper, "_FALL_LIMIT_S", 0.5)
    monkeypatch.setenv("GRIDTANDEM_AUDIT_KEY", str(tmp_path / "key.pem"))
    driver = Driver()
    driver.write_takes_s = 0.2
    monkeypatch.setattr(Gatekeeper, "_master", lambda *_: driver)
    beats: list[float] = []
    host: Any = SimpleNamespace(
        run_dir=tmp_path, directory=tmp_path, supervisor=os.getppid(), is_orphan=False, asked_to_stop=False,
        ready=lambda: None, beat=lambda: beats.append(time.monotonic()),
    )  # fmt: skip
    device = DevicePlan("dev", Role.CLIENT, "127.0.0.1:1", parse_map(MAP), 50_000_000, lease_s=60.0)

    async def scene() -> None:
        keeper = Gatekeeper(GatekeeperPlan("dev", (device,), tmp_path / "STOP", Warrant("A Tester"), 10**10), host)
        asyncio.get_running_loop().call_later(0.3, setattr, host, "asked_to_stop", True)
        await keeper.live()

    asyncio.run(scene())
    assert sorted(value for _, value in driver.sent) == [700.0 + k for k in range(POINTS)]
    rows = [json.loads(line) for line in (tmp_path / "audit" / "dev.jsonl").read_text().splitlines()]
    assert [row["point"] for row in rows if row["kind"] == "fallback"] == [f"p{k}" for k in range(POINTS)]
    assert max(after - before for before, after in itertools.pairwise(beats)) < 0.5, "it is seen to live meanwhile"


class Slow(Dispatcher):
    """Takes 0.15 s to answer a write."""

    def answer(self, unit: int, pdu: bytes, role: str | None = None) -> bytes | None:
        if pdu[0] in (6, 16):
            time.sleep(0.15)
        return super().answer(unit, pdu, role)


def test_an_impatient_person_does_not_cut_the_fallbacks_short(tmp_path: Path) -> None:
    """Control-C twice."""
    device = ModbusDevice(tmp_path / "dev.pcap")
    device.bank.add(Table.HOLDING, 13, bytes(2 * (POINTS - 3)), writable=True)
    run = Run(tmp_path / "run", address=device.address, map=MAP)
    try:
        run.wait_until_running()
        time.sleep(0.5)
        device.server.dispatcher = Slow({1: device.bank})
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.4)
        run.process.send_signal(signal.SIGINT)
        assert run.outcome()["exit_code"] == 130
        last = {address: value for _, _, address, value in device.writes()}
        assert last == {10 + k: 700 + k for k in range(POINTS)}
        assert [row["point"] for row in run.audit() if row["kind"] == "fallback"] == [f"p{k}" for k in range(POINTS)]
    finally:
        run.close()
        device.close()
