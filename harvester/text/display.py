"""Output escaping: makes untrusted text safe to print on a terminal or to write as JSON."""

from __future__ import annotations

from harvester.text.redaction import REDACTOR


def one_line(text: str) -> str:
    """
    Return an untrusted text as one line that is safe to print on a terminal, with secrets redacted.

    Control characters become blanks, and so do characters without width or that change the text direction.
    """
    text = REDACTOR.text(text)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def harmless_json(text: str) -> str:
    """
    Return JSON that is safe to print on a terminal: the same values, with non-printable characters escaped.

    JSON itself requires that only for characters below U+0020.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)


def ascii_json(text: str) -> str:
    """Return JSON in ASCII, for any charset: the same values, with all other characters escaped."""
    return "".join(char if char.isascii() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
