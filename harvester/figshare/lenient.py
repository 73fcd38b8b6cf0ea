"""
Loose reading of JSON: values of another type than promised are read where their meaning is plain.

Clients that were tried against figshare meet 0 and 1 for truth, and numbers as text. Here is decided, once
for all answers, which such values are plain; what is not is odd, and whoever asked decides what that costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from harvester.errors import InvalidResponse

T = TypeVar("T")

_WHOLE = re.compile(r"([0-9]{1,19})(?:\.0+)?")
_TRUTH = {"0": False, "1": True, "false": False, "true": True}
MOST_ODD = 10_000
"""Values that mean nothing plain; an answer with more of them is no answer."""
_EXACT = 2**53
"""A float beyond it is no longer one whole number rather than its neighbour."""
_SHOWN = 40
"""Characters of an odd value that a message has."""
_MOST_SHOWN = 2**63 - 1


_type_info: Callable[[Any], inspect.Type] = cache(inspect.type_info)


class Unclear(ValueError):
    """A value that cannot be read, and without which there is nothing: one line that names it."""


class Loose(NamedTuple, Generic[T]):
    """What was read; ``odd``: where values stood whose meaning is not plain, and None stands now."""

    value: T
    odd: tuple[str, ...]


def read_loosely(told: object, kind: type[T]) -> Loose[T]:
    """
    Read decoded JSON as a kind of struct.

    Whole numbers may be floats or text, truth may be 0, 1, or text, a struct of one text may be that text; an
    empty text where a number or a truth may be null is null. What is odd where null is allowed is null.

    Raises:
        Unclear: something odd stands where a value must be.
        InvalidResponse: nearly all of it is odd.
    """
    odd: list[str] = []
    value = _read(told, _type_info(kind), "", odd)
    return Loose(msgspec.convert(value, kind), tuple(odd))


def whole_number(told: object) -> int:
    """
    Return the whole number that a value means: 5, 5.0, "5", " 5 ", "5.0".

    Raises:
        Unclear: it means none, or one that no float can tell from its neighbour.
    """
    if isinstance(told, bool):
        raise _unclear(told)
    if isinstance(told, int):
        return told
    if isinstance(told, float) and told.is_integer() and abs(told) < _EXACT:
        return int(told)
    if isinstance(told, str) and (found := _WHOLE.fullmatch(told.strip())):
        return int(found[1])
    raise _unclear(told)


def _truth(told: object) -> bool:
    """Return the truth that a value means: true, 1, "1", "True"."""
    if isinstance(told, bool):
        return told
    if isinstance(told, int | float) and told in {0, 1}:
        return bool(told)
    if isinstance(told, str) and (found := _TRUTH.get(told.strip().lower())) is not None:
        return found
    raise _unclear(told)


def _read(told: object, kind: inspect.Type, path: str, odd: list[str]) -> Any:
    match kind:
        case inspect.UnionType():
            return _read_union(told, kind.types, path, odd)
        case inspect.IntType():
            return _within(whole_number(told), kind)
        case inspect.BoolType():
            return _truth(told)
        case inspect.StrType() if isinstance(told, str):
            return told
        case inspect.StructType():
            return _read_struct(told, kind, path, odd)
        case inspect.ListType() if isinstance(told, list):
            return [
                _read(each, kind.item_type, f"{path}[{place}]", odd) for place, each in enumerate(told, 1)
            ]
        case inspect.DictType() if isinstance(told, dict):
            # Keys are anybody's words: a message names the table.
            return {key: _read(each, kind.value_type, path, odd) for key, each in told.items()}
        case inspect.NoneType() if told is None:
            return None
        case inspect.AnyType():
            return told
    raise _unclear(told)


def _within(number: int, kind: inspect.IntType) -> int:
    if (kind.ge is not None and number < kind.ge) or (kind.le is not None and number > kind.le):
        raise _unclear(number)
    return number


def _read_union(told: object, kinds: Sequence[inspect.Type], path: str, odd: list[str]) -> Any:
    is_optional = any(isinstance(kind, inspect.NoneType) for kind in kinds)
    if is_optional and (told is None or _is_blank(told, kinds)):
        return None
    error = _unclear(told)
    for kind in kinds:
        found: list[str] = []
        try:
            value = _read(told, kind, path, found)
        except Unclear as exc:
            error = exc
            continue
        odd += found
        return value
    if not is_optional:
        raise error
    odd.append(path)
    if len(odd) > MOST_ODD:
        raise InvalidResponse(f"more than {MOST_ODD} values that mean nothing plain")
    return None


def _is_blank(told: object, kinds: Sequence[inspect.Type]) -> bool:
    """Tell whether it is an empty text where a number or a truth is promised: it is not told."""
    is_number = any(isinstance(kind, inspect.IntType | inspect.BoolType) for kind in kinds)
    return is_number and isinstance(told, str) and not told.strip()


def _read_struct(told: object, kind: inspect.StructType, path: str, odd: list[str]) -> dict[str, Any]:
    if isinstance(told, str) and (name := _only_text(kind)):
        return {name: told}
    if not isinstance(told, dict):
        raise _unclear(told)
    found: dict[str, Any] = {}
    for field in kind.fields:
        name = field.encode_name
        if name not in told:
            if field.required:
                raise Unclear(f"{name} is missing")
            continue
        try:
            found[name] = _read(told[name], field.type, f"{path}.{name}" if path else name, odd)
        except Unclear as exc:
            raise Unclear(f"{name}: {exc}") from exc
    return found


def _only_text(kind: inspect.StructType) -> str:
    """Name the field of a struct that has one field, for people: a bare text means that; "" for any other."""
    if len(kind.fields) != 1:
        return ""
    (field,) = kind.fields
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    return field.encode_name if any(isinstance(each, inspect.StrType) for each in kinds) else ""


def _unclear(told: object) -> Unclear:
    return Unclear(f"unclear value {_shown(told)}")


def _shown(told: object) -> str:
    """Show a value in one short line, whatever it is."""
    if isinstance(told, str):
        return repr(told[:_SHOWN])
    if isinstance(told, dict):
        return "{…}"
    if isinstance(told, list):
        return "[…]"
    if isinstance(told, int) and abs(told) > _MOST_SHOWN:
        return "of too many digits"
    return msgspec.json.encode(told).decode()
