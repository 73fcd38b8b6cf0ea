"""The pages on the library: the notebook, run by a Jupyter kernel, and the examples, against the sandbox."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from harvester.sandbox import Sandbox, Settings
from tests.support.cells import run_cells
from tests.support.program import environment

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOK = DOCS / "tutorials" / "notebook.ipynb"


def against(sandbox: Sandbox) -> dict[str, str]:
    return environment(
        HARVESTER_SERVICES_API=sandbox.api,
        HARVESTER_SERVICES_STATS=sandbox.stats,
        **{f"HARVESTER_RATE_{service}": "inf" for service in ("API", "STATS", "FILES")},
    )


def outputs(notebook: Any, beginning: str) -> list[dict[str, Any]]:
    """The outputs of the one cell that contains a text."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and beginning in cell.source]
    return [dict(each) for each in cell.outputs]


@pytest.mark.anyio
async def test_the_notebook_runs_and_shows_its_progress_and_frames(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    async with Sandbox(Settings(items=40, heavy=0, record=False)) as sandbox:
        client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
        await client.async_execute(env=against(sandbox))
    bar, result = outputs(notebook, "await harvest(")
    assert re.fullmatch(
        r'<progress max="1" value="1.000"[^>]*></progress> (\d+) of \1 items, (\d+) of \2 files, .*',
        bar["data"]["text/html"],
    )
    assert result["data"]["text/plain"].startswith("(")
    (frame,) = outputs(notebook, "items.merge(")
    assert "total_views" in frame["data"]["text/html"]
    (statuses,) = outputs(notebook, "study.files().to_polars()")
    assert " done " in statuses["data"]["text/plain"]


@pytest.mark.nightly
@pytest.mark.anyio
async def test_the_examples_of_the_guide_run_in_their_order(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "use-as-a-library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 8
    (tmp_path / "harvest.toml").write_text('[[sources]]\nkind = "search"\nquery = "survey"\n')
    async with Sandbox(Settings(items=24, heavy=0, record=False)) as sandbox:
        ended = await run_cells(blocks, tmp_path, against(sandbox))
    assert ended.status == 0, ended.err
    assert re.search(r"^\d+ items; 0 failures$", ended.out, re.MULTILINE)
