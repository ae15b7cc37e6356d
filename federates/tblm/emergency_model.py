"""The emergency side of the document: what is armed, what has acted, what is left, what comes back. All powers are of the bus.

Part of `federates.tblm.model`, which imports it; here because it is a document of its own. A relief is positive where the bus draws
less afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

Phase = Literal["before", "during", "after"]


@dataclass(frozen=True)
class ArmedStage:
    """A stage of load shedding, as it would act now after the stages before it; nothing of one that has acted already."""

    stage: Annotated[str, "ufls:1, uvls:1, or sls: and the name of a special scheme's row"]
    feeders: int
    P_load_W: float
    P_der_W: Annotated[float, "generation that would go with it"]
    P_net_W: Annotated[float, "relief at the snapshot's voltage and frequency"]
    P_at_pickup_W: Annotated[float, "relief at the stage's pickup, the other of V and f as in the snapshot"]
    counter_productive: Annotated[bool, "it would take away more generation than load"]
    alarm: Annotated[str, "why less is armed than a special scheme requires; empty where nothing is wrong"]


@dataclass(frozen=True)
class LedgerEntry:
    """Something that took power off, or gave it back (negative), as reported from the field."""

    t_ns: Annotated[int, "when it happened"]
    cause: str
    feeders: int
    P_net_W: Annotated[float, "relief, at that moment"]
    P_load_W: float
    P_der_W: float


@dataclass(frozen=True)
class Ledger:
    """Where the bus's power of before went: initial = served + sum of entries' net - DER lost + response + residual."""

    initial_W: Annotated[float, "drawn when the emergency began"]
    served_W: Annotated[float, "drawn now"]
    entries: tuple[LedgerEntry, ...]
    P_der_lost_W: Annotated[float, "generation of DER that left service while their feeder was in it, less what of it is back"]
    P_response_W: Annotated[float, "fall of feeders in service by voltage and frequency, as the fast curve has it"]
    residual_pct: Annotated[float, "% of initial load that none of these explains"]


@dataclass(frozen=True)
class ColdLoad:
    """What a feeder takes over its normal load when it is closed now, against the time since."""

    t_out_s: float
    temperature_C: float
    ratio: Annotated[float, "at once"]
    hold_s: float
    decay_s: float


@dataclass(frozen=True)
class Block:
    """Feeders that may be closed together."""

    cause: str
    feeders: int
    P_normal_W: Annotated[float, "as it was when they opened"]
    P_pickup_W: Annotated[float, "at once when closed now: cold load, no DER"]
    Q_pickup_var: float
    der_after_s: Annotated[float, "until their DER enter service"]
    cold_load: ColdLoad


@dataclass(frozen=True)
class Overlap:
    """Net relief of actions alone and after one another."""

    actions: tuple[str, ...]
    available_W: tuple[float, ...]
    conditional_W: Annotated[tuple[tuple[float, ...], ...], "row: the action that came first; column: relief of the next"]
    excess_W: Annotated[float, "sum of all alone less all together"]
    atoms_hash: str


@dataclass(frozen=True)
class ActionPlan:
    """Actions that meet a deficit in time at the least cost."""

    deficit_W: float
    within_s: float
    actions: Annotated[tuple[str, ...], "in the order in which they take effect"]
    P_each_W: Annotated[tuple[float, ...], "what each relieves after those before it; below 0: the bus draws more"]
    P_net_W: Annotated[float, "what they relieve together"]
    cost: Annotated[float, "priority-weighted MWh not taken in an hour, and what ordering costs"]
    met: bool
    method: Literal["milp", "greedy"]


@dataclass(frozen=True)
class SequenceEvent:
    """An event of a sequence."""

    t_ns: Annotated[int, "virtual: from the beginning of the trajectory; actual: of the run"]
    device: str
    event: str
    dP_W: Annotated[float, "change of what the bus draws"]
    kind: Literal["virtual", "actual"]


@dataclass(frozen=True)
class Difference:
    """An event as expected and as it was."""

    device: str
    event: str
    late_s: Annotated[
        float | None, "actual less expected after both were aligned at their first common event; null: one is missing"
    ]
    why: str


@dataclass(frozen=True)
class Sequence:
    """Expected on a course of V and f that was asked about, what happened, and the difference."""

    events: tuple[SequenceEvent, ...]
    differences: tuple[Difference, ...]
    delayed_recovery: Annotated[bool, "on that course the voltage stays low for longer than a fault does: motors that stall"]
    too_fast: Annotated[tuple[str, ...], "under-voltage stages that a fault would start which DER ride through"]


@dataclass(frozen=True)
class Equivalent:
    """The transmission system behind the bus, as its EMS told: a source behind an impedance, all other load of the system in it."""

    t_ns: Annotated[int, "of the telemetry that it was made from"]
    E_pu: float
    R_pu: float
    X_pu: float
    S_base_VA: Annotated[float, "base of R and X"]
    error_pu: Annotated[float, "largest voltage that it misses of the EMS's power flows with the bus's load from all to nothing"]


@dataclass(frozen=True)
class VoltageStep:
    """A stage that opens, and the voltage of the bus right before and right after, and when regulators have brought load back."""

    stage: str
    t_s: Annotated[float, "since the voltage fell"]
    feeders: int
    V_before_pu: float
    V_after_pu: float
    V_settled_pu: float


@dataclass(frozen=True)
class VoltageFall:
    """What happens if the transmission system takes the bus down to a voltage and leaves it there."""

    cause: Annotated[str, "uvls:1 and the like: just under the pickup of that stage; measured: as it is; outage: and the branch"]
    V_pu: Annotated[float, "with every feeder in service that is in it now"]
    steps: Annotated[tuple[VoltageStep, ...], "stages that open, in order; each sees what those before it did to the voltage"]
    spared: Annotated[tuple[str, ...], "stages that pick up and drop out, since those before them have raised the voltage"]
    failed: Annotated[str, "why nothing can be said; empty where it can"]


@dataclass(frozen=True)
class UnderVoltage:
    """Under-voltage stages with the transmission system's answer in them."""

    equivalent: Annotated[Equivalent, "as it is"]
    after_outage: Annotated[Equivalent | None, "after the outage that takes the bus lowest; null: none studied has a solution"]
    falls: tuple[VoltageFall, ...]


@dataclass(frozen=True)
class Driver:
    """What an uncertainty comes from."""

    name: Literal["scada", "age", "ami", "weather", "participation"]
    sigma_W: float


@dataclass(frozen=True)
class UncertainPower:
    """A power of the document with its quantiles."""

    quantity: Annotated[str, "P of the bus, or the relief of an action"]
    P05_W: float
    P50_W: float
    P95_W: float
    drivers: tuple[Driver, ...]


@dataclass(frozen=True)
class Emergency:
    """The bus before, during and after an emergency."""

    phase: Phase
    armed: tuple[ArmedStage, ...]
    overlap: Overlap | None
    plan: ActionPlan | None
    ledger: Ledger | None
    blocks: Annotated[tuple[Block, ...], "feeders that are open, in the order in which they would come back"]
    sequence: Sequence | None
    bands: tuple[UncertainPower, ...]
    under_voltage: Annotated[UnderVoltage | None, "null: no such stages, or no equivalent from the EMS that holds"]
