"""Words and numbers for people, safe on a terminal whatever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harvester.text.redaction import REDACTOR

_NEED_QUOTES = (";", "\n", "\r")
_VALUE = re.compile(r' *(?:"((?:[^"]|"")*+)"|([^;]*))(; ?|\Z)')


def printable(text: str) -> str:
    """
    Make a text of unknown origin safe to show on a terminal, in one line: it tells no secret either.

    Control characters become blanks, those that have no width or turn the direction of writing too.
    """
    text = REDACTOR.text(text)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def harmless_json(text: str) -> str:
    """
    Write JSON so that it cannot command a terminal: the same values, with what is not printable escaped.

    JSON itself asks that only of the characters below U+0020.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def ascii_json(text: str) -> str:
    """Write JSON so that any charset can hold it: the same values, with all that is not ASCII escaped."""
    return "".join(char if char.isascii() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def joined(values: Iterable[str]) -> str:
    """
    Put several values into one text, so that `parted` tells them apart: ``Soil; "Sounds; ripples"``.

    One with a semicolon or a line break in it, a quote or a blank at its beginning stands in quotes, and
    the quotes within it are doubled, as CSV has it.
    """
    return "; ".join(map(_quoted, values))


def _quoted(value: str) -> str:
    if value.startswith(('"', " ")) or any(char in value for char in _NEED_QUOTES):
        return '"{}"'.format(value.replace('"', '""'))
    return value


def parted(text: str) -> list[str]:
    """Return the values that were put into one text; Python's csv has a limit on their length."""
    values, place, ends = [], 0, not text
    while not ends:
        found = _VALUE.match(text, place)
        assert found is not None, "anything up to a semicolon is a value"
        values.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        place, ends = found.end(), not found[3]
    return values


def human_bytes(size: float) -> str:
    """Write a number of bytes for a person, in powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def human_seconds(seconds: float) -> str:
    """Write a duration for a person."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
