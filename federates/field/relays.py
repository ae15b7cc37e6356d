"""The load-shedding relays of a feeder's substation: they measure the bus and open feeder breakers.

Relays look at every step of the emergency while one lasts, and at the very instant at which a running timer ends. An element that
operates opens its breakers `breaker_ns` later: that is when the command reaches the distribution federate.

A stage may be left to a device on a wire (`wired`): it measures for itself, and its contact comes as the command
{action: operate, stage}. From there on all is as with a stage of our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federates.field.commands import COMMAND, EMERGENCY, SOE, EmergencyClock, carry_out
from federates.grid.relay import Change, Relay, Stage, Trip
from federates.runtime.federate import DEFAULT_EVENT_DELAY_NS, S_NS, Step
from federates.runtime.port import Inputs, Outputs, Port


@dataclass(frozen=True)
class Relays:
    """Parameters of a relays federate. name: how its rows name it; bus: the transmission bus that it measures; wired: stages that
    devices do."""

    name: str
    bus: str
    stages: tuple[Stage, ...]
    nominal_hz: float = 60.0
    period_ns: int = S_NS
    wired: tuple[Stage, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All stages by name, those of devices last."""
        return tuple(stage.name for stage in (*self.stages, *self.wired))


class RelaysFederate:
    """Under-frequency and under-voltage stages at one substation."""

    def __init__(self, params: Relays) -> None:
        self.params = params
        self.period_ns = params.period_ns
        self.inputs: Sequence[Port] = (
            Port("v_pu", "pu", (params.bus,), "voltage magnitude of the transmission bus"),
            Port("f_hz", "Hz", (), "system frequency"),
            EMERGENCY,
            COMMAND,
        )
        self.outputs: Sequence[Port] = (
            Port("operated", ids=params.names, doc="1 once the stage has operated"),
            Port("trip", kind="event", doc="{action: open_breaker, feeders, cause}: contacts part as it arrives"),
            SOE,
        )
        self._reset()

    def _reset(self) -> None:
        self._relay = Relay(self.params.stages)
        self._clock = EmergencyClock()
        self._opening: list[Trip] = []
        self._operated = dict.fromkeys(self.params.names, 0.0)

    def start(self, t_ns: int) -> Outputs:
        """Nothing is picked up before the first step."""
        self._reset()
        return {"operated": list(self._operated.values())}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        """Look at the bus; open the breakers whose time has come."""
        self._clock.update(inputs["emergency"])
        f_hz, v_pu = inputs["f_hz"].scalar, inputs["v_pu"].scalar
        by_device: list[Change] = []
        rows = carry_out(inputs["command"], {"operate": lambda payload: self._contact(t_ns, payload, by_device)})
        for change in (*self._relay.update(t_ns, f_hz, v_pu), *by_device):
            stage = change.stage
            rows.append(
                {"event": f"relay_{change.what}", "relay": self.params.name, "stage": stage.name, "t_relay_ns": change.t_ns,
                 stage.quantity: f_hz if stage.quantity == "f_hz" else v_pu}
            )  # fmt: skip
            if change.what == "operate":
                self._operated[stage.name] = 1.0
                # what the command needs to arrive is part of the breaker's time
                sent_ns = change.t_ns + max(stage.breaker_ns - DEFAULT_EVENT_DELAY_NS, 0)
                self._opening.append(Trip(sent_ns, change.t_ns, self.params.name, stage))
        self._opening.sort(key=lambda trip: trip.t_open_ns)
        ready = [trip for trip in self._opening if trip.t_open_ns <= t_ns]
        self._opening = self._opening[len(ready) :]
        trips = [open_breaker(trip.stage.name, trip.stage.feeders) for trip in ready]
        wishes = (self._clock.next_ns(t_ns), self._relay.due_ns, self._opening[0].t_open_ns if self._opening else None)
        outputs = {"operated": list(self._operated.values()), "trip": trips, "soe": rows}
        return Step(outputs, min((wish for wish in wishes if wish is not None), default=None))

    def _contact(self, t_ns: int, payload: Mapping[str, Any], found: list[Change]) -> None:
        """A device's contact has closed: its stage operates, once. ValueError for a stage that is no device's."""
        stages = {stage.name: stage for stage in self.params.wired}
        name = str(payload["stage"])
        if name not in stages:
            raise ValueError(f"no stage '{name}' is left to a device; {', '.join(stages) or 'none'} is")
        if not self._operated[name] and all(change.stage.name != name for change in found):
            found.append(Change(t_ns, stages[name], "operate"))

    def stop(self) -> None:
        """Nothing to release."""


def open_breaker(cause: str, feeders: int | None) -> dict[str, Any]:
    """The command to a distribution federate: how many of its like feeders, None: all that are still in service."""
    return {"action": "open_breaker", "cause": cause, **({} if feeders is None else {"feeders": feeders})}
