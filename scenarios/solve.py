"""`check --solve`: build every federate, start it, and make its first power flow, in this process and without a run directory."""

from __future__ import annotations

from dataclasses import replace

from federates.runtime.federate import US_NS, FederateFailure, Federation, FederationError
from federates.runtime.local import run_local
from federates.runtime.port import Document, Event, Port, Sample
from scenarios.build import build
from scenarios.inventory import take_inventory
from scenarios.load import LoadedScenario
from scenarios.problem import Problem, ScenarioError


class _Nowhere:
    """A recorder that keeps nothing."""

    def vector(self, federate: str, port: Port, t_ns: int, sample: Sample) -> None:
        """Nothing."""

    def document(self, federate: str, port: Port, document: Document) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def call(self, federate: str, t_ns: int, started_ns: int, compute_ns: int) -> None:
        """Nothing."""


def check_by_solving(loaded: LoadedScenario) -> Federation:
    """Everything that a run does up to and with t = 0. Raises ScenarioError that names what does not fit or does not converge."""
    federation = build(loaded, take_inventory(loaded, solve_known=True))
    try:
        run_local(replace(federation, stop_ns=US_NS), _Nowhere())
    except FederationError as error:
        raise ScenarioError([loaded.document.problem((), str(error))]) from error
    except FederateFailure as error:
        raise ScenarioError([_failed(loaded, error)]) from error
    return federation


def _failed(loaded: LoadedScenario, error: FederateFailure) -> Problem:
    places = {entry.name: n for n, entry in enumerate(loaded.scenario.federates)}
    return loaded.document.problem(("federates", places[error.federate]), f"fails in {error.doing} at t = 0: {error.cause}")
