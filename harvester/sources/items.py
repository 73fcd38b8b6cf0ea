"""Items named one by one: ids, DOIs and figshare addresses, from the config, a file or standard input."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import aiofiles
import anyio

from harvester.errors import GiveUp, TryAgain, UsageError, Verdict
from harvester.figshare import Figshare, doi_in, item_id_in
from harvester.models import ItemRef, Page, Unresolved

NAMES_A_PAGE = 1000
ASKED_A_PAGE = 10
"""Names that need a request: a page is recorded soon enough that a crash costs few of them."""


@dataclass(frozen=True, kw_only=True)
class Items:
    """``kind = "items"``: ``ids`` and the lines of ``file`` ("-": standard input), mixed as they come."""

    kind: ClassVar[str] = "items"
    private: ClassVar[bool] = False
    needs_token: ClassVar[bool] = False

    ids: tuple[int | str, ...] = ()
    file: str | None = None

    def __post_init__(self) -> None:
        if not self.ids and self.file is None:
            raise ValueError("ids or file: one of them is needed")

    async def listings(self) -> Sequence[Names]:
        """
        Read the names.

        Raises:
            UsageError: the file cannot be read.
        """
        names = [str(name).strip() for name in self.ids]
        if self.file is not None:
            text = await _read_text(self.file)
            lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
            names += [line for line in lines if line]
        return [Names(tuple(names))]


async def _read_text(file: str) -> str:
    try:
        if file == "-":
            return (await _read_standard_input()).decode("utf-8-sig")
        async with aiofiles.open(file, encoding="utf-8-sig") as handle:
            return await handle.read()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{file}: cannot be read: {reason}") from exc


async def _read_standard_input() -> bytes:
    """
    Read until whoever writes is done.

    A thread of its own, which does not keep the program from ending: nobody can wake a thread that waits
    for a terminal, and a pool of threads waits for all of its threads.
    """
    pieces: list[bytes] = []
    is_read = anyio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        while piece := os.read(0, 65536):
            pieces.append(piece)
        with contextlib.suppress(RuntimeError):  # the run did not wait for it
            loop.call_soon_threadsafe(is_read.set)

    threading.Thread(target=read, daemon=True).start()
    await is_read.wait()
    return b"".join(pieces)


@dataclass(frozen=True)
class Names:
    """A list of names; its key changes with its content, so a position always fits the list."""

    names: tuple[str, ...]

    @property
    def key(self) -> str:
        digest = hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]
        return f"items {len(self.names)} names {digest}"

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        start = end = int(position or 0)
        refs: list[ItemRef] = []
        unresolved: list[Unresolved] = []
        asked = 0
        for name in self.names[start : start + NAMES_A_PAGE]:
            if asked >= ASKED_A_PAGE:
                break
            end += 1
            found: int | Unresolved | None = item_id_in(name)
            if found is None:
                asked += 1
                found = await _ask(figshare, name)
            if isinstance(found, int):
                refs.append(ItemRef(found))
            else:
                unresolved.append(found)
        following = str(end) if end < len(self.names) else None
        return Page(tuple(refs), following, tuple(unresolved))


async def _ask(figshare: Figshare, name: str) -> int | Unresolved:
    """Return the id that a name leads to, or why it leads to none."""
    doi = doi_in(name)
    if doi is None:
        reason = "neither an item's id, nor a DOI, nor the address of an item"
        return Unresolved(name, reason, Verdict.FOR_GOOD)
    try:
        found = await figshare.find_doi(doi)
    except (GiveUp, TryAgain) as error:
        return Unresolved(name, str(error), error.verdict)
    return Unresolved(name, "no public item has this DOI", Verdict.GONE) if found is None else found
