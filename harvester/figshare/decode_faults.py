"""Decoding errors in plain words: what an answer has in place of what is documented, and where."""

from __future__ import annotations

import re

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a record",
}
_PLACE = re.compile(r" - at `\$?(.*)`$")


def decode_fault(error: Exception) -> str:
    """Return what msgspec or the decoder of texts reports, without their words for types and places."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    place = _PLACE.search(text)
    reason = re.sub(r"`([^`]*)`", lambda found: _kinds(found[1]), _PLACE.sub("", text))
    reason = re.sub(r"Object missing required field (.*)", r"\1 is missing", reason)
    reason = reason[:1].lower() + reason[1:] if not reason.startswith("JSON") else reason
    where = _words(place[1]) if place else ""
    return f"{where}: {reason}" if where else reason


def _kinds(text: str) -> str:
    """Return types such as ``int | null`` as words; a name stays as it is."""
    return " or ".join(_KINDS.get(kind, kind) for kind in text.split(" | "))


def _words(path: str) -> str:
    """Return a path such as ``[0].files[...].id`` as words: "entry 1, files, id"."""
    found = re.findall(r"\[(\d+)\]|\.?([^.\[\]]+)", path)
    return ", ".join(f"entry {int(number) + 1}" if number else name for number, name in found)
