"""How a run ends: nothing silent, nothing false, and nothing left behind by wrong usage."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import orjson
import pytest

from harvester.cli.closing import FIRST, failures_by_kind
from harvester.client import Traffic
from harvester.config import Config
from harvester.config.keys import FileRules
from harvester.config.units import ByteCount
from harvester.engine.progress import Before, ProgressSnapshot, RunCounters
from harvester.errors import FailureKind, UsageError
from harvester.jobs.harvest import harvest
from harvester.jobs.progress import Progress
from harvester.jobs.summary import Ended as EndedRun
from harvester.jobs.summary import leaving_nothing
from harvester.models import Failure, ItemId
from harvester.sandbox import Sandbox, Settings
from harvester.summary import NO_FILES, FileTotals, FolderTotals, ListingTotals, Outcomes, TaskTotals
from harvester.system.id_set import IdSet
from tests.support.fork_server import fork
from tests.support.program import Ended, at, config, environment, harvested, harvester
from tests.support.schemas import check_events
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

COMPLETE = "complete: all requested data is here"


@pytest.fixture
def world() -> Settings:
    return Settings(items=12)


def last(ended: Ended) -> str:
    return (ended.out or ended.err).splitlines()[-1]


# -- a source without items --------------------------------------------------------------------------


async def test_a_source_without_items_is_named_and_the_run_is_not_complete(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("run", "--tasks", "metadata", *at(sandbox))
    empty = tmp_path / "no-names.txt"
    empty.write_text("# nothing yet\n", encoding="utf-8")
    for said, *source in (
        ("no item found: check the query", "--search", ':categry: "Digital Humanities"'),
        ("no item found: check the id", "--group", 999999),
        ("no item found: check the id and the filters", "--institution", 999, "--type", "dataset"),
        ("no item found: check the list", "--items", empty),
    ):
        folder = tmp_path / said
        ended = await harvested(*words, *source, "-o", folder)
        assert ended.status == 0, ended.err
        assert last(ended) == "finished, but not complete: see the lines above"
        assert COMPLETE not in ended.out
        (line,) = orjson.loads((folder / "summary.json").read_bytes())["run"]["empty"]
        assert line.endswith(said)
        assert line == ended.out.splitlines()[-2]


async def test_one_empty_source_among_others_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", 5000001, "--search", "zzzqqq", "--tasks", "metadata", *at(sandbox))
    ended = await harvester(*words, "-o", "h", cwd=tmp_path)
    assert ended.status == 0
    assert "search zzzqqq" in ended.err
    assert last(ended) != COMPLETE


async def test_fail_if_empty_is_exit_status_1(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("--search", "zzzqqq", "--fail-if-empty", *at(sandbox))
    ended = await harvester("run", *words, "--tasks", "metadata", "-o", "h", "--quiet", cwd=tmp_path)
    assert ended.status == 1
    assert "harvester: exit status 1" in ended.err.splitlines()
    for command in (("plan", "-o", "h"), ("list",)):
        ended = await harvester(*command, *words, cwd=tmp_path)
        assert ended.status == 1, command
        assert "no item found: check the query" in ended.err


async def test_an_empty_quick_listing_is_no_empty_source(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", "data", "--tasks", "metadata", "-o", tmp_path / "h", *at(sandbox))
    assert last(await harvested(*words)) == COMPLETE
    ended = await harvested(*words, "--quick", "--fail-if-empty")
    assert (ended.status, last(ended)) == (0, COMPLETE)


async def test_filters_that_exclude_every_file_are_named(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", "data", "--include", "*.CSV", "-o", "h", *at(sandbox))
    ended = await harvester(*words, "--fail-if-empty", cwd=tmp_path)
    assert ended.status == 1
    assert "check --include; patterns are case-sensitive" in ended.err
    assert COMPLETE not in ended.out


def holds(items: dict[str, int], files: dict[str, int]) -> FolderTotals:
    return FolderTotals(
        items=sum(items.values()),
        versions=0,
        records=0,
        listings_open=0,
        listings=ListingTotals(0, 0, 0, 0, 0),
        work={},
        files={status: FileTotals(number, 0) for status, number in files.items()},
        outcomes=Outcomes(items, files, {}),
        orphaned_files=NO_FILES,
        unidentified_files=NO_FILES,
        failures=0,
        trash=NO_FILES,
    )


def test_filters_are_named_only_if_nothing_is_left() -> None:
    snapshot = ProgressSnapshot(RunCounters(), Traffic(), {})
    rules = FileRules(include=("*.CSV",), max_size=ByteCount(10))
    run = EndedRun("finished", 0.0, snapshot, ["metadata"], with_files=True, rules=rules)

    def lines(
        items: dict[str, int], files: dict[str, int], run: EndedRun = run, reason: str = ""
    ) -> list[str]:
        return list(leaving_nothing(holds(items, files), run, {reason: files.get("skipped", 0)}))

    assert lines({"done": 2}, {"skipped": 3, "done": 1}) == []
    assert lines({"done": 2, "excluded": 1}, {"link": 2}) == []
    assert lines({"done": 2}, {"skipped": 3, "link": 1}) == [
        "your file filters exclude all 3 files: check --include, --max-size; patterns are case-sensitive"
    ]
    assert lines({"excluded": 1}, {}) == [
        "your filters exclude the only item after reading the records: check the filters"
    ]
    skipped = {"skipped": 3}
    assert lines({"done": 2}, skipped, run._replace(with_files=False)) == []
    assert lines({"done": 2}, skipped, run._replace(rules=FileRules())) == []
    assert lines({"done": 2}, skipped, reason="another version") == []
    assert lines({"done": 2}, skipped, reason="beyond max_total") == []
    no_room = run._replace(rules=FileRules(max_total=ByteCount(1)))
    assert lines({"done": 2}, skipped, no_room, reason="beyond max_total") == [
        "your file filters exclude all 3 files: check --max-total"
    ]
    second = run._replace(versions=(2, 7), with_files=False)
    assert lines({"done": 2}, {"skipped": 3, "done": 1}, second, reason="another version") == []
    assert lines({"done": 2}, skipped, second, reason="another version") == [
        "no item has version 2 or 7: check versions"
    ]


async def test_a_version_that_no_item_has_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", 5000001, "--tasks", "metadata", *at(sandbox))
    ended = await harvested(*words, "--versions", "77", "-o", tmp_path / "none")
    assert ended.out.splitlines()[-2:] == [
        "no item has version 77: check versions",
        "finished, but not complete: see the lines above",
    ]
    assert "your file filters" not in ended.out
    assert last(await harvested(*words, "--versions", "1", "-o", tmp_path / "first")) == COMPLETE


# -- how many items a run has done ---------------------------------------------------------------------


async def test_an_item_that_is_processed_twice_counts_once(sandbox: Sandbox, tmp_path: Path) -> None:
    wanted = statistics(sandbox, tmp_path, tasks=["metadata", "stats"])
    older = statistics(sandbox, tmp_path, tasks=["metadata", "stats"], max_age="30 days")
    await harvest(wanted)
    for again, refresh in ((wanted, ["stats"]), (older, []), (wanted, [])):
        make_older(tmp_path, "2020-01-01T00:00:00Z")
        seen: list[Progress] = []
        summary = await harvest(again, refresh=refresh, on_progress=seen.append)
        assert summary.run.items == TaskTotals(done=1, failed=0)
        assert bool(summary.run.requests["stats"]) is (again is older or bool(refresh))
        assert summary.run.requests["api"] == 1
        assert (seen[-1].items_done, seen[-1].items_before + seen[-1].items_pending) == (1, 1)
        assert seen[-1].is_done


def test_a_failure_of_an_item_stays_one_until_it_is_retried() -> None:
    counters = RunCounters(before=Before(items=2), items_pending=1)

    def numbers() -> tuple[int, int, int, int]:
        return counters.before.items, counters.items_pending, counters.items_done, counters.items_failed

    counters.count_item(7, is_version=False, has_failed=False)
    counters.add_listed(0, [7, 8])
    assert numbers() == (1, 2, 1, 0), "the first was counted, the other was done before"
    counters.count_item(7, is_version=False, has_failed=True)
    counters.count_item(7, is_version=False, has_failed=False)
    counters.count_item(-3, is_version=True, has_failed=False)
    assert numbers() == (1, 2, 1, 1)
    counters.retry_items(1)
    counters.count_item(7, is_version=False, has_failed=False)
    assert numbers() == (1, 2, 2, 0)
    assert counters.firsts_seen == 2


def test_a_set_of_ids_holds_what_was_added() -> None:
    ids, known = IdSet(), {0, 7, 8, 8191, 8192, 5000001, 2**63 - 1, -1, -8192, -8193}
    for number in known:
        ids.add(number)
    near = {number + step for number in known for step in range(-9, 10)}
    assert {number for number in near if number in ids} == known
    for number in near:
        ids.discard(number)
    assert not [number for number in near if number in ids]


# -- failures ------------------------------------------------------------------------------------------


async def test_quiet_says_what_failed_and_where_the_list_is(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", "10.6084/m9.figshare.c.4000001", "--item", 77, "--tasks", "metadata")
    ended = await harvester(*words, "-q", "-o", "h", *at(sandbox), cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    report = ended.err.splitlines()
    assert report[0] == "harvester: exit status 1", "each failure stands in the report, and only there"
    assert report[1] == "not found:"
    assert report[2].startswith("  item 77, metadata: ")
    assert report[3] == "failed permanently:"
    assert report[4].startswith("  10.6084/m9.figshare.c.4000001: ")
    assert report[5:] == ["see h/failures.csv for the whole list: 2 failures"]


async def test_an_api_that_knows_nothing_may_be_the_wrong_one(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("--tasks", "metadata", "--rate", "inf", "--attempts", 1, "--stats", sandbox.stats)
    wrong = sandbox.api.replace("/v2", "/v9")
    hint = f"nothing was found at {wrong}: perhaps --api (services.api) is wrong"
    for number, source in enumerate((("--item", 5000001, "--item", 5000004), ("--search", "data"))):
        ended = await harvested("run", *source, *words, "--api", wrong, "-o", tmp_path / f"wrong-{number}")
        assert ended.out.splitlines()[-2] == hint
    ended = await harvested(
        "run", "--item", 5000001, "--item", 77, *words, "--api", sandbox.api, "-o", tmp_path / "h"
    )
    assert "perhaps" not in ended.out, "one item was found"


async def test_a_name_that_leads_nowhere_is_printed_with_its_reason(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester("run", "--item", "no such name", "-o", "h", *at(sandbox), cwd=tmp_path)
    assert ended.status == 1
    assert "no such name: neither an item's id" in ended.err


def test_the_first_failures_of_each_kind_are_listed_and_the_rest_is_counted() -> None:
    def failures() -> Iterator[Failure]:
        for number in range(1, FIRST + 4):
            yield Failure("metadata", f"gone: {number}", FailureKind.NOT_FOUND, ItemId(number))
        yield Failure("files", "cut", FailureKind.TRANSIENT, ItemId(1), 9, version=2)
        yield Failure("resolve", "unknown", FailureKind.PERMANENT, subject="a name")

    lines = list(failures_by_kind(failures()))
    assert lines[:2] == ["not found:", "  item 1, metadata: gone: 1"]
    assert lines[FIRST + 1 :] == [
        "  and 3 more",
        "failed permanently:",
        "  a name: unknown",
        "failed temporarily; run again to retry:",
        "  item 1.v2, file 9: cut",
    ]


def test_failures_with_one_cause_are_one_line() -> None:
    def failures() -> Iterator[Failure]:
        for number in range(1, 60):
            full = (
                f"/disk: {number}.5 kB are needed and {60 - number} bytes are free; make room and run again"
            )
            yield Failure("stats", "stats: unavailable", FailureKind.TRANSIENT, ItemId(number))
            yield Failure("files", full, FailureKind.TRANSIENT, ItemId(number), 9)
        for name in ("a name", "another"):
            yield Failure("resolve", "unknown", FailureKind.PERMANENT, subject=name)

    assert list(failures_by_kind(failures())) == [
        "failed permanently:",
        "  a name: unknown",
        "  another: unknown",
        "failed temporarily; run again to retry:",
        "  item 1, stats: stats: unavailable (and 58 more like this)",
        "  item 1, file 9: /disk: 1.5 kB are needed and 59 bytes are free; make room and run again"
        " (and 58 more like this)",
    ]


# -- wrong usage ---------------------------------------------------------------------------------------


async def test_wrong_usage_leaves_nothing_on_the_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    before = sorted(tmp_path.iterdir())
    for words in (
        ("--items", "nothing.txt"),
        ("--items", binary),
        ("--search", "data", "--output", "s3://bucket/folder"),
        ("--search", "data", "--tasks", "timeline", "--stats-since", "2999-01-01"),
        ("--search", "data", "--refresh", "timeline"),
    ):
        ended = await harvester("run", "-o", "a/b/h", *words, *at(sandbox), cwd=tmp_path)
        assert ended.status == 2, (words, ended.err)
        assert sorted(tmp_path.iterdir()) == before, words


async def test_wrong_usage_leaves_a_harvest_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    wanted = config(sandbox, tmp_path, sources=[{"kind": "items", "ids": [5000001]}], tasks=["metadata"])
    await harvest(wanted)
    runs = "SELECT * FROM runs"
    with sqlite3.connect(tmp_path / "harvest.db") as db:
        before = db.execute(runs).fetchall()
    missing = str(tmp_path / "nothing.txt")
    wrong = config(sandbox, tmp_path, sources=[{"kind": "items", "file": missing}], tasks=["metadata"])
    with pytest.raises(UsageError):
        await harvest(wrong)
    with sqlite3.connect(tmp_path / "harvest.db") as db:
        assert db.execute(runs).fetchall() == before


async def test_an_empty_folder_of_the_user_is_not_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    ended = await harvester("run", "-o", "mine", "--items", "nothing.txt", *at(sandbox), cwd=tmp_path)
    assert ended.status == 2
    assert list((tmp_path / "mine").iterdir()) == []


async def test_a_command_that_is_interrupted_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("plan", "--search", "data", "-o", tmp_path, *at(sandbox, rate="0.1"))
    with TemporaryFile() as err, Path(os.devnull).open("r+b") as nowhere:
        streams = (nowhere.fileno(), nowhere.fileno(), err.fileno())
        process = fork(words, env=environment(), streams=streams)
        await until(lambda: len(sandbox.requests) > 0)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        err.seek(0)
        assert err.read().decode().splitlines()[-1] == "harvester: interrupted"


# -- the age of statistics ------------------------------------------------------------------------------


def statistics(sandbox: Sandbox, folder: Path, tasks: Sequence[str] = ("stats",), **stats: object) -> Config:
    options = {f"stats.{name}": value for name, value in stats.items()}
    sources = [{"kind": "items", "ids": [5000001]}]
    return config(sandbox, folder, sources=sources, tasks=list(tasks), **options)


def make_older(folder: Path, moment: str) -> None:
    with sqlite3.connect(folder / "harvest.db") as db:
        db.execute("UPDATE work SET done_at = ? WHERE task = 'stats'", (moment,))


async def test_kept_statistics_are_told_with_their_age(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", 5000001, "--tasks", "stats", "-o", tmp_path, *at(sandbox))
    for _ in range(2):  # those of the first run are younger than a day
        assert "from an earlier run" not in (await harvested(*words)).out
    make_older(tmp_path, "2020-01-01T00:00:00Z")
    ended = await harvested(*words)
    assert "statistics of 1 item are from an earlier run, up to " in ended.out
    assert " days old; --refresh stats renews them" in ended.out
    events = check_events((await harvester(*words, "--log-json")).err)
    assert [event["message"][:28] for event in events if event["event"] == "note"] == [
        "statistics of 1 item are fro"
    ]
    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert summary["run"]["kept_statistics"] == {"items": 1, "oldest": "2020-01-01T00:00:00Z"}


async def test_a_resumed_run_keeps_no_statistics_of_an_earlier_one(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", 5000001, "--tasks", "stats", "-o", tmp_path, *at(sandbox))
    await harvested(*words)
    make_older(tmp_path, "2020-01-01T00:00:00Z")
    with sqlite3.connect(tmp_path / "harvest.db") as db:
        db.execute("UPDATE runs SET outcome = 'interrupted', started = '2019-12-31T00:00:00Z'")
    assert "from an earlier run" not in (await harvested(*words)).out


async def test_max_age_renews_what_is_older(sandbox: Sandbox, tmp_path: Path) -> None:
    first = await harvest(statistics(sandbox, tmp_path))
    assert first.run.requests["stats"] > 0
    young = await harvest(statistics(sandbox, tmp_path, max_age="30 days"))
    assert young.run.requests["stats"] == 0
    make_older(tmp_path, "2020-01-01T00:00:00Z")
    assert (await harvest(statistics(sandbox, tmp_path))).run.requests["stats"] == 0, "it is off by default"
    renewed = await harvest(statistics(sandbox, tmp_path, max_age="30 days"))
    assert renewed.run.requests["stats"] == first.run.requests["stats"]
    assert renewed.run.kept_statistics.items == 0
