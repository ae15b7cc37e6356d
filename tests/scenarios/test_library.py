"""The scenarios of the library, what they build, and the tables that let `check` do without building."""

from __future__ import annotations

from pathlib import Path

import pytest

from federates.runtime.federate import Federate, Federation
from federates.runtime.port import Port
from scenarios import LIBRARY
from scenarios.build import build
from scenarios.catalog import case_names
from scenarios.document import parse_document
from scenarios.dump import dump
from scenarios.inventory import Inventory, take_inventory
from scenarios.load import LoadedScenario, check_document, json_schema, library, load_scenario
from scenarios.ports import inputs_of, outputs_of
from scenarios.run import changed
from scenarios.schema import Scenario
from tests.grid.dynamics.andes_cases import needs_andes

NEED_ANDES = ("dynamics_tiny", "ieee39_islanding", "relay_bench")
RUNNABLE = [pytest.param(name, marks=needs_andes if name in NEED_ANDES else ()) for name in LIBRARY]


@pytest.fixture(scope="module")
def tiny() -> LoadedScenario:
    return load_scenario("tiny")


@pytest.fixture(scope="module")
def inventory(tiny: LoadedScenario) -> Inventory:
    return take_inventory(tiny)


@pytest.fixture(scope="module")
def federation(tiny: LoadedScenario, inventory: Inventory) -> Federation:
    return build(tiny, inventory)


@pytest.fixture(scope="module")
def built(federation: Federation) -> dict[str, Federate]:
    return {spec.name: spec.build() for spec in federation.specs}


def test_the_list_is_what_is_there() -> None:
    assert sorted(library()) == sorted(LIBRARY)


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_scenario_is_good_and_named_as_its_file(name: str) -> None:
    scenario = load_scenario(name).scenario
    assert scenario.name == name
    assert scenario.about
    assert scenario.expect


@pytest.mark.parametrize("name", RUNNABLE)
def test_what_show_prints_is_the_same_scenario(name: str, tmp_path: Path) -> None:
    loaded = load_scenario(name)
    again = check_document(parse_document(dump(loaded), "shown.yaml"), tmp_path)
    if loaded.scenario.devices:  # whose point maps are then named by their whole paths
        assert dump(again) == dump(loaded)
    else:
        assert again.scenario == loaded.scenario


def test_paths_are_rewritten_where_the_scenario_moves(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.dss").write_text("new circuit.mine\nnew load.one bus1=sourcebus\n", encoding="utf-8")
    text = (
        "name: x\nstart: 2024-07-01T12:00:00\nstop_s: 1\nfederates:\n"
        "  - {name: grid, kind: transmission, network: 'pandapower:case39'}\n"
        "  - {name: f, kind: distribution, feeder: nets/mine.dss, grid: grid, bus: '16'}\n"
    )
    loaded = check_document(parse_document(text, "x.yaml"), tmp_path)
    run_dir = tmp_path / "runs" / "x-1"
    run_dir.mkdir(parents=True)
    assert "feeder: ../../nets/mine.dss" in dump(loaded, run_dir)
    assert f"feeder: {tmp_path}/nets/mine.dss" in dump(loaded)
    moved = check_document(parse_document(dump(loaded, run_dir), "scenario.yaml"), run_dir)
    assert dump(moved) == dump(loaded)


def test_the_json_schema_says_what_the_models_say() -> None:
    import jsonschema

    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = parse_document(library()["quickstart"].read_text(encoding="utf-8"), "q.yaml").data
    assert list(validator.iter_errors(good)) == []
    good["federates"][0]["period"] = 1
    assert any("period" in error.message for error in validator.iter_errors(good))
    assert set(schema["properties"]) == set(Scenario.model_fields)


def _described(ports: object) -> dict[str, tuple[str, str]]:
    return {name: (port.kind, port.unit if port.kind == "vector" else "1") for name, port in dict(ports).items()}  # type: ignore[call-overload]


def test_the_table_of_ports_is_what_the_federates_have(tiny: LoadedScenario, built: dict[str, Federate]) -> None:
    """Ports of a feeder's own devices may be missing where it has none; all others are exactly those of the table."""
    entries = [entry.model_dump() for entry in tiny.scenario.federates]

    def real(ports: object) -> dict[str, Port]:
        return {port.name: port for port in ports}  # type: ignore[attr-defined]

    for entry in entries:
        federate = built[entry["name"]]
        outputs = outputs_of(entry, entries)
        outputs.pop("coupling", None)  # the seat's own, for the leader
        assert _described(real(federate.outputs)) == _described(outputs), entry["name"]
        assert _described(real(federate.inputs)) == _described(inputs_of(entry, entries)), entry["name"]
        scalars = {name for name, port in real(federate.outputs).items() if port.kind == "vector" and not port.ids}
        assert scalars == {name for name, port in outputs.items() if port.scalar}, entry["name"]


def test_every_input_is_linked_once_and_every_link_fits(federation: Federation, built: dict[str, Federate]) -> None:
    from federates.runtime.local import make_routes
    from federates.runtime.record import MemoryRecorder
    from federates.runtime.seat import Seat

    make_routes(federation, {name: Seat(name, federate, federation, MemoryRecorder()) for name, federate in built.items()})
    fed = {(link.target, link.target_port) for link in federation.links}
    unfed = {
        f"{name}.{port.name}" for name, federate in built.items() for port in federate.inputs
        if (name, port.name) not in fed and port.kind != "event"
    }  # fmt: skip
    assert unfed == set()


def test_groups_and_coupling(federation: Federation) -> None:
    assert federation.groups == {
        "field": ("grid", "f13", "ders13", "scada13", "meters13", "ami13"),
        "control": ("tblm16", "ems"),
    }
    assert federation.coupling is not None
    assert (federation.coupling.leader, federation.coupling.followers, federation.coupling.always) == ("grid", ("f13",), False)


def test_events_arrive_as_commands(federation: Federation) -> None:
    assert [(i.t_ns, i.target, i.target_port, dict(i.payload)) for i in federation.injections] == [
        (10_000_000_000, "ders13", "command", {"action": "trip", "units": "storage"}),
        (45_000_000_000, "grid", "command", {"action": "trip_generator", "generator": "G30"}),
    ]


def test_what_is_expected_is_recorded(tiny: LoadedScenario, inventory: Inventory) -> None:
    narrow = LoadedScenario(tiny.scenario.model_copy(update={"record": ("grid.v_pu",)}), tiny.document, tiny.folder)
    assert build(narrow, inventory).record == {"grid.v_pu", "grid.f_hz"}
    everything = LoadedScenario(tiny.scenario.model_copy(update={"record": "all"}), tiny.document, tiny.folder)
    assert build(everything, inventory).record is None


def test_stop_and_seed_from_the_command_line(tiny: LoadedScenario, inventory: Inventory) -> None:
    shorter = changed(tiny, 20.0, 7)
    federation = build(shorter, inventory)
    assert federation.stop_ns == 20_000_000_000
    assert [injection.t_ns for injection in federation.injections] == [10_000_000_000]
    seeds = {spec.name: spec.params.seed for spec in federation.specs if hasattr(spec.params, "seed")}
    before = {spec.name: spec.params.seed for spec in build(tiny, inventory).specs if hasattr(spec.params, "seed")}
    assert seeds.keys() == before.keys()
    assert all(seeds[name] != before[name] for name in seeds)


def test_specs_travel_to_another_process(federation: Federation) -> None:
    import pickle

    again = pickle.loads(pickle.dumps(federation))
    assert [spec.name for spec in again.specs] == [spec.name for spec in federation.specs]
    assert again.links == federation.links


@pytest.mark.parametrize("case", ["case39", "case118", "case14"])
def test_the_quick_look_at_a_case_agrees_with_reading_it(case: str) -> None:
    from federates.grid.transmission import load_network

    names, read = case_names(f"pandapower:{case}"), load_network(f"pandapower:{case}")
    assert names is not None
    assert names.buses == read.bus_names
    assert names.lines == read.branch_names
    assert sorted(names.generators) == sorted(read.generator_names)
    assert names.base_kv == pytest.approx(read.base_kv)
    assert names.load_w == pytest.approx(read.native_p_w)
