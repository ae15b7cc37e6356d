"""Devices that cannot be used: a clear message and exit code 4, whatever the reason; and a solver that hangs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hil_rig import DNP3_MAP, MODBUS_MAP, Dnp3Device, LoopThread, ModbusDevice, Run
from tls_files import Authority

from protocols.modbus import Dispatcher, MemoryBank, Rights, Table, TcpServer, server_context
from protocols.modbus.pdu import Function


@pytest.fixture
def modbus(tmp_path: Path) -> Iterator[ModbusDevice]:
    wired = ModbusDevice(tmp_path / "wire.pcap")
    yield wired
    wired.close()


def ended(run: Run) -> str:
    """The message of a run that a device's failure ended."""
    try:
        outcome = run.outcome()
    finally:
        run.close()
    assert outcome["exit_code"] == 4, outcome
    assert outcome["message"].startswith("device dev"), outcome
    return str(outcome["message"])


def test_a_wrong_unit(modbus: ModbusDevice, tmp_path: Path) -> None:
    rows = [row.split(",") for row in MODBUS_MAP.strip().splitlines()]
    text = "\n".join(",".join([*row, "unit_id" if n == 0 else "77"]) for n, row in enumerate(rows))
    message = ended(Run(tmp_path / "run", address=modbus.address, map=text, start_limit_s=1.0))
    assert "unit 77" in message and "not reached" in message


def test_a_wrong_link_address(tmp_path: Path) -> None:
    device = Dnp3Device(tmp_path / "wire.pcap")
    try:
        setup = {"role": "master", "address": device.address, "map": DNP3_MAP, "dnp3_address": 99, "start_limit_s": 2.0}
        assert "link addresses" in ended(Run(tmp_path / "run", **setup))
    finally:
        device.close()


def test_an_address_that_is_none(tmp_path: Path) -> None:
    assert "'127.0.0.1:port' is no address" in ended(Run(tmp_path / "run", address="127.0.0.1:port"))


class SecuredDevice:
    """Modbus/TCP Security, with a certificate of some age and rights for the role `operator` alone."""

    def __init__(self, authority: Authority, age_days: int) -> None:
        self._thread = LoopThread()
        certificate, key = authority.issue("server", "device", age_days=age_days)
        bank = MemoryBank()
        bank.add(Table.HOLDING, 0, bytes(4))
        bank.add(Table.HOLDING, 10, bytes(6), writable=True)
        bank.add(Table.COIL, 0, b"\0", writable=True)
        rights = {"operator": Rights(functions=frozenset(Function))}
        context = server_context(authority.file, certificate, key)
        self._server = TcpServer(Dispatcher({1: bank}, roles=rights), context=context)
        self._thread.run(self._server.start())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._thread.run(self._server.close())
        self._thread.close()


@pytest.mark.parametrize(
    ("age_days", "role", "server_role", "words"),
    [
        (2, "operator", None, "expired"),
        (0, "viewer", None, "ILLEGAL_FUNCTION"),
        (0, "operator", "relay", "the server's role is 'device', not 'relay'"),
    ],
    ids=["expired certificate", "role without rights", "wrong server"],
)
def test_tls_that_does_not_fit(age_days: int, role: str, server_role: str | None, words: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    device = SecuredDevice(authority, age_days)
    try:
        certificate, key = authority.issue("client", role)
        files = [str(certificate), str(key), str(authority.file), server_role]
        message = ended(Run(tmp_path / "run", address=device.address, tls=files, start_limit_s=1.0))
        assert words.lower().replace("_", " ") in message.lower().replace("_", " "), message
    finally:
        device.close()


def test_a_certificate_that_is_not_there(modbus: ModbusDevice, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("none.pem", "none.key", "authority.pem")]
    assert "there is no file" in ended(Run(tmp_path / "run", address=modbus.address, tls=[*files, None]))


def test_a_solver_that_computes_for_ever_is_noticed_by_its_heartbeat(modbus: ModbusDevice, tmp_path: Path) -> None:
    message = ended(Run(tmp_path / "run", address=modbus.address, burn_s=6.0, solver_limit_ns=500_000_000))
    assert "the solver has been silent for 0.5" in message
    assert any(value == 777 for _, _, address, value in modbus.writes() if address == 10)
