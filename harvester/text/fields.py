"""Multi-value fields: joins several values into one text, quoted as in CSV, and splits them again."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NEED_QUOTES = (";", "\n", "\r")
_VALUE = re.compile(r' *(?:"((?:[^"]|"")*+)"|([^;]*))(; ?|\Z)')


def join_values(values: Iterable[str]) -> str:
    """
    Join several values into one text that `split_values` can split again: ``Soil; "Sounds; ripples"``.

    A value with a semicolon or a line break, or with a quote or a blank at its beginning, is quoted, and
    quotes within it are doubled, as in CSV.
    """
    return "; ".join(map(_quoted, values))


def _quoted(value: str) -> str:
    if value.startswith(('"', " ")) or any(char in value for char in _NEED_QUOTES):
        return '"{}"'.format(value.replace('"', '""'))
    return value


def split_values(text: str) -> list[str]:
    """Return the values in a joined text; Python's csv limits their length, this does not."""
    values, place, ends = [], 0, not text
    while not ends:
        found = _VALUE.match(text, place)
        assert found is not None, "anything up to a semicolon is a value"
        values.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        place, ends = found.end(), not found[3]
    return values
