"""
Config tables: frozen records whose annotated fields are the keys.

A table is like a dataclass, but faster: the import of `dataclasses` takes 8 ms and each class half a
millisecond, and every command reads its config before its first output.

Annotations are not postponed in this package (no ``from __future__ import annotations``), as the evaluation
of postponed ones takes 1 ms.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import UnionType
from typing import Annotated, Any, ClassVar, dataclass_transform, get_args, get_origin, get_type_hints


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Table:
    """
    A frozen record, created with keywords; a field without a default is required.

    Faults that only the table itself can find (`faults`) raise a ValueError, with a line for each.
    """

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        annotated = [vars(each).get("__annotations__", {}) for each in reversed(cls.__mro__)]
        hints = {name: hint for each in annotated for name, hint in each.items()}
        cls._names = tuple(name for name, hint in hints.items() if not _is_class_variable(hint))

    def __init__(self, **values: Any) -> None:
        for name in self._names:
            if name not in values and is_required(type(self), name):
                raise TypeError(f"{type(self).__name__}: {name} is missing")
            self.__dict__[name] = values.pop(name) if name in values else getattr(type(self), name)
        if values:
            raise TypeError(f"{type(self).__name__}: has no {', '.join(values)}")
        if wrong := list(self.faults()):
            raise ValueError("\n".join(wrong))

    def faults(self) -> Iterator[str]:
        """Yield the faults of the values in combination: the name of a field, a colon, and the reason."""
        return iter(())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name}: cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


def fields(cls: type[Any]) -> Mapping[str, Any]:
    """Return the fields of a table or a dataclass with their types, those of its bases first."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: hint for name, hint in hints.items() if not _is_class_variable(hint)}


def _is_class_variable(hint: object) -> bool:
    """Return whether a hint, evaluated or postponed, is that of a class variable."""
    return hint.startswith("ClassVar") if isinstance(hint, str) else get_origin(hint) is ClassVar


def is_required(cls: type[Any], name: str) -> bool:
    """Return whether a field has no default."""
    return not hasattr(cls, name)


def certain_faults(cls: type[Any], values: Mapping[str, Any], lacking: Sequence[str]) -> list[str]:
    """
    Return the faults of the values in combination that do not depend on the `lacking` ones.

    The check runs without and with made-up values for the lacking fields; a fault must occur both times.
    """
    made_up = {name: some for name in lacking if (some := _some(fields(cls)[name])) is not None}
    required = {name for name in lacking if is_required(cls, name)}
    if not required <= made_up.keys():
        return []
    without = _faults(cls, {**values, **{name: made_up[name] for name in required}})
    complete = _faults(cls, {**values, **made_up})
    return [fault for fault in without if fault in complete]


def _faults(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    try:
        cls(**values)
    except ValueError as exc:
        return str(exc).splitlines()
    return []


_SOME = {bool: True, int: 1, float: 1.0, str: "some", date: date.max}


def _some(hint: Any) -> Any:
    """Return any value of a type, None if none is known."""
    kind = get_origin(hint) or hint
    if kind is tuple:
        return (_some(get_args(hint)[0]),)
    return _some(get_args(hint)[0]) if kind in {Annotated, UnionType} else _SOME.get(kind)
