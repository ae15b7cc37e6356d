"""Distributed energy resources as IEEE 1547-2018 asks them to behave: PV and storage inverters, n at a time.

Numbers in, numbers out: voltages, frequency and available power go in, P, Q and operating status come out. One file per function of
the standard, in the order in which a step runs through them:

    measure       the voltages a DER looks at                     (4.3, 4.4)
    status        trip, enter service, ride-through regions       (4.10, 6.4, 6.5)
    storage       state of charge and what it allows
    active        limit, volt-watt, frequency droop, service ramp (4.6.2, 5.4, 6.5.2.7)
    reactive      power factor, volt-var, watt-var, constant Q    (5.3)
    capability    ratings and priority                            (5.2)
    ride_through  cessation, voltage support, current limit       (6.4.2)

`settings` holds every setting in the standard's own names, `vintages` the defaults by edition and category, `constants` what
follows from settings alone, `state` what is remembered, `blocks` lag, ramp, timer and curve, and `fleet` ties them together.

The discrete behaviour follows EPRI's OpenDER 2.2.0, the tests compare with it: the trapezoidal rule for lags, a condition that
counts for the whole step in which it is first seen, timers that start run out. Deliberate differences, each tested:
* a change of reactive mode ramps from the present Q (OpenDER: from about zero);
* the enter service ramp, and the set-point of storage, hold with active power limit and volt-watt both on (OpenDER drops them);
* under active power priority P never exceeds what is available, and Q takes what apparent power is left (OpenDER may do neither);
* storage above its highest state of charge stops charging (OpenDER discharges it), also with unlike charge and discharge ratings.

Left out: execution delay of settings and reaction time (the delay of a command belongs to the federate that carries it), custom
tables of reactive capability over P, intentional islanding.

Worth knowing, and as in OpenDER: a DER that enters service while the frequency is outside the droop's deadband takes the power of
that moment, about zero, as its power before the disturbance, and stays near it until the frequency is back inside.
"""

from federates.grid.der.fleet import DerFleet, DerOutput
from federates.grid.der.parameters import (
    AbnormalCategory,
    DerStatus,
    DerType,
    Excitation,
    LowPowerQ,
    NormalCategory,
    Priority,
    QMode,
    VoltageMeasure,
)
from federates.grid.der.settings import DerSettings
from federates.grid.der.vintages import randomized_delay_s

__all__ = [
    "AbnormalCategory",
    "DerFleet",
    "DerOutput",
    "DerSettings",
    "DerStatus",
    "DerType",
    "Excitation",
    "LowPowerQ",
    "NormalCategory",
    "Priority",
    "QMode",
    "VoltageMeasure",
    "randomized_delay_s",
]
