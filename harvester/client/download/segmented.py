"""
Segmented download: fetches a file over several connections if a single one is slow, else over one.

A big file begins like any other. While it is received, additional connections are opened for missing ranges,
if the host has shown that it serves ranges; `segment_policy` says when and which. An error on an additional
connection never fails the file: the range is still missing, and is requested later.
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
    next_range,
)
from harvester.client.download.single import (
    ExpectedBody,
    FileWriter,
    RangeMismatch,
    RangeRequest,
    SingleDownload,
    accepts_ranges,
)
from harvester.client.download.slots import ConnectionSlots, SlotUsage
from harvester.client.responses import display_url
from harvester.client.sender import RequestSender
from harvester.config import Timeouts
from harvester.errors import PermanentError, TransientError
from harvester.storage.protocol import Segments, Upload
from harvester.system.concurrency import background_tasks

log = logging.getLogger(__name__)

MOST_FAILURES = 2
"""After this number of failed additional connections a file gets none until it is requested again."""


@dataclass(frozen=True)
class _Shared:
    """The state that all downloads of a run share."""

    sender: RequestSender
    single: SingleDownload
    policy: SegmentPolicy
    slots: ConnectionSlots
    host_limits: HostLimits


class SegmentedDownload:
    """Downloads files, each over as many connections as make it faster; `clock`: seconds."""

    def __init__(
        self, sender: RequestSender, policy: SegmentPolicy, timeouts: Timeouts, clock: Callable[[], float]
    ) -> None:
        slots, limits = ConnectionSlots(policy.connections), HostLimits(policy.connections_per_file)
        self._timeouts = timeouts
        self._clock = clock
        self._shared = _Shared(sender, SingleDownload(sender), policy, slots, limits)

    def usage(self, deferrals: int = 0) -> SlotUsage:
        """
        Return a new measurement of how well a file uses its slots.

        `deferrals`: how often it was deferred.
        """
        return SlotUsage(self._shared.slots, self._timeouts, deferrals, self._clock)

    async def fetch(
        self,
        url: URL,
        upload: Upload,
        expected: ExpectedBody,
        *,
        authorised: bool = False,
        usage: SlotUsage | None = None,
    ) -> None:
        """
        Request the missing part of a file and write it to an upload; a big file in segments, if that is
        faster.

        It is requested once, and again after a good response that is shorter than requested. A request to the
        API's host counts for the rate of the API and of files.

        Raises:
            Blocked: the response is not the file but a web page, or empty.
            ConnectionFailed: the bytes ended early, were too slow or belong to another file.
            Deferred: they are slow, and another file waits; `usage`: how well it used its slots so far.
        """
        if upload.received == expected.size > 0:
            return  # complete: a crash came between the last byte and the checksum
        shared, request = self._shared, RangeRequest(url, expected, authorised, usage or self.usage())
        into = FileWriter(upload, expected.size)
        is_big = expected.has_md5 and expected.size >= shared.policy.min_size and not expected.one_connection
        if into.segments is not None and (is_big or into.until < expected.size):
            await _SegmentedFile(shared, request, into, into.segments).run()
            return
        async with shared.slots.first():
            await shared.single.rest(request, into)
            while upload.received < expected.size:
                await shared.single.rest(request, into)


class _SegmentedFile:
    """The download of one big file."""

    def __init__(self, shared: _Shared, request: RangeRequest, into: FileWriter, segments: Segments) -> None:
        self._shared = shared
        self._request = request
        self._into = into
        self._upload = into.upload
        self._segments = segments
        self._tuner = SegmentTuner(shared.policy, shared.host_limits.most(request.url))
        self._connections = 0
        self._further: list[CancelScope] = []  # the newest is last
        self._opening: CancelScope | None = None  # one at a time
        self._accepts_ranges = False
        self._failures = 0

    async def run(self) -> None:
        async with background_tasks(self._tune):
            await self._fill()

    # -- the first connection -------------------------------------------------------------------------

    async def _fill(self) -> None:
        """
        Fetch the missing part from the beginning on.

        Absorb the segments that other connections have filled.
        """
        while self._upload.received < self._request.expected.size:
            if self._upload.received >= self._into.until:
                await self._segments.absorb()
                continue
            async with self._shared.slots.first():
                await self._fetch_rest()

    async def _fetch_rest(self) -> None:
        with ExitStack() as counted:

            def on_response(response: aiohttp.ClientResponse) -> None:
                self._accepts_ranges = accepts_ranges(response)
                counted.enter_context(self._counted())

            await self._shared.single.rest(self._request, self._into, on_response)

    # -- further ones ---------------------------------------------------------------------------------

    async def _tune(self) -> None:
        async with create_task_group() as group:
            while True:
                await anyio.sleep(self._shared.policy.settle_seconds / 10)
                self._adjust(group)

    def _adjust(self, group: TaskGroup) -> None:
        """Open one more connection if that pays, or close the last one if it did not."""
        missing = next_range(self._gaps())
        advice = self._tuner.advise(anyio.current_time(), self._received(), self._connections, missing.size)
        if advice is Advice.FEWER and self._further:
            log.debug("%s: one more connection is not faster", display_url(self._request.url))
            self._shared.host_limits.note(self._request.url, self._tuner.most)
            self._further.pop().cancel()
        elif advice is Advice.MORE and self._try_reserve(missing):
            group.start_soon(self._fetch_range, missing)

    def _try_reserve(self, missing: ByteRange) -> bool:
        return (
            self._accepts_ranges
            and self._opening is None
            and self._failures < MOST_FAILURES
            and self._shared.slots.has_room
            and self._segments.try_reserve(missing.size)
        )

    async def _fetch_range(self, missing: ByteRange) -> None:
        """Fetch a range of the file, or as much of it as the host sends."""
        with self._shared.slots.further() as scope:
            self._opening = scope
            try:
                await self._receive(missing, scope)
            except (PermanentError, TransientError) as error:
                self._failures += 1
                self._shared.sender.traffic.errors["files"] += 1
                if isinstance(error, RangeMismatch):
                    self._tuner.most = 1
                    self._shared.host_limits.note(self._request.url, 1)
                log.debug("one more connection failed: %s", error)
            finally:
                self._opened(scope)
        if scope.cancelled_caught:
            self._tuner.preempted(self._connections)

    async def _receive(self, missing: ByteRange, scope: CancelScope) -> None:
        request, single, validator = self._request, self._shared.single, self._upload.validator
        async with single.range_response(request, missing.offset, missing.until, validator) as (
            response,
            end,
        ):
            self._opened(scope)
            # While this one was opened, the first may have reached this range, or restarted with another
            # version.
            is_same = self._upload.validator == validator
            segment = self._segments.divide(missing.offset) if is_same else None
            if segment is None:
                return
            self._further.append(scope)
            with self._counted():  # until its segment is free for the connection that replaces it
                try:
                    await single.pour(response, segment, end, request.expected.size)
                finally:
                    if scope in self._further:
                        self._further.remove(scope)
                    await segment.release()

    def _opened(self, scope: CancelScope) -> None:
        if self._opening is scope:
            self._opening = None

    # -- what is here ---------------------------------------------------------------------------------

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a connection while it receives bytes."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        self._tuner.changed(anyio.current_time(), self._received(), self._connections)

    def _received(self) -> int:
        return self._request.expected.size - sum(gap.size for gap in self._gaps())

    def _gaps(self) -> list[ByteRange]:
        received = self._upload.received
        first = ByteRange(received, max(self._into.until, received), is_filling=True)
        further = (ByteRange(each.offset, each.until, each.is_filling) for each in self._segments)
        return [first, *further]
