"""The reference: its generated pages are what the program gives, its other pages name all there is."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from harvester.errors import ExitStatus
from tools import reference

PAGES = reference.FOLDER
SANDBOX = "../developers/sandbox.md"


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return reference.pages()


@pytest.mark.parametrize(
    "name", ["commands.md", "config.md", "environment.md", "output.md", "ledger.md", SANDBOX]
)
def test_a_generated_page_is_up_to_date(name: str, generated: dict[str, str]) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == generated[name], "run `make reference`"


def test_every_exit_status_is_in_the_reference() -> None:
    page = (PAGES / "exit-statuses.md").read_text(encoding="utf-8")
    for status in ExitStatus:
        assert f"\n| {status.value} | " in page


def keys_of(document: Any) -> set[str]:
    """The names of the keys of a document and of those one level below, without numbers by name."""
    return {key for value in (document, document.get("run", {}), document.get("folder", {})) for key in value}


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harvest")
    anyio.run(reference.small_harvest, folder)
    return folder


def test_every_key_of_the_summary_is_in_the_reference(harvested: Path) -> None:
    page = (PAGES / "json.md").read_text(encoding="utf-8")
    for key in keys_of(json.loads((harvested / "summary.json").read_bytes())) - {"run", "folder"}:
        assert f"`{key}`" in page, key


def test_every_query_of_the_documents_runs(harvested: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (reference.ROOT / "docs").rglob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]
    queries = [query for block in blocks for query in block.split(";") if query.strip()]
    assert len(queries) >= 5
    with closing(sqlite3.connect(harvested / "harvest.db")) as db:
        for query in queries:
            assert db.execute(query).description, query


def test_a_column_without_a_text_and_a_text_without_a_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("a\n")
    with pytest.raises(reference.Undescribed, match=r"no text for new\.csv"):
        reference.output(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(reference.Undescribed, match="which is not there"):
        reference.output(tmp_path)


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/-]+\.md", (reference.ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    docs = reference.ROOT / "docs"
    assert sorted(listed) == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))
