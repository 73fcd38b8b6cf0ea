"""
The matrix of what figshare does without a fault: each oddity of the sandbox, and what a harvest makes of it.

Every case is two whole harvests over real sockets: what the first one brings, and what the second, with
nothing changed, asks for again. What passes on the way has a matrix of its own: `test_faults.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import pytest

from harvester import harvest, load_config
from harvester.config import Config
from harvester.config.keys import Retry
from harvester.errors import TokenRejected
from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.catalogue import PUBLIC_FROM, STEP
from harvester.states import FileStatus
from harvester.summary import Summary
from tests.support.truth import assert_complete, assert_records, rows

pytestmark = pytest.mark.anyio

ITEMS = Settings(items=12, private_items=3, colleague_items=0, heavy=0)
WITHHELD = 25
"""Items of which one is under embargo, and one confidential."""
SEARCH = {"kind": "search", "query": "survey"}
ACCOUNT = {"kind": "account"}


@dataclass(frozen=True)
class Oddity:
    """
    One thing that is otherwise than one would think.

    ``says``: what a harvest makes of it. ``source``: `SEARCH`, unless another one is named. ``status``: how
    it ends, 3 where a token is refused. ``is_whole``: all that the sandbox has is here then. ``failures``:
    the task of each failure row. ``asks_again``: a second run asks for files that it does not get.
    ``tasks``: those that it is about.
    """

    settings: Mapping[str, object]
    says: str
    source: Mapping[str, object] = field(default_factory=dict)
    status: int = 0
    is_whole: bool = True
    failures: frozenset[str] = frozenset()
    asks_again: bool = False
    token: str = "sandbox-token"
    tasks: tuple[str, ...] = ("metadata", "files")


LISTED = partial(Oddity, tasks=("metadata",))
ODDITIES: Mapping[str, Oddity] = {
    "page_cap": LISTED({"page_cap": 4}, "a page that is not full does not end the listing"),
    "page_cap, by its own offsets": LISTED({"page_cap": 4, "own_offsets": True}, "nothing is skipped"),
    "page_cap, without cursors": LISTED(
        {"page_cap": 4, "cursors": False}, "pages are read by number until one is empty"
    ),
    "page_cap, of an account": LISTED({"page_cap": 4}, "the same without a cursor", ACCOUNT),
    "largest_page": LISTED({"largest_page": 100}, "fewer entries are requested"),
    "largest_page, of an account": LISTED({"largest_page": 100}, "the same with the token", ACCOUNT),
    "empty_page": LISTED(
        {"page_cap": 4, "empty_page": 2}, "an empty page with a new cursor does not end the listing"
    ),
    "file_page_cap": Oddity({"file_page_cap": 5}, "the same for file lists"),
    "file_page_cap, by its own offsets": Oddity(
        {"file_page_cap": 5, "own_offsets": True}, "nothing is skipped"
    ),
    "short_lists": Oddity(
        {"short_lists": 1}, "files that the record promises and no list names are requested again"
    ),
    "short_lists, for ever": Oddity(
        {"short_lists": 1 << 40},
        "a failure for now; the record is kept",
        status=1,
        is_whole=False,
        failures=frozenset({"files"}),
    ),
    "refused_lists": Oddity(
        {"refused_lists": 403},
        "the records are kept; missing files are reported",
        status=1,
        is_whole=False,
        failures=frozenset({"files"}),
    ),
    "unsaid": LISTED(
        {
            "items": 26,
            "unsaid": {"group_id": 0.9, "modified_date": 0.5, "published_date": 0.5, "defined_type": 0.5},
        },
        "the record decides what the listing does not say",
        {"kind": "group", "id": 11962, "published_since": "2010-01-01"},
    ),
    "own_terms, a licence": LISTED(
        {"own_terms": True},
        "sent as given, with a warning",
        {**SEARCH, "licence": "In Copyright"},
        token="",
    ),
    "own_terms, a type": LISTED({"own_terms": True}, "sent as given", {**SEARCH, "item_type": 41}),
    "bad_token_status": Oddity({}, "reported as a wrong token", ACCOUNT, status=3, token="wrong"),
    "bad_token_status, 401": Oddity({"bad_token_status": 401}, "the same", ACCOUNT, status=3, token="wrong"),
    "token_lasts": Oddity({"token_lasts": 6}, "an expired token ends the run", ACCOUNT, status=3),
    "hides_withheld, empty": Oddity(
        {"hides_withheld": "empty", "items": WITHHELD, "own_public": 60},
        "the owner's files are downloaded",
        ACCOUNT,
    ),
    "hides_withheld, absent": Oddity(
        {"hides_withheld": "absent", "items": WITHHELD, "own_public": 60}, "the same", ACCOUNT
    ),
    "refuses_owner": Oddity(
        {"refuses_owner": True, "items": WITHHELD, "own_public": 60},
        "withheld, with the reason, and not requested again",
        ACCOUNT,
    ),
    "embargo_date": Oddity(
        {"items": WITHHELD, "embargo_date": "2021-05-01"},
        "once it has passed, the files are requested",
        asks_again=True,
    ),
    "loose_types": Oddity({"loose_types": True}, "read as what they mean"),
    "late_md5": Oddity({"items": 7, "late_md5": True}, "only the size is compared"),
    "identifiers": Oddity(
        {"items": 50, "identifiers": ("shared-doi", "hex-doi", "minted-handle", "portal")},
        "found by each of their names",
    ),
    "etags": LISTED({"etags": False}, "only dates show what has changed"),
    "clock_ahead": LISTED({"clock_ahead": 864_000}, "figshare's clock counts, not this machine's"),
    "dateless": LISTED({"dateless": True}, "this machine's clock is used"),
    "listed_ahead": LISTED({"listed_ahead": 60}, "a record behind its listing is requested with its ETag"),
    "cut_after": Oddity(
        {"items": 4, "cut_after": 2000}, "attempts that bring bytes are not counted: the file arrives"
    ),
    "stale_route": Oddity(
        {"items": 6, "stale_route": "files"}, "wrong bytes by one route: the other is used"
    ),
    "slow_items": Oddity({"items": 7, "slow_items": 3, "slow_rate": 50_000}, "slow files come last"),
    "far_future": LISTED({"far_future": ("listings", "records")}, "an impossible date is ignored"),
}
"""By the setting that plays it."""

OLDER = {
    "items", "private_items", "colleague_items", "seed", "token", "plain_token", "stats_credentials", "host",
    "ports", "latency", "rate_cap", "faults", "max_per_address", "cap", "cursors", "strict_since", "together",
    "signed_seconds", "stall_seconds", "refused_seconds", "burst_seconds", "trickle_seconds", "heavy",
    "heavy_size", "record", "blocked_items", "storage_type", "connection_rate", "hostile", "redirects",
    "odd_entries", "ignores", "ignores_page", "cycle", "miscount", "shift_every", "fail_page",
    "fail_page_times",
}  # fmt: skip
"""Settings with tests of their own, or that are no oddity."""
ELSEWHERE = {
    "own_public": "how many items an account has: test_owner.py",
    "own_offsets": "a form of page_cap and file_page_cap",
    "credentials_last": "test_credentials.py",
    "doubts": "test_sandbox_doubts.py",
    "echoes": "test_secrets.py",
    "slow_rate": "how slow slow_items are",
    "bloated": "test_worst.py",
    "bloated_after": "a form of bloated",
}


def test_every_oddity_of_the_sandbox_is_in_the_matrix() -> None:
    played = {name.split(",")[0] for name in ODDITIES}
    assert {each.name for each in fields(Settings)} == OLDER | ELSEWHERE.keys() | played


def test_the_page_on_reliability_has_the_matrix() -> None:
    page = (Path(__file__).parent.parent / "docs" / "explanation" / "reliability.md").read_text(
        encoding="utf-8"
    )
    for name, oddity in ODDITIES.items():
        setting, _, form = name.partition(",")
        assert f"| `{setting}`{',' if form else ''}{form} | {oddity.says} |" in page


def config(sandbox: Sandbox, folder: Path, oddity: Oddity, **more: object) -> Config:
    options: Mapping[str, object] = {
        "sources": [dict(oddity.source or SEARCH)],
        "tasks": list(oddity.tasks),
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
        "retry.max_wait": 0.05,
        **more,
    }
    environ = {"FIGSHARE_TOKEN": oddity.token} if oddity.token else {}
    return load_config(options=options, environ=environ)


@pytest.mark.parametrize("items", [ITEMS.items, pytest.param(60, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", ODDITIES)
async def test_an_oddity_is_harvested_as(name: str, items: int, tmp_path: Path) -> None:
    oddity = ODDITIES[name]
    if items != ITEMS.items:
        more = {**oddity.settings, "items": items}
        oddity = replace(oddity, settings=more, tasks=("metadata", "files"))
    settings = replace(ITEMS, **oddity.settings)  # type: ignore[arg-type]  # by name
    async with Sandbox(settings) as sandbox:
        if oddity.status == 3:
            with pytest.raises(TokenRejected, match="FIGSHARE_TOKEN"):
                await harvest(config(sandbox, tmp_path, oddity))
            last = [seen.path for seen in sandbox.requests[-3:]]  # with what was on its way by then
            assert "/v2/account" in last, "nothing is asked after that"
            return
        job = config(sandbox, tmp_path, oddity)
        summary = await harvest(job)
        assert_first(oddity, summary, sandbox, tmp_path)
        sandbox.requests.clear()
        again = await harvest(job)
        assert again.exit_status == oddity.status
        assert sandbox.requests_to("storage") == []
        assert oddity.asks_again or sandbox.requests_to("files") == []
        assert again.run.changes == {}
        assert again.folder.files == summary.folder.files


def assert_first(oddity: Oddity, summary: Summary, sandbox: Sandbox, folder: Path) -> None:
    assert summary.exit_status == oddity.status, rows(folder / "failures.csv")
    assert {row["task"] for row in rows(folder / "failures.csv")} == oddity.failures
    ids = ids_of(oddity, sandbox)
    assert ids
    assert [int(row["id"]) for row in rows(folder / "items.csv")] == sorted(ids)
    listed = summary.folder.listings
    assert listed.entries == listed.unique + listed.duplicates + listed.excluded + listed.unresolved
    if "files" not in oddity.tasks:
        own = ids if oddity.source == ACCOUNT else []
        assert_records(folder, sandbox, sorted(ids), set(own))
        return
    if oddity.is_whole and not oddity.source and not oddity.settings.get("loose_types"):
        assert_complete(folder, sandbox, ids, statistics=False)
    if oddity.settings.get("cut_after"):
        most = max(Counter(seen.path for seen in sandbox.requests_to("storage")).values())
        assert most > Retry().attempts
    if oddity.is_whole:
        expected = sum(len(sandbox.world.files(item_id)) for item_id in ids)
        assert sum(each.files for each in summary.folder.files.values()) == expected


def ids_of(oddity: Oddity, sandbox: Sandbox) -> list[int]:
    world, source = sandbox.world, oddity.source or SEARCH
    if source["kind"] == "account":
        return world.account_items()  # type: ignore[return-value]  # of ids
    if source["kind"] == "group":
        return list(world.group_items(11962))
    ids = list(world.search("survey"))
    if "licence" in source:
        return [
            each for each in ids if (world.record(each)["license"] or {}).get("name") == source["licence"]
        ]
    if "item_type" in source:
        return [each for each in ids if world.record(each)["defined_type"] == source["item_type"]]
    return ids


# -- between two runs ------------------------------------------------------------------------------------


async def after(
    change: Callable[[Sandbox], None], oddity: Oddity, folder: Path
) -> tuple[Summary, Sandbox, list[str]]:
    """Harvest, let something change, and harvest again; return what the second run asked of files."""
    async with Sandbox(replace(ITEMS, **oddity.settings)) as sandbox:  # type: ignore[arg-type]  # by name
        assert (await harvest(config(sandbox, folder, oddity))).exit_status == 0
        change(sandbox)
        sandbox.requests.clear()
        summary = await harvest(config(sandbox, folder, oddity))
        assert summary.exit_status == 0
        return summary, sandbox, [seen.path for seen in sandbox.requests_to("files")]


@pytest.mark.parametrize("moves_date", [True, False])
async def test_md5s_that_are_published_later_verify_existing_files(moves_date: bool, tmp_path: Path) -> None:
    def prove(sandbox: Sandbox) -> None:
        for item_id in sandbox.world.public_ids:
            if sandbox.world.trait(item_id) not in {"no md5", "metadata record"}:  # no sum ever comes there
                sandbox.world.prove(item_id, moves_date=moves_date)

    before = tmp_path / "out"
    summary, sandbox, asked = await after(prove, ODDITIES["late_md5"], before)
    assert asked == []
    assert summary.run.changes == {}
    table = {row["file_id"]: row["md5"] for row in rows(before / "files.csv") if row["status"] == "done"}
    files = [file for item_id in sandbox.world.public_ids for file in sandbox.world.files(item_id)]
    if moves_date:
        assert table == {
            str(file["id"]): file["computed_md5"] or file["supplied_md5"]
            for file in files
            if str(file["id"]) in table
        }
    assert {row["status"] for row in rows(before / "files.csv")} <= {"done", "link", "withheld"}


@pytest.mark.parametrize("more", [{"files.exclude": ["*"]}, {"tasks": ["metadata"]}])
async def test_an_md5_published_later_loses_no_file_that_rules_now_skip(
    more: Mapping[str, object], tmp_path: Path
) -> None:
    async with Sandbox(replace(ITEMS, items=7, late_md5=True)) as sandbox:
        oddity = ODDITIES["late_md5"]
        first = await harvest(config(sandbox, tmp_path, oddity))
        for item_id in sandbox.world.public_ids:
            sandbox.world.prove(item_id)
        second = await harvest(config(sandbox, tmp_path, oddity, **more))
        assert second.folder.files["done"] == first.folder.files["done"]
        assert second.folder.orphaned_files.files == 0


async def test_files_are_fetched_after_an_embargo_has_ended(tmp_path: Path) -> None:
    def end(sandbox: Sandbox) -> None:
        for item_id in sandbox.world.with_trait("embargo"):
            sandbox.world.end_embargo(item_id)

    ids = [PUBLIC_FROM, PUBLIC_FROM + 23 * STEP]
    oddity = replace(ODDITIES["embargo_date"], source={"kind": "items", "ids": ids}, token="")
    summary, sandbox, asked = await after(end, oddity, tmp_path)
    assert sandbox.world.with_trait("embargo") == ids[1:]
    files = [
        f"/files/{file['id']}"
        for each in sandbox.world.with_trait("embargo")
        for file in sandbox.world.files(each)
    ]
    assert sorted(asked) == sorted(files)
    assert files
    assert "embargo" not in summary.folder.outcomes.files


async def test_a_new_embargo_removes_no_fetched_file(tmp_path: Path) -> None:
    settings = replace(ITEMS, items=WITHHELD, hides_withheld="empty")
    async with Sandbox(settings) as sandbox:
        item_id = sandbox.world.with_trait("embargo")[0]
        sandbox.world.end_embargo(item_id)
        job = config(sandbox, tmp_path, Oddity({}, "", {"kind": "items", "ids": [item_id]}, token=""))
        assert (await harvest(job)).exit_status == 0
        before = [row for row in rows(tmp_path / "files.csv") if row["item_id"] == str(item_id)]
        assert {row["status"] for row in before} == {"done"}
        sandbox.world.begin_embargo(item_id)
        summary = await harvest(job)
        assert summary.exit_status == 0
        assert [row for row in rows(tmp_path / "files.csv") if row["item_id"] == str(item_id)] == before
        assert summary.folder.orphaned_files.files == 0


async def test_a_draft_of_a_published_item_is_known_as_one(tmp_path: Path) -> None:
    oddity = Oddity({}, "", ACCOUNT)
    async with Sandbox(ITEMS) as sandbox:
        item_id = next(each for each in sandbox.world.account_items() if not sandbox.world.is_private(each))
        sandbox.world.draft(item_id)
        summary = await harvest(config(sandbox, tmp_path, oddity))
        assert summary.exit_status == 0
        text = [warning for warning in summary.run.warnings if str(item_id) in warning]
        assert text == [f"item {item_id}: the account's record is an unpublished edit of version 1"]
        assert {row["status"] for row in rows(tmp_path / "files.csv")} <= set(FileStatus)
