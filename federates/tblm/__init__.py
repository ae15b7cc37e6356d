"""The Transmission Bus Load Model: from delivered telemetry to a document that an EMS can calculate with.

    model      the document, its rules and `evaluate`: all that a consumer imports
    document   strict JSON, and JSON Schema, of dataclasses
    snapshot   what is known of a feeder at an instant, and the loads that explain it
    study      a feeder of the builder's own: the bus at any (V, f), at once (`fast`) and at rest (`settled`)
    rest       where regulators come to rest
    curves     tables of P and Q over V x f, as fine as they have to be
    views      ZIP, exponents, kpf and kqf, derived from the tables
    assembly   all of it put together for one bus
    capability P-Q regions; dispatch the stack of what the bus can give, and at what cost; flexibility both, in the document
    emergency_model, emergency, emergency_section   the emergency part: its form, phase and ledger, how it is put together
    der_account  what each DER no longer delivers of what it did in calm, by name: for the ledger
    armed      what load shedding has armed: composes the study applications of `federates.dms`
    priorities what an action of an emergency costs
    under_voltage  the EMS's equivalent of the transmission system, and what shedding does to the voltage
    overlap    what an action is worth after others, on atoms
    virtual_soe  the sequence of events that a course of V and f would start, against the one that happened
    uncertainty, bands   how far a power may be off, and why
    builder    the federate: when to publish, and what to say when something is missing

Nothing here ever sees the running feeder: a study knows the network model and what telemetry delivered. `tblm.schema.json` is
generated: `python -m federates.tblm.model > federates/tblm/tblm.schema.json`.
"""
