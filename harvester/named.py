"""Lists of names: read from a file or standard input, and the ids that they lead to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import re
import threading
from dataclasses import dataclass
from typing import ClassVar

import aiofiles
import anyio

from harvester.errors import GiveUp, TryAgain, UsageError, Verdict
from harvester.figshare.api import Figshare
from harvester.figshare.names import Named, doi_in, handle_in, item_in, version_in, why_not
from harvester.models import ItemRef, Page, Unresolved
from harvester.paths import usable

NAMES_A_PAGE = 1000
ASKED_A_PAGE = 10
"""Names that need a request: a page is recorded soon enough that a crash costs few of them."""


async def read_names(file: str) -> list[str]:
    """
    Read names, one a line, with comments ("-": from standard input).

    Raises:
        UsageError: the file cannot be read.
    """
    text = await _read_text(file)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


async def _read_text(file: str) -> str:
    try:
        if file == "-":
            return (await _read_standard_input()).decode("utf-8-sig")
        async with aiofiles.open(usable(file), encoding="utf-8-sig") as handle:
            return await handle.read()
    except (OSError, ValueError) as exc:  # a path with a null character is a ValueError
        is_text = not isinstance(exc, UnicodeDecodeError)
        told = exc.strerror if isinstance(exc, OSError) else str(exc)
        reason = told if is_text else "it is not UTF-8 text"
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
    """
    A list of names; its key changes with its content, so a position always fits the list.

    ``once_more``: they stand in other lists, and were asked for in vain.
    """

    names: tuple[str, ...]
    once_more: bool = False
    filtered_here: ClassVar[tuple[str, ...]] = ()

    @functools.cached_property  # it is asked for several times a page, and of a long list takes milliseconds
    def key(self) -> str:
        digest = hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]
        return f"items {len(self.names)} names {digest}" + (" once more" if self.once_more else "")

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        start = end = int(position or 0)
        refs: list[ItemRef] = []
        unresolved: list[Unresolved] = []
        asked = 0
        for name in self.names[start : start + NAMES_A_PAGE]:
            if asked >= ASKED_A_PAGE:
                break
            end += 1
            found: Named | Unresolved | None = item_in(name)
            if found is None and (reason := why_not(name)):
                found = Unresolved(name, reason, Verdict.FOR_GOOD)
            if found is None:
                asked += 1
                found = await _ask(figshare, name)
            if isinstance(found, Named):
                refs.append(ItemRef(found.id, version=found.version))
            else:
                unresolved.append(found)
        following = str(end) if end < len(self.names) else None
        return Page(tuple(refs), following, tuple(unresolved))

    def since(self, moment: str) -> Names | None:
        """Return None: names say nothing of when an item was modified."""
        return None


async def _ask(figshare: Figshare, name: str) -> Named | Unresolved:
    """Return the item that a name leads to, or why it leads to none."""
    doi, handle = doi_in(name), handle_in(name)
    try:
        if doi is not None:
            found = await figshare.find_doi(doi)
        elif handle is not None:
            found = await figshare.find_handle(handle)
        else:
            reason = "neither an item's id, nor a DOI or handle, nor the address of an item"
            return Unresolved(name, reason, Verdict.FOR_GOOD)
    except (GiveUp, TryAgain) as error:
        return Unresolved(name, str(error), error.verdict)
    if found is None:
        kind = "handle" if doi is None else "DOI"
        return Unresolved(name, f"no public item has this {kind}", Verdict.GONE)
    return Named(found, version_in(doi or ""))
