"""
The matrix of doubts: answers that say less than the truth, and exactly what a harvest makes of each.

Every kind is played once for each address and for ever, to a folder's first run and to a later one, with and
without `--prune --yes`, over real sockets; with it, as the command line. `make test` plays each at least for
ever and with `--prune --yes`. What holds in every cell besides: nothing that figshare had at the time of a
clean run is lost, a run that is not whole prunes nothing, and the first run after the bad hour ends with the
truth.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.doubts import DOUBTS
from harvester.sandbox.settings import FOR_EVER
from tests.support.program import Ended, at, environment, harvested, harvester
from tests.support.truth import assert_records, assert_stats, rows

pytestmark = pytest.mark.anyio

QUICKLY = {
    "HARVESTER_RETRY_ATTEMPTS": "3",
    "HARVESTER_RETRY_MAX_WAIT": "0.02",
    "HARVESTER_RETRY_OUTAGE_TIMEOUT": "20",
}
BRIEFLY = {**QUICKLY, "HARVESTER_RETRY_OUTAGE_TIMEOUT": "0.2"}
"""For what is down for ever: it is not waited for."""
ITEMS = Settings(items=4, private_items=2, colleague_items=0, own_public=2, heavy=0, page_cap=2)
"""Exit 0: figshare has said so twice, of no more items than may vanish at once."""
WHOLE, FOR_NOW, FOR_GOOD, STOPPED = "whole", "transient", "permanent", "stopped (3)"
UNSEEN = "what it shows"
"""Exit 0: nothing that is known says otherwise. The next run has the rest."""
FORMS = {"once": 1, "always": FOR_EVER}


class Cells(NamedTuple):
    """What becomes of what is requested: in a first and in a later run, of an answer once and for ever."""

    first_once: str = WHOLE
    first_always: str = FOR_NOW
    later_once: str = WHOLE
    later_always: str = FOR_NOW


@dataclass(frozen=True)
class Scenario:
    """
    Doubts that one harvest meets together, each about an item of its own; or one, about all of them.

    ``settings``: of the sandbox, where they are not `ITEMS`; ``words``: the source and what else is asked.
    ``is_about_one``: the only doubt is about one item.
    """

    doubts: Mapping[str, Cells]
    words: tuple[str, ...] = ("--search", "survey", "--tasks", "metadata,files")
    settings: Mapping[str, object] = field(default_factory=dict)
    is_about_one: bool = False

    @property
    def is_private(self) -> bool:
        return "--account" in self.words

    def cells(self, time: str, form: str) -> dict[str, str]:
        """What is to become of the item of each doubt."""
        return {name: getattr(cells, f"{time}_{form}") for name, cells in self.doubts.items()}

    def is_whole(self, time: str, form: str) -> bool:
        """Whether nothing of a run is in doubt."""
        return {*self.cells(time, form).values()} <= {WHOLE}

    def removed(self, form: str) -> str:
        """What `--prune --yes` takes in a later run."""
        if not self.is_whole("later", form) or "stats" in self.words[-1]:
            return "nothing"
        return "what was replaced"

    def ids(self, sandbox: Sandbox) -> list[int]:
        """The items of the harvest."""
        world = sandbox.world
        return sorted(world.account_items() if self.is_private else world.public_ids)

    def subjects(self, sandbox: Sandbox) -> dict[str, int]:
        """The item of each doubt, 0 for all."""
        if len(self.doubts) == 1 and not self.is_about_one:
            return dict.fromkeys(self.doubts, 0)
        return dict(zip(self.doubts, self.ids(sandbox), strict=False))


BLOCKED = Cells(first_always="blocked", later_always="blocked")
GONE = Cells(first_always="not_found")
LASTING = Cells(first_always=STOPPED, later_always=STOPPED)
LIMITED = Cells(first_always=FOR_GOOD, later_always=FOR_GOOD)
HARMLESS = Cells(first_always=WHOLE, later_always=WHOLE)
STATUSES = [name for name in DOUBTS if name.startswith(("record-2", "record-4"))]
SCENARIOS: Mapping[str, Scenario] = {
    "gateway": Scenario({"gateway-404": LASTING}),
    "gateway, in JSON": Scenario({"gateway-404-json": LASTING}),
    "all gone": Scenario(
        {"all-gone": Cells("blocked, not_found", "blocked", "blocked", "blocked, transient")}
    ),
    "every item gone": Scenario({"item-gone": GONE}),
    "one item gone": Scenario({"item-gone": GONE}, is_about_one=True),
    "file lists, empty": Scenario({"files-empty": Cells()}, settings={"items": 8}),
    "file lists, short": Scenario({"files-short": Cells()}, settings={"items": 8}),
    "versions": Scenario(
        {"versions-gone": Cells(), "versions-empty": Cells(), "versions-short": Cells(later_always=WHOLE)},
        ("--search", "survey", "--tasks", "metadata,files", "--versions", "all"),
    ),
    "listing, empty": Scenario({"listing-empty": Cells(WHOLE, UNSEEN, WHOLE, WHOLE)}),
    "listing, short": Scenario({"listing-short": Cells(UNSEEN, UNSEEN, WHOLE, WHOLE)}),
    "listing, without cursors": Scenario({"cursor-lost": HARMLESS}),
    "listing, dead cursors": Scenario({"cursor-dead": HARMLESS}),
    "listing, dates": Scenario({"listing-2924": HARMLESS}),
    "owner": Scenario(
        {"owner-404": Cells(), "owner-403": Cells()}, ("--account", "--tasks", "metadata,files")
    ),
    "statistics": Scenario(
        {name: Cells() for name in DOUBTS if name.startswith(("stats-2", "stats-4"))},
        ("--search", "survey", "--tasks", "metadata,stats"),
    ),
    "storage": Scenario(
        {
            "bytes-wrong": LIMITED,
            "bytes-short": Cells(),
            "bytes-other-etag": Cells(),
            **{name: BLOCKED for name in DOUBTS if name.startswith("storage")},
        },
        settings={"items": 7},
    ),
    "records, stale": Scenario({"record-stale": Cells(UNSEEN, UNSEEN, WHOLE, FOR_NOW)}),
    "records": Scenario(
        {
            **{name: Cells() for name in STATUSES},
            "record-null": Cells(),
            "record-bom": HARMLESS,
            "record-brotli": Cells(),
            "record-other": LIMITED,
            "record-bomb": LIMITED,
        },
        settings={"items": 12, "page_cap": 10},
    ),
}


PLAYED_ONCE = {"all gone", "versions", "listing, short", "records, stale"}
"""What `make test` plays once, too; `make nightly` plays all once and for ever."""
KEPT = {"file lists, short", "one item gone"}
"""What `make test` plays without `--prune`, too; `make nightly` plays all with and without."""
PRUNING = ("--prune", "--yes")
ELSEWHERE = {
    "account-404": "test_owner.py",
    "account-gone": "test_owner.py",
    "account-500": "test_owner.py",
    "account-unsaid": "test_owner.py",
    "stats-empty": "test_statistics.py",
    "stats-zero": "test_statistics.py",
    "record-bare": "test_staleness.py",
    "record-fewer": "test_staleness.py",
    "record-older": "test_staleness.py",
}
"""Doubts that have tests of their own."""


def test_every_doubt_of_the_sandbox_is_in_the_matrix() -> None:
    played = {name for scenario in SCENARIOS.values() for name in scenario.doubts}
    assert played | ELSEWHERE.keys() == DOUBTS.keys()


def table() -> list[str]:
    """The rows of the matrix as the page on reliability has them."""
    lines = []
    for scenario in SCENARIOS.values():
        for name, cells in scenario.doubts.items():
            of_one = ", of one item" if scenario.is_about_one else ""
            removed = " | ".join(scenario.removed(form) for form in FORMS)
            lines.append(f"| `{name}`{of_one}: {DOUBTS[name].says} | {' | '.join(cells)} | {removed} |")
    return lines


def test_the_page_on_reliability_has_the_matrix() -> None:
    page = (Path(__file__).parent.parent / "docs" / "explanation" / "reliability.md").read_text(
        encoding="utf-8"
    )
    assert "\n".join(table()) in page, "\n".join(table())


@dataclass
class Folder:
    """
    One harvest of one sandbox.

    ``ever``: the sums of all files that figshare had at the time of a clean run.
    """

    path: Path
    sandbox: Sandbox
    scenario: Scenario
    ever: set[str] = field(default_factory=set)

    async def run(self, *more: str) -> Ended:
        """Run; with `--prune` as a program, else in this process."""
        words = ("run", *self.scenario.words, "-o", self.path, *at(self.sandbox), *more)
        env = environment(**(BRIEFLY if LASTING in self.scenario.doubts.values() else QUICKLY))
        return await (harvester if "--prune" in more else harvested)(*words, env=env)

    async def refresh(self, *more: str) -> Ended:
        """Run, and ask for everything again."""
        tasks = [name for name in ("metadata", "stats") if name in ",".join(self.scenario.words)]
        return await self.run(*(word for name in tasks for word in ("--refresh", name)), *more)

    def begin(self, form: str) -> None:
        for name, item_id in self.scenario.subjects(self.sandbox).items():
            self.sandbox.doubts.begin(name, FORMS[form], item_id=item_id)

    def edit(self) -> None:
        """Publish a new version of what the doubts are about, or of two items: another first file."""
        world = self.sandbox.world
        subjects = {*self.scenario.subjects(self.sandbox).values()} - {0}
        for item_id in subjects or world.public_ids[:2]:
            if not world.is_private(item_id):
                world.edit(item_id)

    def sums(self, place: str) -> set[str]:
        """The md5 of all files in a place of the folder."""
        return {_md5(path) for path in (self.path / place).rglob("*") if path.is_file()}

    def cells(self, ended: Ended) -> dict[str, str]:
        """What became of each doubt's item, or of all of them."""
        if ended.status not in {0, 1}:
            return dict.fromkeys(self.scenario.doubts, f"stopped ({ended.status})")
        with closing(sqlite3.connect(self.path / "harvest.db")) as db:
            found = db.execute(
                "SELECT item_key, failure_kind FROM work WHERE state = 'failed'"
                " UNION SELECT item_key, failure_kind FROM files WHERE status = 'failed'"
                " UNION SELECT 0, failure_kind FROM listing_failures"
                " UNION SELECT item_key, 'withdrawn' FROM work WHERE state = 'withdrawn'"
            ).fetchall()
        outcomes: dict[str, str] = {}
        for name, item_id in self.scenario.subjects(self.sandbox).items():
            words = {word for each, word in found if item_id in {0, each}}
            outcomes[name] = ", ".join(sorted(words)) or WHOLE
        assert ended.status == any(
            failure_kind for _, failure_kind in found if failure_kind != "withdrawn"
        ), ended.out
        return outcomes

    def assert_cells(self, time: str, form: str, ended: Ended) -> None:
        expected = self.scenario.cells(time, form)
        found = self.cells(ended)
        if UNSEEN in expected.values():
            with pytest.raises(AssertionError):
                self.assert_truth()
            expected = dict.fromkeys(expected, WHOLE)
        assert found == expected, f"{time}, {form}\n{ended.out}{ended.err}"

    def assert_truth(self) -> None:
        """The folder holds what the world has now, and, here or in the trash, what it ever had."""
        ids, world, words = self.scenario.ids(self.sandbox), self.sandbox.world, self.scenario.words
        own = set(ids) if self.scenario.is_private else set()
        assert rows(self.path / "failures.csv") == []
        if "all" not in words:
            assert_records(self.path, self.sandbox, ids, own)
        if "stats" in words[-1]:
            assert_stats(self.path, self.sandbox, ids)
            return
        now = {
            file["computed_md5"] or file["supplied_md5"]
            for each in ids
            for version in (world.versions(each) if "all" in words else [0])
            for file in world.files(each, version, private=each in own)
            if not world.is_withheld(each)
        } - {""}
        assert now <= self.sums("files")
        self.ever |= now
        self.assert_nothing_lost()

    def assert_nothing_lost(self) -> None:
        assert self.ever <= self.sums("files") | self.sums(".trash")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def in_short(name: str, form: str, options: tuple[str, ...]) -> bool:
    """Whether `make test` plays it."""
    if options == PRUNING:
        return form == "always" or name in PLAYED_ONCE
    return form == "always" and name in KEPT


@pytest.mark.parametrize(
    ("name", "form", "options"),
    [
        pytest.param(*case, marks=[pytest.mark.nightly] * (not in_short(*case)))
        for case in product(SCENARIOS, FORMS, (PRUNING, ()))
    ],
    ids=lambda value: value if isinstance(value, str) else "prune" if value else "keep",
)
async def test_each_doubtful_answer_has_the_documented_effect(
    name: str, form: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    scenario = SCENARIOS[name]
    async with Sandbox(replace(ITEMS, **scenario.settings)) as sandbox:  # type: ignore[arg-type]  # by name
        folder = Folder(tmp_path / "out", sandbox, scenario)
        folder.edit()
        folder.begin(form)
        folder.assert_cells("first", form, await folder.run(*options))
        assert folder.sums(".trash") == set(), "nothing of a first run can be removed"
        sandbox.doubts.end()
        if not scenario.is_whole("first", form):
            assert (await folder.run()).status == 0
        folder.assert_truth()

        folder.edit()
        folder.begin(form)
        folder.assert_cells("later", form, await folder.refresh(*options))
        folder.assert_nothing_lost()
        sandbox.doubts.end()
        removes = options == PRUNING and scenario.removed(form) != "nothing"
        assert bool(folder.sums(".trash")) == removes
        assert (await folder.run()).status == 0
        folder.assert_truth()
