"""What must hold of a folder after its run was killed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from harvester.sandbox import Sandbox, Settings
from tests.support.program import at, harvester, started
from tests.support.truth import assert_complete
from tests.support.waiting import until


@dataclass(frozen=True)
class Recorded:
    """What the ledger held at a moment, and how many requests the sandbox had seen by then."""

    requests: int
    records: frozenset[int]
    stats: frozenset[int]
    files: frozenset[int]


def recorded(folder: Path, sandbox: Sandbox) -> Recorded:
    if not (folder / "harvest.db").exists():
        return Recorded(len(sandbox.requests), frozenset(), frozenset(), frozenset())
    with closing(sqlite3.connect(f"file:{folder}/harvest.db?mode=ro", uri=True)) as db:

        def ids(sql: str) -> frozenset[int]:
            return frozenset(number for (number,) in db.execute(sql))

        has_tables = db.execute("PRAGMA user_version").fetchone()[0]
        if not has_tables:
            return Recorded(len(sandbox.requests), frozenset(), frozenset(), frozenset())
        return Recorded(
            len(sandbox.requests),
            ids("SELECT item_key FROM records"),
            ids("SELECT item_key FROM stats"),
            ids("SELECT file_id FROM files WHERE status = 'done'"),
        )


def assert_nothing_recorded_was_requested_again(sandbox: Sandbox, moments: list[Recorded]) -> None:
    for moment in moments:
        for seen in sandbox.requests[moment.requests :]:
            parts = seen.path.strip("/").split("/")
            if seen.service == "api" and parts[1] == "articles" and parts[2].isdecimal():
                assert int(parts[2]) not in moment.records
            elif seen.service == "stats":
                assert int(parts[-1]) not in moment.stats
            elif seen.service == "files":
                assert int(parts[-1]) not in moment.files


def assert_no_file_looks_whole_and_is_not(folder: Path, sandbox: Sandbox) -> None:
    for path in (folder / "files").rglob("*"):
        if path.is_file():
            item_id = int(path.relative_to(folder / "files").parts[0])
            assert path.read_bytes() in [
                sandbox.world.content(file["id"]) for file in sandbox.world.files(item_id)
            ]


def is_asked(sandbox: Sandbox, times: int) -> bool:
    return len(sandbox.requests) >= times


async def kill_again_and_again(folder: Path, times: int, *, items: int) -> Recorded:
    """
    Kill a run with files in flight at random moments, then let it end; tell what the last kill left.

    Asserts that no file ever looks whole and is not, that the end is the truth, and that nothing that was
    recorded before a kill was requested again.
    """
    chance = random.Random(20261123)
    async with Sandbox(Settings(items=items, heavy=3, latency=0.005)) as sandbox:
        words = ("run", "--search", "survey", "-o", folder, *at(sandbox, rate="70"))
        moments = []
        for _ in range(times):
            before = len(sandbox.requests)
            async with started(words) as process:
                if chance.random() < 0.8:
                    await until(partial(is_asked, sandbox, before + chance.randint(1, 150)))
                else:
                    await anyio.sleep(chance.uniform(0, 0.2))  # as it starts
                assert process.returncode is None, "it ended before it could be killed"
                process.kill()
                await process.wait()
            assert_no_file_looks_whole_and_is_not(folder, sandbox)
            moments.append(recorded(folder, sandbox))
        assert 20 < len(moments[-1].records) < len(sandbox.world.search("survey"))
        assert len(moments[-1].files) > 20
        ended = await harvester("run", "--search", "survey", "-o", folder, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_complete(folder, sandbox, sandbox.world.search("survey"))
        assert_nothing_recorded_was_requested_again(sandbox, moments)
        return moments[-1]
