"""Which files are fetched: globs, sizes, and how many bytes in all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.sandbox import Sandbox
from tests.support.program import at, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


def done(folder: Path) -> dict[str, int]:
    """Paths and sizes of what is here."""
    found = {row["path"]: int(row["size"]) for row in rows(folder / "files.csv") if row["status"] == "done"}
    on_disk = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("files/*/*")}
    assert found == {path: size for path, size in on_disk.items() if (folder / path).is_file()}
    return found


async def test_files_too_small_or_too_large_are_skipped(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag3", "-o", tmp_path, *at(sandbox))
    ended = await harvester(*words, "--min-size", "1 kB", "--max-size", "10 kB", "--tasks", "files")
    assert ended.status == 0, ended.err
    sizes = done(tmp_path).values()
    there = [
        file["size"]
        for item_id in sandbox.world.search(":tag: tag3")
        for file in sandbox.world.files(item_id)
        if not file["is_link_only"] and not sandbox.world.is_withheld(item_id)
    ]
    assert sorted(sizes) == sorted(size for size in there if 1000 <= size <= 10_000)
    assert 0 < len(sizes) < len(there)


async def test_no_more_bytes_are_fetched_than_max_total(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag3", "--tasks", "files", "-o", tmp_path, *at(sandbox))
    ended = await harvester(*words, "--max-total", "100 kB")
    assert ended.status == 0, ended.err
    first = done(tmp_path)
    assert 90_000 < sum(first.values()) <= 100_000, "as many as fit"
    assert (await harvester(*words, "--max-total", "100 kB")).status == 0
    assert done(tmp_path) == first, "the second run has no room of its own"
    assert (await harvester(*words, "--max-total", "150 kB")).status == 0
    more = done(tmp_path)
    assert first.items() <= more.items()
    assert 130_000 < sum(more.values()) <= 150_000
    assert (await harvester(*words, "--max-total", "10 kB")).status == 0
    assert done(tmp_path) == more, "nothing that is here is taken away"
    assert (await harvester(*words)).status == 0
    statuses = {row["status"] for row in rows(tmp_path / "files.csv")}
    assert "skipped" not in statuses
