"""From a scenario to a `Federation`: specs, the links that kinds imply, groups, injections, what is recorded."""

from __future__ import annotations

from collections.abc import Iterator

from federates.runtime.federate import Coupling, Federation, Injection, Link, Spec
from scenarios.actions import payload
from scenarios.inventory import FeederInventory, Inventory
from scenarios.load import LoadedScenario
from scenarios.problem import Problem, ScenarioError
from scenarios.schema import SIGNAL_PATTERN, Scenario
from scenarios.specs import SpecMaker, ns

_DEFAULT_RECORD = {
    "transmission": (
        "v_pu", "angle_rad", "f_hz", "all_v_pu", "load_p_w", "load_q_var", "line_status", "gen_p_w", "governor_p_w", "coupling",
    ),
    "distribution": ("head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "node_v_pu", "tap", "capacitor", "switch", "losses_w"),
    "ders": ("p_w", "q_var", "status", "available_w", "soc_wh"),
    "scada": ("head_p_w", "head_q_var", "bus_p_w", "bus_q_var", "f_hz"),
    "ami": ("coverage", "age_s"),
}  # fmt: skip
"""By kind. What is large and can be had from the rest (loads one by one, meters) is left out; `record: all` keeps it."""


def build(loaded: LoadedScenario, inventory: Inventory) -> Federation:
    """The federation of a scenario. Raises ScenarioError where parameters do not fit together."""
    scenario = loaded.scenario
    return Federation(
        name=scenario.name,
        stop_ns=ns(scenario.stop_s),
        specs=_specs(loaded, inventory),
        links=tuple(_links(scenario, inventory)),
        injections=tuple(Injection(ns(event.t_s), event.to, "command", payload(event.action)) for event in scenario.events),
        coupling=_coupling(scenario),
        groups=_groups(scenario),
        record=_record(scenario),
        watchdog_ns=ns(scenario.watchdog_s),
        start_limit_ns=ns(scenario.start_limit_s),
    )


def _specs(loaded: LoadedScenario, inventory: Inventory) -> tuple[Spec, ...]:
    maker = SpecMaker(loaded.scenario, inventory)
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


def _coupling(scenario: Scenario) -> Coupling | None:
    grids, followers = scenario.of_kind("transmission"), tuple(d.name for d in scenario.of_kind("distribution"))
    if not grids or not followers:
        return None
    mode = scenario.coupling
    return Coupling(grids[0].name, followers, mode.mode == "iterate", mode.tolerance_pu, mode.max_iterations)


def _groups(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """The scenario's groups; whoever is in none goes to the group `main`.

    One process is the default because an exchange between processes costs milliseconds (HELICS 3.6.1, `zmq_ss`, global time).
    """
    groups = {name: list(members) for name, members in scenario.groups.items()}
    placed = {name for members in groups.values() for name in members}
    for entry in scenario.federates:
        if entry.name not in placed:
            groups.setdefault("main", []).append(entry.name)
    return {name: tuple(members) for name, members in groups.items() if members}


def _record(scenario: Scenario) -> frozenset[str] | None:
    """What is asked for, and whatever an expectation looks at."""
    if scenario.record == "all":
        return None
    if scenario.record == "default":
        asked = {f"{entry.name}.{port}" for entry in scenario.federates for port in _DEFAULT_RECORD.get(entry.kind, ())}
    else:
        asked = set(scenario.record)
    judged = (SIGNAL_PATTERN.match(expectation.signal) for expectation in scenario.expect)
    return frozenset(asked | {f"{match[1]}.{match[2]}" for match in judged if match})


def _links(scenario: Scenario, inventory: Inventory) -> Iterator[Link]:
    for entry in scenario.of_kind("distribution"):
        yield from _feeder_links(scenario, entry.name, entry.grid, inventory.feeders[entry.name])
    for ems in scenario.of_kind("ems"):
        yield from _same(ems.grid, ems.name, "f_hz", "all_v_pu", "load_p_w", "load_q_var", "line_status", "gen_p_w")
        for builder in scenario.of_kind("tblm"):
            yield Link(builder.name, "tblm", ems.name, f"tblm_{builder.name}")
            yield Link(ems.name, "ack", builder.name, "ack")
    for link in scenario.links:
        source, _, source_port = link.source.partition(".")
        target, _, target_port = link.target.partition(".")
        yield Link(source, source_port, target, target_port, ns(link.delay_s))


def _feeder_links(scenario: Scenario, feeder: str, grid: str, inventory: FeederInventory) -> Iterator[Link]:
    """Everything around one feeder: the grid above it, its DER, its telemetry, its meters and its builder."""
    kinds = ("ders", "scada", "meters", "ami", "tblm")
    by_kind = {kind: [entry.name for entry in scenario.of_kind(kind) if entry.feeder == feeder] for kind in kinds}
    yield Link(feeder, "bus_p_w", grid, f"p_{feeder}")
    yield Link(feeder, "bus_q_var", grid, f"q_{feeder}")
    yield from _same(grid, feeder, "v_pu", "angle_rad", "f_hz", "emergency")
    for ders in by_kind["ders"]:
        yield Link(feeder, "der_v_pu", ders, "v_pu")
        yield from _same(grid, ders, "f_hz", "emergency")
        yield Link(ders, "p_w", feeder, "der_p_w")
        yield Link(ders, "q_var", feeder, "der_q_var")
    devices = {"tap": inventory.reg_names, "capacitor": inventory.capacitor_names, "switch": inventory.switch_names}
    states = [port for port, ids in devices.items() if ids]
    for scada in by_kind["scada"]:
        yield from _same(feeder, scada, "head_p_w", "head_q_var", "bus_p_w", "bus_q_var", *states, "soe")
        yield Link(grid, "v_pu", scada, "bus_v_pu")
        yield Link(grid, "angle_rad", scada, "bus_angle_rad")
        yield from _same(grid, scada, "f_hz")
        yield Link(scada, "control", feeder, "command")
        for ders in by_kind["ders"]:
            for port in ("p_w", "q_var", "status", "available_w"):
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
                yield from _same(scada, builder, "der_p_w", "der_q_var", "der_status", "der_available_w")
            yield from _same(scada, builder, "soe")
        for ami in by_kind["ami"]:
            yield from _same(ami, builder, "load_p_w", "load_q_var", "coverage")


def _same(source: str, target: str, *ports: str) -> Iterator[Link]:
    """Links between ports of the same name."""
    return (Link(source, port, target, port) for port in ports)
