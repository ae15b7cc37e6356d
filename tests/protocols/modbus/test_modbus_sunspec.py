"""SunSpec: our device under pysunspec2's own client, our scan of our device, and devices that break the rules."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import struct
from collections.abc import Callable, Coroutine
from importlib import resources
from typing import Any

import pytest
from modbus_peers import HOST
from sunspec2.modbus import client as pysunspec2

from protocols.modbus import (
    Device,
    Dispatcher,
    ExceptionCode,
    Link,
    MemoryBank,
    ModbusException,
    PointError,
    PointState,
    SunSpecError,
    SunSpecServer,
    Table,
    TcpAddress,
    TcpServer,
    Value,
    WriteState,
    scan,
)
from protocols.modbus.sunspec_model import SERVED_MODELS, count_points, definition, lay_out

VOLT_VAR = {
    "Ena": 1,
    "AdptCrvReq": 0,
    "AdptCrvRslt": 1,
    "V_SF": -2,
    "DeptRef_SF": -1,
    "RspTms_SF": -1,
    "Crv": [
        {
            "ActPt": 4,
            "DeptRef": 1,
            "RspTms": 5.0,
            "ReadOnly": int(curve == 0),
            "Pt": [{"V": v, "Var": q} for v, q in ((92, 44), (98, 0), (102, 0), (108, -44))],
        }
        for curve in range(2)
    ],
}
DER: dict[int, dict[str, Any]] = {
    1: {"Mn": "Example", "Md": "Inverter 5000", "SN": "00042", "DA": 1},
    701: {"ACType": 0, "W": 4200, "W_SF": 1, "LNV": 239.7, "V_SF": -1, "Hz": 59.993, "Hz_SF": -3, "TotWhInj": 2**40, "TotWh_SF": 0},
    704: {"WMaxLimPctEna": 0, "WMaxLimPct": 100, "WMaxLimPct_SF": -1, "PFWInj": {"PF": 0.95, "Ext": 1}, "PF_SF": -3},
    705: VOLT_VAR,
    707: {"Ena": 1, "V_SF": -1, "Tms_SF": -2, "Crv": [{"MustTrip": {"ActPt": 1, "Pt": [{"V": 50, "Tms": 2.0}]}}]},
    714: {"NPrt": 1, "DCW": 4300, "DCW_SF": 0, "Prt": [{"IDStr": "string 1", "DCW": 4300}]},
}


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def full_model(model_id: int) -> dict[str, Any]:
    """A value for every point of a model, different from its neighbours, and two of each repeating group."""
    number = iter(range(1, 10_000))

    def value(point: dict[str, Any]) -> Any:
        kind, n = point["type"], next(number)
        if kind == "sunssf":
            return -(n % 3)
        if kind == "string":
            return f"text {n}"
        return n % 50 + 1 if point.get("sf") else n

    def group(spec: dict[str, Any]) -> dict[str, Any]:
        names = {p["name"] for p in spec["points"]} - {"L", *count_points(model_id)}
        top = spec is definition(model_id)
        filled = {p["name"]: value(p) for p in spec["points"] if p["name"] in names and not (top and p["name"] == "ID")}
        for child in spec.get("groups", ()):
            filled[child["name"]] = [group(child), group(child)] if "count" in child else group(child)
        return filled

    return group(definition(model_id))


async def with_pysunspec2(server: SunSpecServer, look: Callable[[Any], None]) -> None:
    """Let pysunspec2's client scan the server, in a thread, and then `look` at its device."""

    def visit(port: int) -> None:
        device = pysunspec2.SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr=HOST, ipport=port, timeout=5)
        try:
            device.scan()
            look(device)
        finally:
            device.close()

    async with TcpServer(Dispatcher({1: server.bank})) as tcp:
        await asyncio.to_thread(visit, tcp.port)


def test_pysunspec2_sees_every_point_of_every_served_model() -> None:
    values = {model_id: full_model(model_id) for model_id in SERVED_MODELS}
    compared = 0

    def compare(model: Any, given: dict[str, Any], where: str) -> None:
        nonlocal compared
        for name, value in given.items():
            if name in model.points:
                shown = model.points[name].cvalue
                assert shown == pytest.approx(value) if not isinstance(value, str) else shown == value, f"{where}.{name}"
                compared += 1
            elif isinstance(value, list):
                for i, member in enumerate(value):
                    compare(model.groups[name][i], member, f"{where}.{name}[{i}]")
            else:
                compare(model.groups[name], value, f"{where}.{name}")

    def look(device: Any) -> None:
        assert [model.model_id for model in device.model_list] == list(SERVED_MODELS)
        for model in device.model_list:
            assert model.error_info == ""
            compare(model, values[model.model_id], str(model.model_id))

    server = SunSpecServer(values)
    run(lambda: with_pysunspec2(server, look))
    # All but ID, L and the counts, which the server fills in itself.
    assert compared == sum(len(layout.points) - 2 - len(count_points(m)) for m, layout in server.layouts.items()) > 400


def test_pysunspec2_writes_a_curve_and_the_device_hears_of_it() -> None:
    heard: dict[str, Value | None] = {}
    server = SunSpecServer(DER, on_write=heard.update)

    def look(device: Any) -> None:
        curve = device.models["DERVoltVar"][0].groups["Crv"][1]
        for point, (v, q) in zip(curve.groups["Pt"], ((90, 50), (97, 0), (103, 0), (110, -50)), strict=True):
            point.points["V"].cvalue, point.points["Var"].cvalue = v, q
        curve.write()
        device.models["DERVoltVar"][0].points["AdptCrvReq"].value = 2
        device.models["DERVoltVar"][0].points["AdptCrvReq"].write()
        with pytest.raises(Exception, match="exception: 2"):
            device.models["DERMeasureAC"][0].points["W"].value = 1
            device.models["DERMeasureAC"][0].points["W"].write()

    run(lambda: with_pysunspec2(server, look))
    assert heard["705.Crv[1].Pt[0].V"] == 90 and heard["705.Crv[1].Pt[3].Var"] == -50
    assert heard["705.AdptCrvReq"] == 2
    assert server.value("705.Crv[1].Pt[1].V") == 97
    assert server.value("705.Crv[0].Pt[0].V") == 92  # the other curve is untouched
    assert server.value("701.W") == 4200


def test_layouts_are_as_long_as_pysunspec2_computes_them() -> None:
    for model_id in SERVED_MODELS:
        for repeats in (0, 1, 3):
            counts = dict.fromkeys(count_points(model_id), repeats)
            layout = lay_out(model_id, 40002, 1, counts)
            ends = sorted((point.address, point.end) for point in layout.points.values())
            assert ends[0][0] == 40002 and ends[-1][1] == 40002 + 2 + layout.length
            assert all(end == start for (_, end), (start, _) in itertools.pairwise(ends))  # no hole, no overlap


def test_scan_poll_and_write_through_our_own_client() -> None:
    async def scenario() -> None:
        server = SunSpecServer(DER, base=0)
        async with TcpServer(Dispatcher({1: server.bank})) as tcp:
            link = Link(TcpAddress(HOST, tcp.port))
            await link.connect()
            found = await scan(link)
            link.close()
            assert found.base == 0
            assert [(model.model_id, model.note) for model in found.models] == [(model_id, "") for model_id in DER]
            device = Device("inverter", TcpAddress(HOST, tcp.port), found.points)
            readings = await device.cycle(2.0)
            value = {point.name: readings.values[i] for i, point in enumerate(device.points)}
            state = {point.name: readings.states[i] for i, point in enumerate(device.points)}
            assert (value["701.W"], value["701.LNV"], value["701.Hz"]) == (4200, 239.7, 59.993)
            assert value["701.TotWhInj"] == 2**40 and value["704.PFWInj.PF"] == 0.95
            assert value["707.Crv[0].MustTrip.Pt[0].Tms"] == 2.0
            assert state["701.A"] == PointState.NOT_IMPLEMENTED and math.isnan(value["701.A"])
            assert "Inverter 5000" in readings.texts.values() and "string 1" in readings.texts.values()
            server.update(701, {"W": -3210, "Hz": 60.01})
            readings = await device.cycle(2.0)
            names = [point.name for point in device.points]
            assert readings.values[names.index("701.W")] == -3210
            curve = {f"705.Crv[1].Pt[{i}].{name}": v for i in range(4) for name, v in (("V", 95 + i), ("Var", 10.5 - i))}
            results = await device.write(1, curve)
            assert [result.state for result in results] == [WriteState.DONE] and len(results[0].points) == 8  # in one request
            assert server.value("705.Crv[1].Pt[3].Var") == 7.5
            device.close()

    run(scenario)


@pytest.mark.parametrize(
    ("model_id", "values", "error", "message"),
    [
        (701, {"Watts": 1}, SunSpecError, r"701\.Watts"),
        (701, {"W": 1}, SunSpecError, r"701\.W needs the scale factor 701\.W_SF"),
        (701, {"W": 1, "W_SF": 11}, SunSpecError, "from -10 to 10"),
        (701, {"W": 40000, "W_SF": 0}, PointError, r"701\.W"),
        (701, {"W": -32768, "W_SF": 0}, PointError, "not implemented"),
        (705, {"NCrv": 3, "Crv": [{}]}, SunSpecError, "Crv has 1 members where NCrv is 3"),
        (705, {"Crv": [{"Pt": [{}]}, {"Pt": [{}, {}]}]}, SunSpecError, r"Crv\[1\]\.Pt has 2 members where NPt is 1"),
        (65000, {}, SunSpecError, "no definition of SunSpec model 65000"),
    ],
)
def test_values_that_do_not_fit_a_model_are_named(
    model_id: int, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SunSpecServer({model_id: values})


def test_an_update_changes_all_or_nothing() -> None:
    server = SunSpecServer({701: {"W": 100, "W_SF": 0, "V_SF": -1}})
    with pytest.raises(PointError):
        server.update(701, {"W": 200, "LNV": 1e9})
    assert server.value("701.W") == 100
    server.update(701, {"W": None})
    assert server.value("701.W") is None


def test_a_device_may_refuse_what_a_client_writes() -> None:
    def judge(values: dict[str, Value | None]) -> None:
        limit = values["704.WMaxLimPct"]
        if not isinstance(limit, (int, float)) or limit > 100:
            raise ModbusException(ExceptionCode.ILLEGAL_DATA_VALUE)

    async def scenario() -> None:
        server = SunSpecServer(DER, on_write=judge)
        async with TcpServer(Dispatcher({1: server.bank})) as tcp:
            points = list(server.layouts[704].points.values())
            device = Device("inverter", TcpAddress(HOST, tcp.port), points)
            await device.cycle(2.0)
            for value, state, shown in ((120, WriteState.REFUSED, 100), (80.5, WriteState.DONE, 80.5)):
                (result,) = await device.write(1, {"704.WMaxLimPct": value})
                assert result.state is state
                assert server.value("704.WMaxLimPct") == shown
            device.close()

    run(scenario)


def served(registers: bytes, base: int = 40000) -> MemoryBank:
    bank = MemoryBank()
    bank.add(Table.HOLDING, base, registers)
    return bank


@pytest.mark.parametrize(
    ("registers", "message"),
    [
        (b"SunX" + bytes(8), "no SunSpec map"),
        (b"SunS" + struct.pack(">HH", 64000, 60000), "past the end"),
        (b"SunS" + struct.pack(">HH", 64000, 0) * 300, "more than 256 models"),
    ],
)
def test_a_map_that_breaks_the_rules_is_refused(registers: bytes, message: str) -> None:
    async def scenario() -> None:
        async with TcpServer(Dispatcher({1: served(registers)})) as tcp:
            link = Link(TcpAddress(HOST, tcp.port))
            await link.connect()
            with pytest.raises(SunSpecError, match=message):
                await scan(link)
            link.close()

    run(scenario)


def test_unknown_short_and_repeated_models_are_noted_and_passed_over() -> None:
    async def scenario() -> None:
        common = struct.pack(">HH", 1, 66) + b"Maker".ljust(132, b"\0")
        models = struct.pack(">HHH", 60001, 1, 7) + struct.pack(">HHH", 701, 1, 0) + common + common
        end = struct.pack(">H", 0xFFFF)  # without a length, as some devices end
        async with TcpServer(Dispatcher({1: served(b"SunS" + models + end, base=50000)})) as tcp:
            link = Link(TcpAddress(HOST, tcp.port))
            await link.connect()
            found = await scan(link)
            link.close()
        assert found.base == 50000
        assert [model.model_id for model in found.models] == [60001, 701, 1, 1]
        notes = [model.note for model in found.models]
        assert "no definition" in notes[0] and "shorter" in notes[1] and notes[2] == "" and "second instance" in notes[3]
        assert {point.name for point in found.points} == {point for point in lay_out(1, 0, 1, {}).points}

    run(scenario)


def test_nearly_every_packaged_model_can_be_laid_out() -> None:
    packaged = resources.files("sunspec2") / "models" / "json"
    laid_out = refused = 0
    for file in packaged.iterdir():
        if file.name.startswith("model_") and file.name.endswith(".json"):
            model_id = int(json.loads(file.read_text())["id"])
            try:
                lay_out(model_id, 0, 1, dict.fromkeys(count_points(model_id), 1))
                laid_out += 1
            except SunSpecError:
                refused += 1
    assert laid_out > 90 and refused < 10
