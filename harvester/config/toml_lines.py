"""Line numbers of a config file: which line sets each key. `tomllib` does not report them."""

from collections.abc import Iterator, Mapping
from typing import Any

_ENDS = ("]", "}", '"""', "'''")
"""One of these ends a value of several lines. Only then is it parsed again, as a list may be long."""


def key_lines(text: str) -> dict[str, int]:
    """
    Return the line, from 1, on which each key and table of a valid TOML text begins.

    Keys have their full names: ``rate.api``, ``sources[0].id``.
    """
    lines: dict[str, int] = {}
    tables: dict[str, int] = {}
    at = ""
    for number, statement in _statements(text):
        stripped = statement.lstrip()
        if stripped.startswith("["):
            at = next(_names(_parsed(statement)))
            if stripped.startswith("[["):
                tables[at] = tables.get(at, -1) + 1
                at = f"{at}[{tables[at]}]"
            lines.setdefault(at, number)
            at += "."
        else:
            lines.update({f"{at}{name}": number for name in _names(_parsed(statement))})
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement, such as ``key = [1, 2]`` of one or more lines, with its line number."""
    waiting, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first if waiting else number
        is_continued = bool(waiting)
        waiting += f"{line}\n"
        if (not is_continued or any(each in line for each in _ENDS)) and _parsed(waiting) is not None:
            yield first, waiting
            waiting = ""


def _parsed(statement: str) -> Any:
    """Return a statement as nested tables, None if its end is missing."""
    import tomllib  # noqa: PLC0415 - only if there is a file

    try:
        return tomllib.loads(statement)
    except ValueError:
        return None


def _names(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the full names of all keys in nested tables; first the innermost one of a table's own heading."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from (f"{key}.{name}" for name in _names(value))
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                if isinstance(inner, dict):
                    yield from (f"{key}[{place}].{name}" for name in _names(inner))
        yield key
