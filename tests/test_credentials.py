"""A refused token is reported as one, a missing right is not; the same for statistics credentials."""

from __future__ import annotations

import csv
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from yarl import URL

from harvester.client.responses import error_for_status
from harvester.config.secrets import Secret
from harvester.errors import (
    DoubtfulResponse,
    Forbidden,
    NotFound,
    PermanentError,
    TokenRejected,
    UnprovenNotFound,
)
from harvester.sandbox import Sandbox, Settings
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.program import Ended, at, environment, harvester

pytestmark = pytest.mark.anyio

SMALL = Settings(items=8, private_items=4, heavy=0)
ONE_AT_A_TIME = ("--workers", "1", "--tasks", "metadata")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refused(status: int = 403) -> web.Response:
    return web.json_response(
        {"message": "Unauthorized request", "code": "Forbidden", "data": None}, status=status
    )


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def problems(ended: Ended) -> list[str]:
    return [line for line in ended.err.splitlines() if line.startswith("harvester: ")]


def with_token(sandbox: Sandbox) -> list[tuple[str, int]]:
    """What was asked with a token, and the status of the answer."""
    return [(seen.path, seen.status) for seen in sandbox.requests if "Authorization" in seen.headers]


# -- the token --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "source"),
    [
        (401, ("--account",)),
        (403, ("--institution-items",)),
        (403, ("--group", "11962", "--subgroups")),
        (403, ("--items", "ids.txt")),
        pytest.param(403, ("--account",), marks=pytest.mark.nightly),
        pytest.param(401, ("--institution-items",), marks=pytest.mark.nightly),
        pytest.param(401, ("--group", "11962", "--subgroups"), marks=pytest.mark.nightly),
        pytest.param(401, ("--items", "ids.txt"), marks=pytest.mark.nightly),
    ],
)
async def test_a_bad_token_ends_the_run_with_one_line_and_is_not_sent_again(
    status: int, source: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "ids.txt").write_text("9000000001\n")
    async with Sandbox(Settings(items=20, bad_token_status=status)) as sandbox:
        ended = await harvester(
            "run",
            *source,
            *ONE_AT_A_TIME,
            *at(sandbox),
            cwd=tmp_path,
            env=environment(FIGSHARE_TOKEN="ENTER-TOKEN"),
        )
        asked = with_token(sandbox)
    assert ended.status == 3
    (line,) = problems(ended)
    assert "the token was refused (environment variable FIGSHARE_TOKEN)" in line
    assert "administrator" not in ended.err
    assert "ENTER-TOKEN" not in ended.err
    assert asked[-1] == ("/v2/account", status)
    assert len(asked) <= 2, "what was refused, and the account"


async def test_a_bad_token_is_reported_with_its_environment_variable(tmp_path: Path) -> None:
    async with Sandbox(SMALL) as sandbox:
        ended = await harvester(
            "plan",
            "--account",
            *at(sandbox),
            cwd=tmp_path,
            env=environment(HARVESTER_SERVICES_TOKEN_ENV="MY_TOKEN", MY_TOKEN="wrong"),
        )
    assert ended.status == 3
    assert "the token was refused (environment variable MY_TOKEN)" in ended.err


async def test_a_missing_right_is_reported_as_needing_an_administrators_token(
    tmp_path: Path,
) -> None:
    async with Sandbox(SMALL) as sandbox:
        env = environment(FIGSHARE_TOKEN=SMALL.plain_token)
        words = ("run", "--institution-items", *ONE_AT_A_TIME, *at(sandbox))
        ended = await harvester(*words, cwd=tmp_path, env=env)
        paths = [path for path, _ in with_token(sandbox)]
    assert ended.status == 1
    assert "an administrator's token is needed" in ended.err
    assert "the token was refused" not in ended.err
    assert paths.count("/v2/account") == 2, "whose it is, and whether it is good"


@pytest.mark.parametrize("lasts", [1, 4, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2, 7))])
async def test_a_token_that_expires_during_a_run_ends_it_and_replaces_no_record(
    lasts: int, tmp_path: Path
) -> None:
    words = ("run", "--account", *ONE_AT_A_TIME, "-o", tmp_path / "h")
    async with Sandbox(SMALL) as sandbox:
        whole = await harvester(*words, *at(sandbox))
        before = (tmp_path / "h" / "metadata.jsonl").read_bytes()
    async with Sandbox(replace(SMALL, token_lasts=lasts)) as sandbox:
        sandbox.world.edit(sandbox.world.public_ids[0])
        ended = await harvester(*words, "--refresh", "metadata", *at(sandbox))
        asked = with_token(sandbox)
    exported = await harvester("export", "-o", tmp_path / "h")
    assert (whole.status, ended.status, exported.status) == (0, 3, 0)
    assert "the token was refused" in problems(ended)[0]
    assert ("/v2/account", 403) in asked
    known = {row["id"]: row for row in map(orjson.loads, before.splitlines())}
    now = list(map(orjson.loads, (tmp_path / "h" / "metadata.jsonl").read_bytes().splitlines()))
    assert len(now) == len(known)
    assert all("account_id" in record for record in now), "none of them is the public's"


async def test_an_expired_token_does_not_fail_files_one_by_one(tmp_path: Path) -> None:
    """9 requests: the account, its listing, and 7 of the files and records that need the token."""
    settings = Settings(items=20, private_items=12, heavy=0, token_lasts=18)
    async with Sandbox(settings) as sandbox:
        words = ("run", "--account", "--workers", "1", "--tasks", "metadata,files", "-o", tmp_path / "h")
        ended = await harvester(*words, *at(sandbox))
        refusals = [path for path, status in with_token(sandbox) if status == 403]
    assert ended.status == 3
    assert "the token was refused" in problems(ended)[0]
    assert len(refusals) < 20, "those in flight, and the account"


def account_that_dies(lasts: int, denied: str) -> tuple[Answer, list[str]]:
    """An institution of 12 items whose token opens some records, but never one; and what is requested."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        asked.append(path)
        if path.endswith("institution/articles"):
            fresh = request.query.get("page", "1") == "1"
            return web.json_response([{"id": n, "title": "t"} for n in range(1, 13)] if fresh else [])
        records = sum("/account/articles/" in each for each in asked)
        if "/account" in path and (records > lasts or path.endswith(denied)):
            return refused()
        if "/articles/" in path:
            number = int(path.rsplit("/", 1)[1])
            return web.json_response({"id": number, "title": "t", "files": [], "modified_date": ""})
        return web.json_response({"id": 1})

    return answer, asked


async def test_a_token_that_expires_before_the_eighth_refusal_is_no_success(tmp_path: Path) -> None:
    answer, asked = account_that_dies(8, "/articles/2")
    async with served(answer) as address:
        words = ("run", "--institution-items", *ONE_AT_A_TIME, "--api", address, "-o", tmp_path / "h")
        ended = await harvester(*words, "--stats", address / "stats", "--rate", "inf", env=environment())
    assert ended.status == 3, ended.err
    assert "the token was refused" in problems(ended)[0]
    assert [path for path in asked if path.startswith("/articles/")] == ["/articles/2"], "no other stand-in"


# -- the check by itself ----------------------------------------------------------------------------


async def test_one_check_serves_all_refusals_until_eight_come_in_a_row() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return refused() if request.path == "/item" else web.json_response({"id": 1})

    async def ask(path: str) -> None:
        await polite.json("api", "GET", api / path, orjson.loads, authorised=True)

    async with served(answer) as api, client(api, token="t") as polite:
        for _ in range(8):
            with pytest.raises(Forbidden):
                await ask("item")
        assert asked.count("/account") == 1
        with pytest.raises(Forbidden):
            await ask("item")
        assert asked.count("/account") == 2
        for _ in range(20):  # a success in between says that the token is good
            with pytest.raises(Forbidden):
                await ask("item")
            await ask("fine")
        assert asked.count("/account") == 2


async def test_a_token_is_checked_again_only_after_a_last_refusal() -> None:
    asked: list[str] = []
    is_good = True

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({}) if is_good and request.path != "/item" else refused()

    async with served(answer) as api, client(api, token="t") as polite:
        for path in ("item", "item"):
            await polite.confirm_credentials()
            with pytest.raises(Forbidden):
                await polite.json("api", "GET", api / path, orjson.loads, authorised=True)
        await polite.confirm_credentials()
        await polite.confirm_credentials()
        assert asked == ["/item", "/account", "/item", "/account"]
        with pytest.raises(Forbidden):
            await polite.json("api", "GET", api / "item", orjson.loads, authorised=True)
        is_good = False
        with pytest.raises(TokenRejected):
            await polite.confirm_credentials()


async def test_a_refusal_is_doubtful_if_the_account_cannot_be_requested() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if request.path == "/account" else refused()

    async with served(answer) as api, client(api, token="t", attempts=2) as polite:
        polite.expect("api", api / "proof", lambda raw: raw)
        with pytest.raises(DoubtfulResponse, match="could not be checked"):
            await polite.json("api", "GET", api / "item", orjson.loads, authorised=True)


async def test_a_block_page_is_not_about_the_token() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=403, text="<html>")

    async with served(answer) as api, client(api, token="t", attempts=2) as polite:
        with pytest.raises(Exception, match="blocked"):
            await polite.json("stats", "GET", api / "item", orjson.loads, authorised=True)
    assert "/account" not in asked


@for_each(
    ("raw", "words"),
    [
        (b'{"error": "invalid_token"}', ": invalid_token"),
        (b'{"code": "Forbidden"}', ": Forbidden"),
        (b'{"message": "", "code": "Forbidden"}', ": Forbidden"),
        (b"{}", ""),
        (b'"Forbidden"', ": Forbidden"),
        (b"[]", ""),
        (b"null", ""),
    ],
)
@for_each("status", [401, 403])
def test_a_refusal_in_any_json_is_about_the_token(status: int, raw: bytes, words: str) -> None:
    error = error_for_status("x", status, {}, raw)
    assert (type(error), str(error)) == (Forbidden, f"x: refused ({status}){words}")
    assert type(error_for_status("x", 404, {}, raw)) is (NotFound if b"message" in raw else UnprovenNotFound)


async def test_a_refused_token_is_not_sent_again() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return refused(401)

    async with served(answer) as api, client(api, token="t") as polite:
        for path in ("item", "other"):
            with pytest.raises(TokenRejected):
                await polite.json("api", "GET", api / path, orjson.loads, authorised=True)
    assert asked == ["/item", "/account"]


# -- statistics -------------------------------------------------------------------------------------


async def statistics(sandbox: Sandbox, folder: Path, credentials: str, *more: object) -> Ended:
    """Harvest the statistics of an institution."""
    words = ("run", "--search", "survey", "--tasks", "stats", "-o", folder, "--workers", "1", *more)
    env = environment(HARVESTER_STATS_INSTITUTION="iastate", FIGSHARE_STATS=credentials)
    return await harvester(*words, *at(sandbox), env=env)


async def test_refused_statistics_credentials_end_the_run_at_once_and_are_reported_once(
    tmp_path: Path,
) -> None:
    async with Sandbox(SMALL) as sandbox:
        ended = await statistics(sandbox, tmp_path / "h", "sandbox:wrong")
        asked = len(sandbox.requests_to("stats"))
    assert (ended.status, asked) == (3, 1)
    (line,) = problems(ended)
    assert "the credentials for the statistics were refused (environment variable FIGSHARE_STATS)" in line


@pytest.mark.parametrize("last", [1, 9, pytest.param(2, marks=pytest.mark.nightly)])
async def test_statistics_credentials_that_expire_end_the_run(last: int, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0, credentials_last=last)) as sandbox:
        ended = await statistics(sandbox, tmp_path / "h", SMALL.stats_credentials)
        statuses = [seen.status for seen in sandbox.requests_to("stats")]
    assert ended.status == 3
    assert statuses == [200] * last + [403, 403], "what was refused, and what was good before"


async def test_statistics_that_are_refused_for_one_item_are_that_item_s_own() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return refused() if request.path == "/2" else web.json_response({"totals": 1})

    async with (
        served(answer) as stats,
        client(
            URL("http://127.0.0.1:9"), stats=stats, stats_credentials=Secret("a:b", "FIGSHARE_STATS")
        ) as polite,
    ):
        await polite.json("stats", "GET", stats / "1", orjson.loads, authorised=True)
        with pytest.raises(PermanentError):
            await polite.json("stats", "GET", stats / "2", orjson.loads, authorised=True)
        await polite.json("stats", "GET", stats / "3", orjson.loads, authorised=True)
    assert asked == ["/1", "/2", "/1", "/3"]


async def test_open_totals_are_no_proof_for_refused_timelines() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return refused() if "/timeline/" in request.path else web.json_response({"totals": 1})

    async with (
        served(answer) as stats,
        client(
            URL("http://127.0.0.1:9"), stats=stats, stats_credentials=Secret("a:b", "FIGSHARE_STATS")
        ) as polite,
    ):
        await polite.json("stats", "GET", stats / "total/views/article/1", orjson.loads, authorised=True)
        address = stats / "timeline/month/views/article/1"
        with pytest.raises(TokenRejected, match="environment variable FIGSHARE_STATS"):
            await polite.json("stats", "GET", address, orjson.loads, authorised=True)


async def test_statistics_that_are_refused_for_all_are_reported_once_and_not_requested_again(
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if "/timeline/" in request.path:
            return refused()
        if request.path.startswith("/stats/"):
            return web.json_response({"totals": 1})
        number = int(request.path.rsplit("/", 1)[1])
        return web.json_response({"id": number, "title": "t", "files": [], "modified_date": ""})

    (tmp_path / "ids.txt").write_text("".join(f"{n}\n" for n in range(1, 11)))
    async with served(answer) as address:
        words = ("run", "--items", tmp_path / "ids.txt", "--workers", "1", "--tasks", "stats,timeline")
        env = environment(HARVESTER_STATS_SINCE="2024-01-01")
        where = ("--api", address, "--stats", address / "stats", "--rate", "inf", "-o", tmp_path / "h")
        ended = await harvester(*words, *where, env=env)
    assert ended.status == 1, ended.err
    errors = [row["error"] for row in rows(tmp_path / "h", "failures.csv")]
    assert len(errors) == 10
    assert all("refused (403): Unauthorized request: these statistics may need" in each for each in errors)
    assert all("stats.credentials_env" in each for each in errors)
    assert sum("/timeline/" in path for path in asked) == 3
    assert sum("/total/" in path for path in asked) >= 10
