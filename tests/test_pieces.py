"""Parts of a file that come before their turn: kept, gone on with, appended, and never the wrong ones."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from harvester.client.download.single import FileWriter
from harvester.errors import CorruptBody, StorageError
from harvester.models import RemoteFile
from harvester.storage.local.partial import Partial
from harvester.storage.local.segments import BUFFER_SIZE, Segment
from harvester.storage.local.store import Store
from harvester.storage.orphans import delete_orphans
from harvester.storage.protocol import RangeWriter
from tests.support.stores import (
    PLANTED,
    held_partial_of,
    no_file_larger_than,
    open_files,
    opened,
    partial_of,
    remote,
)

pytestmark = pytest.mark.anyio

CONTENT = os.urandom(100_000)
FILE = remote(5, "x", content=CONTENT)


def piece_of(folder: Path, begin: int) -> Path:
    main = partial_of(folder, FILE)
    return main.with_name(f"{main.stem}@{begin}.part")


def held_piece_of(folder: Path, begin: int) -> Path:
    """The same while it is being filled."""
    main = held_partial_of(folder, FILE)
    return main.with_name(f"{main.stem}@{begin}.part")


def left(folder: Path, main: int, *pieces: tuple[int, int]) -> None:
    """Leave what a killed run had: so much of the beginning, and pieces from one byte to another."""
    (folder / ".partial").mkdir(exist_ok=True)
    partial_of(folder, FILE).write_bytes(CONTENT[:main])
    for begin, end in pieces:
        piece_of(folder, begin).write_bytes(CONTENT[begin:end])


async def bring(partial: Partial, begin: int, end: int) -> Segment:
    """Bring bytes from a place on, as a further connection does."""
    piece = partial.segments().divide(begin)
    assert piece is not None
    for place in range(begin, end, 7_000):
        await piece.write(CONTENT[place : min(end, place + 7_000)])
    await piece.release()
    return piece


async def finish(partial: Partial) -> None:
    """Bring all that is missing, in order, and publish."""
    while partial.received < len(CONTENT):
        if partial.received < partial.segments().begin:
            await partial.write(CONTENT[partial.received : partial.segments().begin])
        else:
            await partial.segments().absorb()
    await partial.commit("files/1/x")
    await partial.abort()


def assert_whole(folder: Path) -> None:
    assert (folder / "files/1/x").read_bytes() == CONTENT
    assert list((folder / ".partial").iterdir()) == []


async def test_segments_in_any_order_become_the_file(tmp_path: Path) -> None:
    partial = await opened(Store(tmp_path), 1, FILE)
    await partial.write(CONTENT[:10_000])
    await bring(partial, 50_000, 100_000)
    assert partial.segments().begin == 50_000
    await bring(partial, 20_000, 45_000)
    assert partial.segments().begin == 20_000
    await finish(partial)
    assert_whole(tmp_path)


async def test_received_ranges_and_ranges_of_other_connections_are_not_divided(tmp_path: Path) -> None:
    partial = await opened(Store(tmp_path), 1, FILE)
    await partial.write(CONTENT[:10_000])
    piece = partial.segments().divide(50_000)
    assert piece is not None
    await piece.write(CONTENT[50_000:60_000])
    for place in (0, 9_999, 10_000, 50_000, 55_000, 60_000, 100_000):
        assert partial.segments().divide(place) is None, place
    await piece.release()
    assert partial.segments().divide(60_000) is piece, "its connection has ended: another goes on"
    await piece.release()
    await partial.abort()


async def test_the_beginning_absorbs_a_segment_that_is_still_growing(tmp_path: Path) -> None:
    partial = await opened(Store(tmp_path), 1, FILE)
    await partial.write(CONTENT[:50_000])
    piece = partial.segments().divide(50_001)
    assert piece is not None
    await partial.write(CONTENT[50_000:50_001])
    absorbed = anyio.Event()

    async def absorb() -> None:
        await partial.segments().absorb()
        absorbed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(absorb)
        await piece.write(CONTENT[50_001:80_000])
        await anyio.sleep(0.05)
        assert not absorbed.is_set()
        await piece.release()
    assert partial.received == 80_000
    await finish(partial)
    assert_whole(tmp_path)


async def test_another_run_resumes_the_segments(tmp_path: Path) -> None:
    first = await opened(Store(tmp_path), 1, FILE)
    await first.write(CONTENT[:10_000])
    await bring(first, 50_000, 70_000)
    await first.abort()
    assert piece_of(tmp_path, 50_000).read_bytes() == CONTENT[50_000:70_000]
    second = await opened(Store(tmp_path), 1, FILE)
    assert (second.received, second.segments().begin) == (10_000, 50_000)
    assert [(piece.offset, piece.until) for piece in second.segments()] == [(70_000, 100_000)]
    await bring(second, 70_000, 90_000)
    await finish(second)
    assert_whole(tmp_path)


async def test_the_same_run_resumes_the_segments_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = await opened(store, 1, FILE)
    await bring(first, 50_000, 70_000)
    await first.abort()
    second = await opened(store, 1, FILE)
    assert (second.received, second.segments().begin) == (0, 50_000)
    await finish(second)
    assert_whole(tmp_path)


async def test_a_segment_that_was_being_appended_at_a_crash_is_appended_from_there(
    tmp_path: Path,
) -> None:
    left(tmp_path, 60_000, (50_000, 80_000))
    partial = await opened(Store(tmp_path), 1, FILE)
    await partial.segments().absorb()
    assert partial.received == 80_000
    await finish(partial)
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ([(20_000, 50_000)], []),  # all of it is in the beginning, the process died before it was removed
        ([(60_000, 80_000), (70_000, 90_000)], [60_000]),
        ([(60_000, 60_000)], []),
        ([(60_000, 70_000), (70_000, 90_000)], [60_000, 70_000]),
    ],
)
async def test_received_bytes_are_not_stored_twice(
    pieces: list[tuple[int, int]], kept: list[int], tmp_path: Path
) -> None:
    left(tmp_path, 50_000, *pieces)
    partial = await opened(Store(tmp_path), 1, FILE)
    assert [piece.begin for piece in partial.segments()] == kept
    assert len(list((tmp_path / ".partial").iterdir())) == 1 + len(kept)
    await finish(partial)
    assert_whole(tmp_path)


@pytest.mark.parametrize(("begin", "size"), [(90_000, 10_001), (100_000, 1), (10**12, 5)])
async def test_a_segment_beyond_the_end_is_removed(begin: int, size: int, tmp_path: Path) -> None:
    left(tmp_path, 50_000)
    piece_of(tmp_path, begin).write_bytes(bytes(size))
    partial = await opened(Store(tmp_path), 1, FILE)
    assert len(partial.segments()) == 0
    await finish(partial)
    assert_whole(tmp_path)


async def test_a_corrupt_segment_deletes_the_whole_partial_file(tmp_path: Path) -> None:
    left(tmp_path, 50_000)
    piece_of(tmp_path, 60_000).write_bytes(bytes(10_000))
    partial = await opened(Store(tmp_path), 1, FILE)
    with pytest.raises(CorruptBody):
        await finish(partial)
    await partial.abort()
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_starting_over_deletes_segments_and_ignores_later_bytes(
    tmp_path: Path,
) -> None:
    partial = await opened(Store(tmp_path), 1, FILE)
    await bring(partial, 70_000, 90_000)
    piece = partial.segments().divide(50_000)
    assert piece is not None
    await piece.write(CONTENT[50_000:51_000])
    await partial.start_over()
    assert piece.until == piece.offset
    await piece.write(CONTENT[51_000:60_000])
    await piece.release()
    assert not list(tmp_path.glob(".partial/*@*"))
    await finish(partial)
    assert_whole(tmp_path)


async def test_without_an_md5_segments_of_an_earlier_run_are_not_used(tmp_path: Path) -> None:
    file = remote(5, "x", content=CONTENT, md5=False)
    (tmp_path / ".partial").mkdir()
    for name in ("1-5-unproven.part", "1-5-unproven@7.part"):
        (tmp_path / ".partial" / name).write_bytes(b"x")
    partial = await opened(Store(tmp_path), 1, file)
    assert (partial.received, len(partial.segments())) == (0, 0)
    assert not list(tmp_path.glob(".partial/*@*"))
    await finish(partial)
    assert_whole(tmp_path)


async def test_orphaned_segments_are_removed_and_pending_ones_kept(tmp_path: Path) -> None:
    left(tmp_path, 50_000, (60_000, 70_000))
    (tmp_path / ".partial" / f"2-6-{'0' * 32}@5.part").write_bytes(b"x")
    (tmp_path / ".partial" / "a file of the user").touch()
    asked = set()

    async def is_of_use(item_id: int, file_id: int, md5: str | None) -> bool:
        asked.add((item_id, file_id, md5))
        return item_id == 1

    await delete_orphans(Store(tmp_path), is_of_use)
    assert asked == {(1, 5, FILE.md5), (2, 6, "0" * 32)}
    names = {path.name for path in (tmp_path / ".partial").iterdir()}
    assert names == {partial_of(tmp_path, FILE).name, piece_of(tmp_path, 60_000).name, "a file of the user"}


async def test_without_space_to_append_segments_they_are_dropped_and_the_file_is_kept(tmp_path: Path) -> None:
    left(tmp_path, 10_000, (50_000, 60_000))
    partial = await opened(Store(tmp_path, free_bytes=lambda _: 110_000), 1, FILE)
    assert len(partial.segments()) == 0
    assert partial.segments().try_reserve(20_000)
    assert not partial.segments().try_reserve(20_001)
    await finish(partial)
    assert_whole(tmp_path)


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_foreign_file_in_place_of_a_segment_is_replaced(
    when: str, plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    outside, harvest = tmp_path / "outside", tmp_path / "harvest"
    outside.write_bytes(b"precious")
    harvest.mkdir()
    left(harvest, 10_000)
    store = Store(harvest)
    if when == "before":
        plant(piece_of(harvest, 50_000), outside)
    partial = await opened(store, 1, FILE)
    if when == "meanwhile":
        plant(held_piece_of(harvest, 50_000), outside)
    with anyio.fail_after(20):
        await bring(partial, 50_000, 90_000)
        await finish(partial)
    assert outside.read_bytes() == b"precious"
    assert_whole(harvest)


async def test_a_segment_that_was_truncated_is_named(tmp_path: Path) -> None:
    before = open_files()
    partial = await opened(Store(tmp_path), 1, FILE)
    await partial.write(CONTENT[:50_000])
    await bring(partial, 50_001, 90_000)
    await partial.write(CONTENT[50_000:50_001])
    await partial.flush()
    os.truncate(held_piece_of(tmp_path, 50_001), 5)
    with pytest.raises(StorageError, match="@50001.part: was cut while it was written"):
        await partial.segments().absorb()
    await partial.abort()
    assert open_files() == before


async def test_a_partly_written_segment_keeps_the_written_part(tmp_path: Path) -> None:
    before = open_files()
    partial = await opened(Store(tmp_path), 1, FILE)
    with no_file_larger_than(10_000):
        piece = await bring(partial, 50_000, 90_000)
    assert (piece.received, piece.until) == (10_000, 100_000)
    await bring(partial, 60_000, 70_000)
    await finish(partial)
    assert_whole(tmp_path)
    assert open_files() == before


async def test_a_segment_is_removed_only_after_its_appended_bytes_are_durable(
    tmp_path: Path,
) -> None:
    synced: list[list[str]] = []

    def sync(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), held_partial_of(tmp_path, FILE).stat()):
            synced.append([path.name for path in tmp_path.glob(".partial/*@*")])

    partial = await opened(Store(tmp_path, sync=sync), 1, FILE)
    await partial.write(CONTENT[:50_000])
    await bring(partial, 50_001, 90_000)
    await partial.write(CONTENT[50_000:50_001])
    await partial.segments().absorb()
    assert synced == [[held_piece_of(tmp_path, 50_001).name]]
    assert not held_piece_of(tmp_path, 50_001).exists()
    await partial.abort()


async def test_memory_has_one_buffer_a_connection_for_segments_of_any_size(tmp_path: Path) -> None:
    block = os.urandom(1 << 16)
    md5 = hashlib.md5()
    for _ in range(1024):
        md5.update(block)
    file = RemoteFile(5, "x", "", 1024 * len(block), md5.hexdigest(), "", is_link=False)
    partial = await opened(Store(tmp_path), 1, file)
    tracemalloc.start()
    try:
        piece = partial.segments().divide(file.size // 2)
        assert piece is not None
        fillings: tuple[RangeWriter, RangeWriter] = (piece, FileWriter(partial, file.size))
        for into in fillings:
            while into.offset < into.until:
                await into.write(block)
        await piece.release()
        while partial.received < file.size:
            await partial.segments().absorb()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * BUFFER_SIZE
    await partial.commit("files/1/x")
    await partial.abort()
