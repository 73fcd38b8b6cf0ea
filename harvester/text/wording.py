"""Did-you-mean, quoting and plurals: how messages name what a user typed, and numbers of things."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harvester.text.display import one_line

MOST_QUOTED = 60
"""Characters of a quoted text; a longer one is cut."""
NEAR = 0.75
"""The share of equal letters from which a word is near another one."""
SHORTEST_BEGINNING = 3
"""Letters of the beginning of a word that is taken for it."""
_MAY_BE_SECRET = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])(?:[A-Za-z0-9_+=-]{20,}|[0-9A-Fa-f]{16,})")


HIDDEN = "[not shown: it may be a token]"
_TOKEN = re.compile(
    r"\b(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-f]{32,}\b"
    r"|\b(?-i:(?=\w*[0-9])(?=\w*[A-Z])(?=\w*[a-z]))[a-z0-9_]{36,}\b",
    re.IGNORECASE | re.ASCII,
)


def suggest(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return a hint with the most similar known word, "" if none is near; `prefix`: what all begin with."""
    names = {_compared(each.removeprefix(prefix)): each for each in known}
    near = _nearest(_compared(word.removeprefix(prefix)), names)
    return f' (did you mean "{names[near]}"?)' if near else ""


def _compared(word: str) -> str:
    """Return a word without its case, its dashes at the beginning, and the kind of its separators."""
    return re.sub(r"[-_\s]+", " ", word.casefold()).strip()


def _nearest(word: str, names: Iterable[str]) -> str:
    """Return the known word that differs least, that begins with `word`, or that has its letters; or ""."""
    import difflib  # noqa: PLC0415 - only for an unknown word

    if near := difflib.get_close_matches(word, names, n=1, cutoff=NEAR):
        return near[0]
    if len(word) < SHORTEST_BEGINNING:
        return ""
    longer = [name for name in names if name.startswith(word) or sorted(name) == sorted(word)]
    return min(longer, key=len, default="")


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


def without_tokens(text: str) -> str:
    """Return a text with `HIDDEN` in place of words that look like tokens, and not like any name or query."""
    return _TOKEN.sub(HIDDEN, text)


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: "1 item", "2 items", "3 entries"."""
    return f"{number} {singular}" if number == 1 else f"{number} {plural or f'{singular}s'}"
