"""What an answer has in place of what is documented, in plain words."""

from __future__ import annotations

import msgspec
import pytest

from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decoding import strict_decoder
from tests.support.each import for_each


class File(msgspec.Struct):
    size: int
    name: str | None = None


class Item(msgspec.Struct):
    id: int
    files: list[File] = []


@for_each(
    ("raw", "fault"),
    [
        (b"{}", "expected a list, got a record"),
        (b'["x"]', "entry 1: expected a record, got a text"),
        (b"[{}]", "entry 1: id is missing"),
        (b'[{"id": "x"}]', "entry 1, id: expected a whole number, got a text"),
        (b'[{"id": 1.5}]', "entry 1, id: expected a whole number, got a number"),
        (
            b'[{"id": 1}, {"id": 2, "files": [{"size": 1, "name": true}]}]',
            "entry 2, files, entry 1, name: expected a text or nothing, got true or false",
        ),
    ],
)
def test_a_wrong_type_is_named_with_its_place(raw: bytes, fault: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        strict_decoder(list[Item])(raw)
    assert str(caught.value) == f"the response does not match the documented JSON: {fault}"


@for_each(
    ("raw", "fault"),
    [
        (b'[{"id": 1}', "not whole JSON: input data was truncated"),
        (b"<html>", "not whole JSON: JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_a_broken_answer_says_so(raw: bytes, fault: str) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        strict_decoder(list[Item])(raw)
    assert str(caught.value) == fault
