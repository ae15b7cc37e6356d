"""Wire formats and sessions of the devices a laboratory wires in: DNP3 and Modbus. Usable without the rest of this project.

Everything here speaks octets on one side and plain Python values on the other. Nothing imports a federate, a scenario or HELICS;
what a value means for the grid is decided elsewhere (`hil/`).

`dnp3/` has an outstation of our own, because no Python binding of an existing stack lets one configure its points. It does no
I/O: octets in, octets out, and a clock passed in, so that a test can drive every timer with a variable and a fuzzer can run it a
hundred thousand times a minute. `dnp3/server.py` puts it on a TCP or TLS socket with asyncio. `dnp3/explain.py` says in prose what
a frame means.

`modbus/` builds on pymodbus behind one adapter, and adds what it lacks: a planner that reads a point map in few requests and never
tears a value, and checks of every answer.

`pcap.py` writes what went over a connection as a capture that Wireshark and tshark open, with the headers a capture needs, and
reads captures back. It is the evidence of a bench run, and lets an independent dissector judge our frames.

Servers listen on 127.0.0.1 unless told otherwise: neither protocol knows who is calling, and both move equipment.
"""
