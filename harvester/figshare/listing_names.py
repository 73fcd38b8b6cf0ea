"""Listing names for people: the key of a listing in the ledger, as words."""

from __future__ import annotations

import re
from typing import Any

from harvester.figshare.filters import DESCENDING, ITEM_TYPES
from harvester.text.wording import counted, without_tokens

_TYPES = {number: name for name, number in ITEM_TYPES.items()}
_FILTERS = {
    "item_type": "type",
    "published_since": "published since",
    "published_before": "published before",
    "modified_since": "modified since",
    "licence": "licence",
    "order": "by",
}
_MOMENT = re.compile(r"(.*\}) since (\S+)", re.DOTALL)
_NAMES = re.compile(r"items ([0-9]+) names [0-9a-f]{16}(?: .*)?")


def listing_name(key: str) -> str:
    """
    Return the name of a listing: "collection 999 (type dataset)" for ``collection 999 {'item_type': 3}``.

    Any other text is returned unchanged, but for what may be a token.
    """
    return without_tokens(_listing_name(key))


def _listing_name(key: str) -> str:
    if found := _NAMES.fullmatch(key):
        return f"the list of {counted(int(found[1]), 'name')}"
    timed = _MOMENT.fullmatch(key)
    name, filters = _split(timed[1] if timed else key)
    words = [f"{_FILTERS.get(each, each)} {_value(each, value)}" for each, value in filters.items()]
    if timed:
        words.append(f"changed since {timed[2]}")
    return f"{name} ({', '.join(words)})" if words else name


def filter_name(field: str) -> str:
    """Return the field of a filter as words, such as "published since"."""
    return "order" if field == "order" else _FILTERS.get(field, field)


def _split(key: str) -> tuple[str, dict[str, Any]]:
    """Return the name in a key, and the filters, which are at its end; a query may contain braces too."""
    end = len(key)
    while key.endswith("}") and (start := key.rfind(" {", 0, end)) > 0:
        end = start
        if isinstance(filters := _literal(key[start + 1 :]), dict):
            return key[:start], filters
    return key, {}


def _literal(text: str) -> object:
    if text == "{}":
        return {}
    from ast import literal_eval  # noqa: PLC0415 - only for a listing with filters

    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _value(name: str, value: object) -> str:
    if name == "item_type" and isinstance(value, int):
        return _TYPES.get(value, str(value))
    text = str(value)
    if name == "order" and text.endswith(DESCENDING):
        return f"{text.removesuffix(DESCENDING)}, highest first"
    return text
