"""A stand-in from Python: started as a process of its own, given orders, ended with its owner.

with StandIn("inverter") as inverter:
    print(inverter.ready["address"])
    inverter.order(fault="slow", delay_s=0.4)
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

NAMES = ("rtu", "rtu_dnp3_python", "relay", "inverter", "meter")
_READY_S = {"rtu_dnp3_python": 120.0}
_END_S = 5.0
_TAIL = 20


class StandInError(Exception):
    """A stand-in did not start, ended, refused an order or did not answer; the text has its last words."""


class StandIn:
    """A running stand-in. `ready` is its first line: `address`, `port`, and what else it tells."""

    def __init__(self, name: str, arguments: Sequence[str] = (), *, ready_s: float | None = None) -> None:
        """StandInError where it does not say that it is ready within `ready_s` (20 s; where uv may have to fetch, 120 s)."""
        if name not in NAMES:
            raise StandInError(f"there is no stand-in {name!r}; take one of {', '.join(NAMES)}")
        self.name = name
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.pathsep not in entry)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"hil.devices.{name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_said, self._read_errors)]
        for reader in self._readers:
            reader.start()
        try:
            self.ready = self.wait("ready", timeout_s=ready_s or _READY_S.get(name, 20.0))
        except StandInError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read_said(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = [*self._errors[1 - _TAIL :], line]

    def wait(self, what: str, *, timeout_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The next thing it says of that kind, with these fields; earlier ones of other kinds are passed over. StandInError."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                said = self._said.get(timeout=max(deadline_s - time.monotonic(), 0.0))
            except queue.Empty:
                raise StandInError(f"stand-in {self.name} said no {what!r} within {timeout_s:g} s{self._last_words()}") from None
            if said is None:
                self._readers[1].join(_END_S)
                code = self._process.wait(_END_S)
                raise StandInError(f"stand-in {self.name} ended with exit code {code}{self._last_words()}")
            if said["what"] == what and all(said.get(name) == value for name, value in fields.items()):
                return said
            if said["what"] == "error" and what != "error":
                raise StandInError(f"stand-in {self.name}: {said['message']}")

    def _last_words(self) -> str:
        return ": " + "".join(self._errors).strip() if self._errors else ""

    def _tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise StandInError(f"stand-in {self.name} has ended{self._last_words()}") from None

    def check(self) -> None:
        """StandInError where it has ended."""
        if (code := self._process.poll()) is not None:
            raise StandInError(f"stand-in {self.name} ended with exit code {code}{self._last_words()}")

    def order(self, fault: str, **fields: Any) -> None:
        """Orders a fault (see faults.py), and returns when it is in force; of a restart, when it has begun. StandInError."""
        self._tell(fault=fault, **fields)
        self.wait("fault", fault=fault)

    def set(self, **values: Any) -> None:
        """Changes what the device measures. StandInError."""
        self._tell(set=values)
        self.wait("set")

    def get(self) -> dict[str, Any]:
        """What the device measures and does."""
        self._tell(get=True)
        return self.wait("state")

    def close(self) -> None:
        """Ends the process; closing twice is harmless."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_END_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        for reader, pipe in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
            reader.join(_END_S)
            if pipe is not None and not reader.is_alive():  # while something else holds the other end, closing would wait for it
                pipe.close()

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
