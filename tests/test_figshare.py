"""What is true of figshare: names, records as they really come, and JSON of any shape."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import msgspec
import orjson
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from harvester.config import FileRules
from harvester.errors import ConnectionFailed, HarvestError, InvalidResponse, Rejected
from harvester.figshare.downloads import recorded_address
from harvester.figshare.entries import Entry, decode_entries
from harvester.figshare.filters import Filters
from harvester.figshare.identifier_listing import IdentifierListing
from harvester.figshare.identifiers import doi_in, handle_in, item_in, same_name, version_in, why_not
from harvester.figshare.protocol import ArticleListing
from harvester.figshare.records import read_article, read_description
from harvester.figshare.v2 import SEARCH
from harvester.jobs.services import connect
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import ItemResult, RunSpec
from harvester.ledger.reader import Reader
from harvester.models import Article, ItemId, ItemKey, ItemRef, Page, Record, RemoteFile, TaskResult
from harvester.plugins import EXPORTERS, load_config
from harvester.sandbox import Sandbox, Settings
from harvester.states import FileStatus, WorkState
from harvester.tasks.file_plan import plan_files
from harvester.tasks.metadata import difference
from tests.support.each import for_each

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).parents[2] / "shared" / "figshare" / "samples"
real = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the collected replies are not here")


@for_each(
    ("name", "item_id", "version"),
    [
        ("5616409", 5616409, 0),
        (" 0042 ", 42, 0),
        ("5616409.v2", 5616409, 2),
        ("5616409.v", None, 0),
        ("10.6084/m9.figshare.1138718", 1138718, 0),
        ("10.6084/m9.figshare.1138718.v3", 1138718, 3),
        ("https://doi.org/10.6084/m9.figshare.1138718.v3", 1138718, 3),
        ("doi:10.6084/M9.FIGSHARE.1138718", 1138718, 0),
        ("https://figshare.com/articles/dataset/Some_title/14763051", 14763051, 0),
        ("https://figshare.com/articles/dataset/Some_title/14763051/2", 14763051, 2),
        ("https://iastate.figshare.com/articles/dataset/Some_title/14763051/12", 14763051, 12),
        ("https://figshare.com/articles/14763051", 14763051, 0),
        ("https://figshare.com/articles/14763051/", 14763051, 0),
        ("https://figshare.com/articles/14763051/2", 14763051, 2),
        ("https://figshare.com/articles/14763051/2?file=1", 14763051, 2),
        ("https://figshare.com/articles/14763051/versions/2", 14763051, 2),
        ("https://api.figshare.com/v2/articles/14763051/versions/2/files", 14763051, 2),
        ("https://figshare.com/articles/14763051/files", 14763051, 0),
        ("https://figshare.com/articles/_/14763051?file=1", 14763051, 0),
        ("https://smithsonian.figshare.com/articles/dataset/Bay_1_of_7/10042703", 10042703, 0),
        ("https://api.figshare.com/v2/articles/14763051", 14763051, 0),
        ("https://figshare.com/account/articles/14763051", 14763051, 0),
        ("https://data.example.edu/articles/figure/2020/14763051/1", 14763051, 1),
        ("https://figshare.com/articles/Supplementary_Data/5000100/1", 5000100, 1),
        ("https://figshare.com/articles/Supplementary_Data/5000100", 5000100, 0),
        ("https://figshare.com/articles/2019_survey/5000100", 5000100, 0),
        ("https://figshare.com/articles/2019_survey/5000100/2", 5000100, 2),
        ("https://figshare.com/articles/2019/5000100", 5000100, 0),
        ("https://figshare.com/articles/2019/5000100/2", 5000100, 2),
        ("https://figshare.com/articles/dataset/2019/5000100/2", 5000100, 2),
        ("https://figshare.com/articles/dataset/20190101/5000100", 5000100, 0),
        ("https://figshare.com/articles/5/2", 5, 2),
        ("https://figshare.com/articles/dataset/5616409", 5616409, 0),
        ("https://figshare.com/articles/dataset/5616409/2", 5616409, 2),
        ("https://figshare.com/articles/journal_contribution/5616409/2", 5616409, 2),
        ("https://figshare.com/articles/journal%20contribution/5616409/2", 5616409, 2),
        ("https://figshare.com/articles/dataset/Title/5000100/3", 5000100, 3),
        ("https://figshare.com/articles/dataset/Title/5000100/3/#top", 5000100, 3),
        ("https://figshare.com//articles//thesis/Title/5000100/", 5000100, 0),
        ("https://api.figshare.com/v2/articles/1/versions/2", 1, 2),
        ("https://figshare.com/articles/a/b/c/5000100", None, 0),
        ("https://figshare.com/articles/", None, 0),
        ("https://figshare.com/articles/dataset/Title", None, 0),
        ("123.v0", None, 0),
        ("https://figshare.com/articles/5000100/0", None, 0),
        ("https://figshare.com/articles/dataset/Title/5000100/0", None, 0),
        ("https://api.figshare.com/v2/articles/5000100/versions/0", None, 0),
        ("10.6084/m9.figshare.1138718.v0", None, 0),
        ("10.25573/data.10042703.v5", None, 0),
        ("10.6084/m9.figshare.c.5234234", None, 0),
        ("https://figshare.com/collections/x/5234234", None, 0),
        ("https://example.org/14763051", None, 0),
        ("2134/14763051", None, 0),
        ("9" * 18, 10**18 - 1, 0),
        ("9" * 19, None, 0),  # no ledger holds it
        ("9" * 5000, None, 0),  # Python reads no such number
        ("5.v" + "9" * 5000, None, 0),
        (f"https://figshare.com/articles/dataset/x/{'9' * 20}", None, 0),
        (f"https://figshare.com/articles/{'9' * 5000}", None, 0),
        (f"https://figshare.com/articles/5/{'9' * 5000}", 5, 0),
        (f"10.6084/m9.figshare.{'9' * 19}", None, 0),
        (f"10.6084/m9.figshare.{'9' * 5000}.v1", None, 0),
        ("-5", None, 0),
        ("", None, 0),
    ],
)
def test_ids_and_versions_in_names(name: str, item_id: int | None, version: int) -> None:
    found = item_in(name)
    assert (found and found[:2]) == (None if item_id is None else (item_id, version))


@for_each(
    ("name", "reason"),
    [
        ("https://figshare.com/s/0a1b2c3d4e5f6a7b8c9d", "a private link, which the api does not open"),
        ("https://iastate.figshare.com/s/0a1b2c3d?file=1", "a private link"),
        ("https://figshare.com/collections/Some_title/5234234", "use --collection 5234234"),
        ("https://figshare.com/collections/Some_title/5234234/2", "use --collection 5234234"),
        ("https://api.figshare.com/v2/collections/5234234", "use --collection 5234234"),
        ("10.6084/m9.figshare.c.5234234.v1", "use --collection 5234234"),
        ("https://doi.org/10.6084/m9.figshare.c.5234234", "use --collection 5234234"),
        ("https://figshare.com/projects/Some_title/113166", "use --project 113166"),
        ("123.v0", "there is no version 0"),
        ("https://figshare.com/articles/Some_title/5000100/0", "there is no version 0"),
        ("10.6084/m9.figshare.1138718.v0", "there is no version 0"),
        ("10.25573/data.10042703.v0", "there is no version 0"),
    ],
)
def test_a_name_that_is_no_item_is_reported_with_advice(name: str, reason: str) -> None:
    assert reason in why_not(name)
    assert item_in(name) is None


@pytest.mark.parametrize("name", ["5", "10.1/x", "https://figshare.com/articles/x/y/5", "projects", ""])
def test_a_name_that_may_be_an_item_is_not_rejected(name: str) -> None:
    assert why_not(name) == ""


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("2134/123", "2134/123"),
        (" hdl:2134/123 ", "2134/123"),
        ("https://hdl.handle.net/2134/123", "2134/123"),
        ("http://hdl.handle.net/20.500.12345/A-7", "20.500.12345/A-7"),
        ("10.1234/x", None),
        ("https://hdl.handle.net/10.1234/x", None),
        ("figshare/123", None),
        ("2134/", None),
        ("https://example.org/2134/123", None),
    ],
)
def test_handles_in_names(name: str, handle: str | None) -> None:
    assert handle_in(name) == handle


@for_each(
    ("address", "asked"),
    [
        ("https://ndownloader.figshare.com/files/1", True),
        ("https://figshare.com/ndownloader/files/1", True),
        ("https://files.figsh.com/1", True),
        ("https://api.example.org/files/1", True),  # the api's own host
        ("http://ndownloader.figshare.com/files/1", False),
        ("https://evilfigshare.com/files/1", False),
        ("https://figshare.com.evil.org/files/1", False),
        ("https://example.org/files/1", False),
        ("http://127.0.0.1:8080/files/1", False),
        ("https://localhost/files/1", False),
        ("https://10.0.0.1/files/1", False),
        ("file:///etc/passwd", False),
        ("https://[::1", False),
        (f"https://{'a' * 63}.figshare.com/files/1", True),
        (f"https://{'a' * 64}.figshare.com/files/1", False),
        ("https://.figshare.com/files/1", False),
        ("https://a..figshare.com/files/1", False),
        ("https://xn--a.figshare.com/files/1", False),
        ("https://me:secret@ndownloader.figshare.com/files/1", False),
        ("https://a%3Ab:c@ndownloader.figshare.com/files/1", False),
        ("", False),
    ],
)
def test_which_addresses_of_records_are_requested(address: str, asked: bool) -> None:
    assert (recorded_address(address, URL("https://api.example.org/v2")) is not None) is asked


def test_a_record_may_link_to_this_machine_only_if_the_api_is_on_it() -> None:
    assert recorded_address("http://127.0.0.1:5/files/1", URL("http://localhost:8700/v2"))


def everything(**criteria: object) -> ArticleListing:
    return ArticleListing.of("", SEARCH, criteria, Filters())


async def test_an_expired_cursor_restarts_the_listing_once() -> None:
    dead = '{"page": 2, "cursor": "nonsense", "first_id": 0, "again": false}'
    async with Sandbox(Settings(items=2500)) as sandbox:
        config = load_config(options={"services.api": sandbox.api, "rate.api": float("inf")}, environ={})
        async with connect(config) as connected:
            found, position = [], dead
            for _ in range(4):
                page = await connected.figshare.page(everything(group=11960), position)
                found += [ref.id for ref in page.refs]
                if page.cursor is None:
                    break
                position = page.cursor
            assert found == list(sandbox.world.group_items(11960))
            with pytest.raises(Rejected, match="X-Cursor: unknown"):
                again = dead.replace("false", "true")
                await connected.figshare.page(everything(group=11960), again)


async def test_a_cursor_without_effect_is_replaced_by_page_numbers() -> None:
    async with Sandbox(Settings(items=2500)) as sandbox:
        config = load_config(options={"services.api": sandbox.api, "rate.api": float("inf")}, environ={})
        async with connect(config) as connected:
            first = await connected.figshare.page(everything(), None)
            assert first.cursor is not None
            stuck = msgspec.json.decode(first.cursor)
            stuck["first_id"] = sandbox.world.public_ids[1000]  # as if the last page had the same first item
            again = await connected.figshare.page(everything(), orjson.dumps(stuck).decode())
            assert again.refs == (), "they were counted with the page before"
            assert again.cursor is not None
            by_number = msgspec.json.decode(again.cursor)
            assert (by_number.get("cursor"), by_number["page"], by_number["is_deaf"]) == (None, 2, True)
            with pytest.raises(Rejected, match="repeats the same page"):
                await connected.figshare.page(everything(), again.cursor)


@asynccontextmanager
async def answering(head: bytes, body: bytes) -> AsyncIterator[URL]:
    """An api that gives the same answer to every POST of JSON, with headers of any bytes."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            asked = b""
            while not asked.endswith(b"}"):
                asked += await stream.receive()
            length = b"Content-Length: %d\r\n" % len(body)
            await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + head + b"\r\n" + body)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, answer)
        yield URL(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v2")
        group.cancel_scope.cancel()


@pytest.mark.parametrize("cursor", [b"a\xffb", "né".encode(), b"a\tb", b"a=="])
async def test_a_cursor_that_is_no_printable_text_is_a_failure_of_that_listing(cursor: bytes) -> None:
    body = orjson.dumps([{"id": number} for number in range(1, 1001)])
    async with answering(b"X-Cursor: " + cursor + b"\r\n", body) as api:
        config = load_config(options={"services.api": str(api), "rate.api": float("inf")}, environ={})
        async with connect(config) as connected:
            if cursor == b"a==":
                page = await connected.figshare.page(everything(), None)
                assert msgspec.json.decode(page.cursor or "")["cursor"] == "a=="
            else:
                with pytest.raises(InvalidResponse, match="the cursor of the next page"):
                    await connected.figshare.page(everything(), None)


def test_the_key_of_a_list_of_names_is_made_once() -> None:
    names = IdentifierListing(("5616409", "10.6084/m9.figshare.1138718"))
    assert names.key is names.key
    assert names.key != IdentifierListing(("5616409",)).key


def test_dois_in_names() -> None:
    assert doi_in("https://doi.org/10.25573/data.10042703.v5") == "10.25573/data.10042703.v5"
    assert doi_in("doi:10.25573/data.1.") == "10.25573/data.1"
    assert doi_in("no doi 10.2") is None
    assert same_name("10.1/A.v2", "10.1/a")
    assert not same_name("10.1/a", "10.1/ab")
    assert not same_name(None, "10.1/a")
    assert version_in("10.25573/data.10042703.v5") == 5
    assert version_in("10.25573/data.10042703") == 0


def test_a_record_with_everything_missing_or_null() -> None:
    bare = read_article(b'{"id": 5}')
    assert (bare.id, bare.doi, bare.files, bare.files_complete) == (5, "", (), False)
    described = read_description(b'{"id": 5}')
    assert (described.title, described.group_id, described.authors) == ("", None, ())
    nulls = dict.fromkeys(
        (
            "title",
            "doi",
            "license",
            "authors",
            "categories",
            "size",
            "files",
            "folder_structure",
            "is_embargoed",
            "group_id",
        )
    )
    assert read_article(orjson.dumps({"id": 5, **nulls})) == bare
    assert read_description(orjson.dumps({"id": 5, **nulls})) == described
    assert read_article(b'{"id": 5, "files": [], "size": 0, "folder_structure": []}').files_complete


def test_md5_is_the_computed_one_then_the_supplied_one_then_none() -> None:
    good, other = "a" * 32, "B" * 32

    def md5(computed: str | None, supplied: str | None) -> str | None:
        files = [{"id": 1, "computed_md5": computed, "supplied_md5": supplied}]
        return read_article(orjson.dumps({"id": 5, "files": files})).files[0].md5

    assert md5(good, other) == good
    assert md5("", other) == other.lower()
    assert md5(None, None) is None
    assert md5("not an md5", "") is None


def test_ten_files_may_be_more_and_fewer_must_add_up() -> None:
    def complete(sizes: list[int], size: int, **more: object) -> bool:
        files = [{"id": number, "size": each} for number, each in enumerate(sizes)]
        return read_article(orjson.dumps({"id": 5, "size": size, "files": files, **more})).files_complete

    assert complete([1, 2], 3)
    assert not complete([1, 2], 4)
    assert not complete([1] * 10, 10)
    assert complete([], 4, is_confidential=True)


@for_each(
    ("raw", "kind"),
    [
        (b"", ConnectionFailed),
        (b'{"id": 5', ConnectionFailed),
        (b"<html>", ConnectionFailed),
        (b'{"id": 5, "title": "\xff"}', InvalidResponse),
        (b'{"id": 5, "title": "\xc3', ConnectionFailed),  # cut in the middle of a character
        (b'{"id": 5, "title": "\\ud800"}', InvalidResponse),  # half a character, for ever
        (b"[]", InvalidResponse),
        (b"{}", InvalidResponse),
        (b'{"id": "five"}', InvalidResponse),
        (b'{"id": -1}', InvalidResponse),
        (b'{"id": 99999999999999999999}', InvalidResponse),
        (b'{"id": 1.5}', InvalidResponse),
        (b'{"id": true}', InvalidResponse),
        (b'{"id": ""}', InvalidResponse),
        (b'{"id": null, "files": []}', InvalidResponse),
        (b'{"id": 5, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", InvalidResponse),
    ],
)
def test_invalid_records_raise_different_errors(raw: bytes, kind: type[HarvestError]) -> None:
    with pytest.raises(kind):
        read_article(raw)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcd", max_size=4), inner, max_size=3)
    ),
    max_leaves=9,
)
KEYS = (
    "id",
    "title",
    "size",
    "files",
    "folder_structure",
    "authors",
    "categories",
    "license",
    "is_embargoed",
)
file_like = st.dictionaries(
    st.sampled_from(["id", "name", "size", "download_url", "computed_md5"]), json_like
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(KEYS), json_like | st.lists(file_like, max_size=3)) | json_like)
def test_any_json_is_an_article_or_a_clear_failure(value: object) -> None:
    try:
        article = read_article(msgspec.json.encode(value))
    except InvalidResponse as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(article, Article)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_article_or_a_clear_failure(raw: bytes) -> None:
    with pytest.raises((InvalidResponse, ConnectionFailed)):
        read_article(b"\x00" + raw)


def article(**more: object) -> Article:
    files = [
        {"id": 1, "name": "a.csv", "size": 5, "computed_md5": "a" * 32},
        {"id": 2, "name": "b.zip", "size": 50},
        {"id": 3, "name": "c", "size": 0, "is_link_only": True},
    ]
    return read_article(orjson.dumps({"id": 9, "size": 55, "files": files, **more}))


def test_the_planned_status_of_each_file() -> None:
    def statuses(
        rules: FileRules, here: dict[int, tuple[RemoteFile, str]] | None = None, **more: object
    ) -> list[FileStatus]:
        return [placed.status for placed in plan_files(article(**more), here or {}, rules)]

    assert statuses(FileRules()) == ["pending", "pending", "link"]
    assert statuses(FileRules(include=("*.csv",))) == ["pending", "skipped", "link"]
    for reason in ("is_embargoed", "is_confidential", "download_disabled"):
        assert statuses(FileRules(), None, **{reason: True}) == ["withheld", "withheld", "link"]
    old = article().files[0]
    assert statuses(FileRules(), {1: (old, "files/9/a.csv")}) == ["done", "pending", "link"]
    changed = RemoteFile(1, "a.csv", "", 5, "b" * 32, "", is_link=False)
    assert statuses(FileRules(), {1: (changed, "files/9/a.csv")}) == ["pending", "pending", "link"]


def test_a_difference_in_size_is_a_warning() -> None:
    assert difference(article()) == ""
    assert difference(article(size=60)) == "item 9: its files add up to 55 bytes, its record says 60"
    assert difference(article(size=60, is_embargoed=True)) == ""


def test_filters_are_checked_here_too() -> None:
    selection = Filters(item_type="software", published_since=date(2024, 1, 1))
    spring = "2024-05-01T00:00:00Z"
    assert selection.mismatch(Entry(1, defined_type=9, published_date=spring)) == ""
    assert selection.mismatch(Entry(1, defined_type=3, published_date=spring)) == "item_type"
    assert selection.mismatch(Entry(1, defined_type=9, published_date="2023-12-31T23:59:59Z")) == (
        "published_since"
    )
    assert selection.mismatch(Entry(1, defined_type=9, published_date=None)) == "", "its record decides"
    changed = Filters(modified_since=date(2024, 1, 1))
    assert changed.mismatch(Entry(1, modified_date="2023-01-01T00:00:00Z")) == "modified_since"
    early = Filters(published_before=date(2024, 1, 1))
    assert early.mismatch(Entry(1, published_date="2023-12-31T23:59:59Z")) == ""
    assert early.mismatch(Entry(1, published_date="2024-01-01T00:00:00Z")) == "published_before"
    assert early.mismatch(Entry(1, published_date=None)) == "", "its record decides"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"item_type": 0}, "item_type: expected the number of a type, such as 3, got 0"),
        ({"item_type": " "}, "item_type: empty"),
        ({"order": "title"}, 'order: unknown "title"; known: published_date, created_date'),
        ({"order": "views asc"}, 'each also with " desc" behind it'),
        ({"licence": " "}, "licence: empty"),
        (
            {"published_since": date(2024, 1, 1), "published_before": date(2024, 1, 1)},
            "published_before: no day lies between",
        ),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Filters(**fields)


def test_odd_texts_of_an_entry_do_not_affect_its_filters() -> None:
    odd = {"id": 7, "title": 5, "handle": ["x"], "group_id": 3, "published_date": "2024-01-01T00:00:00Z"}
    pieces = [orjson.dumps(odd), b'{"id": 8, "title": "\xff", "group_id": 4}', b'{"id": 9, "group_id": "x"}']
    page = decode_entries(b"[" + b",".join(pieces) + b"]")
    assert page.entries == (
        Entry(7, group_id=3, published_date="2024-01-01T00:00:00Z"),
        Entry(8, group_id=4),
    )
    assert page.bare == (9,)


@for_each(
    ("value", "version"),
    [(3, 3), (None, 0), ("3", 3), (3.0, 3), ("v3", 0), (True, 0), (0, 0), (-1, 0), (2**40, 0), (1.5, 0)],
)
def test_a_version_is_a_number_or_none(value: object, version: int) -> None:
    assert read_article(orjson.dumps({"id": 5, "version": value})).version == version


@real
@pytest.mark.parametrize(("name", "files"), [("article-10042703", 1), ("article-14763051", 2)])
async def test_real_records_go_through_models_ledger_and_tables(
    name: str, files: int, tmp_path: Path
) -> None:
    raw = (SAMPLES / f"{name}.json").read_bytes()
    contents = orjson.loads(raw)
    read = read_article(raw)
    assert read.files_complete
    assert read.doi == contents["doi"]
    assert [file.url for file in read.files] == [file["download_url"] for file in contents["files"]]
    assert all(file.md5 and len(file.md5) == 32 for file in read.files)
    ledger = Ledger(tmp_path)
    ledger.open()
    await ledger.begin(RunSpec(frozenset({"metadata"}), with_files=True))
    await ledger.change(
        ledger.listings.add_page, "a", Page((ItemRef(ItemId(read.id)),), None), frozenset({"metadata"})
    )
    findings = TaskResult(Record(read, raw), plan_files(read, {}, FileRules()))
    await ledger.save(ItemResult(ItemKey(read.id), {"metadata": WorkState.DONE}, (), (findings,)))
    await ledger.close("finished")
    with Reader(tmp_path) as reader:
        for exporter in EXPORTERS.values():
            exporter().export(reader, tmp_path)
    (line,) = (tmp_path / "metadata.jsonl").read_bytes().splitlines()
    assert orjson.loads(line) == contents
    with (tmp_path / "items.csv").open(newline="", encoding="utf-8") as handle:
        (row,) = csv.DictReader(handle)
    assert row["title"] == contents["title"]
    assert row["licence"] == "CC BY 4.0"
    assert (row["files"], row["bytes"]) == (str(files), str(contents["size"]))
    assert row["group_id"] == ("" if contents["group_id"] is None else str(contents["group_id"]))


@real
@pytest.mark.parametrize("name", ["listing-by-doi-14763051", "project-113166-articles-first-two"])
def test_real_listings_are_read(name: str) -> None:
    raw = (SAMPLES / f"{name}.json").read_bytes()
    entries = msgspec.json.decode(raw, type=list[Entry])
    assert [(entry.id, entry.modified_date) for entry in entries] == [
        (contents["id"], contents["modified_date"]) for contents in orjson.loads(raw)
    ]
