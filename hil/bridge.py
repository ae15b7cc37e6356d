"""A real device as a federate. It exchanges with its gatekeeper through shared memory and never waits.

Its ports follow from the point map (`layout.py`). What comes in carries its quality and the time of its measurement: a reading that
is old is STALE, and LOST (with no value) once the device or the gatekeeper has been silent for longer. Values of the simulation go
out as they are, with theirs. Commands arrive on `command` and are answered on `result`; what happens in the device comes out of
`soe`; where we play the device, what its master commands becomes a command to the federate that each point stands for.

Without a gatekeeper (`check --solve`, conformance tests) every reading is LOST and nothing goes anywhere. Runs with devices are
outside the promise of identical records: the wall clock is part of them.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.runtime.companion import private_directory
from federates.runtime.federate import S_NS, Step
from federates.runtime.port import Event, Inputs, Outputs, Port, Quality, Sample
from hil.channel import SOE_ROWS, Channel, Frame, Word, channel_path
from hil.layout import PortLayout, layout
from hil.plan import Role
from hil.points import MapPoint, PointMap

COMMAND = Port(
    "command", kind="event", doc="{action: control, point, code or state} or {action: set_points, values: [[point, value], ...]}"
)
RESULT = Port("result", kind="event", doc="what became of a command: {id, point, wish, outcome}")
SOE = Port("soe", kind="event", doc="what the device reported of itself: {point, value, device_utc_ns}")
LINK = Port("link", "1", ("chain", "connected", "overruns", "refused"), "0 SAFE, 1 READY, 2 ARMED, 3 RUN; 1: connected; counts")
TIMES = Port(
    "times", "s", ("round_trip", "lateness"), "of the gatekeeper's last exchange; how late its instant of the grid was noticed"
)
MOST_REACTIONS = 20
MOST_REPORTS = 500
MOST_WAITING = 10_000
"""Commands of a device's master, and events of a device, that are passed on in one step. The rest wait for the next steps, in
order: so many here, then some in the gatekeeper, which takes more still for a fault. Results of our own commands do not wait."""
_GATE_SILENT_NS = S_NS
_LONGEST_WISH = 120
"""Characters of a command that was refused here, in the audit log: escaped, they must fit a message of 1020 bytes."""
_LOST = int(Quality.LOST)


@dataclass(frozen=True)
class Bridge:
    """Parameters of the federate. `stale_ns`, `silence_ns`: ages from which a reading is STALE, LOST."""

    device: str
    points: PointMap
    role: Role
    period_ns: int
    stale_ns: int
    silence_ns: int


class BridgeFederate:
    """One wired device."""

    def __init__(self, params: Bridge) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self._layout = plan = layout(params.points, params.role)
        self._targets = (
            sorted({p.signal.federate for p in params.points.writes if p.signal is not None}) if not params.role.commands else []
        )
        # A value that the device is slow to fetch is no fault of the simulation's, hence no age limit on inputs.
        self.inputs: Sequence[Port] = (*(each.port for each in plan.inputs), *((COMMAND,) if params.role.commands else ()))
        self.outputs: Sequence[Port] = (
            *(each.port for each in plan.outputs),
            *((RESULT, SOE) if params.role.commands else ()),
            *(Port(f"to_{name}", kind="event", doc=f"commands of the device's master to {name}") for name in self._targets),
            LINK,
            TIMES,
        )
        self._channel: Channel | None = None
        self._waiting: deque[dict[str, Any]] = deque()

    def start(self, t_ns: int) -> Outputs:
        """Open the shared memory, where there is a gatekeeper; readings of the self test are there already."""
        directory = private_directory()
        if directory is not None and (path := channel_path(directory, self.params.device)).exists():
            self._channel = Channel(path, len(self._layout.inward), len(self._layout.outward), make=False)
            self._channel.set(Word.SOLVER_PID, os.getpid())
        return self._readings(t_ns)

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Values out, readings in, commands and events both ways."""
        results: list[dict[str, Any]] = []
        if self._channel is not None:
            self._channel.put_outward(self._values(t_ns, inputs))
            self._channel.set(Word.SOLVER_T, t_ns)
            self._channel.set(Word.SOLVER_BEAT, time.monotonic_ns())
        for event in inputs.get("command", ()):
            if refusal := self._command(event):
                results.append({**self._named(event), "outcome": refusal})
        self._take(results)
        most = MOST_REPORTS if self.params.role.commands else MOST_REACTIONS
        now = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        return Step({**self._readings(t_ns), **self._events(now, results)})

    def stop(self) -> None:
        """The run is over: the gatekeeper sends the fallback."""
        if self._channel is not None:
            self._channel.set(Word.OVER, 1)
            self._channel.close()
            self._channel = None

    # -- out

    def _values(self, t_ns: int, inputs: Inputs) -> Frame:
        """Inputs in the order of the outward frame, with their age turned into a time of the monotonic clock."""
        frame = Frame.empty(len(self._layout.outward), _LOST)
        now_ns = time.monotonic_ns()
        for each in self._layout.inputs:
            sample: Sample = inputs[each.port.name]
            places = list(each.places)
            frame.values[places] = sample.values
            frame.measured_ns[places] = now_ns - np.maximum(sample.age_ns(t_ns), 0)
            frame.quality[places] = sample.quality
        return frame

    def _command(self, event: Event) -> str:
        """Pass a command on; gives why it is refused."""
        payload = event.payload
        action = payload.get("action")
        if action == "control" and isinstance(payload.get("point"), str) and ("code" in payload or "state" in payload):
            values = [[payload["point"], payload.get("code", payload.get("state"))]]
        elif action == "set_points" and _are_pairs(payload.get("values")):
            values = payload["values"]
        else:
            return self._not_passed_on(event, COMMAND.doc)
        if self._channel is None:
            return "refused: no gatekeeper"
        try:
            taken = self._channel.send_to_device(
                {"id": f"{event.source}/{event.seq}", "values": values, "asked_ns": time.monotonic_ns()}
            )
        except ValueError as error:
            return self._not_passed_on(event, str(error))
        return "" if taken else "refused: the gatekeeper takes no commands any more"

    def _not_passed_on(self, event: Event, reason: str) -> str:
        """Refuse what is no command, and have the gatekeeper enter it in its audit log."""
        if self._channel is not None:
            wish = repr(event.payload)[:_LONGEST_WISH]
            identity = f"{event.source}/{event.seq}"
            self._channel.send_to_device({"id": identity, "refused": wish, "reason": reason[:_LONGEST_WISH]})
        return f"refused: {reason}"

    @staticmethod
    def _named(event: Event) -> dict[str, Any]:
        return {"id": f"{event.source}/{event.seq}", "point": event.payload.get("point"), "wish": event.payload.get("code")}

    # -- in

    def _readings(self, t_ns: int) -> dict[str, Any]:
        channel, now_ns = self._channel, time.monotonic_ns()
        frame = channel.inward() if channel is not None else None
        silent_ns = _GATE_SILENT_NS + self.params.period_ns  # it beats once in a period
        alive = channel is not None and now_ns - channel.get(Word.GATE_BEAT) < silent_ns
        outputs: dict[str, Any] = {}
        for each in self._layout.outputs:
            outputs[each.port.name] = Sample.missing(each.port.size) if frame is None else self._sample(each, frame, t_ns, now_ns)
        words = [0, 0, 0, 0, 0, 0] if channel is None else [
            channel.get(word) for word in (Word.CHAIN, Word.CONNECTED, Word.OVERRUNS, Word.REFUSED, Word.ROUND_TRIP, Word.LATENESS)
        ]  # fmt: skip
        outputs[LINK.name] = Sample.of([float(word) for word in words[:4]], t_ns, 0 if alive else _LOST)
        outputs[TIMES.name] = Sample.of([word / 1e9 for word in words[4:]], t_ns, 0 if alive else _LOST)
        return outputs

    def _sample(self, each: PortLayout, frame: Frame, t_ns: int, now_ns: int) -> Sample:
        places = list(each.places)
        values, measured = frame.values[places].copy(), frame.measured_ns[places]
        quality = frame.quality[places].copy()
        age_ns = np.where(measured > 0, np.maximum(now_ns - measured, 0), np.int64(2**62))
        quality[age_ns > self.params.stale_ns] |= int(Quality.STALE)
        lost = (age_ns > self.params.silence_ns) | ~np.isfinite(values) | (quality & _LOST > 0)
        quality[lost] |= _LOST
        values[lost] = np.nan
        times = np.where(measured > 0, np.maximum(t_ns - age_ns, 0), 0)
        return Sample(values, times.astype(np.int64), quality)

    def _take(self, results: list[dict[str, Any]]) -> None:
        """What has come from the gatekeeper, as far as there is room for it."""
        room = max(0, MOST_WAITING - len(self._waiting)) // SOE_ROWS
        for message in () if self._channel is None else self._channel.take_for_bridge(room):
            if message["event"] == "result":
                results.append({key: value for key, value in message.items() if key != "event"})
            elif message["event"] == "soe":
                self._waiting += [
                    {"event": "report", "point": self.params.points.points[number].name, "value": value, "device_utc_ns": device_ns}
                    for number, value, device_ns in message["rows"]
                ]
            else:
                self._waiting.append(message)

    def _events(self, messages: Sequence[Mapping[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
        if self.params.role.commands:
            return {RESULT.name: results, SOE.name: list(messages)}
        sent: dict[str, list[dict[str, Any]]] = {f"to_{name}": [] for name in self._targets}
        for message in messages:
            point = self.params.points.point(str(message["point"]))
            if point.signal is not None:
                sent[f"to_{point.signal.federate}"].append(command_for(point, float(message["value"])))
        return sent


def _are_pairs(values: Any) -> bool:
    return isinstance(values, Sequence) and bool(values) and all(isinstance(v, Sequence) and len(v) == 2 for v in values)


def command_for(point: MapPoint, value: float) -> dict[str, Any]:
    """The command to the federate that a `write` row stands for: by the port of its signal, for equipment of a feeder; a plain
    `write` of the value for any other."""
    assert point.signal is not None
    name = point.signal.id
    if point.signal.port == "switch":
        return {"action": "close_switch" if value >= 0.5 else "open_switch", "switch": name}
    if point.signal.port == "tap":
        return {"action": "set_tap", "regulator": name, "tap": round(value)}
    if point.signal.port == "capacitor":
        return {"action": "set_capacitor", "capacitor": name, "steps": round(value)}
    if point.signal.port == "operated":
        return {"action": "operate", "stage": name}
    return {"action": "write", "port": point.signal.port, "id": name, "value": value}
