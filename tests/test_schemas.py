"""The JSON Schemas in the package: every document of real runs meets them, and no other does."""

from __future__ import annotations

import copy
import io
import logging
import lzma
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from harvester.cli.log_format import JsonLines
from harvester.cli.progress import show_lines
from harvester.config import Config
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import FatalError
from harvester.jobs.harvest import harvest
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from tests.support.program import at, config, harvester, started
from tests.support.schemas import SCHEMAS, check, check_events, check_lines, validator

pytestmark = pytest.mark.anyio

DOCUMENTS = SCHEMAS.keys() - {"common"}
FAULTS = {
    "always-404": 0.1,
    "always-500": 0.05,
    "always-403-json": 0.05,
    "always-gone-file": 0.05,
    "500": 0.1,
}
ALL_TASKS = ("metadata", "stats", "timeline", "breakdown", "files")


def check_summary(folder: Path) -> Any:
    return check("summary", (folder / "summary.json").read_bytes())


async def check_status(folder: Path) -> Any:
    ended = await harvester("status", "-o", folder, "--json")
    assert ended.status == 0, ended.err
    return check("status", ended.out)


async def check_verify(folder: Path) -> None:
    document = check("verify", (await harvester("verify", folder, "--json")).out)
    assert document.pop("intact") > 0
    assert document == {"folder": str(folder), "damaged": [], "recorded": True}
    path = next(path for path in (folder / "files").rglob("*") if path.is_file())
    path.write_bytes(b"x")
    ended = await harvester("verify", folder, "--json")
    assert ended.status == 1
    assert check("verify", ended.out)["damaged"] == [path.relative_to(folder).as_posix()]


def everything(sandbox: Sandbox, folder: Path, **more: object) -> Config:
    """Items of all kinds with all tasks in all versions, among them some that fail."""
    options: dict[str, object] = {
        "sources": [
            {"kind": "search", "query": "survey"},
            {"kind": "items", "ids": [1, "10.1234/nothing.5"]},
        ],
        "tasks": list(ALL_TASKS),
        "versions": "all",
        "stats.since": "2024-01-01",
        "stats.granularity": "year",
        "files.exclude": ["*01*"],
        "retry.attempts": 2,
        **more,
    }
    return config(sandbox, folder, **options)


def kinds_of(states: dict[str, Any]) -> set[str]:
    return {state for state, number in states.items() if number}


# -- the schemas themselves -----------------------------------------------------------------------


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema.get("type"), str | list):
            yield schema
        for inner in schema.values():
            yield from objects_in(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects_in(inner)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_one_and_describes_every_key(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]
    for each in objects_in(schema):
        for key, inner in each["properties"].items():
            assert inner.get("description") or "$ref" in inner, key


@pytest.mark.parametrize("name", sorted(DOCUMENTS - {"metadata-line"}))
def test_a_schema_allows_no_key_that_it_does_not_name(name: str) -> None:
    contents = SCHEMAS["common"]["$defs"]["contents"]
    for each in objects_in([SCHEMAS[name], SCHEMAS["common"]]):
        assert (
            each is contents
            or each.get("additionalProperties") is False
            or each.get("unevaluatedProperties") is False
        ), each


# -- the documents of real runs -------------------------------------------------------------------


async def test_a_complete_run(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=24, heavy=0)) as sandbox:
        words = ("--search", "survey", "-o", tmp_path, *at(sandbox))
        plan = check("plan", (await harvester("plan", *words, "--json")).out)
        assert plan["items_pending"] > 0
        ended = await harvester("run", *words, "--log-json", "--verbose")
        assert ended.status == 0, ended.err
        check_events(ended.err)
        summary = check_summary(tmp_path)
        assert summary["run"]["outcome"] == "finished"
        assert summary["folder"]["failures"] == summary["run"]["unaccounted"] == 0
        status = await check_status(tmp_path)
        assert {key: status[key] for key in summary["folder"]} == summary["folder"]
        assert check("plan", (await harvester("plan", *words, "--json")).out)["items_pending"] == 0
        listed = check_lines("list-line", (await harvester("list", *words[:2], *at(sandbox), "--json")).out)
        records = check_lines("metadata-line", (tmp_path / "metadata.jsonl").read_bytes())
        assert len(listed) == len(records) == summary["folder"]["items"]
        assert (await harvester("failed", "-o", tmp_path, "--json")).out == ""
        again = await harvester("run", *words, "--json")
        assert check("summary", again.out) == check_summary(tmp_path)
        assert (
            check("plan", (await harvester("run", *words, "--dry-run", "--json")).out)["items_pending"] == 0
        )
        paths = check("export", (await harvester("export", tmp_path, "--json")).out)["files"]
        assert paths == (await harvester("export", tmp_path)).out.splitlines()
        await check_verify(tmp_path)


async def test_a_run_with_failures_withheld_files_and_versions(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=34, seed=4, heavy=0, faults=FAULTS)) as sandbox:
        summary = await harvest(everything(sandbox, tmp_path))
        assert summary.exit_status == 1
        document = check_summary(tmp_path)
        outcomes = document["folder"]["outcomes"]
        assert kinds_of(outcomes["items"]) >= {"done", "not_found"}
        assert kinds_of(outcomes["files"]) >= {"done", "skipped", "link", "embargo"}
        assert outcomes["withheld"]
        assert document["folder"]["versions"] > 0
        assert document["folder"]["listings"]["unresolved"] > 0
        assert document["folder"]["work"].keys() == {"metadata", "stats", "timeline", "breakdown"}
        await check_status(tmp_path)
        failures = check_lines("failed-line", (await harvester("failed", "-o", tmp_path, "--json")).out)
        assert {failure["failure_kind"] for failure in failures} >= {"not_found"}
        assert {failure["task"] for failure in failures} >= {"metadata", "resolve"}
        assert len(failures) == document["folder"]["failures"]
        check_lines("metadata-line", (tmp_path / "metadata.jsonl").read_bytes())


async def test_a_second_run_with_withdrawals_and_orphaned_files(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=16, heavy=0)) as sandbox:
        source = {"sources": [{"kind": "search", "query": "survey"}]}
        await harvest(everything(sandbox, tmp_path, **source))
        with Reader(tmp_path) as reader:
            edited, withdrawn, *_ = [item.id for item in reader.items() if item.files and not item.version]
        sandbox.world.edit(edited)
        sandbox.world.withdraw(withdrawn)
        summary = await harvest(everything(sandbox, tmp_path, **source), accept_withdrawals=10)
        assert summary.exit_status == 0
        document = check_summary(tmp_path)
        assert kinds_of(document["run"]["changes"]) >= {"changed", "withdrawn"}
        assert document["folder"]["outcomes"]["items"]["withdrawn"] > 0
        assert document["folder"]["orphaned_files"]["files"] > 0
        await check_status(tmp_path)


async def test_a_run_that_is_interrupted_and_its_status_meanwhile(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox, rate="20"))
        async with started(words) as process:
            with anyio.fail_after(60):
                while len(sandbox.requests_to("api")) < 5:
                    await anyio.sleep(0.02)
            assert (await check_status(tmp_path))["last_run"]["state"] == "running"
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(60):
                assert await process.wait() == 130
        document = check_summary(tmp_path)
        assert document["run"]["outcome"] == "interrupted"
        assert document["folder"]["outcomes"]["items"]["pending"] > 0
        assert (await check_status(tmp_path))["last_run"]["state"] == "interrupted"


async def test_a_run_that_could_not_continue(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20)) as sandbox:
        refused = everything(sandbox, tmp_path, sources=[{"kind": "search", "query": "survey"}])
        gone = Config(**vars(refused))
        async with Sandbox(Settings(items=20)) as other:
            address = other.api
        services = type(gone.services)(**{**vars(gone.services), "api": address})
        retry = type(gone.retry)(**{**vars(gone.retry), "outage_timeout": 0.2})
        with pytest.raises(FatalError):
            await harvest(Config(**{**vars(gone), "services": services, "retry": retry}))
    assert check_summary(tmp_path)["run"]["outcome"] == "stopped"
    assert (await check_status(tmp_path))["last_run"]["state"] == "stopped"


@pytest.mark.parametrize("name", ["ledger-5", "ledger-10", "ledger-10-killed"])
async def test_ledgers_of_earlier_versions(tmp_path: Path, name: str) -> None:
    packed = Path(__file__).parent / "fixtures" / f"{name}.db.xz"
    (tmp_path / "harvest.db").write_bytes(lzma.decompress(packed.read_bytes()))
    status = await check_status(tmp_path)
    failures = check_lines("failed-line", (await harvester("failed", "-o", tmp_path, "--json")).out)
    assert len(failures) == status["failures"]
    assert (await harvester("export", "-o", tmp_path, "--formats", "jsonl")).status == 0
    records = check_lines("metadata-line", (tmp_path / "metadata.jsonl").read_bytes())
    assert len(records) == status["records"]


async def test_progress_lines(tmp_path: Path) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("harvester")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    async def show(snapshot: ProgressSnapshot, _: object) -> None:
        await show_lines(snapshot, every_seconds=0.02)

    try:
        async with Sandbox(Settings(items=12, heavy=0, latency=0.02, faults={"429": 0.1})) as sandbox:
            await harvest(config(sandbox, tmp_path), on_start=show)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    lines = check_lines("log-line", written.getvalue())
    assert sum("progress" in line for line in lines) > 3


async def test_a_plan_of_listings_that_figshare_does_not_filter_or_give(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        words = ("--collection", "4000001", "--type", "dataset", "--item", "10.1234/nothing.5")
        ended = await harvester("plan", *words, "-o", tmp_path, *at(sandbox), "--json", "--sample", "2")
        plan = check("plan", ended.out)
        assert plan["client_side_filters"].keys() == {"collection 4000001 (type dataset)"}
        assert plan["incomplete_listings"]


# -- a document that is not one -------------------------------------------------------------------


def places(document: Any) -> Iterator[tuple[object, ...]]:
    """The way to each object in a document."""
    if isinstance(document, dict):
        yield ()
        for key, value in document.items():
            yield from ((key, *rest) for rest in places(value))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from ((index, *rest) for rest in places(value))


def at_place(document: Any, way: tuple[object, ...]) -> Any:
    for step in way:
        document = document[step]
    return document


async def test_an_unknown_key_is_rejected_at_any_place(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12, heavy=0)) as sandbox:
        await harvest(everything(sandbox, tmp_path))
        words = ("--search", "survey", "-o", tmp_path, *at(sandbox))
        found = {
            "summary": check_summary(tmp_path),
            "status": await check_status(tmp_path),
            "plan": check("plan", (await harvester("plan", *words, "--json")).out),
        }
    for name, document in found.items():
        ways = [way for way in places(document) if way != ("client_side_filters",)]
        assert len(ways) >= 3
        for way in ways:
            wrong = copy.deepcopy(document)
            at_place(wrong, way)["unheard_of"] = 1
            assert not validator(name).is_valid(wrong), (name, way)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_without_its_keys_is_rejected(name: str) -> None:
    assert not validator(name).is_valid({})
