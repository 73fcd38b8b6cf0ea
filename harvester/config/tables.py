"""
Tables of the config: frozen records whose annotated fields are the keys.

A table is a dataclass in all but its price: to import `dataclasses` takes 8 ms and each of its classes half a
millisecond, which every command would pay before it says anything, as it reads its config first.

Here, beside it and in the named tuples of what `status` needs, annotations are not postponed (no ``from
__future__ import annotations``): to read postponed ones Python sets up its compiler's types, 1 ms more.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import UnionType
from typing import Annotated, Any, ClassVar, dataclass_transform, get_args, get_origin, get_type_hints


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Table:
    """
    A frozen record, made with keywords; a field without a default must be given.

    What only the table itself can tell is wrong (`faults`) is a ValueError, with a line for each fault.
    """

    _fields: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls._fields = _without_class_variables(hints)

    def __init__(self, **values: Any) -> None:
        for name in self._fields:
            if name not in values and is_required(type(self), name):
                raise TypeError(f"{type(self).__name__}: {name} is missing")
            self.__dict__[name] = values.pop(name) if name in values else getattr(type(self), name)
        if values:
            raise TypeError(f"{type(self).__name__}: has no {', '.join(values)}")
        if wrong := list(self.faults()):
            raise ValueError("\n".join(wrong))

    def faults(self) -> Iterator[str]:
        """Tell what is wrong with the values together: the name of a field, a colon, and the reason."""
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
    """Return the fields of a table or a dataclass, those of its bases first, each with its type."""
    if issubclass(cls, Table):
        return cls._fields
    return _without_class_variables(get_type_hints(cls, include_extras=True))


def _without_class_variables(hints: Mapping[str, Any]) -> dict[str, Any]:
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def is_required(cls: type[Any], name: str) -> bool:
    """Return whether a field has no default."""
    return not hasattr(cls, name)


def faults_whatever(cls: type[Any], values: Mapping[str, Any], lacking: Sequence[str]) -> list[str]:
    """
    Tell what is wrong with the values together, whatever those that are `lacking` will be.

    They are taken to be left out, or to be there; what is a fault in one case only may be none in the end.
    """
    there = {name: some for name in lacking if (some := _some(fields(cls)[name])) is not None}
    required = {name for name in lacking if is_required(cls, name)}
    if not required <= there.keys():
        return []
    excluded = _faults(cls, {**values, **{name: there[name] for name in required}})
    put_in = _faults(cls, {**values, **there})
    return [fault for fault in excluded if fault in put_in]


def _faults(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    try:
        cls(**values)
    except ValueError as exc:
        return str(exc).splitlines()
    return []


_SOME = {bool: True, int: 1, float: 1.0, str: "some", date: date.max}


def _some(hint: Any) -> Any:
    """Return a value of a type, None where none is known."""
    kind = get_origin(hint) or hint
    if kind is tuple:
        return (_some(get_args(hint)[0]),)
    return _some(get_args(hint)[0]) if kind in {Annotated, UnionType} else _SOME.get(kind)
