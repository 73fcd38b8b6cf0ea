"""The page on messages quotes what the program says."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.each import for_each

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
VALUE = "…"
FIRST_CELLS = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| `")]
MESSAGES = [message for cell in FIRST_CELLS for message in re.findall(r"`([^`]+)`", cell)]


@functools.cache
def texts() -> list[str]:
    """Return every text of the source, with … where a value goes."""
    return list(_texts())


def _texts() -> Iterator[str]:
    for path in sorted((ROOT / "harvester").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[-.\d]*[sdfg]", VALUE, node.value)


@for_each("message", MESSAGES)
def test_a_message_of_the_page_is_one_of_the_program(message: str) -> None:
    fixed = [part.strip(" ,:;") for part in message.split(VALUE)]
    for part in fixed:
        assert len(part) < 4 or any(part in text for text in texts()), part


def test_the_page_has_messages_of_every_part() -> None:
    assert len(MESSAGES) > 80
    assert PAGE.count("\n## ") == 6
