"""Under-frequency load shedding of native load: blocks by stage, for what no modelled feeder stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federates.grid.relay import Relay, Stage


@dataclass(frozen=True)
class SheddingBlock:
    """A stage and the part of all native load (of the start) that it sheds: the same part at every bus."""

    stage: Stage
    share: float


class NativeShedding:
    """The relays of native load, one per stage, that see the frequency of the system. Times are integer ns."""

    def __init__(self, blocks: Sequence[SheddingBlock]) -> None:
        """ValueError where the blocks are more than there is, or measure something else than frequency."""
        if sum(block.share for block in blocks) > 1.0 + 1e-12:
            raise ValueError(f"shedding stages add up to {sum(b.share for b in blocks):.3g} of the native load; write 1 at most")
        if any(block.stage.quantity != "f_hz" for block in blocks):
            raise ValueError("native load is shed by frequency; put under-voltage stages at feeders (kind relays)")
        self._relay = Relay([block.stage for block in blocks])
        self._share = {block.stage.name: block.share for block in blocks}
        self._opening: list[tuple[int, str]] = []
        self.kept = 1.0

    @property
    def due_ns(self) -> int | None:
        """When something happens next if the frequency stays as it is."""
        wishes = [t_ns for t_ns, _ in self._opening]
        if (due_ns := self._relay.due_ns) is not None:
            wishes.append(due_ns)
        return min(wishes, default=None)

    def update(self, t_ns: int, f_hz: float) -> list[dict[str, object]]:
        """See the frequency at `t_ns`; rows for the sequence of events. `kept` is then the part of native load that is left."""
        rows: list[dict[str, object]] = []
        for change in self._relay.update(t_ns, f_hz, 1.0):
            rows.append({"event": f"relay_{change.what}", "stage": change.stage.name, "t_relay_ns": change.t_ns, "f_hz": f_hz})
            if change.what == "operate":
                self._opening.append((change.t_ns + change.stage.breaker_ns, change.stage.name))
        for t_open_ns, name in sorted(opening for opening in self._opening if opening[0] <= t_ns):
            self.kept = max(self.kept - self._share[name], 0.0)
            rows.append({"event": "native_load_shed", "stage": name, "t_relay_ns": t_open_ns, "share": self._share[name]})
        self._opening = [opening for opening in self._opening if opening[0] > t_ns]
        return rows
