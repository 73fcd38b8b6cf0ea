"""Did-you-mean, quoting and plurals: how messages name what a user typed, and numbers of things."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harvester.text.display import one_line

MOST_QUOTED = 60
"""Characters of a quoted text; a longer one is cut."""
_MAY_BE_SECRET = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])(?:[A-Za-z0-9_+=-]{20,}|[0-9A-Fa-f]{16,})")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the most similar known word, "" if none is similar."""
    import difflib  # noqa: PLC0415 - only for an unknown word

    names = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(word.strip().casefold(), names, n=1)
    return f' (did you mean "{names[near[0]]}"?)' if near else ""


def unknown(word: str, known: Iterable[str]) -> str:
    """Return what to say of a word that is none of the known ones."""
    names = list(known)
    return f"unknown {quoted(word)}{suggest(word, names)}; known: {', '.join(names)}"


def quoted(text: object) -> str:
    """Return a text in quotes for a message; a likely token or password is not repeated."""
    words = one_line(str(text))
    if may_be_secret(words):
        return "a text that is not shown, as it may be a token"
    return f'"{words}"' if len(words) <= MOST_QUOTED else f'"{words[: MOST_QUOTED - 1]}…"'


def may_be_secret(text: str) -> bool:
    """Return whether a text looks like a token: long, of letters and digits, and no word, date or path."""
    return any(_MAY_BE_SECRET.fullmatch(word) for word in re.split(r"[^\w+=-]+", text))


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "1 item", "2 items", "3 entries"."""
    return f"{number} {singular}" if number == 1 else f"{number} {plural or f'{singular}s'}"
