"""Stand-ins as companions of a run: started with it, told where the devices that they poll listen, ended after the gatekeepers."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass

from federates.runtime.companion import CompanionFailure, Host
from hil.devices.process import StandIn, StandInError

_LOOK_S = 0.05
_ADDRESS_LIMIT_S = 20.0
_LINGER_S = 1.5
"""How long a stand-in outlives a supervisor that died: fallbacks are still on their way to it."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A device that an RTU polls: its name, the path of its map, its link address."""

    name: str
    map: str
    outstation: int


@dataclass(frozen=True, slots=True)
class StandInPlan:
    """Which stand-in, with which arguments."""

    kind: str
    arguments: tuple[str, ...]
    polled: tuple[Polled, ...] = ()


def serve(plan: StandInPlan, host: Host) -> None:
    """The companion: a child process that is the stand-in. Raises CompanionFailure where it does not start or ends by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the kernel's word that the supervisor is dead; `is_orphan` says so too
    arguments = list(plan.arguments)
    for polled in plan.polled:
        where, port = _wait_for_address(host, polled.name)
        arguments += ["--ied", f"{polled.name}={where}:{port}/{polled.outstation}={polled.map}"]
    try:
        with StandIn(plan.kind, arguments) as device:
            address = [device.ready["host"], device.ready["port"]] if "port" in device.ready else [device.ready["path"], 0]
            partial = host.directory / f"{host.name}.address.part"
            partial.write_text(json.dumps(address), encoding="utf-8")
            os.replace(partial, host.directory / f"{host.name}.address")
            host.ready()
            while not host.asked_to_stop and not host.is_orphan:
                host.beat()
                device.check()
                time.sleep(_LOOK_S)
            if host.is_orphan:
                time.sleep(_LINGER_S)
    except StandInError as error:
        raise CompanionFailure(host.name, str(error)) from error


def _wait_for_address(host: Host, device: str) -> tuple[str, int]:
    path, end_s = host.directory / f"{device}.address", time.monotonic() + _ADDRESS_LIMIT_S
    while not path.exists():
        if time.monotonic() > end_s or host.asked_to_stop or host.is_orphan:
            raise CompanionFailure(host.name, f"device {device} did not say where it listens; look at its gatekeeper's log")
        time.sleep(_LOOK_S)
    where, port = json.loads(path.read_text(encoding="utf-8"))
    return str(where), int(port)
