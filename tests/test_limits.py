"""The limiter, under a clock that only moves when somebody sleeps."""

from __future__ import annotations

import math

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.limits import LATENESS_FORGIVEN_SECONDS, Limiter, Pace

pytestmark = pytest.mark.anyio


class FakeTime:
    """A clock that jumps to where the sleeper wants to be, `late` seconds late."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 1000.0
        self.late = late

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late
        await anyio.lowlevel.checkpoint()


def limiter(rate: float, time: FakeTime, name: str = "api") -> Limiter:
    return Limiter(name, rate, clock=time.clock, sleep=time.sleep)


async def starts(limited: Limiter, number: int) -> list[float]:
    return [await limited.turn() for _ in range(number)]


def busiest_second(times: list[float]) -> int:
    return max(sum(begin <= time < begin + 1 for time in times) for begin in times)


async def test_requests_start_evenly_spaced() -> None:
    times = await starts(limiter(4, FakeTime()), 9)
    assert [round(time - 1000, 6) for time in times] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]


async def test_a_late_timer_does_not_cost_throughput() -> None:
    times = await starts(limiter(100, FakeTime(late=0.003)), 201)
    assert times[-1] - times[0] == pytest.approx(2.0, abs=0.01)


async def test_idle_time_gives_no_credit() -> None:
    time = FakeTime()
    limited = limiter(1, time)
    await limited.turn()
    time.now += 60
    first, second = await starts(limited, 2)
    assert second - first == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [1, 2, 20])
async def test_no_second_holds_more_than_the_rate_and_one(rate: float) -> None:
    for late in (0.0, 0.001, 0.019, 0.03, 0.2):
        times = await starts(limiter(rate, FakeTime(late=late)), int(rate * 5))
        assert busiest_second(times) <= rate + 1


@settings(max_examples=60, deadline=None)
@given(rate=st.floats(0.5, 400), gaps=st.lists(st.floats(0, 0.3), min_size=2, max_size=200))
def test_any_pattern_of_arrivals_and_delays_keeps_the_rate(rate: float, gaps: list[float]) -> None:
    pace, now, times = Pace(rate), 1000.0, []
    for gap in gaps:
        now += max(gap, pace.delay(now))
        pace.take(now)
        times.append(now)
    allowed = 1 + (1 + LATENESS_FORGIVEN_SECONDS) * rate
    assert busiest_second(times) <= allowed + 1e-6


async def test_first_come_first_served() -> None:
    limited, order = limiter(10, FakeTime()), []

    async def ask(number: int) -> None:
        await limited.turn()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
    assert order == [0, 1, 2, 3, 4]


async def test_a_pause_holds_everybody_and_halves_the_rate_once() -> None:
    time = FakeTime()
    limited = limiter(10, time)
    under_way = await starts(limited, 3)
    assert limited.penalise(under_way[0], 30)
    assert not limited.penalise(under_way[1], 5)
    assert not limited.penalise(under_way[2], 31)
    assert limited.pace.rate == 5
    first, second = await starts(limited, 2)
    assert first >= under_way[2] + 31
    assert second - first == pytest.approx(0.2)


def test_a_rate_recovers_step_by_step_and_not_past_the_configured_one() -> None:
    pace = Pace(10)
    pace.penalise(5, 4, 0)
    for _ in range(25):
        assert pace.rate < 10
        pace.recover()
    pace.recover()
    assert pace.rate == 10


def test_a_rate_never_falls_to_a_standstill() -> None:
    pace = Pace(64)
    for second in range(100):
        pace.penalise(second + 1, second + 0.5, 0)
    assert pace.rate == 1


async def test_without_a_limit_nothing_waits() -> None:
    time = FakeTime()
    await starts(limiter(math.inf, time), 1000)
    assert time.now == 1000.0


async def test_a_request_for_two_services_takes_both_turns_at_once() -> None:
    time = FakeTime()
    api, files = limiter(2, time), limiter(1, time, "files")
    await api.turn()
    await files.turn()
    both = await api.turn(also=files)
    assert both == pytest.approx(1001.0)
    assert await api.turn() == pytest.approx(1001.5)
    assert await files.turn() == pytest.approx(1002.0)


async def test_waiting_can_be_cancelled_and_costs_no_turn() -> None:
    limited = Limiter("api", 5)
    await limited.turn()
    with anyio.move_on_after(0.01) as scope:
        await limited.turn()
    assert scope.cancelled_caught
    before = anyio.current_time()
    await limited.turn()
    assert anyio.current_time() - before < 0.25
