"""Meters, AMI and SCADA in the reference runner: the links fit, the calls come as they ask, and runs repeat bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from federates.data_management.ami import Ami, AmiFederate
from federates.data_management.scada import Measured, Scada, ScadaFederate
from federates.field.meters import MeteredLoad, Meters, MetersFederate, meter_ids, meter_nominal_w
from federates.grid.channel import ChannelParams
from federates.runtime.federate import S_NS, Federation, Injection, Link, Spec, Step
from federates.runtime.local import run_local
from federates.runtime.port import Event, Port, Sample

LOADS = tuple(MeteredLoad(name, w) for name, w in (("l1", 30e3), ("l2", 50e3), ("l3", 3e3)))
NAMES = tuple(load.name for load in LOADS)
METERS = Meters("meters", LOADS, interval_ns=60 * S_NS, shares_ns=30 * S_NS, seed=1)
AMI = Ami("ami", meter_ids(METERS), meter_nominal_w(METERS), interval_ns=60 * S_NS, gasps=ChannelParams(2.0), seed=1)
SCADA = Scada(
    "scada",
    (Measured("head_p_w", "W", ("a", "b", "c"), deadband=50.0), Measured("switch", "1", ("sw1",), kind="status", rtu="pole")),
    telemetry=ChannelParams(0.2, 0.4, loss=0.1),
    seed=1,
)


class Feeder:
    """Loads that move; its switch cuts l2 off."""

    period_ns = S_NS
    inputs = (Port("command", kind="event"),)
    outputs = (
        Port("load_p_w", "W", NAMES),
        Port("load_q_var", "var", NAMES),
        Port("load_v_pu", "pu", NAMES),
        Port("head_p_w", "W", ("a", "b", "c")),
        Port("switch", "1", ("sw1",)),
        Port("soe", kind="event"),
    )

    def __init__(self) -> None:
        self.closed = 1.0

    def start(self, t_ns: int) -> dict[str, Any]:
        on = np.array([1.0, self.closed, 1.0])
        p_w = np.array([load.nominal_w for load in LOADS]) * (0.7 + 0.3 * np.sin(t_ns / S_NS / 100.0)) * on
        head = np.full(3, p_w.sum() / 3.0)
        return {"load_p_w": p_w, "load_q_var": 0.2 * p_w, "load_v_pu": on, "head_p_w": head, "switch": [self.closed]}

    def step(self, t_ns: int, inputs: Any) -> Step:
        rows = []
        for event in inputs["command"]:
            self.closed = 0.0
            rows.append({"event": event.payload["action"], "switch": "sw1"})
        return Step({**self.start(t_ns), "soe": rows})

    def stop(self) -> None:
        pass


class Recorder:
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self.vectors: list[tuple[str, str, int, Sample]] = []
        self.events: list[Event] = []

    def vector(self, federate: str, port: Port, t_ns: int, sample: Sample) -> None:
        self.vectors.append((federate, port.name, t_ns, sample))

    def document(self, *_: Any) -> None: ...

    def event(self, event: Event) -> None:
        self.events.append(event)

    def call(self, *_: Any) -> None: ...


def run() -> Recorder:
    links = [Link("feeder", name, "meters", name) for name in ("load_p_w", "load_q_var", "load_v_pu")]
    links += [Link("meters", f"interval_{name}", "ami", f"interval_{name}") for name in ("p_w", "q_var", "v_pu")]
    links += [Link("meters", "meter_event", "ami", "meter_event")]
    links += [Link("feeder", name, "scada", name) for name in ("head_p_w", "switch", "soe")]
    links += [Link("scada", "control", "feeder", "command")]
    order = {"action": "operate", "point": "switch.sw1", "command": {"action": "open_switch", "switch": "sw1"}}
    federation = Federation(
        "test",
        400 * S_NS,
        tuple(Spec(name, "none:none", None) for name in ("feeder", "meters", "ami", "scada")),
        tuple(links),
        (Injection(200 * S_NS, "scada", "command", order),),
    )
    recorder = Recorder()
    federates = {"feeder": Feeder(), "meters": MetersFederate(METERS), "ami": AmiFederate(AMI), "scada": ScadaFederate(SCADA)}
    run_local(federation, recorder, federates=federates)
    return recorder


def test_a_command_goes_out_and_its_effects_come_back_on_every_way() -> None:
    recorder = run()
    rows = [(event.source, event.payload.get("event", event.payload.get("action"))) for event in recorder.events]
    order = [
        rows.index(row)
        for row in (
            ("scada.control", "open_switch"),
            ("feeder.soe", "open_switch"),
            ("scada.soe", "open_switch"),
            ("meters.meter_event", "last_gasp"),
            ("ami.outage", "outage"),
        )
    ]
    assert order[:3] == sorted(order[:3]) and order[1] < order[3] < order[4]
    switch = [(t, s.values[0]) for federate, port, t, s in recorder.vectors if (federate, port) == ("scada", "switch")]
    opened = next(event.t_ns for event in recorder.events if event.source == "feeder.soe")
    seen = next(t for t, value in switch if value == 0.0)
    assert opened < seen < opened + 5 * S_NS
    final = {port: s for federate, port, _, s in recorder.vectors if federate == "ami"}
    assert final["load_p_w"].t_ns == 360 * S_NS
    assert final["load_p_w"].values[1] == 0.0 and final["load_p_w"].values[0] > 1e4


def test_two_runs_give_the_same_bits() -> None:
    first, second = run(), run()
    assert [(f, p, t, s.values.tobytes(), s.times_ns.tobytes(), s.quality.tobytes()) for f, p, t, s in first.vectors] == [
        (f, p, t, s.values.tobytes(), s.times_ns.tobytes(), s.quality.tobytes()) for f, p, t, s in second.vectors
    ]
    assert first.events == second.events
