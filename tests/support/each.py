"""Many small cases of one claim in one test."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

Test = Callable[..., None]


def for_each(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """
    Like `pytest.mark.parametrize`, in one test, for cases that cost less than a test of their own.

    All cases are tried, and each that fails is named.
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    listed = [(case,) if isinstance(names, str) else tuple(case) for case in cases]
    assert listed

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            failed: list[BaseException] = []
            for case in listed:
                try:
                    test(**dict(zip(wanted, case, strict=True)), **fixtures)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - it is raised below
                    error.add_note(f"case: {case!r:.300}")
                    failed.append(error)
            if failed:
                raise BaseExceptionGroup(f"{len(failed)} of {len(listed)} cases", failed)

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name not in wanted]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]  # pytest reads it
        return run

    return decorate
