"""
Query parser: the part of figshare's query language that the sandbox supports.

``:field: value`` terms (quoted with ' or ", or one word), bare words of the title, AND, OR, NOT and
parentheses. Adjacent terms are joined by AND.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Matcher = Callable[[Mapping[str, str]], bool]

_TOKENS = re.compile(
    r"""\s*(?:(?P<mark>[()])|(?P<word>AND|OR|NOT)\b|:(?P<field>\w+):\s*
        |"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s()]+))""",
    re.VERBOSE,
)

_WHOLE = {"licence", "license"}
"""Fields that match only as a whole."""


def parse(query: str) -> Matcher:
    """Return a predicate on an item's attributes."""
    return _Parser(query).either()


class _Parser:
    def __init__(self, query: str) -> None:
        self._tokens = [
            (found.lastgroup or "", found[found.lastgroup or 0]) for found in _TOKENS.finditer(query)
        ]

    def _next_is(self, *words: str) -> bool:
        return bool(self._tokens) and self._tokens[0][0] in {"mark", "word"} and self._tokens[0][1] in words

    def either(self) -> Matcher:
        found = [self._all()]
        while self._next_is("OR"):
            self._tokens.pop(0)
            found.append(self._all())
        return found[0] if len(found) == 1 else lambda item: any(match(item) for match in found)

    def _all(self) -> Matcher:
        found = [self._one()]
        while self._tokens and not self._next_is("OR", ")"):
            if self._next_is("AND"):
                self._tokens.pop(0)
            found.append(self._one())
        return found[0] if len(found) == 1 else lambda item: all(match(item) for match in found)

    def _one(self) -> Matcher:
        if not self._tokens:
            return lambda _: True
        kind, text = self._tokens.pop(0)
        if kind == "word" and text == "NOT":
            inner = self._one()
            return lambda item: not inner(item)
        if kind == "mark" and text == "(":
            inner = self.either()
            if self._next_is(")"):
                self._tokens.pop(0)
            return inner
        if kind == "field":
            value = self._tokens.pop(0)[1] if self._tokens else ""
            return _term(text, value.lower())
        return _term("title", text.lower())


def _term(name: str, value: str) -> Matcher:
    if name == "published_after":
        return lambda item: item["published_date"] > value.upper()
    if name == "published_before":
        return lambda item: item["published_date"] < value.upper()
    if name in _WHOLE:
        return lambda item: value == item[name].lower()
    return lambda item: value in item.get(name, "").lower()
