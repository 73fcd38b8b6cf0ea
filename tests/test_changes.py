"""Only what changed: a second run on a finished harvest, and what it tells."""

from __future__ import annotations

import csv
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.catalogue import COLLEAGUE_ACCOUNT, OWN_ACCOUNT, PUBLIC_FROM, STEP
from tests.support.program import at, environment, harvested, harvester
from tests.support.truth import assert_complete

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    return Settings(items=60, heavy=0)


def changes(folder: Path) -> dict[int, dict[str, str]]:
    with (folder / "changes.csv").open(encoding="utf-8", newline="") as handle:
        return {int(row["item_id"]): row for row in csv.DictReader(handle)}


def changes_in(folder: Path) -> dict[str, int]:
    numbers: dict[str, int] = orjson.loads((folder / "summary.json").read_bytes())["run"]["changes"]
    return numbers


def asked(sandbox: Sandbox) -> Counter[str]:
    """What was asked since the last time, by service and path."""
    paths = Counter(f"{seen.service} {seen.path}" for seen in sandbox.requests)
    sandbox.requests.clear()
    return paths


@pytest.mark.parametrize(
    ("items", "page_size", "changed"),
    [(46, 10, 10), pytest.param(10_000, 1000, 100, marks=pytest.mark.nightly)],
)
async def test_items_that_are_unchanged_cost_a_request_a_page_and_seconds(
    items: int, page_size: int, changed: int, tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=items, heavy=0, page_cap=page_size)) as sandbox:
        world = sandbox.world
        words = ("run", "--search", ":title: data", "--tasks", "metadata", "-o", tmp_path)
        options = (*at(sandbox), "--workers", "32")
        assert (await harvested(*words, *options)).status == 0
        ids = list(world.search(":title: data"))
        assert len(ids) > 0.97 * items
        assert changes_in(tmp_path) == {"new": len(ids)}
        pages = -(-len(ids) // page_size)
        is_full = len(ids) % page_size == 0  # behind a full page there might be another one
        asked(sandbox)

        began = time.monotonic()
        ended = await harvested(*words, *options)
        assert time.monotonic() - began < 20, "seconds, though the machine be busy"
        assert ended.status == 0, ended.err
        assert asked(sandbox) == {"api /v2/articles/search": pages + 2 * is_full}
        assert changes(tmp_path) == {}

        edited, corrected, gone = (
            ids[changed : 2 * changed : 2],
            ids[2 * changed + 1 : 3 * changed : 2],
            ids[4 * changed :][: changed // 10],
        )
        for item_id in edited:
            world.edit(item_id)
        for item_id in corrected:
            world.correct(item_id)
        for item_id in gone:
            world.withdraw(item_id)
        world.publish(5)
        now = set(world.search(":title: data"))
        new = now - set(ids)
        assert len(edited) + len(corrected) == changed
        ended = await harvested(*words, *options)
        assert ended.status == 0, ended.err
        again = {*edited, *corrected, *gone, *new}
        expected = {f"api /v2/articles/{item_id}": 1 for item_id in again}
        lists = {item_id for item_id in again - set(gone) if len(world.files(item_id)) >= 10}
        expected |= {f"api /v2/articles/{item_id}/files": 2 for item_id in lists}  # one more is empty
        odd = {f"api /v2/articles/{i}/files" for i in again if world.trait(i) == "files null"}
        found = asked(sandbox)
        assert found.pop("api /v2/articles/search") == pages
        assert found.pop("api /v2/articles") == 1, "it shows that it serves, before withdrawals are believed"
        vanished = {f"api /v2/articles/{item_id}" for item_id in gone}
        twice = {path for path in found if found[path] == 2 and not path.endswith("/files")}
        assert vanished < twice, "no item is withdrawn for a single answer"
        (known,) = twice - vanished  # and one of those that this run has got is to show that it serves
        assert int(known.rpartition("/")[2]) in again
        for path in twice:
            found[path] = 1
        assert {path: number for path, number in found.items() if path not in odd} == {
            path: number for path, number in expected.items() if path not in odd
        }
        assert changes_in(tmp_path) == {"changed": changed, "new": len(new), "withdrawn": changed // 10}
        assert {item_id: row["change"] for item_id, row in changes(tmp_path).items()} == {
            **dict.fromkeys((*edited, *corrected), "changed"),
            **dict.fromkeys(gone, "withdrawn"),
            **dict.fromkeys(new, "new"),
        }
        lines = map(orjson.loads, (tmp_path / "metadata.jsonl").read_bytes().splitlines())
        assert {line["id"] for line in lines} == {*now, *gone}, "nothing is removed"

        assert (await harvested(*words, *options)).status == 0
        assert asked(sandbox) == {"api /v2/articles/search": pages}, (
            "what is withdrawn is not requested again"
        )
        assert changes_in(tmp_path) == {}


async def test_changes_name_the_fields_and_the_files(sandbox: Sandbox, tmp_path: Path) -> None:
    world = sandbox.world
    words = ("run", "--search", ":tag: tag3", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    ids = [item_id for item_id in world.search(":tag: tag3") if world.trait(item_id) == ""]
    edited, corrected = ids[1], ids[2]
    name, old_id = world.files(edited)[0]["name"], world.files(edited)[0]["id"]
    world.edit(edited)
    world.correct(corrected)
    assert (await harvested(*words)).status == 0
    rows = changes(tmp_path)
    assert rows.keys() == {edited, corrected}
    fields = rows[edited]["fields"].split("; ")
    assert {"doi", "modified_date", "title", "version"} <= set(fields)
    stem, _, suffix = name.rpartition(".")
    assert rows[edited]["files"] == f"changed: {name}; moved: {name} to {stem}~{old_id}.{suffix}"
    assert name == world.files(edited)[0]["name"]
    assert rows[corrected] == {
        "item_id": str(corrected),
        "version": "",
        "change": "changed",
        "fields": "description; modified_date",
        "files": "",
    }


async def test_items_named_one_by_one_are_requested_with_their_etag(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = list(sandbox.world.public_ids[44:49])
    words = [word for item_id in ids for word in ("--item", str(item_id))]
    command = ("run", *words, "-o", tmp_path, *at(sandbox))
    assert (await harvested(*command)).status == 0
    asked(sandbox)
    assert (await harvested(*command)).status == 0
    assert {seen.status for seen in sandbox.requests} == {304}
    assert asked(sandbox) == {f"api /v2/articles/{item_id}": 1 for item_id in ids}
    sandbox.world.correct(ids[0])
    sandbox.world.withdraw(ids[1])
    assert (await harvested(*command)).status == 0
    assert {item_id: row["change"] for item_id, row in changes(tmp_path).items()} == {
        ids[0]: "changed",
        ids[1]: "withdrawn",
    }
    assert {seen.status for seen in sandbox.requests} == {200, 304, 404}
    assert (await harvested(*command)).status == 0, "what is still gone is no news"
    assert changes(tmp_path) == {}


async def test_an_item_that_returns_is_reported_and_its_files_are_fetched(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    world = sandbox.world
    words = ("run", "--search", ":tag: tag3", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    item_id = next(item_id for item_id in world.search(":tag: tag3") if world.trait(item_id) == "")
    ids = world.search(":tag: tag3")
    world.withdraw(item_id)
    assert (await harvested(*words)).status == 0
    assert changes(tmp_path)[item_id]["change"] == "withdrawn"
    world.restore(item_id)
    assert (await harvested(*words)).status == 0
    assert changes(tmp_path)[item_id]["change"] == "returned"
    assert_complete(tmp_path, sandbox, ids)


async def test_a_public_item_that_is_no_longer_selected_is_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is requested once, and is there: so it is neither withdrawn nor requested at each run."""
    world = sandbox.world
    words = ("run", "--search", ":title: data NOT :title: version", "-o", tmp_path, "--tasks", "metadata")
    assert (await harvested(*words, *at(sandbox))).status == 0
    item_id = next(item_id for item_id in world.public_ids if world.trait(item_id) == "")
    world.edit(item_id)  # its title has "version" now
    asked(sandbox)
    assert (await harvested(*words, *at(sandbox))).status == 0
    assert asked(sandbox)[f"api /v2/articles/{item_id}"] == 1
    assert {key: row["change"] for key, row in changes(tmp_path).items()} == {item_id: "changed"}
    assert (await harvested(*words, *at(sandbox))).status == 0
    assert asked(sandbox) == {"api /v2/articles/search": 3}


async def test_a_quick_run_requests_only_modified_items(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=35, heavy=0, page_cap=10)) as sandbox:
        world = sandbox.world
        words = ("run", "--search", ":title: data", "-o", tmp_path, "--tasks", "metadata", *at(sandbox))
        assert (await harvested(*words, "--quick")).status == 0, "the first one reads all"
        ids = list(world.search(":title: data"))
        assert asked(sandbox)["api /v2/articles/search"] == 4
        for item_id in ids[:3]:
            world.edit(item_id)
        world.withdraw(ids[5])
        ended = await harvester(*words, "--quick")
        assert ended.status == 0, ended.err
        assert asked(sandbox) == {
            "api /v2/articles/search": 3,
            **{f"api /v2/articles/{item_id}": 1 for item_id in ids[:3]},
        }
        assert changes_in(tmp_path) == {"changed": 3}, "nothing that was withdrawn"
        assert (await harvested(*words)).status == 0
        assert changes_in(tmp_path) == {"withdrawn": 1}


def mark(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        (watermark,) = db.execute(
            "SELECT watermark FROM listings WHERE key = 'search :title: data {}' AND complete AND NOT old"
        ).fetchone()
    return str(watermark)


async def test_the_watermark_advances_only_after_a_run_without_errors(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12)) as sandbox:
        world = sandbox.world
        missing = str(PUBLIC_FROM + 12 * STEP)
        words = ("run", "--search", ":title: data", "--item", missing, "--tasks", "metadata")
        options = ("-o", tmp_path, *at(sandbox))
        assert (await harvested(*words, *options)).status == 1
        assert mark(tmp_path) == ""
        world.publish(1)
        assert (await harvested(*words, *options, "--quick")).status == 0
        first = mark(tmp_path)
        assert first > "2026"
        world.edit(world.search(":title: data")[0])
        bad = ("--item", "4242")
        assert (await harvested(*words, *bad, *options, "--quick")).status == 1
        assert changes_in(tmp_path) == {"changed": 1}
        assert mark(tmp_path) == first


async def test_the_changes_of_a_killed_run_are_reported_by_the_next_finished_run(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """What a killed run found is reported by the next one."""
    world = sandbox.world
    search = ("run", "--search", ":tag: tag3", "-o", tmp_path, "--tasks", "metadata")
    words = (*search, *at(sandbox))
    assert (await harvested(*words)).status == 0
    first, second = list(world.search(":tag: tag3"))[:2]
    world.edit(first)
    assert (await harvested(*search, "--attempts", "1", "--api", "http://127.0.0.1:9/v2")).status == 3
    assert (await harvested(*words)).status == 0
    assert changes(tmp_path).keys() == {first}
    world.edit(second)
    assert (await harvested(*words)).status == 0
    assert changes(tmp_path).keys() == {second}


async def test_private_items_of_several_accounts_are_not_mixed(tmp_path: Path) -> None:
    """Those of the first would seem withdrawn to the second, and be offered for removal."""
    async with Sandbox(Settings(items=5, private_items=3, own_public=2)) as sandbox:
        words = ("run", "--account", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        before = (tmp_path / "metadata.jsonl").read_bytes()
        ended = await harvester(*words, "--impersonate", str(COLLEAGUE_ACCOUNT))
        assert ended.status == 2
        assert f"holds the private items of account {OWN_ACCOUNT}" in ended.err
        assert "--output" in ended.err
        assert (await harvested(*words)).status == 0
        assert (tmp_path / "metadata.jsonl").read_bytes() == before
        assert changes(tmp_path) == {}


async def test_items_that_vanished_during_another_selection_are_noticed(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12)) as sandbox:
        world = sandbox.world
        options = ("--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvested("run", "--institution", "319", *options)).status == 0
        gone = world.public_ids[7]
        world.withdraw(gone)
        assert (await harvested("run", "--item", str(world.public_ids[3]), *options)).status == 0
        assert changes(tmp_path) == {}
        assert (await harvested("run", "--institution", "319", *options)).status == 0
        assert {item_id: row["change"] for item_id, row in changes(tmp_path).items()} == {gone: "withdrawn"}
        status = await harvester("status", "-o", tmp_path, "--json")
        assert orjson.loads(status.out)["listings"]["unique"] == 11


async def test_items_of_two_lists_are_requested_once_with_their_etag(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    ids = list(sandbox.world.public_ids[44:49])
    listed = tmp_path / "ids.txt"
    listed.write_text("\n".join(map(str, ids)))
    words = [word for item_id in ids for word in ("--item", str(item_id))]
    command = ("run", *words, "--items", listed, "--tasks", "metadata", "-o", tmp_path / "out", *at(sandbox))
    assert (await harvested(*command)).status == 0
    asked(sandbox)
    assert (await harvested(*command)).status == 0
    assert asked(sandbox) == {f"api /v2/articles/{item_id}": 1 for item_id in ids}


async def test_a_run_without_metadata_leaves_changed_records_pending(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    world = sandbox.world
    words = ("run", "--search", ":tag: tag3", "-o", tmp_path, *at(sandbox), "--tasks")
    assert (await harvested(*words, "metadata,stats")).status == 0
    edited = world.search(":tag: tag3")[1]
    world.edit(edited)
    assert (await harvested(*words, "stats")).status == 0
    assert changes(tmp_path) == {}
    assert (await harvested(*words, "metadata,stats")).status == 0
    assert changes(tmp_path).keys() == {edited}


async def test_a_quick_run_with_retries_reads_no_listing_twice(tmp_path: Path) -> None:
    faults = {"always-500": 0.05}
    async with Sandbox(Settings(items=20, heavy=0, faults=faults, seed=3)) as sandbox:
        options = ("--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox), "--attempts", "1")
        words = ("run", "--search", ":title: data", *options)
        env = environment(HARVESTER_RETRY_MAX_WAIT="0.05")
        await harvested(*words, env=env)
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.execute("UPDATE listings SET watermark = begun")
        asked(sandbox)
        assert (await harvested(*words, "--quick", env=env)).status == 1
        assert asked(sandbox)["api /v2/articles/search"] == 2, "empty, and so requested again"


def outcomes(folder: Path) -> dict[str, int]:
    numbers: dict[str, int] = orjson.loads((folder / "summary.json").read_bytes())["folder"]["outcomes"][
        "items"
    ]
    return numbers


async def test_records_decide_if_no_endpoint_knows_licences(tmp_path: Path) -> None:
    """An item of another licence costs one request, once; and comes when something else names it."""
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        world = sandbox.world
        collected = list(world.collection_items(4000001))
        wanted = [i for i in collected if (world.record(i)["license"] or {}).get("name") == "CC0"]
        assert 0 < len(wanted) < len(collected)
        words = ("run", "--collection", "4000001", "-o", tmp_path, *at(sandbox))
        ended = await harvester(*words, "--licence", "cc0")
        assert ended.status == 0, ended.err
        assert (
            f"{len(collected) - len(wanted)} excluded by your filters after reading their records"
            in ended.out
        )
        assert_complete(tmp_path, sandbox, wanted)
        assert outcomes(tmp_path) == {"done": len(wanted), "excluded": len(collected) - len(wanted)}
        asked(sandbox)
        assert (await harvested(*words, "--licence", "cc0", "--refresh", "stats")).status == 0
        paths = asked(sandbox)
        assert not any("/articles/5" in path for path in paths), "what is excluded is not requested again"
        assert sum("/total/" in path for path in paths) == 2 * len(wanted)
        assert (await harvested(*words, "--licence", "mit")).status == 0
        more = [i for i in collected if (world.record(i)["license"] or {}).get("name") == "MIT"]
        assert_complete(tmp_path, sandbox, [*wanted, *more])
        assert (await harvested(*words)).status == 0
        assert_complete(tmp_path, sandbox, collected)
        assert outcomes(tmp_path) == {"done": len(collected)}


async def test_a_rejected_run_changes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag3", "--item", "4242", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words, "--tasks", "metadata")).status == 1
    before = (await harvester("status", "-o", tmp_path, "--json")).out
    refused = await harvester(*words, "--items", tmp_path / "none.txt", "--versions", "all")
    assert refused.status == 2
    assert (await harvester("status", "-o", tmp_path, "--json")).out == before
    asked(sandbox)
    assert (await harvested(*words, "--tasks", "metadata")).status == 1
    assert sum(asked(sandbox).values()) == 5, (
        "the search's page, two empty answers, and what had failed, of the public and of the account"
    )


async def test_an_item_with_a_listed_date_is_not_requested_because_a_list_names_it_too(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    item_id = sandbox.world.search(":tag: tag3")[0]
    words = ("run", "--search", ":tag: tag3", "--item", str(item_id), "--tasks", "metadata")
    assert (await harvested(*words, "-o", tmp_path, *at(sandbox))).status == 0
    asked(sandbox)
    assert (await harvested(*words, "-o", tmp_path, *at(sandbox))).status == 0
    assert asked(sandbox) == {"api /v2/articles/search": 3}


async def test_a_record_of_an_earlier_version_replaces_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Some cache has it: it is requested again, and fails temporarily until another answer comes."""
    world = sandbox.world
    item_id = next(each for each in world.public_ids if world.trait(each) == "")
    words = ("run", "--item", str(item_id), "-o", tmp_path, *at(sandbox), "--refresh", "metadata")
    world.edit(item_id)
    assert (await harvested(*words)).status == 0
    before = (tmp_path / "metadata.jsonl").read_bytes(), (tmp_path / "files.csv").read_bytes()
    sandbox.doubts.begin("record-stale", 1)
    assert (await harvested(*words)).status == 0
    assert changes(tmp_path) == {}
    sandbox.doubts.begin("record-stale")
    ended = await harvester(*words)
    assert ended.status == 1
    assert "answered with version 1, and version 2 is here: it is kept" in ended.err
    assert before == ((tmp_path / "metadata.jsonl").read_bytes(), (tmp_path / "files.csv").read_bytes())
    sandbox.doubts.end()
    assert (await harvested(*words)).status == 0
