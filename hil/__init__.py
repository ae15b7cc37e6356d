"""Real devices in a co-simulation: RTUs, IEDs, inverters, meters that speak DNP3 or Modbus.

    simulation      bridge  <── shared memory ──>  gatekeeper ──> relay, drivers ──> the device
    (solver's process)                             (a process of its own, paced by the kernel)

A device is wired in by its point map (`points`, `point_csv`): what each point means, what it stands for in the simulation, what
may be sent to it, and what is sent when everything ends. `layout` makes ports of it.

`bridge` is the device as a federate. It copies values to and from shared memory (`channel`) and never waits for a device.

`gatekeeper` is a small process that alone owns the connections of a device, or of a group that fails together. It polls on an
absolute grid (`federates.runtime.pace`), judges every write by the whitelist (`guard`), writes it into the audit log before it
goes out (`audit`, `audit_verify`), and records every exchange (`exchanges`). `wire` and `master_wire` are the loops of one device,
`drivers/` the ends of the two protocols, `relay` and `serial_relay` the places where every octet of a line passes. `presence`
notices a device that is lost or comes back, `clock` knows how far its clock is off, `priority` asks for the processor, `hold`
keeps a second live run from a device.

What may go wrong is watched by `vigil`: the solver, the supervisor, the lease, the emergency stop (`safety`, `stop_key`). Whatever
it is, the device falls back to SAFE: no further write, and the `fallback` of every point is sent first and audited after. A dry
run, which is what a run is without --live, sends not one byte of a write: the gatekeeper sends none, and the relay lets none pass
(`read_only`).

`devices/` are stand-ins, processes of their own, with faults to order; `stand_ins` runs them beside a run. `cli_device`, `probe_*`
and `watch` look at a device without a run. `plan` is what the processes are told, `endpoints` where the devices are.

Nothing here knows a scenario: `scenarios/device_build.py` makes plans and bridges from its `devices:`.
"""
