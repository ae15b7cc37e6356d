"""What an event of a scenario may ask of whom."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from scenarios.kinds import Positive, Share, Strict


class LineAction(Strict):
    """Take a line or transformer of the transmission system out of service, or put it back."""

    do: Literal["open_line", "close_line"]
    line: str = Field(description='names of its two buses, in quotes: "16-17"; a second one in parallel is "16-17#2"')


class GeneratorAction(Strict):
    """Trip a generator."""

    do: Literal["trip_generator"]
    generator: str = Field(description="G and its bus: G31")


class SetGenerator(Strict):
    """A new schedule."""

    do: Literal["set_generator"]
    generator: str
    p_w: float
    v_pu: Positive | None = None


class SwitchAction(Strict):
    """Open or close a switch, or any line, of a feeder."""

    do: Literal["open_switch", "close_switch"]
    switch: str


class SetTap(Strict):
    """Move a regulator; its control goes on from there."""

    do: Literal["set_tap"]
    regulator: str
    tap: int = Field(ge=-32, le=32)


class SetCapacitor(Strict):
    """Put so many steps of a capacitor into service."""

    do: Literal["set_capacitor"]
    capacitor: str
    steps: int = Field(ge=0)


class DerAction(Strict):
    """Trip DER, or permit service again (they then enter with their delay and ramp). `units`: names, `all`, `pv` or `storage`."""

    do: Literal["trip", "permit_service"]
    units: str | tuple[str, ...] = "all"


class LimitDer(Strict):
    """Limit active power (IEEE 1547-2018 clause 4.6.2)."""

    do: Literal["limit"]
    p_pu: Share
    units: str | tuple[str, ...] = "all"


class SetStorage(Strict):
    """Scheduled power of storage, generation positive."""

    do: Literal["set_power"]
    p_pu: Annotated[float, Field(ge=-1, le=1)]
    units: str | tuple[str, ...] = "storage"


class Operate(Strict):
    """Ask SCADA to operate a point: `command` reaches the feeder over its channel, if the point is tagged remote."""

    do: Literal["operate"]
    point: str = Field(description="port.id of a measured point: switch.sw2")
    command: Annotated[SwitchAction | SetTap | SetCapacitor, Field(discriminator="do")]


class Substitute(Strict):
    """A value entered by hand for a point of SCADA, until it is released."""

    do: Literal["substitute"]
    point: str
    value: float


class Release(Strict):
    """Back to the measured value."""

    do: Literal["release"]
    point: str


class Tag(Strict):
    """Who may operate a point."""

    do: Literal["tag"]
    point: str
    tag: Literal["remote", "local", "blocked"]


class CommFail(Strict):
    """The link of a remote terminal unit carries nothing for so long."""

    do: Literal["comm_fail"]
    rtu: str
    duration_s: Positive


Action = Annotated[
    LineAction
    | GeneratorAction
    | SetGenerator
    | SwitchAction
    | SetTap
    | SetCapacitor
    | DerAction
    | LimitDer
    | SetStorage
    | Operate
    | Substitute
    | Release
    | Tag
    | CommFail,
    Field(discriminator="do"),
]
ACTIONS_OF_KIND: dict[str, tuple[str, ...]] = {
    "transmission": ("open_line", "close_line", "trip_generator", "set_generator"),
    "distribution": ("open_switch", "close_switch", "set_tap", "set_capacitor"),
    "ders": ("trip", "permit_service", "limit", "set_power"),
    "scada": ("operate", "substitute", "release", "tag", "comm_fail"),
}
"""Kind of federate: the actions that its `command` port takes."""


def payload(action: Strict) -> dict[str, Any]:
    """The event that carries an action: its keys, with `do` under the name `action`; what was left out stays out."""
    given = action.model_dump(mode="json", exclude_none=True)
    inner = getattr(action, "command", None)
    if inner is not None:
        given["command"] = payload(inner)
    return {"action": given.pop("do"), **given}
