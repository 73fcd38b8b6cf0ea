"""Identifier list parser: reads names, one a line, or from a column of a table, as spreadsheets save it."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from harvester.figshare.identifiers import doi_in, handle_in, host_of, item_in, why_not

_HEADING = re.compile(
    "(?:figshare|item|article|public)*(?:ids?|dois?|handles?|identifiers?|ur[il]s?|links?|address|addresses)"
    "|items?|articles?|digitalobjectidentifiers?|urlpublichtml"
)
"""Headings of a column of names, in lower case and without separators."""
_DELIMITERS = "\t;,"


_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
"""The line that names the delimiter of a table for spreadsheets."""


_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of spreadsheets begin: zip archives, and the older kind."""
SHOWN_COLUMNS = 5
EXPECTED_HEADINGS = "id, item_id or doi"
NOT_JSON_LINES = "it is JSON, but not as `list --json` prints it: expected one object with an id in each line"
NOT_UTF8 = "not UTF-8 text: save it as UTF-8"


class NameList(NamedTuple):
    """
    The names of a list, in order.

    ``heading``: that of the column, "" if there is none.
    ``left``: in a list without a heading, how many further names follow the first one of their lines.
    """

    names: tuple[str, ...]
    heading: str = ""
    left: int = 0


def names_in_file(raw: bytes) -> NameList:
    """
    Read the names of a list in a file: UTF-8, UTF-16 with a byte order mark, or Windows-1252.

    Spreadsheets save all of these. In the last, names have to be ASCII: other columns need not.

    Raises:
        ValueError: it is no text, or a malformed table.
    """
    if raw.startswith(_WORKBOOKS):
        raise ValueError("it is a workbook or an archive, no text: save the sheet as CSV")
    try:
        text, is_certain = _decoded(raw)
    except UnicodeDecodeError as exc:
        raise ValueError(NOT_UTF8) from exc
    if "\0" in text:  # UTF-16 or UTF-32 without a mark: every other byte is 0
        raise ValueError(NOT_UTF8)
    found = read_list(re.sub("\r\n?", "\n", text))
    if not is_certain and not all(map(str.isascii, found.names)):
        raise ValueError(NOT_UTF8)
    return found


def _decoded(raw: bytes) -> tuple[str, bool]:
    """Return a text, and whether its encoding is certain."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16"), True
    try:
        return raw.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return raw.decode("cp1252"), False


def read_list(text: str) -> NameList:
    """
    Read the names of a list.

    A line is a name, or begins with one: columns after the first, separated by tabs, semicolons or commas,
    are ignored. ``#`` begins a comment. A first line such as ``sep=;`` sets the separator.
    A heading line is skipped. If it names columns, the names are read from the first column whose heading
    means names; in a row without it, from the next such column. A quoted cell may have several lines.
    A first line is also a heading if its first cell has no digit and is no name, and the next line begins
    with a name. Lines of JSON, as ``list --json`` prints them, are read too.

    Raises:
        ValueError: it is a malformed table, or one without a column of names.
    """
    delimiter, text = _without_separator(text)
    lines = list(_without_comments(text.splitlines()))
    if not lines:
        return NameList(())
    if lines[0].startswith(("{", "[")):
        return NameList(_of_json_lines([line for line in text.split("\n") if line.strip()]))
    first = _cells(lines[0], delimiter)
    columns = [place for place, cell in enumerate(first) if _is_heading(cell)]
    if not columns and _tells_columns(first[0], [_cells(line, delimiter)[0] for line in lines[1:2]]):
        columns = [0]
    if not columns or any(map(str.isdecimal, first[0])):
        names = _names_in(lines, delimiter)
        if len(first) > 1 and len(lines) > 1 and not any(map(_is_name, names)):
            raise ValueError(_no_column(first))
        left = sum(_further_names(_cells(line, delimiter)) for line in lines)
        return NameList(names, left=left)
    if len(first) == 1:
        return NameList(_names_in(lines[1:], delimiter), lines[0])
    return NameList(tuple(_of_table(text, lines[0], columns, delimiter)), first[columns[0]].strip())


def _no_column(first: Sequence[str]) -> str:
    got = ", ".join(cell.strip() for cell in first[:SHOWN_COLUMNS])
    return f"no column with identifiers: expected a heading such as {EXPECTED_HEADINGS}, got {got}"


def _of_json_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the lines of ``list --json``, or in those of ``metadata.jsonl``."""
    import json  # noqa: PLC0415 - such lists are rare

    names = []
    for line in lines:
        try:
            item = json.loads(line)
            number, version = int(item["id"]), item.get("version") if "files" not in item else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            raise ValueError(NOT_JSON_LINES) from exc
        names.append(f"{number}.v{version}" if version else f"{number}")
    return tuple(names)


def _without_separator(text: str) -> tuple[str, str]:
    """Return the separator that the first line sets, "" if it sets none, and the rest of the text."""
    first, _, rest = text.lstrip().partition("\n")
    found = _SEPARATOR.fullmatch(first.strip('\r "')) if first else None
    return (found[1], rest) if found else ("", text)


def _without_comments(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if kept := re.sub(r"(^|\s)#.*", "", line).strip():
            yield kept


def _delimiter(line: str) -> str:
    return next((each for each in _DELIMITERS if each in line), ",")


def _cells(line: str, delimiter: str) -> Sequence[str]:
    """Return the columns of a line, at least one; `delimiter`: "" to detect it."""
    if not any(each in line for each in delimiter or _DELIMITERS):
        return (line,)
    rows = csv.reader([line], delimiter=delimiter or _delimiter(line), skipinitialspace=True)
    return next(rows, None) or (line,)


def _names_in(lines: Sequence[str], delimiter: str) -> tuple[str, ...]:
    return tuple(filter(None, (_name_in(line, delimiter) for line in lines)))


def _name_in(line: str, delimiter: str) -> str:
    """Return the first column, or the whole line if that is a name with a delimiter in it."""
    cell = _cells(line, delimiter)[0].strip()
    return line if cell != line and item_in(cell) is None and item_in(line) is not None else cell


def _is_name(cell: str) -> bool:
    """Return whether a cell may be the name of an item."""
    return any(read(cell) is not None for read in (item_in, doi_in, handle_in))


def _further_names(cells: Sequence[str]) -> int:
    """Count the names after the first one, if a line consists of names only."""
    filled = [cell for cell in cells if cell.strip()]
    return len(filled) - 1 if len(filled) > 1 and all(map(_is_name, filled)) else 0


def _tells_columns(cell: str, below: Sequence[str]) -> bool:
    """Return whether a first cell can only be a heading: it has no digit, and names follow below it."""
    is_word = bool(cell.strip()) and not any(map(str.isdecimal, cell))
    return is_word and not (why_not(cell) or host_of(cell)) and any(map(_is_name, below))


def _is_heading(cell: str) -> bool:
    return _HEADING.fullmatch(re.sub(r"[\W_]", "", cell).lower()) is not None


def _of_table(text: str, heading: str, columns: Sequence[int], delimiter: str) -> Iterator[str]:
    """Yield a name of each row of a table, from the first of some columns that has one."""
    rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter or _delimiter(heading))
    is_below = False
    try:
        for row in rows:
            is_comment = bool(row) and row[0].lstrip().startswith("#")
            cells = (row[column].strip() for column in columns if column < len(row))
            if is_below and not is_comment and (name := next(filter(None, cells), "")):
                yield name
            is_below = is_below or (not is_comment and any(map(str.strip, row)))
    except csv.Error as exc:
        raise ValueError(str(exc)) from exc
