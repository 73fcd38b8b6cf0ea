"""Not found is not withdrawn: it is believed only of few items at once, and where the api serves."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from harvester import harvest
from harvester.errors import FatalError
from harvester.jobs.prune import prune, prune_blockers, removable
from harvester.jobs.withdrawals import is_believable
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from harvester.summary import Summary
from tests.support.forked import forked
from tests.support.http import served
from tests.support.orphans import EDITED, harvest_with_orphans, here, run_words
from tests.support.program import at, config, environment, harvested, harvester, started
from tests.support.truth import rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    return Settings(items=40, heavy=0)


def of_items(ids: Sequence[int], **more: object) -> dict[str, object]:
    return {"sources": [{"kind": "items", "ids": list(ids)}], "tasks": ["metadata"], **more}


def withdrawn(folder: Path) -> set[int]:
    """The items that the last run found to be withdrawn."""
    table = rows(folder / "changes.csv")
    return {int(row["item_id"]) for row in table if row["change"] == "withdrawn"}


@pytest.mark.parametrize(
    ("vanished", "of", "accepted", "believed"),
    [
        (1, 1, 0, True), (1, 3, 0, True), (2, 3, 0, False), (2, 20, 0, False), (2, 39, 0, False),
        (2, 40, 0, True), (3, 40, 0, False), (20, 400, 0, True), (20, 399, 0, False), (20, 1000, 0, True),
        (21, 1000, 0, False), (21, 10**6, 0, False), (20, 20, 20, True), (20, 20, 19, False),
        (20, 1000, 1, True),
    ],
)  # fmt: skip
def test_the_limit_of_withdrawals_at_once(vanished: int, of: int, accepted: int, believed: bool) -> None:
    assert is_believable(vanished, of, accepted) is believed


async def test_one_of_three_is_withdrawn_and_two_of_twenty_are_not(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = list(sandbox.world.public_ids)[:20]
    await harvest(config(sandbox, tmp_path / "few", **of_items(ids[:3])))
    await harvest(config(sandbox, tmp_path / "more", **of_items(ids)))
    sandbox.world.withdraw(ids[0])
    summary = await harvest(config(sandbox, tmp_path / "few", **of_items(ids[:3])))
    assert (summary.exit_status, summary.run.suspected) == (0, 1)
    assert withdrawn(tmp_path / "few") == {ids[0]}
    sandbox.world.withdraw(ids[1])
    summary = await harvest(config(sandbox, tmp_path / "more", **of_items(ids)))
    assert (summary.exit_status, summary.run.suspected) == (1, 2)
    assert withdrawn(tmp_path / "more") == set()
    why = (
        "2 of 20 items at once are more than 5 % or 20; look some of them up at figshare, and if they are"
        " gone, run again with --accept-withdrawals 2"
    )
    assert summary.run.warnings == (f"2 items not found; none is marked as withdrawn: {why}",)
    assert [(row["item_id"], row["error"]) for row in rows(tmp_path / "more" / "failures.csv")] == [
        (str(item_id), f"figshare no longer has it; {why}") for item_id in ids[:2]
    ]
    assert summary.folder.outcomes.items == {"done": 18, "transient": 2}


async def test_rejected_withdrawals_are_requested_again_and_accepted_with_the_option(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    ids = list(sandbox.world.public_ids)[:20]
    words = ("run", *(word for item_id in ids for word in ("--item", item_id)), "-o", tmp_path, *at(sandbox))
    words = (*words, "--tasks", "metadata,files")
    assert (await harvested(*words)).status == 0
    before = here(tmp_path)
    for item_id in ids[:3]:
        sandbox.world.withdraw(item_id)
    for more in ((), ("--accept-withdrawals", "2", "--prune", "--yes")):
        ended = await harvester(*words, *more)
        assert ended.status == 1
        assert "3 items not found; none is marked as withdrawn: 3 of 20 items" in ended.err
        assert (withdrawn(tmp_path), here(tmp_path)) == (set(), before)
    assert ended.out.endswith(
        "\nnothing is removed, because of this run: 3 failures may pass (see failures.csv): run again\n"
    )
    sandbox.world.restore(ids[2])
    ended = await harvester(*words, "--accept-withdrawals", "2", "--prune", "--yes")
    assert ended.status == 0, ended.err
    assert withdrawn(tmp_path) == set(ids[:2])
    gone = {path for path in before if path.split("/")[1] in {str(ids[0]), str(ids[1])}}
    assert here(tmp_path) == before - gone
    assert {
        f"files/{path.partition('/files/')[2]}" for path in map(str, (tmp_path / ".trash").rglob("*.*"))
    } >= gone
    ended = await harvested(*words)
    assert ended.status == 0, "those that are withdrawn already count no more"
    ended = await harvester(*words, "--accept-withdrawals", "-1")
    assert (ended.status, "expected a whole number, 0 or more" in ended.err) == (2, True)


@pytest.mark.parametrize(("items", "accepted"), [(44, 2), pytest.param(430, 20, marks=pytest.mark.nightly)])
async def test_withdrawals_up_to_the_limit_are_accepted_and_one_more_is_not(
    items: int, accepted: int, tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=items, heavy=0)) as sandbox:
        more = {"sources": [{"kind": "institution", "id": 319}], "tasks": ["metadata"]}

        async def run() -> Summary:
            return await harvest(config(sandbox, tmp_path, **more))

        assert (await run()).exit_status == 0
        ids = list(sandbox.world.public_ids)
        for item_id in ids[: accepted + 1]:
            sandbox.world.withdraw(item_id)
        summary = await run()
        assert (summary.exit_status, summary.run.suspected, withdrawn(tmp_path)) == (
            1,
            accepted + 1,
            set(),
        )
        assert f"{accepted + 1} of {len(ids)} items" in summary.run.warnings[0]
        sandbox.world.restore(ids[accepted])
        summary = await run()
        assert (summary.exit_status, withdrawn(tmp_path)) == (0, set(ids[:accepted]))


async def test_an_item_that_is_not_found_once_is_not_withdrawn(sandbox: Sandbox, tmp_path: Path) -> None:
    """A single answer is a doubt, which is asked about again in the same run."""
    ids = list(sandbox.world.public_ids)[:5]
    assert (await harvest(config(sandbox, tmp_path, **of_items(ids)))).exit_status == 0
    before = (tmp_path / "metadata.jsonl").read_bytes()
    once = {f"/v2/articles/{ids[0]}"}

    async def blip(request: web.Request) -> web.StreamResponse:
        if request.path in once:
            once.remove(request.path)
            return web.json_response({"message": "Entity not found"}, status=404)
        raise web.HTTPTemporaryRedirect(f"{URL(sandbox.api).origin()}{request.path_qs}")

    async with served(blip) as gateway:
        there = {"services.api": str(URL(str(gateway)) / "v2")}
        summary = await harvest(config(sandbox, tmp_path, **of_items(ids), **there))
    assert (once, summary.exit_status, summary.run.suspected) == (set(), 0, 0)
    assert withdrawn(tmp_path) == set()
    assert (tmp_path / "metadata.jsonl").read_bytes() == before


async def test_versions_count_as_their_item(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        world = sandbox.world
        ids = [i for i in world.public_ids if world.record(i)["version"] > 1][:2]
        more = of_items(ids, versions="all")
        assert (await harvest(config(sandbox, tmp_path, **more))).exit_status == 0
        world.withdraw(ids[0])
        summary = await harvest(config(sandbox, tmp_path, **more), refresh=frozenset({"metadata"}))
        assert (summary.exit_status, summary.run.suspected) == (0, 1)
        assert withdrawn(tmp_path) >= {ids[0]}


# -- the api has to show that it serves -------------------------------------------------------------


async def test_a_list_of_items_is_no_proof_if_a_known_item_is_not_found(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    asked: list[str] = []

    async def lost(request: web.Request) -> web.StreamResponse:
        asked.append(request.path.removeprefix("/v2/"))
        if asked[-1] == "articles":
            return web.json_response([{"id": 1, "title": "one of all"}])
        return web.json_response({"message": "Entity not found"}, status=404)

    ids = list(sandbox.world.public_ids)[:10]
    assert (await harvest(config(sandbox, tmp_path, **of_items(ids)))).exit_status == 0
    async with served(lost) as gateway:
        there = {"services.api": str(URL(str(gateway)) / "v2")}
        summary = await harvest(config(sandbox, tmp_path, **of_items(ids[:1]), **there))
    assert (summary.exit_status, withdrawn(tmp_path)) == (1, set())
    (failure,) = rows(tmp_path / "failures.csv")
    assert "the api does not return known items either" in failure["error"]
    assert asked == [f"articles/{item_id}" for item_id in (ids[0], ids[0])] + [
        "articles",
        *(f"articles/{item_id}" for item_id in ids[1:4]),
    ]


async def test_an_account_is_proven_by_an_item_of_the_account(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
        words = ("run", "--account", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        (*_, gone) = sandbox.world.account_ids
        sandbox.world.withdraw(gone)
        sandbox.requests.clear()
        ended = await harvested(*words)
        assert (ended.status, withdrawn(tmp_path)) == (0, {gone}), ended.err
        *_, listed, known = [seen.path for seen in sandbox.requests]
        assert listed == "/v2/articles"
        assert known.startswith("/v2/account/articles/")


@pytest.mark.parametrize("says", ["html", "json"])
async def test_a_gateway_in_place_of_figshare_removes_nothing(
    says: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    async def lost(_: web.Request) -> web.StreamResponse:
        if says == "json":
            return web.json_response({"message": "Entity not found"}, status=404)
        return web.Response(status=404, text="<h1>404 Not Found</h1>", content_type="text/html")

    more = of_items(list(sandbox.world.public_ids)[:3], tasks=["metadata", "files"])
    async with served(lost) as gateway:
        there = {
            "services.api": str(URL(str(gateway)) / "v2"),
            "retry.attempts": 2,
            "retry.outage_timeout": 0.5,
        }

        async def run_behind_it() -> None:
            if says == "json":
                assert (await harvest(config(sandbox, tmp_path, **more, **there))).exit_status == 1
                return
            with pytest.raises(FatalError, match="not in figshare's JSON"):
                await harvest(config(sandbox, tmp_path, **more, **there))

        await run_behind_it()  # a first run knows nothing that could be withdrawn
        asked = config(sandbox, tmp_path, **more)
        assert (await harvest(asked)).exit_status == 0
        before = here(tmp_path)
        assert before
        await run_behind_it()
        assert (await prune(asked, sorted(before), trash_days=0)).removed == ()
        items = [word for source in asked.sources for item in source.ids for word in ("--item", item)]
        words = ("run", *items, "-o", tmp_path, "--api", there["services.api"], "--stats", sandbox.stats)
        patience = environment(HARVESTER_RETRY_OUTAGE_TIMEOUT="0.5", HARVESTER_RETRY_MAX_WAIT="0.1")
        ended = await harvester(*words, "--rate", "inf", "--prune", "--yes", env=patience)
        assert ended.status == (1 if says == "json" else 3)
        assert "nothing is removed, because of this run: " in ended.out
    with Reader(tmp_path) as reader:
        assert "withdrawn" not in reader.counts().outcomes.items
    assert (await harvest(asked)).exit_status == 0
    assert removable(asked) == []
    assert here(tmp_path) == before
    assert not (tmp_path / ".trash").exists()


async def test_a_run_killed_before_the_decision_withdraws_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = list(sandbox.world.public_ids)[:20]
    items = [word for item_id in ids for word in ("--item", item_id)]
    words = ("run", *items, "--tasks", "metadata", "-o", tmp_path)
    assert (await harvested(*words, *at(sandbox))).status == 0
    sandbox.world.withdraw(ids[0])

    def suspected() -> int:
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
            found = db.execute("SELECT count(*) FROM work WHERE failure_kind = 'suspected'").fetchone()
        return int(found[0])

    async with started((*words, *at(sandbox, rate="3"), "--workers", "1")) as process:
        await until(lambda: suspected() == 1)
        process.kill()
        await process.wait()
    with Reader(tmp_path) as reader:
        outcomes = reader.counts().outcomes.items
    assert (outcomes["suspected"], "withdrawn" in outcomes) == (1, False)
    ended = await harvested(*words, *at(sandbox))
    assert (ended.status, withdrawn(tmp_path)) == (0, {ids[0]}), ended.err


# -- where there is a doubt nothing is removed --------------------------------------------------------

BLOCKED = (
    "UPDATE work SET state = 'failed', failure_kind = 'blocked', error = 'x'"
    " WHERE task = 'stats' AND item_key = 5000004"
)
DOUBTS = {
    "it was interrupted": "UPDATE runs SET outcome = 'interrupted'",
    "it was stopped": "UPDATE runs SET outcome = 'stopped'",
    # No process has this number: Linux gives none above 4,194,304.
    "it was killed": "UPDATE runs SET outcome = NULL, ended = NULL, beat = 0, pid = 4194305",
    "1 failure may pass (see failures.csv): run again": BLOCKED,
    "2 failures may pass (see failures.csv): run again": "UPDATE files"
    " SET status = 'failed', failure_kind = 'transient'"
    " WHERE file_id IN (SELECT file_id FROM files WHERE item_key = 5000001 ORDER BY 1 LIMIT 2)",
    "1 item not found, and not yet marked as withdrawn": "UPDATE work"
    " SET state = 'failed', failure_kind = 'suspected' WHERE task = 'metadata' AND item_key = 5000004",
    "1 record still pending": "UPDATE work SET state = 'pending' WHERE task = 'metadata'"
    " AND item_key = 5000004",
    "1 listing failed": "INSERT INTO listing_failures (task, subject, error, failure_kind, attempts)"
    " VALUES ('listing', 'search x', 'refused', 'permanent', 1)",
    "1 listing not read to the end": "UPDATE listings SET complete = 0 WHERE id = ("
    "SELECT max(id) FROM listings WHERE NOT old)",
}


async def test_with_prune_blockers_nothing_is_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    asked, ledger = config(sandbox, tmp_path), tmp_path / "harvest.db"
    assert prune_blockers(asked) == []
    before = ledger.read_bytes()
    for doubt, change in DOUBTS.items():
        ledger.write_bytes(before)
        with closing(sqlite3.connect(ledger)) as db, db:
            db.execute(change)
        assert prune_blockers(asked) == [doubt]
        pruned = await prune(asked, sorted(old), trash_days=0)
        assert pruned.removed == ()
        assert pruned.kept == tuple(f"{path}: the last run had doubts: {doubt}" for path in sorted(old))
        assert here(tmp_path) == belongs | old


async def test_an_interrupted_run_says_that_it_removes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    words = run_words(sandbox, tmp_path, "--prune", "--yes", "--rate", "api=3", "--refresh", "metadata")
    before = len(sandbox.requests)
    async with forked(words, tmp_path / "printed.txt") as running:
        await until(lambda: len(sandbox.requests) > before)
        running.process.send_signal(signal.SIGINT)
        assert await running.wait() == 130
    out = running.output.read_text(encoding="utf-8")
    assert "nothing is removed, because of this run: it was interrupted" in out
    assert here(tmp_path) == belongs | old


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (
            "UPDATE files SET status = 'failed', failure_kind = 'not_found', error = '404'",
            "a file of its item failed: 404",
        ),
        (
            "UPDATE files SET status = 'skipped', reason = 'not asked for'",
            "a file of its item is still to come",
        ),
    ],
)
async def test_the_only_copy_of_an_items_file_is_kept(
    failure: str, why: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    (replaced,) = (path for path in old if str(EDITED) in path)
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        db.execute(f"{failure} WHERE item_key = {EDITED}")
    asked = config(sandbox, tmp_path)
    assert {each.path: each.kept for each in removable(asked) if each.kept} == {replaced: why}
    pruned = await prune(asked, sorted(old))
    assert pruned.kept == (f"{replaced}: {why}",)
    assert here(tmp_path) == belongs | {replaced}


async def test_a_failure_of_statistics_keeps_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        db.execute("UPDATE work SET state = 'failed', failure_kind = 'not_found' WHERE task = 'stats'")
    pruned = await prune(config(sandbox, tmp_path), sorted(old))
    assert (set(pruned.removed), pruned.kept) == (old, ())
    assert here(tmp_path) == belongs
