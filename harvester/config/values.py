"""
Value conversion: converts values of TOML, options and the environment to the types of a table's fields.

They are texts, numbers, booleans, dates and lists of these, as in TOML. msgspec does the same, but its import
takes 10 ms, and every command reads its config before its first output. Messages say what is expected in the
user's words, not in those of Python.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from harvester.text.wording import quoted


class Rule(NamedTuple):
    """A constraint on a value: what is expected, with its article, and the test."""

    expected: str
    holds: Callable[[Any], object]


TOO_LARGE = "the number is too large"
QUOTED = "expected a number without quotes"
_LISTS = (list, tuple, set, frozenset)
_EXPECTED = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: "a day such as 2024-01-31",
    tuple: 'a list such as ["…"]',
}
_GOT = {dict: "a table", datetime: "a day with a time", NoneType: "nothing"} | dict.fromkeys(_LISTS, "a list")


def convert(value: object, hint: Any) -> Any:
    """
    Return `value` converted to `hint`: a class, a union, ``tuple[X, ...]``, or a class with a `Rule`.

    A class with a method `parse` converts values itself; it may be used in place of the rule.

    Raises:
        ValueError: it has another type; the message is for the user.
    """
    if get_origin(hint) is Annotated:
        return _convert_by_rule(value, *get_args(hint))
    if hasattr(hint, "parse"):
        return hint.parse(value)
    _check_range(value, hint)
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in kinds:
        if get_origin(kind) is tuple and isinstance(value, _LISTS):
            return tuple(_entry(list(value), place, get_args(kind)[0]) for place in range(len(value)))
        if isinstance(kind, type) and _is(value, kind):
            return value
    if float in kinds and _is(value, int):
        return _float(value)
    if date in kinds and isinstance(value, str):
        return _date(value)
    raise ValueError(mismatch(value, kinds))


def _convert_by_rule(value: object, kind: Any, rule: Any) -> Any:
    if hasattr(rule, "parse"):
        return rule.parse(value)
    try:
        made = convert(value, kind)
    except ValueError as exc:
        message = str(exc)
        says_more = message == QUOTED or (message == TOO_LARGE and " to " not in rule.expected)
        raise ValueError(message if says_more else expected(rule.expected, value)) from exc
    if not rule.holds(made):
        raise ValueError(expected(rule.expected, value))
    return made


def _entry(values: Sequence[object], place: int, hint: Any) -> Any:
    """Return an entry of a list; the message names its number if there are others."""
    try:
        return convert(values[place], hint)
    except ValueError as exc:
        raise ValueError(f"{exc} (entry {place + 1})" if len(values) > 1 else str(exc)) from exc


def expected(what: str, value: object) -> str:
    """Return what to say of a value that is not as expected."""
    return f"expected {what}, got {got(value)}"


def got(value: object) -> str:
    """Return a value as the user wrote it, in quotes if it is a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if words := _GOT.get(type(value)):
        return words
    return quoted(value) if isinstance(value, str) else quoted(value).strip('"')


def mismatch(value: object, kinds: Sequence[Any]) -> str:
    """Return what to say of a value of another type."""
    wanted = [get_origin(kind) or kind for kind in kinds if kind is not NoneType]
    if isinstance(value, str) and {int, float} & set(wanted) and _is_number(value):
        return QUOTED
    if wanted == [tuple] and isinstance(value, str):
        entries = ", ".join(quoted(each.strip()) for each in value.split(","))
        return f"expected a list such as [{entries}]"
    return expected(" or ".join(dict.fromkeys(_EXPECTED.get(kind, "a value") for kind in wanted)), value)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text.strip(), re.ASCII))


def _check_range(value: object, hint: Any) -> None:
    """Raise ValueError for a whole number out of the range of TOML, unless the type also allows text."""
    kinds = get_args(hint) or (hint,)
    if int in kinds and str not in kinds and isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(TOO_LARGE)


def _is(value: object, kind: type) -> bool:
    """Return whether a value has a type; a bool is no number here, and a datetime no date."""
    return isinstance(value, kind) and not isinstance(value, {int: bool, date: datetime}.get(kind, ()))


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError as exc:
        raise ValueError(TOO_LARGE) from exc


def _date(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # Python accepts more formats
        raise ValueError(expected(_EXPECTED[date], text))
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"there is no day {quoted(text)}") from exc
