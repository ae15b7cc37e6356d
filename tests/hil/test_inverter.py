"""The stand-in inverter: its model against closed forms, and the process over Modbus TCP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from hil.devices.inverter_map import inverter_map
from hil.devices.inverter_model import Inverter, Reversion, Settings, at, checked_curve
from hil.devices.inverter_sunspec import InverterSunSpec
from hil.devices.process import StandIn
from hil.point_csv import map_text, parse_map
from hil.point_modbus import modbus_points
from protocols.modbus import Device, PointState, Readings, TcpAddress, Value, WriteState

CURVE = ((92.0, 44.0), (98.0, 0.0), (102.0, 0.0), (108.0, -44.0))


# -- the model


def test_the_curve_is_straight_between_its_points_and_flat_beyond():
    assert [at(CURVE, v) for v in (80, 92, 95, 100, 105, 108, 120)] == [44, 44, 22, 0, -22, -44, -44]


def test_reactive_power_covers_nine_tenths_of_a_step_in_the_response_time():
    inverter = Inverter(settings=Settings(volt_var=CURVE, volt_var_response_s=5.0))
    inverter.step(0.0)
    inverter.v_pu = 1.08
    for k in range(1, 51):
        inverter.step(0.1 * k)
    assert inverter.q_var == pytest.approx(0.9 * -0.44 * inverter.rating.q_max_var, rel=1e-9)


def test_the_lag_does_not_depend_on_the_steps():
    one, many = (Inverter(settings=Settings(q_set_var=0.0)) for _ in range(2))
    for inverter in (one, many):
        inverter.step(0.0)
        inverter.settings.q_set_var = 10_000.0
    one.step(3.0)
    for k in range(1, 301):
        many.step(0.01 * k)
    assert one.q_var == pytest.approx(many.q_var, rel=1e-12)


def test_reactive_power_has_priority_within_the_rating():
    inverter = Inverter(settings=Settings(q_set_var=24_000.0), available_w=60_000.0)
    inverter.step(0.0)
    assert (inverter.q_var, inverter.p_w) == (24_000.0, pytest.approx(math.sqrt(55_000.0**2 - 24_000.0**2)))


def test_limits_of_active_power_are_taken_together():
    inverter = Inverter(settings=Settings(p_limit_pct=60.0, volt_watt=((106.0, 100.0), (110.0, 20.0))), available_w=45_000.0)
    inverter.step(0.0)
    assert inverter.p_w == 30_000.0 and inverter.is_throttled
    inverter.v_pu = 1.09
    inverter.step(1.0)
    assert inverter.p_w == pytest.approx(0.4 * 50_000.0)
    inverter.settings.enter_service = False
    inverter.step(2.0)
    assert (inverter.p_w, inverter.q_var) == (0.0, 0.0)


def test_a_fixed_power_factor():
    inverter = Inverter(settings=Settings(power_factor=(0.95, False)))
    inverter.step(0.0)
    assert inverter.q_var == pytest.approx(-40_000.0 * math.tan(math.acos(0.95))), "under-excited absorbs"


def test_energy_is_counted():
    inverter = Inverter()
    for t_s in (0.0, 900.0, 3600.0):
        inverter.step(t_s)
    assert inverter.energy_wh == pytest.approx(40_000.0)


def test_reversion_acts_once_and_a_new_command_starts_it_anew():
    undone: list[str] = []
    timer = Reversion(lambda: undone.append("x"))
    timer.start(0.0, 5.0)
    timer.start(4.0, 5.0)
    assert not timer.advance(8.9) and timer.remaining_s(8.5) == 0.5
    assert timer.advance(9.0) and not timer.advance(20.0) and undone == ["x"]
    timer.start(0.0, 0.0)
    assert not timer.advance(1e9), "0 s: never"


@pytest.mark.parametrize("points", [[(90, 1)], [(90, 1), (80, 2)], [(90, None), (95, 1)]])
def test_a_curve_that_is_none(points: list[tuple[float, float | None]]):
    with pytest.raises(ValueError, match="two or more points"):
        checked_curve(points)


# -- the process


class Bench:
    """The process and a client with its map."""

    def __init__(self, inverter: StandIn) -> None:
        self.inverter = inverter
        points = modbus_points(parse_map(map_text(inverter_map())))
        self.device = Device("inverter", TcpAddress("127.0.0.1", inverter.ready["port"]), points, timeout_s=0.5)
        self._index = {point.name: i for i, point in enumerate(points)}

    async def read(self) -> tuple[Readings, dict[str, float]]:
        readings = await self.device.cycle(2.0)
        return readings, {name: float(readings.values[i]) for name, i in self._index.items()}

    async def write(self, values: dict[str, Value], unit: int = 1) -> list[WriteState]:
        await self.device.link.connect()
        return [result.state for result in await self.device.write(unit, values)]

    async def until(self, done: Callable[[dict[str, float]], bool], what: str) -> dict[str, float]:
        async with asyncio.timeout(10):
            while True:
                _, values = await self.read()
                if done(values):
                    return values
                await asyncio.sleep(0.02)
        raise AssertionError(what)


@pytest.fixture
def inverter() -> Iterator[StandIn]:
    with StandIn("inverter") as process:
        yield process


def run(inverter: StandIn, test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def scenario() -> None:
        bench = Bench(inverter)
        try:
            await test(bench)
        finally:
            bench.device.close()

    asyncio.run(asyncio.wait_for(scenario(), 40))


def test_it_follows_a_curve_that_was_written_and_adopted(inverter: StandIn):
    async def scenario(bench: Bench) -> None:
        readings, values = await bench.read()
        assert set(readings.states.tolist()) == {int(PointState.GOOD)}
        assert (values["p_w"], values["q_var"], values["f_hz"]) == (40_000.0, 0.0, 60.0)
        curve = {f"volt_var_{axis}{i + 1}_pct": CURVE[i][k] for i in range(4) for k, axis in enumerate("vq")}
        assert set(await bench.write({"volt_var_points": 4, "volt_var_response_s": 0.2, **curve})) == {WriteState.DONE}
        assert set(await bench.write({"volt_var_adopt": 2, "volt_var_on": 1})) == {WriteState.DONE}
        assert await bench.write({"v_pu": 1.05}, unit=200) == [WriteState.DONE]
        await bench.until(lambda v: abs(v["q_var"] - -0.22 * 24_000.0) <= 10.0, "the curve's value")
        assert inverter.get()["volt_var"] == [list(point) for point in CURVE]

    run(inverter, scenario)


def test_a_bad_curve_is_not_adopted_and_the_one_in_use_is_read_only(inverter: StandIn):
    async def scenario(bench: Bench) -> None:
        assert set(await bench.write({"volt_var_v1_pct": 110.0, "volt_var_v2_pct": 90.0})) == {WriteState.DONE}
        await bench.write({"volt_var_adopt": 2})
        assert (await bench.read())[1]["adopted"] == 2.0, "failed"
        in_use = InverterSunSpec(Inverter(), 1, lambda: 0.0).points["705.Crv[0].ActPt"]
        other = Device("inverter", bench.device.link.address, [in_use])
        await other.link.connect()
        (refused,) = await other.write(1, {in_use.name: 3})
        other.close()
        assert refused.state is WriteState.REFUSED and "illegal data value" in refused.reason

    run(inverter, scenario)


def test_a_limit_reverts_when_its_master_is_gone(inverter: StandIn):
    async def scenario(bench: Bench) -> None:
        assert await bench.write({"p_limit_pct": 20.0, "p_limit_revert_s": 1.0, "p_limit_on": 1}) == [WriteState.DONE] * 3
        values = await bench.until(lambda v: v["p_w"] == 10_000.0, "the limit")
        assert values["p_limit_remaining_s"] == 1.0 and values["state"] == 4.0, "throttled"
        await bench.until(lambda v: v["p_w"] == 40_000.0 and v["p_limit_on"] == 0.0, "the reversion")

    run(inverter, scenario)


def test_faults_to_order(inverter: StandIn):
    async def scenario(bench: Bench) -> None:
        await bench.read()
        for fault, state in (("short", PointState.MALFORMED), ("silence", PointState.NO_ANSWER)):
            inverter.order(fault, count=1)
            readings, _ = await bench.read()
            assert int(state) in readings.states.tolist(), fault
            await bench.until(lambda v: v["p_w"] == 40_000.0, f"good values after {fault}")
        inverter.order("order", for_s=1.0)
        assert any((await bench.read())[0].problems)
        await bench.until(lambda v: v["p_w"] == 40_000.0, "good values after swapped answers")
        await bench.write({"p_limit_pct": 20.0, "p_limit_revert_s": 3000.0, "p_limit_on": 1})
        await bench.until(lambda v: v["p_w"] == 10_000.0, "the limit")
        inverter.order("clock", jump_s=3600)
        await bench.until(lambda v: v["p_w"] == 40_000.0, "a clock that jumps ends the reversion time")
        await bench.write({"volt_var_on": 1})
        inverter.order("restart", down_s=0.1)
        await asyncio.to_thread(inverter.wait, "restarted")
        await bench.until(lambda v: v["volt_var_on"] == 0.0, "as delivered after a restart")

    run(inverter, scenario)
