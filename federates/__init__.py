"""Who takes part in a co-simulation. It reads left to right as the data flows:

    field ──> data_management ──> dms ──> tblm ──> ems
      ^              |                              |
      └──────────────┴─── commands, set-points <────┘

A federate is a plain Python object with typed ports and one method, `step(t, inputs) -> outputs` (`runtime/federate.py`). It knows
nothing of HELICS, of files or of the other federates. `runtime` runs them, in one process or in many; `grid` is the engineering
beneath them, numbers in and numbers out; the rest are the federates, in packages named after what they stand for.

What happens in a second of simulated time: `field/transmission` solves the bulk power flow and says what voltage, angle and
frequency each bus has. `field/distribution` puts that on the head of its feeder, moves load, regulators and capacitors, and
says what it draws. `field/ders` sees the voltage at each inverter and answers as IEEE 1547-2018 tells it to.
`data_management/scada` samples what is measured and delivers it late, rounded and sometimes not at all; `field/meters` and
`data_management/ami` do the same for customers, by the interval. `tblm/builder` knows only what was delivered: from that and a
study of its own it makes the Transmission Bus Load Model of its bus. `ems/ems` takes the models, acknowledges them and asks what
happens after the next outage.

A scenario names its federates by kind; `FACTORY_OF_KIND` says which class that is. `SYSTEM_FILE` says where each of the 23 systems
of the use case lives. Strings only: importing this costs nothing.
"""

from __future__ import annotations

FACTORY_OF_KIND: dict[str, str] = {
    "transmission": "federates.field.transmission:TransmissionFederate",
    "distribution": "federates.field.distribution:DistributionFederate",
    "ders": "federates.field.ders:DersFederate",
    "scada": "federates.data_management.scada:ScadaFederate",
    "meters": "federates.field.meters:MetersFederate",
    "ami": "federates.data_management.ami:AmiFederate",
    "tblm": "federates.tblm.builder:TblmBuilder",
    "ems": "federates.ems.ems:EmsFederate",
}
"""Kind in a scenario: `module:class` of the federate."""

SYSTEM_FILE: dict[str, str | None] = {
    "distribution SCADA": "federates/data_management/scada.py",
    "AM/FM/GIS": None,
    "AMI": "federates/field/meters.py",
    "AMI data management": "federates/data_management/ami.py",
    "CIS": None,
    "DER": "federates/field/ders.py",
    "DER management": None,
    "DR management": None,
    "PEV management": None,
    "SCADA/EMS": "federates/ems/ems.py",
    "customer EMS": None,
    "energy services interface": None,
    "conversion and validation": None,
    "DOMA": None,
    "DCA": None,
    "MFR": None,
    "VVWO": None,
    "coordination of emergency actions": None,
    "load management": None,
    "UFLS": None,
    "UVLS": None,
    "special load shedding": None,
    "communication means": "federates/grid/channel.py",
}
"""System of the use case: the file that is it, None where there is none yet."""
