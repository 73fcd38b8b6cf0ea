"""A plan is what the run then asks: for every kind of source, task and version, and for the next run too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from harvester.config import Config
from harvester.config.keys import AUTO
from harvester.job import harvest, make_plan
from harvester.kinds import load_config
from harvester.plan import Plan
from harvester.sandbox import Sandbox, Settings
from tests.conftest import TOKEN, at, harvester

pytestmark = pytest.mark.anyio

EVERY = 10_000
"""A sample of all records there are: what is estimated from it is exact."""


@pytest.fixture
def world() -> Settings:
    return Settings(items=120, heavy=0)


def config_of(sandbox: Sandbox, folder: Path, *sources: dict[str, Any], **options: object) -> Config:
    given = {
        "output": str(folder),
        "sources": list(sources),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
        **{key.replace("__", "."): value for key, value in options.items()},
    }
    return load_config(options=given, environ={"FIGSHARE_TOKEN": TOKEN})


async def plan_and_run(config: Config, *, quick: bool = False) -> Plan:
    """Plan, run, and assert that the run asked exactly what the plan says."""
    plan = await make_plan(config, sample_size=EVERY, quick=quick)
    summary = await harvest(config, quick=quick)
    assert summary.exit_status == 0, summary.folder
    assert plan.requests == summary.run["requests"]
    assert plan.incomplete == []
    return plan


ONE = {"kind": "items", "ids": [5_000_010]}
SOURCES: Sequence[tuple[dict[str, Any], ...]] = (
    ({"kind": "search", "query": ":tag: tag4"}, {"kind": "search", "query": ":tag: tag4"}),
    ({"kind": "search", "query": "survey", "licence": "CC0", "published_before": "2016-01-01"},),
    ({"kind": "group", "id": 11962, "subgroups": True},),
    ({"kind": "collection", "id": 4_000_001, "item_type": "dataset"},),
    ({"kind": "project", "id": 113_001, "licence": "mit"},),
    ({"kind": "account"}, {"kind": "account", "query": "survey"}),
    ({"kind": "institution", "private": True, "item_type": 9},),
    ({"kind": "items", "ids": [5_000_001, "2134/5000004", "10.6084/m9.figshare.5000010", "5000100.v2"]},),
)


@pytest.mark.parametrize("sources", SOURCES, ids=lambda sources: sources[-1]["kind"])
async def test_a_plan_of_each_kind_of_source_is_what_the_run_asks(
    sources: tuple[dict[str, Any], ...], sandbox: Sandbox, tmp_path: Path
) -> None:
    config = config_of(sandbox, tmp_path, *sources, tasks=["metadata", "stats"])
    plan = await plan_and_run(config)
    assert plan.items == plan.items_owed > 0
    again = await plan_and_run(config)
    assert again.items == plan.items
    assert again.requests["stats"] == ("group" in sources[0]["kind"])


async def test_names_are_asked_again_whether_they_have_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [5_000_001, 5_000_004]})
    await plan_and_run(config)
    again = await plan_and_run(config)
    assert (again.items_owed, again.requests, again.files_owed) == (2, {"api": 2, "stats": 0, "files": 0}, 0)


async def test_files_are_planned_to_the_byte_where_every_record_is_looked_at(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sources = ({"kind": "project", "id": 113_001}, {"kind": "account"})
    config = config_of(sandbox, tmp_path, *sources, files__min_size="1 kB", files__exclude=["*.png"])
    plan = await plan_and_run(config)
    assert plan.bytes_owed == sum(
        path.stat().st_size for path in (tmp_path / "files").rglob("*") if path.is_file()
    )
    assert plan.requests["files"] == plan.files_owed > 0


@pytest.mark.parametrize("versions", ["all", [1], [1, 3]])
async def test_versions_are_planned_with_the_files_that_they_do_not_share(
    versions: object, sandbox: Sandbox, tmp_path: Path
) -> None:
    ids = sandbox.world.with_trait("three versions")
    sandbox.world.edit(5_000_001)
    config = config_of(
        sandbox, tmp_path, {"kind": "items", "ids": [5_000_001, 5_000_007, *ids]}, versions=versions
    )
    plan = await plan_and_run(config)
    assert plan.versions == (2 if versions == "all" else 1) * len(ids) + 1


async def test_statistics_are_planned_by_counter_and_window(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(
        sandbox, tmp_path, {"kind": "search", "query": ":tag: tag4"},
        tasks=["stats", "timeline", "breakdown"],
        stats__counters=["views", "shares"],
        stats__since="2020-01-01", stats__until="2023-12-31",
    )  # fmt: skip
    plan = await plan_and_run(config)
    assert plan.requests == {"api": 1, "stats": plan.items * (2 + 2 * 2 + 2 * 2), "files": 0}


async def test_max_total_limits_what_is_planned(sandbox: Sandbox, tmp_path: Path) -> None:
    source = {"kind": "search", "query": "survey"}
    whole = await make_plan(config_of(sandbox, tmp_path, source), sample_size=EVERY)
    half = whole.bytes_owed // 2
    config = config_of(sandbox, tmp_path, source, files__max_total=str(half))
    plan = await make_plan(config, sample_size=EVERY)
    assert plan.bytes_owed == half
    assert 0.4 < plan.files_owed / whole.files_owed < 0.6
    assert (await harvest(config)).exit_status == 0
    again = await plan_and_run(config)
    assert (again.files_owed, again.bytes_owed) == (0, 0)


async def test_a_second_run_is_planned_with_what_was_changed_withdrawn_and_added(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    config = config_of(
        sandbox, tmp_path, {"kind": "collection", "id": 4_000_002}, tasks=["metadata", "stats"]
    )
    await plan_and_run(config)
    world = sandbox.world
    first, second, third, *_ = world.collection_items(4_000_002)
    world.correct(first)
    world.withdraw(second)
    world.withdraw(third)
    plan = await plan_and_run(config)
    assert (plan.vanished, plan.items_owed) == (2, 3)
    assert plan.requests == {"api": 1 + 3, "stats": 0, "files": 0}
    after = await plan_and_run(config)
    assert (after.vanished, after.items_owed) == (0, 0)


async def test_a_quick_run_is_planned_as_one(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=3500, heavy=0)) as sandbox:
        config = config_of(sandbox, tmp_path, {"kind": "search", "query": "survey"}, tasks=["metadata"])
        await harvest(config)
        sandbox.world.edit(5_000_001)
        whole = await make_plan(config, sample_size=5)
        assert (whole.requests["api"], whole.items_owed, whole.quick) == (4 + 1, 1, False)
        plan = await plan_and_run(config, quick=True)
        assert (plan.requests["api"], plan.items_owed, plan.quick) == (1 + 1, 1, True)
        assert plan.items < 3500


async def test_a_plan_says_what_figshare_does_not_filter_and_what_is_missing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = (
        "--collection",
        "4000001",
        "--type",
        "dataset",
        "--published-since",
        "2015-01-01",
        "--item",
        "x y",
    )
    ended = await harvester("plan", *words, "-o", tmp_path, *at(sandbox, "10"))
    assert ended.status == 1
    filters = "{'item_type': 3, 'published_since': '2015-01-01'}"
    assert (
        f"collection 4000001 {filters}: figshare takes no item_type or published_since for it:"
        " what comes is filtered here"
    ) in ended.out
    reason = "neither an item's id, nor a DOI or handle, nor the address of an item"
    assert ended.out.endswith(f"incomplete: x y: {reason}\n")
    told = orjson.loads((await harvester("plan", *words, "-o", tmp_path, *at(sandbox), "--json")).out)
    assert told["filtered_here"] == {f"collection 4000001 {filters}": ["item_type", "published_since"]}
    assert told["incomplete_listings"] == [f"x y: {reason}"]


async def test_a_plan_keeps_the_keys_that_programs_know(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(sandbox, tmp_path, ONE, rate__api=AUTO)
    told = (await make_plan(config)).to_dict()
    assert told.keys() >= {
        "listed", "items", "items_owed", "files_owed", "bytes_owed", "sampled_records", "requests", "seconds",
        "seconds_at_least", "binding_service", "incomplete_listings",
    }  # fmt: skip
