"""From entries about systems without a network, records and motors to the parameters of their federates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.fields import nanoseconds
from scenarios.kinds import Emergency
from scenarios.kinds_replay import AreaEmergency, AreaEntry, AreasSystem, FleetEntry, Player
from scenarios.outside import resolve
from scenarios.trace import column, read_trace

if TYPE_CHECKING:
    from scenarios.kinds import Distribution
    from scenarios.schema import Scenario


def frequency_ports(areas: Sequence[str]) -> tuple[str, ...]:
    """Names of the ports that carry the frequencies of an areas system."""
    from federates.field import areas as field

    return field.frequency_ports(areas)


def areas(entry: AreasSystem, feeders: Sequence[tuple[str, str]]) -> Any:
    """Parameters of an areas federate with these feeders (name, bus)."""
    from federates.field import areas as field
    from federates.grid.areas import AreasModel, Tie

    ties = tuple(Tie(t.name, t.from_area, t.to_area, t.p_w, t.stiffness_w_per_rad) for t in entry.ties)
    return field.Areas(
        model=AreasModel(entry.nominal_hz, tuple(map(_area, entry.areas)), ties, nanoseconds(entry.step_s)),
        feeders=tuple(name for name, _ in feeders),
        thresholds=thresholds(entry.emergency),
        emergency_step_ns=nanoseconds(entry.emergency.step_s),
        period_ns=nanoseconds(entry.period_s),
    )


def player(entry: Player, feeders: Sequence[tuple[str, str]], folder: Path) -> Any:
    """Parameters of a player; its file is looked for from `folder`."""
    from federates.field import player as field

    if entry.file is not None:
        columns = read_trace(Path(resolve(entry.file, folder)))
    else:
        assert entry.points is not None  # the schema says so
        columns = {key: values for key, values in entry.points.model_dump().items() if values is not None}
    t_s, count = columns["t_s"], len(columns["t_s"])
    trace = field.Trace(
        tuple(t - entry.from_s for t in t_s),
        columns.get("f_hz", (entry.nominal_hz,) * count),
        columns.get("v_pu", (entry.v_pu,) * count),
    )
    return field.Player(
        trace, entry.nominal_hz, tuple(feeders), thresholds(entry.emergency), nanoseconds(entry.emergency.step_s),
        nanoseconds(entry.period_s), entry.short_circuit_va,
    )  # fmt: skip


def motors(entry: Distribution) -> Any:
    """The stalling motors of a feeder; None where it has none."""
    if entry.motors is None:
        return None
    from federates.grid.motor_stall import MotorStall

    return MotorStall(**entry.motors.model_dump())


def recorded(scenario: Scenario, folder: Path) -> list[dict[str, Any]]:
    """What was measured, as the report reads it from meta.json: signal, source, t_s, values; within the run."""
    found = []
    for record in scenario.recorded:
        if record.file is not None:
            columns = read_trace(Path(resolve(record.file, folder)))
            points = list(zip(columns["t_s"], column(columns, record.column, record.file), strict=True))
        else:
            points = list(record.points)
        inside = [(t_s - record.from_s, v) for t_s, v in points if 0.0 <= t_s - record.from_s <= scenario.stop_s]
        values = {"t_s": [t_s for t_s, _ in inside], "values": [value for _, value in inside]}
        found.append({"signal": record.signal, "source": record.source, **values})
    return found


def thresholds(given: AreaEmergency | Emergency) -> Any:
    """When an emergency begins and ends, as the source of voltage and frequency has it."""
    from federates.grid.emergency import EmergencyThresholds

    hold_ns = nanoseconds(given.hold_s)
    return EmergencyThresholds(given.deviation_hz, given.rocof_hz_per_s, given.v_min_pu, hold_ns=hold_ns)


def _area(entry: AreaEntry) -> Any:
    from federates.grid.areas import Area, Embedded, PowerProfile, Shedding

    shedding = (
        Shedding(
            s.scheme, s.pickup_hz, nanoseconds(s.delay_s), nanoseconds(s.breaker_s), s.load_w, s.embedded_w, s.reset_hz
        )
        for s in entry.shedding
    )  # fmt: skip
    embedded = (
        Embedded(e.name, e.p_w, e.under_hz, e.over_hz, e.rocof_hz_per_s, nanoseconds(e.window_s), nanoseconds(e.delay_s))
        for e in entry.embedded
    )
    return Area(
        entry.name, entry.inertia_ws, entry.load_w, entry.damping_pu, tuple(map(_fleet, entry.fleets)),
        tuple(PowerProfile(p.name, p.points) for p in entry.profiles), tuple(shedding), tuple(embedded),
    )  # fmt: skip


def _fleet(entry: FleetEntry) -> Any:
    from federates.grid.areas import Fleet
    from federates.grid.governor import Governor

    if entry.turbine == "lag":
        governor = Governor(entry.name, entry.droop_pu, entry.dead_band_hz, ((0.0, entry.lag_s),))
    else:
        make = getattr(Governor, "steam_reheat" if entry.turbine == "steam" else entry.turbine)
        governor = make(entry.name, entry.droop_pu, entry.dead_band_hz)
    return Fleet(governor, entry.rating_va, entry.headroom_w, entry.footroom_w)
