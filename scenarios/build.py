"""From a scenario to a `Federation`: specs, the links that kinds imply, groups, injections, what is recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federates.runtime.federate import S_NS, Coupling, Federation, Injection, Link, Spec
from scenarios.actions import Request, payload
from scenarios.device_build import bridge_specs, companions, device_links, reading_ports, wired_ders, wired_links
from scenarios.dynamics_check import START_S
from scenarios.inventory import FeederInventory, Inventory
from scenarios.kinds import BULK_KINDS
from scenarios.kinds_shedding import Schemes
from scenarios.load import LoadedScenario
from scenarios.problem import Problem, ScenarioError
from scenarios.replay_build import frequency_ports
from scenarios.schema import SIGNAL_PATTERN, Scenario
from scenarios.specs import SpecMaker, ns

if TYPE_CHECKING:
    from hil.safety import Warrant

_DEFAULT_RECORD = {
    "transmission": (
        "v_pu", "angle_rad", "f_hz", "all_v_pu", "load_p_w", "load_q_var", "line_status", "gen_p_w", "gen_status",
        "governor_p_w", "coupling",
    ),
    "areas": (
        "load_p_w", "gen_p_w", "response_p_w", "relief_p_w", "embedded_lost_p_w", "ufls_stages", "lowest_hz", "lowest_at_s",
        "highest_hz", "highest_at_s", "tie_p_w", "v_pu",
    ),
    "player": ("f_hz", "v_pu", "load_p_w", "load_q_var"),
    "distribution": (
        "head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "node_v_pu", "tap", "capacitor", "switch", "losses_w",
        "feeders_closed", "motors",
    ),
    "ders": ("p_w", "q_var", "status", "available_w", "soc_wh"),
    "relays": ("operated",),
    "scada": ("head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "f_hz"),
    "ami": ("coverage", "age_s"),
}  # fmt: skip
"""By kind. What is large and can be had from the rest (loads one by one, meters) is left out; `record: all` keeps it."""


def build(
    loaded: LoadedScenario, inventory: Inventory, warrant: Warrant | None = None, stop_file: Path | None = None
) -> Federation:
    """The federation of a scenario. Raises ScenarioError where parameters do not fit together.

    `warrant`: for a live run of its devices (None: a dry run); `stop_file`: their emergency stop.
    """
    scenario = loaded.scenario
    bridges = tuple(bridge_specs(loaded))
    wired = {unit for feeder in scenario.of_kind("distribution") for unit in wired_ders(loaded, feeder.name)}
    devices = companions(loaded, warrant, stop_file or Path("EMERGENCY_STOP").absolute())
    return Federation(
        name=scenario.name,
        stop_ns=ns(scenario.stop_s),
        specs=(*_specs(loaded, inventory), *bridges),
        links=(*_links(scenario, inventory, wired), *device_links(loaded), *wired_links(loaded)),
        injections=tuple(Injection(ns(e.t_s), e.to, _event_port(e.action), payload(e.action)) for e in scenario.events),
        coupling=_coupling(scenario),
        groups=_groups(scenario),
        window_ns=_window_ns(scenario),
        record=_record(scenario, {spec.name: reading_ports(spec) for spec in bridges}),
        watchdog_ns=ns(scenario.watchdog_s),
        start_limit_ns=ns(scenario.start_limit_s + (START_S if _with_dynamics(scenario) else 0.0)),
        real_time=bool(devices) if scenario.real_time is None else scenario.real_time,
        companions=devices,
    )


def _event_port(action: object) -> str:
    """The port that takes an action."""
    return "request" if isinstance(action, Request) else "command"


def _specs(loaded: LoadedScenario, inventory: Inventory) -> tuple[Spec, ...]:
    maker = SpecMaker(
        loaded.scenario,
        inventory,
        {f.name: tuple(wired_ders(loaded, f.name)) for f in loaded.scenario.of_kind("distribution")},
        loaded.folder,
    )
    specs: list[Spec] = []
    problems: list[Problem] = []
    for n, entry in enumerate(loaded.scenario.federates):
        try:
            specs.append(maker.spec(entry))
        except ValueError as error:
            problems.append(loaded.document.problem(("federates", n), str(error)))
    if problems:
        raise ScenarioError(problems)
    return tuple(specs)


def _with_dynamics(scenario: Scenario) -> bool:
    return any(grid.engine == "dynamics" for grid in scenario.of_kind("transmission"))


def _coupling(scenario: Scenario) -> Coupling | None:
    grids, followers = _bulk(scenario), tuple(d.name for d in scenario.of_kind("distribution"))
    if not grids or not followers:
        return None
    mode = scenario.coupling
    return Coupling(grids[0].name, followers, mode.mode == "iterate", mode.tolerance_pu, mode.max_iterations)


def _bulk(scenario: Scenario) -> list[Any]:
    return [grid for kind in BULK_KINDS for grid in scenario.of_kind(kind)]


def _groups(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """The scenario's groups; whoever is in none goes to the group `main`.

    One process is the default: several pay only where one of them can run ahead of the others (`federates/runtime/ahead.py`), or
    where there is much to do at each exchange.
    """
    groups = {name: list(members) for name, members in scenario.groups.items()}
    placed = {name for members in groups.values() for name in members}
    for name in (*(entry.name for entry in scenario.federates), *(device.name for device in scenario.devices)):
        if name not in placed:
            groups.setdefault("main", []).append(name)
    return {name: tuple(members) for name, members in groups.items() if members}


def _window_ns(scenario: Scenario) -> int:
    """Ten seconds, more in long runs: some hundreds of windows are enough to keep two processes busy."""
    return max(10, round(scenario.stop_s / 360)) * S_NS


def _record(scenario: Scenario, device_ports: Mapping[str, Sequence[str]]) -> frozenset[str] | None:
    """What is asked for, and whatever an expectation looks at."""
    if scenario.record == "all":
        return None
    if scenario.record == "default":
        asked = {f"{entry.name}.{port}" for entry in scenario.federates for port in _DEFAULT_RECORD.get(entry.kind, ())}
        asked |= {f"{name}.{port}" for name, ports in device_ports.items() for port in ports}
        asked |= {f"{e.name}.{port}" for e in scenario.of_kind("areas") for port in frequency_ports([a.name for a in e.areas])}
    else:
        asked = set(scenario.record)
    signals = [*(entry.signal for entry in scenario.expect), *(entry.signal for entry in scenario.recorded)]
    judged = (SIGNAL_PATTERN.match(signal) for signal in signals)
    return frozenset(asked | {f"{match[1]}.{match[2]}" for match in judged if match})


def _links(scenario: Scenario, inventory: Inventory, wired: Collection[str]) -> Iterator[Link]:
    for entry in scenario.of_kind("distribution"):
        yield from _feeder_links(scenario, entry.name, entry.grid, inventory.feeders[entry.name], wired)
    for entry in scenario.of_kind("schemes"):
        yield from _scheme_links(entry)
    for ems in scenario.of_kind("ems"):
        yield from _same(
            ems.grid, ems.name, "f_hz", "all_v_pu", "load_p_w", "load_q_var", "line_status", "gen_p_w", "gen_status", "soe"
        )
        for builder in scenario.of_kind("tblm"):
            yield Link(builder.name, "tblm", ems.name, f"tblm_{builder.name}")
            yield Link(ems.name, "ack", builder.name, "ack")
            yield Link(ems.name, "equivalent", builder.name, "equivalent")
    for link in scenario.links:
        source, _, source_port = link.source.partition(".")
        target, _, target_port = link.target.partition(".")
        yield Link(source, source_port, target, target_port, ns(link.delay_s))


def _feeder_links(scenario: Scenario, feeder: str, grid: str, inventory: FeederInventory, wired: Collection[str]) -> Iterator[Link]:
    """Everything around one feeder: the grid above it, its DER, its telemetry, its meters and its builder. `wired`: DER whose place
    a device takes."""
    simulated = inventory.der is not None and any(site.name not in wired for site in inventory.der.sites)
    stored = inventory.der is not None and bool(inventory.der.settings.storage(inventory.der.names))
    kinds = ("ders", "relays", "scada", "meters", "ami", "tblm")
    by_kind = {kind: [entry.name for entry in scenario.of_kind(kind) if entry.feeder == feeder] for kind in kinds}
    yield Link(feeder, "bus_p_w", grid, f"p_{feeder}")
    yield Link(feeder, "bus_q_var", grid, f"q_{feeder}")
    yield from _same(grid, feeder, "v_pu", "angle_rad", "f_hz", "emergency")
    for ders in by_kind["ders"]:
        yield Link(feeder, "der_v_pu", ders, "v_pu")
        yield from _same(grid, ders, "f_hz", "emergency")
        if simulated:
            yield Link(ders, "p_w", feeder, "der_p_w")
            yield Link(ders, "q_var", feeder, "der_q_var")
    for relays in by_kind["relays"]:
        yield from _same(grid, relays, "v_pu", "f_hz", "emergency")
        yield Link(relays, "trip", feeder, "command")
    devices = {"tap": inventory.reg_names, "capacitor": inventory.capacitor_names, "switch": inventory.switch_names}
    states = ["feeders_closed", *(port for port, ids in devices.items() if ids)]
    for scada in by_kind["scada"]:
        yield from _same(feeder, scada, "head_p_w", "head_q_var", "bus_p_w", "bus_q_var", *states, "soe")
        yield Link(grid, "v_pu", scada, "bus_v_pu")
        yield Link(grid, "angle_rad", scada, "bus_angle_rad")
        yield from _same(grid, scada, "f_hz")
        yield Link(scada, "control", feeder, "command")
        for relays in by_kind["relays"]:
            yield from _same(relays, scada, "soe")
        for ders in by_kind["ders"]:
            for port in ("p_w", "q_var", "status", "available_w", *(("soc_wh",) if stored else ())):
                yield Link(ders, port, scada, f"der_{port}")
            yield from _same(ders, scada, "soe")
    for ami in by_kind["ami"]:
        for meters in by_kind["meters"]:
            yield from _same(meters, ami, "interval_p_w", "interval_q_var", "interval_v_pu", "meter_event")
    for meters in by_kind["meters"]:
        yield from _same(feeder, meters, "load_p_w", "load_q_var", "load_v_pu")
    for builder in by_kind["tblm"]:
        for scada in by_kind["scada"]:
            measured = ("head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "bus_v_pu", "bus_angle_rad", "f_hz", *states)
            yield from _same(scada, builder, *measured)
            if by_kind["ders"]:
                yield from _same(
                    scada, builder, "der_p_w", "der_q_var", "der_status", "der_available_w", *(("der_soc_wh",) if stored else ())
                )
            yield from _same(scada, builder, "soe")
        for ami in by_kind["ami"]:
            yield from _same(ami, builder, "load_p_w", "load_q_var", "coverage")


def _scheme_links(entry: Schemes) -> Iterator[Link]:
    """A special scheme sees the transmission system and trips feeders."""
    conditions = [condition for row in entry.rows for condition in row.when]
    if any(condition.generator_out is None for condition in conditions):
        yield from _same(entry.grid, entry.name, "line_status", "loading")
    if any(condition.generator_out is not None for condition in conditions):
        yield from _same(entry.grid, entry.name, "gen_status")
    yield from _same(entry.grid, entry.name, "emergency")
    yield Link(entry.grid, "soe", entry.name, "seen")
    for feeder in dict.fromkeys(trip.feeder for row in entry.rows for trip in row.trip):
        yield Link(entry.name, f"trip_{feeder}", feeder, "command")


def _same(source: str, target: str, *ports: str) -> Iterator[Link]:
    """Links between ports of the same name."""
    return (Link(source, port, target, port) for port in ports)
