"""From the `devices:` of a scenario to bridges, their links, and the companions beside the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from federates.runtime.federate import Companion, Link, Spec
from scenarios.devices import Device
from scenarios.load import LoadedScenario
from scenarios.outside import resolve

if TYPE_CHECKING:
    from hil.plan import DevicePlan
    from hil.points import PointMap
    from hil.safety import Warrant

_LONGEST_STALE_PERIODS, _SILENT_PERIODS, _LEAST_SILENCE_S = 3, 10, 2.0


def ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * 1e9)


def load_points(loaded: LoadedScenario, device: Device) -> PointMap:
    """The map of a device; `check` has read it before."""
    from hil.point_csv import load_map

    return load_map(resolve(device.map, loaded.folder))


def bridge_specs(loaded: LoadedScenario) -> Iterator[Spec]:
    """The federate of each device."""
    for device in loaded.scenario.devices:
        from hil.bridge import Bridge
        from hil.plan import Role

        stale_s, silence_s = _ages(device)
        params = Bridge(
            device.name, load_points(loaded, device), Role(device.role), ns(device.period_s), ns(stale_s), ns(silence_s)
        )
        yield Spec(device.name, "hil.bridge:BridgeFederate", params)


def reading_ports(spec: Spec) -> list[str]:
    """The vector outputs of a bridge."""
    return [port.name for port in spec.build().outputs if port.kind == "vector"]


def _ages(device: Device) -> tuple[float, float]:
    stale_s = device.stale_s or _LONGEST_STALE_PERIODS * device.period_s
    return stale_s, device.silence_s or max(_LEAST_SILENCE_S, _SILENT_PERIODS * device.period_s)


def device_links(loaded: LoadedScenario) -> Iterator[Link]:
    """What each map implies: values for the device, commands of its master, and the DER that it stands for."""
    for device in loaded.scenario.devices:
        from hil.layout import layout
        from hil.plan import Role

        points = load_points(loaded, device)
        for each in layout(points, Role(device.role)).inputs:
            if each.federate:
                yield Link(each.federate, each.federate_port, device.name, each.port.name)
        if not device.commands:
            for federate in sorted({p.signal.federate for p in points.writes if p.signal is not None}):
                yield Link(device.name, f"to_{federate}", federate, "command")


def wired_ders(loaded: LoadedScenario, feeder: str) -> dict[str, str]:
    """DER of a feeder that devices stand for: name of the unit -> name of the device."""
    found: dict[str, str] = {}
    for device in loaded.scenario.devices:
        name, _, unit = (device.stands_for or "").partition(".")
        if unit and any(entry.name == name and entry.feeder == feeder for entry in loaded.scenario.of_kind("ders")):
            found[unit] = device.name
    return found


def wired_links(loaded: LoadedScenario) -> Iterator[Link]:
    """From devices that stand for DER to their feeders."""
    for feeder in loaded.scenario.of_kind("distribution"):
        for unit, device in wired_ders(loaded, feeder.name).items():
            yield Link(device, "p_w", feeder.name, f"wired_p_w_{unit}")
            yield Link(device, "q_var", feeder.name, f"wired_q_var_{unit}")


def companions(loaded: LoadedScenario, warrant: Warrant | None, stop_file: Path) -> tuple[Companion, ...]:
    """A gatekeeper for each device (or group of devices), and the stand-ins."""
    if not loaded.scenario.devices:
        return ()
    from hil.plan import GatekeeperPlan

    groups: dict[str, list[Device]] = {}
    for device in loaded.scenario.devices:
        groups.setdefault(device.gatekeeper or device.name, []).append(device)
    found = []
    for name, members in groups.items():
        members.sort(
            key=lambda device: device.commands
        )  # an outstation of ours must listen before an RTU that polls it is waited for
        plans = tuple(_plan(loaded, device) for device in members)
        limit_ns = ns(min(device.solver_limit_s for device in members))
        plan = GatekeeperPlan(name, plans, stop_file, warrant, limit_ns)
        found.append(Companion(f"gate_{name}", "hil.gatekeeper:serve", plan))
    return (*found, *(_stand_in(loaded, device) for device in loaded.scenario.devices if device.stand_in is not None))


def _plan(loaded: LoadedScenario, device: Device) -> DevicePlan:
    from hil.plan import USUAL_LINE, DevicePlan, Interlock, OnFault, OnReconnect, Policy, Role, TlsSettings

    role = Role(device.role)
    stale_s, silence_s = _ages(device)
    files = device.tls
    tls = None
    if files is not None:
        certificate, key, authority = (resolve(path, loaded.folder) for path in (files.certificate, files.key, files.authority))
        tls = TlsSettings(certificate, key, authority, files.server_role)
    return DevicePlan(
        name=device.name,
        role=role,
        address=device.address if device.address is not None else f"@{_stand_in_name(device)}",
        points=load_points(loaded, device),
        period_ns=ns(device.period_s),
        policy=Policy(device.policy),
        on_fault=OnFault(device.on_fault),
        on_reconnect=OnReconnect(device.on_reconnect),
        lease_s=device.lease_s,
        stale_ns=ns(stale_s),
        silence_ns=ns(silence_s),
        timeout_s=device.timeout_s,
        start_limit_s=device.start_limit_s,
        integrity_ns=ns(device.dnp3.integrity_s),
        interlocks=tuple(Interlock(lock.point, lock.when, lock.equals, lock.because) for lock in device.interlocks),
        serial=None if device.serial is None else replace(USUAL_LINE[role.protocol], **device.serial.model_dump(exclude_none=True)),
        tls=tls,
        dnp3_address=device.dnp3.outstation,
        dnp3_master=device.dnp3.master,
        time_sync=device.dnp3.time_sync,
        is_stand_in=device.stand_in is not None,
    )


def _stand_in_name(device: Device) -> str:
    return f"stand_in_{device.name}"


def _stand_in(loaded: LoadedScenario, device: Device) -> Companion:
    from hil.stand_ins import Polled, StandInPlan

    entry = device.stand_in
    assert entry is not None
    path = resolve(device.map, loaded.folder)
    if entry.kind in ("rtu", "rtu_dnp3_python", "relay"):
        by_name = {each.name: each for each in loaded.scenario.devices}
        arguments: tuple[str, ...] = (
            "--map", path, "--address", str(device.dnp3.outstation), "--master", str(device.dnp3.master),
            "--poll", str(entry.poll_s),
        )  # fmt: skip
        if entry.kind == "relay":
            arguments += (
                "--measures", str(entry.measures), "--trips", str(entry.trips), "--pickup", str(entry.pickup),
                "--delay", str(entry.delay_s), "--reset", str(entry.reset),
            )  # fmt: skip
        polled = tuple(
            Polled(name, resolve(by_name[name].map, loaded.folder), by_name[name].dnp3.outstation) for name in entry.polls
        )
    else:
        baud = ("--baud", str(device.serial.baud)) if device.serial is not None and device.serial.baud is not None else ()
        arguments, polled = (("--p-max", str(entry.p_max_w)) if entry.kind == "inverter" else baud), ()
    return Companion(_stand_in_name(device), "hil.stand_ins:serve", StandInPlan(entry.kind, arguments, polled), ends_last=True)
