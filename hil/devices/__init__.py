"""Stand-ins: devices that are none, each a process of its own, for rehearsals without hardware and for tests.

    rtu.py                a DNP3 concentrator on our own stacks: master of IEDs, outstation of SCADA; `rtu_routes.py` says what goes
                          where
    rtu_dnp3_python.py    the same on dnp3-python, an implementation that shares nothing with ours; `rtu_dnp3_python_peer.py` is the
                          script that uv runs in a CPython 3.10
    relay.py              a load-shedding relay over DNP3: an RTU that also looks at a value, and trips
    inverter.py           a SunSpec inverter over Modbus TCP: `inverter_model.py` what it does, `inverter_sunspec.py` its registers,
                          `inverter_map.py` its point map
    meter.py              a Modbus RTU meter on a pseudo terminal, as slow as its baud rate

Start one from a shell (`run_cosim.py device stand-in inverter`, or `python -m hil.devices.inverter`) or from Python
(`process.StandIn("inverter")`). Its first line of output says where it is. `stand_in.py` has the orders it takes on standard input,
`faults.py` the faults that can be ordered: silence, slowness, short answers, garbage, wrong order, restart, a clock that jumps.

Faults are made in `front.py`, on the octets that leave the device, so that the device behind stays honest: what a master meets is a
good device on a bad day, and it is the same kind of day for every device.
"""
