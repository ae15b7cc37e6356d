"""Our outstation and dnp3-python's master, our master and its outstation.

It is an OpenDNP3 2.x beside yadnp3's 3.x, in a CPython 3.10 of its own, run by uv.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dnp3_bench import Bench, play

from protocols.dnp3 import CommandStatus, Flag, PointType

P = PointType
HERE = Path(__file__).parent
INTERPRETER = "GRIDTANDEM_PYTHON310"
"""Environment variable that names a CPython 3.8 to 3.10 where uv does not find one by itself."""


@pytest.fixture(scope="module")
def runner() -> list[str]:
    """The command that runs the peer; skips with what is missing, and the command that would help."""
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        pytest.skip("dnp3-python needs uv: pip install uv")
    interpreter = os.environ.get(INTERPRETER)
    if interpreter is None:
        found = subprocess.run([uv, "python", "find", "3.10"], capture_output=True, text=True, timeout=60, check=False)
        if found.returncode:
            pytest.skip(f"dnp3-python needs CPython 3.10: uv python install 3.10, or set {INTERPRETER} or UV_PYTHON_SEARCH_PATH")
        interpreter = found.stdout.strip()
    command = [uv, "run", "--quiet", "--python", interpreter, "--script"]
    check = [*command, str(HERE / "dnp3_python_master.py"), "--check"]
    ready = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    if ready.returncode:
        pytest.skip(f"dnp3-python cannot be run: {' '.join(check)} says: {ready.stderr.strip()[-300:]}")
    return command


def test_polls_reports_commands_and_time(runner, tmp_path):
    async def scenario(bench: Bench) -> None:
        await bench.peer.wait("value", group=110, index=2)
        for _ in range(500):
            if not bench.outstation.needs_time and bench.outstation.sessions()[0].unsolicited.classes:
                break
            await asyncio.sleep(0.01)
        assert not bench.outstation.needs_time, "set by delay measurement"

        values = {
            (2, 2): (P.BINARY_INPUT, True),
            (4, 2): (P.DOUBLE_BIT_INPUT, 1),
            (11, 2): (P.BINARY_OUTPUT, True),
            (22, 5): (P.COUNTER, 4_000_000_000),
            (23, 5): (P.FROZEN_COUNTER, 7),
            (32, 7): (P.ANALOG_INPUT, 1.25),
            (42, 7): (P.ANALOG_OUTPUT, -2.5),
        }
        for step, (kind, value) in enumerate(values.values()):
            bench.server.update(kind, 1, value, time_ms=1_750_000_000_000 + step, flags=Flag.ONLINE | Flag.REMOTE_FORCED)
        bench.server.update(P.OCTET_STRING, 1, b"text")
        await bench.peer.wait("value", group=111, index=1)
        for step, ((group, variation), (_, value)) in enumerate(values.items()):
            (event,) = await bench.peer.wait("value", group=group, variation=variation)
            assert (event["index"], event["value"], event["time"]) == (1, value, 1_750_000_000_000 + step)
            assert event["flags"] & 0x09 == 0x09

        bench.peer.said.clear()
        await bench.peer.order("scan", classes="0")
        await bench.peer.wait("value", group=110, index=2)
        (static,) = await bench.peer.wait("value", group=30, variation=5, index=1)
        assert static["value"] == 1.25

        async def command(do: str, kind: str, value: str | float, index: int) -> str:
            bench.peer.said.clear()
            await bench.peer.order(do, type=kind, value=value, index=index)
            (result,) = await bench.peer.wait("result")
            assert result["summary"] == "SUCCESS"
            return result["points"][0]["status"]

        assert await command("select", "crob", "LATCH_ON", 0) == "SUCCESS"
        assert await command("direct", "f64", 0.1, 1) == "SUCCESS"
        assert [each.crob.code if each.crob else each.value for each, _ in bench.handler.operated] == [3, 0.1]
        assert await command("select", "crob", "LATCH_ON", 50) == "NOT_SUPPORTED"
        bench.handler.status = CommandStatus.HARDWARE_ERROR
        assert await command("select", "crob", "LATCH_ON", 0) == "HARDWARE_ERROR"
        assert len(bench.handler.operated) == 2

    play(scenario, tmp_path / "bench.pcap", lambda port: [*runner, str(HERE / "dnp3_python_master.py"), str(port)])


def test_our_master_on_its_outstation(runner):
    pytest.importorskip("opendnp3", reason="needs yadnp3: pip install 'gridtandem[hil]'")
    scenario = [sys.executable, str(HERE / "dnp3_master_scenarios.py"), "foreign_outstation"]
    command = [*scenario, *runner, str(HERE / "dnp3_python_outstation.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
