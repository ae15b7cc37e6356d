"""From an entry of a scenario to the `Spec` of its federate: one function a kind. Each imports only its own federate's module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from federates import FACTORY_OF_KIND
from federates.runtime.federate import Spec
from scenarios import replay_build
from scenarios.inventory import FeederInventory, Inventory
from scenarios.kinds import Ami, Channel, Distribution, Ems, Meters, Scada, Tblm, Transmission
from scenarios.kinds_der import Ders
from scenarios.kinds_replay import AreasSystem, Player
from scenarios.kinds_shedding import Relays, Schemes
from scenarios.place import derived_seed
from scenarios.schema import Scenario
from scenarios.scheme_check import either_way

PHASES = ("a", "b", "c")


def ns(seconds: float) -> int:
    """Seconds of a scenario as the integer nanoseconds of a federation."""
    return round(seconds * 1e9)


class SpecMaker:
    """Makes specs for the entries of one scenario. `wired`: feeder -> its DER whose place a device takes.

    `folder`: where paths start.
    """

    def __init__(self, scenario: Scenario, inventory: Inventory, wired: Mapping[str, tuple[str, ...]], folder: Path) -> None:
        self.scenario, self.inventory, self.wired, self.folder = scenario, inventory, wired, folder

    def spec(self, entry: Any) -> Spec:
        """The spec of an entry. ValueError where parameters do not fit together."""
        make: dict[str, Callable[[Any], Any]] = {
            "transmission": self._transmission, "areas": self._areas, "player": self._player,
            "distribution": self._distribution, "ders": self._ders, "scada": self._scada,
            "relays": self._relays, "schemes": self._schemes, "meters": self._meters, "ami": self._ami, "tblm": self._tblm,
            "ems": self._ems,
        }  # fmt: skip
        return Spec(entry.name, FACTORY_OF_KIND[entry.kind], make[entry.kind](entry))

    def _seed(self, name: str) -> int:
        return derived_seed(self.scenario.seed, name)

    def _feeder(self, name: str) -> tuple[Distribution, FeederInventory]:
        entry = self.scenario.federate(name)
        assert isinstance(entry, Distribution)
        return entry, self.inventory.feeders[name]

    def _transmission(self, entry: Transmission) -> Any:
        from federates.field import transmission as field
        from federates.grid.fleet import FrequencySettings
        from federates.grid.native_shedding import SheddingBlock
        from federates.grid.relay import Stage

        emergency = entry.emergency
        attached = tuple(field.Attachment(d.name, d.bus) for d in self.scenario.of_kind("distribution") if d.grid == entry.name)
        return field.Transmission(
            model=self._model(entry),
            attachments=attached,
            frequency=FrequencySettings(**entry.frequency.model_dump()),
            thresholds=replay_build.thresholds(emergency),
            emergency_step_ns=ns(emergency.step_s or (0.125 if entry.engine == "dynamics" else 0.02)),
            period_ns=ns(entry.period_s),
            engine=entry.engine,
            shedding=tuple(
                SheddingBlock(Stage("native", n, "f_hz", s.pickup_hz, ns(s.delay_s), ns(s.breaker_s)), s.share)
                for n, s in enumerate(entry.shedding, start=1)
            ),
            steps_per_s=entry.dynamics.steps_per_s,
            low_v_pu=entry.dynamics.low_v_pu,
        )

    def _areas(self, entry: AreasSystem) -> Any:
        return replay_build.areas(entry, self._feeders_under(entry.name))

    def _player(self, entry: Player) -> Any:
        return replay_build.player(entry, self._feeders_under(entry.name), self.folder)

    def _feeders_under(self, grid: str) -> tuple[tuple[str, str], ...]:
        return tuple((d.name, d.bus) for d in self.scenario.of_kind("distribution") if d.grid == grid)

    def _model(self, entry: Transmission) -> Any:
        from federates.grid.transmission import TransmissionModel

        exponents = entry.native.p_exponent, entry.native.q_exponent
        return TransmissionModel(self.inventory.grids[entry.name].source, exponents)

    def _distribution(self, entry: Distribution) -> Any:
        from federates.field import distribution as field
        from federates.field.profile import Diversity, LoadProfile
        from federates.grid.load import seconds_of_year

        feeder = self.inventory.feeders[entry.name]
        return field.Distribution(
            model=feeder.model,
            bus=entry.bus,
            count=entry.count,
            nominal_hz=feeder.model.base_hz,
            profile=LoadProfile(**entry.profile.model_dump()),
            motors=replay_build.motors(entry),
            diversity=Diversity(**entry.diversity.model_dump()),
            start_s=seconds_of_year(self.scenario.start),
            stop_s=self.scenario.stop_s,
            seed=self._seed(entry.name),
            period_ns=ns(entry.period_s),
            wired_ders=self.wired.get(entry.name, ()),
        )

    def _ders(self, entry: Ders) -> Any:
        from federates.field import ders as field
        from federates.grid.load import seconds_of_year

        feeder = self.inventory.feeders[entry.feeder]
        der = feeder.der
        assert der is not None
        units = zip(der.sites, der.profiles, der.p_set_pu, strict=True)
        return field.Ders(
            units=tuple(field.Unit(site.name, site.phases, profile, p_set_pu) for site, profile, p_set_pu in units),
            settings=der.settings,
            nominal_hz=feeder.model.base_hz,
            start_s=seconds_of_year(self.scenario.start),
            period_ns=ns(entry.period_s),
        )

    def stages(self, entry: Relays) -> tuple[Any, ...]:
        """The stages of a relays entry, numbered in their order."""
        from federates.grid.relay import Stage

        def common(stage: Any) -> dict[str, Any]:
            return {"delay_ns": ns(stage.delay_s), "breaker_ns": ns(stage.breaker_s), "feeders": stage.feeders}

        under_f = (
            Stage("ufls", s.stage or k, "f_hz", s.pickup_hz, reset=s.reset_hz, inhibit_v_pu=s.inhibit_v_pu, **common(s))
            for k, s in enumerate(entry.ufls, start=1)
        )
        under_v = (
            Stage("uvls", s.stage or k, "v_pu", s.pickup_pu, reset=s.reset_pu, **common(s))
            for k, s in enumerate(entry.uvls, start=1)
        )
        return (*under_f, *under_v)

    def _relays(self, entry: Relays) -> Any:
        from federates.field import relays

        distribution, feeder = self._feeder(entry.feeder)
        by_device = [stage.by is not None for stage in (*entry.ufls, *entry.uvls)]
        stages = list(zip(self.stages(entry), by_device, strict=True))
        own, wired = (tuple(stage for stage, by in stages if by is wanted) for wanted in (False, True))
        return relays.Relays(entry.name, distribution.bus, own, feeder.model.base_hz, ns(entry.period_s), wired)

    def rows(self, entry: Schemes) -> tuple[Any, ...]:
        """The logic table of a schemes entry."""
        from federates.grid.logic import Condition, Row

        def condition(given: Any) -> Condition:
            if given.line_open is not None:
                return Condition("line_open", self._line(entry, given.line_open))
            if given.generator_out is not None:
                return Condition("generator_out", given.generator_out)
            return Condition("line_loading_above", self._line(entry, given.line_loading), given.above)

        return tuple(
            Row(
                row.name, tuple(condition(c) for c in row.when), tuple((t.feeder, t.feeders) for t in row.trip),
                ns(row.delay_s), row.required_w,
            )
            for row in entry.rows
        )  # fmt: skip

    def _line(self, entry: Schemes, name: str) -> str:
        """A line as the network names it, whichever end was written first."""
        known = self.inventory.grids[entry.grid].branch_names
        return name if name in known else either_way(name)

    def _schemes(self, entry: Schemes) -> Any:
        from federates.field import schemes

        rows = self.rows(entry)
        feeders = tuple(dict.fromkeys(feeder for row in rows for feeder, _ in row.trip))
        return schemes.Schemes(entry.name, rows, feeders, ns(entry.period_s))

    def _scada(self, entry: Scada) -> Any:
        from federates.data_management import scada

        distribution, feeder = self._feeder(entry.feeder)
        return scada.Scada(
            name=entry.name,
            groups=tuple(self._measured(entry, distribution, feeder)),
            period_ns=math.gcd(ns(entry.scan_s), ns(entry.der_scan_s)),
            telemetry=_channel(entry.telemetry),
            control=_channel(entry.control),
            seed=self._seed(entry.name),
            stale_after_scans=entry.stale_after_scans,
            fail_after_scans=entry.fail_after_scans,
            integrity_ns=ns(entry.integrity_s),
        )

    def _measured(self, entry: Scada, distribution: Distribution, feeder: FeederInventory) -> list[Any]:
        """The measured points: head and bus at the substation, a terminal unit for each regulator, capacitor, switch and DER."""
        from federates.data_management.scada import Measured

        phase_va = math.hypot(feeder.head_p_w, feeder.head_q_var) / 3.0
        accuracy, deadband = entry.accuracy_pct / 100.0, entry.deadband_pct / 100.0
        scan_ns = ns(entry.scan_s)

        def analog(port: str, unit: str, ids: tuple[str, ...], full: float, exact: bool = False) -> Any:
            return Measured(
                port, unit, ids, rtu="substation", scan_ns=scan_ns, deadband=deadband * full, accuracy=0.0 if exact else accuracy
            )

        groups = [
            analog("head_p_w", "W", PHASES, phase_va),
            analog("head_q_var", "var", PHASES, phase_va),
            analog("bus_p_w", "W", PHASES, distribution.count * phase_va),
            analog("bus_q_var", "var", PHASES, distribution.count * phase_va),
            analog("bus_v_pu", "pu", (distribution.bus,), 0.1),
            analog("bus_angle_rad", "rad", (distribution.bus,), 0.1, exact=True),
            analog("f_hz", "Hz", (), 0.1, exact=True),
        ]
        groups.append(Measured("feeders_closed", "1", (), kind="status", rtu="substation", scan_ns=scan_ns))
        for port, ids in (("tap", feeder.reg_names), ("capacitor", feeder.capacitor_names), ("switch", feeder.switch_names)):
            if ids:
                groups.append(Measured(port, "1", ids, kind="status", rtu=tuple(f"{port}_{i}" for i in ids), scan_ns=scan_ns))
        if feeder.der:
            names, der_ns = feeder.der.names, ns(entry.der_scan_s)
            rtu = tuple(f"der_{name}" for name in names)
            widths = tuple(deadband * site.s_va for site in feeder.der.sites)  # of the rating of each
            for port, unit in (("der_p_w", "W"), ("der_q_var", "var"), ("der_available_w", "W")):
                groups.append(Measured(port, unit, names, rtu=rtu, scan_ns=der_ns, deadband=widths, accuracy=accuracy))
            groups.append(Measured("der_status", "1", names, kind="status", rtu=rtu, scan_ns=der_ns))
            stored, capacity = feeder.der.settings.storage(names), feeder.der.settings.NP_BESS_CAPACITY
            if stored:
                rtu = tuple(f"der_{name}" for name in stored)
                widths = tuple(deadband * float(capacity[names.index(name)]) for name in stored)
                groups.append(Measured("der_soc_wh", "Wh", stored, rtu=rtu, scan_ns=der_ns, deadband=widths, accuracy=accuracy))
        return groups

    def _meter_params(self, entry: Meters) -> Any:
        from federates.field import meters

        loads = self.inventory.feeders[entry.feeder].loads
        return meters.Meters(
            name=entry.name,
            loads=tuple(
                meters.MeteredLoad(name, max(p_w, 0.0), len(phases) or 1)
                for name, p_w, phases in zip(loads.names, loads.p_w.tolist(), loads.phases, strict=True)
            ),
            period_ns=ns(entry.period_s),
            interval_ns=ns(entry.interval_s),
            shares_ns=ns(entry.shares_s),
            customer_w=entry.customer_w,
            accuracy_class=entry.accuracy_class,
            clock_ahead_s=entry.clock_ahead_s,
            seed=self._seed(entry.name),
        )

    def _meters(self, entry: Meters) -> Any:
        return self._meter_params(entry)

    def _ami(self, entry: Ami) -> Any:
        from federates.data_management import ami
        from federates.field import meters

        metered = self._meter_params(next(m for m in self.scenario.of_kind("meters") if m.feeder == entry.feeder))
        loads = self.inventory.feeders[entry.feeder].loads
        members: dict[str, list[str]] = {}
        for load, transformer in zip(loads.names, loads.transformer, strict=True):
            members.setdefault(transformer, []).append(load)
        return ami.Ami(
            name=entry.name,
            meters=meters.meter_ids(metered),
            nominal_w=meters.meter_nominal_w(metered),
            transformers=tuple((name, tuple(of)) for name, of in sorted(members.items())),
            classes=tuple(zip(loads.names, loads.load_class, strict=True)),
            period_ns=min(ns(entry.period_s), metered.interval_ns),
            interval_ns=metered.interval_ns,
            mesh=_channel(entry.mesh),
            gasps=_channel(entry.gasps),
            backfill_ns=ns(entry.backfill_s) if entry.backfill_s else None,
            ready_after_ns=ns(entry.ready_after_s),
            seed=self._seed(entry.name),
        )

    def _tblm(self, entry: Tblm) -> Any:
        from federates.tblm import builder
        from federates.tblm.curves import CurveOptions
        from federates.tblm.emergency import Surroundings, class_shares
        from scenarios.kinds_capability import flexibility_params

        distribution, feeder = self._feeder(entry.feeder)
        nominal_hz = feeder.model.base_hz
        f_hz = entry.f_hz or (nominal_hz * 0.95, nominal_hz * 62.0 / 60.0)
        if not f_hz[0] < nominal_hz < f_hz[1]:
            raise ValueError(f"f_hz {f_hz[0]:g} to {f_hz[1]:g} does not contain the feeder's nominal {nominal_hz:g} Hz")
        grid: Any = self.scenario.federate(distribution.grid)
        settled_f_hz = max(f_hz[0], nominal_hz * 59.0 / 60.0), min(f_hz[1], nominal_hz * 61.0 / 60.0)
        return builder.TblmParams(
            name=entry.name,
            bus=distribution.bus,
            model=feeder.model,
            der=feeder.der.settings if feeder.der else None,
            like_feeders=distribution.count,
            period_ns=ns(entry.period_s),
            horizon_ns=ns(entry.horizon_s),
            poll_ns=ns(entry.poll_s),
            deviation_pct=entry.deviation_pct,
            options=CurveOptions(entry.v_pu, f_hz, settled_f_hz, tolerance_pct=entry.tolerance_pct),
            plans=self._plans(entry),
            surroundings=Surroundings(
                distribution.profile.temperature_mean_c, classes=class_shares(feeder.loads.load_class, feeder.loads.p_w.tolist())
            ),
            flexibility=flexibility_params(entry.capability),
            thresholds=replay_build.thresholds(grid.emergency),
            head=self._head_telemetry(next(s for s in self.scenario.of_kind("scada") if s.feeder == entry.feeder)),
        )

    def _head_telemetry(self, entry: Scada) -> Any:
        """What a control centre knows of the points that measure the bus."""
        from federates.tblm.bands import HeadTelemetry

        distribution, feeder = self._feeder(entry.feeder)
        full_w = distribution.count * math.hypot(feeder.head_p_w, feeder.head_q_var) / 3.0
        return HeadTelemetry(
            entry.accuracy_pct / 100.0, entry.deadband_pct / 100.0 * full_w, entry.stale_after_scans * entry.scan_s
        )

    def _plans(self, entry: Tblm) -> Any:
        """Relays, special schemes and programs at the builder's feeder, and their priorities."""
        from federates.tblm.armed import Plans, Program
        from federates.tblm.priorities import Priorities

        relays = [stage for r in self.scenario.of_kind("relays") if r.feeder == entry.feeder for stage in self.stages(r)]
        rows = [row for schemes in self.scenario.of_kind("schemes") for row in self.rows(schemes)]
        here = tuple(row for row in rows if any(feeder == entry.feeder for feeder, _ in row.trip))
        programs = tuple(Program(**program.model_dump()) for program in entry.programs)
        given = entry.priorities
        priorities = Priorities(tuple(given.actions.items()), tuple(given.classes.items()), tuple(given.loads.items()))
        return Plans(tuple(relays), entry.feeder, here, programs, priorities)

    def _ems(self, entry: Ems) -> Any:
        from federates.ems import ems
        from federates.grid.fleet import FrequencySettings

        grid = self.scenario.federate(entry.grid)
        assert isinstance(grid, Transmission)
        feeds = []
        for builder in self.scenario.of_kind("tblm"):
            distribution, feeder = self._feeder(builder.feeder)
            feeds.append(ems.Feed(builder.name, distribution.bus, (feeder.model,)))
        return ems.Ems(
            model=self._model(grid),
            feeds=tuple(feeds),
            frequency=FrequencySettings(**grid.frequency.model_dump()),
            scan_ns=ns(entry.scan_s),
            period_ns=ns(entry.period_s),
            generators=entry.generators,
        )


def _channel(channel: Channel) -> Any:
    from federates.grid.channel import ChannelParams

    return ChannelParams(**channel.model_dump())
