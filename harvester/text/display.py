"""Output escaping: text of unknown origin made safe to show on a terminal or to write as JSON."""

from __future__ import annotations

from harvester.text.redaction import REDACTOR


def one_line(text: str) -> str:
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
