"""Imports point down: a module imports only from above its own row of this table."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.plugins import SINKS, SOURCES, TASKS, Register

PACKAGE = Path(__file__).parent.parent / "harvester"
LEVELS = {
    "redaction": -1,
    "errors": 0,
    "states": 0,
    "text": 0,
    "addresses": 0,
    "paths": 0,
    "process": 0,
    "trash": 0,
    "credentials": 0,
    "signals": 0,
    "example": 1,
    "tally": 0,
    "register": 0,
    "handles": 1,
    "models": 1,
    "proxies": 1,
    "logs": 1,
    "printing": 1,
    "together": 2,
    "config": 2,
    "limits": 2,
    "store": 2,
    "ledger": 2,
    "client": 3,
    "figshare": 4,
    "moves": 3,
    "named": 5,
    "ownership": 5,
    "over_time": 5,
    "sinks": 5,
    "sources": 6,
    "tasks": 6,
    "kinds": 7,
    "status": 7,
    "output": 7,
    "producer": 7,
    "survey": 7,
    "connecting": 7,
    "wishes": 3,
    "prune": 7,
    "plan": 8,
    "pipeline": 8,
    "withdrawals": 8,
    "pipes": 8,
    "report": 9,
    "progress": 10,
    "summaries": 11,
    "job": 12,
    "options": 12,
    "chosen": 12,
    "prune_command": 13,
    "cli": 14,
    "__main__": 15,
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


@pytest.mark.parametrize(
    ("register", "attribute"), [(SOURCES, "kind"), (TASKS, "name"), (SINKS, "format")], ids=FOLDERS
)
def test_a_register_holds_every_leaf_of_its_folder_by_its_own_name(
    register: Register, attribute: str
) -> None:
    assert {getattr(register[name], attribute): name for name in register} == {
        name: name for name in register
    }
    (folder,) = {register[name].__module__.rpartition(".")[0] for name in register}
    leaves = {path.stem for path in (PACKAGE / part(folder)).glob("*.py")} - {"__init__"}
    assert {register[name].__module__.rpartition(".")[2] for name in register} == leaves


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
