"""Which points of a map travel between a device and the simulation, in which order, and on which ports of the bridge.

Where we are the master or client, readings come in and numbers to be followed go out; where we play the device, what masters are
shown goes out. Both processes make the layout from the same map, so neither tells the other.

A point that stands for `federate.port:id` becomes the id of the bridge's port `port` (`federate_port` where two federates have a
port of that name); one that stands for nothing is a scalar port under its own name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from federates.runtime.port import Port
from hil.plan import Role
from hil.points import MapPoint, PointMap, PointTable

OWN_PORTS = frozenset(("command", "result", "soe", "link", "times"))
"""Ports of a bridge that no point makes."""


@dataclass(frozen=True, slots=True)
class PortLayout:
    """A port of the bridge, the places of its values in the frame of its direction, and the federate and port that it stands for
    ("" for none)."""

    port: Port
    places: tuple[int, ...]
    federate: str = ""
    federate_port: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """`inward`: rows whose readings come in. `outward`: rows whose values go out. Each in the order of its frame."""

    inward: tuple[MapPoint, ...]
    outward: tuple[MapPoint, ...]
    inputs: tuple[PortLayout, ...]
    outputs: tuple[PortLayout, ...]


def layout(points: PointMap, role: Role) -> Layout:
    """The layout of a device. ValueError for points that cannot share a port, or one whose name is taken."""
    if role.commands:
        inward = points.reads
        outward = tuple(point for point in points.writes if is_followed(point))
    else:
        inward = ()
        outward = tuple(point for point in points.reads if point.signal is not None and not point.is_text)
    return Layout(
        inward,
        outward,
        _ports(outward, "to the device"),
        _ports([None if p.is_text else p for p in inward], "read from the device"),
    )


def is_followed(point: MapPoint) -> bool:
    """Whether a `write` row follows a value of the simulation by itself. Controls never do: they are commanded."""
    return point.is_write and point.signal is not None and point.table is not PointTable.BINARY_OUTPUT and not point.is_text


def _ports(points: Sequence[MapPoint | None], doc: str) -> tuple[PortLayout, ...]:
    """`None` keeps a place in the frame that no port shows (texts)."""
    federates: dict[str, set[str]] = {}
    for point in points:
        if point is not None and point.signal is not None:
            federates.setdefault(point.signal.port, set()).add(point.signal.federate)
    groups: dict[str, list[tuple[int, MapPoint]]] = {}
    for place, point in enumerate(points):
        if point is not None:
            groups.setdefault(_port_name(point, federates), []).append((place, point))
    return tuple(_port(name, members, doc) for name, members in groups.items())


def _port_name(point: MapPoint, federates: dict[str, set[str]]) -> str:
    if point.signal is None:
        name = re.sub(r"\W+", "_", point.name, flags=re.ASCII).strip("_")
        return name if name[:1].isalpha() else f"p_{name}"
    port = point.signal.port
    return port if len(federates[port]) == 1 else f"{point.signal.federate}_{port}"


def _port(name: str, members: list[tuple[int, MapPoint]], doc: str) -> PortLayout:
    first = members[0][1]
    if name in OWN_PORTS:
        raise ValueError(f"point {first.name!r} would be the port {name!r}, which every device has; rename it")
    seen: dict[str | None, str] = {}
    for _, point in members:
        identity = None if point.signal is None else point.signal.id
        if identity in seen:
            what = "make the same port" if point.signal is None else f"both stand for {point.signal}"
            raise ValueError(f"points {seen[identity]!r} and {point.name!r} {what}; leave it to one of the two")
        if point.unit != first.unit:
            raise ValueError(
                f"points {first.name!r} and {point.name!r} share the port {name!r} and are in {first.unit} and {point.unit}"
            )
        seen[identity] = point.name
    signal = members[0][1].signal
    federate, port = ("", "") if signal is None else (signal.federate, signal.port)
    ids = tuple(point.signal.id for _, point in members if point.signal is not None and point.signal.id is not None)
    places = tuple(place for place, _ in members)
    return PortLayout(Port(name, members[0][1].unit, ids, doc), places, federate, port)
