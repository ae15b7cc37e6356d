"""`run_cosim.py device`: probe, watch, map and stand-in, and every error a user can make."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rtu_bench import BREAKER, IedDevice
from tls_files import Authority

import run_cosim
from hil.cli_device import _units
from hil.devices.meter import METER_MAP
from hil.devices.process import StandIn
from hil.point_csv import COLUMNS, load_map, map_text, parse_map
from hil.point_dnp3 import outstation_points
from protocols.dnp3 import Outstation, OutstationConfig
from protocols.dnp3.serial_server import SerialOutstationServer
from protocols.dnp3.server import OutstationServer, tls_context
from protocols.modbus import Dispatcher, Function, MemoryBank, Rights, Table, TcpServer, server_context

ROOT = Path(run_cosim.__file__).parent


class Background:
    """An event loop in a thread, for servers that answer while the command runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, function: Callable[[], None]) -> None:
        """Runs a function in the loop, and returns when it has."""

        async def work() -> None:
            function()

        self.run(work())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def background() -> Iterator[Background]:
    loop = Background()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def inverter() -> Iterator[StandIn]:
    with StandIn("inverter") as process:
        yield process


@pytest.fixture(scope="module")
def meter() -> Iterator[StandIn]:
    with StandIn("meter", ["--baud", "115200"]) as process:
        yield process


@pytest.fixture
def ied(background: Background) -> Iterator[tuple[IedDevice, str]]:
    device = IedDevice(parse_map(BREAKER))
    port = background.run(device.start())
    yield device, f"dnp3://127.0.0.1:{port}/10"
    background.run(device.server.close())


def device(*arguments: str) -> int:
    return run_cosim.main(["device", *arguments])


# -- probe


def test_probe_finds_units_models_and_ranges(inverter: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "found.csv"
    assert device("probe", f"modbus://127.0.0.1:{inverter.ready['port']}", "--units", "1-2,200", "--write-map", str(file)) == 0
    shown = capsys.readouterr().out
    assert "SunSpec map at 40000" in shown and "705" in shown and "holding 0-5." in shown and "No answer from units 2." in shown
    found = load_map(file)
    assert found.point("701.W").scale_factor == "701.W_SF" and not found.writes and len(found.points) > 400
    assert device("watch", inverter.ready["address"], "--map", str(file), "--count", "1") == 0
    assert "stand-in inverter" in capsys.readouterr().out


def test_probe_of_a_serial_line_samples_ranges(meter: StandIn, capsys: pytest.CaptureFixture[str]):
    assert device("probe", meter.ready["address"], "--last", "199") == 0
    assert "holding 100-101, input 0-25, input 40-44." in capsys.readouterr().out.replace("\n", " ")


def test_probe_says_when_it_did_not_look_everywhere(meter: StandIn, capsys: pytest.CaptureFixture[str]):
    assert device("probe", meter.ready["address"], "--last", "199", "--requests", "30") == 0
    assert "Not all addresses were looked at" in capsys.readouterr().out


def test_probe_of_an_outstation_changes_nothing(
    ied: tuple[IedDevice, str], background: Background, capsys: pytest.CaptureFixture[str]
):
    breaker, address = ied
    background.call(lambda: breaker.show("closed", True))
    assert device("probe", address) == 0
    shown = capsys.readouterr().out
    assert "binary input" in shown and "device restart" in shown and "need time" in shown and "Events wait in classes: 1" in shown
    session = breaker.server.outstation.sessions()[0]
    assert session.restart_iin and breaker.server.outstation.needs_time and session.buffer.waiting(1) == 1


def test_watch_shows_values_quality_and_age(ied: tuple[IedDevice, str], background: Background, tmp_path: Path, capsys: Any):
    breaker, address = ied
    background.call(lambda: breaker.show("p_w", 123_400.0))
    (tmp_path / "brk.csv").write_text(BREAKER)
    assert device("watch", address, "--map", str(tmp_path / "brk.csv"), "--count", "2", "--period", "0.1") == 0
    lines = capsys.readouterr().out.splitlines()
    (p_w, _), (closed, _) = ([line for line in lines if f" {name} " in line] for name in ("p_w", "closed"))
    assert [cell.strip() for cell in p_w.split("│")[1:6]] == ["p_w", "123400", "W", "good", "0.0"]
    assert closed.split("│")[4].strip() == "restart", "it has had no value since its start"


def test_a_watch_survives_silence_and_the_return(meter: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "meter.csv").write_text(map_text(METER_MAP))
    line = ["watch", meter.ready["address"], "--map", str(tmp_path / "meter.csv"), "--period", "0.3", "--timeout", "0.2"]
    threading.Timer(0.5, lambda: meter.order("silence", for_s=2.0)).start()
    assert device(*line, "--count", "12") == 0
    rows = [row.split("│")[4].strip() for row in capsys.readouterr().out.splitlines() if " v_a_v " in row]
    assert rows[0] == rows[-1] == "good" and "stale" in rows and "stale|lost" not in rows[:2] and any("lost" in row for row in rows)


def test_ctrl_c_ends_a_watch_cleanly(inverter: StandIn, tmp_path: Path):
    from hil.devices.inverter_map import inverter_map

    (tmp_path / "inverter.csv").write_text(map_text(inverter_map()))
    address = f"modbus://127.0.0.1:{inverter.ready['port']}"
    command = [sys.executable, str(ROOT / "run_cosim.py"), "device", "watch", address, "--map", str(tmp_path / "inverter.csv")]
    process = subprocess.Popen(
        [*command, "--period", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    while "Ctrl-C ends" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out.endswith("ended\n") and not err


# -- map and stand-in


def test_map_checks_a_map_and_converts_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "brk.csv").write_text(BREAKER)
    assert device("map", str(tmp_path / "brk.csv")) == 0
    assert "good; dnp3, 2 points to read, 2 to write" in capsys.readouterr().out
    point = "<analogInputPoints><analogInput><index>4</index><name>P</name><units>kW</units></analogInput></analogInputPoints>"
    (tmp_path / "p.xml").write_text(
        f"<DNP3DeviceProfileDocument><dataPointsList>{point}</dataPointsList></DNP3DeviceProfileDocument>"
    )
    assert device("map", str(tmp_path / "p.xml")) == 0
    assert capsys.readouterr().out == "name,table,address,scale,unit\nP,analog_input,4,1000.0,W\n"
    (tmp_path / "bad.csv").write_text("name,table,address\na,holding,x\n")
    assert device("map", str(tmp_path / "bad.csv")) == 2
    assert f"{tmp_path}/bad.csv:2: address: 'x' is no whole number" in capsys.readouterr().err


def test_map_explains_every_column(capsys: pytest.CaptureFixture[str]):
    assert device("map") == 0
    shown = capsys.readouterr().out
    assert all(f" {column.name} " in shown for column in COLUMNS)


@pytest.mark.parametrize("name", ["inverter", "meter"])
def test_a_stand_in_prints_its_map(name: str, capsys: pytest.CaptureFixture[str]):
    assert device("stand-in", name, "--map") == 0
    assert parse_map(capsys.readouterr().out).points


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, str(ROOT / "run_cosim.py"), "device", "stand-in", "inverter", "--port", str(port)],
            capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.returncode == 4 and f"cannot listen on 127.0.0.1:{port}" in done.stderr and "address already in use" in done.stderr


# -- errors


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("modbus://127.0.0.1:{closed}", 4, "Connect call failed"),
        ("dnp3://127.0.0.1:{closed}", 4, "Connect call failed"),
        ("modbus+rtu:///dev/no-such-line", 4, "No such file"),
        ("dnp3+serial:///dev/no-such-line", 4, "No such file"),
        ("modbus://127.0.0.1:{inverter}/7", 4, "unit 7 does not answer: exception 11"),
        ("dnp3://127.0.0.1:{inverter}", 4, "it is no DNP3 outstation, or another master"),
        ("modbus+tls://127.0.0.1:{closed}?ca=/no/ca&cert=/no/cert&key=/no/key", 4, "there is no file /no/cert"),
        ("modbus+tls://127.0.0.1:{closed}", 2, "ca, cert, key missing"),
        ("http://127.0.0.1", 2, "is no address of a device; begin it with modbus://"),
        ("modbus://", 2, "names no host"),
        ("modbus://127.0.0.1:99999", 2, "Port out of range"),
        ("modbus://127.0.0.1/300", 2, "the unit is '300'; write 0 to 255"),
        ("dnp3://127.0.0.1/x", 2, "the outstation is 'x'; write 0 to 65519"),
        ("dnp3://127.0.0.1?baud=9600", 2, "dnp3 has no baud; it takes master"),
        ("modbus+rtu://dev/tty", 2, "with three slashes"),
        ("modbus+rtu:///dev/tty?parity=X", 2, "parity is 'X'; write N, E or O"),
    ],
)
def test_an_error_has_one_message_and_its_code(
    address: str, code: int, said: str, inverter: StandIn, capsys: pytest.CaptureFixture[str]
):
    assert device("probe", address.format(closed=closed_port(), inverter=inverter.ready["port"]), "--timeout", "0.5") == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "Traceback" not in err


def test_a_wrong_link_address(ied: tuple[IedDevice, str], capsys: pytest.CaptureFixture[str]):
    _, address = ied
    for wrong in (address.replace("/10", "/12"), f"{address}?master=9"):
        assert device("probe", wrong, "--timeout", "0.3") == 4
        assert "check both link addresses" in capsys.readouterr().err


def test_a_map_that_does_not_fit(inverter: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "brk.csv").write_text(BREAKER)
    (tmp_path / "u9.csv").write_text("name,table,address,type,unit_id\na,holding,1,u16,9\n")
    assert device("watch", inverter.ready["address"], "--map", str(tmp_path / "brk.csv")) == 2
    assert "is a map of dnp3, and" in capsys.readouterr().err
    assert device("watch", inverter.ready["address"], "--map", str(tmp_path / "u9.csv")) == 2
    assert "u9.csv:2: unit_id: is 9, and the address names 1" in capsys.readouterr().err
    assert device("watch", inverter.ready["address"], "--map", str(tmp_path / "none.csv")) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_units_as_text():
    assert _units("1-3,247,2") == [1, 2, 3, 247] and _units("") == []
    with pytest.raises(ValueError, match="--units '1-x'"):
        _units("1-x")


# -- TLS


@pytest.fixture
def secured(background: Background, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes the address of a secured server: of a server certificate's age, for a client of a role and age."""
    authority = Authority(tmp_path)
    servers: list[TcpServer] = []

    def address(role: str = "Viewer", *, client_days: int = 0, server_days: int = 0) -> str:
        certificate, key = authority.issue("server", "Device", age_days=server_days)
        bank = MemoryBank()
        bank.add(Table.HOLDING, 0, struct.pack(">4H", 1, 2, 3, 4))
        rights = {"Viewer": Rights(frozenset({Function.READ_HOLDING_REGISTERS})), "Nobody": Rights(frozenset())}
        server = TcpServer(Dispatcher({1: bank}, roles=rights), context=server_context(authority.file, certificate, key))
        background.run(server.start())
        servers.append(server)
        files = authority.issue("client", role, age_days=client_days)
        return f"modbus+tls://127.0.0.1:{server.port}/1?ca={authority.file}&cert={files[0]}&key={files[1]}"

    yield address
    for server in servers:
        background.run(server.close())


def test_a_secured_device(secured: Callable[..., str], capsys: pytest.CaptureFixture[str]):
    assert device("probe", secured(), "--last", "20") == 0
    shown = capsys.readouterr().out
    assert "server role 'Device'" in shown and "holding 0-3." in shown and "Not there: coil, discrete, input" in shown


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"role": "Nobody"}, "every function that reads is refused as illegal; has the role in this certificate any rights there?"),
        ({"server_days": 3}, "certificate has expired"),
        ({"client_days": 3}, "does it accept this client's certificate?"),
    ],
)
def test_what_a_certificate_can_be_refused_for(secured: Callable[..., str], settings: dict[str, Any], said: str, capsys: Any):
    assert device("probe", secured(**settings), "--last", "20") == 4
    assert said in capsys.readouterr().err


def test_an_outstation_behind_tls(background: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    authority = Authority(tmp_path)
    good, expired = authority.issue("good", "x"), authority.issue("expired", "x", age_days=3)
    for served, code, said in ((good, 0, "binary input"), (expired, 4, "certificate has expired")):
        outstation = Outstation(OutstationConfig(), outstation_points(parse_map(BREAKER)), clock=time.monotonic_ns)
        server = OutstationServer(outstation, port=0, ssl_context=tls_context(*served, authority.file))
        _, port = background.run(server.start())
        files = f"ca={authority.file}&cert={good[0]}&key={good[1]}"
        assert device("probe", f"dnp3+tls://127.0.0.1:{port}?{files}") == code
        assert said in "".join(capsys.readouterr())
        background.run(server.close())


def test_an_outstation_on_a_serial_line(background: Background, capsys: pytest.CaptureFixture[str]):
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    outstation = Outstation(OutstationConfig(address=4), outstation_points(parse_map(BREAKER)), clock=time.monotonic_ns)
    server = SerialOutstationServer(outstation, fd=ours)
    background.run(server.start())
    address = f"dnp3+serial://{os.ttyname(theirs)}?baud=9600&outstation=4"
    assert device("probe", address) == 0
    assert "analog output" in capsys.readouterr().out
    assert device("probe", f"{address}&parity=E") == 4
    assert "does not take 9600 baud, parity E" in capsys.readouterr().err
    background.run(server.close())
    os.close(ours)
    os.close(theirs)


def test_nothing_is_ever_written(background: Background, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A device that would take any write is asked for everything, with a map full of commands."""
    functions: list[int] = []

    class Listening(Dispatcher):
        def answer(self, unit: int, pdu: bytes, role: str | None = None) -> bytes | None:
            functions.append(pdu[0])
            return super().answer(unit, pdu, role)

    bank = MemoryBank()
    bank.add(Table.HOLDING, 0, bytes(400), writable=True)
    bank.add(Table.COIL, 0, bytes(50), writable=True)
    server = TcpServer(Listening({1: bank}))
    background.run(server.start())
    head = "name,table,address,type,direction,min,max,fallback\n"
    (tmp_path / "m.csv").write_text(head + "a,holding,5,f32,write,0,1,value=0\nb,coil,3,,write,,,value=0\nc,holding,9,u16,,,,\n")
    address = f"modbus://127.0.0.1:{server.port}/1"
    assert device("probe", address, "--thorough", "--last", "300") == 0
    assert "coil 0-49, holding 0-199." in capsys.readouterr().out
    assert device("watch", address, "--map", str(tmp_path / "m.csv"), "--count", "3", "--period", "0.05") == 0
    background.run(server.close())
    assert set(functions) == {1, 2, 3, 4}


def test_help_is_quick():
    """Nothing heavy is loaded to show the commands."""
    heavy = ("pymodbus", "opendnp3", "rich", "numpy")
    code = f"import sys, run_cosim; run_cosim.parser(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
