"""Records, names and listings made to harm: they fail, and nothing else does."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import orjson
import pytest

from harvester import harvest
from harvester.errors import FailureKind, StorageError
from harvester.exporters.csv_file import write_rows
from harvester.exporters.tables import clean_cell
from harvester.jobs.plan import plan as make_plan
from harvester.sandbox import HOSTILE, Sandbox, Settings
from tests.support.program import at, config, harvester
from tests.support.truth import assert_complete, assert_records, rows
from tests.support.worst import peak_of

pytestmark = pytest.mark.anyio

FAILS = {
    "wrong-shape": "the response does not match the documented JSON",
    "wrong-id": "answered with item",
    "huge": "bytes of JSON",
    "deep-unread": "nested too deeply",
    "deep-read": "n",  # of another type than promised, or too deep
    "bomb": "bytes of JSON",
    "bomb-small": "bytes of JSON",
    "bad-utf8": "not UTF-8 text",
    "surrogates": "JSON that no standard allows",
    "endless-files": "a file list of more than",
    "repeating-files": "the file list repeats the same page",
    "brotli": "a content encoding that was not requested",
    "many-numbers": "too many values or too much text",
    "many-authors": "too many values or too much text",
    "many-files": "too many values or too much text",
    "many-keys": "too many values or too much text",
    "long-key": "a key that is too long",
}
"""Kinds of records that cannot be taken, and what their failure says."""
ATTEMPTS = {"endless-files": "1", "repeating-files": "1", "brotli": "12"}
"""Where it is not one and one more: lists that do not end, and what may pass, at the end of the run too."""
TAKEN = {
    *("nul", "escape-title", "formula", "link-elsewhere", "absurd-size", "long-texts"),
    *("wrong-files", "huge-numbers"),  # and these in test_loose_records.py
    *("long-text", "wide-title", "long-number", "thousands"),  # see test_worst.py
    *("odd-fields", "odd-lists", "odd-file", "files-object", "odd-words", "sums-differ", "untold-size"),
}
"""Kinds that are odd but can be kept."""
COMMANDS = re.compile("[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What turns the direction of writing, or has no width."""
BROKEN = {"long-head", "long-location"}
"""Kinds of answers that are hardly HTTP."""
ESCAPES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def test_every_hostile_kind_has_its_test() -> None:
    assert set(HOSTILE) == FAILS.keys() | TAKEN | BROKEN


BOMBS = ("bomb", "bomb-small", "huge")
"""These are met together, for their memory."""
MET_AS_TEXT = {"many-authors", "many-files", "many-keys", "long-key"}
"""These are read without a harvest in test_worst.py."""
KINDS = [
    pytest.param(kind, marks=[pytest.mark.nightly] * (kind in BOMBS or kind in MET_AS_TEXT)) for kind in FAILS
]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hostile_record_is_a_failure_of_that_item_alone(kind: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=(kind,))) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        bad = sandbox.world.hostile_items[kind]
        (failure,) = rows(tmp_path / "failures.csv")
        assert (failure["item_id"], failure["file_id"], failure["task"]) == (str(bad), "", "metadata")
        assert FAILS[kind] in failure["error"]
        assert failure["attempts"] == ATTEMPTS.get(kind, "2"), "odd twice is odd for good"
        assert summary.exit_status == 1
        failure_kind = FailureKind.TRANSIENT if kind == "brotli" else FailureKind.PERMANENT
        assert summary.folder.outcomes.items == {"done": 2, failure_kind: 1}
        good = [item_id for item_id in sandbox.world.search("survey") if item_id != bad]
        assert_records(tmp_path, sandbox, good, set())
        assert {row["status"] for row in rows(tmp_path / "files.csv")} <= {"done", "link", "withheld"}


@pytest.mark.parametrize("kind", sorted(BROKEN))
async def test_headers_that_are_too_long_are_a_temporary_failure_of_that_item(
    kind: str, tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=(kind,))) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"retry.attempts": 2}))
        (failure,) = rows(tmp_path / "failures.csv")
        assert failure["item_id"] == str(sandbox.world.hostile_items[kind])
        assert "its headers are too large" in failure["error"]
        assert summary.folder.outcomes.items == {"done": 2, FailureKind.TRANSIENT: 1}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kilobytes of Linux")
async def test_a_bomb_costs_no_more_memory_than_the_limit_of_an_answer(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=BOMBS)) as sandbox:
        status, peak = await peak_of("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert status == 1
        table = [(row["item_id"], row["error"]) for row in rows(tmp_path / "failures.csv")]
        assert {item_id for item_id, _ in table} == {str(sandbox.world.hostile_items[kind]) for kind in BOMBS}
        assert all(FAILS["bomb"] in error for _, error in table)
        assert_records(tmp_path, sandbox, list(sandbox.world.public_ids[:2]), set())
        assert peak < 200_000_000  # one answer of 64 MiB, and the program itself: they take turns


async def test_escape_sequences_reach_no_terminal_and_no_name(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=("escape-title", "nul"))) as sandbox:
        run = ("run", "--search", "survey", "-v", "-o", tmp_path, *at(sandbox))
        ids = tmp_path.parent / "ids.txt"
        ids.write_text("\u202e\x7f\x1b]0;owned\x07\x9b31mno item\n")
        for words in (
            run,
            ("status", "-o", tmp_path),
            ("verify", "-o", tmp_path),
            ("plan", "--items", ids, "-o", tmp_path, *at(sandbox)),
            ("run", "--items", ids, "-o", tmp_path, *at(sandbox)),
            (*run, "--log-json"),
            ("list", "--search", "survey", "--json", *at(sandbox)),
            ("failed", "--json", "-o", tmp_path),
            ("failed", "-o", tmp_path),
            ("status", "--json", "-o", tmp_path),
        ):
            ended = await harvester(*words)
            assert not COMMANDS.search(ended.out + ended.err), (words, ended)
            assert not ESCAPES.search(ended.out + ended.err), (words, ended)
        title = next(
            record["title"]
            for record in map(orjson.loads, (tmp_path / "metadata.jsonl").read_bytes().splitlines())
            if record["id"] == sandbox.world.hostile_items["escape-title"]
        )
        assert "\x1b" in title, "the record is kept as it is"
        for path in (tmp_path / "files").rglob("*"):
            assert not ESCAPES.search(path.name)


async def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=("formula",))) as sandbox:
        assert (await harvest(config(sandbox, tmp_path))).exit_status == 0
        seen: set[str] = set()
        for table, numbers in (
            ("items.csv", {"id", "group_id", "files", "bytes"}),
            ("files.csv", {"item_id", "file_id", "path", "size", "md5"}),
        ):
            for row in rows(tmp_path / table):
                cells = [cell for column, cell in row.items() if column not in numbers]
                assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))]
                seen.update(cell[1:2] for cell in cells if cell.startswith("'"))
        assert seen >= set("=+-@\n＝")
        paths = {row["path"] for row in rows(tmp_path / "files.csv") if row["status"] == "done"}
        assert paths
        assert all((tmp_path / path).is_file() for path in paths), "a path is shown as it is"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *((f"{first}1+1", f"'{first}1+1") for first in "=+-@\t\r\n＝＋－＠"),
        *((f"{blank}=1+1", f"'{blank}=1+1") for blank in (" ", "\u00a0 ", "\u3000", "\ufeff", "\u200b")),
        *((text, text) for text in ("a=1", " a", "#1", "'=1", "", "§+", "1-2")),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_gets_a_leading_apostrophe(text: str, cell: str) -> None:
    assert clean_cell(text) == cell


def test_a_cell_with_a_semicolon_is_quoted(tmp_path: Path) -> None:
    found = [("a;b", "a", 'say "a"', None, 5), ("two\nlines", "", "a,b", "\r", -5)]
    path = write_rows(tmp_path / "t.csv", ("one", "t;wo"), found)
    assert path.read_bytes() == (b'one,"t;wo"\r\n"a;b",a,"say ""a""",,5\r\n"two\nlines",,"a,b","\r",-5\r\n')


async def test_a_name_of_a_megabyte_is_cut_in_tables_and_whole_in_records(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=("long-texts",))) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        assert summary.exit_status == 0
        bad = str(sandbox.world.hostile_items["long-texts"])
        (item,) = [row for row in rows(tmp_path / "items.csv") if row["id"] == bad]
        names = [row["name"] for row in rows(tmp_path / "files.csv") if row["item_id"] == bad]
        for cell in (item["title"], *names):
            assert len(cell) < 32_767
            assert cell.endswith("… [cut: 1000000 characters]")
        assert "[cut" not in (tmp_path / "metadata.jsonl").read_text(encoding="utf-8")
        assert b"a" * 999_990 in (tmp_path / "metadata.jsonl").read_bytes()


async def test_a_file_larger_than_the_disk_does_not_stop_the_others(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=6, heavy=0, hostile=("absurd-size",))) as sandbox:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"\d TB are needed"):
                await harvest(config(sandbox, tmp_path))
            statuses = Counter(row["status"] for row in rows(tmp_path / "files.csv"))
            assert statuses["failed"] == 1
            assert statuses["pending"] == 0
            assert statuses["done"] > 12
        (failure,) = rows(tmp_path / "failures.csv")
        assert "make room" in failure["error"]


async def test_files_next_to_blocked_ones_are_fetched(tmp_path: Path) -> None:
    """A block "sometimes for one item only" must not be taken for a dead service."""
    async with Sandbox(Settings(items=14, heavy=0, blocked_items=5)) as sandbox:
        job = config(sandbox, tmp_path, **{"retry.attempts": 2, "retry.max_wait": 0.01})
        summary = await harvest(job)
        blocked = {
            file["id"]
            for item_id in sandbox.world.public_ids[:5]
            for file in sandbox.world.files(item_id)
            if not file["is_link_only"]
        }
        assert len(blocked) > 8, "more than are taken for a sign that nothing comes at all"
        failures = rows(tmp_path / "failures.csv")
        assert {int(row["file_id"]) for row in failures} == blocked
        assert summary.folder.outcomes.files[FailureKind.BLOCKED] == len(blocked)
        assert summary.folder.outcomes.files["done"] > 25


async def test_a_file_with_the_type_of_a_web_page_is_verified_by_its_md5(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=6, heavy=0, storage_type="text/html")) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        statuses = {int(row["file_id"]): row for row in rows(tmp_path / "files.csv")}
        for file_id, row in statuses.items():
            if row["status"] == "failed":  # only what cannot be proven
                assert not row["md5"]
            elif row["status"] == "done":
                assert (tmp_path / row["path"]).read_bytes() == sandbox.world.content(file_id)
        assert summary.folder.outcomes.files["done"] > 12


async def test_forbidden_addresses_in_records_are_not_requested(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=("link-elsewhere",))) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        bad = sandbox.world.hostile_items["link-elsewhere"]
        assert summary.exit_status == 0  # each file came by the api's route
        done = [row for row in rows(tmp_path / "files.csv") if int(row["item_id"]) == bad]
        assert [row["status"] for row in done] == ["done"] * 3
        assert sandbox.requests_to("elsewhere") == [] or all(
            "Authorization" not in seen.headers for seen in sandbox.requests_to("elsewhere")
        )


# -- listings -------------------------------------------------------------------------------------


async def test_a_malformed_entry_does_not_affect_the_others(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0, odd_entries=True)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        failures = rows(tmp_path / "failures.csv")
        assert summary.exit_status == 1
        assert [(row["item_id"], row["task"]) for row in failures] == [("", "resolve")] * 3
        assert all("page 1, entry" in row["error"] for row in failures)
        ids = sandbox.world.search("survey")
        assert summary.folder.outcomes.items == {"done": len(ids)}
        listed = summary.folder.listings
        assert (listed.unique, listed.unresolved) == (len(ids), 3)
        assert listed.entries == listed.unique + listed.duplicates + listed.unresolved
        assert_records(tmp_path, sandbox, list(ids), set())


@pytest.mark.parametrize(
    ("name", "value", "items"), [("item_type", "software", 160), ("published_since", "2015-01-03", 640)]
)
async def test_a_filter_that_figshare_ignores_is_noticed_and_applied_here(
    name: str, value: str, items: int, tmp_path: Path
) -> None:
    source = {"kind": "search", "query": "survey", name: value}
    async with Sandbox(Settings(items=items, heavy=0, ignores=(name,))) as sandbox:
        job = config(sandbox, tmp_path, sources=[source], tasks=["metadata"])
        summary = await harvest(job)
        asked_for = 9 if name == "item_type" else value
        async with Sandbox(Settings(items=items, heavy=0)) as honest:
            wanted = honest.world.select({"search_for": "survey", name: asked_for})
        everything = sandbox.world.search("survey")
        assert 0 < len(wanted) < len(everything)
        assert summary.exit_status == 0
        assert_records(tmp_path, sandbox, list(wanted), set())
        assert summary.folder.listings.excluded == len(everything) - len(wanted)
        (warning,) = summary.run.warnings
        assert f"figshare ignored {name}" in warning


async def test_a_listing_that_ignores_the_group_is_rejected(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, ignores=("group",))) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, sources=[{"kind": "group", "id": 11963}]))
        assert summary.exit_status == 1
        (failure,) = rows(tmp_path / "failures.csv")
        assert "figshare ignores the group and would list everything" in failure["error"]
        assert len(sandbox.requests) == 1, "no item outside the group was requested"


ENDLESS = {
    "ignores_page": Settings(items=60, heavy=0, page_cap=50, ignores_page=True),
    "cycle": Settings(items=60, heavy=0, cycle=True),
}
"""Listings without an end, by what the service does."""


@pytest.mark.parametrize(
    ("how", "cursors"),
    [
        *(("ignores_page", cursors) for cursors in (True, False)),
        ("cycle", False),
        pytest.param("cycle", True, marks=pytest.mark.nightly),
    ],
)
async def test_a_listing_without_an_end_is_ended(how: str, cursors: bool, tmp_path: Path) -> None:
    async with Sandbox(replace(ENDLESS[how], cursors=cursors)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, tasks=["stats"]))
        pages = [seen for seen in sandbox.requests_to("api") if seen.path.endswith("search")]
        assert len(pages) < 30
        assert summary.exit_status == 1
        (failure,) = rows(tmp_path / "failures.csv")
        assert "repeats the same page" in failure["error"] or "does not end" in failure["error"]
        assert summary.folder.outcomes.items["done"] > 40, "what it did give is there"


@pytest.mark.parametrize("how", ENDLESS)
async def test_a_plan_of_a_listing_without_an_end_is_ended(how: str, tmp_path: Path) -> None:
    async with Sandbox(ENDLESS[how]) as sandbox:
        with anyio.fail_after(60):
            plan = await make_plan(config(sandbox, tmp_path, tasks=["stats"]))
        assert len(sandbox.requests_to("api")) < 30
        (reason,) = plan.incomplete
        assert "repeats the same page" in reason or "does not end" in reason
        assert plan.items > 40, "what it did give is counted"


async def test_a_group_s_listing_is_compared_with_its_count(tmp_path: Path) -> None:
    source = [{"kind": "group", "id": 11962}]
    async with Sandbox(Settings(items=24, heavy=0)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path / "a", sources=source))
        assert (summary.exit_status, summary.run.warnings) == (0, ())
        assert_complete(tmp_path / "a", sandbox, sandbox.world.group_items(11962))
        counts = [seen for seen in sandbox.requests_to("stats") if seen.path == "/count/articles"]
        assert len(counts) == 1
    async with Sandbox(Settings(items=24, heavy=0, miscount=2)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path / "b", sources=source, tasks=["metadata"]))
        assert summary.exit_status == 1
        (failure,) = rows(tmp_path / "b" / "failures.csv")
        assert "figshare counts 7 items, but lists 5" in failure["error"]
        assert (failure["item_id"], failure["task"]) == ("", "listing")
    async with Sandbox(Settings(items=24, heavy=0, miscount=-2)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path / "c", sources=source, tasks=["metadata"]))
        assert summary.exit_status == 0
        assert "figshare counts 3 items, but lists 5" in summary.run.warnings[0]


async def test_a_listing_that_shifts_while_it_is_read_loses_nothing(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=70, heavy=0, page_cap=20, shift_every=1)) as sandbox:
        before = set(sandbox.world.public_ids)
        job = config(sandbox, tmp_path, tasks=["stats"], sources=[{"kind": "search", "query": "data"}])
        summary = await harvest(job)
        assert summary.exit_status == 0
        assert set(sandbox.world.public_ids) > before, "the listing has shifted"
        found = {int(row["item_id"]) for row in rows(tmp_path / "stats.csv")}
        missing = before & set(sandbox.world.search("data")) - found
        assert missing == set()


async def test_a_failed_listing_continues_at_the_failed_page(tmp_path: Path) -> None:
    settings = Settings(items=80, heavy=0, page_cap=20, fail_page=3, fail_page_times=9, cursors=False)
    async with Sandbox(settings) as sandbox:
        job = config(sandbox, tmp_path, tasks=["stats"], **{"retry.attempts": 3})
        first = await harvest(job)
        assert first.exit_status == 1
        (failure,) = rows(tmp_path / "failures.csv")
        assert (failure["task"], failure["attempts"]) == ("listing", "3")
        assert first.folder.items == 40
        pages = [seen.status for seen in sandbox.requests_to("api")]
        assert pages == [200, 200] + [500] * 6, "three tries, and three at the end of the run"
        asked = len(sandbox.requests_to("stats"))
        again = await harvest(config(sandbox, tmp_path, tasks=["stats"], **{"retry.attempts": 6}))
        assert again.exit_status == 0
        assert [seen.status for seen in sandbox.requests_to("api")][8:] == [500] * 3 + [200] * 2
        ids = sandbox.world.search("survey")
        assert again.folder.outcomes.items == {"done": len(ids)}
        assert len(sandbox.requests_to("stats")) - asked == 2 * (len(ids) - 40), "no statistics twice"


async def test_an_entry_that_lacks_the_filtered_field_is_kept(tmp_path: Path) -> None:
    source = {"kind": "search", "query": "survey", "published_since": "2015-01-02"}
    async with Sandbox(Settings(items=300, heavy=0, odd_entries=True)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, sources=[source], tasks=["stats"]))
        wanted = sandbox.world.select({"search_for": "survey", "published_since": "2015-01-02"})
        found = {int(row["item_id"]) for row in rows(tmp_path / "stats.csv")}
        assert wanted
        assert found >= set(wanted)
        assert summary.folder.listings.excluded == 0


async def test_a_count_that_differs_is_also_reported_by_a_continued_run(tmp_path: Path) -> None:
    source = [{"kind": "group", "id": 11962}]
    async with Sandbox(Settings(items=24, heavy=0, miscount=5)) as sandbox:
        job = config(sandbox, tmp_path, sources=source, tasks=["metadata"])
        assert (await harvest(job)).exit_status == 1
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.execute("UPDATE runs SET outcome = 'interrupted'")  # as if it had been
        assert (await harvest(job)).exit_status == 1


async def test_statistics_that_are_gone_are_no_withdrawal(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        ids = sandbox.world.search("survey")
        nowhere = {"services.stats": f"{sandbox.stats}/no/such/place", "retry.attempts": 2}
        for _ in range(2):
            summary = await harvest(config(sandbox, tmp_path, tasks=["metadata", "stats"], **nowhere))
            assert summary.exit_status == 1
            assert summary.folder.work["stats"] == {"failed": len(ids)}


async def test_names_that_could_not_be_resolved_are_retried_at_the_end(tmp_path: Path) -> None:
    source = [{"kind": "items", "ids": ["10.6084/m9.figshare.x1", "4999999"]}]
    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        job = config(sandbox, tmp_path, sources=source, tasks=["metadata"])
        await harvest(job)
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:  # as if it had been interrupted
            db.execute("UPDATE runs SET outcome = 'interrupted'")
            db.execute("UPDATE listing_failures SET failure_kind = 'transient', error = 'timed out'")
        asked = len(sandbox.requests)
        await harvest(job)
        assert [seen.query for seen in sandbox.requests[asked:] if "doi" in seen.query]
        errors = [row["error"] for row in rows(tmp_path / "failures.csv")]
        assert errors[0] == "10.6084/m9.figshare.x1: no public item has this DOI"
