"""
Output lines for other programs: the items of a selection, and failures.

A plain line is a name that `run --items -` accepts, or a comment that it skips. `wanted_name` returns such a
name.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterable, Iterator

import orjson

from harvester.errors import FatalError
from harvester.figshare.listing_names import listing_name
from harvester.models import Failure, ItemRef, ListingEntry
from harvester.text.display import harmless_json, one_line

PIECE = 4096
"""Bytes of one atomic write to a pipe (PIPE_BUF: POSIX requires 512, Linux has 4096)."""

_ENTRY = re.compile(r", entry \d+$")
"""The end of the name of a listing entry without an id."""


def wanted_name(item_id: int, version: int) -> str:
    """Return the name of an item, or of one version of it."""
    return f"{item_id}.v{version}" if version else str(item_id)


def selected_line(ref: ItemRef, *, as_json: bool) -> bytes:
    """Return the line of one item; as JSON with the fields of its listing, null for missing ones."""
    if not as_json:
        return wanted_name(ref.id, ref.version).encode() + b"\n"
    brief = ref.brief or ListingEntry()
    fields = {
        "id": ref.id,
        "version": ref.version or None,
        "title": brief.title or None,
        "doi": brief.doi or None,
        "type": brief.type or None,
        "created_date": brief.created_date or None,
        "published_date": brief.published_date or None,
        "modified_date": ref.modified_date or None,
    }
    return harmless_json(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE).decode()).encode()


def failed_lines(failures: Iterable[Failure]) -> Iterator[str]:
    """Yield the names that a later run would retry, each once; a failed listing is a comment."""
    written: set[str] = set()
    for failure in failures:
        if failure.item_id is not None:
            line = wanted_name(failure.item_id, failure.version)
        elif failure.task == "listing" or re.search(_ENTRY, failure.subject):
            line = f"# {listing_name(failure.subject)}: {failure.error}"
        else:
            line = failure.subject
        if line not in written:
            written.add(line)
            yield one_line(line)


def failed_objects(failures: Iterable[Failure]) -> Iterator[str]:
    """Yield each failure as a JSON object, null for fields that it does not have."""
    for failure in failures:
        fields = {
            "item_id": failure.item_id,
            "version": failure.version or None,
            "file_id": failure.file_id,
            "task": failure.task,
            "error": failure.error,
            "failure_kind": failure.failure_kind,
            "attempts": failure.attempts,
            "subject": listing_name(failure.subject) or None,
        }
        yield harmless_json(orjson.dumps(fields).decode())


async def write(text: bytes, descriptor: int) -> None:
    """
    Write to an open file, pipe or terminal without blocking the event loop.

    A slow reader, such as a pager, would otherwise delay the handling of Ctrl-C.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        FatalError: writing failed, for example on a full disk.
    """
    may_wait = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    waiting = memoryview(text)
    while waiting:
        if may_wait:
            await _has_room(descriptor)
        try:
            waiting = waiting[os.write(descriptor, waiting[:PIECE] if may_wait else waiting) :]
        except BrokenPipeError:
            raise
        except OSError as exc:
            raise FatalError(f"standard output: {exc.strerror}") from exc


async def _has_room(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    is_ready = asyncio.Event()
    loop.add_writer(descriptor, is_ready.set)
    try:
        await is_ready.wait()
    finally:
        loop.remove_writer(descriptor)
