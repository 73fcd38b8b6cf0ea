"""Blocks of Python as a notebook runs them: one after the other, with the same names, and with `await`."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from tests.support.program import Ended


async def run_cells(blocks: Sequence[str], folder: Path, env: Mapping[str, str]) -> Ended:
    """Run blocks in a program of their own; its error names the block that failed."""
    words = [sys.executable, "-m", "tests.support.cells", *blocks]
    paths = str(Path(__file__).parents[2])
    done = await anyio.run_process(words, cwd=folder, env={**env, "PYTHONPATH": paths}, check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def main() -> None:
    names: dict[str, object] = {}
    for block in sys.argv[1:]:
        code = compile(block, f"<{block.strip().splitlines()[-1]}>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)
        if inspect.iscoroutine(made):
            asyncio.run(made)


if __name__ == "__main__":
    main()
