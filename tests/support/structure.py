"""
The structure of the package, drawn from its imports: packages, floors, arrows and circles.

`make structure` prints it. Late and type-checking imports count like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "harvester"
Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Return every module by its dotted name; a package stands for its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


@cache
def imports(name: str) -> tuple[str, ...]:
    """Return what a module imports, wherever in it the import stands."""
    return tuple(
        whole if (whole := f"{module}.{each}") in MODULES else module
        for module, names in imported(MODULES[name])
        for each in names or [""]
    )


def imported(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Return the modules that a file imports, each with the names taken from it."""
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a module or statement; an import is nowhere else."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, name, ()):
            yield inner
            yield from statements(inner)


def own_imports(name: str) -> set[str]:
    """Return the modules of the package that a module imports."""
    return {other for other in imports(name) if other in MODULES and other != name}


def package_of(module: str) -> str:
    """``harvester.tasks.files`` is of ``tasks``; the front of the package is ``harvester``."""
    return module.split(".")[1] if "." in module else module


def circles(graph: Graph) -> list[list[str]]:
    """Return a way round for each edge that closes a circle, depth first."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> None:
        if node in way:
            found.append([*way[way.index(node) :], node])
        elif node not in done:
            for other in sorted(graph.get(node, ())):
                walk(other, [*way, node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def package_graph() -> dict[str, set[str]]:
    """Return which packages each package imports from."""
    graph: dict[str, set[str]] = {package_of(name): set() for name in MODULES}
    for name in MODULES:
        graph[package_of(name)] |= {package_of(other) for other in own_imports(name)} - {package_of(name)}
    return graph


def floors(graph: Graph) -> dict[str, int]:
    """Return the floor of each package: one above the highest that it imports from; 1 for the lowest."""

    @cache
    def floor(package: str) -> int:
        return 1 + max(map(floor, graph[package]), default=0)

    return {package: floor(package) for package in graph}


def main() -> None:
    """Print the packages by floor, then the totals."""
    graph = package_graph()
    by_floor = floors(graph)
    for package in sorted(graph, key=lambda name: (-by_floor[name], name)):
        print(f"{by_floor[package]:3} {package:12} -> {' '.join(sorted(graph[package]))}")
    found = circles({name: own_imports(name) for name in MODULES})
    print(
        f"{len(graph)} packages, {max(by_floor.values())} floors, {sum(map(len, graph.values()))} arrows, "
        f"{len(found)} circles, {len(list(PACKAGE.glob('*.py')))} files at the top, {len(MODULES)} modules"
    )


if __name__ == "__main__":
    main()
