"""Electromechanical dynamics of the bulk system: rotors, exciters and governors, integrated by ANDES (extra `dynamics`).

ANDES is under the GPL, so it is a program that this one talks to, not a part of it: `process` runs in an interpreter of its own
and is spoken to over two pipes; `client` is this side of them. Only `system`, which only `process` imports, imports ANDES. A
crash, a kill or a system exit of ANDES is an exception here, with what it was doing.

    cases     the networks and their machines as ANDES ships them; where generated code is kept
    static    a case as a network of constants: names, and a pandapower net, so that power flows and the EMS use the same system
    loads     the load of a bus as ANDES takes it: constant power of feeders, native load by exponents, impedance in a deep sag
    islands   which buses have a path to which machine
    governors schedules that change and secondary control, as governors take them
    tables    a loaded system as a static case
    secondary secondary control (automatic generation control)
    engine    what is done over many inner steps: orders at their time, and the shedding of native load after each
    system    the ANDES system: start, faults, trips, stepping, and every way in which it can fail without a word
    process   the other end of the pipes
    client    this end

Time is an integer number of inner steps of 2^-n s. ANDES resumes bit for bit at such times, and not at decimal ones: t = 0.01,
0.02 ... leaves a residue of 1e-17 s, and the next step is "reduced to zero". Exchanges are therefore at multiples of 125 ms
(`EXCHANGE_NS`).
"""

from __future__ import annotations

from federates.grid.dynamics.cases import CASES, EXCHANGE_NS, STEPS_PER_S, DynamicsError

__all__ = ["CASES", "EXCHANGE_NS", "STEPS_PER_S", "DynamicsError"]
