"""
The fault matrix: each thing that happens on the way, by name, and exactly what a harvest makes of it.

Every case is a whole harvest over real sockets. What passes costs nothing but time: the harvest ends with
the sandbox's truth, to the byte. What never passes is in failures.csv with its reason, and nothing else is.
`make soak` runs the same with 500 items.
"""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path

import anyio
import pytest

from harvester import harvest
from harvester.errors import FailureKind
from harvester.jobs.services import RunHooks
from harvester.sandbox import FAULTS, Sandbox, Settings
from tests.support.faults import PASSING, PATIENCE, PERMANENT, RANGES, all_at_once
from tests.support.program import config
from tests.support.truth import assert_complete, assert_complete_but, rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

SLOW = {"429-after", "429-date"}
"""Each of these takes a second."""
NO_ERRORS = {"drip", "range-ignored", "short-range"}
"""What these do is right, if slow or more than was requested."""


def test_every_fault_of_the_sandbox_is_in_the_matrix() -> None:
    assert FAULTS.keys() == PASSING.keys() | PERMANENT.keys() | {"always-challenge"}


@pytest.mark.parametrize("fault", PASSING)
async def test_a_temporary_fault_costs_only_time(fault: str, tmp_path: Path) -> None:
    faults = {"reset-body": 0.2, fault: 0.5} if fault in RANGES else {fault: 0.05 if fault in SLOW else 0.15}
    settings = Settings(items=5, heavy=0, faults=faults, stall_seconds=5)
    async with Sandbox(settings) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **PATIENCE.get(fault, {})))
        assert fault in {seen.fault for seen in sandbox.requests}
        assert summary.exit_status == 0, rows(tmp_path / "failures.csv")
        ids = sandbox.world.search("survey")
        assert_complete(tmp_path, sandbox, ids)
        assert summary.folder.outcomes.items == {"done": len(ids)}
        assert summary.folder.listings.entries == summary.folder.listings.unique == len(ids)
        assert (sum(summary.run.errors.values()) > 0) is (fault not in NO_ERRORS or fault in RANGES)


@pytest.mark.parametrize("fault", PERMANENT)
async def test_permanent_faults_and_only_these_are_failures_with_a_reason(fault: str, tmp_path: Path) -> None:
    expected = PERMANENT[fault]
    async with Sandbox(Settings(items=6, heavy=0, seed=9, faults={fault: 0.12})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"retry.attempts": 3}))
        items = sandbox.permanently_failing_items(fault) & set(sandbox.world.search("survey"))
        files = {file for file in sandbox.permanently_failing_files(fault) if file // 100 not in items}
        stats = sandbox.permanently_failing_stats(fault)
        assert items or files
        assert summary.exit_status == 1
        assert_complete_but(tmp_path, sandbox, items=items, files=files, stats=stats)
        table = [row for row in rows(tmp_path / "failures.csv") if row["task"] == expected.task]
        assert {row["attempts"] for row in table} == expected.attempts
        assert all(expected.words in row["error"] for row in table), table
        failures = rows(tmp_path / "failures.csv")
        assert summary.run.files.failed == sum(row["task"] == "files" for row in failures)
        assert summary.run.items.failed == len({row["item_id"] for row in failures if row["task"] != "files"})
        found = summary.folder.outcomes
        outcomes = found.files if expected.task == "files" else found.items
        assert outcomes[expected.failure_kind] >= len(table)
        assert {*FailureKind} & outcomes.keys() == {expected.failure_kind}


async def test_all_faults_at_once(tmp_path: Path) -> None:
    """About one request in three meets one of all that pass; some things can never be had besides."""
    settings = Settings(items=12, heavy=0, seed=3, faults=all_at_once(share=0.3), stall_seconds=3)
    async with Sandbox(settings) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        met = {seen.fault for seen in sandbox.requests} - {None}
        assert len(met) > 20
        wanted = set(sandbox.world.search("survey"))
        items = sandbox.permanently_failing_items() & wanted
        assert items
        assert sandbox.permanently_failing_files()
        assert summary.exit_status == 1
        assert_complete_but(
            tmp_path,
            sandbox,
            items=items,
            files=sandbox.permanently_failing_files(),
            stats=sandbox.permanently_failing_stats(),
        )
        assert sum(summary.folder.outcomes.items.values()) == len(wanted)


# -- what no sandbox can play ---------------------------------------------------------------------


async def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)

    def jumping() -> float:
        return time.time() + chance.choice([-86400, -3600, 0, 3600, 86400 * 400])

    settings = Settings(items=6, heavy=0, seed=2, faults={"429-date": 0.03, "503": 0.1})
    async with Sandbox(settings) as sandbox:
        job = config(sandbox, tmp_path)
        for _ in range(2):
            summary = await harvest(job, hooks=RunHooks(wall_clock=jumping))
            assert summary.exit_status == 0
            assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert "429-date" in {seen.fault for seen in sandbox.requests}


async def test_occasional_dns_failures_cost_only_time(tmp_path: Path) -> None:
    asked, failed = [], []
    chance = random.Random(7)

    async def lookup(host: str) -> None:
        asked.append(host)
        if chance.random() < 0.5:
            failed.append(host)
            raise OSError(None, "temporary failure in name resolution")

    # Names are looked up for new connections only, so most of them are cut.
    async with Sandbox(Settings(items=6, heavy=0, faults={"reset": 0.3})) as sandbox:
        by_name = {
            "services.api": sandbox.api.replace("127.0.0.1", "localhost"),
            "services.stats": sandbox.stats.replace("127.0.0.1", "localhost"),
        }
        job = config(sandbox, tmp_path, **by_name)
        summary = await harvest(job, hooks=RunHooks(before_lookup=lookup))
        assert summary.exit_status == 0
        assert len(failed) >= 1
        assert set(asked) == {"localhost"}
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


async def test_an_outage_of_everything_is_waited_out(tmp_path: Path) -> None:
    settings = Settings(items=16, heavy=0)
    async with Sandbox(settings) as sandbox:
        ports = tuple(int(base.split(":")[2].split("/")[0]) for base in addresses(sandbox))
        job = config(sandbox, tmp_path, **{"rate.api": 20.0, "rate.stats": 40.0, "rate.files": 80.0})
        asked = sandbox.requests
    assert len(ports) == 4
    settings = dataclasses.replace(settings, ports=ports)

    async def serve_with_a_gap() -> None:
        async with Sandbox(settings) as first:
            started.set()
            await until(lambda: len(first.requests_to("api")) > 8)
            asked.extend(first.requests)
        await anyio.sleep(1)  # everybody's attempts are used up long before
        async with Sandbox(settings) as second:
            await harvested.wait()
            asked.extend(second.requests)

    started, harvested = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(serve_with_a_gap)
        await started.wait()
        summary = await harvest(job)
        harvested.set()
    assert summary.exit_status == 0, rows(tmp_path / "failures.csv")
    assert all(errors <= 16 * 6 + 2 / 0.05 for errors in summary.run.errors.values()), "one finds out"
    async with Sandbox(settings) as truth:
        assert_complete(tmp_path, truth, truth.world.search("survey"))
    records = [seen.path for seen in asked if seen.service == "api" and seen.path[-7:].isdecimal()]
    assert len(records) > 12


def addresses(sandbox: Sandbox) -> tuple[str, str, str, str]:
    return sandbox.api, sandbox.stats, sandbox.files, sandbox.storage


async def test_a_route_that_challenges_is_left_for_the_other_and_probed_again(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=6, heavy=0, faults={"always-challenge": 1.0})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"concurrency.downloads": 1}))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert len(sandbox.requests_to("files")) == 3  # then the route rests


async def test_dead_statistics_do_not_stop_the_rest(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=6, heavy=0)) as sandbox:
        dead = config(sandbox, tmp_path, **{"services.stats": "http://127.0.0.1:9", "retry.attempts": 2})
        summary = await harvest(dead)
        ids = sandbox.world.search("survey")
        assert summary.exit_status == 1
        assert summary.folder.work == {"metadata": {"done": len(ids)}, "stats": {"failed": len(ids)}}
        assert summary.folder.outcomes.items == {"transient": len(ids)}
        assert "pending" not in summary.folder.files
        assert summary.run.requests["stats"] < 2 * 2 * len(ids)  # paused, not requested for each
        again = await harvest(config(sandbox, tmp_path))
        assert again.exit_status == 0
        assert_complete(tmp_path, sandbox, ids)


async def test_a_service_that_caps_its_rate_is_harvested_completely(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=8, heavy=0, rate_cap=30)) as sandbox:
        limits = {f"rate.{name}": 100.0 for name in ("api", "stats", "files")}
        summary = await harvest(config(sandbox, tmp_path, **limits, **{"retry.max_wait": 0.5}))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert 429 in {seen.status for seen in sandbox.requests}
