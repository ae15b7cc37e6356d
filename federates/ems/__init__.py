"""The transmission operator's energy management system: what the TBLM is made for.

`mailbox` decides which TBLM of a bus may be used, `view` is the EMS's own power flow and N-1 with and without TBLMs, `equivalent`
what it tells the distribution side of the transmission system, `ems` the federate that ties them to time, and holds predictions
against what then happened.
"""
