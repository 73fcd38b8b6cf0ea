"""A record that says less than the one that is here is a doubt: asked again, then a failure for now."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester import harvest
from harvester.figshare.records import read_article
from harvester.figshare.staleness import says_less
from harvester.sandbox import Sandbox, Settings
from tests.support.each import for_each
from tests.support.program import config
from tests.support.truth import rows

pytestmark = pytest.mark.anyio

KINDS = ("record-bare", "record-fewer", "record-older", "record-stale", "record-null", "record-other")
REFRESH = frozenset({"metadata"})


def here(folder: Path) -> tuple[bytes, list[dict[str, str]]]:
    """The records and the files of a folder, but for where the sandbox has them this time."""
    return (folder / "metadata.jsonl").read_bytes(), rows(folder / "files.csv")


async def test_less_complete_records_replace_nothing(tmp_path: Path) -> None:
    """Each kind of them is that of an item of its own."""
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        world = sandbox.world
        ids = [
            key for key in world.public_ids if 1 < len(world.files(key)) < 9 and not world.is_withheld(key)
        ]
        subjects = dict(zip(KINDS, ids, strict=False))
        ids = list(subjects.values())
        assert len(ids) == len(KINDS)
        for item_id in ids:
            world.edit(item_id)
        more = {"sources": [{"kind": "items", "ids": ids}], "tasks": ["metadata", "files"]}
        job = config(sandbox, tmp_path, **more, **{"retry.attempts": 2})
        assert (await harvest(job)).exit_status == 0
        right = here(tmp_path)
        for kind, item_id in subjects.items():
            sandbox.doubts.begin(kind, 1, item_id=item_id)
        assert (await harvest(job, refresh=REFRESH)).exit_status == 0, "asked again in the same run"
        assert here(tmp_path) == right
        for kind, item_id in subjects.items():
            sandbox.doubts.begin(kind, item_id=item_id)
        for _ in range(2):
            summary = await harvest(job, refresh=REFRESH)
            assert summary.exit_status == 1
            assert {int(row["item_id"]) for row in rows(tmp_path / "failures.csv")} == set(ids)
            assert here(tmp_path) == right
            assert not rows(tmp_path / "changes.csv")
        sandbox.doubts.end()
        assert {seen.fault for seen in sandbox.requests} >= {*KINDS}
        assert (await harvest(job)).exit_status == 0
        assert here(tmp_path) == right


RECORD = (
    b'{"id": 1, "title": "A", "version": 2, "modified_date": "2024-05-05T00:00:00Z", "size": 3,'
    b' "authors": [{"full_name": "B"}], "files": [{"id": 7, "name": "a", "size": 3}]}'
)


@for_each(
    ("old", "new", "said"),
    [
        (b"", b"", ""),
        (b'"version": 2', b'"version": 1', "version 2 is here"),
        (b'"version": 2', b'"version": 3', ""),
        (b'"A"', b"null", "title"),
        (b'"A"', b'"C"', ""),
        (b'[{"full_name": "B"}]', b"[]", "authors"),
        (b'{"id": 7, "name": "a", "size": 3}', b"", "none of the 1 file"),
        (b'"id": 7', b'"id": 8', "file 7"),
        (b'"size": 3, "authors"', b'"size": 2, "authors"', "bytes of its size"),
        (b'"size": 3, "authors"', b'"size": 4, "authors"', ""),
        (b"2024-05-05", b"2024-05-04", ""),
        (
            b'"A", "version": 2, "modified_date": "2024-05-05',
            b'"C", "version": 2, "modified_date": "2023-05-05',
            "is of",
        ),
        (
            b'"A", "version": 2, "modified_date": "2024-05-05',
            b'"C", "version": 2, "modified_date": "2024-06-05',
            "",
        ),
        (
            b'"A", "version": 2, "modified_date": "2024-05-05',
            b'null, "version": 2, "modified_date": "2024-06-05',
            "",
        ),
        (b'"size": 3, ', b'"size": 3, "is_embargoed": true, ', ""),
        (
            b'"authors": [{"full_name": "B"}], "files": [{"id": 7',
            b'"is_confidential": true, "authors": [{"full_name": "B"}], "files": [{"id": 8',
            "file 7",
        ),
        (b'"size": 3, "authors"', b'"size": 3, "is_confidential": true, "authors"', ""),
    ],
)
def test_the_signs_of_a_less_complete_record(old: bytes, new: bytes, said: str) -> None:
    raw = RECORD.replace(old, new, 1)
    before, now = read_article(RECORD), read_article(raw)
    found = says_less(now, raw, before, RECORD, latest="2025-01-01")
    assert said in found
    assert bool(found) is bool(said)
    draft = replace(before, draft_of=1)
    assert not says_less(now, raw, draft, RECORD, latest="2025-01-01"), "an edit that was thrown away"


def test_an_impossible_date_does_not_hide_later_changes() -> None:
    odd = RECORD.replace(b"2024", b"2924")
    raw = RECORD.replace(b'"A"', b'"C"')
    assert not says_less(read_article(raw), raw, read_article(odd), odd, latest="2025-01-01")


def test_a_newly_withheld_record_may_list_no_files() -> None:
    withheld = RECORD.replace(b'"size": 3, "authors"', b'"size": 3, "is_confidential": true, "authors"')
    bare = withheld.replace(b'{"id": 7, "name": "a", "size": 3}', b"")
    now = read_article(bare)
    assert now.withheld
    assert not says_less(now, bare, read_article(RECORD), RECORD, latest="2025-01-01")
    assert "file 7" in says_less(now, bare, read_article(withheld), withheld, latest="2025-01-01")
