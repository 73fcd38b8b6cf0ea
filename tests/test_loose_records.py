"""Records that come are kept: odd types, fields and files, sums that come late or differ, lists refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester import harvest
from harvester.errors import InvalidResponse
from harvester.figshare.diff import changed_fields, changed_files, has_only_new_sums
from harvester.figshare.entries import decode_entries
from harvester.figshare.lenient import Unclear, whole_number
from harvester.figshare.records import (
    decode_account,
    decode_groups,
    decode_licences,
    decode_versions,
    read_article,
    read_description,
)
from harvester.figshare.usage import decode_breakdown, decode_counts, decode_timeline, decode_total
from harvester.models import RemoteFile
from harvester.sandbox import Sandbox, Settings
from harvester.text.fields import join_values, split_values
from tests.support.each import for_each
from tests.support.program import at, config, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


# -- values whose meaning is plain ------------------------------------------------------------------


@for_each(
    ("value", "number"),
    [(5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), ("5.0", 5), ("007", 7), (0, 0), ("0", 0), (10**30, 10**30)],
)
def test_a_number_with_a_clear_meaning_is_read(value: object, number: int) -> None:
    assert whole_number(value) == number


@for_each(
    "value",
    [
        "big",
        "",
        "1e3",
        "0x10",
        "1_000",
        "+5",
        "-5",
        "٣",
        "1.5",
        1.5,
        2.0**60,
        True,
        False,
        None,
        [],
        {},
        "5 MB",
    ],
)
def test_a_number_without_a_clear_meaning_is_none(value: object) -> None:
    with pytest.raises(Unclear):
        whole_number(value)


def flag(value: object) -> str:
    return read_article(orjson.dumps({"id": 1, "is_confidential": value})).withheld


def test_a_boolean_may_be_a_number_or_text() -> None:
    assert [flag(each) for each in (True, 1, "1", "true", "True", " TRUE ", 1.0)] == ["confidential"] * 7
    assert [flag(each) for each in (False, 0, "0", "false", 0.0, "", None)] == [""] * 7


@for_each("value", [2, -1, "yes", "perhaps", [], {"a": 1}, 0.5])
def test_a_boolean_without_a_clear_meaning_is_none_and_named(value: object) -> None:
    article = read_article(orjson.dumps({"id": 1, "is_confidential": value}))
    assert (article.withheld, article.odd_fields) == ("", ("is_confidential",))


@pytest.mark.parametrize("value", ["7", 7.0, " 7", "7.0"])
def test_the_id_of_an_item_may_be_text(value: object) -> None:
    assert read_article(orjson.dumps({"id": value})).id == 7
    assert decode_entries(orjson.dumps([{"id": value}])).entries[0].id == 7


def file_of(**more: object) -> tuple[tuple[RemoteFile, ...], tuple[str, ...], tuple[str, ...]]:
    record = {"id": 2, "name": "a", "size": 3, "is_link_only": False, "computed_md5": "a" * 32, **more}
    article = read_article(json.dumps({"id": 1, "files": [record, {"id": 9, "size": 1}]}).encode())
    assert article.files[-1].id == 9, "the other one is there"
    return article.files[:-1], article.odd_files, article.odd_fields


@pytest.mark.parametrize("more", [{"id": "2"}, {"size": "3"}, {"size": 3.0}, {"is_link_only": "0"}])
def test_a_file_in_other_types_is_that_file(more: dict[str, object]) -> None:
    assert file_of(**more) == file_of()


@for_each(
    ("more", "text"),
    [
        ({"id": "two"}, "file 1 of its list: id: unclear value 'two'"),
        ({"id": -2}, "file 1 of its list: id: unclear value -2"),
        ({"id": None}, "file 1 of its list: id: unclear value null"),
        ({"id": 10**400}, "file 1 of its list: id: unclear value of too many digits"),
        ({"id": [10**400]}, "file 1 of its list: id: unclear value […]"),
        ({"size": "big"}, "file 1 of its list, id 2: unclear size"),
        ({"size": -5}, "file 1 of its list, id 2: unclear size"),
        ({"size": 1.5}, "file 1 of its list, id 2: unclear size"),
        ({"size": 2**60}, "file 1 of its list, id 2: unclear size"),
        ({"is_link_only": "maybe"}, "file 1 of its list, id 2: unclear is_link_only"),
    ],
)
def test_a_malformed_file_does_not_affect_the_others(more: dict[str, object], text: str) -> None:
    assert file_of(**more) == ((), (text,), ())


@pytest.mark.parametrize(
    ("more", "name"),
    [({"name": 5}, "name"), ({"download_url": []}, "download_url"), ({"computed_md5": 1}, "computed_md5")],
)
def test_an_odd_text_loses_no_file(more: dict[str, object], name: str) -> None:
    ((file,), odd_files, odd) = file_of(**more)
    assert (file.id, odd_files, odd) == (2, (), (f"files[1].{name}",))


@pytest.mark.parametrize("odd", [None, "a.csv", 5, [], [{"id": 5}]])
def test_an_entry_that_is_no_file_is_malformed(odd: object) -> None:
    article = read_article(orjson.dumps({"id": 1, "files": [{"id": 9, "size": 1}, odd]}))
    assert [file.id for file in article.files] == [9]
    assert article.odd_files[0].startswith("file 2 of its list: unclear value")
    assert not article.files_complete, "the file list may say it better"


@pytest.mark.parametrize("files", ["none", {"1": {"id": 2}}, 5, True])
def test_if_files_have_another_type_the_file_list_is_requested(files: object) -> None:
    article = read_article(orjson.dumps({"id": 1, "size": 0, "files": files}))
    assert (article.files_complete, article.odd_fields) == (False, ("files",))


def test_a_file_list_is_read_as_loosely() -> None:
    listed = orjson.dumps([{"id": "2", "size": "3"}, {"id": "x"}, {"id": 4.0, "size": None}])
    article = read_article(orjson.dumps({"id": 1, "files": "none"}), listed)
    assert [(file.id, file.size) for file in article.files] == [(2, 3), (4, 0)]
    assert article.odd_files == ("file 2 of its list: id: unclear value 'x'",)
    assert article.odd_fields == (), "the list tells what the record did not"
    with pytest.raises(InvalidResponse):
        read_article(b'{"id": 1}', b'{"a": 1}')


def test_odd_fields_of_tables_never_lose_the_record() -> None:
    odd = {
        "title": 5,
        "doi": [],
        "defined_type_name": {},
        "created_date": 2024,
        "published_date": True,
        "modified_date": [1],
        "license": 7,
        "group_id": "group",
        "authors": "nobody",
        "categories": {"a": 1},
        "folder_structure": {"2": 5},
    }
    raw = orjson.dumps({"id": 1, "files": [{"id": 2, "size": 3}], "size": 3, **odd})
    article, shown = read_article(raw), read_description(raw)
    assert set(article.odd_fields) == odd.keys()
    assert article.files_complete
    assert (article.files[0].folder, article.modified_date) == ("", "")
    assert (shown.title, shown.doi, shown.licence, shown.group_id) == ("", "", "", None)
    assert (shown.authors, shown.categories) == ((), ())


def test_a_text_is_the_name_where_an_object_has_only_that() -> None:
    record = {"id": 1, "license": "CC0", "authors": ["A", None, {"full_name": "B"}], "categories": ["C", {}]}
    shown = read_description(orjson.dumps(record))
    assert (shown.licence, shown.authors, shown.categories) == ("CC0", ("A", "B"), ("C", ""))
    assert read_article(orjson.dumps(record)).odd_fields == ()


def test_a_list_with_odd_entries_keeps_the_others() -> None:
    record = {"id": 1, "authors": [{"full_name": "A"}, 7, {"full_name": 8}], "categories": [None, 5]}
    shown = read_description(orjson.dumps(record))
    assert (shown.authors, shown.categories) == (("A", ""), ())
    assert read_article(orjson.dumps(record)).odd_fields == (
        "authors[2]",
        "authors[3].full_name",
        "categories[2]",
    )


def test_an_empty_text_for_a_number_counts_as_absent() -> None:
    raw = orjson.dumps({"id": 1, "group_id": "", "size": "", "files": [{"id": 2, "size": ""}]})
    article = read_article(raw)
    assert (article.odd_fields, article.odd_files, article.size, len(article.files)) == ((), (), 0, 1)
    assert read_description(raw).group_id is None


# -- the other answers ------------------------------------------------------------------------------


def test_other_answers_are_read_as_loosely() -> None:
    assert decode_total(b'{"totals": "12"}') == 12
    assert decode_total(b'{"totals": ""}') is None
    assert decode_counts(b'{"7": "20", "8": 3.0}') == {"7": 20, "8": 3}
    assert [each.version for each in decode_versions(b'[{"version": "2"}, {"version": 1}]')] == [2, 1]
    assert [(g.id, g.parent_id) for g in decode_groups(b'[{"id": "5", "parent_id": ""}]')] == [(5, None)]
    assert [each.name for each in decode_licences(b'["CC0", {"name": 5}, {"name": "MIT"}]')] == [
        "CC0", None, "MIT",
    ]  # fmt: skip
    account = decode_account(b'{"id": "3", "institution_id": "x"}')
    assert (account.id, account.institution_id) == (3, None)
    assert decode_timeline(b'{"timeline": {"2024-01-01": "5", "2024-02-01": null}}') == {
        "2024-01-01": {"": 5}
    }
    assert decode_breakdown(b'{"breakdown": {"2024": {"Germany": {"Berlin": "2", "total": "3"}}}}') == {
        "2024": {"Germany": 3}
    }


@for_each(
    ("decode", "raw"),
    [
        (decode_total, b'{"totals": "many"}'),
        (decode_total, b'{"totals": true}'),
        (decode_total, b'{"totals": -1}'),
        (decode_counts, b'{"7": "x"}'),
        (decode_counts, b'{"7": null}'),
        (decode_versions, b'[{"version": "x"}]'),  # one less would be taken for all
        (decode_versions, b"{}"),
        (decode_groups, b'[{"id": 1, "parent_id": "x"}]'),  # its items would be excluded silently
        (decode_account, b'{"id": "me"}'),
        (decode_timeline, b'{"timeline": {"2024-01-01": "x"}}'),
        (decode_breakdown, b'{"breakdown": {"2024": {"Germany": {"Berlin": 1.5}}}}'),
    ],
)
def test_a_number_that_decides_is_plain_or_a_failure(decode: Any, raw: bytes) -> None:
    with pytest.raises(InvalidResponse):
        decode(raw)


def test_an_entry_is_kept_without_its_odd_texts_and_its_record_decides() -> None:
    entries = [
        {"id": "1", "group_id": "12", "defined_type": "3", "title": "T", "published_date": "2024"},
        {"id": 2, "title": 5, "handle": [], "created_date": "2023"},
        {"id": "3", "group_id": "x"},
        {"id": "x"},
    ]
    page = decode_entries(orjson.dumps(entries))
    first, second = page.entries
    assert (first.id, first.group_id, first.defined_type, first.title) == (1, 12, 3, "T")
    assert (second.id, second.title, second.created_date) == (2, None, "2023")
    assert (page.bare, [place for place, _ in page.odd]) == ((3,), [4])


# -- harvests ---------------------------------------------------------------------------------------

TABLES = ("items.csv", "files.csv", "stats.csv", "stats_timeline.csv", "versions.csv", "failures.csv")
ALL = ["metadata", "stats", "files", "timeline"]


def without_addresses(path: Path) -> bytes:
    """A table without the ports of the sandbox that its files are at."""
    return re.sub(rb"http://127[.]0[.]0[.]1:[0-9]+", b"", path.read_bytes())


async def test_a_harvest_in_loose_types_has_the_same_tables(tmp_path: Path) -> None:
    tables = []
    for loose in (False, True):
        settings = Settings(items=34, heavy=0, private_items=4, own_public=3, loose_types=loose)
        async with Sandbox(settings) as sandbox:
            out, world = tmp_path / str(loose), sandbox.world
            (versioned,) = world.with_trait("three versions")
            words = ("--group", 11962, "--subgroups", "--account", "--item", versioned, "-q")
            over_time = ("--versions", "all", "--granularity", "month", "--stats-since", "2026-01-01")
            tasks = ("--tasks", ",".join(ALL))
            ended = await harvester("run", *words, *over_time, *tasks, "-o", out, *at(sandbox))
            assert (ended.status, ended.err) == (0, "")
            tables.append({name: without_addresses(out / name) for name in TABLES})
            for line in (out / "metadata.jsonl").read_bytes().splitlines():
                record = orjson.loads(line)
                if "account_id" not in record:
                    item_id, version = (int(float(record[name])) for name in ("id", "version"))
                    as_received = world.record(item_id, version, whole=True)
                    assert record == as_received
    assert tables[0] == tables[1]
    assert [name for name, table in tables[0].items() if table.count(b"\n") < 2] == ["failures.csv"]


async def harvest_hostile(
    kind: str, folder: Path
) -> tuple[Any, list[dict[str, str]], dict[str, str], Sandbox]:
    async with Sandbox(Settings(items=4, heavy=0, hostile=(kind,))) as sandbox:
        summary = await harvest(config(sandbox, folder))
        odd = str(sandbox.world.hostile_items[kind])
        files = [row for row in rows(folder / "files.csv") if row["item_id"] == odd]
        (item,) = [row for row in rows(folder / "items.csv") if row["id"] == odd]
        for row in files:
            if row["status"] == "done":
                assert (folder / row["path"]).read_bytes() == sandbox.world.content(int(row["file_id"]))
        assert {row["status"] for row in rows(folder / "files.csv")} <= {"done", "link", "withheld"}
        return summary, files, item, sandbox


async def test_odd_fields_are_shown_empty_with_one_warning_that_names_them(tmp_path: Path) -> None:
    summary, files, item, sandbox = await harvest_hostile("odd-fields", tmp_path)
    assert summary.exit_status == 0
    assert {row["status"] for row in files} == {"done"}
    assert [
        item[name] for name in ("title", "doi", "type", "licence", "group_id", "authors", "categories")
    ] == [""] * 7
    (warning,) = summary.run.warnings
    assert f"item {item['id']}: not read" in warning
    assert "title, doi" in warning
    again = await harvest_again(sandbox, tmp_path)
    assert again.run.warnings == ()


async def harvest_again(_: Sandbox, folder: Path) -> Any:
    """Harvest the same world with the same folder; its addresses are others."""
    async with Sandbox(Settings(items=4, heavy=0, hostile=("odd-fields",))) as sandbox:
        return await harvest(config(sandbox, folder))


async def test_odd_entries_of_lists_are_not_in_the_tables(tmp_path: Path) -> None:
    summary, _, item, _ = await harvest_hostile("odd-lists", tmp_path)
    assert summary.exit_status == 0
    assert split_values(item["authors"]) == ["Ana Núñez", "", "O'Brien, K."]
    assert (item["categories"], item["licence"]) == ("Soil; Crops; ", "CC BY 4.0")


@pytest.mark.parametrize("kind", ["files-object", "wrong-files"])
async def test_if_files_are_no_list_the_file_list_is_requested(kind: str, tmp_path: Path) -> None:
    summary, files, item, sandbox = await harvest_hostile(kind, tmp_path)
    assert summary.exit_status == 0
    assert len(files) == len(sandbox.world.files(int(item["id"])))
    assert {row["status"] for row in files} == {"done"}


@pytest.mark.parametrize(
    ("kind", "good"), [("odd-file", ["good.csv", "another.csv"]), ("huge-numbers", ["small.csv"])]
)
async def test_a_malformed_file_is_a_failure_and_the_others_are_fetched(
    kind: str, good: list[str], tmp_path: Path
) -> None:
    summary, files, item, _ = await harvest_hostile(kind, tmp_path)
    assert [(row["name"], row["status"]) for row in files] == [(name, "done") for name in good]
    assert summary.exit_status == 1
    (failure,) = rows(tmp_path / "failures.csv")
    assert (failure["item_id"], failure["file_id"], failure["task"]) == (item["id"], "", "files")
    assert "of its list" in failure["error"]


async def test_a_file_of_unknown_size_is_verified_by_its_md5(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=4, heavy=0, hostile=("untold-size",))) as sandbox:
        job = config(sandbox, tmp_path)
        assert (await harvest(job)).exit_status == 0
        item_id = sandbox.world.hostile_items["untold-size"]
        name = sandbox.world.files(item_id)[0]["name"]
        (row,) = [
            each
            for each in rows(tmp_path / "files.csv")
            if (each["item_id"], each["name"]) == (str(item_id), name)
        ]
        assert row["status"] == "done"
        assert int(row["size"]) == (tmp_path / row["path"]).stat().st_size > 0
        sandbox.requests.clear()
        assert (await harvest(job, refresh=frozenset({"metadata"}))).exit_status == 0
        assert not [each for each in sandbox.requests if each.path.endswith(f"/{row['file_id']}")]


async def test_texts_of_real_records_are_exported_correctly(tmp_path: Path) -> None:
    summary, files, item, sandbox = await harvest_hostile("odd-words", tmp_path)
    assert (summary.exit_status, summary.run.warnings) == (0, ())
    record = sandbox.world.record(int(item["id"]), whole=True)
    assert item["title"] == record["title"]
    assert split_values(item["authors"]) == ["A; B", 'C "D"', "E\nF", "G"]
    assert split_values(item["categories"]) == ["Sounds and echoes; ripples", '"Quoted"', "Soil", " "]
    lines = {
        orjson.loads(line)["id"]: line
        for line in (tmp_path / "metadata.jsonl").read_bytes().split(b"\n")[:-1]
    }
    assert orjson.loads(lines[int(item["id"])]) == record
    assert [row["name"].removeprefix("'") for row in files] == [file["name"] for file in record["files"]]
    assert [row["status"] for row in files] == ["done"] * (len(files) - 1) + ["link"]
    link = files[-1]
    assert (link["name"], link["size"], link["md5"], link["path"]) == ("", "0", "", "")


# -- values of a cell -------------------------------------------------------------------------------


@given(st.lists(st.text(st.sampled_from("ab\";,\n\r\t \x85\x0c\x9b'="), max_size=6), min_size=2))
def test_values_of_a_cell_are_told_apart(values: list[str]) -> None:
    assert split_values(join_values(values)) == values
    assert next(csv.reader([join_values(values)], delimiter=";", skipinitialspace=True)) == values


def test_plain_values_of_a_cell_are_not_quoted() -> None:
    assert join_values(["Soil", 'John "Jack" Doe', "Crops, all"]) == 'Soil; John "Jack" Doe; Crops, all'
    assert (join_values([]), split_values(""), join_values(["A;B"])) == ("", [], '"A;B"')
    assert split_values(join_values(["x;" * 200_000, "y"]))[1] == "y", "longer than a field of csv may be"


# -- sums -------------------------------------------------------------------------------------------


async def test_differing_md5s_are_reported_once(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=4, heavy=0, hostile=("sums-differ",))) as sandbox:
        job = config(sandbox, tmp_path)
        summary = await harvest(job)
        item_id = sandbox.world.hostile_items["sums-differ"]
        file = sandbox.world.files(item_id)[0]
        assert summary.exit_status == 0
        (warning,) = summary.run.warnings
        for named in (f"item {item_id}", f"file {file['id']}", file["supplied_md5"], file["computed_md5"]):
            assert named in warning
        row = next(row for row in rows(tmp_path / "files.csv") if row["file_id"] == str(file["id"]))
        assert (row["status"], row["md5"]) == ("done", file["computed_md5"])
        sandbox.world.correct(item_id)
        again = await harvest(job)
        assert (again.exit_status, again.run.warnings) == (0, ())
        sandbox.world.edit(item_id)  # another first file, with sums of its own
        assert len((await harvest(job)).run.warnings) == 1


@pytest.mark.parametrize("moves_date", [True, False])
async def test_an_md5_that_is_published_later_is_no_change(moves_date: bool, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=4, heavy=0, late_md5=True)) as sandbox:
        job = config(sandbox, tmp_path)
        assert (await harvest(job)).exit_status == 0
        before = {row["file_id"]: row for row in rows(tmp_path / "files.csv")}
        assert {row["md5"] for row in before.values()} == {""}
        proven, corrected = sandbox.world.search("survey")[:2]
        sandbox.world.prove(proven, moves_date=moves_date)
        sandbox.world.prove(corrected)
        sandbox.world.correct(corrected)
        assert (await harvest(job, refresh=frozenset({"metadata"}))).exit_status == 0
        after = {row["file_id"]: row for row in rows(tmp_path / "files.csv")}
        for file in sandbox.world.files(proven):
            row = after[str(file["id"])]
            assert (row["status"], row["md5"]) == ("done", file["computed_md5"])
        (change,) = rows(tmp_path / "changes.csv")
        assert (change["item_id"], change["change"], change["files"]) == (str(corrected), "changed", "")


def test_unread_keys_of_stored_records_can_be_compared() -> None:
    before, now = b'{"id": 1, "x": 1e400, "y": 1}', b'{"id": 1, "x": 1e400, "y": 2}'
    assert read_article(before).id == 1
    assert changed_fields(before, now) == ("y",)


def remote(**more: Any) -> RemoteFile:
    fields = {"id": 1, "name": "a", "folder": "", "size": 5, "md5": None, "url": "", "is_link": False}
    return RemoteFile(**{**fields, **more})


def test_only_another_sum_size_or_name_changes_a_file() -> None:
    bare, summed, other = remote(), remote(md5="a" * 32), remote(md5="b" * 32)
    assert changed_files([bare], [summed]) == changed_files([summed], [bare]) == ()
    assert changed_files([other], [summed]) == changed_files([bare], [remote(size=6)]) == ("changed: a",)
    assert has_only_new_sums([bare], [summed])
    assert has_only_new_sums([summed], [bare])
    assert not has_only_new_sums([bare], [bare])
    assert not has_only_new_sums([other], [summed])
    assert not has_only_new_sums([bare], [summed, remote(id=2)])


# -- refused file lists -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, pytest.param(404, marks=pytest.mark.nightly)])
async def test_a_refused_file_list_does_not_lose_the_record(status: int, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=34, heavy=0, refused_lists=status)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path))
        world, ids = sandbox.world, sandbox.world.search("survey")
        assert [int(row["id"]) for row in rows(tmp_path / "items.csv")] == list(ids)
        files = {int(row["file_id"]): row for row in rows(tmp_path / "files.csv")}
        listed = [file for item_id in ids for file in world.record(item_id)["files"] or ()]
        assert files.keys() == {file["id"] for file in listed}, "all that the records list themselves"
        short = {
            str(item_id)
            for item_id in ids
            if not world.is_withheld(item_id)
            and sum(file["size"] for file in world.record(item_id)["files"] or ())
            < world.record(item_id)["size"]
        }
        assert short, "records that promise more than they list"
        failures = rows(tmp_path / "failures.csv")
        assert [(row["item_id"], row["file_id"]) for row in failures] == [
            (each, "") for each in sorted(short)
        ]
        assert all(f"({status})" in row["error"] for row in failures)
        assert summary.exit_status == 1
        (ten,) = world.with_trait("ten files")
        warned = [text for text in summary.run.warnings if f"item {ten}:" in text]
        assert len(warned) == 1, "it lists all that it promises; whether there is more is unknown"
        assert not [text for text in summary.run.warnings if any(each in text for each in short)]


async def test_a_refused_file_list_is_retried_in_the_same_run_if_files_are_missing(
    tmp_path: Path,
) -> None:
    async with Sandbox(Settings(items=34, heavy=0, refused_lists=404)) as sandbox:
        (many,) = sandbox.world.with_trait("many files")
        (ten,) = sandbox.world.with_trait("ten files")
        job = config(sandbox, tmp_path, sources=[{"kind": "items", "ids": [many, ten]}])
        assert (await harvest(job)).exit_status == 1
        assert [int(row["id"]) for row in rows(tmp_path / "items.csv")] == sorted((many, ten))
        (failure,) = rows(tmp_path / "failures.csv")
        assert failure["item_id"] == str(many)
        assert "(404)" in failure["error"]
        asked = [seen.path.removeprefix("/v2") for seen in sandbox.requests_to("api")]
        assert asked.count(f"/articles/{many}/files") == 2, "again at the end of the run"
        assert asked.count(f"/articles/{ten}/files") == 1, "nothing is missing of it"


async def test_a_temporary_file_list_failure_loses_no_record_and_is_retried(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=34, heavy=0, refused_lists=500)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **{"retry.attempts": 2}))
        world, ids = sandbox.world, sandbox.world.search("survey")
        assert [int(row["id"]) for row in rows(tmp_path / "items.csv")] == list(ids)
        asked = [seen.path for seen in sandbox.requests_to("api") if seen.path.endswith("/files")]
        lacking = {path.split("/")[-2] for path in asked}
        assert {str(each) for each in world.with_trait("ten files")} <= lacking, "whatever sizes say"
        assert all(asked.count(path) == 2 * 2 for path in asked), "again at the end of the run"
        failures = rows(tmp_path / "failures.csv")
        assert [(row["item_id"], row["file_id"], row["task"]) for row in failures] == [
            (each, "", "files") for each in sorted(lacking)
        ]
        assert all("its file list could not be fetched: " in row["error"] for row in failures)
        assert (summary.exit_status, summary.run.warnings) == (1, ())
        files = {int(row["file_id"]): row["status"] for row in rows(tmp_path / "files.csv")}
        listed = [file for item_id in ids for file in world.record(item_id)["files"] or ()]
        assert files.keys() == {file["id"] for file in listed}
        assert {*files.values()} <= {"done", "link", "withheld"}, "what the records name is fetched"
    async with Sandbox(Settings(items=34, heavy=0)) as sandbox:
        assert (await harvest(config(sandbox, tmp_path))).exit_status == 0
        ids = sandbox.world.search("survey")
        assert rows(tmp_path / "failures.csv") == []
        assert {int(row["file_id"]) for row in rows(tmp_path / "files.csv")} == {
            file["id"] for item_id in ids for file in sandbox.world.files(item_id)
        }


@pytest.mark.parametrize("tasks", [["metadata"], ["metadata", "files"]])
async def test_a_temporary_file_list_failure_removes_no_file(tasks: list[str], tmp_path: Path) -> None:
    known = []
    for status in (0, 500):
        async with Sandbox(Settings(items=34, heavy=0, etags=False, refused_lists=status)) as sandbox:
            (many,), (ten,) = map(sandbox.world.with_trait, ("many files", "ten files"))
            job = config(
                sandbox,
                tmp_path,
                tasks=tasks,
                sources=[{"kind": "items", "ids": [many, ten, *sandbox.world.public_ids[:4]]}],
                **{"retry.attempts": 1},
            )
            summary = await harvest(job, refresh=frozenset({"metadata"}))
            assert summary.exit_status == (1 if status else 0)
            table = rows(tmp_path / "files.csv")
            known.append({(row["item_id"], row["file_id"], row["status"], row["path"]) for row in table})
            assert sum(row["item_id"] == str(many) for row in table) == len(sandbox.world.files(many))
    assert known[0] == known[1]
