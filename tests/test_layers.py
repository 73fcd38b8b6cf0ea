"""The layers of the package: imports point down, one level a package, and never in a circle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harvester.plugins import EXPORTERS, SOURCES, TASKS, Registry
from tests.support.structure import MODULES, PACKAGE, circles, imports, own_imports, package_of

TESTS = Path(__file__).parent
LAYERS = (
    {"text"},
    {"errors", "states"},
    {"models", "summary"},
    {"system"},
    {"config", "storage", "ledger"},
    {"client", "plugins"},
    {"figshare"},
    {"sources", "tasks", "exporters"},
    {"engine"},
    {"jobs"},
    {"cli", "harvester"},
    {"__main__"},
)
"""From the bottom to the top. A package imports only from those of the layers below its own."""
MOST_FILES_AT_THE_TOP = 7
MOST_LINES = 400
PLUGINS = ("sources", "tasks", "exporters")
PRODUCT = [name for name in MODULES if not name.startswith("harvester.sandbox")]


def may_import(own: str, other: str) -> bool:
    level = {package: number for number, layer in enumerate(LAYERS) for package in layer}
    if other == "sandbox":
        return own == "cli"
    return other == own or level[other] < level[own]


def test_imports_point_down() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in PRODUCT
        for other in map(package_of, own_imports(name))
        if not may_import(package_of(name), other)
    ]
    assert wrong == []


def test_an_import_that_points_up_is_found() -> None:
    assert may_import("engine", "figshare")
    assert not may_import("figshare", "engine")
    assert not may_import("engine", "sandbox")


def test_there_is_no_import_circle() -> None:
    assert circles({name: own_imports(name) for name in MODULES}) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


def test_few_modules_are_at_the_top() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_FILES_AT_THE_TOP


def test_a_module_is_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: number for name, number in lines.items() if number > MOST_LINES} == {}
    assert max(lines.values()) > MOST_LINES // 2


@pytest.mark.parametrize(
    ("registry", "attribute"), [(SOURCES, "kind"), (TASKS, "name"), (EXPORTERS, "format")], ids=PLUGINS
)
def test_a_registry_holds_plugins_by_their_own_name(registry: Registry, attribute: str) -> None:
    assert {getattr(registry[name], attribute): name for name in registry} == {
        name: name for name in registry
    }
    assert all(registry[name].__module__.rpartition(".")[2] == name for name in registry)


@pytest.mark.parametrize("registry", [SOURCES, TASKS, EXPORTERS], ids=PLUGINS)
def test_plugins_do_not_import_each_other(registry: Registry) -> None:
    places = {registry[name].__module__ for name in registry}
    for name in places:
        assert not places & own_imports(name)


def test_the_sandbox_imports_nothing_of_the_rest() -> None:
    for name in MODULES.keys() - set(PRODUCT):
        assert {package_of(other) for other in own_imports(name)} <= {"sandbox"}


def test_only_the_client_and_the_sandbox_import_aiohttp() -> None:
    for name in PRODUCT:
        if package_of(name) != "client":
            assert not [other for other in imports(name) if other.split(".")[0] == "aiohttp"]


def test_only_the_ledger_contains_sql() -> None:
    for name in PRODUCT:
        if package_of(name) != "ledger":
            assert "sqlite3" not in set(imports(name))


def test_tests_import_helpers_from_support_only() -> None:
    named = re.compile(r"^ *(?:from|import) +((?:tests|conftest|\.)[\w.]*)", re.MULTILINE)
    own = {
        (path.name, module)
        for path in TESTS.rglob("*.py")
        for module in named.findall(path.read_text(encoding="utf-8"))
    }
    assert own
    assert {(path, module) for path, module in own if not f"{module}.".startswith("tests.support.")} == set()


def test_the_local_storage_is_imported_in_one_place_only() -> None:
    named = {
        name
        for name in PRODUCT
        if package_of(name) != "storage"
        and any(other.startswith("harvester.storage.local") for other in imports(name))
    }
    assert named == {"harvester.jobs.output_folder"}
