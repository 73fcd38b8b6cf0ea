"""
A file over one connection, or over several where each by itself is slow.

A big file begins as any other. While it comes, one more connection is opened now and then for a part that is
still missing (`splitting.py` says when and which), where the host has shown that it gives parts. What a
further connection meets never fails the file: what it did not bring is missing, and is asked for in its turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import aiohttp
import anyio
from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup
from yarl import URL

from harvester.client.download.segment_policy import (
    Advice,
    ByteRange,
    HostLimits,
    SegmentPolicy,
    SegmentTuner,
    next_part,
)
from harvester.client.download.single import RangeRequest, SingleDownload, Unfit, Wanted, is_divisible
from harvester.client.download.slots import ConnectionSlots, Holding
from harvester.client.responses import display_url
from harvester.client.sender import RequestSender
from harvester.concurrency import run_with_background
from harvester.config import Timeouts
from harvester.errors import PermanentError, TransientError
from harvester.storage.local import Partial

log = logging.getLogger(__name__)

MOST_FAILURES = 2
"""After so many further connections without luck a file gets none until it is asked for again."""


@dataclass(frozen=True)
class _Means:
    """What the transfers of a run share."""

    asking: RequestSender
    receiving: SingleDownload
    splitting: SegmentPolicy
    lanes: ConnectionSlots
    bearing: HostLimits


class SegmentedDownload:
    """Fetches files, each over as many connections as are worth it; `clock`: seconds."""

    def __init__(
        self, asking: RequestSender, splitting: SegmentPolicy, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        lanes, bearing = ConnectionSlots(splitting.connections), HostLimits(splitting.connections_a_file)
        self._timeouts = timeouts
        self._clock = clock
        self._means = _Means(asking, SingleDownload(asking), splitting, lanes, bearing)

    def holding(self, times: int = 0) -> Holding:
        """Begin to watch how a file uses its connections that was put off so many times."""
        return Holding(self._means.lanes, self._timeouts, times, self._clock)

    async def fetch(
        self,
        url: URL,
        into: Partial,
        wanted: Wanted,
        *,
        authorised: bool = False,
        holding: Holding | None = None,
    ) -> None:
        """
        Ask for the rest of a file and hand its bytes on; a big one's in parts, if that is faster.

        It is asked once, and again where an answer is good and shorter than what was asked for. A request to
        the api's host counts for the api as well as for files.

        Raises:
            Blocked: what came is not the file but a page for browsers, or nothing.
            ConnectionFailed: the bytes ended early, came too slowly or belong to something else.
            Deferred: they come slowly, and another file waits; `holding`: how it used its connections so far.
        """
        if into.received == wanted.size > 0:
            return  # all of it is here: a crash came between the last byte and the proof
        means, asked = self._means, RangeRequest(url, wanted, authorised, holding or self.holding())
        is_big = wanted.has_md5 and wanted.size >= means.splitting.least_size and not wanted.one_connection
        if into.pieces or is_big:
            await _Transfer(means, asked, into).run()
            return
        async with means.lanes.first():
            await means.receiving.rest(asked, into)
            while into.received < wanted.size:
                await means.receiving.rest(asked, into)


class _Transfer:
    """One big file."""

    def __init__(self, means: _Means, asked: RangeRequest, into: Partial) -> None:
        self._means = means
        self._asked = asked
        self._into = into
        self._growth = SegmentTuner(means.splitting, means.bearing.most(asked.url))
        self._connections = 0
        self._further: list[CancelScope] = []  # the newest is last
        self._opening: CancelScope | None = None  # one at a time
        self._is_divisible = False
        self._failures = 0

    async def run(self) -> None:
        await run_with_background(self._fill, self._watch)

    # -- the first connection -------------------------------------------------------------------------

    async def _fill(self) -> None:
        """Bring what is missing, from the beginning on; take over what others have brought."""
        into = self._into
        while into.received < self._asked.wanted.size:
            if into.received >= into.until:
                await into.absorb()
                continue
            async with self._means.lanes.first():
                await self._fill_the_rest()

    async def _fill_the_rest(self) -> None:
        with ExitStack() as counted:

            def begun(response: aiohttp.ClientResponse) -> None:
                self._is_divisible = is_divisible(response)
                counted.enter_context(self._counted())

            await self._means.receiving.rest(self._asked, self._into, begun)

    # -- further ones ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async with create_task_group() as group:
            while True:
                await anyio.sleep(self._means.splitting.settle_seconds / 10)
                self._look(group)

    def _look(self, group: TaskGroup) -> None:
        """See whether one more connection is worth it, or the last one was not."""
        part = next_part(self._gaps())
        advice = self._growth.look(anyio.current_time(), self._received(), self._connections, part.size)
        if advice is Advice.FEWER and self._further:
            log.debug("%s: one more connection is not faster", display_url(self._asked.url))
            self._means.bearing.note(self._asked.url, self._growth.most)
            self._further.pop().cancel()
        elif advice is Advice.MORE and self._may_open(part):
            group.start_soon(self._bring, part)

    def _may_open(self, part: ByteRange) -> bool:
        return (
            self._is_divisible
            and self._opening is None
            and self._failures < MOST_FAILURES
            and self._means.lanes.has_room
            and self._into.pieces.make_room(part.size)
        )

    async def _bring(self, part: ByteRange) -> None:
        """Bring a part of the file, or as much of it as can be had."""
        with self._means.lanes.further() as scope:
            self._opening = scope
            try:
                await self._receive(part, scope)
            except (PermanentError, TransientError) as error:
                self._failures += 1
                self._means.asking.traffic.errors["files"] += 1
                if isinstance(error, Unfit):
                    self._growth.most = 1
                    self._means.bearing.note(self._asked.url, 1)
                log.debug("one more connection failed: %s", error)
            finally:
                self._opened(scope)
        if scope.cancelled_caught:
            self._growth.gave_way(self._connections)

    async def _receive(self, part: ByteRange, scope: CancelScope) -> None:
        asked, receiving, validator = self._asked, self._means.receiving, self._into.validator
        async with receiving.part(asked, part.position, part.until, validator) as (response, end):
            self._opened(scope)
            # While this one was opened, the first may have come so far, or have begun another version.
            piece = self._into.divide(part.position) if self._into.validator == validator else None
            if piece is None:
                return
            self._further.append(scope)
            with self._counted():  # until its piece is free for the one that replaces it
                try:
                    await receiving.pour(response, piece, end, asked.wanted.size)
                finally:
                    if scope in self._further:
                        self._further.remove(scope)
                    await piece.release()

    def _opened(self, scope: CancelScope) -> None:
        if self._opening is scope:
            self._opening = None

    # -- what is here ---------------------------------------------------------------------------------

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a connection that brings something."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        self._growth.changed(anyio.current_time(), self._received(), self._connections)

    def _received(self) -> int:
        return self._asked.wanted.size - sum(gap.size for gap in self._gaps())

    def _gaps(self) -> list[ByteRange]:
        into = self._into
        first = ByteRange(into.received, max(into.until, into.received), is_filling=True)
        return [first, *(ByteRange(piece.position, piece.until, piece.is_filling) for piece in into.pieces)]
