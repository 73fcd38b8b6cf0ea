"""
Lenient JSON decoder: accepts values of another type than documented if their meaning is clear.

Clients of figshare see 0 and 1 for booleans, and numbers as text. This module decides for all answers which
such values are clear. Any other value is odd, and the caller decides what follows from that.
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
"""An answer with more odd values than this is rejected."""
_EXACT = 2**53
"""Beyond this a float can no longer represent every whole number."""
_SHOWN = 40
"""Characters of an odd value that a message shows."""
_MOST_SHOWN = 2**63 - 1


_type_info: Callable[[Any], inspect.Type] = cache(inspect.type_info)


class Unclear(ValueError):
    """A required value is unreadable; the message is one line that names it."""


class Lenient(NamedTuple, Generic[T]):
    """A decoded value; ``odd``: the paths of values without a clear meaning, which became None."""

    value: T
    odd: tuple[str, ...]


def read_leniently(value: object, kind: type[T]) -> Lenient[T]:
    """
    Return decoded JSON as a struct.

    Whole numbers may be floats or text. Booleans may be 0, 1, or text. A struct with one text field may be
    that text. An empty text is null where a number or a boolean may be null. An odd value becomes null where
    null is allowed.

    Raises:
        Unclear: a required value is odd.
        InvalidResponse: there are more than `MOST_ODD` odd values.
    """
    odd: list[str] = []
    result = _read(value, _type_info(kind), "", odd)
    return Lenient(msgspec.convert(result, kind), tuple(odd))


def whole_number(value: object) -> int:
    """
    Return the whole number that a value means: 5, 5.0, "5", " 5 ", "5.0".

    Raises:
        Unclear: it is no whole number, or a float too large to be exact.
    """
    if isinstance(value, bool):
        raise _unclear(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, str) and (found := _WHOLE.fullmatch(value.strip())):
        return int(found[1])
    raise _unclear(value)


def _boolean(value: object) -> bool:
    """Return the boolean that a value means: true, 1, "1", "True"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in {0, 1}:
        return bool(value)
    if isinstance(value, str) and (found := _TRUTH.get(value.strip().lower())) is not None:
        return found
    raise _unclear(value)


def _read(value: object, kind: inspect.Type, path: str, odd: list[str]) -> Any:
    match kind:
        case inspect.UnionType():
            return _read_union(value, kind.types, path, odd)
        case inspect.IntType():
            return _within(whole_number(value), kind)
        case inspect.BoolType():
            return _boolean(value)
        case inspect.StrType() if isinstance(value, str):
            return value
        case inspect.StructType():
            return _read_struct(value, kind, path, odd)
        case inspect.ListType() if isinstance(value, list):
            return [
                _read(each, kind.item_type, f"{path}[{place}]", odd) for place, each in enumerate(value, 1)
            ]
        case inspect.DictType() if isinstance(value, dict):
            # Keys may be any text, so a message names the table.
            return {key: _read(each, kind.value_type, path, odd) for key, each in value.items()}
        case inspect.NoneType() if value is None:
            return None
        case inspect.AnyType():
            return value
    raise _unclear(value)


def _within(number: int, kind: inspect.IntType) -> int:
    if (kind.ge is not None and number < kind.ge) or (kind.le is not None and number > kind.le):
        raise _unclear(number)
    return number


def _read_union(value: object, kinds: Sequence[inspect.Type], path: str, odd: list[str]) -> Any:
    is_optional = any(isinstance(kind, inspect.NoneType) for kind in kinds)
    if is_optional and (value is None or _is_blank(value, kinds)):
        return None
    error = _unclear(value)
    for kind in kinds:
        found: list[str] = []
        try:
            result = _read(value, kind, path, found)
        except Unclear as exc:
            error = exc
            continue
        odd += found
        return result
    if not is_optional:
        raise error
    odd.append(path)
    if len(odd) > MOST_ODD:
        raise InvalidResponse(f"more than {MOST_ODD} values that mean nothing plain")
    return None


def _is_blank(value: object, kinds: Sequence[inspect.Type]) -> bool:
    """Return whether it is an empty text in place of a number or a boolean, which counts as absent."""
    is_number = any(isinstance(kind, inspect.IntType | inspect.BoolType) for kind in kinds)
    return is_number and isinstance(value, str) and not value.strip()


def _read_struct(value: object, kind: inspect.StructType, path: str, odd: list[str]) -> dict[str, Any]:
    if isinstance(value, str) and (name := _only_text(kind)):
        return {name: value}
    if not isinstance(value, dict):
        raise _unclear(value)
    found: dict[str, Any] = {}
    for field in kind.fields:
        name = field.encode_name
        if name not in value:
            if field.required:
                raise Unclear(f"{name} is missing")
            continue
        try:
            found[name] = _read(value[name], field.type, f"{path}.{name}" if path else name, odd)
        except Unclear as exc:
            raise Unclear(f"{name}: {exc}") from exc
    return found


def _only_text(kind: inspect.StructType) -> str:
    """Return the name of a struct's only field if its type is text, else ""."""
    if len(kind.fields) != 1:
        return ""
    (field,) = kind.fields
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    return field.encode_name if any(isinstance(each, inspect.StrType) for each in kinds) else ""


def _unclear(value: object) -> Unclear:
    return Unclear(f"unclear value {_shown(value)}")


def _shown(value: object) -> str:
    """Return a value as one short line."""
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        return "[…]"
    if isinstance(value, int) and abs(value) > _MOST_SHOWN:
        return "of too many digits"
    return msgspec.json.encode(value).decode()
