"""Small deterministic federates whose every answer depends on everything they were ever handed, and random federations of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from federates.runtime.answer import bits_of
from federates.runtime.federate import MS_NS, S_NS, Coupling, Federation, Injection, Link, Spec, Step
from federates.runtime.port import Event, Port, Sample
from federates.runtime.seat import next_instant

IDS = ("a", "b", "c")
STOP_NS = S_NS


@dataclass(frozen=True)
class Small:
    """`reads`: (input, ids) of the vector inputs. `asks`, `sends`, `writes`: shares (0..1) of the calls in which it does so."""

    seed: int
    period_ns: int
    reads: tuple[tuple[str, tuple[str, ...]], ...] = ()
    asks: float = 0.3
    sends: float = 0.3
    writes: float = 0.5


class SmallFederate:
    """A digest of its past; publishes numbers made from it. Iterable, and a leader where asked to be."""

    def __init__(self, params: Small) -> None:
        self.params, self.period_ns = params, params.period_ns
        self.inputs = (
            *(Port(name, "W", ids, max_age_ns=150 * MS_NS) for name, ids in params.reads),
            Port("news", kind="event"),
            Port("paper", kind="document"),
        )
        self.outputs = (Port("y", "W", IDS), Port("out", kind="event"), Port("text", kind="document"))
        self._past = f"{params.seed}"
        self.steps: list[tuple[int, Mapping[str, Any]]] = []

    def _draw(self, what: str, t_ns: int) -> float:
        digest = hashlib.sha256(f"{self._past}/{what}/{t_ns}".encode()).digest()
        return int.from_bytes(digest[:6], "little") / 2**48

    def _values(self, t_ns: int, inputs: Mapping[str, Any]) -> np.ndarray:
        heard = [np.nan_to_num(inputs[name].values).mean() for name, _ in self.params.reads]
        return np.array([self._draw(i, t_ns) for i in IDS]) + 0.3 * (sum(heard) / len(heard) if heard else 0.0)

    def start(self, t_ns: int) -> Mapping[str, Any]:
        """Numbers, a first document from some, and an event already."""
        paper = {"text": {"from": self.params.seed}} if self._draw("first", 0) < 0.5 else {}
        return {"y": self._values(0, {n: Sample.missing(1) for n, _ in self.params.reads}), "out": [{"n": -1}], **paper}

    def solve(self, t_ns: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The numbers that a step would give."""
        return {"y": self._values(t_ns, inputs)}

    def residual(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
        """Largest change of a number."""
        return float(np.abs(before["y"] - after["y"]).max())

    def step(self, t_ns: int, inputs: Mapping[str, Any]) -> Step:
        """Numbers; now and then an event, a document, and a wish to be called again."""
        self.steps.append((t_ns, inputs))
        y = self._values(t_ns, inputs)
        self._past = hashlib.sha256(f"{self._past}{t_ns}{bits_of(inputs, t_ns)}".encode()).hexdigest()
        outputs: dict[str, Any] = {"y": Sample.of(y, t_ns - 7, 2 if self._draw("quality", t_ns) < 0.3 else 0)}
        if self._draw("send", t_ns) < self.params.sends:
            outputs["out"] = [{"n": k, "x": self._draw("payload", t_ns)} for k in range(1 + int(2 * self._draw("count", t_ns)))]
        if self._draw("write", t_ns) < self.params.writes:
            outputs["text"] = {"t": t_ns, "x": self._draw("document", t_ns)}
        soon = self._draw("soon", t_ns) < 0.2  # within what the rounds of an instant take
        asked_ns = t_ns + 1 + int((20 if soon else 60 * MS_NS) * self._draw("when", t_ns))
        return Step(outputs, asked_ns if self._draw("ask", t_ns) < self.params.asks else None)

    def stop(self) -> None:
        """Nothing to release."""


def random_federation(seed: int, coupled: bool | None = None, groups: int = 1) -> Federation:
    """Two to five federates with random periods, links, delays, injections; `coupled` (None: drawn): two or three iterate."""
    rng = random.Random(seed)
    names = [f"f{k}" for k in range(rng.randint(2, 5))]
    coupled = rng.random() < 0.5 if coupled is None else coupled
    members = names[: rng.randint(2, min(3, len(names)))] if coupled else []
    shared_ns = rng.choice([70, 100]) * MS_NS
    specs, links = [], []
    for name in names:
        sources = [n for n in names if rng.random() < 0.6]
        if name in members:  # the leader reads its followers, a follower its leader
            sources = list(dict.fromkeys([*(members[1:] if name == members[0] else members[:1]), *sources]))
        reads = tuple((f"x_{source}", tuple(rng.sample(IDS, rng.randint(1, 3)))) for source in sources)
        period_ns = shared_ns if name in members else rng.choice([50 * MS_NS, 100 * MS_NS, 130 * MS_NS, 333_333_000, 999 * MS_NS])
        specs.append(Spec(name, "small:SmallFederate", Small(rng.randrange(2**32), period_ns, reads)))
        links += [Link(source, "y", name, f"x_{source}") for source in sources]
        delay_ns = rng.choice([1000, 1_000_003, MS_NS, 50 * MS_NS, 100 * MS_NS])
        links += [Link(source, "out", name, "news", delay_ns) for source in rng.sample(names, rng.randint(0, 2))]
        links += [Link(rng.choice(names), "text", name, "paper")] if rng.random() < 0.7 else []
    times = [rng.choice([0, 3, 100 * MS_NS, 700 * MS_NS, rng.randrange(STOP_NS)]) for _ in range(4)]
    injections = tuple(Injection(t_ns, rng.choice(names), "news", {"k": k}) for k, t_ns in enumerate(times))
    coupling = Coupling(members[0], tuple(members[1:]), rng.random() < 0.5, 1e-9, 60) if members else None
    placed: dict[str, tuple[str, ...]] = {}
    for k, name in enumerate(names):
        placed[f"g{k % groups}"] = (*placed.get(f"g{k % groups}", ()), name)
    return Federation(f"random{seed}", STOP_NS, tuple(specs), tuple(links), injections, coupling, placed)


def arrivals(federation: Federation, target: str, events: list[Event]) -> list[tuple[int, tuple[int, str, int]]]:
    """When each event is to reach a federate before the stop, with the event's order; sorted."""
    due = [(i.t_ns, i.target) for i in federation.injections]
    found = []
    for event in events:
        if event.source.startswith("scenario."):
            found += [(event.t_ns, event.order)] if (event.t_ns, target) in due and event.source.split(".")[1] == target else []
            continue
        for link in federation.links:
            if link.target_port == "news" and link.target == target and f"{link.source}.{link.source_port}" == event.source:
                found.append((event.t_ns + link.delay_ns, event.order))
    whole = [(next_instant(at), order) for at, order in found]
    return sorted(row for row in whole if row[0] < federation.stop_ns)
