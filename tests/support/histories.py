"""
Histories: what happens to one folder over time, as steps that a fuzzer or a seed makes up.

Between and during runs the sandbox's world changes; runs meet faults and doubts, are killed and interrupted,
prune, verify. What has to hold is checked after every step: see `History.assert_agreement` and
`assert_truth`.
"""

from __future__ import annotations

import csv
import hashlib
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import orjson

from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.doubts import DOUBTS
from harvester.sandbox.item import EDITS
from harvester.sandbox.records import Json
from harvester.sandbox.settings import FOR_EVER
from tests.support.forked import forked, harvester
from tests.support.program import Ended, at
from tests.support.waiting import until

ITEMS = Settings(items=26, private_items=0, colleague_items=0, heavy=0, page_cap=10, max_per_address=2)
MOST_VERSIONS = 12
QUICKLY = {
    "HARVESTER_RETRY_ATTEMPTS": "4",
    "HARVESTER_RETRY_MAX_WAIT": "0.02",
    "HARVESTER_RETRY_OUTAGE_TIMEOUT": "0.2",
    "HARVESTER_TIMEOUTS_IDLE": "5",
}
FAULTS = (
    "reset", "reset-body", "reset-headers", "429", "500", "502-html", "503", "challenge", "403-html",
    "404-html", "half-json", "empty", "wrong-length", "wrong-md5", "range-ignored", "416", "expired",
    "html-file", "cut-chunked", "gzip-cut",
)  # fmt: skip
"""Those that pass in no time."""
MET = [name for name in DOUBTS if not name.startswith(("stats", "owner", "versions", "record-older"))]
"""
Doubts about what these runs ask for; but for an older record, which where nothing was known is believed until
its item changes: test_staleness.py has what follows where something was.
"""
UNSEEN = {"listing-empty", "listing-short", "record-stale"}
"""Doubts that nothing gives away where nothing was known before: the run says that it is whole."""
CHANGES = ("edit", "edit", "edit", "correct", "withdraw", "restore", "publish", "embargo")
Step = tuple[str, int]


@dataclass
class History:
    """
    One folder and its world.

    ``ever``: md5 to what file it is of, of all that figshare had at the time of a clean run; ``listed``: a
    line for each step, so that a history can be read.
    """

    folder: Path
    sandbox: Sandbox
    ever: dict[str, str] = field(default_factory=dict)
    steps_done: list[str] = field(default_factory=list)
    runs: int = 0
    is_new: bool = True

    # -- steps ----------------------------------------------------------------------------------------

    @cached_property
    def steps(self) -> Mapping[str, Callable[[int], Awaitable[None]]]:
        return {
            "change": self.change,
            "clean": self.clean,
            "faults": self.faults,
            "doubt": self.doubt,
            "kill": self.kill,
            "interrupt": self.interrupt,
            "meanwhile": self.meanwhile,
            "damage": self.damage,
            "quick": self.quick,
            "refresh": self.refresh,
            "prune": self.prune,
        }

    async def play(self, steps: Sequence[Step]) -> None:
        """Take the steps, and see at the end that nothing is lost and nothing is left to do."""
        try:
            for name, number in steps:
                self.steps_done.append(f"{name} {number}")
                await self.steps[name](number)
            await self.clean(0)
            await self.nothing_more()
        except AssertionError as error:
            raise AssertionError("\n".join([*self.steps_done, str(error)])) from error

    async def change(self, number: int) -> None:
        """Change one to four things in the world."""
        chance = random.Random(number)
        for _ in range(1 + number % 4):
            self.change_one(chance)

    def change_one(self, chance: random.Random) -> None:
        world = self.sandbox.world
        kind = chance.choice(CHANGES)
        item_id = chance.choice(world.public_ids)
        if kind == "edit" and world.version(item_id) < MOST_VERSIONS:
            how = chance.choice(list(EDITS))
            world.edit(item_id, how)
            kind = f"edit ({how})"
        elif kind == "correct":
            world.correct(item_id)
        elif kind == "withdraw" and len(world.public_ids) > 12:
            world.withdraw(item_id)
        elif kind == "restore" and world.withdrawn_ids:
            item_id = chance.choice(world.withdrawn_ids)
            world.restore(item_id)
        elif kind == "publish" and len(world.published_ids) < 40:
            world.publish(1)
        elif kind == "embargo" and (found := world.with_trait("embargo")):
            item_id = found[0]
            (world.end_embargo if world.is_withheld(item_id) else world.begin_embargo)(item_id)
            world.correct(item_id)  # one that ends before its date was ended by hand
        else:
            return
        self.steps_done.append(f"  {kind} {item_id}")

    async def clean(self, number: int, *more: str) -> None:
        """Run without any fault: what figshare has is here then."""
        ended = await self.run(*more)
        if ended.status == 1:
            self.assert_only_unbelieved(ended)
            gone = len(self.sandbox.world.withdrawn_ids)
            ended = await self.run("--accept-withdrawals", str(gone), *more)
        assert ended.status == 0, ended.out
        self.assert_truth()

    async def quick(self, number: int) -> None:
        ended = await self.run("--quick")
        assert ended.status in {0, 1}, ended.out

    async def refresh(self, number: int) -> None:
        await self.clean(number, "--refresh", "metadata")

    async def prune(self, number: int) -> None:
        await self.clean(number, "--prune", "--yes")

    async def faults(self, number: int) -> None:
        """Run while some requests meet faults that pass."""
        chance = random.Random(number)
        names = chance.sample(FAULTS, chance.randrange(1, 6))
        self.steps_done.append(f"  {' '.join(names)}")
        self.sandbox.meet(dict.fromkeys(names, chance.choice((0.03, 0.1, 0.3)) / len(names)), 1 + number)
        ended = await self.run(*self.maybe_prune(number))
        self.sandbox.meet({})
        assert ended.status in {0, 1, 3}, ended.out
        if ended.status == 0:
            self.assert_truth()

    async def doubt(self, number: int) -> None:
        """Run while some answers are wrong: of one item or of all, once or for ever."""
        chance = random.Random(number)
        name, world = chance.choice(MET), self.sandbox.world
        item_id = chance.choice(world.public_ids) if chance.random() < 0.5 else 0
        times = chance.choice((1, 1, 2, FOR_EVER))
        self.steps_done.append(f"  {name} × {times} of {item_id or 'all'}")
        refresh = ("--refresh", "metadata") if number % 2 else ()
        self.sandbox.doubts.begin(name, times, item_id=item_id)
        ended = await self.run(*refresh, *self.maybe_prune(number // 2))
        self.sandbox.doubts.end()
        assert ended.status in {0, 1, 3}, ended.out
        if ended.status == 0 and name not in UNSEEN:
            self.assert_truth()
        self.assert_nothing_lost()

    async def kill(self, number: int) -> None:
        """Kill a run after this many requests."""
        await self.end_early(number, "kill")
        self.assert_nothing_lost()

    async def interrupt(self, number: int) -> None:
        """Ask a run to end after this many requests."""
        await self.end_early(number, "terminate")
        self.assert_nothing_lost()

    async def end_early(self, number: int, how: str) -> None:
        asked = self.sandbox.requests
        asked.clear()
        words = self.words(*self.maybe_prune(number))
        async with forked(words, self.output_of_run(), **QUICKLY) as running:
            await until(lambda: len(asked) >= number % 97 or running.process.returncode is not None)
            getattr(running, how)()
            status = await running.wait()
        self.steps_done.append(f"  ended with {status} after {len(asked)} requests")
        assert status in {-9, 130, 0, 1}, self.last_words()

    async def meanwhile(self, number: int) -> None:
        """Change the world while it runs; the next run has it all."""
        chance = random.Random(number)
        asked = self.sandbox.requests
        asked.clear()
        async with forked(self.words(*self.maybe_prune(number)), self.output_of_run(), **QUICKLY) as running:
            for count in sorted(chance.sample(range(100), 3)):
                await until(lambda: len(asked) >= count or running.process.returncode is not None)  # noqa: B023
                self.change_one(chance)
            status = await running.wait()
        assert status in {0, 1}, self.last_words()
        self.assert_agreement()
        await self.clean(number)

    async def damage(self, number: int) -> None:
        """Spoil a file; `verify` finds it, and it comes again."""
        await self.clean(number)
        done = [row for row in self.rows("files.csv") if row["status"] == "done" and self.is_current(row)]
        row = random.Random(number).choice(done)
        path = self.folder / row["path"]
        path.unlink()
        if number % 2:
            path.write_bytes(b"damaged")
        ended = await harvester("verify", "-o", self.folder, output=self.output_of_run())
        assert ended.status == 1, ended.out
        assert row["path"] in ended.out
        await self.clean(number)

    async def nothing_more(self) -> None:
        """A run after a clean one changes nothing and asks for no file."""
        self.sandbox.requests.clear()
        before = {path: self.folder.joinpath(path).stat().st_mtime_ns for path in self.here("files")}
        ended = await self.run()
        assert ended.status == 0, ended.out
        assert self.rows("changes.csv") == []
        asked = [seen.path for seen in self.sandbox.requests if seen.service in {"files", "storage"}]
        assert asked == []
        after = {path: self.folder.joinpath(path).stat().st_mtime_ns for path in self.here("files")}
        assert after == before

    # -- runs -----------------------------------------------------------------------------------------

    def words(self, *more: str) -> tuple[object, ...]:
        what = ("--search", "survey", "--tasks", "metadata,files")
        return ("run", *what, "-o", self.folder, *at(self.sandbox), *more)

    def maybe_prune(self, number: int) -> tuple[str, ...]:
        return ("--prune", "--yes") if number % 3 == 0 else ()

    def output_of_run(self) -> Path:
        self.runs += 1
        return self.folder.with_name(f"run {self.runs}")

    def last_words(self) -> str:
        return self.folder.with_name(f"run {self.runs}").read_text(encoding="utf-8", errors="replace")

    async def run(self, *more: str) -> Ended:
        self.sandbox.requests.clear()
        ended = await harvester(*self.words(*more), output=self.output_of_run(), **QUICKLY)
        self.steps_done.append(f"  run {' '.join(more)} ended with {ended.status}")
        assert "Traceback" not in ended.out, ended.out
        if ended.status in {0, 1}:
            self.assert_agreement()
        self.assert_nothing_lost()
        return ended

    # -- what has to hold -----------------------------------------------------------------------------

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    def here(self, *places: str) -> list[str]:
        """Paths of all files in these places of the folder."""
        found = (path for place in places for path in (self.folder / place).rglob("*") if path.is_file())
        return [str(path.relative_to(self.folder)) for path in found]

    def is_current(self, row: Mapping[str, str]) -> bool:
        """Whether the file of a row can be had now."""
        item_id = int(row["item_id"])
        is_public = self.sandbox.world.exists(item_id)
        return is_public and int(row["file_id"]) in {file["id"] for file in self.files_of(item_id)}

    def files_of(self, item_id: int) -> list[Json]:
        """The files of an item that can be had."""
        world = self.sandbox.world
        if world.is_withheld(item_id):
            return []
        return [file for file in world.files(item_id) if not file["is_link_only"]]

    def assert_truth(self) -> None:
        """What figshare has is here, and what it ever had is here or in the trash; nothing failed."""
        world = self.sandbox.world
        assert self.rows("failures.csv") == []
        ids = set(world.search("survey"))
        lines = map(orjson.loads, (self.folder / "metadata.jsonl").read_bytes().splitlines())
        records = {line["id"]: line for line in lines}
        assert ids <= records.keys(), ids - records.keys()
        for item_id in ids:
            assert records[item_id] == world.record(item_id, whole=True), item_id
        listed = {
            (int(row["item_id"]), int(row["file_id"])): row
            for row in self.rows("files.csv")
            if row["status"] == "done"
        }
        for item_id in sorted(ids):
            for file in self.files_of(item_id):
                row = listed.get((item_id, file["id"]))
                assert row is not None, f"file {file['id']} of {item_id} is not here"
                data = (self.folder / row["path"]).read_bytes()
                assert len(data) == file["size"], row
                if md5 := file["computed_md5"] or file["supplied_md5"]:
                    assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5, row
                    self.ever[md5] = f"{file['name']} ({file['id']}) of {item_id}"
        partial = self.folder / ".partial"
        assert not partial.exists() or list(partial.iterdir()) == []
        self.assert_nothing_lost()

    def assert_nothing_lost(self) -> None:
        """Every file that figshare had at the time of a clean run is in the folder or in its trash."""
        if not self.ever:
            return
        found = {
            hashlib.md5((self.folder / path).read_bytes(), usedforsecurity=False).hexdigest()
            for path in self.here("files", ".trash", ".partial")
        }
        lost = [file for md5, file in self.ever.items() if md5 not in found]
        assert lost == [], f"lost: {lost}"

    def assert_agreement(self) -> None:
        """The ledger, the tables and the disk say the same."""
        files = self.rows("files.csv")
        paths = set()
        for row in files:
            if row["status"] == "done":
                data = (self.folder / row["path"]).read_bytes()
                assert len(data) == int(row["size"]), row
                assert not row["md5"] or hashlib.md5(data, usedforsecurity=False).hexdigest() == row["md5"], (
                    row
                )
                assert row["path"] not in paths, row
                paths.add(row["path"])
        with closing(sqlite3.connect(self.folder / "harvest.db")) as db:
            left = {path for (path,) in db.execute("SELECT path FROM orphans")}
            self.assert_totals(db)
            failed = db.execute("SELECT count(*) FROM files WHERE status = 'failed'").fetchone()[0]
        unknown = set(self.here("files")) - paths - left
        assert unknown == set(), f"no table has {unknown}"
        items, failures = self.rows("items.csv"), self.rows("failures.csv")
        lines = (self.folder / "metadata.jsonl").read_bytes().splitlines()
        assert [int(row["id"]) for row in items] == [orjson.loads(line)["id"] for line in lines]
        assert sum(bool(row["file_id"]) for row in failures) == failed
        self.assert_summary(files, failures)

    def assert_summary(self, files: Sequence[object], failures: Sequence[object]) -> None:
        contents = orjson.loads((self.folder / "summary.json").read_bytes())["folder"]
        assert sum(contents["outcomes"]["items"].values()) == contents["items"]
        assert sum(each["files"] for each in contents["files"].values()) == len(files)
        assert contents["failures"] == len(failures)
        listed = contents["listings"]
        counted = (listed[name] for name in ("unique", "duplicates", "excluded", "unresolved"))
        assert listed["entries"] == sum(counted)

    def assert_totals(self, db: sqlite3.Connection) -> None:
        for what, counted in _COUNTED.items():
            kept = db.execute(
                "SELECT task, state, failure_kind || reason, number, bytes FROM totals"
                " WHERE what = ? AND number != 0",
                (what,),
            ).fetchall()
            assert sorted(kept) == sorted(db.execute(counted).fetchall()), what

    def assert_only_unbelieved(self, ended: Ended) -> None:
        """Nothing failed but what is gone in such numbers that it is not believed without more words."""
        gone = set(self.sandbox.world.withdrawn_ids)
        failed = {int(row["item_id"] or 0) for row in self.rows("failures.csv")}
        assert failed, ended.out
        assert failed <= gone, ended.out


_COUNTED = {
    "work": "SELECT task, state, '', count(*), 0 FROM work GROUP BY 1, 2",
    "files": "SELECT '', status, failure_kind || reason, count(*), sum(size) FROM files GROUP BY 2, 3",
    "records": "SELECT '', '', '', count(*), 0 FROM records HAVING count(*) > 0",
    "items": "SELECT '', '', '', count(*), 0 FROM items HAVING count(*) > 0",
}

STEPS = (
    "change", "change", "change", "clean", "faults", "faults", "doubt", "doubt", "kill", "kill", "interrupt",
    "meanwhile", "damage", "quick", "refresh", "prune",
)  # fmt: skip
"""What may come next, as often as it is likely."""


async def play(folder: Path, steps: Sequence[Step]) -> History:
    """Play a history against a sandbox of its own, in a folder that is not there yet."""
    async with Sandbox(ITEMS) as sandbox:
        history = History(folder, sandbox)
        await history.play(steps)
    return history


def made_up(seed: int, number: int) -> list[Step]:
    """Return this many steps of a seed."""
    chance = random.Random(seed)
    return [(chance.choice(STEPS), chance.randrange(10_000)) for _ in range(number)]
