"""What a gatekeeper and a bridge are told: plain frozen data, sent from the scenario to the processes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hil.points import PointMap, Protocol
from hil.safety import Warrant


class Role(StrEnum):
    """Which end of the protocol we are."""

    MASTER = "master"
    """DNP3: we poll and command the device."""
    OUTSTATION = "outstation"
    """DNP3: we play a device; the device that is wired in is our master."""
    CLIENT = "client"
    SERVER = "server"

    @property
    def protocol(self) -> Protocol:
        return Protocol.DNP3 if self in (Role.MASTER, Role.OUTSTATION) else Protocol.MODBUS

    @property
    def commands(self) -> bool:
        """Whether we are the end that reads and writes; else we are read and commanded."""
        return self in (Role.MASTER, Role.CLIENT)


class Policy(StrEnum):
    """What happens to instants of the grid that were missed."""

    SKIP = "skip"
    """They are counted, and the next one counts."""
    CATCH_UP = "catch_up"
    """Up to `CATCH_UP_LIMIT` of them are done at once; replay only."""
    ABORT = "abort"
    """The device fails: a test that needed every instant is inconclusive."""


class OnFault(StrEnum):
    """What a device's failure means for the run."""

    ABORT = "abort"
    CONTINUE = "continue"


class OnReconnect(StrEnum):
    """What a device that lost its connection in a live run may do once it answers again; matters with `OnFault.CONTINUE`."""

    SAFE = "safe"
    """It gets the fallback that it is owed, and nothing else is written to it in this run."""
    REARM = "rearm"
    """After the fallback it is ARMED again, under the same lease: commands and followed values go out as before."""


CATCH_UP_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Interlock:
    """A command to `point` is refused unless the device's reading `when` equals `equals`."""

    point: str
    when: str
    equals: float
    because: str = ""


@dataclass(frozen=True, slots=True)
class SerialSettings:
    baud: int = 19200
    parity: str = "E"
    stop_bits: int = 1


USUAL_LINE = {Protocol.MODBUS: SerialSettings(), Protocol.DNP3: SerialSettings(9600, "N", 1)}
"""Settings of a line for which nobody says any."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """PEM files of this end, and the authority that must have signed the other's. `server_role`: of Modbus/TCP Security."""

    certificate: str
    key: str
    authority: str
    server_role: str | None = None


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One wired device.

    `address` is `host:port`, the path of a serial line, or `@NAME`: where the companion NAME of this run listens. A server or
    outstation listens there instead; port 0 takes a free one. Times are ns; `silence_ns` without a good reading makes a value LOST,
    `stale_ns` STALE. `lease_s` is the longest live run of this device.
    """

    name: str
    role: Role
    address: str
    points: PointMap
    period_ns: int
    policy: Policy = Policy.SKIP
    on_fault: OnFault = OnFault.ABORT
    on_reconnect: OnReconnect = OnReconnect.SAFE
    lease_s: float = 600.0
    stale_ns: int = 300_000_000
    silence_ns: int = 2_000_000_000
    timeout_s: float = 0.5
    start_limit_s: float = 10.0
    integrity_ns: int = 10_000_000_000
    interlocks: tuple[Interlock, ...] = ()
    serial: SerialSettings | None = None
    tls: TlsSettings | None = None
    dnp3_address: int = 10
    dnp3_master: int = 1
    time_sync: bool = True
    is_stand_in: bool = False

    @property
    def is_serial(self) -> bool:
        """Whether the address is a serial line."""
        return "/" in self.address

    @property
    def line(self) -> SerialSettings:
        """The settings of the serial line."""
        return self.serial or USUAL_LINE[self.role.protocol]


@dataclass(frozen=True, slots=True)
class GatekeeperPlan:
    """One gatekeeper process: devices that may fail together, and whether writes may go out at all.

    `warrant` is None in a dry run. `solver_limit_ns`: a solver that has begun to step and is silent for a period of its device and
    this has failed.
    """

    name: str
    devices: tuple[DevicePlan, ...]
    stop_file: Path
    warrant: Warrant | None = None
    solver_limit_ns: int = 1_000_000_000
