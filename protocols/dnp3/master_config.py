"""How a DNP3 master is told what to talk to, and what it says about a command. Free of the stack behind it (`master.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .values import CommandStatus


class MasterError(Exception):
    """An exchange that did not take place; the text names the master and the reason."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the peer's certificate or its authority, our certificate, our key."""

    peer: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class SerialLine:
    """A serial port: 8 data bits, no parity, one stop bit."""

    device: str
    baud: int = 9600


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """One master session on a line of its own. Times are seconds.

    `time_sync` is "lan", "delay" (measured) or None: how NEED_TIME is answered. `reconnect_s` are the shortest and the longest
    pause before another attempt to connect. `queue_limit` is the most reports that wait to be read. A `passive` master writes
    nothing by itself: it neither clears the restart indication nor sets the time. (It does ask for unsolicited reports when it
    connects: the binding cannot be told otherwise; `hil/read_only.py` keeps that from the outstation.)
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 20000
    outstation: int = 10
    address: int = 1
    tls: TlsFiles | None = None
    serial: SerialLine | None = None
    time_sync: str | None = "lan"
    response_timeout_s: float = 5.0
    reconnect_s: tuple[float, float] = (0.5, 10.0)
    queue_limit: int = 200_000
    passive: bool = False

    def __post_init__(self) -> None:
        if self.time_sync not in ("lan", "delay", None):
            raise ValueError(f"{self.name}: time_sync is 'lan', 'delay' or None, not {self.time_sync!r}")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command. `state` is the stack's word for how far it came (SUCCESS, SELECT_FAIL, OPERATE_FAIL, ...)."""

    state: str
    status: CommandStatus

    @property
    def success(self) -> bool:
        return self.state == "SUCCESS" and self.status is CommandStatus.SUCCESS
