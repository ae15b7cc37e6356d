"""DNP3 over a serial line: every octet is captured, a dry run sends reads alone, and the line may go away and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hil_rig import DNP3_MAP, LoopThread, Run

sys.path.insert(0, str(Path(__file__).parent.parent / "protocols" / "dnp3"))
from dnp3_tshark import TSHARK, WHY_SKIPPED, dissect, judge

from hil.audit_verify import verify_run
from hil.plan import SerialSettings
from hil.point_csv import parse_map
from hil.point_dnp3 import outstation_points
from hil.read_only import Dnp3ReadOnly
from hil.serial_relay import LINE, STACK, SerialRelay
from protocols.dnp3 import Command, CommandStatus, OperateMode, Outstation, OutstationConfig, PointType
from protocols.dnp3.application import Function
from protocols.dnp3.functions import Restart
from protocols.dnp3.link import LinkFrame, LinkParser, Primary
from protocols.dnp3.serial_server import SerialOutstationServer
from protocols.pcap import read_segments, streams

READING = {int(Function.READ), int(Function.CONFIRM)}
SETTINGS = SerialSettings(9600, "N", 1)


class Line:
    """An outstation on a pseudo terminal, which takes every command and remembers which functions it was sent."""

    def __init__(self) -> None:
        self._thread = LoopThread()
        self.asked: list[int] = []
        self.operated: list[tuple[int, Command]] = []
        self._parser = LinkParser()
        self._thread.run(self._open())

    async def _open(self) -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        self._ends = ours, theirs
        config = OutstationConfig(address=10, keep_alive_s=None, warm_restart_s=0.1)
        points, clock = outstation_points(parse_map(DNP3_MAP)), time.monotonic_ns
        outstation = Outstation(config, points, clock=clock, handler=self, start_time_ms=time.time_ns() // 1_000_000)
        self.server = SerialOutstationServer(outstation, fd=ours, tap=self._heard)
        await self.server.start()
        self.server.update(PointType.BINARY_INPUT, 0, True)
        self.server.update(PointType.ANALOG_INPUT, 0, 321.0)

    @property
    def path(self) -> str:
        return os.ttyname(self._ends[1])

    def _heard(self, sender: tuple[str, int], receiver: tuple[str, int], octets: bytes) -> None:
        frames = self._parser.feed(octets)  # both ways: a line has no addresses
        self.asked += [frame.user_data[2] for frame in frames if frame.user_data and frame.from_master]

    def select(self, command: Command) -> CommandStatus:
        return CommandStatus.SUCCESS

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        self.operated.append((time.time_ns(), command))
        return CommandStatus.SUCCESS

    def restart(self) -> None:
        """As after a short failure of its supply: on a line nobody hangs up."""

        async def restarted() -> None:
            self.server.outstation.begin_restart(Restart.WARM)
            self.server.poke()

        self._thread.run(restarted())

    def close(self) -> None:
        self._thread.run(self.server.close())
        self._thread.close()
        for end in self._ends:
            os.close(end)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


COMMANDS = [(1.0, {"action": "control", "point": "breaker", "code": "close"})]


def functions_of(pcap: Path) -> list[int]:
    """Functions sent to the device, by the capture in the run directory, and by tshark where there is one."""
    octets = streams(read_segments(pcap))[STACK, LINE]
    ours = [frame.user_data[2] for frame in LinkParser().feed(octets) if frame.user_data]
    if TSHARK is not None:
        rows = dissect(pcap, "dnp3 && dnp3.ctl.prm == 1 && dnp3.ctl.dir == 1", ("dnp3.al.func",))
        assert [int(code, 0) for row in rows for code in row.get("dnp3.al.func", [])] == ours
    return ours


def test_a_dry_run_sends_reads_alone(line: Line, tmp_path: Path) -> None:
    run = Run(tmp_path / "dry", role="master", address=line.path, live=False, commands=COMMANDS, stop_s=3.0)
    outcome = run.outcome()
    assert outcome["exit_code"] == 0, outcome
    pcap = run.run_dir / "hil" / "dev.pcap"
    assert judge(pcap) > 20
    assert set(functions_of(pcap)) == set(line.asked) == READING
    assert line.operated == []
    rows = pq.read_table(run.run_dir / "hil" / "dev.exchanges.parquet").to_pandas()
    polls = rows[(rows.kind == "poll") & (rows.t_ns > 0)]
    assert (polls.outcome == "ok").mean() > 0.9, "and the master polls as ever"
    known = rows[rows.clock_uncertainty_ns >= 0]
    assert len(known) and (known.clock_offset_ns.abs() < known.clock_uncertainty_ns + 5e6).all()


def test_a_live_run_is_captured_whole(line: Line, tmp_path: Path) -> None:
    run = Run(tmp_path / "live", role="master", address=line.path, commands=COMMANDS, stop_s=20.0)
    try:
        run.wait_until_running()
        time.sleep(2.0)
        struck_ns = time.time_ns()
        os.kill(run.solver_pid, signal.SIGKILL)
        assert run.outcome()["exit_code"] == 3
    finally:
        run.close()
    codes = [(t_ns, command.crob.code if command.crob else command.value) for t_ns, command in line.operated]
    assert [code for _, code in codes[-2:]] == [0x81, 777.0]
    assert (codes[-1][0] - struck_ns) / 1e9 < 0.25
    pcap = run.run_dir / "hil" / "dev.pcap"
    assert judge(pcap) > 50
    sent = functions_of(pcap)
    assert sent == line.asked, "nothing passed the capture by"
    for function in (Function.SELECT, Function.OPERATE, Function.DIRECT_OPERATE, Function.ENABLE_UNSOLICITED):
        assert function in sent
    (found,) = verify_run(run.run_dir)
    assert found.problems == []


def test_a_device_that_restarted_gets_its_fallback_before_it_may_follow_again(line: Line, tmp_path: Path) -> None:
    """It holds nothing of what it was told, and what does not change would not be sent again."""
    setup = {"on_fault": "continue", "on_reconnect": "rearm", "stop_s": 6.0}
    run = Run(tmp_path / "live", role="master", address=line.path, **setup)
    try:
        run.wait_until_running()
        time.sleep(2.0)
        assert not [row for row in run.audit() if row["kind"] == "fall"], "its restart before the run is none"
        count = len(line.operated)
        line.restart()
        assert run.outcome()["exit_code"] == 0
    finally:
        run.close()
    values = [command.value for _, command in line.operated[count:]]
    at = values.index(777.0)
    assert at < 10 and any(value not in (None, 777.0) for value in values[at + 1 :])
    lost, over = [row["cause"] for row in run.audit() if row["kind"] == "fall"]
    assert "or restarted" in lost and over == "the run is over"


def request(function: int, sequence: int = 0) -> bytes:
    data = bytes((0xC0, 0xC0 | sequence, function, 60, 2, 6))
    return LinkFrame(10, 1, Primary.UNCONFIRMED_USER_DATA, from_master=True, user_data=data).encode()


def test_octets_pass_as_they_come_each_with_its_time(tmp_path: Path) -> None:
    """One octet at a time, as a slow line brings them: all of them, in order, and nothing held back until a frame is whole."""

    async def scene() -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        taps: list[tuple[tuple[str, int], bytes, int]] = []
        relay = SerialRelay(os.ttyname(theirs), SETTINGS, tap=lambda a, b, octets, t_ns: taps.append((a, octets, t_ns)))
        stack = os.open(await relay.start(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        assert relay.connected == 1
        os.write(stack, request(Function.READ))
        await asyncio.sleep(0.05)
        assert os.read(ours, 4096) == request(Function.READ)
        answer = bytes(range(40))
        for octet in answer:
            os.write(ours, bytes((octet,)))
            await asyncio.sleep(0.002)
        assert os.read(stack, 4096) == answer
        assert b"".join(octets for sender, octets, _ in taps if sender == LINE) == answer
        times = [t_ns for sender, _, t_ns in taps if sender == LINE]
        assert times == sorted(times) and times[-1] - times[0] > 40e6
        await relay.close()
        for end in (stack, ours, theirs):
            os.close(end)

    asyncio.run(scene())


def test_a_gate_holds_on_a_serial_line_too() -> None:
    async def scene() -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        relay = SerialRelay(os.ttyname(theirs), SETTINGS, tap=lambda *row: None, gate=Dnp3ReadOnly)
        stack = os.open(await relay.start(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(stack, request(Function.WRITE) + request(Function.READ))
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            os.read(ours, 4096)
        assert "WRITE" in relay.last_error
        os.write(stack, request(Function.ENABLE_UNSOLICITED, 5) + request(Function.READ, 6))
        await asyncio.sleep(0.05)
        assert os.read(ours, 4096) == request(Function.READ, 6)
        (answer,) = LinkParser().feed(os.read(stack, 4096))
        assert answer.user_data == bytes((0xC0, 0xC5, Function.RESPONSE, 0, 0))
        await relay.close()
        for end in (stack, ours, theirs):
            os.close(end)

    asyncio.run(scene())


def test_a_line_that_is_pulled_out_is_opened_again(tmp_path: Path) -> None:
    """The path is a link, as udev makes them: another device may be behind it afterwards."""

    async def until(done: object, what: str) -> None:
        async with asyncio.timeout(5):
            while not done():  # type: ignore[operator]
                await asyncio.sleep(0.02)

    async def scene() -> None:
        path = tmp_path / "tty"
        relay = SerialRelay(str(path), SETTINGS, tap=lambda *row: None)
        stack = os.open(await relay.start(), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        assert relay.connected == 0 and "No such file" in relay.last_error
        for turn in (1, 2):
            ours, theirs = os.openpty()
            tty.setraw(theirs)
            path.unlink(missing_ok=True)
            path.symlink_to(os.ttyname(theirs))
            await until(lambda: relay.connected, "open")
            os.write(stack, b"hello")
            await asyncio.sleep(0.05)
            assert os.read(ours, 100) == b"hello"
            os.close(theirs)
            os.close(ours)
            await until(lambda: not relay.connected, "lost")
            assert relay.hang_ups == turn and str(path) in relay.last_error
            os.write(stack, b"for nobody")
            await asyncio.sleep(0.05)
        await relay.close()
        os.close(stack)

    asyncio.run(scene())


def test_a_rate_that_the_line_does_not_make_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Failed to set custom baud rate (12345)")  # what pyserial raises

    async def scene() -> None:
        relay = SerialRelay("/dev/ttyNone", SerialSettings(12345, "N", 1), tap=lambda *row: None)
        monkeypatch.setattr("hil.serial_relay.serial.Serial", refuse)
        await relay.start()
        assert not relay.connected and "custom baud rate (12345)" in relay.last_error
        await asyncio.sleep(0.3)
        assert relay._pause_s > 0.5, "it was tried again"
        await relay.close()

    asyncio.run(scene())


@pytest.mark.skipif(TSHARK is None, reason=WHY_SKIPPED)
def test_tshark_reads_frames_that_came_in_pieces(tmp_path: Path) -> None:
    from hil.exchanges import ExchangeRecorder

    record = ExchangeRecorder(tmp_path, "dev", {})
    for k, function in enumerate((Function.READ, Function.SELECT, Function.CONFIRM)):
        octets = request(function, k)
        for at in range(0, len(octets), 5):
            record.capture(STACK, LINE, octets[at : at + 5], (k + 1) * 10**9 + at)
    record.close()
    pcap = tmp_path / "hil" / "dev.pcap"
    assert functions_of(pcap) == [Function.READ, Function.SELECT, Function.CONFIRM]
    assert dissect(pcap, "dnp3.hdr.CRC.incorrect || dnp3.data_chunk.CRC.incorrect || _ws.malformed") == []
