"""The kernel's grid counts what is missed, and a paced run keeps to the clock on the wall."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from federates.runtime import supervisor
from federates.runtime.federate import MS_NS, S_NS, Federation, Spec, Step
from federates.runtime.pace import GridTimer, read_t0_ns
from federates.runtime.port import Inputs, Outputs, Port


def test_instants_lie_on_an_absolute_grid() -> None:
    timer = GridTimer(20 * MS_NS)
    for number in range(1, 6):
        select.select([timer.fileno()], [], [], 2.0)
        tick = timer.take()
        assert tick is not None and tick.due_ns == timer.t0_ns + tick.number * 20 * MS_NS
        assert tick.number >= number and 0 <= tick.lateness_ns < 20 * MS_NS
    assert timer.take() is None
    timer.close()
    timer.close()


def test_missed_instants_are_counted_and_do_not_shift_the_grid() -> None:
    timer = GridTimer(10 * MS_NS)
    time.sleep(0.105)
    tick = timer.take()
    assert tick is not None and tick.missed >= 9 and timer.overruns == tick.missed and tick.number == tick.missed + 1
    select.select([timer.fileno()], [], [], 2.0)
    following = timer.take()
    assert following is not None and (following.due_ns - tick.due_ns) % (10 * MS_NS) == 0
    timer.close()


def test_a_grid_needs_a_period() -> None:
    with pytest.raises(ValueError, match="above 0"):
        GridTimer(0)


@dataclass(frozen=True)
class Slow:
    period_ns: int = 50 * MS_NS
    slow_at_ns: int = 500 * MS_NS


class SlowOnce:
    """Takes 0.2 s once."""

    def __init__(self, params: Slow) -> None:
        self.period_ns, self._slow_at_ns = params.period_ns, params.slow_at_ns
        self.inputs = ()
        self.outputs = (Port("x"),)

    def start(self, t_ns: int) -> Outputs:
        return {"x": [0.0]}

    def step(self, t_ns: int, inputs: Inputs) -> Step:
        if t_ns == self._slow_at_ns:
            time.sleep(0.2)
        return Step({"x": [float(t_ns)]})

    def stop(self) -> None: ...


@pytest.mark.parametrize("groups", [{}, {"one": ("a",), "two": ("b",)}])
def test_a_paced_run_keeps_to_the_wall_and_records_its_lateness(groups: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    specs = tuple(Spec(name, f"{__name__}:SlowOnce", Slow()) for name in ("a", "b"))
    outcome = supervisor.run(Federation("paced", 1500 * MS_NS, specs, (), groups=groups, real_time=True), tmp_path, "helics")
    assert outcome.exit_code == 0, outcome.message
    rows = pq.read_table(tmp_path / "timing.parquet").to_pandas()
    rows = rows[(rows.t_ns > 0) & (rows.t_ns < 1500 * MS_NS)]
    assert (rows.lateness_ns >= -MS_NS).all()  # never early
    due = rows.t_ns + (read_t0_ns(tmp_path) or 0)
    assert (rows.lateness_ns == rows.started_ns - due).all()
    assert rows[rows.t_ns == 550 * MS_NS].lateness_ns.max() > 100 * MS_NS  # the slow step makes the next one late
    assert rows[rows.t_ns > S_NS].lateness_ns.median() < 50 * MS_NS  # and it has caught up since
