"""The ports of every kind by name, so that a scenario is checked without building anything.

A test builds every kind and compares; the federates themselves are the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PortKind = Literal["vector", "document", "event"]


@dataclass(frozen=True, slots=True)
class KindPort:
    """A port of a kind. `unit` of a vector; `scalar`: it has no ids."""

    unit: str = "1"
    kind: PortKind = "vector"
    scalar: bool = False


_EVENT, _DOCUMENT = KindPort(kind="event"), KindPort(kind="document")
_NUMBER, _PU, _W, _VAR = KindPort("1"), KindPort("pu"), KindPort("W"), KindPort("var")
_RAD, _WH, _HZ = KindPort("rad"), KindPort("Wh"), KindPort("Hz", scalar=True)

_HEAD = {"head_p_w": _W, "head_q_var": _VAR, "bus_p_w": _W, "bus_q_var": _VAR}
_DEVICES = {"tap": _NUMBER, "capacitor": _NUMBER, "switch": _NUMBER}
_CLOSED = {"feeders_closed": KindPort(scalar=True)}
_TELEMETRY = {**_HEAD, "bus_v_pu": _PU, "bus_angle_rad": _RAD, "f_hz": _HZ, **_CLOSED, **_DEVICES}
_DER_TELEMETRY = {"der_p_w": _W, "der_q_var": _VAR, "der_status": _NUMBER, "der_available_w": _W, "der_soc_wh": _WH}
_READINGS = {"load_p_w": _W, "load_q_var": _VAR, "load_v_pu": _PU}
_INTERVALS = {"interval_p_w": _W, "interval_q_var": _VAR, "interval_v_pu": _PU}

OUTPUTS: Mapping[str, Mapping[str, KindPort]] = {
    "transmission": {
        "v_pu": _PU, "angle_rad": _RAD, "f_hz": _HZ, "all_v_pu": _PU, "load_p_w": _W, "load_q_var": _VAR,
        "line_status": _NUMBER, "loading": _NUMBER, "gen_p_w": _W, "gen_status": _NUMBER,
        "governor_p_w": KindPort("W", scalar=True), "coupling": _NUMBER, "emergency": _EVENT, "soe": _EVENT,
    },
    "areas": {
        "load_p_w": _W, "gen_p_w": _W, "response_p_w": _W, "relief_p_w": _W, "embedded_lost_p_w": _W, "ufls_stages": _NUMBER,
        "lowest_hz": KindPort("Hz"), "lowest_at_s": KindPort("s"), "highest_hz": KindPort("Hz"), "highest_at_s": KindPort("s"),
        "emergency": _EVENT, "soe": _EVENT,
    },
    "player": {"f_hz": _HZ, "emergency": _EVENT, "soe": _EVENT},
    "distribution": {
        **_HEAD, "node_v_pu": _PU, **_READINGS, "der_v_pu": _PU, **_DEVICES, "losses_w": KindPort("W", scalar=True),
        **_CLOSED, "catalogue": _DOCUMENT, "soe": _EVENT,
    },
    "ders": {"p_w": _W, "q_var": _VAR, "status": _NUMBER, "available_w": _W, "soc_wh": _WH, "soe": _EVENT},
    "relays": {"operated": _NUMBER, "trip": _EVENT, "soe": _EVENT},
    "schemes": {"soe": _EVENT},
    "scada": {**_TELEMETRY, **_DER_TELEMETRY, "soe": _EVENT, "control": _EVENT, "alarm": _EVENT},
    "meters": {**_INTERVALS, "meter_event": _EVENT},
    "ami": {
        **_READINGS, "reading_p_w": _W, "reading_q_var": _VAR, "reading_v_pu": _PU, "coverage": _NUMBER, "age_s": KindPort("s"),
        "energy_wh": _WH, "outage": _EVENT,
    },
    "tblm": {"tblm": _DOCUMENT, "verification": _DOCUMENT},
    "ems": {"prediction": _DOCUMENT, "outcome": _DOCUMENT, "ack": _EVENT, "equivalent": _DOCUMENT},
}  # fmt: skip
INPUTS: Mapping[str, Mapping[str, KindPort]] = {
    "transmission": {"command": _EVENT},
    "areas": {"command": _EVENT},
    "player": {},
    "distribution": {
        "v_pu": _PU, "angle_rad": _RAD, "f_hz": _HZ, "der_p_w": _W, "der_q_var": _VAR, "emergency": _EVENT, "command": _EVENT,
    },
    "ders": {"v_pu": _PU, "f_hz": _HZ, "emergency": _EVENT, "command": _EVENT},
    "relays": {"v_pu": _PU, "f_hz": _HZ, "emergency": _EVENT, "command": _EVENT},
    "schemes": {"emergency": _EVENT, "seen": _EVENT},
    "scada": {**_TELEMETRY, **_DER_TELEMETRY, "soe": _EVENT, "command": _EVENT},
    "meters": dict(_READINGS),
    "ami": {**_INTERVALS, "meter_event": _EVENT},
    "tblm": {
        **_TELEMETRY, **_DER_TELEMETRY, "load_p_w": _W, "load_q_var": _VAR, "coverage": _NUMBER,
        "soe": _EVENT, "ack": _EVENT, "request": _EVENT, "equivalent": _DOCUMENT,
    },
    "ems": {
        "f_hz": _HZ, "all_v_pu": _PU, "load_p_w": _W, "load_q_var": _VAR, "line_status": _NUMBER, "gen_p_w": _W,
        "gen_status": _NUMBER, "soe": _EVENT,
    },
}  # fmt: skip
DER_PORTS = frozenset({"der_p_w", "der_q_var", "der_status", "der_available_w", "der_soc_wh", "der_v_pu"})
"""Present only where the feeder has DER; `der_soc_wh` where some of them are storage."""


def outputs_of(entry: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, KindPort]:
    """The outputs of a federate entry among the other entries of its scenario."""
    ports = dict(OUTPUTS[entry["kind"]])
    if entry["kind"] == "distribution" and entry.get("motors"):
        ports["motors"] = _NUMBER
    fed = any(o["kind"] == "distribution" and o.get("grid") == entry["name"] for o in others)
    if entry["kind"] == "areas":
        areas = entry.get("areas") or ()
        ports |= {"f_hz": _HZ} if len(areas) == 1 else {f"f_hz_{area.get('name')}": _HZ for area in areas}
        ports |= {"tie_p_w": _W} if entry.get("ties") else {}
    if entry["kind"] in ("areas", "player") and fed:
        ports |= {"v_pu": _PU, "angle_rad": _RAD, "coupling": _NUMBER}
        ports |= {"load_p_w": _W, "load_q_var": _VAR} if entry["kind"] == "player" else {}
    if entry["kind"] == "schemes":
        ports |= {f"trip_{feeder}": _EVENT for feeder in _tripped(entry)}
    return {name: port for name, port in ports.items() if name not in DER_PORTS or _has_der(entry, others, name)}


def inputs_of(entry: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, KindPort]:
    """The inputs of a federate entry; a transmission federate has two per attached feeder, an EMS one per builder."""
    table = INPUTS[entry["kind"]]
    ports = {name: port for name, port in table.items() if name not in DER_PORTS or _has_der(entry, others, name)}
    if entry["kind"] in ("transmission", "areas", "player"):
        for feeder in (o["name"] for o in others if o["kind"] == "distribution"):
            ports |= {f"p_{feeder}": _W, f"q_{feeder}": _VAR}
    if entry["kind"] == "ems":
        ports |= {f"tblm_{o['name']}": _DOCUMENT for o in others if o["kind"] == "tblm"}
    if entry["kind"] == "schemes":
        asked = {key for row in entry.get("rows") or () for condition in row.get("when") or () for key in condition}
        ports |= {"line_status": _NUMBER, "loading": _NUMBER} if asked & {"line_open", "line_loading"} else {}
        ports |= {"gen_status": _NUMBER} if "generator_out" in asked else {}
    return ports


def _tripped(entry: Mapping[str, Any]) -> list[str]:
    """The feeders that a special scheme may trip, each once."""
    return list(dict.fromkeys(trip["feeder"] for row in entry.get("rows") or () for trip in row.get("trip") or ()))


def _has_der(entry: Mapping[str, Any], others: Sequence[Mapping[str, Any]], port: str) -> bool:
    """Whether the feeder of an entry has the DER that a port is about."""
    feeder = entry["name"] if entry["kind"] == "distribution" else entry.get("feeder")
    ders = [other for other in others if other["kind"] == "ders" and other.get("feeder") == feeder]
    return any(map(_has_storage, ders)) if port == "der_soc_wh" else bool(ders)


def _has_storage(ders: Mapping[str, Any]) -> bool:
    plants = ders.get("plants") or ()
    return bool(ders.get("storage")) or any(isinstance(p, Mapping) and p.get("type") == "storage" for p in plants)
