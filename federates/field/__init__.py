"""The physical world: what exists whether or not anybody measures it.

`transmission` the bulk system with its frequency (`areas` one without a network, `player` a record of one), `distribution` a
feeder and the like feeders beside it, `ders` the inverters on a feeder, `relays` and `schemes` what sheds load (relays at a
substation, logic tables over the transmission system's statuses; `breakers` are what they open), `meters` the revenue meters at
its customers. They publish truth. Who may know what of it is decided by `federates.data_management`, which delivers it late,
rounded, or not at all.

`commands.py` holds what their command ports have in common.
"""
