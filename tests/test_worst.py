"""What answers of any size cost: memory that has a bound, and no time in which nothing else goes on."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import msgspec
import pytest

from harvester import harvest
from harvester.client.json_size import CUT, LONGEST_TEXT, MOST_DEPTH, readable
from harvester.client.memory_gate import LONGEST_SECONDS, MemoryGate
from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.client_side_filters import Condition, is_wanted_by
from harvester.figshare.decoding import must_be_text
from harvester.figshare.diff import changed_fields
from harvester.figshare.entries import MOST_ENTRIES, decode_entries
from harvester.figshare.records import read_article, read_description
from harvester.sandbox import Sandbox, Settings
from tests.support.program import at, config, harvester
from tests.support.truth import rows
from tests.support.worst import MOST_LAG, MOST_MEMORY, WORST, Answer, lag, peak, peak_of

pytestmark = pytest.mark.anyio
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the kilobytes of Linux")


@on_linux
@pytest.mark.nightly
@pytest.mark.parametrize(
    "name",
    [
        "a title of 66 MB, four times as wide",
        "a page of 30 million ones",
        "a record with 20 million authors",
    ],
)
async def test_an_answer_takes_less_than_300_mb(name: str, tmp_path: Path) -> None:
    """`make soak ONLY=memory` tries all of them."""
    assert await peak(WORST[name], tmp_path / "out") <= (WORST[name].status, MOST_MEMORY)
    assert (await peak(WORST[name], tmp_path / "out", "export"))[1] < MOST_MEMORY


@on_linux
@pytest.mark.nightly
async def test_large_answers_are_read_one_at_a_time(tmp_path: Path) -> None:
    """As in test_hostile.py, where they are whole records."""
    answer = Answer({"bloated": ("totals",), "items": 3})
    assert await peak(answer, tmp_path / "out") <= (1, 190_000_000)  # 130 MB in turns, 250 MB at once
    assert len(rows(tmp_path / "out" / "failures.csv")) == 3


async def test_a_large_answer_does_not_block_other_work(tmp_path: Path) -> None:
    assert await lag(WORST["a file list of 25,000 files"], tmp_path) < MOST_LAG


@on_linux
async def test_a_long_text_is_kept_whole_and_only_its_beginning_is_shown(tmp_path: Path) -> None:
    """And it takes less than 300 MB to read and to export: no answer takes more than a wide one."""
    async with Sandbox(Settings(items=2, heavy=0, hostile=("wide-title",))) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata", "-o", tmp_path)
        assert await peak_of(*words, *at(sandbox)) <= (0, MOST_MEMORY)
        item_id = sandbox.world.hostile_items["wide-title"]
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
            query = "SELECT typeof(raw), length(CAST(raw AS BLOB)) FROM records WHERE item_key = ?"
            kind, size = db.execute(query, (item_id,)).fetchone()
        assert kind == "text"
        assert size > 66_000_000
        (shown,) = [row["title"] for row in rows(tmp_path / "items.csv") if row["id"] == str(item_id)]
        assert shown == "a" * 1000 + CUT.decode()
        with (tmp_path / "metadata.jsonl").open("rb") as lines:
            assert max(len(line) for line in lines) == size + 1
        again = await harvest(config(sandbox, tmp_path, tasks=["metadata"]))
        assert again.run.changes == {}


@pytest.mark.parametrize(("where", "items"), [("listing", 8), ("files", 8), ("versions", 34)])
async def test_an_answer_with_too_many_values_fails_only_that_request(
    where: str, items: int, tmp_path: Path
) -> None:
    """As many items as there must be for one with many files, or with versions, to be among them."""
    async with Sandbox(Settings(items=items, heavy=0, bloated=(where,))) as sandbox:
        job = config(sandbox, tmp_path, tasks=["metadata"], versions="all")
        summary = await harvest(job)
        errors = [row["error"] for row in rows(tmp_path / "failures.csv")]
        assert errors
        assert all("too many values or too much text" in error for error in errors), errors
        assert summary.exit_status == 1


async def test_a_page_with_far_too_many_entries_is_invalid() -> None:
    entries = [{"id": number} for number in range(MOST_ENTRIES + 1)]
    assert decode_entries(json.dumps(entries[1:]).encode()).size == MOST_ENTRIES
    with pytest.raises(InvalidResponse, match="a page of 10001 entries"):
        decode_entries(json.dumps(entries).encode())


# -- weighing -------------------------------------------------------------------------------------


def json_of(chance: random.Random, depth: int = 0) -> object:
    kind = chance.random()
    if depth > 3 or kind < 0.4:
        size = chance.choice((3, 40, 65_535, 65_536, 65_537, 200_000, LONGEST_TEXT, LONGEST_TEXT + 1))
        return "".join(chance.choices('a"\\é,[{\n', k=10)) * (size // 10) + "b" * (size % 10)
    if kind < 0.7:
        return [json_of(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {f'"{number}\\': json_of(chance, depth + 1) for number in range(chance.randrange(4))}


@pytest.mark.parametrize(
    "seed", [1, 28, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (0, *range(2, 10)))]
)
def test_only_the_beginning_of_a_very_long_text_is_decoded(seed: int) -> None:
    chance = random.Random(seed)
    raw = json.dumps([json_of(chance) for _ in range(3)], ensure_ascii=seed % 2 == 0).encode()

    def cut(found: re.Match[bytes]) -> bytes:
        text = found[1]
        if len(text) <= LONGEST_TEXT:
            return found[0]
        return b'"' + text[:1000].partition(b"\\")[0].decode(errors="ignore").encode() + CUT + b'"'

    expected = re.sub(rb'"((?:[^"\\]|\\.)*)"', cut, raw)
    assert readable(raw) == expected
    msgspec.json.decode(expected)


def test_nesting_has_a_limit_that_every_reader_can_reach() -> None:
    for deep in (b"[" * MOST_DEPTH + b"]" * MOST_DEPTH, b'{"[":' * MOST_DEPTH + b"1" + b"}" * MOST_DEPTH):
        assert readable(deep) == deep
        with pytest.raises(InvalidResponse, match="nested too deeply"):
            readable(b"[" + deep + b"]")
    flat = b"[" + b",".join([b"[[]]"] * 40_000) + b"]"
    assert readable(flat) == flat


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b'{"id":' + b"1" * 10_000_000 + b"}", "the response does not match the documented JSON"),
        (b'{"id":1,"size":' + b"1" * 5000 + b"}", "the response does not match the documented JSON"),
        (b'{"' + b"a" * 3_000_000 + b'" : 1,"id":1}', "a key that is too long"),
        (b'{"id":1,"authors":[' + b"{}," * 200_000 + b"{}]}", "too many values or too much text"),
        (b'{"id":1,"files":[' + b'{"id":1},' * 200_000 + b"{}]}", "too many values or too much text"),
        (b'{"id":1,"appendix":{' + b'"a":0,' * 400_000 + b'"a":0}}', "too many values or too much text"),
        (b'{"id":1,"authors":[' + b"5," * 20_000 + b"5]}", "that mean nothing plain"),
        (b'{"id":1,"title":"' + "😀".encode() * 100_000 + b'","doi":"\xff"}', "JSON that no standard"),
    ],
    ids=["digits", "few digits", "key", "authors", "files", "keys", "odd", "no UTF-8"],
)
def test_absurd_json_raises_a_mapped_error(raw: bytes, error: str) -> None:
    with pytest.raises((InvalidResponse, ConnectionFailed), match=error):
        read_article(raw)


def test_the_place_of_invalid_utf8_in_a_large_answer_is_reported() -> None:
    text = "😀" * 400_000  # a character is cut at the end of each piece that is looked at
    must_be_text(b" " + text.encode())
    with pytest.raises(InvalidResponse, match="at byte 1600001"):
        must_be_text(b" " + text.encode() + b"\xff" + text.encode())


def test_a_record_that_only_another_version_could_read_is_shown_empty() -> None:
    raw = b'{"id":1,"title":"a","authors":[' + b"{}," * 500_000 + b"{}]}"
    assert read_description(raw).title == ""
    assert changed_fields(raw, b'{"id":1}') == ()


def test_a_number_of_too_many_digits_in_a_text_excludes_nothing() -> None:
    raw = (
        b'{"id":1,"group_id":"' + b"1" * 5000 + b'","embargo_date":' + b"1" * 4000 + b',"is_embargoed":true}'
    )
    assert is_wanted_by(raw, (Condition(group=5).write(),), private=False)
    assert read_article(raw).embargo_until == ""


# -- the memory limit ----------------------------------------------------------------------------------------


async def test_a_permit_is_kept_to_the_end_of_the_outermost_block() -> None:
    gate, seen, started = MemoryGate(), list[str](), anyio.Event()

    async def other() -> None:
        await started.wait()
        async with gate.hold() as permit:
            await permit.acquire()
            seen.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        async with gate.hold():
            async with gate.hold() as inner:
                await inner.acquire()
                await inner.acquire()
            started.set()
            await anyio.wait_all_tasks_blocked()
            seen.append("first")
    assert seen == ["first", "other"]


async def test_an_answer_that_takes_long_may_not_keep_others_waiting() -> None:
    now, started = [0.0], anyio.Event()
    gate = MemoryGate(lambda: now[0])

    async def other() -> None:
        await started.wait()
        async with gate.hold() as permit:
            await permit.acquire()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        async with gate.hold() as permit:
            await permit.acquire()
            now[0] += LONGEST_SECONDS + 1
            permit.must_not_last()
            started.set()
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ConnectionFailed, match="while others waited"):
                permit.must_not_last()
            await permit.acquire()  # another answer's time begins
            permit.must_not_last()


# -- files ----------------------------------------------------------------------------------------


async def test_one_malformed_file_affects_no_other(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, hostile=("odd-file",))) as sandbox:
        ended = await harvester("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert ended.status == 1
        odd = str(sandbox.world.hostile_items["odd-file"])
        assert {row["task"] for row in rows(tmp_path / "failures.csv")} == {"files"}
        mine = [row for row in rows(tmp_path / "files.csv") if row["item_id"] == odd]
        assert [row["status"] for row in mine] == ["done", "done"]
        assert odd in {row["id"] for row in rows(tmp_path / "items.csv")}
