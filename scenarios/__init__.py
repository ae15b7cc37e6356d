"""Scenarios: what is to be co-simulated, as text, and the way from there to a finished run.

    document    YAML as untrusted input: plain data with the line of every key
    schema      the strict models (`kinds` of federates, `actions` of events); messages turns their errors into sentences
    references  what entries say of each other; `ports` the ports of every kind
    outside     what they name on disk, without a solver: `catalog`, `matpower` transmission cases, `own_feeder` OpenDSS files,
                `scheme_check` lines of logic tables
    devices     wired devices: `device_check` their point maps, `device_build` bridges and gatekeepers, `bench` the commands
    load        all of these together: `load_scenario("tiny")`, or every problem at once
    inventory   the networks, read and solved once; `place` puts DER at a feeder's loads
    build       scenario and inventory -> Federation (`specs`: one function a kind)
    run         build, supervise, judge (`expect`, `warn`), describe (`meta`, `dump`), report; `solve` is `check --solve`

Only here do pydantic and YAML occur. Importing `scenarios` costs nothing; a solver is imported when something is solved.

`library/` holds the scenarios that come with the package:
    tiny         IEEE 13 under IEEE 39, one minute: for tests
    quickstart   IEEE 123, 34 and 13 under IEEE 39, one hour, four events: what `make run` runs
    day_123      IEEE 123 for a day at one minute a step
    large_9500   the IEEE 9500-node feeder under one bus
    ufls_pv      eight feeder groups with PV under IEEE 39, 12 % of the generation lost: what each UFLS stage sheds
    uvls_line_loss   a bus on one of two lines: what under-voltage stages do to its voltage, foreseen; a plan that lowers voltage
    hil_bench    IEEE 123 in real time with an RTU and an inverter, stand-ins or real: one minute
    relay_bench  machines of IEEE 39 in real time; a relay on the wire, stand-in or real, does one stage of load shedding
    dynamics_tiny, ieee39_islanding   with machine dynamics (extra `dynamics`)
    gb_2019_08_09, gb_2019_08_09_typical, continental_split_2021_01_08, ercot_2021_02_15
                 replays of real events by areas without a network (`make replays` runs these and the next ones)
    inverter_ride_through, uvls_delayed_recovery   what happened more than once, under a recorded voltage
"""

LIBRARY = (
    "tiny", "quickstart", "day_123", "large_9500", "ufls_pv", "dynamics_tiny", "ieee39_islanding", "hil_bench", "gb_2019_08_09",
    "gb_2019_08_09_typical", "continental_split_2021_01_08", "ercot_2021_02_15", "inverter_ride_through", "uvls_delayed_recovery",
    "uvls_line_loss", "relay_bench",
)  # fmt: skip
DEFAULT = "quickstart"
