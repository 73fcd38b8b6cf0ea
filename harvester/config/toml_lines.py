"""
Line numbers of keys: where each key of a TOML file stands, for the messages about it.

`tomllib` gives no lines. But each statement of a valid file is a valid file of its own: it is parsed alone,
and its keys stand at its first line. A key that is not found has no line.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_ENDINGS = ("]", "}", '"""', "'''")
"""A statement of several lines ends with one of these, so only such lines are tried."""


def key_lines(text: str) -> dict[str, int]:
    """Return the line, from 1, of each key and table of a valid file, by names such as ``sources[0].id``."""
    lines: dict[str, int] = {}
    tables: dict[str, int] = {}  # how often each [[table]] was opened
    prefix = ""
    for number, statement in _statements(text):
        tree = _parse(statement)
        if tree is None:
            return lines
        if statement.lstrip().startswith("["):
            prefix = _open(tree, tables)
            lines.setdefault(prefix, number)
            lines.setdefault(prefix.rpartition("[")[0] or prefix, number)
            continue
        for key in _names(tree, f"{prefix}." if prefix else ""):
            lines.setdefault(key, number)
    return lines


def line_of(key: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of a key, or of the table that lacks it; None if neither stands in the file."""
    while key and key not in lines:
        key = key[: key.rindex("[")] if key.endswith("]") else key.rpartition(".")[0]
    return lines.get(key)


def unfinished_line(text: str) -> int:
    """Return the line, from 1, of the first statement that does not end; 0 if all do."""
    lines = text.replace("\r\n", "\n").split("\n")
    done = 0
    for number, line in enumerate(lines, start=1):
        is_candidate = number == done + 1 or any(ending in line for ending in _ENDINGS)
        if is_candidate and _parse("\n".join(lines[done:number])) is not None:
            done = number
    return 0 if done == len(lines) else done + 1


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of its first line."""
    waiting: list[str] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        waiting.append(line)
        if len(waiting) > 1 and not any(ending in line for ending in _ENDINGS):
            continue
        statement = "\n".join(waiting)
        if (tree := _parse(statement)) is not None:
            if tree:  # neither blank nor a comment
                yield number - len(waiting) + 1, statement
            waiting = []


def _parse(statement: str) -> dict[str, Any] | None:
    import tomllib  # noqa: PLC0415 - only if there is a file

    try:
        return tomllib.loads(statement)
    except (ValueError, RecursionError):
        return None


def _open(tree: dict[str, Any], tables: dict[str, int]) -> str:
    """Return the full name of the table that a header opens."""
    name = ""
    value: Any = tree
    while isinstance(value, dict) and value:
        ((key, value),) = value.items()
        name = f"{name}.{key}" if name else key
        if isinstance(value, list):  # the last part of [[name]]
            tables[name] = tables.get(name, 0) + 1
        if name in tables:
            name = f"{name}[{tables[name] - 1}]"
    return name


def _names(tree: dict[str, Any], prefix: str) -> Iterator[str]:
    """Yield the full names of the keys of a statement, also those of inline tables."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        yield name
        if isinstance(value, dict):
            yield from _names(value, f"{name}.")
        elif isinstance(value, list):
            for place, entry in enumerate(value):
                if isinstance(entry, dict):
                    yield f"{name}[{place}]"
                    yield from _names(entry, f"{name}[{place}].")
