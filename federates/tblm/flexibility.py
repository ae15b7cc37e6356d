"""The bus's capability and dispatch stack, from the snapshot that its curves were made from.

On a feeder of its own: what it tries moves taps and capacitors, and must not touch the feeder of the curves. What DER may do is
taken from their settings and from what telemetry says is available; the quantiles of that follow a normal distribution around it,
the same for all at once, because one sky is over all of them. Storage gives and takes what its energy bears for as long as a
delivery class lasts; where its energy is not known, nothing of it is counted on (P10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from federates.grid.der import DerSettings, DerType
from federates.grid.feeder import Feeder, FeederError, FeederModel
from federates.grid.feeder.network import Network
from federates.grid.load import frequency_response
from federates.tblm.capability.compute import Capability, CapabilityOptions, CapabilityStudy
from federates.tblm.capability.limits import LimitRules, limits_of
from federates.tblm.capability.region import RegionOptions
from federates.tblm.capability.resources import Resource
from federates.tblm.capability.space import Space
from federates.tblm.dispatch import Block, Terms, stack
from federates.tblm.flexibility_model import CapabilityRegion, DispatchBlock, Flexibility
from federates.tblm.model import LikeFeeders, Tblm
from federates.tblm.study import Base

_STILL_HOLDS = ("periodic", "request", "deviation")  # triggers after which what was made is only older
_P10_SIGMAS = 1.2815515655446004  # of the normal distribution


@dataclass(frozen=True)
class FlexibilityParams:
    """every_ns: how old regions may become. sigma: standard deviation of what PV has available, part of it. pv, storage: terms of
    the dispatch stack; None: not offered."""

    every_ns: int
    rules: LimitRules = field(default_factory=LimitRules)
    options: CapabilityOptions = field(default_factory=lambda: CapabilityOptions(region=RegionOptions(directions=32)))
    sigma: float = 0.1
    pv: Terms | None = None
    storage: Terms | None = None

    def __post_init__(self) -> None:
        if self.every_ns <= 0:
            raise ValueError(f"capability every {self.every_ns} ns; give a positive time")


class FlexibilityStudy:
    """Makes the flexibility of one bus. settings: of the feeder model's DER sites, in their order."""

    def __init__(self, model: FeederModel, settings: DerSettings | None, params: FlexibilityParams) -> None:
        self.params, self.settings = params, settings
        self.feeder = Feeder(model)
        self.network = Network(self.feeder)
        self._first = self.feeder.node_phasor_v()

    def close(self) -> None:
        """Free the engine's memory."""
        self.feeder.close()

    def make(self, t_ns: int, base: Base, like: LikeFeeders) -> Flexibility:
        """Regions and stack from a snapshot's state. What cannot be found is left out, with the reason."""
        reasons: list[str] = []
        resources = self._resources(base)
        regions: list[Capability] = []
        blocks: tuple[Block, ...] = ()
        try:
            self._stand(base)
            study = CapabilityStudy(self.feeder, resources, self.params.rules, base.v_pu)
            regions = study.run(self.params.options)
            space = Space(
                self.feeder, self.network, limits_of(self.feeder, self.network, self.params.rules), resources,
                np.isfinite([r.notice_s for r in resources]),
            )  # fmt: skip
            terms = self._terms(space)
            blocks = (*stack(space, terms, "up"), *stack(space, terms, "down"))
        except (FeederError, ValueError) as error:
            reasons.append(str(error))
        empty = [f"no region ({sum(c.why_empty == why for c in regions)} of {len(regions)}): {why}" for why in _reasons(regions)]
        found = tuple(_region(c, like) for c in regions if not c.why_empty)
        return Flexibility(t_ns, found, tuple(_block(b, like) for b in blocks), (*reasons, *empty))

    def _stand(self, base: Base) -> None:
        """The snapshot, whatever was tried before: where a power flow begins decides its last digits."""
        feeder = self.feeder
        feeder.restore(base.state)
        feeder.set_source(base.v_pu)
        feeder.set_loads(*frequency_response(base.load_p_w, base.load_q_var, feeder.load_class, base.f_hz, feeder.model.base_hz))
        feeder.set_der(np.nan_to_num(base.der_p_w), np.nan_to_num(base.der_q_var))
        feeder.begin_at(self._first)
        feeder.solve()

    def _resources(self, base: Base) -> list[Resource]:
        """The DER as resources; one out of service is held at nothing."""
        s, out = self.settings, []
        if s is None:
            return []
        p_now, q_now = np.nan_to_num(base.der_p_w), np.nan_to_num(base.der_q_var)
        stored = np.full(len(self.feeder.der_names), np.nan)
        if base.storage_wh is not None and base.storage_wh.size:
            stored[s.NP_TYPE == DerType.STORAGE] = base.storage_wh
        for k, name in enumerate(self.feeder.der_names):
            rating, p_rated = float(s.NP_VA_MAX[k]), float(s.NP_P_MAX[k])
            if not base.der_in_service[k]:
                out.append(Resource(name, 0.0, 0.0, rating, notice_s=np.inf))
                continue
            q_low, q_high = -float(s.NP_Q_MAX_ABS[k]), float(s.NP_Q_MAX_INJ[k])
            if s.NP_TYPE[k] == DerType.STORAGE:
                lowest, p50, p90 = -float(s.NP_P_MAX_CHARGE[k]), p_rated, p_rated
                up, down = self._energy(k, float(stored[k]))
                p10 = p_rated if np.isfinite(up) else 0.0  # what nobody has told of may be empty
            else:
                up = down = np.inf
                lowest, p50 = 0.0, min(max(float(base.der_available_w[k]), 0.0), p_rated)
                spread = _P10_SIGMAS * self.params.sigma * p50
                p10, p90 = max(p50 - spread, 0.0), min(p50 + spread, p_rated)
            now = float(p_now[k]) if np.isfinite(base.der_p_w[k]) else p50
            out.append(
                Resource(
                    name, lowest, p50, rating, q_low, q_high, p10, p90, p_now_w=now, q_now_var=float(q_now[k]),
                    energy_up_wh=up, energy_down_wh=down,
                )
            )  # fmt: skip
        return out

    def _energy(self, k: int, stored_wh: float) -> tuple[float, float]:
        """What storage can still give and take at its terminals, Wh; infinite where what it has stored is not known."""
        s = self.settings
        if s is None or not np.isfinite(stored_wh):
            return np.inf, np.inf
        low, high = (float(s.NP_BESS_CAPACITY[k] * soc[k]) for soc in (s.NP_BESS_SOC_MIN, s.NP_BESS_SOC_MAX))
        return max(stored_wh - low, 0.0), max(high - stored_wh, 0.0) / float(s.NP_EFFICIENCY[k])

    def _terms(self, space: Space) -> Sequence[Terms | None]:
        assert self.settings is not None or not space.m
        storage = self.settings.NP_TYPE == DerType.STORAGE if self.settings is not None else np.zeros(0, bool)
        return [self.params.storage if storage[k] else self.params.pv for k in space.free]


class FlexibilitySection:
    """The builder's part: flexibility in every document, made anew when it has become old or a change has overtaken it. params
    None: none, and nothing is spent on it."""

    def __init__(self, model: FeederModel, settings: DerSettings | None, params: FlexibilityParams | None) -> None:
        self._study = FlexibilityStudy(model, settings, params) if params is not None else None
        self._last: Flexibility | None = None

    def reset(self) -> None:
        """Forget what was made."""
        self._last = None

    def close(self) -> None:
        """Free the engine's memory."""
        if self._study is not None:
            self._study.close()

    def made(self, t_ns: int, base: Base, tblm: Tblm) -> Tblm:
        """The document with its flexibility. base: the snapshot's, with the loads that explain it."""
        if self._study is None:
            return tblm
        last, overtaken = self._last, tblm.quality.trigger not in _STILL_HOLDS
        if last is None or overtaken or t_ns - last.t_ns >= self._study.params.every_ns:
            last = self._last = self._study.make(t_ns, base, tblm.like_feeders)
        return replace(tblm, flexibility=last)


def _reasons(regions: Sequence[Capability]) -> list[str]:
    """Why regions are empty, each reason once."""
    return list(dict.fromkeys(c.why_empty for c in regions if c.why_empty))


def _region(c: Capability, like: LikeFeeders) -> CapabilityRegion:
    p = like.factor * c.pq[:, 0] + like.offset_P_W
    q = like.factor * c.pq[:, 1] + like.offset_Q_var
    return CapabilityRegion(
        c.v_pu, c.delivery_s, c.quantile, tuple(p.round(0).tolist()), tuple(q.round(0).tolist()), True, round(100.0 * c.gap, 3)
    )


def _block(b: Block, like: LikeFeeders) -> DispatchBlock:
    k = like.factor

    def scaled(value: float | None) -> float | None:
        return None if value is None else k * value

    return DispatchBlock(
        b.direction, k * b.p_w, k * b.q_var, b.cost, b.notice_s, scaled(b.ramp_w_per_s), b.duration_s, scaled(b.energy_wh),
        b.rebound, len(b.der_p_w),
    )  # fmt: skip
