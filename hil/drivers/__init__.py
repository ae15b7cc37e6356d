"""The four ends of the two protocols, behind two interfaces (`base.py`): `Master` reads and commands, `Outstation` is read and
commanded.

    dnp3_master.py    modbus_client.py       the device is the outstation or server
    dnp3_outstation.py    modbus_server.py   we play it, and the device is the master
    quality.py                               flags and states of the protocols as Quality, and back

A driver moves values and nothing else: what may be sent, when, and what is recorded is the gatekeeper's.
"""
