"""Figures of a run, one file per group; each takes `Results` and gives a `Section`, or None where nothing was recorded.

    system.py     frequency and bus voltages            profile.py    node voltages against distance, and over time
    head.py       head power, measured and predicted    resources.py  DER, storage, meter coverage
    curves.py     TBLM curves and full solves           timing.py     where the time went
    ems.py        EMS predictions against the truth     ems_scan.py   TBLMs taken by the EMS, its last N-1
    bench.py      real devices: lateness, latency, commands, quality, clocks
    replay.py     record and simulation            balance.py    areas: response, losses, shedding
    motors.py     motors that stalled
    lines.py      lines and bands over time             style.py      what all share

Signals are found by what they are (port name and unit), never by the name of a federate, which belongs to the scenario. Colours are
those that colour-blind readers tell apart; black is always what was measured, blue the TBLM, orange constant P, Q.
"""
