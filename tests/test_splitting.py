"""One file over several connections: when, which part of it, whether it was worth it, what may go wrong."""

from __future__ import annotations

import functools
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest
from aiohttp import web
from yarl import URL

from harvester.client import Client
from harvester.client.download.segment_policy import (
    Advice,
    ByteRange,
    SegmentPolicy,
    SegmentTuner,
    next_range,
)
from harvester.client.download.slots import ConnectionSlots
from harvester.errors import ChecksumMismatch
from harvester.figshare.downloads import DownloadRoutes
from harvester.models import ItemId, ItemKey, PendingFile, RemoteFile
from harvester.sandbox import FAULTS, Sandbox, Settings
from harvester.storage.local.store import Store
from tests.support.http import client, served
from tests.support.stores import download
from tests.support.waiting import side_by_side, until

pytestmark = pytest.mark.anyio

MB = 1_000_000
QUICK = SegmentPolicy(
    connections=8, connections_per_file=4, min_size=MB,
    settle_seconds=0.25, worth_seconds=0.3, replace_seconds=0.2,
)  # fmt: skip

# -- when it is worth it: arithmetic --------------------------------------------------------------


def test_half_of_a_connections_range_goes_to_another() -> None:
    assert ByteRange(100, 200, is_filling=True).for_another() == ByteRange(150, 200, is_filling=False)
    assert ByteRange(100, 200, is_filling=False).for_another() == ByteRange(100, 200, is_filling=False), (
        "all of it"
    )


def test_a_new_connection_takes_the_largest_possible_range() -> None:
    gaps = [
        ByteRange(0, 30, is_filling=True),
        ByteRange(50, 90, is_filling=True),
        ByteRange(95, 100, is_filling=False),
    ]
    assert next_range(gaps) == ByteRange(70, 90, is_filling=False)
    gaps.append(ByteRange(200, 225, is_filling=False))
    assert next_range(gaps) == gaps[-1], "the gap without a connection, though it is not the widest"


DEFAULT_POLICY = SegmentPolicy()
EACH = 10 * MB
"""What a connection brings in a second."""
LONG = 100 * EACH


class TunedFile:
    """The tuner of a file under a clock of its own: one connection is active when it begins."""

    def __init__(self, policy: SegmentPolicy = DEFAULT_POLICY, most: int = 4) -> None:
        self.tuner = SegmentTuner(policy, most)
        self.now, self.come, self.connections = 0.0, 0, 1
        self.tuner.changed(0.0, 0, 1)

    def changes(self, by: int) -> None:
        self.connections += by
        self.tuner.changed(self.now, self.come, self.connections)

    def look(self, part: int = LONG) -> Advice:
        return self.tuner.advise(self.now, self.come, self.connections, part)

    def after(self, seconds: float, come: float, part: int = LONG) -> Advice:
        """Receive this number of bytes in this number of seconds, and look."""
        self.now += seconds
        self.come += round(come)
        return self.look(part)

    def measured(self) -> TunedFile:
        """Let the first connection bring what it can for two seconds."""
        assert self.after(1, EACH) is Advice.STAY
        assert self.after(1, EACH) is Advice.MORE
        return self

    def grown(self, connections: int) -> TunedFile:
        """Open this number of connections, each worth it; nothing was measured after the last."""
        self.measured()
        while self.connections < connections:
            self.changes(+1)
            self.after(1, self.connections * EACH)
        return self


def test_a_rate_is_known_when_two_measurements_agree() -> None:
    file = TunedFile()
    assert file.after(0.9, 9 * MB) is Advice.STAY
    assert file.after(0.1, 1 * MB) is Advice.STAY, "one second"
    assert file.after(0.9, 9 * MB) is Advice.STAY
    assert file.after(0.1, 1 * MB) is Advice.MORE


def test_rates_are_not_compared_during_slow_start() -> None:
    file = TunedFile()
    for come in (0.5 * MB, 7 * MB, 10 * MB):
        assert file.after(1, come) is Advice.STAY
    assert file.after(1, 10 * MB) is Advice.MORE


@pytest.mark.parametrize(("part", "advice"), [(20 * MB, Advice.MORE), (20 * MB - 1, Advice.STAY)])
def test_a_nearly_finished_file_gets_no_further_connection(part: int, advice: Advice) -> None:
    file = TunedFile()
    file.after(1, EACH)
    assert file.after(1, EACH, part) is advice, "two seconds for one connection"


def test_a_stalled_file_gets_no_further_connection() -> None:
    file = TunedFile()
    file.after(1, EACH)
    assert [file.after(1, 0) for _ in range(3)] == [Advice.STAY] * 3


def test_connections_are_added_while_each_pays_up_to_the_limit() -> None:
    file = TunedFile().measured()
    for connections, advice in ((2, Advice.MORE), (3, Advice.MORE), (4, Advice.STAY)):
        file.changes(+1)
        assert file.after(1, connections * EACH) is advice
    assert file.now == 5
    assert file.after(9, 9 * 4 * EACH) is Advice.STAY


@pytest.mark.parametrize(("gained", "advice"), [(1.24, Advice.FEWER), (1.25, Advice.MORE)])
def test_a_connection_that_does_not_pay_is_closed(gained: float, advice: Advice) -> None:
    file = TunedFile().measured()
    file.changes(+1)
    assert file.after(0.9, 9 * MB) is Advice.STAY, "it has only started"
    assert file.after(0.1, 1 * MB) is Advice.STAY, "its first second is not held against it"
    assert file.after(1, gained * EACH) is advice
    assert file.tuner.most == (1 if advice is Advice.FEWER else 4)


def test_a_distant_connection_is_judged_after_slow_start() -> None:
    """A round trip takes 200 ms, a file's window begins with 14 kB and doubles with each of them."""
    file = TunedFile().measured()
    file.changes(+1)
    assert file.after(1, EACH + 0.5 * MB) is Advice.STAY
    assert file.after(1, EACH + 7 * MB) is Advice.MORE


def test_after_a_connection_that_did_not_pay_no_more_are_tried() -> None:
    file = TunedFile().measured()
    file.changes(+1)
    assert [file.after(1, EACH) for _ in range(2)] == [Advice.STAY, Advice.FEWER]
    file.changes(-1)
    assert [file.after(1, EACH) for _ in range(5)] == [Advice.STAY] * 5


def test_the_fourth_connection_pays_with_half_of_its_possible_gain() -> None:
    assert DEFAULT_POLICY.pays(30, 35, connections=4)
    assert not DEFAULT_POLICY.pays(30, 34, connections=4)


def test_a_connection_that_ended_early_is_not_judged() -> None:
    file = TunedFile().measured()
    file.changes(+1)
    file.after(0.9, 9 * MB)
    file.changes(-1)
    assert [file.after(1, EACH) for _ in range(2)] == [Advice.STAY, Advice.MORE]
    assert file.tuner.most == 4


def test_a_restarted_file_is_measured_again() -> None:
    file = TunedFile().measured()
    file.changes(+1)
    file.come = 0
    assert file.after(1, 0) is Advice.STAY
    assert file.tuner.most == 4


def test_a_finished_connection_is_replaced_if_that_number_has_paid() -> None:
    file = TunedFile().grown(3)
    assert file.look() is Advice.STAY
    file.changes(-1)
    assert file.look() is Advice.MORE
    file.changes(-1)
    assert file.after(0.1, MB) is Advice.MORE
    file.changes(+1)
    assert file.look() is Advice.MORE, "one is still missing"
    file.changes(+1)
    assert file.look() is Advice.STAY


@pytest.mark.parametrize(("part", "advice"), [(10 * MB, Advice.MORE), (10 * MB - 1, Advice.STAY)])
def test_a_connection_is_replaced_for_at_least_a_second_of_work(part: int, advice: Advice) -> None:
    file = TunedFile().grown(3)
    file.changes(-1)
    assert file.look(part) is advice


def test_a_connection_on_trial_is_not_replaced() -> None:
    file = TunedFile().grown(2)
    file.changes(+1)
    file.changes(-1)
    assert file.look() is Advice.STAY


def test_a_replacement_is_not_judged() -> None:
    file = TunedFile(most=3).grown(3)
    file.changes(-1)
    file.after(1, 2 * EACH)
    file.changes(+1)
    assert [file.after(1, 2 * EACH) for _ in range(5)] == [Advice.STAY] * 5
    assert file.tuner.most == 3


def test_after_a_replacement_the_next_trial_has_a_new_reference_rate() -> None:
    file = TunedFile().grown(3)
    file.changes(-1)
    file.changes(+1)
    assert [file.after(1, 3 * EACH) for _ in range(2)] == [Advice.STAY, Advice.MORE]
    file.changes(+1)
    assert [file.after(1, 3 * EACH) for _ in range(2)] == [Advice.STAY, Advice.FEWER]
    file.changes(-1)
    assert file.look() is Advice.STAY, "that was the one too many"
    file.changes(-1)
    assert file.look() is Advice.MORE


def test_a_connection_beyond_the_limit_is_not_judged() -> None:
    """The first one may come back to a gap that a failure left, when it has been replaced."""
    file = TunedFile(most=2).grown(2)
    file.after(1, 2 * EACH)
    file.changes(+1)
    assert [file.after(1, 2 * EACH) for _ in range(3)] == [Advice.STAY] * 3
    assert file.tuner.most == 2


def test_a_host_without_ranges_gets_no_replacement() -> None:
    file = TunedFile().grown(3)
    file.tuner.most = 1
    file.changes(-1)
    assert [file.after(1, 2 * EACH) for _ in range(3)] == [Advice.STAY] * 3


def test_a_preempted_connection_is_not_replaced_but_tried_again() -> None:
    file = TunedFile().grown(3)
    file.changes(-1)
    file.tuner.preempted(2)
    assert file.look() is Advice.STAY
    assert [file.after(1, 2 * EACH) for _ in range(2)] == [Advice.STAY, Advice.MORE]


def test_without_an_active_connection_none_is_replaced() -> None:
    file = TunedFile().grown(2)
    file.changes(-2)
    assert [file.after(1, 0) for _ in range(3)] == [Advice.STAY] * 3


async def test_an_additional_connection_is_preempted_by_another_file() -> None:
    slots = ConnectionSlots(2)
    ended = anyio.Event()

    async def bring() -> None:
        with slots.further() as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        ended.set()

    async with anyio.create_task_group() as group, slots.first():
        assert slots.has_room
        group.start_soon(bring)
        await anyio.sleep(0)
        assert not slots.has_room
        async with slots.first():
            with anyio.fail_after(1):
                await ended.wait()
        assert slots.has_room


async def test_no_more_files_are_fetched_at_once_than_connections() -> None:
    slots = ConnectionSlots(2)
    coming, most = 0, 0

    async def bring() -> None:
        nonlocal coming, most
        async with slots.first():
            coming += 1
            most = max(most, coming)
            await anyio.sleep(0.01)
            coming -= 1

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(bring)
    assert most == 2
    assert slots.has_room


# -- over sockets ---------------------------------------------------------------------------------


@dataclass
class Reply:
    """What is answered; ``cut_after``: bytes until the connection is cut."""

    begin: int
    end: int
    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None


@dataclass
class Storage:
    """
    One file, sent at a number of bytes a second for each connection, and for all of them together.

    ``first_rate``: of the first connection instead. ``twist``: what becomes of the answers to further
    connections. ``asked``: the Range headers that came, "" for none. ``sent``: the bytes that went out.
    """

    content: bytes
    connection_rate: float = 1.5 * MB
    total_rate: float = float("inf")
    first_rate: float | None = None
    etag: str = '"one"'
    has_ranges: bool = True
    twist: Callable[[Reply], None] = lambda _: None
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    open: int = 0
    most_open: int = 0
    free_at: float = 0.0

    @property
    def md5(self) -> str:
        return hashlib.md5(self.content).hexdigest()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Range", ""))
        reply = self.reply(request)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = len(reply.body)
        await response.prepare(request)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self.send(response, reply.body[: reply.cut_after])
        except ConnectionError:
            pass  # it has enough
        finally:
            self.open -= 1
        if reply.cut_after is not None and request.transport is not None:
            request.transport.abort()
        return response

    def reply(self, request: web.Request) -> Reply:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        size = len(self.content)
        headers = {"ETag": self.etag, **({"Accept-Ranges": "bytes"} if self.has_ranges else {})}
        if wanted is None or not self.has_ranges or request.headers.get("If-Range", self.etag) != self.etag:
            return Reply(0, size, 200, headers, self.content)
        begin, end = int(wanted[1]), int(wanted[2] or size - 1) + 1
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        reply = Reply(begin, end, 206, headers, self.content[begin:end])
        if wanted[2]:
            self.twist(reply)
        return reply

    async def send(self, response: web.StreamResponse, body: bytes) -> None:
        began, step = time.monotonic(), 15_000
        rate = self.first_rate if self.first_rate and len(self.asked) == 1 else self.connection_rate
        for place in range(0, len(body), step):
            part = body[place : place + step]
            await response.write(part)
            self.sent += len(part)
            now = time.monotonic()
            self.free_at = max(self.free_at, now) + len(part) / self.total_rate
            await anyio.sleep(max(began + (place + len(part)) / rate, self.free_at) - now)


@dataclass
class Downloads:
    """Fetches the one file of a storage into a folder, as the program does."""

    routes: DownloadRoutes
    client: Client
    address: str
    folder: Path

    async def fetch(self, storage: Storage, *, store: Store | None = None, file_id: int = 1) -> None:
        file = RemoteFile(
            file_id, "x.bin", "", len(storage.content), storage.md5, self.address, is_link=False
        )
        pending = PendingFile(1, ItemId(5), file, f"files/5/{file_id}", False, ItemKey(5))
        await download(self.routes, store or Store(self.folder), pending)
        assert (self.folder / f"files/5/{file_id}").read_bytes() == storage.content
        assert not list((self.folder / ".partial").iterdir())


@asynccontextmanager
async def downloads(
    storage: Storage, folder: Path, policy: SegmentPolicy = QUICK, attempts: int = 6
) -> AsyncIterator[Downloads]:
    async def nothing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    async with (
        served(storage.handle) as address,
        served(nothing) as api,
        client(api, attempts=attempts, segment_policy=policy) as made,
    ):
        yield Downloads(DownloadRoutes(made, api=api), made, str(address / "f"), folder)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def pieces_in(folder: Path) -> list[Path]:
    return sorted((folder / ".partial").glob("*@*.part"))


def spans(asked: list[str]) -> list[tuple[int, int | None]]:
    found = [re.fullmatch(r"bytes=(\d+)-(\d*)", each) for each in asked if each]
    return [(int(each[1]), int(each[2]) + 1 if each[2] else None) for each in found if each]


async def test_with_slow_connections_a_big_file_uses_four(tmp_path: Path) -> None:
    storage = Storage(content(9 * MB))
    async with downloads(storage, tmp_path) as made:
        began = time.monotonic()
        await made.fetch(storage)
        passed = time.monotonic() - began
        assert storage.most_open == 4
        assert passed < 3.5, "over one connection it takes 6 seconds"
        assert storage.asked[0] == ""
        assert made.client.traffic.requests["files"] == len(storage.asked), "each is counted"
        assert made.client.traffic.errors["files"] == 0
        assert storage.sent < 9 * MB + MB // 2, "hardly anything came twice"


def uneven(size: int, twist: Callable[[Reply], None] = lambda _: None) -> Storage:
    """A file whose first connection is slow: the others have brought their parts long before it has."""
    return Storage(content(size), connection_rate=2.0 * MB, first_rate=0.5 * MB, twist=twist)


async def test_a_connection_that_has_fetched_its_range_is_replaced(tmp_path: Path) -> None:
    policies = {"never": replace(QUICK, replace_seconds=60), "replaced": QUICK}
    storages = {name: uneven(9 * MB) for name in policies}
    taken: dict[str, float] = {}

    async def fetch(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        async with downloads(storages[name], folder, policies[name]) as made:
            began = time.monotonic()
            await made.fetch(storages[name])
            taken[name] = time.monotonic() - began
            assert storages[name].most_open <= 4
            assert made.client.traffic.errors["files"] == 0

    await side_by_side(policies, fetch)
    assert taken["replaced"] < 0.9 * taken["never"], "and so it is faster"
    storage = storages["replaced"]
    assert len(storage.asked) <= 12, "each part is half of what was missing, down to what is worth a request"
    assert storage.sent < 10 * MB


async def test_the_first_cut_connection_is_replaced_and_the_second_is_not(tmp_path: Path) -> None:
    cuts = [800_000, 200_000]

    def twist(reply: Reply) -> None:
        if cuts:
            reply.cut_after = cuts.pop(0)

    storage = Storage(content(4 * MB), twist=twist)
    async with downloads(storage, tmp_path, replace(QUICK, connections_per_file=2), attempts=1) as made:
        await made.fetch(storage)
        begins = [begin for begin, _ in spans(storage.asked)]
        assert begins == [begins[0], begins[0] + 800_000, begins[0] + 1_000_000]
        assert made.client.traffic.errors["files"] == 2


async def test_a_host_that_stops_serving_ranges_gets_no_replacement(tmp_path: Path) -> None:
    parts: list[Reply] = []

    def twist(reply: Reply) -> None:
        parts.append(reply)
        if len(parts) == 4:
            other_etag(reply)

    storage = uneven(6 * MB, twist)
    async with downloads(storage, tmp_path) as made:
        await made.fetch(storage)
        assert len(storage.asked) == 5, "the file's own, three parts, and the one that was refused"
        storage.asked.clear()
        storage.first_rate = 20.0 * MB
        await made.fetch(storage, file_id=2)
        assert storage.asked == [""]


async def test_with_a_shared_bandwidth_limit_one_connection_is_left(tmp_path: Path) -> None:
    # Long windows, and a gain of half as much again: a machine that is busy with other tests holds
    # the server up for tens of milliseconds, which must not look like what a second connection brings.
    policy = replace(QUICK, settle_seconds=0.6, min_gain=1.5)
    storage = Storage(content(3_400_000), connection_rate=float("inf"), total_rate=1.0 * MB)
    async with downloads(storage, tmp_path, policy) as made:
        await made.fetch(storage)
        assert storage.most_open == 2
        assert len(storage.asked) == 3, (
            "one, the one that was not worth it, and the rest of what that one left"
        )
        assert storage.sent < 4 * MB
        storage.asked.clear()
        storage.content = content(2_100_000)  # a second is left when its rate is known
        await made.fetch(storage, file_id=2)
        assert storage.asked == [""], "it is known now"


async def test_a_server_without_ranges_is_requested_once(tmp_path: Path) -> None:
    storage = Storage(content(2 * MB), has_ranges=False)
    async with downloads(storage, tmp_path) as made:
        await made.fetch(storage)
        assert storage.asked == [""]


async def test_any_other_file_uses_one_connection(tmp_path: Path) -> None:
    policies = {
        "none is free": replace(QUICK, connections=1),
        "a small file": replace(QUICK, min_size=99 * MB),
        "soon here": replace(QUICK, worth_seconds=60),
    }

    async def claim(case: str) -> None:
        storage, folder = Storage(content(2 * MB)), tmp_path / case
        folder.mkdir()
        async with downloads(storage, folder, policies[case]) as made:
            await made.fetch(storage)
            assert storage.asked == [""]

    await side_by_side(policies, claim)


async def test_without_space_for_two_copies_of_a_segment_a_file_uses_one_connection(tmp_path: Path) -> None:
    async def claim(case: str) -> None:
        size, free = {"too little": (2 * MB, 2 * MB + MB // 10), "enough": (3 * MB, 9 * MB // 2)}[case]
        storage, folder = Storage(content(size)), tmp_path / case
        folder.mkdir()
        store = Store(folder, free_bytes=lambda _: free)
        async with downloads(storage, folder) as made:
            await made.fetch(storage, store=store)
        if case == "too little":
            assert storage.asked == [""]
        else:
            assert spans(storage.asked), "part of it came over another connection"
            with store.space.reserve(lambda: free):
                pass  # all of it was given back

    await side_by_side(["too little", "enough"], claim)


def whole(reply: Reply) -> None:
    reply.status, reply.body = 200, bytes(len(reply.body))
    del reply.headers["Content-Range"]


def other_part(reply: Reply) -> None:
    reply.headers["Content-Range"] = reply.headers["Content-Range"].replace(f" {reply.begin}-", " 5-")


def other_total(reply: Reply) -> None:
    reply.headers["Content-Range"] = reply.headers["Content-Range"].partition("/")[0] + "/99"


def other_etag(reply: Reply) -> None:
    reply.headers["ETag"] = '"two"'


TWISTS = {each.__name__: each for each in (whole, other_part, other_total, other_etag)}


async def test_a_route_with_mismatching_ranges_is_not_requested_for_ranges_again(tmp_path: Path) -> None:
    async def claim(case: str) -> None:
        storage, folder = Storage(content(3 * MB), twist=TWISTS[case]), tmp_path / case
        folder.mkdir()
        async with downloads(storage, folder) as made:
            await made.fetch(storage)
            assert len(storage.asked) == 2
            assert made.client.traffic.errors["files"] == 1
            storage.asked.clear()
            await made.fetch(storage, file_id=2)
            assert storage.asked == [""]

    await side_by_side(TWISTS, claim)


def status(number: int, **headers: str) -> Callable[[Reply], None]:
    def twist(reply: Reply) -> None:
        reply.status, reply.headers, reply.body = number, headers, b""

    return twist


async def test_an_error_of_an_additional_connection_does_not_fail_the_file(tmp_path: Path) -> None:
    async def claim(number: str) -> None:
        storage = Storage(content(3 * MB), twist=status(int(number), **{"Retry-After": "0"}))
        folder = tmp_path / number
        folder.mkdir()
        async with downloads(storage, folder, attempts=1) as made:
            await made.fetch(storage)
            assert 2 <= len(storage.asked) <= 3, "two without luck are enough"

    await side_by_side(["202", "403", "404", "416", "429", "500"], claim)


async def test_a_cut_segment_is_kept_and_the_rest_requested(tmp_path: Path) -> None:
    cut: list[int] = []

    def twist(reply: Reply) -> None:
        if not cut:
            cut.append(reply.begin)
            reply.cut_after = 400_000

    storage = Storage(content(4 * MB), twist=twist)
    async with downloads(storage, tmp_path, attempts=1) as made:
        await made.fetch(storage)
        assert any(begin == cut[0] + 400_000 for begin, _ in spans(storage.asked)), storage.asked
        assert storage.sent < 4 * MB + MB // 2


async def test_a_cut_of_the_first_connection_keeps_the_segments_of_the_others(tmp_path: Path) -> None:
    storage = Storage(content(5 * MB))
    original, cut = storage.send, anyio.Event()

    async def send(response: web.StreamResponse, body: bytes) -> None:
        if cut.is_set() or len(body) < len(storage.content):
            return await original(response, body)
        cut.set()
        await original(response, body[:1_500_000])
        raise ConnectionResetError

    storage.send = send  # type: ignore[method-assign]  # a storage of its own kind
    async with downloads(storage, tmp_path, attempts=2) as made:
        await made.fetch(storage)
        again = [begin for begin, _ in spans(storage.asked) if 1_000_000 < begin < 2_000_000]
        assert again, "it goes on where the first one was cut"
        assert storage.sent < 6 * MB


async def test_corrupt_bytes_in_a_segment_discard_the_whole_file(tmp_path: Path) -> None:
    spoilt: list[int] = []

    def twist(reply: Reply) -> None:
        if not spoilt:
            spoilt.append(reply.begin)
            reply.body = bytes(len(reply.body))
            storage.connection_rate = 20.0 * MB  # from here on: how fast it comes again is no matter

    storage = Storage(content(3 * MB), twist=twist)
    async with downloads(storage, tmp_path, attempts=2) as made:
        await made.fetch(storage)
        assert spoilt
        assert storage.asked.count("") == 2, "fetched again, as a whole"
        assert made.client.traffic.errors["files"] == 2, "of them the api's, which does not know the file"


async def test_after_wrong_bytes_over_several_connections_the_next_try_uses_one(tmp_path: Path) -> None:
    storage = Storage(content(3 * MB), twist=lambda reply: setattr(reply, "body", bytes(len(reply.body))))
    async with downloads(storage, tmp_path, attempts=2) as made:
        await made.fetch(storage)
    assert len(storage.asked) > 2
    assert storage.asked[-1] == "", "from the first byte on, and no part besides"


async def test_a_file_that_is_corrupt_twice_is_corrupt_on_the_server(tmp_path: Path) -> None:
    storage = Storage(content(2 * MB))
    async with downloads(storage, tmp_path, replace(QUICK, connections_per_file=2)) as made:
        right, storage.content = storage.content, bytes(2 * MB)
        file = RemoteFile(1, "x", "", 2 * MB, hashlib.md5(right).hexdigest(), made.address, is_link=False)
        with pytest.raises(ChecksumMismatch):
            await download(
                made.routes, Store(tmp_path), PendingFile(1, ItemId(5), file, "files/5/1", False, ItemKey(5))
            )
    assert storage.asked.count("") == 2
    assert not list((tmp_path / ".partial").iterdir())
    assert not (tmp_path / "files").exists()


async def test_a_range_shorter_than_requested_is_used_and_continued(tmp_path: Path) -> None:
    def short(reply: Reply) -> None:
        reply.end = reply.begin + (reply.end - reply.begin + 1) // 2
        reply.body = reply.body[: reply.end - reply.begin]
        reply.headers["Content-Range"] = f"bytes {reply.begin}-{reply.end - 1}/{4 * MB}"

    storage = Storage(content(4 * MB), twist=short)
    async with downloads(storage, tmp_path, attempts=1) as made:
        await made.fetch(storage)
        assert made.client.traffic.errors["files"] == 0
    assert len(storage.asked) > 2
    assert storage.sent < 5 * MB


async def test_a_file_that_changes_during_the_download_is_restarted(tmp_path: Path) -> None:
    """The first connection is cut, and what it goes on with is another version: so are all pieces."""
    storage = Storage(content(3_500_000))
    new = random.Random(99).randbytes(3_500_000)
    original, done = storage.send, anyio.Event()

    async def send(response: web.StreamResponse, body: bytes) -> None:
        if done.is_set() or len(body) < len(storage.content):
            return await original(response, body)
        await original(response, body[:1_500_000])
        assert spans(storage.asked), "another one is at it"
        done.set()
        storage.content, storage.etag = new, '"two"'
        storage.connection_rate = 20.0 * MB  # how fast that comes is no matter
        raise ConnectionResetError

    storage.send = send  # type: ignore[method-assign]  # a storage of its own kind
    md5 = hashlib.md5(new).hexdigest()
    async with downloads(storage, tmp_path) as made:
        file = RemoteFile(1, "x.bin", "", len(new), md5, made.address, is_link=False)
        await download(
            made.routes, Store(tmp_path), PendingFile(1, ItemId(5), file, "files/5/1", False, ItemKey(5))
        )
    assert (tmp_path / "files/5/1").read_bytes() == new
    assert not list((tmp_path / ".partial").iterdir())


async def test_the_bytes_of_an_interrupted_download_are_not_requested_again(tmp_path: Path) -> None:
    storage = Storage(content(7 * MB))
    async with downloads(storage, tmp_path) as made:
        with anyio.move_on_after(1.3):
            await made.fetch(storage)
        held = {piece: piece.stat().st_size for piece in pieces_in(tmp_path)}
        assert sum(held.values()) > MB // 2
        (main,) = set((tmp_path / ".partial").iterdir()) - set(held)
        here = [(0, main.stat().st_size)]
        here += [(int(re.findall(r"@(\d+)", piece.name)[0]), size) for piece, size in held.items()]
        assert storage.sent - sum(size for _, size in here) < MB // 2
        storage.asked.clear()
        await made.fetch(storage)
        assert storage.sent < 7 * MB + MB
        for begin, end in spans(storage.asked):
            for at, size in here:
                assert not at <= begin < at + size, "it is here"
                assert not begin < at < (end or 7 * MB), "another connection has that"


async def test_a_queued_file_has_priority_over_an_additional_connection(tmp_path: Path) -> None:
    storage = Storage(content(3 * MB))
    async with downloads(storage, tmp_path, replace(QUICK, connections=2)) as made:

        async def one(file_id: int) -> None:
            size, md5 = len(storage.content), storage.md5
            file = RemoteFile(file_id, "x", "", size, md5, made.address, is_link=False)
            pending = PendingFile(1, ItemId(5), file, f"files/5/{file_id}", False, ItemKey(5))
            await download(made.routes, store, pending)

        store = Store(tmp_path)
        async with anyio.create_task_group() as group:
            group.start_soon(one, 1)
            await until(lambda: storage.open == 2)
            group.start_soon(one, 2)
            await until(lambda: len(storage.asked) == 3)
            await until(lambda: storage.open == 2)
    for file_id in (1, 2):
        assert (tmp_path / f"files/5/{file_id}").read_bytes() == storage.content


async def test_small_files_do_not_make_a_big_one_reconnect_repeatedly(tmp_path: Path) -> None:
    """Between two of them a connection is free, for a moment only."""
    storage, small = Storage(content(5 * MB)), Storage(content(50_000))
    async with (
        downloads(storage, tmp_path, replace(QUICK, connections=2)) as made,
        served(small.handle) as at,
    ):
        others = Downloads(made.routes, made.client, str(at / "s"), tmp_path / "small")
        others.folder.mkdir()
        async with anyio.create_task_group() as group:
            group.start_soon(made.fetch, storage)
            await until(lambda: (storage.open, len(storage.asked)) == (2, 2))
            began = time.monotonic()
            for number in range(20):
                await others.fetch(small, file_id=number)
                await anyio.sleep(0.03)
            tries = (time.monotonic() - began) / (2 * QUICK.settle_seconds)
            assert len(storage.asked) <= 4 + tries < 20


async def from_sandbox(settings: Settings, folder: Path) -> Sandbox:
    """Download the sandbox's big file in parts, and compare it."""
    async with Sandbox(settings) as sandbox:
        (item,) = sandbox.world.with_trait("heavy")
        found = sandbox.world.files(item)[0]
        waits = functools.partial(anyio.sleep, 0.03)  # for a port that is shut for a moment
        async with client(
            URL(sandbox.api), segment_policy=QUICK, attempts=20, wait=lambda _: waits()
        ) as made:
            routes = DownloadRoutes(made, api=URL(sandbox.api))
            size, md5, url = found["size"], found["computed_md5"], found["download_url"]
            file = RemoteFile(found["id"], "x", "", size, md5, url, is_link=False)
            await download(
                routes, Store(folder), PendingFile(1, ItemId(item), file, "files/x", False, ItemKey(item))
            )
        assert (folder / "files/x").read_bytes() == sandbox.world.content(found["id"])
        assert not list((folder / ".partial").iterdir())
        return sandbox


async def test_each_range_is_requested_from_figshares_address(tmp_path: Path) -> None:
    settings = Settings(items=30, heavy=1, heavy_size=6 * MB, connection_rate=1.5 * MB, signed_seconds=1)
    sandbox = await from_sandbox(settings, tmp_path)
    assert len(sandbox.requests_to("files")) == len(sandbox.requests_to("storage")) >= 4


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (1, 2, 3))])
async def test_a_file_is_correct_after_random_network_errors(seed: int, tmp_path: Path) -> None:
    faults = dict.fromkeys(FAULTS.keys() - {each for each in FAULTS if each.startswith("always-")}, 0.03)
    settings = Settings(
        items=30, seed=seed, heavy=1, heavy_size=4 * MB, connection_rate=2.0 * MB,
        faults=faults, max_per_address=6, stall_seconds=3,
    )  # fmt: skip
    sandbox = await from_sandbox(settings, tmp_path)
    assert any(seen.fault for seen in sandbox.requests)
