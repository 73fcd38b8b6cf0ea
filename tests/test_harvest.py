"""The whole job, as a user runs it, against the sandbox's truth."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from pathlib import Path

import orjson
import pytest

from harvester import harvest, load_config
from harvester.sandbox import Sandbox, Settings
from tests.support.program import TOKEN, at, config, environment, harvested, harvester
from tests.support.truth import assert_complete, assert_files, assert_records, assert_stats, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    """One item of each peculiarity, and a small account."""
    return Settings(items=60, private_items=4, own_public=8, heavy_size=300_000)


def asked_paths(sandbox: Sandbox, service: str) -> Counter[str]:
    return Counter(f"{seen.path}?{seen.query}" for seen in sandbox.requests_to(service))


async def test_a_search_is_harvested_correctly(sandbox: Sandbox, tmp_path: Path) -> None:
    query = ':category: "Digital Humanities" OR :category: "Environmental Humanities"'
    ended = await harvester("run", "--search", query, "-o", tmp_path, *at(sandbox))
    assert ended.status == 0, ended.err
    assert "complete: all requested data is here" in ended.out
    ids = sandbox.world.search(query)
    assert 12 < len(ids) < 30
    assert_complete(tmp_path, sandbox, ids)


async def test_several_queries_are_merged_and_an_id_met_twice_is_harvested_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    queries = (
        ":category: 'Digital Humanities'",
        ":tag: tag3",
        ":category: 'Digital Humanities' AND :tag: tag3",
    )
    words = [word for query in queries for word in ("--search", query)]
    ended = await harvested("run", *words, "-o", tmp_path, *at(sandbox))
    assert ended.status == 0, ended.err
    listed = [item_id for query in queries for item_id in sandbox.world.search(query)]
    assert len(listed) > len(set(listed))
    assert_complete(tmp_path, sandbox, listed)
    # The search itself: a page each, and two empty answers, as a page that is not full proves no end.
    assert max(asked_paths(sandbox, "api").values()) == 3 * len(queries)
    assert set(asked_paths(sandbox, "stats").values()) == {1}
    assert orjson.loads((tmp_path / "summary.json").read_bytes())["run"]["listed"] == len(listed)


async def test_the_account_gives_all_pages_drafts_and_private_files(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, private_items=11, page_cap=10, own_public=4)) as sandbox:
        ended = await harvested("run", "--account", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        ids = sandbox.world.account_ids
        assert_records(tmp_path, sandbox, sorted(ids), set(ids))
        assert [seen.query for seen in sandbox.requests_to("api") if seen.path == "/v2/account/articles"] == [
            "page_size=1000&page=1",
            "page_size=10&page=2",
        ]


async def test_an_account_with_all_three_tasks(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvested("run", "--account", "-o", tmp_path, *at(sandbox))
    assert ended.status == 0, ended.err
    ids = sandbox.world.account_ids
    assert_complete(tmp_path, sandbox, ids, private=ids)
    assert sandbox.requests_to("files") == []  # private files go through the api, with the token
    assert all(seen.headers.get("Authorization") is None for seen in sandbox.requests_to("storage"))


async def test_a_group_and_the_groups_below_it(sandbox: Sandbox, tmp_path: Path) -> None:
    world = sandbox.world
    ended = await harvester("run", "--group", "11962", "-o", tmp_path / "one", *at(sandbox))
    assert ended.status == 0, ended.err
    assert_complete(tmp_path / "one", sandbox, world.group_items(11962))
    config = tmp_path / "harvest.toml"
    config.write_text('[[sources]]\nkind = "group"\nid = 11962\nsubgroups = true\n')
    words = ("run", "-c", config, "--tasks", "metadata", "-o", tmp_path / "tree")
    ended = await harvested(*words, *at(sandbox))
    assert ended.status == 0, ended.err
    tree = [item_id for group in (11962, 11963, 11964) for item_id in world.group_items(group)]
    assert_records(tmp_path / "tree", sandbox, sorted(tree), set())


async def test_items_by_id_doi_and_address_from_everywhere(sandbox: Sandbox, tmp_path: Path) -> None:
    world, ids = sandbox.world, sandbox.world.public_ids
    by_institution = [item_id for item_id in ids if "iastate" in world.doi(item_id)]
    dois = [world.doi(item_id).removesuffix(".v1") for item_id in by_institution]
    listed = tmp_path / "ids.txt"
    listed.write_text(
        f"# mixed\n{ids[2]}\nhttps://doi.org/{dois[0]}  # a DOI of an institution\n"
        f"{dois[1]}\n\nhttps://figshare.com/articles/dataset/A_title/{ids[50]}\n"
    )
    words = ("--item", str(ids[0]), "--item", f"10.6084/m9.figshare.{ids[1]}", "--items", listed)
    ended = await harvested("run", *words, "-o", tmp_path / "out", *at(sandbox))
    assert ended.status == 0, ended.err
    assert_complete(
        tmp_path / "out", sandbox, [ids[0], ids[1], ids[2], by_institution[0], by_institution[1], ids[50]]
    )


async def test_items_from_standard_input_and_names_without_an_item(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = sandbox.world.public_ids
    names = f"{ids[0]}\nno such thing\n10.1234/unknown\n{ids[1]}\n4999999\n"
    ended = await harvester("run", "--items", "-", "-o", tmp_path, *at(sandbox), stdin=names)
    assert ended.status == 1
    assert [row["id"] for row in rows(tmp_path / "items.csv")] == [str(ids[0]), str(ids[1])]
    failures = [
        (row["item_id"], row["task"], row["error"].split(":")[0]) for row in rows(tmp_path / "failures.csv")
    ]
    assert failures == [
        ("", "resolve", "no such thing"),
        ("", "resolve", "10.1234/unknown"),
        ("4999999", "metadata", "127.0.0.1/v2/articles/4999999"),
    ]
    assert "failures.csv for the whole list: 3 failures" in ended.out


async def test_a_name_that_cannot_be_resolved_now_is_a_failure_by_name(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, faults={"always-500": 1.0})) as sandbox:
        words = ("run", "--item", "10.1234/x", "--items", tmp_path / "ids.txt", "--attempts", "1")
        (tmp_path / "ids.txt").write_text("")
        ended = await harvester(*words, "-o", tmp_path / "out", *at(sandbox))
        assert ended.status == 3  # the api has never answered
        assert "server error (500); gave up after 1 attempt" in ended.err


async def test_a_list_that_cannot_be_read_is_wrong_usage(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester("run", "--items", tmp_path / "none.txt", "-o", tmp_path / "out", *at(sandbox))
    assert ended.status == 2
    assert "none.txt: cannot be read: No such file or directory" in ended.err
    assert sandbox.requests == []


async def test_sources_of_a_config_file_are_merged_and_the_account_s_record_wins(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    config = tmp_path / "harvest.toml"
    config.write_text(
        f"""
        output = "{tmp_path / "out"}"
        [[sources]]
        kind = "items"
        ids = [{sandbox.world.public_ids[3]}, {sandbox.world.public_ids[50]}]
        [[sources]]
        kind = "account"
        [services]
        api = "{sandbox.api}"
        stats = "{sandbox.stats}"
        [rate]
        api = inf
        stats = inf
        files = inf
        """
    )
    ended = await harvester("run", "-c", config)
    assert ended.status == 0, ended.err
    account = sandbox.world.account_ids
    assert_complete(tmp_path / "out", sandbox, [*account, sandbox.world.public_ids[50]], private=account)


@pytest.mark.parametrize(
    ("settings", "pages"),
    [
        (Settings(items=112, heavy=0, page_cap=25, cap=50), 5),
        pytest.param(Settings(items=10_500, heavy=0), 11, marks=pytest.mark.nightly),
    ],
)
async def test_more_results_than_page_numbers_reach(settings: Settings, pages: int, tmp_path: Path) -> None:
    async with Sandbox(settings) as sandbox:
        config = load_config(
            options={
                "sources": [{"kind": "search", "query": "survey"}],
                "output": str(tmp_path),
                "tasks": ["stats"],
                "services.api": sandbox.api,
                "services.stats": sandbox.stats,
                **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
                "export.formats": ["csv"],
            },
            environ={},
        )
        summary = await harvest(config)
        assert summary.exit_status == 0
        assert_stats(tmp_path, sandbox, sorted(sandbox.world.search("survey")))
        assert len(sandbox.world.search("survey")) > settings.cap
        assert len(sandbox.requests_to("api")) == pages  # each once


@pytest.mark.parametrize(
    "items", [1000, *(pytest.param(items, marks=pytest.mark.nightly) for items in (999, 1001, 2000))]
)
async def test_a_listing_that_ends_with_a_full_page_ends(items: int, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=items)) as sandbox:
        words = (
            "plan",
            "--group",
            "11960",
            "--search",
            ":tag: tag",
            "-o",
            tmp_path,
            *at(sandbox),
            "--sample",
            "0",
        )
        ended = await harvester(*words, "--json")
        assert ended.status == 0, ended.err
        plan = orjson.loads(ended.out)
        assert plan["items"] == items
        assert plan["listed"] == items + items // 5 + (items % 5 > 0)


async def test_without_cursor_and_dates_a_listing_past_the_cap_is_reported_as_incomplete(
    tmp_path: Path,
) -> None:
    async with Sandbox(Settings(items=50, heavy=0, page_cap=10, cap=20, cursors=False)) as sandbox:
        words = ("run", "--collection", "4000002", "--tasks", "stats", "-o", tmp_path, *at(sandbox))
        ended = await harvested(*words)
        assert ended.status == 1
        (failure,) = rows(tmp_path / "failures.csv")
        assert failure["task"] == "listing"
        assert "20 items" in failure["error"]
        assert len(rows(tmp_path / "stats.csv")) == 20


async def test_every_file_of_an_item_is_fetched_also_after_the_first_ten(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (many, *_), (ten, *_) = sandbox.world.with_trait("many files"), sandbox.world.with_trait("ten files")
    ended = await harvested("run", "--item", str(many), "--item", str(ten), "-o", tmp_path, *at(sandbox))
    assert ended.status == 0, ended.err
    assert len(sandbox.world.files(many)) > 10
    assert_complete(tmp_path, sandbox, [many, ten])


async def test_a_second_run_requests_only_the_listings(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag1", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    before = len(sandbox.requests)
    ended = await harvested(*words)
    assert ended.status == 0, ended.err
    assert [seen.path for seen in sandbox.requests[before:]] == ["/v2/articles/search"] * 3
    assert_complete(tmp_path, sandbox, sandbox.world.search(":tag: tag1"))


async def test_a_run_on_a_finished_harvest_fetches_what_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag1", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    ids = sandbox.world.search(":tag: tag1")
    edited = next(item_id for item_id in ids if sandbox.world.trait(item_id) == "")
    sandbox.world.edit(edited)
    sandbox.world.publish(20)
    fresh = set(sandbox.world.search(":tag: tag1")) - set(ids)
    assert fresh
    before = len(sandbox.requests)
    ended = await harvested(*words)
    assert ended.status == 0, ended.err
    asked = {
        seen.path
        for seen in sandbox.requests[before:]
        if seen.path.startswith("/v2/articles/") and "search" not in seen.path
    }
    assert {int(path.split("/")[3]) for path in asked} == {edited, *fresh}
    wanted = sorted(sandbox.world.search(":tag: tag1"))
    assert_records(tmp_path, sandbox, wanted, set())
    assert_stats(tmp_path, sandbox, wanted)
    table = rows(tmp_path / "files.csv")
    paths = {int(row["file_id"]): row["path"] for row in table if row["item_id"] == str(edited)}
    for file in sandbox.world.files(edited):
        assert (tmp_path / paths[file["id"]]).read_bytes() == sandbox.world.content(file["id"])


async def test_a_harvested_item_that_is_gone_is_withdrawn_and_no_failure(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    item_id = sandbox.world.public_ids[2]
    words = ("run", "--item", str(item_id), "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    sandbox.world.withdraw(item_id)
    ended = await harvester(*words, "--refresh", "metadata")
    assert ended.status == 0, ended.err
    assert "1 item withdrawn" in ended.out
    assert rows(tmp_path / "failures.csv") == []
    assert len(rows(tmp_path / "items.csv")) == 1


async def test_refresh_renews_the_statistics_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag2", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    before = len(sandbox.requests)
    assert (await harvested(*words, "--refresh", "stats")).status == 0
    asked = Counter(seen.service for seen in sandbox.requests[before:])
    assert asked == {"api": 3, "stats": 2 * len(sandbox.world.search(":tag: tag2"))}


async def test_a_new_task_is_added_to_what_is_here(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag2", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words, "--tasks", "metadata")).status == 0
    assert {row["status"] for row in rows(tmp_path / "files.csv")} <= {"skipped", "link", "withheld"}
    before = len(sandbox.requests)
    assert (await harvested(*words)).status == 0
    assert not [seen for seen in sandbox.requests[before:] if seen.path.startswith("/v2/articles/5")]
    assert_complete(tmp_path, sandbox, sandbox.world.search(":tag: tag2"))


async def test_file_rules_skip_files_and_may_change(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag2", "-o", tmp_path, *at(sandbox))
    ended = await harvester(*words, "--include", "*.csv", "--max-size", "10 kB")
    assert ended.status == 0
    for row in rows(tmp_path / "files.csv"):
        if row["status"] in {"done", "skipped"}:
            wanted = row["name"].endswith(".csv") and int(row["size"]) <= 10_000
            assert row["status"] == ("done" if wanted else "skipped")
    assert (await harvested(*words)).status == 0
    assert_complete(tmp_path, sandbox, sandbox.world.search(":tag: tag2"))


async def test_the_tables_are_made_from_the_ledger_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag2", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    tables = ("items", "stats", "files", "changes", "versions", "failures")
    more = ("stats_shares", "stats_history", "stats_timeline", "stats_breakdown")
    names = ("metadata.jsonl", *(f"{table}.csv" for table in (*tables, *more)))
    before = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    ended = await harvester("export", "-o", tmp_path)
    assert ended.status == 0
    written = (*names, "summary.json")
    assert sorted(ended.out.splitlines()) == sorted(str(tmp_path / name) for name in written)
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


async def test_a_damaged_file_is_found_and_fetched_again(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag2", "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    assert (await harvester("verify", "-o", tmp_path)).status == 0
    done = [
        row
        for row in rows(tmp_path / "files.csv")
        if row["status"] == "done" and int(row["size"]) > 0 and row["md5"]
    ]
    (tmp_path / done[0]["path"]).write_bytes(b"x" * int(done[0]["size"]))
    (tmp_path / done[1]["path"]).unlink()
    ended = await harvester("verify", "-o", tmp_path)
    assert ended.status == 1
    assert "2 corrupt or missing" in ended.out
    before = len(sandbox.requests)
    assert (await harvested(*words)).status == 0
    assert len([seen for seen in sandbox.requests[before:] if seen.service == "files"]) == 2
    assert_complete(tmp_path, sandbox, sandbox.world.search(":tag: tag2"))


async def test_a_resumed_download_requests_only_the_rest(tmp_path: Path) -> None:
    async with Sandbox(
        Settings(items=60, heavy_size=2_000_000, faults={"reset-body": 1.0}, max_per_address=1)
    ) as sandbox:
        (heavy, *_) = sandbox.world.with_trait("heavy")
        words = ("run", "--item", str(heavy), "-o", tmp_path, *at(sandbox))
        ended = await harvested(*words, env=environment(HARVESTER_RETRY_MAX_WAIT="0.05"))
        assert ended.status == 0, ended.err
        first, second = sandbox.requests_to("storage")
        assert "Range" not in first.headers
        begin = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        assert 0 < begin <= 1_000_000
        assert second.status == 206
        assert_files(tmp_path, sandbox, [heavy])


async def test_useless_partial_files_are_removed_and_others_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    item, _, other = sandbox.world.public_ids[:3]
    file = sandbox.world.files(item)[0]
    words = ("run", "--item", str(item), "-o", tmp_path, *at(sandbox))
    assert (await harvested(*words)).status == 0
    partial = tmp_path / ".partial"
    here = f"{item}-{file['id']}-{file['computed_md5']}.part"
    (partial / here).hardlink_to(tmp_path / next(row["path"] for row in rows(tmp_path / "files.csv")))
    (partial / f"{item}-{file['id']}-{'0' * 32}.part").write_bytes(b"of an earlier version")
    (partial / f"{item}-1-unproven.part").write_bytes(b"of a file that is listed no more")
    (partial / "notes.txt").write_text("not ours")
    assert (await harvested(*words, "--item", other)).status == 0
    assert [path.name for path in partial.iterdir()] == ["notes.txt"]
    (partial / "notes.txt").unlink()
    assert_complete(tmp_path, sandbox, [item, other])


async def test_the_token_goes_to_the_api_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester("run", "--account", "--search", ":tag: tag1", "-o", tmp_path, *at(sandbox), "-v")
    assert ended.status == 0
    for seen in sandbox.requests:
        carries = "Authorization" in seen.headers
        assert not carries or seen.service == "api"
    assert any("Authorization" in seen.headers for seen in sandbox.requests_to("api"))
    for path in tmp_path.rglob("*"):
        if path.is_file() and "files" not in path.parts:
            assert TOKEN.encode() not in path.read_bytes()
    assert TOKEN not in ended.out + ended.err


async def test_the_user_agent_names_the_program_and_the_contact(sandbox: Sandbox, tmp_path: Path) -> None:
    item = str(sandbox.world.public_ids[0])
    config = tmp_path / "harvest.toml"
    config.write_text('[services]\ncontact = "mailto:repository@example.org"\n')
    await harvester("run", "-c", config, "--item", item, "-o", tmp_path / "out", *at(sandbox))
    (agent,) = {seen.headers["User-Agent"] for seen in sandbox.requests}
    assert agent.startswith("harvester/0.1.0 (Python 3.")
    assert agent.endswith("mailto:repository@example.org)")


async def test_odd_but_allowed_settings(sandbox: Sandbox, tmp_path: Path) -> None:
    ids = sandbox.world.search(":tag: tag3")
    config = tmp_path / "odd.toml"
    config.write_text(
        f"""
        output = "{tmp_path}/a folder/with blanks/"
        tasks = ["files"]
        [[sources]]
        kind = "search"
        query = ":tag: tag3"
        [services]
        api = "{sandbox.api}/"
        stats = "{sandbox.stats}/"
        [concurrency]
        workers = 200
        queue = 1
        downloads = 1
        """
    )
    rates = ("--rate", "inf")
    ended = await harvester("run", "-c", config, *rates)
    assert ended.status == 0, ended.err
    folder = tmp_path / "a folder" / "with blanks"
    assert sandbox.requests_to("stats") == []
    assert_files(folder, sandbox, sorted(ids))
    assert rows(folder / "stats.csv") == []
    ended = await harvested("run", "-c", config, *rates, "--tasks", "stats", "--workers", "1")
    assert ended.status == 0, ended.err
    assert_complete(folder, sandbox, ids)


async def test_an_empty_list_is_an_empty_harvest(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester("run", "--items", "-", "-o", tmp_path, *at(sandbox), stdin="\n# nothing\n")
    assert ended.status == 0, ended.err
    assert_complete(tmp_path, sandbox, [])
    assert sandbox.requests == []


async def test_a_harvest_leaves_nothing_open(tmp_path: Path) -> None:
    """Neither files nor sockets nor tasks, also after errors and stalls."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system does not tell what is open")
    faults = {"reset-body": 0.2, "stall": 0.1, "503": 0.2, "always-wrong-md5": 0.2}
    settings = Settings(items=5, heavy=0, faults=faults, stall_seconds=2, max_per_address=1, seed=5)

    async def left_open(out: Path) -> tuple[int, int]:
        async with Sandbox(settings) as sandbox:
            assert (await harvest(config(sandbox, out, **{"timeouts.idle": 0.1}))).exit_status == 1
            assert faults.keys() == {seen.fault for seen in sandbox.requests} - {None}
        gc.collect()
        of_the_sandbox = "RequestHandler"  # what stalls there ends later
        ours = [task for task in asyncio.all_tasks() if of_the_sandbox not in repr(task)]
        return len(list(folder.iterdir())), len(ours)

    first = await left_open(tmp_path / "a")  # the first one imports, and starts threads
    assert await left_open(tmp_path / "b") == first
    assert first[1] <= 2
