"""What the networks of a scenario hold: read and solved once, before anything starts.

A build needs the names (ports are laid out over them), and whatever does not exist or does not converge comes to light here, with
its line in the scenario.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from federates.grid.dynamics.cases import PREFIX
from scenarios.catalog import case_names
from scenarios.kinds import Distribution, Transmission, nominal_hz
from scenarios.kinds_der import Ders
from scenarios.kinds_replay import AreasSystem, Player
from scenarios.load import LoadedScenario
from scenarios.outside import network_source, resolve
from scenarios.place import DerPlan, plan
from scenarios.problem import Place, Problem, ScenarioError, did_you_mean
from scenarios.scheme_check import either_way

if TYPE_CHECKING:
    from federates.grid.feeder import FeederModel


COLLAPSED_PU = 0.5
"""Where load becomes a constant impedance below its `vmin_pu`, an overloaded network still has a solution, near 0 V: OpenDSS says
that it converged."""

_DEAD_PU = 1e-6  # behind an open switch


@dataclass(frozen=True)
class LoadTable:
    """The loads of a feeder: `p_w` at nominal voltage [n], `base_kv` line to neutral [n], bus and phases of each."""

    names: tuple[str, ...]
    bus: tuple[str, ...]
    phases: tuple[tuple[int, ...], ...]
    p_w: NDArray[np.float64]
    base_kv: NDArray[np.float64]
    transformer: tuple[str, ...]
    load_class: tuple[str, ...]


@dataclass(frozen=True)
class FeederInventory:
    """A feeder as it will run: its model with DER sites, the names its ports are over, its head at nominal voltage, at rest."""

    model: FeederModel
    loads: LoadTable
    node_names: tuple[str, ...]
    reg_names: tuple[str, ...]
    capacitor_names: tuple[str, ...]
    switch_names: tuple[str, ...]
    der: DerPlan | None
    head_p_w: float
    head_q_var: float
    lowest_v_pu: float
    lowest_load: str


@dataclass(frozen=True)
class GridInventory:
    """A transmission network: names, and the load of its own at each bus."""

    source: str
    bus_names: tuple[str, ...]
    base_kv: NDArray[np.float64]
    native_p_w: NDArray[np.float64]
    branch_names: tuple[str, ...]
    generator_names: tuple[str, ...]


@dataclass(frozen=True)
class Inventory:
    """All networks of a scenario, by the name of their federate."""

    grids: dict[str, GridInventory]
    feeders: dict[str, FeederInventory]


def take_inventory(loaded: LoadedScenario, solve_known: bool = False) -> Inventory:
    """Read and solve every network. Raises ScenarioError with everything that does not exist or does not converge.

    pandapower's own cases are known to converge and are only read, which saves seconds, unless `solve_known`.
    """
    return _Reader(loaded, solve_known).read()


class _Reader:
    def __init__(self, loaded: LoadedScenario, solve_known: bool) -> None:
        self.solve_known = solve_known
        self.loaded, self.scenario = loaded, loaded.scenario
        self.problems: list[Problem] = []
        self.place: dict[str, Place] = {entry.name: ("federates", n) for n, entry in enumerate(self.scenario.federates)}
        self.grids: dict[str, GridInventory] = {}
        self.feeders: dict[str, FeederInventory] = {}

    def read(self) -> Inventory:
        for entry in self.scenario.of_kind("transmission"):
            self._grid(entry)
        for kind in ("areas", "player"):
            for entry in self.scenario.of_kind(kind):
                self.grids[entry.name] = self._without_network(entry)
        for entry in self.scenario.of_kind("distribution"):
            self._feeder(entry)
        for name, grid in self.grids.items():
            self._attached(name, grid)
        for n, event in enumerate(self.scenario.events):
            self._event(("events", n, "action"), event.to, event.action)
        self._ems()
        self._schemes()
        self._priorities()
        if self.problems:
            raise ScenarioError(self.problems)
        return Inventory(self.grids, self.feeders)

    def _wrong(self, place: Place, message: str) -> None:
        self.problems.append(self.loaded.document.problem(place, message))

    # Networks

    def _grid(self, entry: Transmission) -> None:
        source = network_source(entry.network, self.loaded.folder)
        if not self.solve_known and source.startswith(("pandapower:", PREFIX)) and (names := case_names(source)):
            self.grids[entry.name] = GridInventory(
                source, names.buses, np.array(names.base_kv), np.array(names.load_w), names.lines, names.generators
            )
            return
        from federates.grid.transmission import NetworkError, load_network

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the readers' own, about columns that they fill in
                case = load_network(source)
        except NetworkError as error:
            return self._wrong((*self.place[entry.name], "network"), f"{error.what}; {error.hint}")
        self.grids[entry.name] = GridInventory(
            source, case.bus_names, case.base_kv, case.native_p_w, case.branch_names, case.generator_names
        )

    def _without_network(self, entry: AreasSystem | Player) -> GridInventory:
        """The buses that feeders name: an area, or whatever they are called under a player, which has any load they take."""
        if isinstance(entry, AreasSystem):
            buses, load_w = tuple(area.name for area in entry.areas), np.array([area.load_w for area in entry.areas])
        else:
            under = (d.bus for d in self.scenario.of_kind("distribution") if d.grid == entry.name)
            buses = tuple(dict.fromkeys(under))
            load_w = np.full(len(buses), np.inf)
        return GridInventory("", buses, np.full(len(buses), entry.kv), load_w, (), ())

    def _feeder(self, entry: Distribution) -> None:
        from federates.grid.feeder import Feeder, FeederError

        place = self.place[entry.name]
        grid = self.grids.get(entry.grid)
        if grid is None:
            return
        if entry.bus not in grid.bus_names:
            return self._wrong((*place, "bus"), f"the network has no bus {entry.bus!r}; {did_you_mean(entry.bus, grid.bus_names)}")
        ders: Ders | None = next((d for d in self.scenario.of_kind("ders") if d.feeder == entry.name), None)
        asked: Place = (*place, "feeder")
        try:
            model = self._model(entry, float(grid.base_kv[grid.bus_names.index(entry.bus)]))
            with Feeder(model) as feeder:
                found = _inventory(feeder, model, None)
            if ders:
                asked = self.place[ders.name]
                der = plan(ders, found.loads, self.scenario.seed)
                with Feeder(model.with_(der=der.sites)) as feeder:
                    found = _inventory(feeder, feeder.model, der)
        except FeederError as error:
            return self._wrong(asked, str(error))
        except ValueError as error:
            return self._wrong(asked, str(error))
        self.feeders[entry.name] = found
        self._opens(entry.name, found.model)
        if found.lowest_v_pu < COLLAPSED_PU:
            text = f"its power flow settles at {found.lowest_v_pu:.2g} pu at load {found.lowest_load}, which is a collapse"
            self._wrong((*place, "feeder"), f"{text}; look for too much load, a wrong voltage or length unit")

    def _opens(self, name: str, model: FeederModel) -> None:
        """Lines of a feeder that programs open: each is there, with a load or a DER behind it."""
        from federates.grid.feeder import Feeder

        lines = [
            (("federates", k, "programs", n, "opens", m), line)
            for k, entry in enumerate(self.scenario.federates)
            if entry.kind == "tblm" and entry.feeder == name
            for n, program in enumerate(entry.programs)
            for m, line in enumerate(program.opens)
        ]
        if not lines:
            return
        with Feeder(model) as feeder:
            for place, line in lines:
                try:
                    behind = feeder.behind(line)
                except ValueError:
                    self._wrong(place, f"the feeder has no line {line!r}; write the name of one of its lines")
                else:
                    if not any(behind):
                        self._wrong(place, f"no load and no DER hangs behind line {line!r}; write a line that carries some")

    def _model(self, entry: Distribution, kv: float) -> FeederModel:
        from federates.grid.feeder import FeederModel, Ltc, Substation
        from federates.grid.feeder_library import BUILTIN_FEEDERS, builtin_feeder

        grid = self.scenario.federate(entry.grid)
        assert isinstance(grid, Transmission | AreasSystem | Player)  # the references were checked
        if entry.feeder in BUILTIN_FEEDERS:
            model = builtin_feeder(entry.feeder)
        else:
            model = FeederModel(resolve(entry.feeder, self.loaded.folder))
        substation = model.substation and replace(model.substation, kv_primary=kv)
        if given := entry.substation:
            ltc = Ltc(**given.ltc.model_dump()) if given.ltc else None
            substation = Substation(kv, given.mva, given.x_pct, given.r_pct, given.connection, ltc)
        return model.with_(
            substation=substation,
            open_switches=(*model.open_switches, *entry.open_switches),
            close_switches=(*model.close_switches, *entry.close_switches),
            base_hz=nominal_hz(grid),
            vmin_pu=entry.vmin_pu,
            vmax_pu=entry.vmax_pu,
            load_classes=tuple(sorted(entry.load_classes.items())),
            default_class=entry.default_class,
        )

    # What hangs together

    def _attached(self, name: str, grid: GridInventory) -> None:
        """Feeders stand for part of a bus's load, never for more than there is."""
        taken: dict[str, float] = {}
        for entry in self.scenario.of_kind("distribution"):
            if entry.grid != name or entry.name not in self.feeders:
                continue
            one_w = self.feeders[entry.name].head_p_w
            native_w = float(grid.native_p_w[grid.bus_names.index(entry.bus)])
            left_w = native_w - taken.get(entry.bus, 0.0)
            taken[entry.bus] = taken.get(entry.bus, 0.0) + entry.count * one_w
            if native_w <= 0.0:
                loaded = [bus for bus, p_w in zip(grid.bus_names, grid.native_p_w, strict=True) if p_w > one_w]
                message = f"bus {entry.bus!r} has no load that the feeder could stand for; write one of {', '.join(loaded)}"
                self._wrong((*self.place[entry.name], "bus"), message)
            elif entry.count * one_w > left_w:
                text = f"{entry.count} feeders of {one_w / 1e6:.2f} MW are more than the {left_w / 1e6:.1f} MW of bus {entry.bus!r}"
                most = int(left_w // one_w)
                advice = f"write at most {most}" if most else "choose a bus with more load, or a smaller feeder"
                self._wrong((*self.place[entry.name], "count"), f"{text}; {advice}")

    def _ems(self) -> None:
        """Generators that an EMS is told to watch."""
        for k, entry in enumerate(self.scenario.federates):
            if entry.kind == "ems" and entry.grid in self.grids:
                names = self.grids[entry.grid].generator_names
                for n, generator in enumerate(entry.generators):
                    if generator not in names:
                        self._unknown(("federates", k, "generators", n), generator, names, "generator")

    def _schemes(self) -> None:
        """Lines and generators that a logic table looks at."""
        for k, entry in enumerate(self.scenario.federates):
            if entry.kind != "schemes" or entry.grid not in self.grids:
                continue
            grid = self.grids[entry.grid]
            for n, row in enumerate(entry.rows):
                for m, condition in enumerate(row.when):
                    place: Place = ("federates", k, "rows", n, "when", m)
                    line, generator = condition.line_open or condition.line_loading, condition.generator_out
                    if line and not {line, either_way(line)} & set(grid.branch_names):
                        self._unknown(place, line, grid.branch_names, "line")
                    if generator and generator not in grid.generator_names:
                        self._unknown(place, generator, grid.generator_names, "generator")

    def _priorities(self) -> None:
        """Loads that have a priority of their own."""
        for k, entry in enumerate(self.scenario.federates):
            if entry.kind == "tblm" and entry.feeder in self.feeders:
                names = self.feeders[entry.feeder].loads.names
                for name in entry.priorities.loads:
                    if name not in names:
                        self._unknown(("federates", k, "priorities", "loads", name), name, names, "load")

    def _event(self, place: Place, to: str, action: Any) -> None:
        """Names in an action that only the network knows."""
        if any(device.name == to for device in self.scenario.devices):
            return  # its map says what it has
        entry = self.scenario.federate(to)
        if entry.kind == "transmission" and to in self.grids:
            grid = self.grids[to]
            if (line := getattr(action, "line", None)) and not {line, either_way(line)} & set(grid.branch_names):
                self._unknown((*place, "line"), line, grid.branch_names, "line")
            if (generator := getattr(action, "generator", None)) and generator not in grid.generator_names:
                self._unknown((*place, "generator"), generator, grid.generator_names, "generator")
            if (bus := getattr(action, "bus", None)) and bus not in grid.bus_names:
                self._unknown((*place, "bus"), bus, grid.bus_names, "bus")
            return
        feeder = self.feeders.get(to if entry.kind == "distribution" else getattr(entry, "feeder", ""))
        if feeder is None:
            return
        known = {"switch": feeder.switch_names, "regulator": feeder.reg_names, "capacitor": feeder.capacitor_names}
        for key, names in known.items():
            if (name := getattr(action, key, None)) and name.lower() not in names:
                self._unknown((*place, key), name, names, key)
        units = getattr(action, "units", ())
        for unit in (units,) if isinstance(units, str) else units:
            names = feeder.der.names if feeder.der else ()
            if unit not in ("all", "pv", "storage") and unit not in names:
                self._unknown((*place, "units"), unit, ("all", "pv", "storage", *names), "DER")

    def _unknown(self, place: Place, name: str, known: tuple[str, ...], noun: str) -> None:
        self._wrong(place, f"there is no {noun} {name!r}; {did_you_mean(name, known, noun)}")


def _inventory(feeder: Any, model: FeederModel, der: DerPlan | None) -> FeederInventory:
    kv_of_bus = {name.rsplit(".", 1)[0]: kv for name, kv in zip(feeder.node_names, feeder.node_base_kv.tolist(), strict=True)}
    loads = LoadTable(
        tuple(feeder.load_names), tuple(feeder.load_bus), tuple(feeder.load_phases), feeder.load_p0_w,
        np.array([kv_of_bus[bus] for bus in feeder.load_bus]), tuple(feeder.load_transformer), tuple(feeder.load_class),
    )  # fmt: skip
    p_w, q_var = feeder.head()
    v_pu = feeder.load_v_pu()
    supplied = np.where(v_pu > _DEAD_PU, v_pu, np.inf)
    lowest = int(np.argmin(supplied)) if supplied.size else None
    return FeederInventory(
        model, loads, tuple(feeder.node_names), tuple(feeder.reg_names), tuple(feeder.capacitor_names),
        tuple(feeder.switch_names), der, float(p_w.sum()), float(q_var.sum()),
        np.inf if lowest is None else float(supplied[lowest]), "" if lowest is None else feeder.load_names[lowest],
    )  # fmt: skip
