"""With each fault on the way a harvest ends complete, or says exactly what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harvester import harvest, load_config
from harvester.config import Config
from harvester.sandbox import FAULTS, Sandbox, Settings
from tests.truth import assert_complete, rows

pytestmark = pytest.mark.anyio

PASSING = [name for name in FAULTS if not name.startswith("always-")]


def config(sandbox: Sandbox, folder: Path, **more: object) -> Config:
    """Everything, with short waits: the sandbox's faults pass at once."""
    options: Mapping[str, object] = {
        "sources": [{"kind": "search", "query": "survey"}],
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        "rate.api": float("inf"),
        "rate.stats": float("inf"),
        "rate.files": float("inf"),
        "retry.max_wait": 0.05,
        "timeouts.idle": 0.5,
        **more,
    }
    return load_config(options=options, environ={})


@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_that_passes_costs_nothing_but_time(fault: str, tmp_path: Path) -> None:
    share = 0.05 if "429-" in fault else 0.2  # each of those makes everybody wait for a second
    settings = Settings(
        items=60, heavy_size=100_000, faults={"reset-body": 0.05, fault: share}, stall_seconds=5
    )
    async with Sandbox(settings) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        assert fault in {seen.fault for seen in sandbox.requests}
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert sum(summary.run["errors"].values()) > 0


async def test_all_faults_at_once(tmp_path: Path) -> None:
    share = 0.05 / len(PASSING) * 6  # of those that apply to a service: about one request in twenty
    settings = Settings(items=120, heavy_size=100_000, faults=dict.fromkeys(PASSING, share), stall_seconds=5)
    async with Sandbox(settings) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        met = {seen.fault for seen in sandbox.requests} - {None}
        assert len(met) > 12
        assert summary.exit_status == 0, rows(tmp_path / "failures.csv")
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


async def test_wrong_bytes_for_ever_are_a_failure_of_that_file_alone(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=40, heavy=0, faults={"always-wrong-md5": 0.1})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        spoilt = {int(seen.path[1:]) for seen in sandbox.asked("storage") if seen.fault == "always-wrong-md5"}
        proven = {
            file_id
            for file_id in spoilt
            if (file := sandbox.world.file(file_id)) and file["supplied_md5"] and file["size"]
        }
        failures = rows(tmp_path / "failures.csv")
        assert summary.exit_status == 1
        assert len(proven) > 3
        assert {int(row["file_id"]) for row in failures} == proven
        assert all(row["task"] == "files" and "twice the same" in row["error"] for row in failures)
        for row in rows(tmp_path / "files.csv"):
            if int(row["file_id"]) in proven:
                assert (row["status"], row["path"]) == ("failed", "")
        assert not list((tmp_path / ".partial").iterdir())


async def test_a_refusal_in_figshare_s_own_words_is_final_for_that_item(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=40, heavy=0, faults={"always-403-json": 0.1})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        refused = [int(seen.path.rpartition("/")[2]) for seen in sandbox.requests if seen.fault]
        assert summary.exit_status == 1
        assert len(refused) == len(set(refused)) > 1  # none was asked twice
        failures = rows(tmp_path / "failures.csv")
        assert sorted(int(row["item_id"]) for row in failures) == sorted(refused)
        assert all("You do not have the right to see this item" in row["error"] for row in failures)
        assert {row["attempts"] for row in failures} == {"1"}


async def test_a_server_that_always_fails_is_a_failure_with_its_attempts(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, faults={"always-500": 0.05})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"retry.attempts": 3}))
        failures = rows(tmp_path / "failures.csv")
        assert summary.exit_status == 1
        assert failures
        assert {row["attempts"] for row in failures} == {"3"}
        assert all("failed there (500)" in row["error"] for row in failures)
        again = await harvest(config(sandbox, tmp_path, **{"retry.attempts": 3}))
        assert again.run["requests"]["files"] == 0
        assert rows(tmp_path / "failures.csv") == failures


async def test_a_route_that_challenges_is_left_for_the_other(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=40, heavy=0, faults={"always-challenge": 1.0})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"concurrency.downloads": 1}))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert len(sandbox.asked("files")) == 3  # then the route rests


async def test_dead_statistics_do_not_stop_the_rest(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0)) as sandbox:
        dead = config(sandbox, tmp_path, **{"services.stats": "http://127.0.0.1:9", "retry.attempts": 2})
        summary = await harvest(dead)
        ids = sandbox.world.search("survey")
        assert summary.exit_status == 1
        assert summary.folder["work"] == {"metadata": {"done": len(ids)}, "stats": {"failed": len(ids)}}
        assert "pending" not in summary.folder["files"]
        assert summary.run["requests"]["stats"] < 2 * 2 * len(ids)  # it rests instead of being asked for each
        again = await harvest(config(sandbox, tmp_path))
        assert again.exit_status == 0
        assert_complete(tmp_path, sandbox, ids)


async def test_a_service_that_caps_its_rate_is_harvested_whole(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, rate_cap=40)) as sandbox:
        limits = {f"rate.{name}": 100.0 for name in ("api", "stats", "files")}
        summary = await harvest(config(sandbox, tmp_path, **limits, **{"retry.max_wait": 0.5}))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert 429 in {seen.status for seen in sandbox.requests}
