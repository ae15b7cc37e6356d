"""What a scenario may say about a wired device: the `devices:` block.

devices:
  - name: rtu
    protocol: dnp3
    role: master                  # we poll and command it
    map: maps/rtu.csv
    address: 192.168.10.5:20000   # or, without the device:  stand_in: {kind: rtu, polls: [ieds]}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scenarios.fields import Name, NotNegative, Positive, Seconds, Strict

STANDS_FOR_PATTERN = r"^[a-z][a-z0-9_]*(\.\S+)?$"
ROLES = {"dnp3": ("master", "outstation"), "modbus": ("client", "server")}


class StandIn(Strict):
    """A simulated device in a process of its own, in place of the real one."""

    kind: Literal["rtu", "rtu_dnp3_python", "relay", "inverter", "meter"] = Field(description="what it simulates")
    polls: tuple[Name, ...] = Field(
        default=(), description="of an rtu or relay: the devices of this scenario that are the IEDs it polls"
    )
    poll_s: Positive = Field(default=0.1, description="of an rtu or relay: how often it asks its IEDs for events")
    measures: str | None = Field(default=None, description="of a relay: IED.ROW of the frequency or voltage that it measures")
    trips: str | None = Field(default=None, description="of a relay: IED.ROW of the control that it trips")
    pickup: Positive | None = Field(default=None, description="of a relay: it picks up below this, in the unit of what it measures")
    delay_s: NotNegative = Field(default=0.1, description="of a relay: definite time from pickup to trip")
    reset: NotNegative = Field(
        default=0.02, description="of a relay: it drops out this far above its pickup, in the same unit of it"
    )
    p_max_w: Annotated[float, Field(ge=1000, le=1e7)] = Field(default=50_000.0, description="of an inverter: its rating")

    @model_validator(mode="after")
    def _relay(self) -> StandIn:
        given = [name for name in ("measures", "trips", "pickup") if getattr(self, name) is not None]
        if self.kind == "relay" and len(given) < 3:
            raise ValueError(
                "a relay measures a row of an IED and trips another: write measures: ied.f, trips: ied.trip, pickup: 59.5"
            )
        if self.kind != "relay" and given:
            raise ValueError(f"{given[0]} is of a relay, and kind is {self.kind}")
        return self


class Dnp3Link(Strict):
    """Link addresses and timers of DNP3."""

    outstation: int = Field(default=10, ge=0, lt=0xFFF0, description="link address of the outstation")
    master: int = Field(default=1, ge=0, lt=0xFFF0, description="link address of the master")
    time_sync: bool = Field(default=True, description="set the outstation's clock when it asks for the time (live runs only)")
    integrity_s: Seconds = Field(default=10.0, description="between polls that read every point")


class Serial(Strict):
    """A serial line; `address` is its path. What is not given is as usual: 19200 8E1 for Modbus, 9600 8N1 for DNP3."""

    baud: int | None = Field(default=None, ge=300, le=1_000_000, description="bits per second (19200; DNP3: 9600)")
    parity: Literal["N", "E", "O"] | None = Field(default=None, description="none, even or odd (E; DNP3: N)")
    stop_bits: int | None = Field(default=None, ge=1, le=2, description="number of stop bits (1)")


class Tls(Strict):
    """Mutual TLS: PEM files beside the scenario."""

    certificate: str = Field(description="path of our certificate")
    key: str = Field(description="path of our private key")
    authority: str = Field(description="who must have signed the other's certificate")
    server_role: str | None = Field(
        default=None, description="Modbus/TCP Security: the role that a server's certificate must carry"
    )


class InterlockEntry(Strict):
    """A command to `point` is refused unless the reading of `when` is good, not STALE, and `equals`."""

    point: str = Field(description="name of the write row that is locked")
    when: str = Field(description="name of a read row of the same map")
    equals: float = Field(description="reading that permits the command, in the unit of the row")
    because: str = Field(default="", description="why, for messages and the audit")


class Device(Strict):
    """A real device, or a stand-in for one, as a federate."""

    name: Name
    protocol: Literal["dnp3", "modbus"] = Field(description="what the device speaks")
    role: Literal["master", "outstation", "client", "server"] = Field(
        description="which end we are: master, client: we poll and command the device; outstation, server: it polls us"
    )
    map: str = Field(description="path of the point map, a CSV file")
    address: str | None = Field(
        default=None, description="host:port, or the path of a serial line; of an outstation or server: where it listens"
    )
    stand_in: StandIn | None = Field(default=None, description="instead of address: no device is there")
    stands_for: Annotated[str, Field(pattern=STANDS_FOR_PATTERN)] | None = Field(
        default=None, description="the simulated part whose place it takes: ders.unit of a feeder's DER; or the federate, as a note"
    )
    period_s: Seconds = Field(default=0.1, description="of the polls, and of the exchange with the simulation")
    policy: Literal["skip", "catch_up", "abort"] = Field(default="skip", description="of instants that were missed")
    on_fault: Literal["abort", "continue"] = Field(
        default="abort", description="a device that fails ends the run with exit code 4, or its values are LOST and the run goes on"
    )
    on_reconnect: Literal["safe", "rearm"] = Field(
        default="safe",
        description="a device that lost its connection in a live run that goes on: nothing is written to it any more, or it is "
        "armed again within its lease; either way it first gets the fallback that it missed",
    )
    lease_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=600.0, description="longest live run, then the fallback is sent"
    )
    stale_s: Positive | None = Field(default=None, description="a reading that is older is STALE; default: three periods")
    silence_s: Positive | None = Field(
        default=None, description="a reading that is older is LOST; default: ten periods, at least 2 s"
    )
    timeout_s: Positive = Field(default=0.5, description="of one request")
    start_limit_s: Positive = Field(default=10.0, description="for reaching the device and reading every point once")
    gatekeeper: Name | None = Field(default=None, description="devices with the same share a process, and fall together")
    interlocks: tuple[InterlockEntry, ...] = Field(default=(), description="commands that readings must permit")
    dnp3: Dnp3Link = Field(default=Dnp3Link(), description="link addresses and timers, where protocol is dnp3")
    serial: Serial | None = Field(default=None, description="settings of the line, where address is the path of one")
    tls: Tls | None = Field(default=None, description="certificates, where the connection is encrypted; null: it is not")
    solver_limit_s: NotNegative = Field(
        default=1.0, description="a solver that is silent for a period and this has failed: the fallback is sent"
    )

    @model_validator(mode="after")
    def _fits(self) -> Device:
        if self.role not in ROLES[self.protocol]:
            raise ValueError(f"role {self.role} is none of {self.protocol}; write {' or '.join(ROLES[self.protocol])}")
        if (self.address is None) == (self.stand_in is None):
            raise ValueError("it needs one of address and stand_in; write address: host:port, or stand_in: {kind: rtu}")
        if self.stand_in is not None and not self.commands:
            raise ValueError(f"a stand-in is polled by us, and role is {self.role}; write an address to listen at: 127.0.0.1:0")
        if not self.commands and self.address is not None and "/" in self.address:
            raise ValueError("what we play listens on TCP; write an address as 127.0.0.1:20001")
        if self.on_reconnect == "rearm" and not (self.commands and self.on_fault == "continue"):
            raise ValueError("on_reconnect: rearm is for a device that we command, and whose fault does not end the run: write "
                             "on_fault: continue as well")  # fmt: skip
        if self.role == "server" and self.tls is not None:
            raise ValueError("a Modbus server of ours speaks plain TCP; leave tls out")
        return self

    @property
    def commands(self) -> bool:
        """Whether we poll and command it."""
        return self.role in ("master", "client")
