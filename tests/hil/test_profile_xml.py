"""Point maps from DNP3 device profiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.point_csv import map_text, parse_map
from hil.points import Fallback, FallbackKind, MapError, Operate, PointTable
from hil.profile_xml import load_profile, parse_profile

NAMESPACES = (
    "http://www.dnp3.org/DNP3/DeviceProfile/Jan2010",
    "http://www.dnp3.org/DNP3/DeviceProfile/April2016",
    "http://www.dnp.org/DNP3/DeviceProfile",
)
POINTS = """\
<binaryInputPoints><dataPoints>
 <binaryInput><index>3</index><name>Breaker closed</name><changeEventClass>one</changeEventClass></binaryInput>
 <binaryInput><index>4</index><name>Breaker closed</name><changeEventClass>none</changeEventClass></binaryInput>
</dataPoints></binaryInputPoints>
<counterPoints><dataPoints>
 <counter><index>0</index><name>Energy</name><counterEventClass>none</counterEventClass><scaleFactor>10</scaleFactor>
  <units>kWh</units><frozenCounterExists>true</frozenCounterExists><frozenCounterEventClass>three</frozenCounterEventClass></counter>
</dataPoints></counterPoints>
<analogInputPoints><dataPoints>
 <analogInput><index>7</index><name>Power</name><description>three
   phase</description><changeEventClass>two</changeEventClass>
  <defaultStaticVariation>two</defaultStaticVariation><defaultEventVariation>g32v7</defaultEventVariation>
  <scaleFactor>0.1</scaleFactor><scaleOffset>-5</scaleOffset><units>kW</units>
  <dnpData><deadband>50</deadband></dnpData></analogInput>
 <analogInput><index>8</index><units>furlong</units></analogInput>
</dataPoints></analogInputPoints>
<binaryOutputPoints><dataPoints>
 <binaryOutput><index>0</index><name>Breaker</name><supportedControlOperations><supportSelectOperate/><supportTrip/><supportClose/>
 </supportedControlOperations></binaryOutput>
 <binaryOutput><index>1</index><name>Lamp</name></binaryOutput>
</dataPoints></binaryOutputPoints>
<analogOutputPoints><dataPoints>
 <analogOutput><index>2</index><name>Limit</name><supportedControlOperations><supportDirectOperate/></supportedControlOperations>
  <minTransmittedValue>0</minTransmittedValue><maxTransmittedValue>1000</maxTransmittedValue><scaleFactor>0.1</scaleFactor>
  <units>percent</units></analogOutput>
</dataPoints></analogOutputPoints>
"""


def document(points: str, namespace: str = NAMESPACES[0]) -> bytes:
    inner = f"<referenceDevice><dataPointsList>\n{points}</dataPointsList></referenceDevice>"
    return f'<?xml version="1.0"?>\n<DNP3DeviceProfileDocument xmlns="{namespace}">{inner}</DNP3DeviceProfileDocument>'.encode()


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_a_profile_becomes_a_map(namespace: str):
    found = parse_profile(document(POINTS, namespace))
    names = [(point.name, point.table, point.address, point.event_class) for point in found.reads]
    assert names == [
        ("Breaker_closed", PointTable.BINARY_INPUT, 3, 1),
        ("Breaker_closed_2", PointTable.BINARY_INPUT, 4, 0),
        ("Breaker", PointTable.BINARY_OUTPUT, 0, 1),
        ("Lamp", PointTable.BINARY_OUTPUT, 1, 1),
        ("Energy", PointTable.COUNTER, 0, 0),
        ("Energy_frozen", PointTable.FROZEN_COUNTER, 0, 3),
        ("Power", PointTable.ANALOG_INPUT, 7, 2),
        ("analog_input_8", PointTable.ANALOG_INPUT, 8, 1),
        ("Limit", PointTable.ANALOG_OUTPUT, 2, 1),
    ]
    power = found.point("Power")
    assert (power.scale, power.offset, power.unit) == (100.0, -5000.0, "W"), "0.1 kW and -5 kW"
    assert power.deadband == 5000.0, "50 raw steps"
    assert (power.static_variation, power.event_variation, power.note) == (2, 7, "three phase")
    assert found.point("Energy").unit == "Wh" and found.point("Energy").scale == 10_000.0
    assert found.point("analog_input_8").note == "in furlong as the profile says"


def test_outputs_that_may_be_operated_become_commands():
    breaker, limit = parse_profile(document(POINTS)).writes
    assert (breaker.name, breaker.codes, breaker.operate) == ("Breaker_command", ("close", "trip"), Operate.SELECT)
    assert breaker.fallback == Fallback(FallbackKind.HOLD)
    assert (limit.name, limit.minimum, limit.maximum, limit.unit, limit.operate) == (
        "Limit_command",
        0.0,
        100.0,
        "%",
        Operate.DIRECT,
    )


def test_the_map_of_a_profile_survives_as_csv():
    found = parse_profile(document(POINTS))
    assert parse_map(map_text(found)) == found


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"<a><b></a>", "p.xml:1: file: is no XML"),
        (b"", "p.xml:1: file: is no XML"),
        (b"\n<profile/>", "p.xml:2: profile: is no DNP3 device profile, which begins with DNP3DeviceProfileDocument"),
        (b"<DNP3DeviceProfileDocument/>", "p.xml:1: dataPointsList: is missing"),
        (document(""), "p.xml:2: dataPointsList: has no points"),
        (
            document("<binaryInputPoints>\n<binaryInput><name>x</name></binaryInput></binaryInputPoints>"),
            "p.xml:4: binaryInput.index: '' is no index",
        ),
        (
            document("<counterPoints><counter><index>1</index>\n<scaleFactor>ten</scaleFactor></counter></counterPoints>"),
            "p.xml:4: counter.scaleFactor: 'ten' is no finite number",
        ),
        (
            document(
                "<counterPoints><counter><index>1</index><counterEventClass>often</counterEventClass></counter></counterPoints>"
            ),
            "p.xml:3: counter.counterEventClass: 'often' is not known",
        ),
        (
            document("<counterPoints><counter><index>70000</index></counter></counterPoints>"),
            "p.xml:3: address: 70000 is no index",
        ),
    ],
)
def test_an_error_names_line_and_element(octets: bytes, said: str):
    with pytest.raises(MapError) as caught:
        parse_profile(octets, "p.xml")
    assert str(caught.value).startswith(said)


def test_a_profile_that_is_not_there(tmp_path: Path):
    with pytest.raises(MapError, match="cannot be read"):
        load_profile(tmp_path / "none.xml")


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 10**9),
    st.sampled_from(["", "0", "-1", "1e999", "nan", "one", "g30v5", "<x/>", "&lt;", "&bad;", "99999999999999999999"]),
)
def test_any_document_is_a_map_or_an_error_of_one(at: int, insert: str):
    """A good profile with a piece replaced somewhere."""
    good = document(POINTS).decode()
    cut = at % len(good)
    octets = (good[:cut] + insert + good[cut + at % 7 :]).encode()
    try:
        assert parse_profile(octets).points
    except MapError as error:
        assert error.problems and all(problem.message for problem in error.problems)
