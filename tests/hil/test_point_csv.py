"""Point maps: what is read is what was written, and every error is told at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.point_csv import BY_NAME, COLUMNS, load_map, map_text, parse_map
from hil.point_dnp3 import CODES, code_for, crob_for, outstation_points, reports, state_of, value_from_report, wire_command
from hil.point_modbus import modbus_points
from hil.points import Direction, Fallback, FallbackKind, MapError, MapPoint, Operate, PointMap, PointTable, Signal
from protocols.dnp3 import ControlCode, Crob, PointType
from protocols.dnp3.database import Database
from protocols.modbus import ReadLimits, plan_reads

RECLOSER = """\
name,signal,direction,table,address,unit,scale,min,max,rate_per_s,codes,operate,fallback,class,deadband,event_variation,note
p_w,feeder.head_p_w:a,,analog_input,0,W,1000,,,,,,,2,5000,7,"head, phase a"
closed,feeder.switch:sw1,read,binary_input,0,,,,,,,,,,,,
trip,,write,binary_output,0,,,,,,trip|close,sbo,hold,,,,
target_v,ems.target_v,write,analog_output,3,V,0.1,110,130,5,,direct,value=120,,,,
"""


def problems(text: str) -> list[str]:
    with pytest.raises(MapError) as caught:
        parse_map(text, "m.csv")
    return [str(problem) for problem in caught.value.problems]


def test_a_map_is_read():
    found = parse_map(RECLOSER, "m.csv")
    p_w, closed, trip, target_v = found.points
    assert p_w.signal == Signal("feeder", "head_p_w", "a") and p_w.note == "head, phase a"
    assert (p_w.scale, p_w.deadband, p_w.event_class, p_w.event_variation, p_w.line) == (1000.0, 5000.0, 2, 7, 2)
    assert trip.codes == ("trip", "close") and trip.fallback == Fallback(FallbackKind.HOLD)
    assert target_v.signal == Signal("ems", "target_v") and target_v.operate is Operate.DIRECT
    assert target_v.fallback == Fallback(FallbackKind.VALUE, 120.0)
    assert found.writes == (trip, target_v) and found.reads == (p_w, closed) and found.point("closed") is closed


def test_every_error_is_told_at_once():
    found = problems(
        "name,table,address,unit,direction,min,max,fallback,codes,signal\n"
        "a,analog_input,zero,W,,,,,,\n"
        'b,analog_input,1,kW,,,,,,"x y"\n'
        "b,analog_imput,2,,,,,,,\n"
        "c,analog_output,3,V,write,5,1,value=9,,\n"
        "d,binary_output,4,,write,,,later,shut,\n"
        "e,binary_output,5,,write,,,,,\n"
        "f,binary_input,6,,write,,,hold,,\n"
    )
    assert found == [
        "m.csv:2: address: 'zero' is no whole number; write for instance 12 or 0x0C",
        "m.csv:3: signal: 'x y' is no signal; write federate.port:id, or federate.port for a scalar port",
        "m.csv:4: table: 'analog_imput' is not known; did you mean analog_input?",
        "m.csv:5: min: 5 is above max 1; exchange them",
        "m.csv:6: codes: 'shut' is not known; write one of latch_on, latch_off, pulse_on, pulse_off, close, trip",
        "m.csv:6: fallback: 'later' is no fallback; write hold, last, value=NUMBER or release=NUMBER",
        "m.csv:7: codes: is needed to operate it: what the device takes, of close|trip|latch_on|latch_off|pulse_on|pulse_off",
        "m.csv:7: fallback: is needed to write: hold, last, value=NUMBER or release=NUMBER, for when the run or its lease ends",
        "m.csv:8: direction: a point of table binary_input is only read; write read",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: file: is empty"),
        ("name,table,address\n", "2: name: the map has no points"),
        ("name,table,address,tabel\na,binary_input,1\n", "1: tabel: there is no such column; did you mean table?"),
        ("name,table,address,name\n", "1: name: the column is there 2 times"),
        ("name,table,address\na,holding,1,,x\n", "2: row: the row has 5 cells under 3 columns"),
        ('name,table,address\n"a,holding,1\n', "2: row: is no CSV"),
        ("name,table,address\n,binary_input,1\n", "2: name: is empty"),
        ("name,table,address\na,binary_input,1\n\na,binary_input,2\n", "4: name: 'a' is already on line 2"),
        ("name,table,address\na,binary_input,1\nb,binary_input,1\n", "3: address: 1 is already 'a' of line 2"),
        ("name,table,address,type\na,holding,1,f32\nb,holding,2,u16\n", "3: address: 2 lies in 'a' of line 2, which takes 1..2"),
        ("name,table,address,type\na,holding,1,u16\nb,analog_input,2,\n", "3: table: analog_input is dnp3"),
        ("name,table,address,type,order\na,binary_input,1,,CDAB\n", "2: order: belongs to modbus"),
        ("name,table,address,type,class\na,holding,1,u16,2\n", "2: class: belongs to dnp3"),
        ("name,table,address\na,holding,1\n", "2: type: a register needs a type"),
        ("name,table,address,type\na,holding,65535,u32\n", "2: address: 65535 is outside 0..65534"),
        ("name,table,address,type,address_base\na,input,5,u16,40001\n", "2: address_base: 40001 counts holding points"),
        ("name,table,address,type,address_base\na,holding,5,u16,40001\n", "2: address: 5 is outside 40001..105536"),
        ("name,table,address,type,scale_factor\na,holding,1,u16,b\n", "2: scale_factor: there is no point 'b' in the map"),
        ("name,table,address,type,scale_factor\na,holding,1,u16,b\nb,holding,2,u16,\n", "2: scale_factor: 'b' on line 3 must be"),
        ("name,table,address,type,bit\na,holding,1,bit,16\n", "2: bit: 16 is not in 0..15"),
        ("name,table,address,type,sentinels\na,holding,1,u16,0x10000\n", "2: sentinels: sentinels are bit patterns of 16 bits"),
        (
            "name,table,address,unit\na,analog_input,1,MW\n",
            "2: unit: 'MW' is not known; write W and multiply scale and offset by 1e+06",
        ),
        ("name,table,address,event_variation\na,analog_input,1,9\n", "2: event_variation: analog_input has no variation 9"),
        ("name,table,address,scale\na,analog_input,1,0\n", "2: scale: a scale of 0"),
        ("name,table,address,scale\na,analog_input,1,nan\n", "2: scale: 'nan' is no finite number"),
        ("name,table,address,min\na,analog_input,1,3\n", "2: min: is for points that are commanded"),
    ],
)
def test_an_error_names_line_column_and_remedy(text: str, said: str):
    (found,) = problems(text)
    assert found.startswith(f"m.csv:{said}")


def test_a_command_that_the_type_cannot_hold_is_an_error_of_the_map():
    head = "name,table,address,type,direction,scale,min,max,fallback\n"
    assert (
        "3000 cannot be sent: raw value 300000 does not fit u16" in problems(head + "a,holding,1,u16,write,0.01,0,3000,hold\n")[0]
    )
    assert "3000 does not fit into i16" in problems(head + "a,analog_output,1,i16,write,0.01,0,3000,hold\n")[0]
    assert "9 is outside 0..5" in problems(head + "a,analog_output,1,f32,write,1,0,5,value=9\n")[0]
    assert (
        "no code in trip sends 1"
        in problems("name,table,address,direction,codes,fallback\na,binary_output,1,write,trip,value=1\n")[0]
    )


def test_a_place_may_be_read_and_written():
    text = "name,table,address,direction,codes,fallback\nstate,binary_output,1,,,\ntrip,binary_output,1,write,trip,hold\n"
    (config,) = outstation_points(parse_map(text))
    assert config.commandable and config.controls == {ControlCode.TRIP_PULSE_ON} and config.name == "trip"
    (shown,) = outstation_points(parse_map("name,table,address\nstate,binary_output,1\n"))
    assert not shown.commandable
    bits = "name,table,address,type,bit\nword,holding,1,u16,\nlow,holding,1,bit,0\nhigh,holding,1,bit,15\n"
    assert len(parse_map(bits).points) == 3


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(MapError, match=r"none\.csv:1: file: cannot be read: No such file"):
        load_map(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("näme".encode("latin-1"))
    with pytest.raises(MapError, match="is not UTF-8"):
        load_map(tmp_path / "latin.csv")


# -- round trips

WORDS = st.from_regex(r"[A-Za-z_][\w.\[\]-]{0,8}", fullmatch=True).filter(str.isprintable)
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: value or 0.0)
SCALES = st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6)
SIGNALS = st.builds(Signal, st.from_regex(r"[a-z]\w{0,5}", fullmatch=True), st.just("p_w"), st.none() | WORDS)
NOTES = st.text(max_size=12).map(lambda text: "".join(c for c in text if c.isprintable()).strip())


@st.composite
def dnp3_maps(draw: st.DrawFn) -> PointMap:
    """Any valid map of a DNP3 device, with read and write rows."""
    points = []
    for i in range(draw(st.integers(1, 6))):
        table = draw(st.sampled_from([table for table in PointTable if table.protocol == "dnp3"]))
        scaled = table in (PointTable.ANALOG_INPUT, PointTable.ANALOG_OUTPUT, PointTable.COUNTER)
        write = table.is_writable and draw(st.booleans())
        fields = {}
        if scaled:
            fields = {
                "scale": draw(SCALES),
                "offset": draw(NUMBERS),
                "unit": draw(st.sampled_from(["1", "W", "var"])),
            }
        if write:
            fields |= {"direction": Direction.WRITE, "operate": draw(st.sampled_from(Operate)), "readback": draw(st.booleans())}
            fields |= {
                "min_interval_s": draw(st.floats(0, 60)),
                "fallback": draw(st.sampled_from([Fallback(FallbackKind.HOLD), Fallback(FallbackKind.LAST)])),
            }
            if table is PointTable.BINARY_OUTPUT:
                fields |= {"codes": tuple(draw(st.lists(st.sampled_from([*CODES]), min_size=1, max_size=3, unique=True)))}
            else:
                low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS)))
                fields |= {"minimum": low, "maximum": high, "fallback": Fallback(FallbackKind.RELEASE, low)}
        name, signal = f"{draw(WORDS)}_{i}", None if table is PointTable.OCTET_STRING else draw(st.none() | SIGNALS)
        points.append(MapPoint(name, table, i, signal=signal, note=draw(NOTES), event_class=draw(st.integers(0, 3)), **fields))
    return PointMap(tuple(points))


@st.composite
def modbus_maps(draw: st.DrawFn) -> PointMap:
    """Any valid map of registers of numbers."""
    points, at = [], draw(st.integers(0, 9))
    for i in range(draw(st.integers(1, 8))):
        kind, size = draw(st.sampled_from([("u16", 1), ("s16", 1), ("u32", 2), ("f32", 2), ("u64", 4), ("f64", 4)]))
        base = draw(st.sampled_from([0, 1, 40001, 400001]))
        order = draw(st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]))
        sentinels = draw(st.sampled_from([(), (0xFFFF,), (0x8000, 0xFFFF)]))
        fields = {"order": order, "sentinels": sentinels, "scale": draw(SCALES), "unit_id": draw(st.integers(1, 3))}
        points.append(MapPoint(f"p{i}", PointTable.HOLDING, at + base, address_base=base, type=kind, **fields))
        at += size + draw(st.integers(0, 5))
    return PointMap(tuple(points))


@settings(max_examples=40, deadline=None)
@given(st.one_of(dnp3_maps(), modbus_maps()))
def test_what_is_written_reads_back_the_same(point_map: PointMap):
    text = map_text(point_map)
    assert parse_map(text) == point_map
    assert map_text(parse_map(text)) == text


@settings(max_examples=40, deadline=None)
@given(dnp3_maps())
def test_a_map_of_dnp3_is_a_database(point_map: PointMap):
    configs = outstation_points(point_map)
    assert len(Database(configs)) == len({(point.table, point.address) for point in point_map.points})
    for (kind, index), point in reports(point_map).items():
        config = next(each for each in configs if (each.type, each.index) == (kind, index))
        if point.scale != 1:
            assert value_from_report(point, config.to_wire(7.5)) == pytest.approx(
                7.5, rel=1e-6, abs=1e-6 * abs(point.offset) + 1e-9
            )


@settings(max_examples=40, deadline=None)
@given(modbus_maps())
def test_a_map_of_modbus_can_be_polled(point_map: PointMap):
    points = modbus_points(point_map)
    planned = [i for read in plan_reads(points, ReadLimits()) for i in read.points]
    assert sorted(planned) == list(range(len(points)))
    assert all(point.address == row.wire_address for point, row in zip(points, point_map.points, strict=True))


def test_controls_follow_the_codes_of_the_map():
    point = parse_map(
        "name,table,address,direction,codes,fallback,on_ms\nb,binary_output,1,write,trip|latch_on|close,hold,250\n"
    ).points[0]
    assert crob_for(point, 0) == Crob(ControlCode.TRIP_PULSE_ON, 1, 250, 100)
    assert code_for(point, 1) is ControlCode.LATCH_ON, "the first that is listed"
    assert [state_of(Crob(code)) for code in (0x81, 0x41, 3, 4, 0x30)] == [0, 1, 1, 0, None]
    only_trip = parse_map("name,table,address,direction,codes,fallback\nb,binary_output,1,write,trip,hold\n").points[0]
    assert crob_for(only_trip, 1) is None


def test_an_analog_command_is_in_raw_steps():
    head = "name,table,address,direction,type,scale,offset,min,max,fallback\n"
    point = parse_map(head + "v,analog_output,1,write,i16,0.1,100,100,130,hold\n").points[0]
    assert wire_command(point, 120.04) == 200
    assert reports(parse_map("name,table,address\na,counter,7\n")).keys() == {(PointType.COUNTER, 7)}


def test_every_column_is_explained_and_a_field():
    assert len(BY_NAME) == len(COLUMNS) and all(column.doc for column in COLUMNS)
    assert {column.field for column in COLUMNS} == set(MapPoint.__dataclass_fields__) - {"line"}


CELLS = {
    "name": ["a", "b", "", "x y", "[b]"],
    "table": [*PointTable, "holdin", ""],
    "address": ["0", "1", "7", "65535", "-1", "99999999999999999999", "0x1F", "x", ""],
    "direction": ["read", "write", "", "both"],
    "address_base": ["", "0", "1", "40001", "30001", "5"],
    "type": ["", "u16", "f32", "u64", "bit", "string", "i16", "f64", "nix"],
    "bit": ["", "0", "15", "16", "-1"],
    "length": ["", "1", "125", "-3", "70000"],
    "scale": ["", "0", "-1", "1e-300", "1e300", "nan", "inf"],
    "scale_factor": ["", "a", "b", "zz"],
    "sentinels": ["", "0x8000", "-1", "1|2|", "0xFFFFFFFFFFFFFFFFFF"],
    "min": ["", "0", "-1e300", "5"],
    "max": ["", "1", "1e300", "-5"],
    "codes": ["", "trip", "close|trip", "trip|trip", "|"],
    "fallback": ["", "hold", "last", "value=1", "value=", "release=nan", "value=1e300"],
    "static_variation": ["", "1", "5", "99", "-1"],
    "event_variation": ["", "1", "7", "-4"],
    "write_function": ["", "6", "16", "99"],
    "order": ["", "CDAB", "DCBA"],
    "signal": ["", "a.b:c", "a.b", "a", "a.b:", ".:"],
    "on_ms": ["", "-1", "99999999999"],
    "rate_per_s": ["", "0", "-1", "2"],
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.fixed_dictionaries({name: st.sampled_from(cells) for name, cells in CELLS.items()}), min_size=1, max_size=4))
def test_any_map_is_read_or_every_fault_of_it_is_named(rows: list[dict[str, str]]):
    text = "\n".join([",".join(CELLS), *(",".join(row.values()) for row in rows)]) + "\n"
    try:
        found = parse_map(text)
    except MapError as error:
        assert error.problems and all(problem.message and 1 <= problem.line <= len(rows) + 1 for problem in error.problems)
    else:
        assert parse_map(map_text(found)) == found
        outstation_points(found) if found.protocol == "dnp3" else modbus_points(found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.text(st.sampled_from('name,table,address\n"a0\r;'), max_size=60))
def test_any_text_is_a_map_or_an_error_of_one(text: str):
    try:
        assert parse_map(text).points
    except MapError as error:
        assert error.problems
