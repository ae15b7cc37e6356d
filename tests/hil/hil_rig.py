"""A bench without a scenario: a device in this process, captured on the wire, and a supervised run in a process of its own.

`python -m hil_rig RUN_DIR` is the run: a plant whose power is a sine, and the device `dev` wired to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federates.runtime import supervisor
from federates.runtime.federate import MS_NS, S_NS, Companion, Federation, Injection, Link, Spec, Step
from federates.runtime.port import Inputs, Outputs, Port
from hil.bridge import Bridge
from hil.plan import DevicePlan, GatekeeperPlan, Interlock, OnFault, OnReconnect, Policy, Role, TlsSettings
from hil.point_csv import parse_map
from hil.points import PointMap
from hil.relay import Relay
from hil.safety import Warrant
from protocols.dnp3 import Command, CommandStatus, OperateMode, Outstation, OutstationConfig, PointType
from protocols.dnp3.server import OutstationServer
from protocols.modbus import Dispatcher, MemoryBank, Table, TcpServer
from protocols.pcap import CaptureWriter, read_segments

PERIOD_NS = 50 * MS_NS
MODBUS_MAP = """\
name,signal,direction,table,address,type,unit,min,max,rate_per_s,min_interval_s,fallback,deadband
measured,,read,holding,0,u16,W,,,,,,
earthed,,read,holding,1,u16,1,,,,,,
power,plant.p_w,write,holding,10,u16,W,0,2000,,,value=777,1
valve,,write,coil,0,,1,,,,0.5,value=0,
limit,,write,holding,11,u16,W,0,100,50,,hold,
hand,,write,holding,12,u16,1,0,1,,,release=1,
"""
DNP3_MAP = """\
name,signal,direction,table,address,type,unit,min,max,codes,operate,fallback,deadband
closed,,read,binary_input,0,,1,,,,,,
measured,,read,analog_input,0,,W,,,,,,
breaker,,write,binary_output,0,,1,,,trip|close,sbo,value=0,
power,plant.p_w,write,analog_output,0,f32,W,0,2000,,direct,value=777,1
"""
FALLBACK_W = 777


@dataclass(frozen=True)
class Sine:
    pid_file: str
    burn_s: float = 0.0
    period_ns: int = PERIOD_NS


class Plant:
    """Gives 1000 W and a sine of 500 W; leaves its process's number in a file; computes for `burn_s` in every step."""

    def __init__(self, params: Sine) -> None:
        self.period_ns = params.period_ns
        self.inputs = ()
        self.outputs = (Port("p_w", "W", (), "a sine"),)
        self._pid_file, self._burn_s = params.pid_file, params.burn_s

    def start(self, t_ns: int) -> Outputs:
        Path(self._pid_file).write_text(str(os.getpid()))
        return {"p_w": [1000.0]}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        end_s = time.thread_time() + self._burn_s
        while time.thread_time() < end_s:
            pass
        return Step({"p_w": [round(1000.0 + 500.0 * math.sin(t_ns / S_NS))]})

    def stop(self) -> None: ...


def federation(run_dir: Path, setup: dict[str, Any]) -> Federation:
    """The run that a setup describes."""
    role, period_ns = Role(setup.get("role", "client")), setup.get("period_ns", PERIOD_NS)
    points: PointMap = parse_map(setup.get("map", MODBUS_MAP if role is Role.CLIENT else DNP3_MAP))
    device = DevicePlan(
        name="dev",
        role=role,
        address=setup["address"],
        points=points,
        period_ns=period_ns,
        policy=Policy(setup.get("policy", "skip")),
        on_fault=OnFault(setup.get("on_fault", "abort")),
        on_reconnect=OnReconnect(setup.get("on_reconnect", "safe")),
        lease_s=setup.get("lease_s", 60.0),
        stale_ns=150 * MS_NS,
        silence_ns=S_NS,
        timeout_s=0.2,
        start_limit_s=setup.get("start_limit_s", 3.0),
        dnp3_address=setup.get("dnp3_address", 10),
        tls=TlsSettings(*setup["tls"]) if "tls" in setup else None,
        interlocks=tuple(Interlock(*each) for each in setup.get("interlocks", ())),
    )
    warrant = Warrant("A Tester") if setup.get("live", True) else None
    plan = GatekeeperPlan("dev", (device,), Path(setup["stop_file"]), warrant, setup.get("solver_limit_ns", S_NS))
    bridge = Bridge("dev", points, role, period_ns, device.stale_ns, device.silence_ns)
    return Federation(
        name="rig",
        stop_ns=round(setup.get("stop_s", 30.0) * S_NS),
        specs=(
            Spec("plant", "hil_rig:Plant", Sine(str(run_dir / "solver.pid"), setup.get("burn_s", 0.0), period_ns)),
            Spec("dev", "hil.bridge:BridgeFederate", bridge),
        ),
        links=(Link("plant", "p_w", "dev", "p_w"),) if role.commands and any(point.signal for point in points.writes) else (),
        injections=tuple(Injection(round(t_s * S_NS), "dev", "command", payload) for t_s, payload in setup.get("commands", ())),
        real_time=True,
        companions=(Companion("gate_dev", "hil.gatekeeper:serve", plan),),
    )


class Run:
    """The supervised run, in a process of its own; `outcome` is what it ended with."""

    def __init__(self, run_dir: Path, **setup: Any) -> None:
        self.run_dir = run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
        self.stop_file = run_dir.parent / "EMERGENCY_STOP"
        (run_dir / "setup.json").write_text(json.dumps({"stop_file": str(self.stop_file), **setup}))
        path = os.pathsep.join((str(Path(__file__).parent), os.getcwd()))
        env = {**os.environ, "PYTHONPATH": path, "GRIDTANDEM_AUDIT_KEY": str(run_dir.parent / "key.pem")}
        command = [sys.executable, "-m", "hil_rig", str(run_dir)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def wait_until_running(self, limit_s: float = 40.0) -> None:
        """Until records show that the solver steps."""
        end_s = time.monotonic() + limit_s
        while not (self.run_dir / "pace.json").exists():
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"the run did not start: {self.process.communicate()}")
            time.sleep(0.02)

    @property
    def solver_pid(self) -> int:
        return int((self.run_dir / "solver.pid").read_text())

    @property
    def gatekeeper_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if b"runtime.companion" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def outcome(self, limit_s: float = 60.0) -> dict[str, Any]:
        """How the run ended."""
        out, err = self.process.communicate(timeout=limit_s)
        assert out.strip(), err
        return dict(json.loads(out.strip().splitlines()[-1]))

    def audit(self) -> list[dict[str, Any]]:
        """The audit log so far."""
        text = (self.run_dir / "audit" / "dev.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class LoopThread:
    """An event loop in a thread, for a device in the test's own process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """At real-time priority where that is allowed: what is judged is when octets are on the wire, not when this thread was
        given the processor to note it."""
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
        self.loop.run_forever()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20.0)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class WiredDevice:
    """A device behind a relay of the test's own, which captures what is on the wire into `pcap`."""

    def __init__(self, pcap: Path) -> None:
        self.pcap = pcap
        self._thread = LoopThread()
        self._writer = CaptureWriter(pcap)
        self._port = 0
        self._thread.run(self._open())

    async def _serve(self) -> tuple[str, int]:
        raise NotImplementedError

    async def _open(self) -> None:
        inner = await self._serve()
        self._relay = Relay(inner, tap=self._writer.write, listen=("127.0.0.1", self._port), faces_device=False)
        _, self._port = await self._relay.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def cut(self) -> None:
        """The network goes away."""
        self._thread.run(self._relay.close())

    def hang_up(self) -> None:
        """Every connection is closed; a new one is taken at once."""

        async def hung_up() -> None:
            for line in list(self._relay._lines):
                line.cancel()

        self._thread.run(hung_up())

    def restore(self) -> None:
        """And comes back."""

        async def again() -> None:
            await self._relay.start()

        self._relay._listen = ("127.0.0.1", self._port)
        self._thread.run(again())

    def requests(self) -> list[tuple[int, bytes]]:
        """(UTC in ns, octets) of everything that came to the device, by the capture."""
        self._writer.flush()
        segments = read_segments(self.pcap)
        return [(each.t_ns, each.payload) for each in segments if each.payload and each.destination[1] == self._port]

    def close(self) -> None:
        self._thread.run(self._relay.close())
        self._thread.run(self._shut())
        self._thread.close()
        self._writer.close()

    async def _shut(self) -> None: ...


class _Mute(Dispatcher):
    """Hears everything, does nothing and says nothing."""

    def __init__(self) -> None:
        super().__init__({1: MemoryBank()})

    def answer(self, unit: int, pdu: bytes, role: str | None = None) -> bytes | None:
        return None


class ModbusDevice(WiredDevice):
    """Registers and a coil, as the map has them."""

    async def _serve(self) -> tuple[str, int]:
        self.bank = MemoryBank()
        self.bank.add(Table.HOLDING, 0, (321).to_bytes(2, "big") + (0).to_bytes(2, "big"))
        self.bank.add(Table.HOLDING, 10, bytes(6), writable=True)
        self.bank.add(Table.COIL, 0, b"\1", writable=True)
        self.server = TcpServer(Dispatcher({1: self.bank}))
        await self.server.start()
        return "127.0.0.1", self.server.port

    def mute(self, *, muted: bool) -> None:
        """The device keeps its connections and says nothing."""

        async def change() -> None:
            self.server.dispatcher = _Mute() if muted else Dispatcher({1: self.bank})

        self._thread.run(change())

    def writes(self) -> list[tuple[int, int, int, int]]:
        """(UTC in ns, function, address, first value) of each write request on the wire."""
        found = []
        for t_ns, octets in self.requests():
            while len(octets) >= 12:
                length = 6 + int.from_bytes(octets[4:6], "big")
                frame, octets = octets[:length], octets[length:]
                function, address = frame[7], int.from_bytes(frame[8:10], "big")
                if function in (5, 6):
                    found.append((t_ns, function, address, int.from_bytes(frame[10:12], "big")))
                elif function in (15, 16, 22, 23):
                    found.append((t_ns, function, address, int.from_bytes(frame[13:15], "big")))
        return found

    async def _shut(self) -> None:
        await self.server.close()


class Dnp3Device(WiredDevice):
    """Our outstation, which takes every command."""

    async def _serve(self) -> tuple[str, int]:
        from hil.point_dnp3 import outstation_points

        self.operated: list[tuple[int, Command]] = []
        config = OutstationConfig(address=10, keep_alive_s=None)
        self.outstation = Outstation(
            config,
            outstation_points(parse_map(DNP3_MAP)),
            clock=time.monotonic_ns,
            handler=self,
            start_time_ms=time.time_ns() // MS_NS,
        )
        self.server = OutstationServer(self.outstation, port=0)
        address = await self.server.start()
        self.server.update(PointType.BINARY_INPUT, 0, True)
        self.server.update(PointType.ANALOG_INPUT, 0, 321.0)
        return address

    def select(self, command: Command) -> CommandStatus:
        return CommandStatus.SUCCESS

    def operate(self, command: Command, mode: OperateMode) -> CommandStatus:
        self.operated.append((time.time_ns(), command))
        return CommandStatus.SUCCESS

    async def _shut(self) -> None:
        await self.server.close()


def main(run_dir: Path) -> None:
    setup = json.loads((run_dir / "setup.json").read_text())
    outcome = supervisor.run(federation(run_dir, setup), run_dir, setup.get("runner", "local"))
    print(json.dumps({"exit_code": outcome.exit_code, "message": outcome.message, "reached_ns": outcome.reached_ns}))


if __name__ == "__main__":
    from hil_rig import main as imported_main  # parameters travel to other processes by the name of their module

    imported_main(Path(sys.argv[1]))
