"""The limiter, under a clock that only moves when a task sleeps."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.client.limits import (
    LATENESS_FORGIVEN_SECONDS,
    AdaptiveRate,
    Limiter,
    Outcome,
    Rate,
    RateStatistics,
)
from harvester.config.keys import SERVICES
from harvester.errors import FatalError
from harvester.sandbox import Sandbox, Settings
from tests.support.bearing import MODELS, Sliding, Windows, ask
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.program import at, harvester
from tests.support.truth import assert_records

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
    return [await limited.acquire() for _ in range(number)]


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
    await limited.acquire()
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
    limit, now, times = Rate(rate), 1000.0, []
    for gap in gaps:
        now += max(gap, limit.delay(now))
        limit.count_start(now)
        times.append(now)
    allowed = 1 + (1 + LATENESS_FORGIVEN_SECONDS) * rate
    assert busiest_second(times) <= allowed + 1e-6


async def test_first_come_first_served() -> None:
    limited, order = limiter(10, FakeTime()), []

    async def ask(number: int) -> None:
        await limited.acquire()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(ask, number)
    assert order == [0, 1, 2, 3, 4]


async def test_a_pause_delays_all_requests_and_halves_the_rate_once() -> None:
    time = FakeTime()
    limited = limiter(10, time)
    under_way = await starts(limited, 3)
    for started, seconds in zip(under_way, (30, 5, 31), strict=True):
        limited.report(Outcome(started, "429", retry_after=seconds))
    assert limited.rate.per_second == 5
    first, second = await starts(limited, 2)
    assert first >= under_way[2] + 31
    assert second - first == pytest.approx(0.2)


def test_a_rate_recovers_step_by_step_and_not_past_the_configured_one() -> None:
    limit = Rate(10)
    limit.throttle(5, 4, 0)
    for _ in range(25):
        assert limit.per_second < 10
        limit.recover()
    limit.recover()
    assert limit.per_second == 10


def test_a_rate_never_falls_to_a_standstill() -> None:
    limit = Rate(64)
    for second in range(100):
        limit.throttle(second + 1, second + 0.5, 0)
    assert limit.per_second == 1


async def test_without_a_limit_nothing_waits() -> None:
    time = FakeTime()
    await starts(limiter(math.inf, time), 1000)
    assert time.now == 1000.0


async def test_a_request_for_two_services_counts_for_both_at_once() -> None:
    time = FakeTime()
    api, files = limiter(2, time), limiter(1, time, "files")
    await api.acquire()
    await files.acquire()
    both = await api.acquire(also=files)
    assert both == pytest.approx(1001.0)
    assert await api.acquire() == pytest.approx(1001.5)
    assert await files.acquire() == pytest.approx(1002.0)


@pytest.mark.parametrize("paused", [True, False])
async def test_a_request_for_two_services_delays_neither_while_it_waits(paused: bool) -> None:
    """A download from the api waits for the downloads' rate; another request to the api does not."""
    api, files = Limiter("api", 100), Limiter("files", 2)
    first = await files.acquire(also=api)
    if paused:
        files.report(Outcome(first, "429", retry_after=0.6))
    began, started = anyio.current_time(), []

    async def download() -> None:
        await files.acquire(also=api)
        started.append(("file", anyio.current_time() - began))

    async with anyio.create_task_group() as group:
        group.start_soon(download)
        await anyio.lowlevel.checkpoint()
        for _ in range(10):
            await api.acquire()
        started.append(("records", anyio.current_time() - began))
    assert [name for name, _ in started] == ["records", "file"]


async def test_a_cancelled_wait_does_not_count_as_a_request() -> None:
    limited = Limiter("api", 5)
    await limited.acquire()
    with anyio.move_on_after(0.01) as scope:
        await limited.acquire()
    assert scope.cancelled_caught
    before = anyio.current_time()
    await limited.acquire()
    assert anyio.current_time() - before < 0.25


async def test_a_request_that_is_due_does_not_overtake_those_that_wait() -> None:
    time = FakeTime()
    limited, order = limiter(10, time), []

    async def ask(number: int) -> None:
        await limited.acquire()
        order.append(number)

    async def come_late() -> None:
        for number in range(3, 6):
            time.now += 1  # the turn of the one who waits is due already
            group.start_soon(ask, number)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(ask, number)
        await anyio.lowlevel.checkpoint()
        group.start_soon(come_late)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_without_a_limit_a_pause_is_kept_and_a_second_service_too() -> None:
    time = FakeTime()
    api, files = limiter(math.inf, time), limiter(2, time, "files")
    assert await api.acquire(also=files) == 1000.0
    assert await api.acquire(also=files) == 1000.5
    started = await api.acquire()
    time.now += 0.1
    api.report(Outcome(started, "429", retry_after=30))
    assert await api.acquire() == pytest.approx(1030.6)


async def test_a_cancelled_wait_leaves_the_line_in_order() -> None:
    limited = limiter(10, FakeTime())
    order = []

    async def ask(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await limited.acquire()
            order.append(number)

    scopes = [anyio.CancelScope() for _ in range(5)]
    async with anyio.create_task_group() as group:
        for number, scope in enumerate(scopes):
            group.start_soon(ask, number, scope)
        await anyio.lowlevel.checkpoint()
        scopes[2].cancel()
    assert order == [0, 1, 3, 4]
    assert await limited.acquire()


# -- another limiter ------------------------------------------------------------------------------


class Hourly:
    """Another program's rate limiter: a fixed number of starts, and it remembers the outcomes."""

    def __init__(self, starts: int) -> None:
        self.left = starts
        self.outcomes: list[Outcome] = []

    async def acquire(self, also: Hourly | None = None) -> float:
        for limit in (self, also) if also else (self,):
            if not limit.left:
                raise FatalError("the hour's requests are used up")
            limit.left -= 1
        return 0.0

    def report(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def statistics(self) -> RateStatistics:
        return RateStatistics(math.inf, math.inf, 0.0)


async def test_another_rate_limiter_takes_the_place_of_ours() -> None:
    answers = iter([web.json_response(1), web.Response(status=429, headers={"Retry-After": "5"})])

    async def answer(_: web.Request) -> web.StreamResponse:
        return next(answers)

    limits = {name: Hourly(2) for name in SERVICES}
    async with served(answer) as api, client(api, stats=api, limits=limits) as asked:
        await asked.json("stats", "GET", api / "a", orjson.loads)
        with pytest.raises(FatalError, match="used up"):
            await asked.json("stats", "GET", api / "b", orjson.loads)
    message = "127.0.0.1/b: too many requests (429)"
    assert limits["stats"].outcomes == [Outcome(0.0), Outcome(0.0, message, retry_after=5.0)]
    assert [limit.left for limit in limits.values()] == [2, 0, 2]


# -- an adaptive rate --------------------------------------------------------------------------------

MINUTES = 5


@for_each(("limit", "latency"), itertools.product([2, 5, 20, 50], [0.02, 0.2, 1.0]))
@pytest.mark.parametrize("retry_after", [None, pytest.param(1.0, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("model", MODELS)
def test_the_highest_accepted_rate_is_found_in_a_minute_and_kept(
    model: str, limit: float, latency: float, retry_after: float | None
) -> None:
    assert_found_and_kept(model, limit, latency, retry_after)


@for_each(("limit", "latency"), [(5, 0.02), (20, 0.2), (50, 1.0)])
@pytest.mark.parametrize("model", MODELS)
def test_a_rate_is_found_that_is_refused_with_a_retry_after(model: str, limit: float, latency: float) -> None:
    assert_found_and_kept(model, limit, latency, 1.0)


def assert_found_and_kept(model: str, limit: float, latency: float, retry_after: float | None) -> None:
    service = MODELS[model](limit)
    run = ask(AdaptiveRate(1000), service, seconds=60 * MINUTES, latency=latency, retry_after=retry_after)
    assert run.best(max(5.0, 20 / limit), 60) >= 0.9 * limit
    assert run.taken_a_second(60, 60 * MINUTES) >= 0.9 * limit
    assert run.refused_share(60, 60 * MINUTES) < 0.01


@pytest.mark.parametrize(
    ("limit", "latency"),
    [
        (200, 0.02),
        (200, 1.0),
        (500, 0.2),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in ((200, 0.2), (500, 0.02), (500, 1.0))),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_a_high_accepted_rate_is_found_in_a_minute_too(model: str, limit: float, latency: float) -> None:
    run = ask(AdaptiveRate(1000), MODELS[model](limit), seconds=120, latency=latency)
    assert run.best(5, 60) >= 0.9 * limit
    assert run.taken_a_second(60, 120) >= 0.9 * limit
    assert run.refused_share(60, 120) < 0.01


@pytest.mark.parametrize("model", MODELS)
def test_the_rate_follows_a_service_that_accepts_less_or_more(model: str) -> None:
    run = ask(AdaptiveRate(1000), MODELS[model](50), seconds=900, latency=0.2, changes={300: 20, 600: 60})
    assert run.refused_share(330, 600) < 0.01
    assert run.taken_a_second(360, 600) >= 0.9 * 20
    assert run.refused_share(660, 900) < 0.01
    assert run.taken_a_second(780, 900) >= 0.9 * 60


@pytest.mark.parametrize("ceiling", [0.3, 1, 7.3, 10, 1000 / 3])
def test_an_adaptive_rate_reaches_its_ceiling_and_never_passes_it(ceiling: float) -> None:
    run = ask(AdaptiveRate(ceiling), Sliding(math.inf), seconds=60, latency=0.2)
    assert run.highest_rate() == run.starts[-1][2] == ceiling
    times = [at for at, _, _ in run.starts]
    assert all(later - earlier >= 1 / ceiling - 1e-9 for earlier, later in itertools.pairwise(times[-20:]))
    assert run.starts[0][2] == min(1, ceiling)


@settings(max_examples=60, deadline=None)
@given(
    ceiling=st.floats(0.1, 500),
    answers=st.lists(st.tuples(st.floats(0, 3), st.sampled_from("+++++++-")), min_size=1, max_size=300),
)
def test_the_rate_stays_between_its_bounds_for_any_answers(
    ceiling: float, answers: list[tuple[float, str]]
) -> None:
    limit, now, times = AdaptiveRate(ceiling), 1000.0, []
    for late, answer in answers:
        now += max(late / ceiling, limit.delay(now))
        limit.count_start(now)
        times.append(now)
        limit.recover(now) if answer == "+" else limit.throttle(now + 0.01, now, 0.5)
        assert 0 < limit.per_second <= ceiling
    assert busiest_second(times) <= 1 + (1 + LATENESS_FORGIVEN_SECONDS) * ceiling + 1e-6


@pytest.mark.parametrize(("workers", "latency"), [(16, 1.0), (16, 0.2), (4, 0.5)])
def test_a_rate_does_not_grow_if_it_is_not_the_limit(workers: int, latency: float) -> None:
    run = ask(AdaptiveRate(math.inf), Sliding(math.inf), seconds=300, latency=latency, at_once=workers)
    possible = workers / latency
    assert run.taken_a_second(60, 300) == pytest.approx(possible, rel=0.05)
    assert run.highest_rate() <= 2.5 * possible


def test_requests_in_flight_together_lower_an_adaptive_rate_once() -> None:
    limit = AdaptiveRate(100)
    ask(limit, Sliding(math.inf), seconds=10, latency=0.1)
    rate = limit.per_second
    assert limit.throttle(20, 10.1, 5)
    lowered = limit.per_second
    assert lowered < rate
    assert not limit.throttle(20.1, 10.2, 30)
    assert (limit.per_second, limit.paused_until) == (lowered, 50.1)


def test_a_service_that_refuses_everything_pauses_an_adaptive_rate_and_does_not_lower_it() -> None:
    limit = AdaptiveRate(100)
    ask(limit, Sliding(math.inf), seconds=10, latency=0.1)
    limit.throttle(20, 10.1, 1)
    rate = limit.per_second
    for second in range(21, 60):
        limit.count_start(second)
        assert limit.throttle(second + 0.1, second, 0.9)
        assert limit.per_second == rate


@pytest.mark.parametrize("answered", [0, 10])
def test_an_adaptive_rate_does_not_grow_without_answers(answered: float) -> None:
    """Starts are as full as the rate allows, as where requests fail or wait for an answer without an end."""
    limit, now = AdaptiveRate(1000), 0.0
    reached = limit.per_second
    while now < answered + 120:
        now += limit.delay(now)
        limit.count_start(now)
        if now < answered:
            limit.recover(now)
            reached = limit.per_second
    assert limit.per_second <= 2 * reached, "one step, for what was answered before"


def test_a_long_pause_is_risked_rarely() -> None:
    run = ask(AdaptiveRate(1000), Windows(20), seconds=3600, latency=0.2, retry_after=20)
    assert run.taken_a_second(900, 3600) >= 0.85 * 20


async def test_a_harvest_that_finds_its_rate_is_complete(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, rate_cap=6)) as sandbox:
        ids = sandbox.world.search("survey")
        words = ("run", "--search", "survey", "-o", tmp_path, "--tasks", "metadata", *at(sandbox))
        ended = await harvester(*words, "--rate", "api=auto", "--ceiling", "400")
        assert ended.status == 0, ended.err
        assert_records(tmp_path, sandbox, sorted(ids), set())
    assert "requests a second at the end: api " in ended.out
    assert 0 < orjson.loads((tmp_path / "summary.json").read_bytes())["run"]["rates"]["api"] <= 400


async def test_a_plan_uses_the_ceiling_of_an_adaptive_rate(sandbox: Sandbox) -> None:
    words = ("--search", "survey", *at(sandbox), "--rate", "stats=auto", "--ceiling", "4")
    ended = await harvester("plan", *words, "--tasks", "stats")
    assert ended.status == 0, ended.err
    number = 2 * len(sandbox.world.search("survey"))
    assert f"stats    {number} requests at 4 a second at most: " in ended.out


def test_of_many_pauses_the_first_and_the_long_ones_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    time = FakeTime()
    limited = limiter(5.0, time)
    for number in range(1, 201):
        time.now += 100
        limited.report(Outcome(time.now, "busy (429)", 30.0 if number == 150 else 0.5))
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [int(text.rpartition("(pause ")[2].rstrip(")")) for text in logged] == [*range(1, 11), 100, 150]
    assert logged[0].startswith("busy (429): api pauses for 0.5 s, then ")
