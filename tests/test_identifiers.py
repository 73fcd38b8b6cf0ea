"""What people give for items: how each form is read, what it leads to, and what is said of what it is not."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from aiohttp import web
from yarl import URL

from harvester.errors import FailureKind, Rejected
from harvester.figshare.identifier_files import names_in_file, read_list
from harvester.figshare.identifier_listing import IdentifierListing
from harvester.figshare.identifiers import ItemIdentifier, doi_in, handle_in, item_in, why_not
from harvester.models import Page
from harvester.sandbox import IDENTIFIERS, Sandbox, Settings
from tests.support.calls import calls
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.program import at, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio

WORLD = Settings(items=100, identifiers=tuple(IDENTIFIERS))
PORTAL = "repository.example.org"


def summary(folder: Path) -> dict[str, dict[str, int]]:
    contents: dict[str, dict[str, int]] = orjson.loads((folder / "summary.json").read_bytes())["folder"]
    return contents


async def found(sandbox: Sandbox, *names: str) -> Page:
    async with calls(sandbox) as figshare:
        return await IdentifierListing(names).page(figshare, None)


def ids(page: Page) -> list[tuple[int, int]]:
    assert page.unresolved == ()
    return [(ref.id, ref.version) for ref in page.refs]


def queries(sandbox: Sandbox) -> list[str]:
    """What was asked, as ``articles doi=…`` or ``articles/5``."""
    result = []
    for seen in sandbox.requests_to("api"):
        fields = [f"{name}={value}" for name, value in seen.fields.items() if name != "page_size"]
        result.append(" ".join([seen.path.removeprefix("/v2/"), *fields]))
    sandbox.requests.clear()
    return result


# -- how names are written --------------------------------------------------------------------------


@for_each(
    "name",
    [
        "10.6084/m9.figshare.5000100.v2",
        "doi:10.6084/m9.figshare.5000100.v2",
        "DOI: 10.6084/M9.FIGSHARE.5000100.V2",
        "https://doi.org/10.6084/m9.figshare.5000100.v2",
        "https://dx.doi.org/10.6084/m9.figshare.5000100.v2",
        "doi.org/10.6084/m9.figshare.5000100.v2",
        "https://doi.org/10.6084%2Fm9.figshare.5000100.v2",
        "https%3A%2F%2Fdoi.org%2F10.6084%2Fm9.figshare.5000100.v2",
        "https://doi.org/10.6084%252Fm9.figshare.5000100.v2",
        "https://doi.org/10.6084/m9.figshare.5000100.v2?ref=1",
        "<https://doi.org/10.6084/m9.figshare.5000100.v2>",
        '"10.6084/m9.figshare.5000100.v2"',
        "'10.6084/m9.figshare.5000100.v2',",
        "“10.6084/m9.figshare.5000100.v2”",
        "`10.6084/m9.figshare.5000100.v2`",
        "(10.6084/m9.figshare.5000100.v2).",
        "- 10.6084/m9.figshare.5000100.v2",
        "2. 10.6084/m9.figshare.5000100.v2;",
        "[the data, second version](https://doi.org/10.6084/m9.figshare.5000100.v2)",
        '<a href="https://figshare.com/articles/dataset/x/5000100/2">data</a>',
        "\u00a010.6084/m9.figshare.5000100.v2\u200b\ufeff",
        "figshare.com/articles/dataset/x/5000100/2",
        "www.figshare.com/articles/dataset/x/5000100/2",
        "https://api.figshare.com/v2/articles/5000100/versions/2",
        "https://ndownloader.figshare.com/articles/5000100/versions/2",
        "https://figshare.com/articles/dataset/Either%2For%3F/5000100/2",
        "https://figshare.com/articles/dataset/A,_b_(c)/5000100/2",
        "oai:figshare.com:article/5000100/v2",
        "0005000100.v2",
    ],
)
def test_a_name_is_read_with_anything_around_it(name: str) -> None:
    assert item_in(name) == ItemIdentifier(5_000_100, 2)
    assert why_not(name) == ""


@for_each(
    ("name", "found"),
    [
        ("5000100", 5_000_100),
        ('"5000100",', 5_000_100),
        ("5000100.0", 5_000_100),
        ("５０００１００", None),
        ("5000100 5000101", None),
        ("10.25384/sage.5000100", None),
    ],
)
def test_an_id_is_a_number_in_plain_digits(name: str, found: int | None) -> None:
    assert item_in(name) == (found and ItemIdentifier(found))


@for_each(
    ("name", "host"),
    [
        ("https://peerj.com/articles/1234/", "peerj.com"),
        ("elifesciences.org/articles/1234", "elifesciences.org"),
        ("https://www.peerj.com/articles/1234", "peerj.com"),
        ("https://figshare.com.evil.org/articles/1234", "figshare.com.evil.org"),
        ("https://myfigshare.com/articles/1234", "myfigshare.com"),
        ("https://figshare.com@peerj.com/articles/1234", "peerj.com"),
        ("https://peerj.com/articles/1234?at=figshare.com", "peerj.com"),
        ("http://peerj.com:8080/articles/1234", "peerj.com:8080"),
        ("https://iastate.figshare.com/articles/1234", ""),
        ("https://api.figsh.com/v2/articles/1234", ""),
        ("https://FIGSHARE.com:443/articles/1234", ""),
    ],
)
def test_only_figshares_own_hosts_prove_an_item(name: str, host: str) -> None:
    assert item_in(name) == ItemIdentifier(1234, 0, host)


@for_each(
    ("name", "handle"),
    [
        ("hdl:2134/123.", "2134/123"),
        ("HDL: 2134/123", "2134/123"),
        ("<https://hdl.handle.net/2134%2F123>", "2134/123"),
        ("info:hdl/2134/123", "2134/123"),
        ("https://hdl.handle.net/10779/s.7?x=1", "10779/s.7"),
        ("https://hdl.handle.net/10779/s.7/#top", "10779/s.7"),
        ("https://hdl.handle.net/hdl:10779/s.7", "10779/s.7"),
        ("10779/DRO/DU:123.v2", "10779/DRO/DU:123.v2"),
    ],
)
def test_handles_are_read_with_anything_around_them(name: str, handle: str) -> None:
    assert handle_in(name) == handle


def test_a_bracket_that_belongs_to_a_doi_stays() -> None:
    assert doi_in("(10.1016/s0140(20)30183)") == "10.1016/s0140(20)30183"


@for_each(
    ("name", "reason"),
    [
        (
            "10.25384/sage.c.5234234",
            'a collection: use --collection 5234234 (in a config: kind = "collection", id = 5234234)',
        ),
        (
            "https://doi.org/10.25422/azu.data.c.5234234.v1",
            'a collection: use --collection 5234234 (in a config: kind = "collection", id = 5234234)',
        ),
        (
            "10.6084%2Fm9.figshare.c.5234234",
            'a collection: use --collection 5234234 (in a config: kind = "collection", id = 5234234)',
        ),
        ("https://ndownloader.figshare.com/files/1234", "a file: name the item"),
        ("https://figshare.com/ndownloader/files/1234", "a file: name the item"),
        ("https://repository.example.org/ndownloader/files/1234", "a file: name the item"),
        ("http://127.0.0.1:5000/v2/file/download/1234", "a file: name the item"),
        ("figshare.com/files/1234", "a file: name the item"),
        (
            "https://figshare.com/projects/Title/113166",
            'a project: use --project 113166 (in a config: kind = "project", id = 113166)',
        ),
        (
            "https://figshare.com/projects/2019/113166",
            'a project: use --project 113166 (in a config: kind = "project", id = 113166)',
        ),
        (
            "https://figshare.com/collections/2019/555555",
            'a collection: use --collection 555555 (in a config: kind = "collection", id = 555555)',
        ),
        (
            "https://figshare.com/collections/2019/555555/3",
            'a collection: use --collection 555555 (in a config: kind = "collection", id = 555555)',
        ),
        (
            "https://figshare.com/collections/555555/3",
            'a collection: use --collection 555555 (in a config: kind = "collection", id = 555555)',
        ),
        ("https://figshare.com/s/0a1b2c3d", "a private link"),
        ("https://figshare.com/search?q=soil", "a search: use --search"),
        ("https://iastate.figshare.com/search?q=soil", "a search: use --search"),
        ("https://figshare.com/authors/A_Name/123", "an author: use --search"),
        ("https://iastate.figshare.com/", "use --institution or --group"),
        ("https://repository.example.org", "use --institution or --group"),
        ("https://figshare.com/account/home", "a page of an account: use --account"),
        ("https://figshare.com/about", "names no item"),
    ],
)
def test_other_figshare_addresses_are_recognised(name: str, reason: str) -> None:
    assert reason in why_not(name)


@for_each("name", ["10.6084/m9.figshare.c.5234234_d7.v1", "10.25384/sage.5234234", "https://journal.org/x/7"])
def test_names_that_may_mean_an_item_are_requested(name: str) -> None:
    assert why_not(name) == ""


# -- lists ----------------------------------------------------------------------------------------


@for_each(
    ("text", "names"),
    [
        ("5\r\n6\r\n", "5 6"),
        ("item_id\n5\n6\n", "5 6"),
        ("Item ID\n5\n", "5"),
        ("DOI\n10.1234/a\n", "10.1234/a"),
        ("item_id,title\n5,x\n6,y\n", "5 6"),
        ("doi;title\n10.1234/a;x\n", "10.1234/a"),
        ("title\tdoi\nx\t10.1234/a\n", "10.1234/a"),
        ('id,title,doi\n5,"a\nb, ""c""",10.1234/a\n6,d,\n', "5 6"),
        ("# of mine, all\nid,title\n5,x\n# 6,y\n", "5"),
        ("5,a title\n6;b\n7\tc\n", "5 6 7"),
        ('"5","a #1"\n"6","b"\n', "5 6"),
        ("5  # the first\n\n#6\n7", "5 7"),
        ("https://figshare.com/articles/x/A,_b/5\n", "https://figshare.com/articles/x/A,_b/5"),
        ("5,handle\n6,doi\n", "5 6"),
        ("nonsense1\n5\n", "nonsense1 5"),
        ("5\nnonsense\n", "5 nonsense"),
        ("nonsense\n", "nonsense"),
        ("https://journal.org/x\n5\n", "https://journal.org/x 5"),
        ("https://figshare.com/search\n5\n", "https://figshare.com/search 5"),
        ("sep=;\r\nid;title\r\n5;x\r\n", "5"),
        ('\n"sep=|"\ntitle|doi\nx;y|10.1234/a\n', "10.1234/a"),
        ("sep=;\n5;x\n6;y\n", "5 6"),
        ("Dataset DOI;x\n10.1234/a;y\n", "10.1234/a"),
        ('# mine\n\nPersistent name,t\n5,"a\nb"\n6,c\n', "5 6"),
        ("Identifikator\n5\n", "5"),
        ("", ""),
    ],
)
def test_a_list_is_names_in_lines_or_the_first_column_of_a_table(text: str, names: str) -> None:
    assert list(read_list(text).names) == names.split()


EXCEL = '\ufefftitle;id;doi\r\n"Größe; ""Maß""\r\nund Zahl";5;10.1234/a\r\nSurvey;6;\r\n;;\r\n'
"""A table as Excel saves it where a comma is the decimal sign."""


@for_each(
    ("kind", "raw"),
    [
        ("CSV UTF-8", EXCEL.encode()),
        ("CSV UTF-8 without a mark", EXCEL[1:].encode()),
        ("CSV", EXCEL[1:].encode("cp1252")),
        ("CSV of an older Mac", EXCEL[1:].replace("\r\n", "\r").encode("cp1252")),
        ("CSV with commas", EXCEL.replace(";;", ",,").replace(";", ",").encode()),
        ("CSV that names its separator", b"sep=;\r\n" + EXCEL[1:].encode()),
        ("Unicode text", b"\xff\xfe" + EXCEL[1:].replace(";", "\t").encode("utf-16-le")),
        ("Unicode text of another order", b"\xfe\xff" + EXCEL[1:].replace(";", "\t").encode("utf-16-be")),
        ("text with tabs", EXCEL[1:].replace(";", "\t").encode("cp1252")),
    ],
)
def test_what_excel_saves_is_read(kind: str, raw: bytes) -> None:
    assert names_in_file(raw).names == ("5", "6"), kind


@for_each(
    ("raw", "reason"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "it is a workbook or an archive, no text: save the sheet as CSV"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "it is a workbook or an archive, no text: save the sheet as CSV",
        ),
        ("5\n6\n".encode("utf-16-le"), "not UTF-8 text: save it as UTF-8"),
        ("5\n6\n".encode("utf-32"), "not UTF-8 text: save it as UTF-8"),
        (b"\x8d\x8f\x81", "not UTF-8 text: save it as UTF-8"),
        ("10.1234/ä".encode("cp1252"), "not UTF-8 text: save it as UTF-8"),
        (b"id;title\n5;\xe4\n10.1/\xe4;x\n", "not UTF-8 text: save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        names_in_file(raw)


@for_each(
    ("text", "names"),
    [
        (
            "title,url,doi\na,https://figshare.com/articles/x/5,10.1/a\nb,,10.1/b\nc,,\n",
            "https://figshare.com/articles/x/5 10.1/b",
        ),
        ("id;doi\n;10.1/a\n6;10.1/b\n", "10.1/a 6"),
        ("doi,title,item_id\n,x,5\n10.1/a,y,6\n", "5 10.1/a"),
        ("DOI\tItem ID\n\t5\n", "5"),
    ],
)
def test_a_row_without_the_first_name_is_read_by_the_next_column_of_names(text: str, names: str) -> None:
    assert list(read_list(text).names) == names.split()


async def test_further_names_of_a_line_are_ignored_and_counted(tmp_path: Path) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("5, 6, 7\n8,a title\n9\n10.6084/m9.figshare.11;10.6084/m9.figshare.12\n")
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert (ended.status, ended.out) == (0, "5\n8\n9\n11\n")
    assert "only the first name of each line is taken; further names: 3" in ended.err


async def test_a_heading_is_no_news_and_what_is_no_text_is_wrong_usage(tmp_path: Path) -> None:
    listed = tmp_path / "ids.csv"
    listed.write_bytes("\ufeffitem_id;title\r\n5;ä\r\n".encode())
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert (ended.status, ended.out) == (0, "5\n")
    assert ended.err == "", "a heading is no mistake"
    listed.write_bytes("title\tdoi\r\nä\t10.6084/m9.figshare.6\r\n".encode("utf-16"))
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert (ended.status, ended.out) == (0, "6\n")
    listed.write_bytes("5\n6\n".encode("utf-16-le"))
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert (ended.status, ended.out) == (2, "")
    assert "not UTF-8 text: save it as UTF-8" in ended.err


def test_a_table_without_a_column_of_names_is_one_error() -> None:
    rows = "".join(f"a title {number};{number * 3}\n" for number in range(1000))
    expected = "no column with identifiers: expected a heading such as id, item_id or doi, got title, views"
    with pytest.raises(ValueError, match=expected):
        read_list(f"title;views\n{rows}")
    assert read_list("a name, no id\n5\n6, a title\n7x\n").names == ("5", "6", "7x")
    assert read_list("no name\nanother\n").names == ("no name", "another"), "no table"


def test_lines_of_json_are_read_and_other_json_is_one_error() -> None:
    lines = '{"id":5,"version":null,"title":"a # b"}\n{"id":6,"version":2,"title":"c"}\n'
    assert read_list(lines).names == ("5", "6.v2")
    assert read_list('{"id":5,"version":4,"files":[]}').names == ("5",), "a record tells the current version"
    for text in ("[\n  5,\n  6\n]", '{"items": [5]}', "{nonsense", '{"id": "x"}', "[5]"):
        with pytest.raises(ValueError, match="JSON, but not as `list --json` prints it"):
            read_list(text)


async def test_an_empty_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("# nothing\n")
    words = ("list", "--api", "http://127.0.0.1:9/v2", "--items")
    ended = await harvester(*words, "ids.txt", cwd=tmp_path)
    assert "ids.txt: no item found: check the list" in ended.err
    ended = await harvester(*words, "-", cwd=tmp_path)
    assert "standard input: no item found: check the list" in ended.err


async def test_our_own_tables_are_lists(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60)) as sandbox:
        words = ("run", "--search", ":tag: tag2", "--tasks", "metadata", *at(sandbox))
        assert (await harvester(*words, "-o", tmp_path / "one")).status == 0
        wanted = list(sandbox.world.search(":tag: tag2"))
        for name in ("items.csv", "files.csv"):
            listed = await harvester("list", "--items", tmp_path / "one" / name, *at(sandbox))
            assert {int(line) for line in listed.out.split()} <= set(wanted), name
            assert listed.status == 0, name


# -- what names lead to ---------------------------------------------------------------------------


async def test_an_article_of_another_publisher_is_no_item_of_figshares(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.public_ids[4]
        name = f"https://peerj.com/articles/{item_id}/"
        ended = await harvester("run", "--item", name, "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert ended.status == 1
        assert rows(tmp_path / "items.csv") == []
        (row,) = rows(tmp_path / "failures.csv")
        assert (row["item_id"], row["task"]) == ("", "resolve")
        own = f"figshare.com/articles/presentation/Research_data_4/{item_id}"
        assert (
            row["error"] == f"{name}: peerj.com is not figshare's, and item {item_id}'s own address is {own}"
        )
        page = await found(sandbox, name)
        assert page.unresolved[0].failure_kind == FailureKind.PERMANENT


async def test_a_portal_is_known_by_the_record_of_one_of_its_items() -> None:
    async with Sandbox(WORLD) as sandbox:
        first, second = sandbox.world.called("portal")
        names = [f"https://{PORTAL}/articles/dataset/x/{item_id}" for item_id in (first, second)]
        assert ids(await found(sandbox, *names, f"www.{PORTAL}/articles/{first}/1")) == [
            (first, 0),
            (second, 0),
            (first, 1),
        ]
        assert queries(sandbox) == [f"articles/{first}"]


async def test_the_apis_own_host_needs_no_proof() -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.public_ids[4]
        assert ids(await found(sandbox, f"{sandbox.api}/articles/{item_id}")) == [(item_id, 0)]
        assert queries(sandbox) == []


async def test_a_portals_item_that_is_withdrawn_is_known_as_withdrawn(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("portal")[0]
        name = f"https://{PORTAL}/articles/x/{item_id}"
        words = ("run", "--item", name, "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        sandbox.world.withdraw(item_id)
        assert (await harvester(*words)).status == 0
        assert [row["change"] for row in rows(tmp_path / "changes.csv")] == ["withdrawn"]


async def test_an_address_of_another_publisher_is_no_draft_of_the_accounts(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, private_items=3)) as sandbox:
        item_id = sandbox.world.private_ids[0]
        name = f"https://elifesciences.org/articles/{item_id}"
        words = ("--item", name, "--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        for _ in range(2):
            assert (await harvester("run", *words)).status == 1
            assert rows(tmp_path / "items.csv") == []
            (row,) = rows(tmp_path / "failures.csv")
            message = f"no public item {item_id} has it as its address"
            assert (row["item_id"], row["task"]) == ("", "resolve")
            assert row["error"] == f"{name}: elifesciences.org is not figshare's, and {message}"
        assert {seen.path for seen in sandbox.requests} <= {f"/v2/articles/{item_id}", "/v2/articles"}
        listed = await harvester("list", "--item", name, *at(sandbox))
        assert (listed.status, listed.out) == (1, "")


async def test_a_doi_that_items_share_gives_all_of_them_and_says_so(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        one, other = sandbox.world.called("shared-doi")[:2]
        doi = sandbox.world.doi(one)
        assert doi == sandbox.world.doi(other)
        for name in (doi, doi.removesuffix(".v1"), f"https://doi.org/{doi.upper()}"):
            page = await found(sandbox, name)
            assert {ref.id for ref in page.refs} == {one, other}, name
            (note,) = page.notes
            assert note.endswith(f": 2 items share this name, and all of them are taken: {one}, {other}")
        listed = tmp_path / "dois.txt"
        listed.write_text(f"{doi}\n{doi}\n")
        words = ("--items", listed, "--tasks", "metadata", "-o", tmp_path / "out")
        ended = await harvester("run", *words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert ended.err.count("2 items share this name") == 1
        (warning,) = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())["run"]["warnings"]
        assert "2 items share this name" in warning
        listing = await harvester("list", "--items", listed, *at(sandbox))
        assert listing.err.count("2 items share this name") == 1


async def test_a_doi_without_the_id_is_found_by_figshares_filter() -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("hex-doi")[0]
        doi = sandbox.world.doi(item_id)
        assert str(item_id) not in doi
        assert ids(await found(sandbox, doi)) == [(item_id, 0)]
        assert queries(sandbox) == [f"articles doi={doi}"]
        assert ids(await found(sandbox, f"{doi}.v2")) == [(item_id, 2)]
        assert queries(sandbox) == [f"articles doi={doi}.v2", f"articles doi={doi}"]


async def test_a_doi_whose_number_is_no_item_names_the_item_that_has_it(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("wrong-id-doi")[0]
        doi = sandbox.world.doi(item_id)
        number = doi.split(".")[-2]
        for name in (doi.removesuffix(".v1"), f"https://doi.org/{doi}"):
            out = tmp_path / name[-1]
            words = ("run", "--item", name, "--tasks", "metadata", "-o", out, *at(sandbox))
            assert (await harvester(*words)).status == 1
            (row,) = rows(out / "failures.csv")
            assert row["item_id"] == number
            assert f"; but its DOI is that of item {item_id}," in row["error"]
            assert f"articles doi={doi}" in queries(sandbox)
        words = ("run", "--item", number, "--tasks", "metadata", "-o", tmp_path / "id", *at(sandbox))
        assert (await harvester(*words)).status == 1
        assert not [query for query in queries(sandbox) if "doi=" in query]


async def test_an_item_of_a_publishers_collection_is_an_item() -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("collection-doi")[0]
        doi = sandbox.world.doi(item_id)
        assert doi.startswith("10.6084/m9.figshare.c.4000001_d")
        page = await found(sandbox, doi, doi.removesuffix(".v1"), "10.6084/m9.figshare.c.4000001.v1")
        assert [(ref.id, ref.version) for ref in page.refs] == [(item_id, 1), (item_id, 0)]
        assert [each.reason for each in page.unresolved] == [
            'a collection: use --collection 4000001 (in a config: kind = "collection", id = 4000001)'
        ]


async def test_a_handle_is_found_with_and_without_its_version_in_two_requests() -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("minted-handle")[0]
        handle = sandbox.world.handle(item_id)
        bare = handle.removesuffix(".v1")
        for name, asked in ((handle, [handle]), (bare, [bare, handle])):
            assert ids(await found(sandbox, name)) == [(item_id, 0)], name
            assert queries(sandbox) == [f"articles handle={form}" for form in asked]
        assert (await found(sandbox, "10779/sandbox.7")).unresolved[0].failure_kind == FailureKind.NOT_FOUND
        forms = ["10779/sandbox.7", *(f"10779/sandbox.7.v{number}" for number in range(1, 10))]
        assert queries(sandbox) == [f"articles handle={form}" for form in forms]


@pytest.mark.parametrize("kind", ["minted-handle", "collection-doi"])
async def test_a_name_is_found_whichever_version_is_current(kind: str) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called(kind)[0]
        for _ in range(2):
            sandbox.world.edit(item_id)
        name = sandbox.world.handle(item_id) if kind == "minted-handle" else sandbox.world.doi(item_id)
        bare = name.removesuffix(".v3")
        assert name == f"{bare}.v3"
        assert ids(await found(sandbox, bare)) == [(item_id, 0)]
        assert ids(await found(sandbox, f"{bare}.v1")) == [(item_id, 1)]
        assert ids(await found(sandbox, f"{bare.upper()}.V2")) == [(item_id, 2)]


async def test_a_handle_without_a_doi_leads_to_its_item(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("handle-only")[0]
        assert sandbox.world.doi(item_id) == ""
        handle = sandbox.world.handle(item_id)
        words = ("run", "--item", f"hdl:{handle}", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        assert [(row["id"], row["doi"]) for row in rows(tmp_path / "items.csv")] == [(str(item_id), "")]


async def test_an_ignored_filter_never_gives_another_item() -> None:
    async with Sandbox(
        Settings(items=60, identifiers=WORLD.identifiers, ignores=("doi", "handle"))
    ) as sandbox:
        page = await found(sandbox, "10.4225/03/5Affff", "12345/7", "10.25384/example.data9.v1")
        assert page.refs == ()
        assert len(page.unresolved) == 3


async def test_equal_names_are_requested_once() -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.called("hex-doi")[0]
        doi = sandbox.world.doi(item_id)
        names = (
            doi,
            f"doi:{doi}",
            f"https://doi.org/{doi.lower()}",
            f"<{doi}>",
            "10.1234/none",
            "10.1234/NONE.",
        )
        page = await found(sandbox, *names)
        assert [ref.id for ref in page.refs] == [item_id] * 4
        assert [each.name for each in page.unresolved] == list(names[4:])
        assert queries(sandbox) == [
            f"articles doi={doi}",
            "articles doi=10.1234/none",
            *(f"articles doi=10.1234/none.v{number}" for number in range(1, 10)),
        ]


async def test_a_list_that_repeats_its_ids_many_times_is_read_to_its_end(tmp_path: Path) -> None:
    """As `cut -d, -f1 files.csv` gives them: 4,000 ids, five times each."""
    listed = tmp_path / "ids.txt"
    listed.write_text("".join(f"{item_id}\n" * 5 for item_id in range(100_001, 104_001)))
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert ended.status == 0, ended.err
    assert ended.out.split() == [str(item_id) for item_id in range(100_001, 104_001)]


async def test_a_run_of_a_list_that_repeats_itself_counts_what_it_repeats(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=84)) as sandbox:
        ids = list(sandbox.world.public_ids[44:47])
        listed = tmp_path / "ids.txt"
        listed.write_text("".join(f"{ids[0]}\n" for _ in range(10_100)) + f"{ids[1]}\n{ids[2]}\n")
        words = ("--items", listed, "--tasks", "metadata")
        ended = await harvester("run", *words, "-o", tmp_path / "out", *at(sandbox))
        assert ended.status == 0, ended.err
        listings = summary(tmp_path / "out")["listings"]
        assert (listings["entries"], listings["unique"], listings["duplicates"]) == (10_102, 3, 10_099)
        assert len(sandbox.requests_to("api")) == 3
        planned = await harvester("plan", *words, "-o", tmp_path / "other", "--json", *at(sandbox))
        assert orjson.loads(planned.out)["incomplete_listings"] == []


# -- where redirects lead ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://10.9.9.9/x", "10.9.9.9, which is a private address; services.private_networks allows it"),
        ("https://127.0.0.1/x", "127.0.0.1, which is a loopback address"),
        ("https://169.254.169.254/x", "169.254.169.254, which is a link-local address"),
        ("http://10.9.9.9/x", "10.9.9.9, which is not https"),
        ("http://example.org/x", "example.org, which is not https"),
        ("file:///etc/passwd", "a URL of scheme file, which is not https"),
    ],
)
async def test_a_redirect_that_is_not_followed_says_why(target: str, expected: str) -> None:
    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    async with served(elsewhere) as here, client(URL("https://api.example.org"), stats=here) as asked:
        with pytest.raises(Rejected) as caught:
            await asked.json("stats", "GET", here / "x", orjson.loads)
    assert str(caught.value).endswith(f": redirects to {expected}")
