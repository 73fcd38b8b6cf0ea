"""Identifier listing: reads names from a file or standard input, and resolves them to items."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import logging
import os
import stat
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import aiofiles
import anyio
from msgspec.structs import replace

from harvester.errors import FailureKind, NotFound, PermanentError, TransientError, UsageError
from harvester.figshare.identifier_files import names_in_file
from harvester.figshare.identifiers import (
    ItemIdentifier,
    doi_in,
    handle_in,
    is_figshares_doi,
    item_in,
    why_not,
)
from harvester.figshare.protocol import Figshare, Finder, Listing
from harvester.models import ItemId, ItemRef, Page, Unresolved
from harvester.system.paths import usable
from harvester.text.wording import without_tokens

log = logging.getLogger(__name__)
Answer: TypeAlias = tuple[ItemIdentifier, ...] | Unresolved

NAMES_A_PAGE = 1000
LOOKUPS_A_PAGE = 10
"""Names a page that need a request: after a crash only a few have to be looked up again."""


async def read_names(file: str) -> list[str]:
    """
    Return the names in a file ("-": standard input); see `names_in_file`.

    Raises:
        UsageError: the file cannot be read.
    """
    raw = await _read(file)
    try:
        found = names_in_file(raw)
    except ValueError as exc:
        raise UsageError(f"{file_name(file)}: cannot be read: {without_tokens(str(exc))}") from exc
    shown = file_name(file)
    if found.heading:
        log.debug("%s: reads the column %s", shown, without_tokens(found.heading))
    if found.left:
        log.warning("%s: only the first name of each line is taken; further names: %d", shown, found.left)
    return [name if "/" in name else without_tokens(name) for name in found.names]


def file_name(file: str) -> str:
    """Return how messages name a file ("-": standard input)."""
    return "standard input" if file == "-" else file


async def _read(file: str) -> bytes:
    try:
        if file == "-":
            return await _read_standard_input()
        _must_end(usable(file))
        async with aiofiles.open(usable(file), "rb") as handle:
            return await handle.read()
    except (OSError, ValueError) as exc:  # a path with a null character is a ValueError
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise UsageError(f"{file_name(file)}: cannot be read: {reason}") from exc


def _must_end(file: str) -> None:
    """Raise OSError for a device that may be endless; terminals and /dev/null are allowed."""
    kind = Path(file).stat()
    is_null = os.path.samestat(kind, Path(os.devnull).stat())
    if stat.S_ISBLK(kind.st_mode) or (stat.S_ISCHR(kind.st_mode) and not is_null and not _is_terminal(file)):
        raise OSError(errno.EINVAL, "it is not a file")


def _is_terminal(file: str) -> bool:
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOCTTY", 0))
    try:
        return os.isatty(handle)
    finally:
        os.close(handle)


async def _read_standard_input() -> bytes:
    """
    Return all of standard input.

    It runs in a daemon thread: nothing can wake a thread that waits for a terminal, and a thread pool would
    wait for it when the program ends.

    Raises:
        OSError: it is closed, or reading failed.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    chunks: list[bytes] = []
    errors: list[OSError] = []
    is_read = anyio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            while chunk := os.read(0, 65536):
                chunks.append(chunk)
        except OSError as error:
            errors.append(error)
        with contextlib.suppress(RuntimeError):  # the run did not wait for it
            loop.call_soon_threadsafe(is_read.set)

    threading.Thread(target=read, daemon=True).start()
    await is_read.wait()
    if errors:
        raise errors[0]
    return b"".join(chunks)


@dataclass(frozen=True)
class IdentifierListing(Listing):
    """
    A list of names; its key changes with its content, so a cursor always belongs to the list.

    ``file``: where the names are from, "" for the command line or the config.
    ``once_more``: names of other lists that were not found. The result for a name is kept for equal names.
    """

    names: tuple[str, ...]
    once_more: bool = False
    file: str = field(default="", compare=False)
    _answers: dict[str, Answer] = field(default_factory=dict, repr=False, compare=False)

    @functools.cached_property  # it is used several times a page, and takes milliseconds for a long list
    def key(self) -> str:
        digest = hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]
        return f"items {len(self.names)} names {digest}" + (" once more" if self.once_more else "")

    @property
    def display_name(self) -> str:
        return file_name(self.file) if self.file and not self.names else super().display_name

    @property
    def what_selects(self) -> str:
        return "the list"

    @property
    def length(self) -> int:
        """The number of names; a name may occur several times."""
        return len(self.names)

    async def page(self, figshare: Figshare, cursor: str | None) -> Page:
        start = end = int(cursor or 0)
        refs: list[ItemRef] = []
        unresolved: list[Unresolved] = []
        notes: list[str] = []
        lookups = 0
        for name in self.names[start : start + NAMES_A_PAGE]:
            if lookups >= LOOKUPS_A_PAGE:
                break
            end += 1
            found = _resolve_locally(name, figshare.finder)
            if found is None:
                question = _cache_key(name)
                if question not in self._answers:
                    lookups += 1
                    self._answers[question] = await _look_up(name, figshare.finder)
                    notes += _notes(name, self._answers[question])
                found = self._answers[question]
            if isinstance(found, Unresolved):
                unresolved.append(replace(found, name=name))
            else:
                refs += [ItemRef(ItemId(each.id), version=each.version, named=True) for each in found]
        following = str(end) if end < len(self.names) else None
        return Page(tuple(refs), following, tuple(unresolved), notes=tuple(notes))


def _resolve_locally(name: str, finder: Finder) -> Answer | None:
    """Return the result for a name that needs no request, None for any other."""
    if (named := item_in(name)) is not None:
        if is_figshares_doi(name):
            finder.note_doi(ItemId(named.id))
        return (named,) if finder.trusts(named) else None
    if reason := why_not(name):
        return Unresolved(name, reason, FailureKind.PERMANENT)
    if doi_in(name) is None and handle_in(name) is None:
        reason = "neither an item's id, nor a DOI or handle, nor the address of an item"
        return Unresolved(name, reason, FailureKind.PERMANENT)
    return None


def _cache_key(name: str) -> str:
    """Return the cache key of a name: the same for equal names."""
    if (named := item_in(name)) is not None:
        return f"{named.host} {named.id} {named.version}"
    return str(doi_in(name) or handle_in(name)).lower()


async def _look_up(name: str, finder: Finder) -> Answer:
    """Request the items that a name means, and return them or why there are none."""
    doi = doi_in(name)
    try:
        if (named := item_in(name)) is not None:
            return await _resolve_portal_address(name, named, finder)
        found = await (finder.by_doi(doi) if doi is not None else finder.by_handle(str(handle_in(name))))
    except (PermanentError, TransientError) as error:
        return Unresolved(name, str(error), error.failure_kind)
    if found:
        return found
    kind = "handle" if doi is None else "DOI"
    return Unresolved(name, f"no public item has this {kind}", FailureKind.NOT_FOUND)


async def _resolve_portal_address(name: str, named: ItemIdentifier, finder: Finder) -> Answer:
    """Return the item of an address on another host; a withdrawn one counts if it was harvested."""
    try:
        reason = await finder.mismatch(named)
    except NotFound as error:
        ref = ItemRef(ItemId(named.id), version=named.version, named=True)
        return Unresolved(name, str(error), error.failure_kind, if_harvested=ref)
    return Unresolved(name, reason, FailureKind.PERMANENT) if reason else (named,)


def _notes(name: str, found: Answer) -> list[str]:
    """Return a warning if several items share a name."""
    if isinstance(found, Unresolved) or len(found) == 1:
        return []
    ids = ", ".join(str(each.id) for each in found)
    return [f"{name}: {len(found)} items share this name, and all of them are taken: {ids}"]
