"""One live run at a time commands a device: what a gatekeeper holds while it may write to one.

A second run would follow its own simulation, also after the first has sent the fallback: no stop of the first would make the device
safe. The kernel keeps what is held, as a socket's name that one process of a machine can have, and frees it when the process ends,
however that happens. It knows nothing of other machines: a network's masters are for its operator to arrange.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator

from hil.plan import DevicePlan, Role
from hil.safety import SafetyError


class Holds:
    """What one gatekeeper holds. Several of its devices may share a line or a station."""

    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}

    def take(self, device: DevicePlan, target: tuple[str, int]) -> None:
        """Hold a device, reached at `target` (a serial line by its own path). SafetyError where another live run holds it."""
        for name in sorted(_names(device, target)):
            if name in self._held:
                continue
            held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                held.bind(b"\0gridtandem-device-" + hashlib.sha256(name.encode()).hexdigest().encode())
            except OSError as error:
                held.close()
                text = f"device {device.name}: another live run on this machine commands {name}; end that one first"
                raise SafetyError(text) from error
            self._held[name] = held

    def close(self) -> None:
        """Let go of all of them."""
        for held in self._held.values():
            held.close()
        self._held.clear()


def _names(device: DevicePlan, target: tuple[str, int]) -> Iterator[str]:
    """A serial line as a whole, since two masters disturb each other there; of a network address each station behind it."""
    if device.is_serial or target[0].startswith("/"):
        yield os.path.realpath(target[0] if target[0].startswith("/") else device.address)
        return
    stations = {device.dnp3_address} if device.role is Role.MASTER else {point.unit_id for point in device.points.points}
    for station in stations:
        yield f"{target[0]}:{target[1]} station {station}"
