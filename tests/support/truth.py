"""Compares a harvested folder with the sandbox's truth: every record, number and byte."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable
from pathlib import Path

import orjson

from harvester.sandbox import Sandbox

HEADERS = {
    "items.csv": "id,title,doi,type,created_date,published_date,modified_date,licence,group_id,authors,"
    "categories,files,bytes",
    "stats.csv": "item_id,total_views,total_downloads",
    "files.csv": "item_id,file_id,name,path,size,md5,status,reason,url,version",
    "failures.csv": "item_id,file_id,task,error,attempts",
    "changes.csv": "item_id,version,change,fields,files",
    "versions.csv": "item_id,version,doi,files,bytes,folder",
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        assert ",".join(reader.fieldnames or ()) == HEADERS[path.name]
        return list(reader)


def status_of(sandbox: Sandbox, item_id: int, file: dict[str, object]) -> str:
    if file["is_link_only"]:
        return "link"
    return "withheld" if sandbox.world.is_withheld(item_id) else "done"


def assert_complete(
    folder: Path,
    sandbox: Sandbox,
    ids: Iterable[int],
    private: Iterable[int] = (),
    *,
    statistics: bool = True,
) -> None:
    """Assert that the folder holds the whole truth about these items and nothing else."""
    wanted, from_account = sorted(set(ids)), set(private)
    assert rows(folder / "failures.csv") == []
    assert_records(folder, sandbox, wanted, from_account)
    if statistics:
        assert_stats(folder, sandbox, wanted)
    assert_files(folder, sandbox, wanted)
    assert_items(folder, sandbox, wanted)


def assert_complete_but(
    folder: Path, sandbox: Sandbox, *, items: Iterable[int], files: Iterable[int], stats: Iterable[int]
) -> None:
    """Assert the truth about all but what cannot be had, and a failure for each of that and no other."""
    ids = set(sandbox.world.search("survey"))
    lost_items, lost_stats = ids & set(items), ids & set(stats)
    here = sorted(ids - lost_items)
    lost_files = {file_id for file_id in files if file_id // 100 in here}
    failures = {(row["task"], row["item_id"], row["file_id"]) for row in rows(folder / "failures.csv")}
    assert failures == {
        *(("metadata", str(item_id), "") for item_id in lost_items),
        *(("stats", str(item_id), "") for item_id in lost_stats),
        *(("files", str(file_id // 100), str(file_id)) for file_id in lost_files),
    }
    assert_records(folder, sandbox, here, set())
    assert_stats(folder, sandbox, sorted(ids - lost_stats))
    assert_files(folder, sandbox, here, lost=lost_files)
    assert_items(folder, sandbox, here)


def assert_items(folder: Path, sandbox: Sandbox, wanted: list[int]) -> None:
    items = rows(folder / "items.csv")
    assert [int(row["id"]) for row in items] == wanted
    for row in items:
        record = sandbox.world.record(int(row["id"]), whole=True)
        assert (int(row["files"]), int(row["bytes"])) == (len(record["files"]), record["size"])
        assert row["title"].lstrip("'") == record["title"].lstrip("'")
        assert row["doi"] == record["doi"]


def assert_records(folder: Path, sandbox: Sandbox, wanted: list[int], private: set[int]) -> None:
    lines = (folder / "metadata.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == wanted
    for item_id, line in zip(wanted, lines, strict=True):
        as_sent = sandbox.world.record(item_id, private=item_id in private)
        whole = sandbox.world.record(item_id, private=item_id in private, whole=True)
        assert orjson.loads(line) == whole
        if as_sent == whole:
            assert line == orjson.dumps(whole)


def assert_stats(folder: Path, sandbox: Sandbox, wanted: list[int]) -> None:
    expected = []
    for item_id in wanted:
        totals = sandbox.world.totals(item_id)
        views, downloads = (str(totals.get(name, "")) for name in ("views", "downloads"))
        expected.append({"item_id": str(item_id), "total_views": views, "total_downloads": downloads})
    assert rows(folder / "stats.csv") == expected


def assert_files(
    folder: Path, sandbox: Sandbox, wanted: list[int], lost: Container[int] = frozenset()
) -> None:
    world = sandbox.world
    listed = {(int(row["item_id"]), int(row["file_id"])): row for row in rows(folder / "files.csv")}
    expected = {(item_id, file["id"]): file for item_id in wanted for file in world.files(item_id)}
    assert listed.keys() == expected.keys()
    spoilt = {
        int(seen.path[1:]) for seen in sandbox.requests_to("storage") if "wrong-md5" in (seen.fault or "")
    }
    paths = set()
    for (item_id, file_id), file in expected.items():
        row = listed[item_id, file_id]
        status = "failed" if file_id in lost else status_of(sandbox, item_id, file)
        assert row["status"] == status
        assert int(row["size"]) == file["size"]
        assert row["md5"] == (file["computed_md5"] or file["supplied_md5"])
        if status == "done":
            path = folder / row["path"]
            if file_id in spoilt and not row["md5"]:  # figshare gives no sum: nothing could tell
                assert path.stat().st_size == file["size"]
            else:
                assert path.read_bytes() == world.content(file_id), row
            paths.add(path)
        else:
            assert (row["path"] == "") is (status == "link")
            assert not row["path"] or not (folder / row["path"]).exists()
            assert row["reason"] or status == "link"
        assert row["url"].lstrip("'") == file["download_url"]
    on_disk = {path for path in (folder / "files").rglob("*") if path.is_file()} if paths else set()
    assert on_disk == paths
    partial = folder / ".partial"
    assert not partial.exists() or list(partial.iterdir()) == []
