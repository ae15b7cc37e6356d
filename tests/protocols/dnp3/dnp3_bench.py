"""An outstation of ours on a loopback socket, a foreign master in a process of its own, and a capture of what they say.

The master's process takes orders as JSON lines on stdin and reports as JSON lines on stdout, each with the key "what".
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnp3_rig import RecordingHandler, every_type
from dnp3_tshark import judge

from protocols.dnp3 import Outstation, OutstationConfig, PointConfig
from protocols.dnp3.server import OutstationServer
from protocols.pcap import DNP3_PORT, CaptureWriter

WAIT_S = 20.0


@dataclass
class Peer:
    """The master's process: what it said, and orders for it."""

    process: asyncio.subprocess.Process
    said: list[dict[str, Any]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: list[str]) -> Peer:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        peer = cls(process)
        peer._reader = asyncio.create_task(peer._read())
        return peer

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            # What the stack itself prints is no JSON.
            if line.startswith(b"{"):
                self.said.append(json.loads(line))
                self._changed.set()

    async def order(self, do: str, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do} | fields).encode() + b"\n")
        await self.process.stdin.drain()

    async def wait(self, what: str, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        """The reports of a kind with these fields, as soon as there are `count`."""

        wanted = {"what": what} | fields

        def found() -> list[dict[str, Any]]:
            return [each for each in self.said if wanted.items() <= each.items()]

        until = time.monotonic() + WAIT_S
        while len(found()) < count:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"no {count} x {what} {fields} within {WAIT_S} s; last said: {self.said[-10:]}") from None
        return found()

    async def close(self) -> None:
        """Ends the process by end of file; a clean end is part of every test."""
        assert self.process.stdin is not None and self._reader is not None
        self.process.stdin.close()
        code = await asyncio.wait_for(self.process.wait(), WAIT_S)
        await self._reader
        assert code == 0
        assert [each["text"] for each in self.said if each["what"] == "exception"] == []


@dataclass
class Bench:
    server: OutstationServer
    peer: Peer
    handler: RecordingHandler

    @property
    def outstation(self) -> Outstation:
        return self.server.outstation


Scenario = Callable[[Bench], Awaitable[None]]


def play(
    scenario: Scenario,
    capture: Path,
    command: Callable[[int], list[str]],
    points: list[PointConfig] | None = None,
    *,
    judged: bool = True,
    **settings: Any,
) -> None:
    """Runs a scenario against the master that `command(port)` starts, then has its capture judged, by tshark where there is one."""

    async def run() -> None:
        handler = RecordingHandler()
        config = OutstationConfig(**({"masters": (1,), "cold_restart_s": 0.3} | settings))
        outstation = Outstation(config, points or every_type(3), clock=time.monotonic_ns, handler=handler)
        with CaptureWriter(capture) as writer:

            def tap(source: tuple[str, int], destination: tuple[str, int], octets: bytes) -> None:
                # The listening port is the system's choice; the capture shows DNP3's own.
                known = {server.address: ("127.0.0.1", DNP3_PORT)}
                writer.write(known.get(source, source), known.get(destination, destination), octets, time.time_ns())

            server = OutstationServer(outstation, port=0, tap=tap)
            await server.start()
            other = await Peer.start(command(server.address[1]))
            try:
                await scenario(Bench(server, other, handler))
            finally:
                await other.close()
                await server.close()

    asyncio.run(asyncio.wait_for(run(), 60))
    if judged:
        judge(capture)
