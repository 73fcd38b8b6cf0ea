"""An empty page is the end of a listing when two answers say so; one alone may be a bad moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.figshare.cursor import PageCursor
from harvester.figshare.protocol import Listing
from harvester.sandbox import Sandbox, Settings
from harvester.sources.institution import Institution
from tests.support.calls import calls, only, read
from tests.support.forked import forked, harvester
from tests.support.program import at
from tests.support.sources import SOURCES
from tests.support.truth import rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

METADATA = ("run", "--search", "survey", "--tasks", "metadata", "-o")


async def go_on(
    sandbox: Sandbox, listing: Listing, position: str | None, pages: int
) -> tuple[set[int], str | None]:
    """Read this number of pages from a position, or to the end; return the items, and the next position."""
    found = set[int]()
    async with calls(sandbox) as figshare:
        for _ in range(pages):
            page = await listing.page(figshare, position)
            found |= {ref.id for ref in page.refs}
            if (position := page.cursor) is None:
                break
    return found, position


def position_in(folder: Path) -> PageCursor:
    """Where the listing has got to, in the ledger."""
    if not (folder / "harvest.db").exists():
        return PageCursor()
    with closing(sqlite3.connect(f"file:{folder}/harvest.db?mode=ro", uri=True)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'listings'").fetchone():
            return PageCursor()
        found = db.execute("SELECT position FROM listings").fetchone()
        return PageCursor.read(found[0] if found else None)


@pytest.mark.parametrize("cursors", [True, False], ids=["cursors", "numbers"])
@pytest.mark.parametrize("source", SOURCES)
async def test_pages_that_are_empty_once_are_requested_again(source: str, cursors: bool) -> None:
    settings = Settings(items=43, private_items=17, page_cap=10, cursors=cursors)
    async with Sandbox(settings) as sandbox:
        listing, truth = SOURCES[source]
        sandbox.doubts.begin("listing-empty", 1)
        found = await read(sandbox, await only(listing))
        assert set(found.ids) == set(truth(sandbox.world))


async def test_an_empty_listing_is_accepted_after_two_empty_answers() -> None:
    async with Sandbox(Settings(items=43)) as sandbox:
        sandbox.doubts.begin("listing-empty")
        found = await read(sandbox, await only(Institution(id=319)))
        assert (found.ids, len(sandbox.requests_to("api"))) == ([], 2)


async def test_an_empty_page_in_the_middle_ends_a_listing_when_it_stays_so() -> None:
    async with Sandbox(Settings(items=43, page_cap=10, cursors=False)) as sandbox:
        listing = await only(Institution(id=319))
        first, position = await go_on(sandbox, listing, None, 2)
        sandbox.doubts.begin("listing-empty")
        more, position = await go_on(sandbox, listing, position, 5)
        assert (len(first), more, position) == (20, set(), None)
        assert [seen.fields["page"] for seen in sandbox.requests_to("api")] == [1, 2, 3, 3]


@pytest.mark.parametrize("at_page", [1, 2, 3, 4], ids=str)
async def test_one_empty_page_past_a_cap_loses_no_item(at_page: int) -> None:
    """Pages by number, slices by date, and the last one for what tells no date."""
    async with Sandbox(Settings(items=25, page_cap=10, cap=10, cursors=False)) as sandbox:
        listing = await only(Institution(id=319))
        found, position = await go_on(sandbox, listing, None, at_page)
        sandbox.doubts.begin("listing-empty", 1)
        more, position = await go_on(sandbox, listing, position, 20)
        assert found | more == set(sandbox.world.public_ids)
        assert position is None


async def test_an_empty_last_page_for_undated_entries_is_requested_again() -> None:
    async with Sandbox(Settings(items=5)) as sandbox:
        listing, tail = await only(Institution(id=319)), PageCursor(tail=True, largest=5)
        sandbox.doubts.begin("listing-empty", 1)
        _, position = await go_on(sandbox, listing, tail.write(), 1)
        assert position is not None
        assert PageCursor.read(position) == tail.replace(was_empty=True)
        assert await go_on(sandbox, listing, position, 1) == (set(), None)


@pytest.mark.parametrize("cap", [9000, 100], ids=["within the cap", "past the cap"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "dead"])
async def test_an_empty_page_at_the_cursor_of_a_killed_run_loses_no_item(times: int, cap: int) -> None:
    async with Sandbox(Settings(items=430, page_cap=100, cap=cap)) as sandbox:
        listing = await only(Institution(id=319))
        found, position = await go_on(sandbox, listing, None, 2)
        sandbox.doubts.begin("cursor-dead", times)
        _, position = await go_on(sandbox, listing, position, times)
        sandbox.doubts.end()
        more, position = await go_on(sandbox, listing, position, 20)
        assert found | more == set(sandbox.world.public_ids)
        assert position is None
        is_begun_anew = times == 2 and cap == 100
        refused = [seen.status for seen in sandbox.requests_to("api")].count(422)
        assert refused == is_begun_anew, "a page by number behind the cap would have confirmed the end"
        assert (more == set(sandbox.world.public_ids)) == is_begun_anew


async def test_a_listing_past_the_cap_with_empty_cursor_pages_restarts_once() -> None:
    async with Sandbox(Settings(items=430, page_cap=100, cap=100)) as sandbox:
        sandbox.doubts.begin("cursor-dead")
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)[:100]
        assert [seen.status for seen in sandbox.requests_to("api")] == [200, 200, 200, 422] * 2


async def test_a_later_run_makes_one_more_request_and_none_for_items(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12, heavy=0, page_cap=5)) as sandbox:
        words = (*METADATA, tmp_path / "out", *at(sandbox))
        path = tmp_path / "printed"
        assert (await harvester(*words, output=path)).status == 0
        first = len(sandbox.requests_to("api"))
        sandbox.doubts.begin("listing-empty", 1)
        assert (await harvester(*words, output=path)).status == 0
        later = [seen.path for seen in sandbox.requests_to("api")[first:]]
        assert later == ["/v2/articles/search"] * 6, "three pages, each of them twice, and no item"
        assert len(rows(tmp_path / "out" / "items.csv")) == 12


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_a_run_killed_before_it_confirms_an_empty_page_leaves_that_to_the_next(
    times: int, tmp_path: Path
) -> None:
    folder, printed = tmp_path / "out", tmp_path / "printed"
    async with Sandbox(Settings(items=4, heavy=0, latency=0.3)) as sandbox:
        words = (*METADATA, folder, *at(sandbox))
        sandbox.doubts.begin("listing-empty")
        async with forked(words, printed) as running:
            await until(lambda: position_in(folder).was_empty)
            running.kill()
            assert await running.wait() < 0
        assert position_in(folder) == PageCursor(was_empty=True)
        if times == 1:
            sandbox.doubts.end()
        before = len(sandbox.requests_to("api"))
        assert (await harvester(*words, output=printed)).status == 0
        if times == 2:
            assert len(sandbox.requests_to("api")) == before + 1, "the second empty answer is the end"
        assert len(rows(folder / "items.csv")) == (4 if times == 1 else 0)
