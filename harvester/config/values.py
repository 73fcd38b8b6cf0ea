"""
Value conversion: converts values of TOML, options and the environment to the types of a table's fields.

They are texts, numbers, booleans, dates and lists of these, as in TOML. msgspec does the same with the same
messages, but its import takes 10 ms, and every command reads its config before its first output.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin


class Rule(NamedTuple):
    """A constraint on a value: the words that follow the type's name in messages, and the test."""

    words: str
    holds: Callable[[Any], object]


_LISTS = (list, tuple, set, frozenset)
_WORDS = {NoneType: "null", list: "array", tuple: "array", frozenset: "set", dict: "object"}


def convert(value: object, hint: Any, place: str = "") -> Any:
    """
    Return `value` converted to `hint`: a class, a union, ``tuple[X, ...]``, or a class with a `Rule`.

    A class with a method `parse` converts values itself; it may be used in place of the rule.

    Raises:
        ValueError: it has another type; the message is for the user.
    """
    if get_origin(hint) is Annotated:
        kind, rule = get_args(hint)
        if hasattr(rule, "parse"):
            return rule.parse(value)
        made = convert(value, kind, place)
        if not rule.holds(made):
            raise ValueError(f"expected {_word(kind)} {rule.words}{place}")
        return made
    if hasattr(hint, "parse"):
        return hint.parse(value)
    _check_range(value, hint, place)
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in kinds:
        if get_origin(kind) is tuple and isinstance(value, _LISTS):
            each = get_args(kind)[0]
            return tuple(convert(item, each, f" - at $[{index}]") for index, item in enumerate(value))
        if isinstance(kind, type) and _is(value, kind):
            return value
    if float in kinds and _is(value, int):
        return _float(value)
    if date in kinds and isinstance(value, str):
        return _date(value)
    raise ValueError(f"expected {' | '.join(map(_word, kinds))}, got {_word(type(value))}{place}")


def _check_range(value: object, hint: Any, place: str) -> None:
    """Raise ValueError for a whole number out of the range of TOML, unless the type also allows text."""
    kinds = get_args(hint) or (hint,)
    if int in kinds and str not in kinds and isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"Number out of range{place}")


def _is(value: object, kind: type) -> bool:
    """Return whether a value has a type; a bool is no number here, and a datetime no date."""
    return isinstance(value, kind) and not isinstance(value, {int: bool, date: datetime}.get(kind, ()))


def _word(kind: Any) -> str:
    kind = get_origin(kind) or kind
    return _WORDS.get(kind) or str(kind.__name__)


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError as exc:
        raise ValueError("Number out of range") from exc


def _date(text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # Python accepts more formats
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("Invalid RFC3339 encoded date")
