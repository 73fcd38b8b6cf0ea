"""Many cases in one test: all are tried, and those that fail are named."""

from __future__ import annotations

import inspect

import pytest

from tests.support.each import for_each
from tests.support.waiting import side_by_side


def test_each_failing_case_is_named() -> None:
    tried = []

    @for_each("number", [1, 2, 3])
    def check(number: int, factor: int) -> None:
        tried.append(number)
        assert factor * number == 4

    assert list(inspect.signature(check).parameters) == ["factor"], "what pytest gives"
    with pytest.raises(BaseExceptionGroup, match="2 of 3 cases") as caught:
        check(factor=2)
    assert [error.__notes__ for error in caught.value.exceptions] == [["case: (1,)"], ["case: (3,)"]]
    assert tried == [1, 2, 3]


def test_an_error_that_is_missing_fails_a_case() -> None:
    @for_each(("number", "text"), [(1, "a"), (2, "b")])
    def check(number: int, text: str) -> None:
        with pytest.raises(ValueError, match=text):
            if number == 1:
                raise ValueError(text)

    with pytest.raises(BaseExceptionGroup, match="1 of 2 cases"):
        check()


@pytest.mark.anyio
async def test_a_failing_case_of_several_at_once_is_named() -> None:
    async def claim(case: str) -> None:
        assert case != "b"

    with pytest.raises(BaseExceptionGroup) as caught:
        await side_by_side("abc", claim)
    assert [error.__notes__ for error in caught.value.exceptions] == [["case: b"]]
