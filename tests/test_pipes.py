"""`list` and `failed`: what other programs read, and a harvest reads again."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path

import anyio
import orjson
import pytest

from harvester.cli.lines import failed_lines, failed_objects, write
from harvester.models import Failure, ItemId
from harvester.sandbox import Sandbox, Settings
from tests.support.fork_server import Process, fork
from tests.support.program import Ended, at, environment, harvester
from tests.support.schemas import check_events
from tests.support.truth import assert_complete, rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    return Settings(items=40, private_items=2, own_public=4, heavy=0)


@asynccontextmanager
async def piped(*words: object, errors: Path) -> AsyncIterator[tuple[Process, FileIO]]:
    """Start the program with a pipe behind it that need not be read; ``errors``: where its errors go."""
    reader, writing = os.pipe()
    reading = FileIO(reader)
    with Path(os.devnull).open("rb") as nothing, errors.open("wb") as err:
        process = fork(words, env=environment(), streams=(nothing.fileno(), writing, err.fileno()))
    os.close(writing)
    try:
        yield process, reading
    finally:
        process.kill()
        await process.wait()
        reading.close()


async def run_with(reading: FileIO, *words: object, output: Path) -> Ended:
    """Run the program with a pipe as its standard input."""
    with output.open("wb") as out:
        process = fork(words, env=environment(), streams=(reading.fileno(), out.fileno(), out.fileno()))
    try:
        status = await process.wait()
    finally:
        process.kill()
    return Ended(status, "", output.read_text(encoding="utf-8"))


def is_full(reading: FileIO) -> bool:
    """Whether nothing more fits into a pipe."""
    (held,) = struct.unpack("i", fcntl.ioctl(reading, termios.FIONREAD, bytes(4)))
    return bool(held == fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ))


# -- list -----------------------------------------------------------------------------------------


async def test_a_list_names_each_item_of_all_sources_once_and_writes_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    world = sandbox.world
    tagged = list(world.search(":tag: tag4"))
    words = ("--search", ":tag: tag4", "--group", "11963", "--item", tagged[0], "--item", "5000001.v1")
    ended = await harvester("list", *words, *at(sandbox), cwd=tmp_path)
    assert ended.status == 0, ended.err
    names = ended.out.split()
    assert sorted(names) == sorted({*map(str, tagged), *map(str, world.group_items(11963)), "5000001.v1"})
    assert names[: len(tagged)] == [str(item_id) for item_id in tagged]
    assert ended.err == ""
    assert list(tmp_path.iterdir()) == []
    assert {seen.path for seen in sandbox.requests_to("api")} == {"/v2/articles/search"}, (
        "no record is requested"
    )


async def test_a_list_in_json_has_the_fields_of_the_listing(sandbox: Sandbox) -> None:
    odd = sandbox.world.with_trait("odd title")[0]
    title = f":title: {sandbox.world.title(odd)[:6]}"
    words = ("--search", "survey", "--search", title, "--item", "4000009.v3", "--account")
    ended = await harvester("list", *words, "--json", *at(sandbox))
    assert ended.status == 0, ended.err
    contents = {line["id"]: line for line in map(orjson.loads, ended.out.splitlines())}
    assert contents.keys() == {*sandbox.world.search("survey"), *sandbox.world.account_ids, odd, 4000009}
    for item_id in (sandbox.world.public_ids[0], odd, sandbox.world.private_ids[0]):
        entry = sandbox.world.entry(item_id)
        assert contents[item_id] == {
            "id": item_id,
            "version": None,
            "title": entry["title"],
            "doi": entry["doi"] or None,
            "type": entry["defined_type_name"],
            "created_date": entry["created_date"],
            "published_date": entry["published_date"],
            "modified_date": entry["modified_date"],
        }
    unknown = ("title", "doi", "type", "created_date", "published_date", "modified_date")
    assert contents[4000009] == {"id": 4000009, "version": 3, **dict.fromkeys(unknown)}


async def test_a_list_piped_into_a_run_is_the_harvest_of_its_search(sandbox: Sandbox, tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    async with piped("list", "--search", ":tag: tag4", *at(sandbox), errors=errors) as (listing, reading):
        words = ("run", "--items", "-", "-o", out, "-q", *at(sandbox))
        ended = await run_with(reading, *words, output=tmp_path / "output")
        assert (ended.status, ended.err) == (0, "")
        assert (await listing.wait(), errors.read_text()) == (0, "")
    assert_complete(out, sandbox, sandbox.world.search(":tag: tag4"))


async def test_an_incomplete_list_is_reported_on_standard_error_and_by_the_exit_status(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "ids.txt").write_text("5000001\nno-such-name\n5000004  # good\n")
    words = ("list", "--items", tmp_path / "ids.txt", "--collection", "4", *at(sandbox), "--log-json")
    ended = await harvester(*words)
    assert ended.status == 1
    assert ended.out == "5000001\n5000004\n"
    messages = [event["message"] for event in check_events(ended.err)[1:-1]]
    assert [message.partition(": ")[0] for message in messages] == ["incomplete", "incomplete"]
    assert "4/articles: not found (404)" in messages[0]
    assert messages[1].startswith("incomplete: no-such-name: neither an item's id")


async def test_a_list_with_a_closed_pipe_ends_well(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    async with Sandbox(Settings(items=1000, heavy=0)) as sandbox:
        words = ("list", "--search", "survey", "--json", *at(sandbox))
        async with piped(*words, errors=errors) as (process, reading):
            await until(lambda: is_full(reading))
            assert b'"id":5000001' in reading.read(1000)
            reading.close()
            assert await process.wait() == 0
    assert errors.read_text() == ""


async def test_each_page_is_printed_before_the_next_is_requested(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0, page_cap=10)) as sandbox:
        words = ("list", "--search", "survey", *at(sandbox, "1"))
        async with piped(*words, errors=tmp_path / "errors") as (_, reading):
            with anyio.fail_after(20):
                await anyio.wait_readable(reading)
            assert reading.read(1000).startswith(b"5000001\n")
            assert len(sandbox.requests_to("api")) < 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_blocked_list_handles_signals(number: signal.Signals, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=1000, heavy=0)) as sandbox:
        words = ("list", "--search", "survey", "--json", *at(sandbox))
        async with piped(*words, errors=tmp_path / "errors") as (process, reading):
            await until(lambda: is_full(reading))
            process.send_signal(number)
            with anyio.fail_after(5):
                assert await process.wait() == 130


async def test_a_list_without_a_source_is_wrong_usage(tmp_path: Path) -> None:
    ended = await harvester("list", cwd=tmp_path)
    assert ended.status == 2
    assert ended.err.startswith("harvester: nothing to list: name a source")


async def test_what_is_written_to_a_slow_pipe_arrives_whole_and_in_order() -> None:
    text = b"".join(b"%d\n" % number for number in range(50_000))
    reading, writing = os.pipe()
    taken = bytearray()

    def read() -> None:
        while piece := os.read(reading, 5000):
            taken.extend(piece)

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, read)
        await write(text, writing)
        os.close(writing)
    os.close(reading)
    assert bytes(taken) == text


# -- failed ---------------------------------------------------------------------------------------


async def test_what_failed_goes_into_the_next_run_by_a_pipe(tmp_path: Path) -> None:
    async with Sandbox(
        Settings(items=12, heavy=0, faults={"always-404": 0.2, "always-gone-file": 0.2})
    ) as sick:
        words = ("run", "--search", "survey", "--item", "no-such-name", "-o", tmp_path / "a", "-q")
        assert (await harvester(*words, *at(sick))).status == 1
        gone = sick.permanently_failing_items() & set(sick.world.public_ids)
    failures = rows(tmp_path / "a" / "failures.csv")
    items = {row["item_id"] for row in failures if row["item_id"]}
    assert set() < {str(item_id) for item_id in gone} < items, "files failed too"
    ended = await harvester("failed", "-o", tmp_path / "a")
    assert ended.status == 0
    assert sorted(ended.out.splitlines()) == sorted([*items, "no-such-name"])
    async with Sandbox(Settings(items=12, heavy=0)) as well:
        reader, writing = os.pipe()
        os.write(writing, ended.out.replace("no-such-name\n", "").encode())
        os.close(writing)
        again = ("run", "--items", "-", "-o", tmp_path / "b", "-q", *at(well))
        with FileIO(reader) as reading:
            ended = await run_with(reading, *again, output=tmp_path / "output")
        assert (ended.status, ended.err) == (0, "")
        assert_complete(tmp_path / "b", well, map(int, items))


async def test_failures_in_json_give_the_reason(tmp_path: Path, sandbox: Sandbox) -> None:
    words = ("run", "--item", "4999999", "--item", "5000001.v9", "--item", "x y", "-o", tmp_path, "-q")
    assert (await harvester(*words, "--tasks", "metadata", *at(sandbox))).status == 1
    ended = await harvester("failed", "-o", tmp_path, "--json")
    assert ended.status == 0
    name, *items = map(orjson.loads, ended.out.splitlines())
    keys = ["item_id", "version", "file_id", "task", "error", "failure_kind", "attempts", "subject"]
    assert list(name) == keys
    reason = "neither an item's id, nor a DOI or handle, nor the address of an item"
    assert name == dict(zip(keys, (None, None, None, "resolve", reason, "permanent", 1, "x y"), strict=True))
    assert {(each["item_id"], each["version"]) for each in items} == {(4999999, None), (5000001, 9)}
    for each in items:
        assert (each["file_id"], each["task"], each["failure_kind"]) == (None, "metadata", "not_found")
        assert (each["attempts"], each["subject"]) == (1, None)
        assert "not found (404)" in each["error"]
    plain = (await harvester("failed", "-o", tmp_path)).out.splitlines()
    assert sorted(plain) == ["4999999", "5000001.v9", "x y"]


async def test_a_harvest_without_failures_prints_none(tmp_path: Path, sandbox: Sandbox) -> None:
    words = ("run", "--item", "5000001", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
    assert (await harvester(*words)).status == 0
    for more in ((), ("--json",)):
        ended = await harvester("failed", "-o", tmp_path, *more)
        assert (ended.status, ended.out, ended.err) == (0, "", "")
    ended = await harvester("failed", "-o", tmp_path / "none")
    assert ended.status == 2
    assert "not a harvest folder" in ended.err


def test_failed_names_are_printed_once_and_listings_as_comments() -> None:
    failures = [
        Failure("listing", "500 again\nand again", "transient", subject="search a\x1b[31m {}"),
        Failure("resolve", "no item", "not_found", subject="10.1/x"),
        Failure("resolve", "an entry without an id", "permanent", subject="group 1, page 1, entry 3"),
        Failure("metadata", "gone", "gone", ItemId(7), version=2),
        Failure("stats", "500", "transient", ItemId(7)),
        Failure("files", "gone", "gone", ItemId(7), 70),
        Failure("files", "gone", "gone", ItemId(7), 71, version=2),
    ]
    assert list(failed_lines(failures)) == [
        "# search a [31m: 500 again and again",
        "10.1/x",
        "# group 1, page 1, entry 3: an entry without an id",
        "7.v2",
        "7",
    ]
    assert len(list(failed_objects(failures))) == len(failures)
