"""What every federate stands on: the contract, time, and how values travel.

A federate is an ordinary object with typed ports and one method, `step(t_ns, inputs) -> Step`. It knows neither HELICS nor
processes. The same object runs in a plain loop (`local.py`, the reference), as a HELICS federate in one of several processes
(`broker.py`, `worker.py`, `supervisor.py`), and later in a mosaik scenario.

Time is an integer count of nanoseconds. A run covers [0, stop). At each instant t every federate that is due is called with
what was published strictly before t; what it returns is seen by others after t. This one rule (a Jacobi exchange) makes the
order of calls within an instant irrelevant, so that a loop and twenty processes give the same bits.

`seat.py` holds that rule: when a federate is called, what it is handed, and what its answer becomes. Both runners are thin
loops around seats; nothing about timing lives anywhere else.

With real devices a run is held to the clock on the wall (`pace.py`), and processes that host no federate run beside the workers
(`companion.py`): the gatekeepers of devices. What such a run records depends on that clock; all of the above stands otherwise.

Superdense time: where two federates iterate at an instant t (a start, or `coupling: iterate`), its rounds take
place within the microsecond after t on the wire, while the federate is told t. All calls are therefore on whole microseconds.
"""
