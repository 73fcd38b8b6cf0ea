"""
Tables of the config: frozen records whose annotated fields are the keys.

A table is a dataclass in all but its price: to import `dataclasses` takes 8 ms and each of its classes half a
millisecond, which every command would pay before it says anything, as it reads its config first.

Here, beside it and in the named tuples of what `status` needs, annotations are not postponed (no ``from
__future__ import annotations``): to read postponed ones Python sets up its compiler's types, 1 ms more.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, dataclass_transform, get_origin, get_type_hints


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Table:
    """
    A frozen record, made with keywords; a field without a default must be given.

    What only the table itself can tell is wrong (`faults`) is a ValueError, with a line for each fault.
    """

    _fields: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls._fields = {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}

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
        told = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({told})"


def fields(cls: type[Table]) -> Mapping[str, Any]:
    """Return the fields of a table, those of its bases first, each with its type."""
    return cls._fields


def is_required(cls: type[Table], name: str) -> bool:
    """Tell whether a field has no default."""
    return not hasattr(cls, name)
