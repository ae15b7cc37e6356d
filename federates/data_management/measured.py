"""The points that a SCADA system measures: where they are, how often they are scanned, and how well."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from federates.runtime.federate import S_NS


@dataclass(frozen=True, slots=True)
class Measured:
    """A group of like points. Its input and its output are vector ports named `port` over `ids`; a point is `<port>.<id>`.

    Without ids it is one point, named as its port. rtu: the RTU of all points, or one name each. deadband, resolution, low, high:
    in `unit`, the deadband one for all points or one each. accuracy: standard deviation of the relative error of a transducer,
    drawn once a point and cut at three of them. `status` points are exact and sent on change.
    """

    port: str
    unit: str
    ids: tuple[str, ...]
    kind: Literal["analog", "status"] = "analog"
    rtu: str | tuple[str, ...] = "rtu"
    scan_ns: int = 2 * S_NS
    deadband: float | tuple[float, ...] = 0.0
    accuracy: float = 0.0
    resolution: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    source: str = ""

    def __post_init__(self) -> None:
        if self.scan_ns <= 0:
            raise ValueError(f"measured group {self.port}: scan_ns = {self.scan_ns}; give a positive time")
        if not isinstance(self.rtu, str) and len(self.rtu) != len(self.points):
            raise ValueError(f"measured group {self.port}: {len(self.rtu)} RTUs for {len(self.points)} points; give one each")
        if isinstance(self.deadband, tuple) and len(self.deadband) != len(self.points):
            raise ValueError(
                f"measured group {self.port}: {len(self.deadband)} deadbands for {len(self.points)} points; give one each"
            )
        if min(*self.deadbands, self.accuracy, self.resolution) < 0.0 or not self.low < self.high:
            raise ValueError(f"measured group {self.port}: deadband, accuracy and resolution cannot be negative, low is below high")

    @property
    def points(self) -> tuple[str, ...]:
        """Names of its points."""
        return tuple(f"{self.port}.{identity}" for identity in self.ids) or (self.port,)

    @property
    def deadbands(self) -> tuple[float, ...]:
        """The deadband of each point."""
        return self.deadband if isinstance(self.deadband, tuple) else (self.deadband,) * len(self.points)

    @property
    def rtus(self) -> tuple[str, ...]:
        """The RTU of each point."""
        return (self.rtu,) * len(self.points) if isinstance(self.rtu, str) else self.rtu
