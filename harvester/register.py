"""Classes by name, each imported when it is asked for: to know what there is costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any


class Register(Mapping[str, type[Any]]):
    """A table of classes, written as ``name="package.module:Class"``."""

    def __init__(self, **places: str) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Any]:
        module, _, cls = self._places[name].partition(":")
        return getattr(import_module(module), cls)  # type: ignore[no-any-return]  # tests look at each

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
