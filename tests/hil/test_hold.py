"""One live run at a time commands a device."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hil_rig import MODBUS_MAP, ModbusDevice, Run

from hil.hold import Holds
from hil.plan import DevicePlan, Role
from hil.point_csv import parse_map
from hil.safety import SafetyError

NET = DevicePlan("dev", Role.CLIENT, "192.0.2.1:502", parse_map(MODBUS_MAP), 50_000_000)
TARGET = ("192.0.2.1", 502)


def test_a_device_is_held_until_it_is_let_go() -> None:
    first, second = Holds(), Holds()
    first.take(NET, TARGET)
    first.take(NET, TARGET)  # two of its own devices may share a station
    with pytest.raises(SafetyError, match=r"another live run on this machine commands 192\.0\.2\.1:502 station 1"):
        second.take(NET, TARGET)
    second.take(NET, ("192.0.2.1", 503))
    second.take(replace(NET, role=Role.MASTER, dnp3_address=7), TARGET)
    first.close()
    second.take(NET, TARGET)
    second.close()


def test_a_line_is_the_same_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "line").symlink_to(os.devnull)
    first, second = Holds(), Holds()
    first.take(replace(NET, address=str(tmp_path / "line")), ("", 0))
    with pytest.raises(SafetyError, match="commands /dev/null"):
        second.take(NET, (os.devnull, 0))
    first.close()


def test_a_second_live_run_is_refused_and_a_dry_one_is_not(tmp_path: Path) -> None:
    device = ModbusDevice(tmp_path / "dev.pcap")
    first = Run(tmp_path / "a" / "run", address=device.address)
    others: list[Run] = []
    try:
        first.wait_until_running()
        others.append(Run(tmp_path / "b" / "run", address=device.address))
        ended = others[0].outcome()
        assert ended["exit_code"] == 4 and "another live run on this machine commands" in ended["message"]
        others.append(Run(tmp_path / "c" / "run", address=device.address, live=False, stop_s=0.5))
        assert others[1].outcome()["exit_code"] == 0
        assert first.process.poll() is None
    finally:
        for run in (first, *others):
            run.close()
        device.close()
