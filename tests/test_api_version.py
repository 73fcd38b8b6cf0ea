"""The API version is data: a second one, with other paths and another page shape, needs no other change."""

from __future__ import annotations

import ast
import csv
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

import harvester
from harvester import harvest, load_config
from harvester.figshare.api_version import ApiVersion, Endpoint, ListingEndpoint, Paging
from harvester.figshare.entries import Entry, EntryPage
from harvester.figshare.records import decode_raw_list, read_article
from harvester.figshare.v2 import V2
from harvester.jobs.services import RunHooks
from tests.support.http import served

pytestmark = pytest.mark.anyio

DOI = "10.5072/x.seven"
CONTENT = b"a,b\n1,2\n"
PAGE = 2
PACKAGE = Path(harvester.__file__).parent


def decode_page(raw: bytes) -> EntryPage:
    """Read ``{"results": [{"number": …, "name": …}], "next": …}``."""
    body = msgspec.json.decode(raw)
    entries = tuple(Entry(id=each["number"], title=each["name"], doi=each["doi"]) for each in body["results"])
    return EntryPage(entries, cursor=body["next"])


def decode_uses(raw: bytes) -> int:
    return int(msgspec.json.decode(raw)["n"])


FIND = ListingEndpoint("things/find", decode_page, what="a search", params={"query": "q"})
MADE_UP: ApiVersion = replace(
    V2,
    name="made up",
    paging=Paging(page="p", page_size="n", order="by", direction="way", cursor_param="after"),
    endpoints=replace(V2.endpoints, search=FIND),
    articles=ListingEndpoint("things", decode_page, what="all things", params={"doi": "called"}),
    record=Endpoint("things/{item_id}", read_article),
    file_list=Endpoint("{record}/parts", decode_raw_list),
    download="bytes/{file_id}",
    total=Endpoint("uses/{counter}/{item_id}", decode_uses),
)


def file(item_id: int) -> dict[str, Any]:
    return {
        "id": 10 * item_id,
        "name": "table.csv",
        "size": len(CONTENT),
        "computed_md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    }


def record(item_id: int) -> dict[str, Any]:
    """A dataset with one file; the third is a figure, and the fourth does not list its file itself."""
    return {
        "id": item_id,
        "title": f"Thing {item_id}",
        "defined_type": 1 if item_id == 3 else 3,
        "size": len(CONTENT),
        "files": [] if item_id == 4 else [file(item_id)],
    }


class MadeUpServer:
    """Five things to find and a seventh that has a DOI; ``requests``: what was requested of it."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        match request.path.strip("/").split("/"):
            case ["things", "find"]:
                return self._page(request)
            case ["things"]:
                named = request.query["called"] == DOI
                return web.json_response({"results": [entry(7, DOI)] if named else [], "next": ""})
            case ["things", number, "parts"]:
                return web.json_response([file(int(number))] if request.query["p"] == "1" else [])
            case ["things", number]:
                return web.json_response(record(int(number)))
            case ["bytes", _]:
                return web.Response(body=CONTENT, content_type="application/octet-stream")
            case ["uses", counter, _]:
                return web.json_response({"n": 20 if counter == "views" else 10})
        return web.json_response({"message": "no such path"}, status=404)

    @staticmethod
    def _page(request: web.Request) -> web.Response:
        begin = int(request.query.get("after", 0))
        numbers = range(1, 6)[begin : begin + PAGE]
        following = begin + PAGE if begin + PAGE < 5 else ""
        return web.json_response({"results": [entry(each) for each in numbers], "next": str(following)})


def entry(item_id: int, doi: str = "") -> dict[str, Any]:
    return {"number": item_id, "name": f"Thing {item_id}", "doi": doi}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


async def test_a_second_api_version_is_harvested_by_its_data_alone(tmp_path: Path) -> None:
    server = MadeUpServer()
    async with served(server.answer) as base:
        sources = [
            {"kind": "search", "query": "data", "item_type": "dataset"},
            {"kind": "items", "ids": [DOI]},
        ]
        options = {
            "output": str(tmp_path),
            "sources": sources,
            "services.api": str(base),
            "services.stats": str(base),
            **{f"rate.{service}": float("inf") for service in ("api", "stats", "files")},
        }
        config = load_config(options=options, environ={})
        summary = await harvest(config, hooks=RunHooks(api_version=MADE_UP))
    assert summary.exit_status == 0
    assert [row["id"] for row in rows(tmp_path / "items.csv")] == ["1", "2", "4", "5", "7"]
    found = [(row["file_id"], row["status"]) for row in rows(tmp_path / "files.csv")]
    assert found == [(f"{item_id}0", "done") for item_id in (1, 2, 4, 5, 7)]
    assert {(row["total_views"], row["total_downloads"]) for row in rows(tmp_path / "stats.csv")} == {
        ("20", "10")
    }
    assert [line for line in server.requests if line.startswith("GET /things/find")] == [
        "GET /things/find?q=data&n=1000&p=1",
        "GET /things/find?q=data&n=1000&after=2",
        "GET /things/find?q=data&n=1000&after=4",
    ]
    assert any(line.startswith("GET /things?called=10.5072") for line in server.requests)
    assert "GET /things/4/parts?p=1&n=1000" in server.requests
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        assert db.execute("SELECT DISTINCT api_version FROM records").fetchall() == [("made up",)]


def test_an_api_version_defines_the_capabilities_of_each_endpoint() -> None:
    assert FIND.params.keys() == {"query"}, "it takes no filter: each record is checked"
    assert V2.endpoints.search.params.keys() > {"query", "item_type"}


# -- no path elsewhere ----------------------------------------------------------------------------


def paths(value: object) -> set[str]:
    """All paths of a version."""
    if isinstance(value, Endpoint):
        more = (value.past_cap, value.changes) if isinstance(value, ListingEndpoint) else ()
        return {value.path}.union(*map(paths, more))
    if isinstance(value, msgspec.Struct):
        return set().union(*(paths(getattr(value, name)) for name in value.__struct_fields__))
    return set()


def texts(source: str) -> set[str]:
    """All texts of a module, of formatted ones the parts; without docstrings."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }


def test_api_paths_occur_in_one_module_only() -> None:
    known = {*paths(V2), V2.download}
    assert len(known) == 22
    parts = {part for path in known for part in _literal_parts(path) if "/" in part.strip("/")}
    assert {"articles/search", "account/institution/groups"} <= parts
    for module in PACKAGE.rglob("*.py"):
        if "sandbox" in module.parts or module.name == "v2.py":
            continue
        source = module.read_text(encoding="utf-8")
        written = [part for part in parts if part in source]
        named = {part for text in (texts(source) if written else ()) for part in written if part in text}
        assert not named, f"{module.relative_to(PACKAGE)} names {named}"


def _literal_parts(path: str) -> list[str]:
    """``articles/{item_id}/versions`` is ``articles/`` and ``/versions``."""
    return [part.rpartition("}")[2] for part in path.split("{")]
