"""The owner gets what the owner may have: withheld files, drafts, whole records; and embargoes end."""

from __future__ import annotations

import csv
import lzma
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from harvester import load_config
from harvester.errors import FatalError
from harvester.jobs.harvest import harvest
from harvester.jobs.plan import plan as make_plan
from harvester.jobs.plan_totals import Plan
from harvester.jobs.services import RunHooks
from harvester.ledger.ledger import Ledger
from harvester.sandbox import Sandbox, Settings
from harvester.summary import Summary
from tests.support.older import TO_VERSION_5
from tests.support.program import at, environment, harvester

pytestmark = pytest.mark.anyio

OWN = Settings(items=34, private_items=2, colleague_items=1, heavy=0, own_public=34, hides_withheld="empty")
EMBARGO, CONFIDENTIAL, DISABLED = 5_000_070, 5_000_073, 5_000_082
WITHHELD = {EMBARGO, CONFIDENTIAL, DISABLED}
VERSIONS = 5_000_100
"""The first item with three versions."""
FIXTURES = Path(__file__).parent / "fixtures"


@asynccontextmanager
async def owned(*, with_versions: bool = False, **more: Any) -> AsyncIterator[Sandbox]:
    """A sandbox whose account has a few ordinary items and those that are withheld."""
    async with Sandbox(replace(OWN, **more)) as sandbox:
        kept = {*sandbox.world.public_ids[:4], *WITHHELD} | ({VERSIONS} if with_versions else set())
        for item_id in sandbox.world.public_ids:
            if item_id not in kept:
                sandbox.world.withdraw(item_id)
        assert set(sandbox.world.public_ids) == kept
        yield sandbox


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def records_of(folder: Path, item_id: int) -> list[dict[str, Any]]:
    """The current record and those of earlier versions."""
    lines = (folder / "metadata.jsonl").read_bytes().splitlines()
    return [record for record in map(orjson.loads, lines) if record["id"] == item_id]


def records(folder: Path) -> dict[int, dict[str, Any]]:
    lines = (folder / "metadata.jsonl").read_bytes().splitlines()
    return {record["id"]: record for record in map(orjson.loads, lines)}


def statuses(folder: Path, item_ids: set[int]) -> set[str]:
    return {row["status"] for row in rows(folder, "files.csv") if int(row["item_id"]) in item_ids}


def reasons(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        return {reason for (reason,) in db.execute("SELECT reason FROM files WHERE status = 'withheld'")}


def asked(sandbox: Sandbox, begins: str) -> list[str]:
    return [seen.path for seen in sandbox.requests if seen.path.startswith(begins)]


def at_moment(text: str) -> RunHooks:
    seconds = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return RunHooks(wall_clock=lambda: seconds)


Job = Callable[..., Any]


class Harvest:
    """Runs of one config over one sandbox and folder."""

    def __init__(
        self, sandbox: Sandbox, folder: Path, *sources: dict[str, Any], token: str = OWN.token, **options: Any
    ) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.config = load_config(
            options={
                "sources": list(sources),
                "output": str(folder),
                "tasks": ["metadata", "files"],
                "services.api": sandbox.api,
                "services.stats": sandbox.stats,
                **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
                **{key.replace("__", "."): value for key, value in options.items()},
            },
            environ={"FIGSHARE_TOKEN": token} if token else {},
        )

    async def run(self, moment: str = "2030-01-01", **more: Any) -> Summary:
        self.sandbox.requests.clear()
        return await harvest(self.config, hooks=at_moment(moment), **more)

    async def plan(self, moment: str = "2030-01-01", **more: Any) -> Plan:
        return await make_plan(self.config, hooks=at_moment(moment), **more)


ACCOUNT = {"kind": "account"}
INSTITUTION = {"kind": "institution", "private": True}
SEARCH = {"kind": "search", "query": "survey"}


def named(*ids: int) -> dict[str, Any]:
    return {"kind": "items", "ids": list(ids)}


# -- withheld files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hides"),
    [
        (ACCOUNT, ""),
        (ACCOUNT, "absent"),
        (INSTITUTION, "empty"),
        pytest.param(ACCOUNT, "empty", marks=pytest.mark.nightly),
        pytest.param(INSTITUTION, "", marks=pytest.mark.nightly),
        pytest.param(INSTITUTION, "absent", marks=pytest.mark.nightly),
    ],
)
async def test_withheld_files_are_fetched_with_the_token(
    source: dict[str, Any], hides: str, tmp_path: Path
) -> None:
    async with owned(hides_withheld=hides) as sandbox:
        job = Harvest(sandbox, tmp_path, source)
        summary = await job.run()
        world = sandbox.world
        files = {row["file_id"]: row for row in rows(tmp_path, "files.csv")}
        for item_id in WITHHELD:
            for file in world.files(item_id):
                row = files[str(file["id"])]
                assert row["status"] == "done"
                assert (tmp_path / row["path"]).read_bytes() == world.content(file["id"])
        assert summary.exit_status == 0
        again = await job.run()
        assert (again.exit_status, asked(sandbox, "/v2/file/")) == (0, [])


async def test_files_refused_to_the_token_too_are_withheld_and_requested_once(
    tmp_path: Path,
) -> None:
    async with owned(refuses_owner=True) as sandbox:
        job = Harvest(sandbox, tmp_path, ACCOUNT)
        summary = await job.run()
        assert (summary.exit_status, rows(tmp_path, "failures.csv")) == (0, [])
        assert statuses(tmp_path, WITHHELD) == {"withheld"}
        assert reasons(tmp_path) == {
            f"{reason} (refused to the token)" for reason in ("embargo", "confidential", "downloads disabled")
        }
        withheld = sum(len(sandbox.world.files(item_id)) for item_id in WITHHELD)
        refused = [seen for seen in sandbox.requests if seen.status == 403]
        assert len(refused) == withheld
        assert summary.run.files.failed == 0
        await job.run()
        assert asked(sandbox, "/v2/file/") == []
        await job.run(refresh=frozenset({"metadata"}))
        assert len(asked(sandbox, "/v2/file/")) == withheld
        sandbox.world.correct(CONFIDENTIAL)
        await job.run()
        assert len(asked(sandbox, "/v2/file/")) == len(sandbox.world.files(CONFIDENTIAL))
        assert statuses(tmp_path, WITHHELD) == {"withheld"}


async def test_an_unchanged_record_does_not_request_refused_files_again(
    tmp_path: Path,
) -> None:
    async with owned(refuses_owner=True, etags=False) as sandbox:
        job = Harvest(sandbox, tmp_path, named(CONFIDENTIAL))
        await job.run()
        assert len(asked(sandbox, "/v2/file/")) == len(sandbox.world.files(CONFIDENTIAL))
        await job.run()
        assert len(asked(sandbox, "/v2/account/articles/")) == 1
        assert asked(sandbox, "/v2/file/") == []
        assert reasons(tmp_path) == {"confidential (refused to the token)"}


async def test_a_search_makes_no_account_requests_and_requests_no_withheld_files(tmp_path: Path) -> None:
    async with owned(hides_withheld="") as sandbox:
        summary = await Harvest(sandbox, tmp_path, SEARCH).run()
        ids = {file["id"] for item_id in WITHHELD for file in sandbox.world.files(item_id)}
        tried = {
            int(path.rpartition("/")[2]) for path in asked(sandbox, "/files/") + asked(sandbox, "/v2/file/")
        }
        assert not (ids & tried)
        assert not asked(sandbox, "/v2/account")
    assert summary.exit_status == 0
    assert statuses(tmp_path, WITHHELD) == {"withheld"}
    assert reasons(tmp_path) == {"embargo", "confidential", "downloads disabled"}


# -- embargoes that end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "quick"),
    [
        (SEARCH, False),
        (SEARCH, True),
        (named(EMBARGO), False),
        pytest.param(named(EMBARGO), True, marks=pytest.mark.nightly),
    ],
)
async def test_an_item_is_due_again_when_its_embargo_has_ended(
    source: dict[str, Any], quick: bool, tmp_path: Path
) -> None:
    async with owned(embargo_date="2030-05-01") as sandbox:
        job = Harvest(sandbox, tmp_path, source, token="")
        assert (await job.run()).exit_status == 0
        record = f"/v2/articles/{EMBARGO}"
        sandbox.world.end_embargo(EMBARGO)
        if source is SEARCH:
            assert (await job.plan("2030-05-01T00:09:59", quick=quick)).items_pending == 0
            await job.run("2030-05-01T00:09:59", quick=quick)
            assert asked(sandbox, record) == []
            plan = await job.plan("2030-05-01T00:10:00", quick=quick)
            assert (plan.items_pending, plan.files_pending) == (1, len(sandbox.world.files(EMBARGO)))
        await job.run("2030-05-01T00:10:00", quick=quick)
        assert asked(sandbox, record)
        assert statuses(tmp_path, {EMBARGO}) == {"done"}
        await job.run("2031-01-01", quick=quick)
        if source is SEARCH:
            assert asked(sandbox, record) == [], "it has none any more"


async def test_an_embargo_past_its_date_is_requested_once_a_run(tmp_path: Path) -> None:
    async with owned(embargo_date="2030-05-01T00:00:00Z") as sandbox:
        job = Harvest(sandbox, tmp_path, SEARCH, token="")
        await job.run()
        for _ in range(2):
            await job.run("2030-06-01")
            assert asked(sandbox, f"/v2/articles/{EMBARGO}") == [f"/v2/articles/{EMBARGO}"]
        assert statuses(tmp_path, {EMBARGO}) <= {"withheld"}


async def test_the_owners_files_are_fetched_when_the_embargo_has_ended(tmp_path: Path) -> None:
    async with owned(refuses_owner=True, embargo_date="2030-05-01") as sandbox:
        job = Harvest(sandbox, tmp_path, ACCOUNT)
        await job.run()
        assert statuses(tmp_path, {EMBARGO}) == {"withheld"}
        sandbox.world.end_embargo(EMBARGO)
        await job.run("2030-05-01T00:10:00")
        assert statuses(tmp_path, {EMBARGO}) == {"done"}
        assert statuses(tmp_path, {CONFIDENTIAL}) == {"withheld"}


@pytest.mark.parametrize("unread", ["null", "[" * 3000 + "]" * 3000])
def test_an_older_ledger_learns_when_its_embargoes_end(unread: str, tmp_path: Path) -> None:
    (tmp_path / "harvest.db").write_bytes(lzma.decompress((FIXTURES / "ledger-5.db.xz").read_bytes()))
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        # What lies deeper than SQLite reads is no reason not to open the ledger.
        db.execute(
            "UPDATE records SET raw = '{\"unread\":' || ? || ',' || substr(raw, 2) WHERE item_id = ?",
            (unread, CONFIDENTIAL),
        )
        db.commit()
    ledger = Ledger(tmp_path)
    ledger.open()
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        due = db.execute("SELECT item_key, due_after FROM items WHERE due_after <> ''").fetchall()
    assert due == [(EMBARGO, "2040-01-01T00:10:00Z")]


# -- the public record never stands in for the account's ----------------------------------------------------


@pytest.mark.parametrize(
    "status",
    [404, pytest.param(400, marks=pytest.mark.nightly), pytest.param(403, marks=pytest.mark.nightly)],
)
async def test_a_private_record_that_is_refused_once_is_retried(status: int, tmp_path: Path) -> None:
    async with owned() as sandbox:
        public, draft = sandbox.world.public_ids[1], sandbox.world.private_ids[0]
        for item_id in (public, draft):
            sandbox.world.refuse_owner(item_id, status, times=1)
        summary = await Harvest(sandbox, tmp_path, ACCOUNT, tasks=["metadata"]).run()
        assert asked(sandbox, f"/v2/articles/{public}") == []
    assert (summary.exit_status, rows(tmp_path, "failures.csv")) == (0, [])
    assert all("account_id" in record for record in records(tmp_path).values())


@pytest.mark.parametrize("status", [400, 404, pytest.param(403, marks=pytest.mark.nightly)])
async def test_a_private_record_that_stays_refused_is_a_failure_and_the_known_one_stays(
    status: int, tmp_path: Path
) -> None:
    async with owned() as sandbox:
        known, new = sandbox.world.public_ids[:2]
        job = Harvest(sandbox, tmp_path, ACCOUNT)
        sandbox.world.refuse_owner(new, status)
        assert (await job.run()).exit_status == 1
        sandbox.world.refuse_owner(known, status)
        sandbox.world.correct(known)
        before = records(tmp_path)[known]
        assert (await job.run()).exit_status == 1
        failed = {(int(row["item_id"]), row["task"]) for row in rows(tmp_path, "failures.csv")}
        assert failed == {(known, "metadata"), (new, "metadata")}
        assert records(tmp_path)[known] == before
        assert new not in records(tmp_path)
        assert not any(row["change"] == "withdrawn" for row in rows(tmp_path, "changes.csv"))
        assert statuses(tmp_path, {known}) == {"done"}


@pytest.mark.parametrize(
    ("doubt", "source"),
    [
        ("account-404", ACCOUNT),
        ("account-gone", INSTITUTION),
        ("account-500", ACCOUNT),
        ("account-unsaid", INSTITUTION),
        pytest.param("account-404", INSTITUTION, marks=pytest.mark.nightly),
        pytest.param("account-gone", ACCOUNT, marks=pytest.mark.nightly),
        pytest.param("account-500", INSTITUTION, marks=pytest.mark.nightly),
        pytest.param("account-unsaid", ACCOUNT, marks=pytest.mark.nightly),
    ],
)
async def test_a_token_with_an_unknown_owner_adds_nothing_to_an_owned_folder(
    doubt: str, source: dict[str, Any], tmp_path: Path
) -> None:
    more: dict[str, Any] = {"retry__attempts": 2, "retry__max_wait": 0.02, "tasks": ["metadata"]}
    async with owned() as sandbox:
        job = Harvest(sandbox, tmp_path, source, **more)
        for _ in range(2):
            sandbox.doubts.begin(doubt, 1)
            assert (await job.run()).exit_status == 0, "once, on a first run and on a later one"
        before = records(tmp_path)
        sandbox.doubts.begin(doubt)
        with pytest.raises(FatalError, match="the token's account could not be identified"):
            await job.run(refresh=frozenset({"metadata"}))
        assert records(tmp_path) == before
        other = Harvest(sandbox, tmp_path / "new", source, **more)
        summary = await other.run()
        assert summary.exit_status == 0
        assert any("could not be identified" in warning for warning in summary.run.warnings)
        sandbox.doubts.end()
        await other.run()
        sandbox.doubts.begin(doubt)
        with pytest.raises(FatalError, match="the token's account could not be identified"):
            await other.run()


async def test_an_item_that_the_account_no_longer_lists_and_answers_404_is_withdrawn(tmp_path: Path) -> None:
    async with owned() as sandbox:
        job = Harvest(sandbox, tmp_path, ACCOUNT, tasks=["metadata"])
        await job.run()
        gone = sandbox.world.public_ids[2]
        sandbox.world.withdraw(gone)
        assert (await job.run()).exit_status == 0
    assert [(row["item_id"], row["change"]) for row in rows(tmp_path, "changes.csv")] == [
        (str(gone), "withdrawn")
    ]


@pytest.mark.parametrize("status", [403, 404])
async def test_for_an_administrator_the_public_record_is_used_until_the_private_one_is_received(
    status: int, tmp_path: Path
) -> None:
    async with owned() as sandbox:
        hidden = sandbox.world.public_ids[1]
        sandbox.world.refuse_owner(hidden, status)
        job = Harvest(sandbox, tmp_path, INSTITUTION)
        for _ in range(2):
            summary = await job.run()
            assert summary.exit_status == 0
            assert summary.run.warnings == (
                f"item {hidden}: its private record is refused; the public one stands in for now",
            )
            assert "account_id" not in records(tmp_path)[hidden]
            assert statuses(tmp_path, {hidden}) == {"done"}
        assert (await job.plan()).items_pending == 1
        sandbox.world.refuse_owner(hidden, times=0)
        assert (await job.run()).run.warnings == ()
        assert "account_id" in records(tmp_path)[hidden]
        assert (await job.plan()).items_pending == 0
        sandbox.world.refuse_owner(hidden, status)
        sandbox.world.correct(hidden)
        assert (await job.run()).exit_status == 1, "a private record that is here is not replaced"
        assert "account_id" in records(tmp_path)[hidden]


# -- items named one by one ---------------------------------------------------------------------------------


async def test_items_of_an_account_can_be_named_one_by_one(tmp_path: Path) -> None:
    async with owned() as sandbox:
        listed = await harvester("list", "--account", "-q", *at(sandbox))
        words = ("run", "--items", "-", "--tasks", "metadata,files", "-o", tmp_path / "h", *at(sandbox))
        ended = await harvester(*words, stdin=listed.out)
        world = sandbox.world
        assert ended.status == 0
        assert set(records(tmp_path / "h")) == set(world.account_ids)
        assert statuses(tmp_path / "h", {*WITHHELD, *world.private_ids}) == {"done"}
        asked_as_owner = {int(path.rpartition("/")[2]) for path in asked(sandbox, "/v2/account/articles/")}
        assert asked_as_owner == {*WITHHELD, *world.private_ids}, "the others are public"
        sandbox.requests.clear()
        again = await harvester(*words, stdin=listed.out)
        assert again.status == 0
        assert asked(sandbox, "/v2/file/") == []
    assert rows(tmp_path / "h", "failures.csv") == []


async def test_a_plan_counts_the_requests_for_named_items_with_the_token(tmp_path: Path) -> None:
    async with owned() as sandbox:
        names = (sandbox.world.private_ids[0], CONFIDENTIAL, sandbox.world.public_ids[0])
        job = Harvest(sandbox, tmp_path, named(*names))
        plan = await job.plan()
        summary = await job.run()
        done = summary.run.files.done
        assert (plan.files_pending, plan.requests["api"]) == (done, summary.run.requests["api"])


@pytest.mark.parametrize("token", [OWN.plain_token, ""])
async def test_a_named_item_of_another_owner_fails_as_for_the_public(token: str, tmp_path: Path) -> None:
    async with owned() as sandbox:
        colleague = sandbox.world.colleague_ids[0]
        words = ("run", "--item", colleague, "-o", tmp_path / "h", "--tasks", "metadata")
        ended = await harvester(*words, *at(sandbox), env=environment(FIGSHARE_TOKEN=token))
        assert bool(asked(sandbox, "/v2/account/")) is bool(token)
    assert ended.status == 1
    (row,) = rows(tmp_path / "h", "failures.csv")
    assert row["error"] == f"127.0.0.1/v2/articles/{colleague}: not found (404): Entity not found: article"


async def test_a_named_public_item_that_is_gone_is_withdrawn_even_if_the_token_can_read_it(
    tmp_path: Path,
) -> None:
    async with owned() as sandbox:
        gone = sandbox.world.public_ids[3]
        job = Harvest(sandbox, tmp_path, named(gone))
        await job.run()
        sandbox.world.withdraw(gone)
        assert (await job.run()).exit_status == 0
        assert asked(sandbox, "/v2/account/") == []
    assert [row["change"] for row in rows(tmp_path, "changes.csv")] == ["withdrawn"]


async def test_a_withheld_item_that_is_named_later_is_requested_as_its_owner(tmp_path: Path) -> None:
    async with owned() as sandbox:
        await Harvest(sandbox, tmp_path, SEARCH).run()
        assert statuses(tmp_path, {CONFIDENTIAL}) == set()
        await Harvest(sandbox, tmp_path, named(CONFIDENTIAL)).run()
        assert statuses(tmp_path, {CONFIDENTIAL}) == {"done"}


async def test_an_accounts_record_is_not_replaced_without_the_token(tmp_path: Path) -> None:
    async with owned() as sandbox:
        await Harvest(sandbox, tmp_path, ACCOUNT, SEARCH, tasks=["metadata"]).run()
        changed = sandbox.world.public_ids[1]
        sandbox.world.correct(changed)
        before = records(tmp_path)[changed]
        summary = await Harvest(sandbox, tmp_path, SEARCH, token="", tasks=["metadata"]).run()
        assert asked(sandbox, "/v2/account/") == []
        assert (summary.exit_status, records(tmp_path)[changed]) == (1, before)
        (row,) = rows(tmp_path, "failures.csv")
        assert "needs the token" in row["error"]


# -- drafts -----------------------------------------------------------------------------------------


def drafted(world: Any) -> Iterator[int]:
    """Begin edits of an item with one version and of one with three."""
    for item_id in (world.public_ids[2], world.with_trait("three versions")[0]):
        world.draft(item_id)
        yield item_id


@pytest.mark.parametrize("versions", ["latest", "all"])
async def test_an_unpublished_edit_is_reported_and_all_versions_include_the_published_one(
    versions: str, tmp_path: Path
) -> None:
    async with owned(with_versions=True) as sandbox:
        world = sandbox.world
        once, thrice = drafted(world)
        job = Harvest(sandbox, tmp_path, ACCOUNT, versions=versions)
        summary = await job.run()
        assert summary.exit_status == 0
        assert summary.run.warnings == (
            f"item {once}: the account's record is an unpublished edit of version 1",
            f"item {thrice}: the account's record is an unpublished edit of version 3",
        )
        titles = [record["title"] for record in records_of(tmp_path, once)]
        assert [title.endswith("(draft)") for title in titles].count(True) == 1
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
            earlier = db.execute("SELECT item_id, version FROM versions ORDER BY 1, 2").fetchall()
        assert earlier == ([(once, 1), (thrice, 1), (thrice, 2), (thrice, 3)] if versions == "all" else [])
        here = {row["file_id"] for row in rows(tmp_path, "files.csv") if row["status"] == "done"}
        for item_id in (once, thrice):
            assert {str(file["id"]) for file in world.files(item_id, private=True)} <= here
            if versions == "all":
                assert {str(file["id"]) for file in world.files(item_id)} <= here
        assert (await job.run()).run.warnings == (), "once"


async def test_an_older_harvest_gets_the_owners_files_in_its_next_run(tmp_path: Path) -> None:
    async with owned() as sandbox:
        words = ("run", "--account", "--tasks", "metadata,files", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        assert statuses(tmp_path, WITHHELD) == {"done"}
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
            for item_id in WITHHELD:
                shutil.rmtree(tmp_path / "files" / str(item_id))
                db.execute(
                    "UPDATE files SET status = 'withheld', reason = 'embargo' WHERE item_key = ?", (item_id,)
                )
            db.commit()
            db.executescript(TO_VERSION_5)
        assert (await harvester(*words)).status == 0
        assert statuses(tmp_path, WITHHELD) == {"done"}
        sandbox.requests.clear()
        assert (await harvester(*words)).status == 0
        assert not [seen for seen in sandbox.requests_to("api") if "/articles/" in seen.path]


async def test_an_own_item_can_be_named_by_its_version(tmp_path: Path) -> None:
    async with owned() as sandbox:
        draft = sandbox.world.private_ids[0]
        names = ("--item", f"{EMBARGO}.v1", "--item", f"{draft}.v1")
        words = ("run", *names, "--tasks", "metadata,files", "-o", tmp_path, *at(sandbox))
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert statuses(tmp_path, {EMBARGO, draft}) == {"done"}
        again = ("run", *names, "--tasks", "metadata,files", "-o", tmp_path / "public", *at(sandbox))
        assert (await harvester(*again, env=environment(FIGSHARE_TOKEN=""))).status == 1
