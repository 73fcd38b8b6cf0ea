"""A plan is what the run then asks: for every kind of source, task and version, and for the next run too."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from harvester.cli.render import plan_text
from harvester.config import Config
from harvester.config.keys import AUTO
from harvester.jobs.harvest import harvest
from harvester.jobs.plan import plan as make_plan
from harvester.jobs.plan_totals import Plan
from harvester.sandbox import Sandbox, Settings
from tests.support.orphans import config_of
from tests.support.program import at, harvester

pytestmark = pytest.mark.anyio

SEARCH = {"kind": "search", "query": ":tag: tag4"}
LISTED = 3
"""Requests for a listing whose first page is not full: it is the end when two empty answers say so."""

EVERY = 10_000
"""A sample of all records there are: what is estimated from it is exact."""


@pytest.fixture
def world() -> Settings:
    return Settings(items=34, private_items=2, colleague_items=1, own_public=4, heavy=0)


async def plan_and_run(config: Config, *, quick: bool = False, withdrawn: int = 0) -> Plan:
    """
    Plan, run, and assert that the run asked what the plan says.

    For an item that is withdrawn it asks twice, and for two things that should be there.
    """
    plan = await make_plan(config, sample_size=EVERY, quick=quick)
    summary = await harvest(config, quick=quick, accept_withdrawals=withdrawn)
    assert summary.exit_status == 0, summary.folder
    asked = dict(summary.run.requests)
    asked["api"] -= 2 + withdrawn if withdrawn else 0
    assert plan.requests == asked
    assert plan.incomplete == []
    return plan


ONE = {"kind": "items", "ids": [5_000_010]}
SOURCES: Sequence[tuple[dict[str, Any], ...]] = (
    ({"kind": "search", "query": ":tag: tag4"}, {"kind": "search", "query": ":tag: tag4"}),
    ({"kind": "search", "query": "survey", "licence": "CC0", "published_before": "2016-01-01"},),
    ({"kind": "group", "id": 11962, "subgroups": True},),
    ({"kind": "collection", "id": 4_000_001, "item_type": "dataset"},),
    ({"kind": "project", "id": 113_001, "licence": "mit"},),
    ({"kind": "collection", "id": 4_000_001, "licence": "mit"},),
    ({"kind": "account"}, {"kind": "account", "query": "survey"}),
    ({"kind": "institution", "private": True, "item_type": 9},),
    ({"kind": "items", "ids": [5_000_001, "2134/5000004", "10.6084/m9.figshare.5000010", "5000100.v2"]},),
)


@pytest.mark.parametrize("sources", SOURCES, ids=lambda sources: sources[-1]["kind"])
async def test_a_plan_of_each_kind_of_source_equals_the_requests_of_the_run(
    sources: tuple[dict[str, Any], ...], sandbox: Sandbox, tmp_path: Path
) -> None:
    config = config_of(sandbox, tmp_path, *sources, tasks=["metadata", "stats"])
    plan = await plan_and_run(config)
    assert plan.items == plan.items_pending > 0
    again = await plan_and_run(config)
    assert again.items == plan.items
    assert again.requests["stats"] == ("group" in sources[0]["kind"])


async def test_named_items_are_requested_again_with_their_etag(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [5_000_001, 5_000_004]})
    await plan_and_run(config)
    again = await plan_and_run(config)
    assert (again.items_pending, again.requests, again.files_pending) == (
        2,
        {"api": 2, "stats": 0, "files": 0},
        0,
    )


async def test_files_are_planned_to_the_byte_if_every_record_is_sampled(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sources = ({"kind": "project", "id": 113_001}, {"kind": "account"})
    config = config_of(sandbox, tmp_path, *sources, files__min_size="1 kB", files__exclude=["*.png"])
    plan = await plan_and_run(config)
    assert plan.bytes_pending == sum(
        path.stat().st_size for path in (tmp_path / "files").rglob("*") if path.is_file()
    )
    assert plan.requests["files"] == plan.files_pending > 0


@pytest.mark.parametrize("versions", ["all", [1, 3], pytest.param([1], marks=pytest.mark.nightly)])
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
    assert plan.requests == {"api": LISTED, "stats": plan.items * (2 + 2 * 2 + 2 * 2), "files": 0}


async def test_max_total_limits_what_is_planned(sandbox: Sandbox, tmp_path: Path) -> None:
    source = {"kind": "project", "id": 113_002}
    whole = await make_plan(config_of(sandbox, tmp_path, source, tasks=["files"]), sample_size=EVERY)
    half = whole.bytes_pending // 2
    config = config_of(sandbox, tmp_path, source, tasks=["files"], files__max_total=str(half))
    plan = await make_plan(config, sample_size=EVERY)
    assert plan.bytes_pending == half
    assert 0.4 < plan.files_pending / whole.files_pending < 0.6
    assert (await harvest(config)).exit_status == 0
    again = await plan_and_run(config)
    assert (again.files_pending, again.bytes_pending) == (0, 0)


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
    plan = await plan_and_run(config, withdrawn=2)
    assert (plan.vanished, plan.items_pending) == (2, 3)
    assert plan.requests == {"api": LISTED + 3, "stats": 0, "files": 0}
    after = await plan_and_run(config)
    assert (after.vanished, after.items_pending) == (0, 0)


NONE = {"api": 0, "stats": 0, "files": 0}


async def test_skipped_files_are_planned_when_the_rules_accept_them(sandbox: Sandbox, tmp_path: Path) -> None:
    await plan_and_run(config_of(sandbox, tmp_path, SEARCH, files__exclude=["*"]))
    plan = await plan_and_run(config_of(sandbox, tmp_path, SEARCH, files__exclude=["*.png"]))
    assert (plan.items_pending, plan.sampled, plan.requests["api"]) == (0, 0, LISTED)
    assert plan.requests["files"] == plan.files_pending > 0
    rest = await plan_and_run(config_of(sandbox, tmp_path, SEARCH))
    assert rest.files_pending > 0
    assert plan.bytes_pending + rest.bytes_pending == sum(
        path.stat().st_size for path in (tmp_path / "files").rglob("*") if path.is_file()
    )
    assert (await plan_and_run(config_of(sandbox, tmp_path, SEARCH))).requests == {**NONE, "api": LISTED}


async def test_files_beyond_max_total_are_planned_when_there_is_more_room(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    whole = await make_plan(config_of(sandbox, tmp_path, SEARCH), sample_size=EVERY)
    third, more = whole.bytes_pending // 3, 2 * whole.bytes_pending // 3
    await harvest(config_of(sandbox, tmp_path, SEARCH, files__max_total=str(third)))
    plan = await plan_and_run(config_of(sandbox, tmp_path, SEARCH, files__max_total=str(more)))
    assert 0 < plan.bytes_pending <= more
    rest = await plan_and_run(config_of(sandbox, tmp_path, SEARCH))
    assert 0 < rest.bytes_pending < whole.bytes_pending - plan.bytes_pending


@pytest.mark.parametrize("versions", ["all", pytest.param([1, 2], marks=pytest.mark.nightly)])
async def test_other_versions_than_before_are_planned_with_the_records_that_name_them(
    versions: object, sandbox: Sandbox, tmp_path: Path
) -> None:
    ids = sandbox.world.with_trait("three versions")
    named = {"kind": "items", "ids": [5_000_001, *ids]}
    await plan_and_run(config_of(sandbox, tmp_path, SEARCH, named))
    config = config_of(sandbox, tmp_path, SEARCH, named, versions=versions)
    plan = await plan_and_run(config)
    assert plan.items == plan.items_pending == plan.sampled
    assert plan.versions == 2 * len(ids)
    assert plan.files_pending == 2 * len(ids), "the first file of an item is another one in each version"
    again = await plan_and_run(config)
    assert (again.versions, again.files_pending, again.items_pending) == (0, 0, 1 + len(ids))


async def test_files_that_versions_share_are_planned_once(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = sandbox.world.with_trait("three versions")
    named = {"kind": "items", "ids": ids}
    await plan_and_run(config_of(sandbox, tmp_path, named, versions="all", files__exclude=["*"]))
    plan = await plan_and_run(config_of(sandbox, tmp_path, named, versions="all"))
    different = {
        file["id"] for item in ids for n in (1, 2, 3) for file in sandbox.world.files(item, version=n)
    }
    assert plan.files_pending == len(different)


@pytest.mark.parametrize(
    ("task", "changed", "each"),
    [
        ("stats", {"stats__counters": ["views", "downloads", "shares"]}, 3),
        ("timeline", {"stats__until": "2022-12-31"}, 2 * 2),
        ("timeline", {"stats__granularity": "year"}, 2),
        ("breakdown", {"stats__counters": ["shares"]}, 1),
    ],
)
async def test_statistics_with_changed_parameters_are_planned_for_every_item(
    task: str, changed: dict[str, object], each: int, sandbox: Sandbox, tmp_path: Path
) -> None:
    usual = {"stats__since": "2020-01-01", "stats__until": "2021-12-31", "tasks": ["metadata", task]}
    await plan_and_run(config_of(sandbox, tmp_path, SEARCH, **usual))
    config = config_of(sandbox, tmp_path, SEARCH, **{**usual, **changed})
    plan = await plan_and_run(config)
    assert plan.items == plan.items_pending > 0
    assert plan.requests == {"api": LISTED, "stats": plan.items * each, "files": 0}
    assert (await plan_and_run(config)).requests == {**NONE, "api": LISTED}


async def test_files_of_an_account_that_come_later_are_planned_for_the_api_too(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    account = {"kind": "account"}
    first = await plan_and_run(config_of(sandbox, tmp_path, account, tasks=["metadata"]))
    assert first.files_pending == 0
    plan = await plan_and_run(config_of(sandbox, tmp_path, account, tasks=["metadata", "files"]))
    assert (plan.items_pending, plan.sampled) == (0, 0)
    assert plan.requests == {"api": LISTED + 1 + plan.files_pending, "stats": 0, "files": plan.files_pending}
    assert plan.files_pending > 0


async def test_pending_work_of_unlisted_items_is_planned(sandbox: Sandbox, tmp_path: Path) -> None:
    everything = config_of(sandbox, tmp_path, {"kind": "project", "id": 113_001}, tasks=["metadata"])
    before = await plan_and_run(everything)
    plan = await plan_and_run(config_of(sandbox, tmp_path, ONE, tasks=["metadata", "stats", "files"]))
    assert (plan.items, plan.items_pending) == (1, before.items + 1)
    assert plan.requests["stats"] == 2 * (before.items + 1)
    assert plan.files_pending > len(sandbox.world.files(5_000_010))


async def test_failed_and_new_work_is_planned_once(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, faults={"always-404": 0.3})) as sandbox:
        config = config_of(sandbox, tmp_path, SEARCH)
        assert (await harvest(config)).exit_status == 1
        plan = await make_plan(config, sample_size=EVERY)
        summary = await harvest(config)
        again = plan.items_pending  # a listing names them: they are requested again as the run ends
        assert plan.requests | {"api": plan.requests["api"] + again} == summary.run.requests
        assert 0 < plan.items_pending == summary.run.items.failed < plan.items
        assert (plan.sampled, plan.files_known, plan.files_pending) == (0, False, 0)


async def test_changed_items_are_planned_with_the_files_that_are_new(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    config = config_of(sandbox, tmp_path, SEARCH)
    await plan_and_run(config)
    item_id = sandbox.world.search(":tag: tag4")[0]
    sandbox.world.edit(item_id)
    plan = await plan_and_run(config)
    assert (plan.items_pending, plan.files_pending, plan.sampled) == (1, 1, 1)


async def test_a_plan_without_a_sample_says_that_it_does_not_know_the_files(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    config = config_of(sandbox, tmp_path, SEARCH)
    plan = await make_plan(config, sample_size=0)
    found = plan.to_dict()
    assert (found["files_known"], found["files_pending"], found["bytes_pending"]) == (False, 0, 0)
    assert "\nfiles    at least 0, at least 0 bytes; no record was sampled\n" in plan_text(plan, config)

    await harvest(config)
    plan = await make_plan(config, sample_size=0)
    assert plan.to_dict()["files_known"]
    assert "\nfiles    0, 0 bytes\n" in plan_text(plan, config)


async def test_a_plan_without_the_files_task_knows_its_files(sandbox: Sandbox, tmp_path: Path) -> None:
    plan = await make_plan(config_of(sandbox, tmp_path, SEARCH, tasks=["metadata"]), sample_size=0)
    assert (plan.files_known, plan.files_pending) == (True, 0)


def dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        return list(db.iterdump())


async def test_a_plan_leaves_the_ledger_and_the_folder_as_they_are(sandbox: Sandbox, tmp_path: Path) -> None:
    here, nowhere = tmp_path / "here", tmp_path / "nowhere"
    await harvest(config_of(sandbox, here, SEARCH, files__exclude=["*"]))
    sandbox.world.edit(sandbox.world.search(":tag: tag4")[0])
    before = dump(here)
    for _ in range(2):
        plan = await make_plan(config_of(sandbox, here, SEARCH, ONE))
        assert plan.items_pending == 2
        assert plan.files_pending > 1
        assert dump(here) == before
    assert (await make_plan(config_of(sandbox, nowhere, ONE))).items_pending == 1
    assert not nowhere.exists()


async def test_a_quick_run_is_planned_as_one(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=45, heavy=0, page_cap=10)) as sandbox:
        config = config_of(sandbox, tmp_path, {"kind": "search", "query": "survey"}, tasks=["metadata"])
        await harvest(config)
        sandbox.world.edit(5_000_001)
        whole = await make_plan(config, sample_size=5)
        assert (whole.requests["api"], whole.items_pending, whole.quick) == (5 + 1, 1, False)
        plan = await plan_and_run(config, quick=True)
        assert (plan.requests["api"], plan.items_pending, plan.quick) == (LISTED + 1, 1, True)
        assert plan.items < 45


async def test_a_plan_prints_unsupported_filters_and_incomplete_listings(
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
    ended = await harvester("plan", *words, "-o", tmp_path, *at(sandbox))
    assert ended.status == 1
    listing = "collection 4000001 (type dataset, published since 2015-01-01)"
    assert (
        f"{listing}: figshare does not filter by type or published since: entries are filtered here"
    ) in ended.out
    reason = "neither an item's id, nor a DOI or handle, nor the address of an item"
    assert ended.out.endswith(f"incomplete: x y: {reason}\n")
    shown = orjson.loads((await harvester("plan", *words, "-o", tmp_path, *at(sandbox), "--json")).out)
    assert shown["client_side_filters"] == {listing: ["item_type", "published_since"]}
    assert shown["incomplete_listings"] == [f"x y: {reason}"]


async def test_a_plan_keeps_the_keys_that_programs_know(sandbox: Sandbox, tmp_path: Path) -> None:
    config = config_of(sandbox, tmp_path, ONE, rate__api=AUTO)
    found = (await make_plan(config)).to_dict()
    assert found.keys() >= {
        "listed", "items", "items_pending", "files_pending", "bytes_pending", "sampled_records", "requests",
        "seconds", "seconds_at_least", "binding_service", "incomplete_listings",
    }  # fmt: skip
