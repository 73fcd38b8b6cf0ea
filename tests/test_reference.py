"""The reference: its generated pages are what the program gives, its other pages name all there is."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

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
    "name",
    [
        "commands.md",
        "config.md",
        "environment.md",
        "output.md",
        "json.md",
        "library.md",
        "ledger.md",
        SANDBOX,
        reference.MANUAL,
    ],
)
def test_a_generated_page_is_up_to_date(name: str, generated: dict[str, str]) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == generated[name], "run `make reference`"


def test_the_manual_page_names_every_command_and_option_and_has_no_fault(generated: dict[str, str]) -> None:
    page = PAGES / reference.MANUAL
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed here")
    lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, check=False)
    assert lint.stdout == ""
    shown = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=100", page], capture_output=True, text=True, check=True
    ).stdout
    text = re.sub(".\b", "", shown)  # bold and underlined characters are printed twice
    for command, option in re.findall(
        r"^## (harvester \w+)|^\| `(-[^` ]*)", generated["commands.md"], re.MULTILINE
    ):
        assert command in text
        assert option in text
    assert "--search QUERY" in text
    assert "\\" not in text


def test_groff_finds_no_fault_in_the_manual_page() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed here")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", PAGES / reference.MANUAL], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_every_exit_status_is_in_the_reference() -> None:
    page = (PAGES / "exit-statuses.md").read_text(encoding="utf-8")
    for status in ExitStatus:
        assert f"\n| {status.value} | " in page


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harvest")
    anyio.run(reference.small_harvest, folder)
    return folder


def test_the_tables_of_the_reference_are_those_of_a_harvest(
    harvested: Path, generated: dict[str, str]
) -> None:
    paths = sorted(harvested.glob("*.csv"))
    assert [path.name for path in paths] == re.findall(
        r"^### (\w+\.csv)$", generated["output.md"], re.MULTILINE
    )
    for path in paths:
        text = generated["output.md"].partition(f"### {path.name}\n")[2].partition("\n#")[0]
        columns = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        assert columns == path.read_text(encoding="utf-8").splitlines()[0].split(",")


def test_every_query_of_the_documents_runs(harvested: Path) -> None:
    pages = [page.read_text(encoding="utf-8") for page in (reference.ROOT / "docs").rglob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL)]
    queries = [query for block in blocks for query in block.split(";") if query.strip()]
    assert len(queries) >= 5
    with closing(sqlite3.connect(harvested / "harvest.db")) as db:
        for query in queries:
            assert db.execute(query).description, query


def test_a_table_of_the_ledger_without_a_text_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        db.execute("CREATE TABLE new (a)")
    with pytest.raises(reference.Undescribed, match=r"ledger: no text for new"):
        reference.ledger(tmp_path)


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/-]+\.md", (reference.ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    docs = reference.ROOT / "docs"
    assert sorted(listed) == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))
