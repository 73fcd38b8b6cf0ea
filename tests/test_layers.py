"""Imports point down: a module imports only from above its own row of this table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "harvester"
LEVELS = {
    "errors": 0,
    "models": 0,
    "text": 0,
    "addresses": 0,
    "credentials": 0,
    "signals": 0,
    "tally": 0,
    "together": 1,
    "config": 1,
    "limits": 1,
    "store": 1,
    "ledger": 1,
    "client": 2,
    "figshare": 3,
    "sources": 4,
    "tasks": 5,
    "sinks": 4,
    "producer": 6,
    "pipeline": 7,
    "plan": 6,
    "report": 8,
    "progress": 9,
    "job": 10,
    "options": 10,
    "cli": 11,
    "__main__": 12,
}
FOLDERS = ("sources", "tasks", "sinks")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "sandbox" not in path.parts)


def part(name: str) -> str:
    """The row of a module: ``harvester.tasks.files`` is of ``tasks``."""
    return name.split(".")[1] if "." in name else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            if node.module == "harvester":
                yield from (f"harvester.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = part(name_of(path))
    if not own:  # the package's front only hands on what lies below
        return
    for imported in imports(path):
        other = part(imported)
        if not imported.startswith("harvester.") or other == own:
            continue
        if other == "sandbox":
            assert own == "cli"
        else:
            assert LEVELS[other] < LEVELS[own], f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_leaves_of_a_folder_do_not_import_each_other(folder: str) -> None:
    for path in (PACKAGE / folder).glob("*.py"):
        if path.name != "__init__.py":
            assert not [name for name in imports(path) if name.startswith(f"harvester.{folder}")]


def test_the_sandbox_imports_nothing_of_the_rest() -> None:
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        for imported in imports(path):
            assert not imported.startswith("harvester") or imported.startswith("harvester.sandbox")


def test_aiohttp_is_known_to_the_client_and_the_sandbox_alone() -> None:
    for path in modules():
        if "client" not in path.parts:
            assert not [name for name in imports(path) if name.split(".")[0] == "aiohttp"]


def test_sql_is_known_to_the_ledger_alone() -> None:
    for path in modules():
        if "ledger" not in path.parts:
            assert "sqlite3" not in set(imports(path))
