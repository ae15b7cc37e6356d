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
of the use case lives, `SYSTEM_WAITS_FOR` what those wait for that are not there yet. Strings only: importing this costs nothing.
"""

from __future__ import annotations

FACTORY_OF_KIND: dict[str, str] = {
    "transmission": "federates.field.transmission:TransmissionFederate",
    "areas": "federates.field.areas:AreasFederate",
    "player": "federates.field.player:PlayerFederate",
    "distribution": "federates.field.distribution:DistributionFederate",
    "ders": "federates.field.ders:DersFederate",
    "relays": "federates.field.relays:RelaysFederate",
    "schemes": "federates.field.schemes:SchemesFederate",
    "scada": "federates.data_management.scada:ScadaFederate",
    "meters": "federates.field.meters:MetersFederate",
    "ami": "federates.data_management.ami:AmiFederate",
    "tblm": "federates.tblm.builder:TblmBuilder",
    "ems": "federates.ems.ems:EmsFederate",
}
"""Kind in a scenario: `module:class` of the federate."""

SYSTEM_FILE: dict[str, str] = {
    "distribution SCADA": "federates/data_management/scada.py",
    "AMI": "federates/field/meters.py",
    "AMI data management": "federates/data_management/ami.py",
    "DER": "federates/field/ders.py",
    "SCADA/EMS": "federates/ems/ems.py",
    "coordination of emergency actions": "federates/dms/cea.py",
    "UFLS": "federates/dms/ufls.py",
    "UVLS": "federates/dms/uvls.py",
    "special load shedding": "federates/dms/sls.py",
    "communication means": "federates/grid/channel.py",
}
"""System of the use case: the file that is it. Links between federates take their delays and losses from the last one."""

SYSTEM_WAITS_FOR: dict[str, str] = {
    "AM/FM/GIS": "a network model with stable identities; feeders are OpenDSS files, read whole, until then",
    "CIS": "customers; load classes come from the scenario and from the names of a feeder's profiles until then",
    "DER management": "dispatch of groups; DER follow their own settings and the scenario's events until then",
    "DR management": "a model of loads that answer to signals; no load answers to one until then",
    "PEV management": "a model of charging; vehicles are part of nobody's load until then",
    "customer EMS": "devices behind the meter that could be scheduled; DER at customers are controlled one by one until then",
    "energy services interface": "customer EMS and DER management, between which it stands",
    "conversion and validation": "AM/FM/GIS, whose changes it checks; a feeder is checked when a scenario is until then",
    "DOMA": "state estimation; the builder of a TBLM allocates measured load to meters and solves the feeder itself until then",
    "DCA": "DOMA, whose state it starts from; the EMS's own N-1 ends at the bus until then",
    "MFR": "DOMA, and feeders with ties to each other; each feeder of a scenario stands alone until then",
    "VVWO": "DOMA; regulators and capacitors follow their own controls until then",
    "load management": "DR management and VVWO, which it uses",
}
"""System of the use case that is not there yet: what it waits for, and what stands in its place."""
