"""Several values in one text, quoted as in CSV, and taken apart again."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NEED_QUOTES = (";", "\n", "\r")
_VALUE = re.compile(r' *(?:"((?:[^"]|"")*+)"|([^;]*))(; ?|\Z)')


def join_values(values: Iterable[str]) -> str:
    """
    Put several values into one text, so that `split_values` tells them apart: ``Soil; "Sounds; ripples"``.

    One with a semicolon or a line break in it, a quote or a blank at its beginning stands in quotes, and
    the quotes within it are doubled, as CSV has it.
    """
    return "; ".join(map(_quoted, values))


def _quoted(value: str) -> str:
    if value.startswith(('"', " ")) or any(char in value for char in _NEED_QUOTES):
        return '"{}"'.format(value.replace('"', '""'))
    return value


def split_values(text: str) -> list[str]:
    """Return the values that were put into one text; Python's csv has a limit on their length."""
    values, place, ends = [], 0, not text
    while not ends:
        found = _VALUE.match(text, place)
        assert found is not None, "anything up to a semicolon is a value"
        values.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        place, ends = found.end(), not found[3]
    return values
