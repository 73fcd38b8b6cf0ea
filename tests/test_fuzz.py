"""Anything at all, where others decide what comes: records on their whole way, listings, configs."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import anyio
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from yarl import URL

from harvester.client.json_body import JsonBody
from harvester.config import Config, FileRules, keys
from harvester.errors import ConnectionFailed, InvalidResponse, PermanentError, TransientError, UsageError
from harvester.figshare.decoding import must_be_text
from harvester.figshare.entries import decode_entries
from harvester.figshare.records import LISTED_FILES, read_article
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import ItemResult, RunSpec
from harvester.ledger.reader import Reader
from harvester.models import ItemId, ItemKey, ItemRef, Page, Record, TaskResult
from harvester.plugins import EXPORTERS, load_config
from harvester.states import WorkState
from harvester.storage.paths import assign_paths
from harvester.tasks.file_plan import plan_files

# Half characters too: JSON can spell what no text may hold.
text = st.text(st.characters(exclude_categories=()), max_size=20)
number = st.integers() | st.integers(0, 1000) | st.sampled_from([2**63 - 1, 2**63, 10**400, -1, 0])
scalar = st.none() | st.booleans() | number | st.floats(allow_nan=False, allow_infinity=False) | text
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def mostly(right: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """What is promised, nine times of ten."""
    return st.one_of(*[right] * 9, anything)


one_file = st.fixed_dictionaries(
    {"id": mostly(st.integers(1, 99))},
    optional={
        "name": mostly(text),
        "size": mostly(st.integers(0, 99) | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1])),
        "is_link_only": mostly(st.booleans()),
        "download_url": mostly(text),
        "computed_md5": mostly(st.sampled_from(["", "a" * 32, "A" * 32, "x"])),
        "mimetype": anything,
    },
)
one_record = st.fixed_dictionaries(
    {"id": mostly(st.just(7))},
    optional={
        "title": mostly(text),
        "doi": mostly(text),
        "defined_type_name": mostly(text),
        "published_date": mostly(text),
        "modified_date": mostly(text),
        "license": mostly(st.fixed_dictionaries({}, optional={"name": text})),
        "group_id": mostly(st.none() | st.integers(0, 99)),
        "authors": mostly(st.lists(st.fixed_dictionaries({"full_name": text}), max_size=3)),
        "categories": mostly(st.lists(st.fixed_dictionaries({"title": text}), max_size=3)),
        "size": mostly(st.integers(0, 999)),
        "files": mostly(st.lists(one_file, max_size=12)),
        "folder_structure": mostly(st.dictionaries(st.integers(1, 99).map(str), text, max_size=4)),
        "is_embargoed": mostly(st.booleans()),
        "is_confidential": mostly(st.booleans()),
        "is_metadata_record": mostly(st.booleans()),
        "description": anything,
    },
)


@pytest.mark.parametrize(("size", "is_one"), [(2**53, True), (2**53 + 1, False), (-1, False), (2**63, False)])
def test_an_impossible_size_is_an_invalid_response(size: int, is_one: bool) -> None:
    raw = orjson.dumps({"id": 1, "files": [{"id": 2, "size": size}]})
    if is_one:
        assert read_article(raw).files[0].size == size
    else:
        article = read_article(raw)
        assert (article.files, len(article.odd_files)) == ((), 1)
        assert "size" in article.odd_files[0]


def as_sent(value: object, spoil: bytes) -> bytes:
    """Spell it as a server might, and put some bytes into it that are no UTF-8 where there is a place."""
    return json.dumps(value).encode().replace(b"mimetype", b"mimetype" + spoil)


@pytest.mark.parametrize("examples", [20, pytest.param(150, marks=pytest.mark.nightly)])
def test_any_record_is_harvested_or_a_clear_failure(examples: int) -> None:
    check = given(one_record, st.sampled_from([b"", b"\xff", b"\xed\xa0\x80"]))(assert_harvested_or_failed)
    calm = [HealthCheck.too_slow]
    settings(max_examples=examples, deadline=None, suppress_health_check=calm)(check)()


def assert_harvested_or_failed(value: dict[str, object], spoil: bytes) -> None:
    raw = as_sent(value, spoil)
    try:
        article = read_article(raw)
        must_be_text(raw)
    except (InvalidResponse, ConnectionFailed) as error:
        assert len(str(error).splitlines()) == 1
        return
    assert len(article.files) <= 12
    assert article.files_complete is False or len(article.files) < LISTED_FILES
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(_keep, Path(folder), Record(article, raw))
        _assert_outputs_tell_it(Path(folder), raw)


async def _keep(folder: Path, record: Record) -> None:
    """Do with a record what a run does with it."""
    ledger = Ledger(folder)
    ledger.open()
    tasks = frozenset({"metadata"})
    await ledger.begin(RunSpec(tasks, with_files=True))
    item_id = record.article.id
    await ledger.change(ledger.listings.add_page, "a", Page((ItemRef(ItemId(item_id)),), None), tasks)
    files = plan_files(record.article, {}, FileRules())
    paths = [placed.path for placed in files]
    assert len({path.casefold() for path in paths}) == len(paths)
    assert all(path.startswith(f"files/{item_id}/") for path in paths)
    found = TaskResult(record=record, files=files)
    await ledger.save(ItemResult(ItemKey(item_id), {"metadata": WorkState.DONE}, (), (found,)))
    await ledger.flush()
    pending = await ledger.read(ledger.queue.files, 0, 100)
    assert {each.path for each in pending} <= set(paths)
    await ledger.close("finished")


def _assert_outputs_tell_it(folder: Path, raw: bytes) -> None:
    with Reader(folder) as reader:
        for exporter in EXPORTERS.values():
            exporter().export(reader, folder)
    (line,) = (folder / "metadata.jsonl").read_bytes().splitlines()
    assert json.loads(line) == json.loads(raw)
    for table in ("items.csv", "files.csv"):
        with (folder / table).open(encoding="utf-8", newline="") as handle:
            for row in csv.reader(handle, strict=True):
                assert not [cell for cell in row if "\0" in cell]


@settings(deadline=None)
@given(st.lists(mostly(st.fixed_dictionaries({"id": mostly(st.integers(1, 9))})), max_size=8) | anything)
def test_every_entry_of_a_page_is_an_item_or_reported(value: object) -> None:
    raw = json.dumps(value).encode()
    try:
        page = decode_entries(raw)
    except (InvalidResponse, ConnectionFailed):
        assert not isinstance(value, list) or _has_half_characters(raw)
        return
    assert isinstance(value, list)
    assert page.size == len(value)
    assert {assign_paths for assign_paths, _ in page.odd} <= set(range(1, len(value) + 1))


def _has_half_characters(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return True
    return False


@given(st.lists(st.binary(max_size=40), max_size=5), st.sampled_from(["gzip", "", "identity", "br", "x"]))
def test_any_bytes_in_any_encoding_are_a_body_or_a_clear_failure(pieces: list[bytes], encoding: str) -> None:
    async def read() -> bytes:
        body = JsonBody(URL("https://example.org/x"), encoding, limit=100)
        for piece in pieces:
            await body.take(piece)
        return body.whole()

    try:
        assert len(anyio.run(read)) <= 100
    except (PermanentError, TransientError) as error:
        assert str(error).startswith("example.org/x: ")


value = st.recursive(
    scalar | st.dates() | st.sampled_from(["inf", "5 MB", "metadata", "search", "https://x.org"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["kind", "query", "id", "ids", "file", "token", "api", "item_type", "published_since", "x"]
    ), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
key = st.sampled_from([*keys(), "sources", "rate", "files", "nothing", "rate.nothing"])


set_before = st.sampled_from(["HARVESTER_RATE_API", "HARVESTER_TASKS", "HARVESTER_X", "FIGSHARE_TOKEN"])


@pytest.mark.parametrize("examples", [30, pytest.param(150, marks=pytest.mark.nightly)])
def test_any_settings_are_a_config_or_faults_that_name_their_keys(examples: int) -> None:
    options = st.dictionaries(key, value, max_size=5)
    check = given(options, st.dictionaries(set_before, text))(assert_config_or_faults)
    settings(max_examples=examples, deadline=None)(check)()


def assert_config_or_faults(options: dict[str, object], environ: dict[str, str]) -> None:
    try:
        config = load_config(options=options, environ=environ)
    except UsageError as error:
        assert all(": " in line for line in str(error).splitlines())
    else:
        assert isinstance(config, Config)
        assert all(config.rate.at_most(name) > 0 for name in ("api", "stats", "files"))


@pytest.mark.parametrize("examples", [30, pytest.param(150, marks=pytest.mark.nightly)])
def test_any_file_is_a_config_or_its_faults_are_reported(examples: int) -> None:
    check = given(text | st.text("[]=\"'#\n {}.,0123abc", max_size=60))(assert_read_or_reported)
    settings(max_examples=examples, deadline=None)(check)()


def assert_read_or_reported(written: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "harvest.toml"
        path.write_bytes(written.encode(errors="surrogatepass"))
        try:
            load_config(path, environ={})
        except UsageError as error:
            assert "harvest.toml" in str(error)


@given(st.lists(st.tuples(text, text), max_size=8))
def test_files_with_any_names_have_different_paths(names: list[tuple[str, str]]) -> None:
    files = [
        read_article(orjson.dumps({"id": 1, "files": [{"id": n, "size": 1}]})).files[0]
        for n in range(len(names))
    ]
    named = [
        replace(file, name=name, folder=folder) for file, (folder, name) in zip(files, names, strict=True)
    ]
    placed = assign_paths("files/1", named, {})
    assert len(set(placed.values())) == len(names)
