"""Lists of names as people have them: one a line, or the first column of a table that a program exported."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harvester.figshare.names import item_in

_HEADING = re.compile(
    "(?:figshare|item|article|public)*(?:ids?|dois?|handles?|identifiers?|ur[il]s?|links?|address|addresses)"
    "|items?|articles?|digitalobjectidentifiers?|urlpublichtml"
)
"""What people call a column of names, in lower case and without what stands between words."""
_DELIMITERS = "\t;,"


class NameList(NamedTuple):
    """The names of a list in their order; ``heading``: the line that only says what they are, or ""."""

    names: tuple[str, ...]
    heading: str = ""


def read_list(text: str) -> NameList:
    """
    Read the names of a list.

    A line is a name, or begins with one: of a line with tabs, semicolons or commas all but the first column
    is ignored. ``#`` begins a comment. A first line that is a heading is none; where that names columns, the
    names stand in the first column that is called like names, and a text in quotes may have several lines.

    Raises:
        ValueError: it is a table that no program can read.
    """
    lines = list(_without_comments(text.splitlines()))
    if not lines:
        return NameList(())
    first = _cells(lines[0])
    column = next((place for place, cell in enumerate(first) if _is_heading(cell)), None)
    if column is None or any(map(str.isdecimal, first[0])):
        return NameList(tuple(filter(None, map(_name_in, lines))))
    if len(first) == 1:
        return NameList(tuple(filter(None, map(_name_in, lines[1:]))), lines[0])
    return NameList(tuple(_of_table(text, lines[0], column)), lines[0])


def _without_comments(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if kept := re.sub(r"(^|\s)#.*", "", line).strip():
            yield kept


def _delimiter(line: str) -> str:
    return next((each for each in _DELIMITERS if each in line), ",")


def _cells(line: str) -> Sequence[str]:
    """Return the columns of a line, at least one."""
    if not any(each in line for each in _DELIMITERS):
        return (line,)
    return next(csv.reader([line], delimiter=_delimiter(line), skipinitialspace=True), None) or (line,)


def _name_in(line: str) -> str:
    """Return the first column, unless the whole is a name with such a character in it."""
    cell = _cells(line)[0].strip()
    return line if cell != line and item_in(cell) is None and item_in(line) is not None else cell


def _is_heading(cell: str) -> bool:
    return _HEADING.fullmatch(re.sub(r"[\W_]", "", cell).lower()) is not None


def _of_table(text: str, heading: str, column: int) -> Iterator[str]:
    """Read one column of a table, whose cells may have several lines."""
    rows = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(heading))
    is_below = False
    try:
        for row in rows:
            is_comment = bool(row) and row[0].lstrip().startswith("#")
            if is_below and column < len(row) and (name := row[column].strip()) and not is_comment:
                yield name
            is_below = is_below or (not is_comment and any(map(_is_heading, row)))
    except csv.Error as exc:
        raise ValueError(str(exc)) from exc
