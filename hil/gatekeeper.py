"""The gatekeeper: a process that alone owns the connections of a device, or of a group of devices that fail together.

Its life: make the shared memory, open the devices, pass the self test (SAFE -> READY), take the lease of a live run (ARMED), run
beside the solver (RUN), and at the end of the run, the solver, the supervisor, the lease, the connection or the patience of a
person (emergency stop) send the fallback of every point, and write it into the audit log after. It polls on a grid of its own,
which the kernel keeps.

Asked to stop by a signal: SIGTERM, SIGINT and SIGHUP end it in good order; SIGUSR2 is the emergency stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from federates.runtime.companion import CompanionFailure, Host
from hil.audit import FOLDER, AuditError, AuditLog
from hil.channel import Word
from hil.drivers.base import DeviceError, Master, Outstation
from hil.endpoints import modbus_address, tcp_address, tls_client, tls_server
from hil.hold import Holds
from hil.master_wire import MasterWire
from hil.plan import DevicePlan, GatekeeperPlan, OnFault, Role
from hil.priority import take_precedence
from hil.safety import EmergencyStop, SafetyError
from hil.vigil import LOOK_S, Vigil
from hil.wire import OutstationWire, Surroundings

_ADDRESS_LIMIT_S = 20.0
_FALL_LIMIT_S = 3.0
_FALL_MOST_S = 30.0
"""At the end: how long no fallback may be answered and no record made, and how long it may take in all. Many points over a slow
line take as long as they take."""
_SUPERVISOR_NAMES_S = 2.0
_LINGER_S = 1.0
"""How long devices that we play outlive a dead supervisor: fallbacks of others may still pass through an RTU to them."""


def serve(plan: GatekeeperPlan, host: Host) -> None:
    """The companion of a run. Raises CompanionFailure where a device's failure ends the run."""
    try:
        asyncio.run(Gatekeeper(plan, host).live())
    except (DeviceError, SafetyError, AuditError) as error:
        raise CompanionFailure(_blamed(plan, str(error)), str(error)) from error


def _blamed(plan: GatekeeperPlan, text: str) -> str:
    return next((device.name for device in plan.devices if device.name in text), plan.devices[0].name)


class Gatekeeper:
    """One process's worth of wires."""

    def __init__(self, plan: GatekeeperPlan, host: Host) -> None:
        self.plan, self.host = plan, host
        self.stop = EmergencyStop(plan.stop_file)
        self.wires: list[MasterWire | OutstationWire] = []
        self.audit = AuditLog(host.run_dir / FOLDER / f"{plan.name}.jsonl", host.run_dir.name)
        # A dry run may begin while the stop is latched: it only reads. One that is set meanwhile ends it.
        is_old = plan.warrant is None and self.stop.is_set
        self.vigil = Vigil(None if is_old else self.stop, self._alarm, plan.solver_limit_ns)
        self._stack: Any = None
        self._holds = Holds()
        self._ended = asyncio.Event()
        self._falls: list[asyncio.Task[None]] = []
        self._failure: CompanionFailure | None = None
        self._over = False
        self._rank = ""

    async def live(self) -> None:
        """From the first connection to the last record."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_end, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGUSR2, self._emergency)
        self._rank = take_precedence()  # before there are threads
        mode = "dry" if self.plan.warrant is None else "live"
        facts = {"mode": mode, "scheduler": self._rank, "devices": [device.name for device in self.plan.devices]}
        await asyncio.to_thread(self.audit.append, "start", **facts)
        try:
            await self._open()
            for wire in self.wires:
                wire.start()
            self.host.ready()
            await self._watch()
            if self.host.is_orphan and any(isinstance(wire, OutstationWire) for wire in self.wires):
                await asyncio.sleep(_LINGER_S)
        finally:
            self._fall_all("the gatekeeper ends")
            await self._finished([asyncio.ensure_future(fall) for fall in self._falls])
            self.vigil.close()
            await self._finished([asyncio.ensure_future(wire.close()) for wire in self.wires])
            if self._stack is not None:
                await self._stack.__aexit__(None, None, None)
            self._holds.close()
            self.audit.close()
        if self._failure is not None:
            raise self._failure

    async def _finished(self, work: Sequence[asyncio.Future[None]]) -> None:
        """Wait for what is done at the end while it gets on, and report what fails of it or takes too long."""
        pending, got_on = set(work), self._progress()
        begun_s = moved_s = time.monotonic()
        while pending and (now_s := time.monotonic()) - moved_s < _FALL_LIMIT_S and now_s - begun_s < _FALL_MOST_S:
            self.host.beat()
            _, pending = await asyncio.wait(pending, timeout=LOOK_S)
            if (now := self._progress()) != got_on:
                got_on, moved_s = now, now_s
        causes = [f"{type(error).__name__}: {error}" for each in work if each.done() and (error := each.exception()) is not None]
        causes += ["the fallback or the last records took too long"] * bool(pending)
        for cause in causes:
            print(f"{self.plan.name}: {cause}", flush=True)
            self._failure = self._failure or CompanionFailure(self.plan.devices[0].name, cause)

    def _progress(self) -> tuple[int, ...]:
        """What grows while the device answers fallbacks and records are made."""
        return self.audit.count, *(wire.guard.answered for wire in self.wires if isinstance(wire, MasterWire))

    # -- the way up

    async def _open(self) -> None:
        self.vigil.process("supervisor", self.host.supervisor)
        self.vigil.start()
        if self.stop.is_set and self.plan.warrant is not None:
            clear = f"run_cosim.py safety clear --stop-file {self.stop.path} --operator NAME"
            raise SafetyError(f"no device can be armed: the emergency stop is set ({self.stop.why()}); clear it with: {clear}")
        around = Surroundings(
            self.host.directory, self.host.run_dir, self.audit, self.stop, self._fault, self._lost, self.vigil.look,
            self._may_rearm, self._rank,
        )  # fmt: skip
        for device in self.plan.devices:
            if self._ended.is_set() or self.vigil.cause or self._failure is not None:
                return  # it ends before it began: no further device is reached, let alone armed
            wire = await self._wire(device, around)
            self.wires.append(wire)
            try:
                await wire.open()
            except DeviceError as error:
                if device.on_fault is OnFault.ABORT:
                    raise
                await wire.audit("fault", cause=str(error))
                print(f"{device.name}: {error}; the run goes on without it", flush=True)
            else:
                if isinstance(wire, OutstationWire):
                    self._publish(device.name, wire.driver.address)
            if isinstance(wire, MasterWire):
                await wire.arm()
                self.vigil.also(wire.look)
            channel = wire.channel
            self.vigil.heartbeat(lambda of=channel: (of.get(Word.SOLVER_BEAT), bool(of.get(Word.OVER))), device.period_ns)  # type: ignore[misc]

    async def _wire(self, device: DevicePlan, around: Surroundings) -> MasterWire | OutstationWire:
        if not device.role.commands:
            return OutstationWire(device, around, self._outstation)
        target = ("", 0) if device.is_serial else await self._resolved(device)
        if self.plan.warrant is not None:
            self._holds.take(device, target)
        if target[0].startswith("/"):  # a stand-in on a serial line; pseudo terminals take no parity
            device = replace(device, address=target[0], serial=replace(device.line, parity="N", stop_bits=2))
        if device.role is Role.MASTER and self._stack is None:
            from protocols.dnp3.master import MasterStack  # its C++ stack takes time to load, and threads

            self._stack = await MasterStack().__aenter__()
        return MasterWire(device, around, lambda wire: self._master(wire, target), self.plan.warrant)

    def _master(self, wire: MasterWire, target: tuple[str, int]) -> Master:
        device = wire.plan
        if device.role is Role.MASTER:
            from hil.drivers.dnp3_master import Dnp3Master

            tls = tls_client(device.tls) if device.tls else None
            return Dnp3Master(device, self._stack, target, wire.record.capture, live=self.plan.warrant is not None, tls=tls)
        from hil.drivers.modbus_client import ModbusClient

        return ModbusClient(device, modbus_address(device, target), wire.record.capture)

    def _outstation(self, wire: OutstationWire) -> Outstation:
        device, listen = wire.plan, tcp_address(wire.plan)
        tls = tls_server(device.tls) if device.tls else None
        if device.role is Role.OUTSTATION:
            from hil.drivers.dnp3_outstation import Dnp3Outstation

            return Dnp3Outstation(device, listen, wire.layout.outward, wire.record.capture, wire.command, tls)
        from hil.drivers.modbus_server import ModbusServer

        return ModbusServer(device, listen, wire.layout.outward, wire.record.capture, wire.command)

    async def _resolved(self, device: DevicePlan) -> tuple[str, int]:
        """Host and port; those of a companion of this run once it has said them."""
        if not device.address.startswith("@"):
            return tcp_address(device)
        path, end_s = self.host.directory / f"{device.address[1:]}.address", time.monotonic() + _ADDRESS_LIMIT_S
        while not path.exists():
            if time.monotonic() > end_s or self._ended.is_set():
                raise DeviceError(f"device {device.name}: {device.address[1:]} did not say where it listens; look at its log")
            await asyncio.sleep(LOOK_S)
        host, port = json.loads(path.read_text(encoding="utf-8"))
        return str(host), int(port)

    def _publish(self, name: str, address: tuple[str, int]) -> None:
        """Where companions of this run find a server of ours."""
        partial = self.host.directory / f"{name}.address.part"
        partial.write_text(json.dumps(list(address)), encoding="utf-8")
        os.replace(partial, self.host.directory / f"{name}.address")

    # -- beside the run

    async def _watch(self) -> None:
        """Until the run is over, or a device's failure ends it."""
        while not self._ended.is_set() and not self.host.asked_to_stop and self._failure is None:
            self.host.beat()
            for wire in self.wires:
                if isinstance(wire, MasterWire) and (pid := wire.channel.get(Word.SOLVER_PID)):
                    self.vigil.process("solver", pid)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_S)
            if self.host.is_orphan:
                self._ended.set()
        self._over = True

    def _asked_to_end(self, name: str) -> None:
        self._fall_all("the supervisor is dead" if self.host.is_orphan else f"the gatekeeper was told to end ({name})")
        self._ended.set()

    def _emergency(self) -> None:
        """The signal: safe first, then latched, which waits for a disk."""
        self.vigil.raise_alarm("emergency stop: signal SIGUSR2")
        self._falls.append(asyncio.get_running_loop().create_task(self._latch("signal SIGUSR2")))

    async def _latch(self, cause: str) -> None:
        try:
            await asyncio.to_thread(self.stop.set, cause)
        except OSError as error:
            raise OSError(error.errno, f"the emergency stop cannot be latched ({error.strerror})", str(self.stop.path)) from error

    def _alarm(self, cause: str) -> None:
        """Something that all devices depend on is gone. A dead solver is the supervisor's to name; if it does not, we do."""
        self._fall_all(cause)
        if cause.startswith("emergency stop"):
            self._fault(self.plan.devices[0].name, cause, always=True)
        elif cause != "the run is over":
            asyncio.get_running_loop().call_later(_SUPERVISOR_NAMES_S, self._fault, self.plan.devices[0].name, cause)

    def _lost(self, device: str, cause: str) -> None:
        """A connection was lost: a fault that need not be for good."""
        self._fault(device, cause, for_good=False)

    def _may_rearm(self) -> bool:
        """Whether every device of the group answers and has its fallback, and nothing else is wrong."""
        masters = [wire for wire in self.wires if isinstance(wire, MasterWire)]
        return not self.vigil.look() and self._failure is None and not self._over and all(wire.is_settled for wire in masters)

    def _fault(self, device: str, cause: str, *, always: bool = False, for_good: bool = True) -> None:
        """A device failed: all of the group fall, and the run ends or goes on as the device's plan says."""
        if self._over:
            return
        self._fall_all(cause, for_good=for_good)
        plan = next(plan for plan in self.plan.devices if plan.name == device)
        reached = [wire.channel.get(Word.SOLVER_T) for wire in self.wires]  # none while the devices are being opened
        if (always or plan.on_fault is OnFault.ABORT) and self._failure is None:
            self._failure = CompanionFailure(device, cause, max(reached, default=None))

    def _fall_all(self, cause: str, *, for_good: bool = True) -> None:
        for wire in self.wires:
            wire.chain.is_for_good |= for_good
            if not wire.chain.fell_because:
                self._falls.append(asyncio.get_running_loop().create_task(wire.fall(cause, for_good=for_good)))
