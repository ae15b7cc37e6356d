"""Every region of a feeder: by bus voltage, delivery class and quantile of what resources have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federates.grid.feeder import Feeder
from federates.grid.feeder.network import Network
from federates.tblm.capability.devices import Setting, device_range, present, put, worthwhile
from federates.tblm.capability.limits import LimitRules, limits_of
from federates.tblm.capability.polygon import apart, area, hull
from federates.tblm.capability.region import Region, RegionOptions, RegionSearch
from federates.tblm.capability.resources import Quantile, Resource, held
from federates.tblm.capability.space import Space

Floats = NDArray[np.float64]

INVERTERS_S, DEVICES_S, REQUESTS_S = 2.0, 60.0, 900.0
"""The delivery classes: inverters at once; taps and capacitors too; what has to be asked for too."""


@dataclass(frozen=True)
class CapabilityOptions:
    """v_pu: bus voltages, () for the present one. delivery_s: classes, rising. quantiles: in the order P10, P50, P90. devices:
    regulators and capacitors that may be moved from the class of 60 s on, None for all, () for none; tap_moves: by how many taps at
    most."""

    v_pu: tuple[float, ...] = ()
    delivery_s: tuple[float, ...] = (INVERTERS_S, DEVICES_S, REQUESTS_S)
    quantiles: tuple[Quantile, ...] = ("P10", "P50", "P90")
    devices: tuple[str, ...] | None = None
    tap_moves: int = 8
    region: RegionOptions = field(default_factory=RegionOptions)


@dataclass(frozen=True, eq=False)
class Capability:
    """One region at the head, load positive, and how its corners are reached.

    pq [n, 2] W and var, counter-clockwise; der_p_w, der_q_var [n, n_der] generation positive; taps [n, n_regs] and capacitors
    [n, n_caps] steps. Every corner was verified by a full three-phase solve. gap: what may be missing, part of the area. why_empty:
    the limit that no set-points keep, '' where there is a region."""

    v_pu: float
    delivery_s: float
    quantile: Quantile
    pq: Floats
    der_p_w: Floats
    der_q_var: Floats
    taps: NDArray[np.int32]
    capacitors: NDArray[np.int32]
    gap: float
    why_empty: str = ""

    @property
    def area(self) -> float:
        """W var."""
        return area(self.pq)


@dataclass(eq=False)
class _Found:
    """Regions by setting, and the set-points of all resources that they were found with."""

    spaces: list[tuple[Setting, Space, RegionSearch, Region]]

    def powers(self) -> list[tuple[Setting, Floats, Floats]]:
        return [(setting, *space.powers(flow.x)) for setting, space, _, region in self.spaces for flow in region.vertices]


class CapabilityStudy:
    """The regions of one feeder, which is left as it was found. resources: in the order of `Feeder.der_names`.

    v_now_pu: voltage at the bus, which the feeder itself cannot tell."""

    def __init__(self, feeder: Feeder, resources: Sequence[Resource], rules: LimitRules, v_now_pu: float = 1.0) -> None:
        self.feeder, self.resources, self.rules, self.v_now_pu = feeder, tuple(resources), rules, v_now_pu
        self.network = Network(feeder)

    def run(self, options: CapabilityOptions) -> list[Capability]:
        """The regions, by voltage, then class, then quantile. One that is empty says why. ValueError: a bus, line or device of the
        rules or options that the feeder has not."""
        feeder = self.feeder
        device_range(feeder, options.devices, options.tap_moves)  # names that are not there come to light before anything is tried
        limits_of(feeder, self.network, self.rules)
        before, out = present(feeder), []
        power = feeder.der_power() if feeder.der_names else (np.zeros(0), np.zeros(0))
        for v_pu in options.v_pu or (self.v_now_pu,):
            feeder.set_source(v_pu)
            put(feeder, before)
            self.stand()
            out += self._at_voltage(v_pu, options)
        feeder.set_source(self.v_now_pu)
        put(feeder, before)
        feeder.set_der(*power)
        feeder.solve()
        return out

    def stand(self) -> None:
        """Solve with every resource where it stands."""
        self.feeder.set_der([r.p_now_w for r in self.resources], [r.q_now_var for r in self.resources])
        self.feeder.solve()

    def _at_voltage(self, v_pu: float, options: CapabilityOptions) -> list[Capability]:
        out: list[Capability] = []
        inner: dict[Quantile, _Found] = {}  # of the class before: what it can, the next one can, as far as energy lasts
        for delivery_s in options.delivery_s:
            smaller: _Found | None = None
            for quantile in options.quantiles:
                same = next((c for c in out if _alike(c, delivery_s, quantile, self.resources, options.devices != ())), None)
                if same is not None:
                    out.append(_relabelled(same, delivery_s, quantile))
                    continue
                known = [found for found in (smaller, inner.get(quantile)) if found is not None]
                try:
                    found = self._find(delivery_s, quantile, options, known)
                except ValueError as error:
                    out.append(_empty(v_pu, delivery_s, quantile, self.feeder, str(error)))
                    continue
                inner[quantile] = smaller = found
                out.append(self._capability(v_pu, delivery_s, quantile, found))
        return out

    def _find(self, delivery_s: float, quantile: Quantile, options: CapabilityOptions, known: list[_Found]) -> _Found:
        feeder, free = self.feeder, ~held(self.resources, delivery_s)
        resources = [resource.at(quantile, delivery_s) for resource in self.resources]
        limits = limits_of(feeder, self.network, self.rules)

        def space() -> Space:
            return Space(feeder, self.network, limits, resources, free)

        before, settings = present(feeder), [present(feeder)]
        if delivery_s >= DEVICES_S:
            settings = worthwhile(feeder, self.network, space, device_range(feeder, options.devices, options.tap_moves))
        for setting, *_ in (place for found in known for place in found.spaces):
            if not any(setting.same(other) for other in settings):
                settings.append(setting)
        spaces = []
        for setting in settings:
            put(feeder, setting)
            here = space()
            points = [here.x_of(p, q) for found in known for at, p, q in found.powers() if at.same(setting)]
            search = RegionSearch(here, options.region, points)
            try:
                spaces.append((setting, here, search, search.run()))
            except ValueError:
                if len(settings) == 1:
                    raise
        put(feeder, before)
        self.stand()
        if not spaces:
            raise ValueError("no set-points keep the limits in any setting of taps and capacitors")
        return _Found(spaces)

    def _capability(self, v_pu: float, delivery_s: float, quantile: Quantile, found: _Found) -> Capability:
        rows = [
            (flow.pq, *space.powers(flow.x), setting.taps, setting.capacitors)
            for setting, space, _, region in found.spaces
            for flow in region.vertices
        ]
        pq = np.array([row[0] for row in rows])
        outline = hull(pq)
        corners = [rows[k] for k in outline[apart(pq[outline])]]
        der_p, der_q, taps, steps = (np.array([row[k] for row in corners]) for k in range(1, 5))
        gap = max(region.gap for _, _, _, region in found.spaces)
        return Capability(v_pu, delivery_s, quantile, np.array([row[0] for row in corners]), der_p, der_q, taps, steps, gap)


def _alike(other: Capability, delivery_s: float, quantile: Quantile, resources: Sequence[Resource], devices: bool) -> bool:
    """Whether another region is the same one by definition: nothing that tells them apart. devices: whether any may move."""
    if other.delivery_s != delivery_s:
        more = any(other.delivery_s < r.notice_s <= delivery_s for r in resources)
        more = more or (devices and other.delivery_s < DEVICES_S <= delivery_s)
        if more or other.quantile != quantile:
            return False
    pairs = ((r.at(other.quantile, other.delivery_s), r.at(quantile, delivery_s)) for r in resources)
    return all((a.p_min_w, a.p_max_w) == (b.p_min_w, b.p_max_w) for a, b in pairs)


def _relabelled(other: Capability, delivery_s: float, quantile: Quantile) -> Capability:
    return Capability(
        other.v_pu, delivery_s, quantile, other.pq, other.der_p_w, other.der_q_var, other.taps, other.capacitors, other.gap,
        other.why_empty,
    )  # fmt: skip


def _empty(v_pu: float, delivery_s: float, quantile: Quantile, feeder: Feeder, why: str) -> Capability:
    n_der, n_regs, n_caps = len(feeder.der_names), len(feeder.reg_names), len(feeder.capacitor_names)
    nothing, none = np.zeros((0, n_der)), np.zeros((0, n_regs), np.int32)
    return Capability(
        v_pu, delivery_s, quantile, np.zeros((0, 2)), nothing, nothing, none, np.zeros((0, n_caps), np.int32), 0.0, why
    )
