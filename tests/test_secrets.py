"""The token goes to the api and nowhere else: no other host, no output, no file, no list of processes."""

from __future__ import annotations

import base64
import html
import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson
import pytest
from aiohttp import web
from yarl import URL

from harvester import harvest, load_config
from harvester.cli.console import print_error
from harvester.cli.log_format import set_up
from harvester.client import Client, Credentials, RequestSender, open_session
from harvester.config import Retry, Timeouts
from harvester.config.secrets import Secret, lines_like_tokens
from harvester.errors import Rejected, TokenRejected, UsageError
from harvester.sandbox import Sandbox, Settings
from harvester.text.redaction import MARK, REDACTOR
from tests.support.each import for_each
from tests.support.http import limiters, served
from tests.support.program import at, environment, harvester, started
from tests.support.truth import assert_complete, rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TOKEN = "7f3a9c" * 21 + "5e"  # as long as figshare's
FAULTS = {"500": 0.1, "reset": 0.1, "403-html": 0.05, "always-404": 0.1, "always-500": 0.1}


def assert_nowhere(folder: Path) -> None:
    """Assert that no file below a folder holds the token, also not spread over a database's pages."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        assert TOKEN not in "\n".join(db.iterdump())


@pytest.mark.parametrize(
    "words", [("-v",), ("--log-json",), pytest.param(("--quiet",), marks=pytest.mark.nightly)]
)
async def test_the_token_is_in_no_output_and_in_no_request_but_those_to_the_api(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    few = Settings(items=6, private_items=2, own_public=2, heavy=0, token=TOKEN, faults=FAULTS)
    async with Sandbox(few) as sandbox:
        run = ("run", "--account", "--search", "survey", "-o", tmp_path, "--attempts", "3", *words)
        env = environment(FIGSHARE_TOKEN=TOKEN, HARVESTER_RETRY_MAX_WAIT="0.05")
        ended = await harvester(*run, *at(sandbox), env=env)
        assert ended.status == 1
        assert FAULTS.keys() == {seen.fault for seen in sandbox.requests} - {None}
        assert TOKEN not in ended.out + ended.err
        assert_nowhere(tmp_path)
        with_it = {seen.service for seen in sandbox.requests if TOKEN in str(seen.headers)}
        assert with_it == {"api"}
        for seen in sandbox.requests:
            assert TOKEN not in seen.path + seen.query
            if "/account" not in seen.path and "/file/download/" not in seen.path:
                assert "Authorization" not in seen.headers, "it is sent only where it is needed"


# -- services that repeat what they were asked with ------------------------------------------------

STATISTICIAN = "statistician:s3cret,w0rd+of=mine"
FORMS = (
    *(
        TOKEN,
        TOKEN.upper(),
        base64.b64encode(TOKEN.encode()).decode(),
        "".join(f"&#{ord(c)};" for c in TOKEN),
    ),
    *(STATISTICIAN.partition(":")[2], STATISTICIAN.upper(), quote(STATISTICIAN, safe="")),
    base64.b64encode(STATISTICIAN.encode()).decode(),
)


async def test_credentials_that_services_repeat_are_not_stored_or_shown(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text('stats = {institution = "iastate"}')
    folder = tmp_path / "out"
    faults = {"always-404": 0.2, "always-403-json": 0.1, "500": 0.1}
    settings = Settings(
        items=4, private_items=4, heavy=0,
        token=TOKEN, stats_credentials=STATISTICIAN, echoes=True, faults=faults,
    )  # fmt: skip
    env = environment(FIGSHARE_TOKEN=TOKEN, FIGSHARE_STATS=STATISTICIAN, HARVESTER_RETRY_MAX_WAIT="0.05")
    async with Sandbox(settings) as sandbox:
        asking = ("-c", tmp_path / "harvest.toml", "--account", *at(sandbox))
        shown = ""
        for words, status in (
            (("run", "-v", "-o", folder, "--attempts", "2", *asking), 1),
            (("run", "--log-json", "-o", folder, "--attempts", "2", *asking), 1),
            (("plan", "--json", "-o", folder, *asking), 0),
            (("list", "--json", *asking), 0),
            (("status", "--json", "-o", folder), 0),
            (("failed", "-o", folder), 0),
            (("failed", "--json", "-o", folder), 0),
            (("export", "-o", folder), 0),
            (("config", "-o", folder, *asking), 0),
            (("doctor", "-o", folder, "-c", tmp_path / "harvest.toml", *at(sandbox)), 0),
            (("doctor", "--json", "-o", folder, "-c", tmp_path / "harvest.toml", *at(sandbox)), 0),
        ):
            ended = await harvester(*words, env=env)
            assert ended.status == status, (words, ended)
            shown += ended.out + ended.err
        credentials = {seen.headers.get("Authorization", "")[:5] for seen in sandbox.requests}
        assert credentials >= {"token", "Basic"}
    kept = {path: path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        texts = [shown, *map(str, kept), *kept.values(), "\n".join(db.iterdump())]
    for form in FORMS:
        assert not [text for text in texts if form in text], form
    for name in ("metadata.jsonl", "items.csv", "files.csv", "failures.csv"):
        assert MARK in kept[folder / name]
    assert MARK in shown
    names = [row["name"] for row in rows(folder / "files.csv") if row["status"] == "done"]
    assert names
    assert all(name.startswith(f"{MARK} ") for name in names)


def quote_char(char: str) -> str:
    return "".join(f"%{byte:02x}" for byte in char.encode())


def html_char(char: str) -> str:
    return f"&#{ord(char)};"


def json_char(char: str) -> str:
    return f"\\u{ord(char):04x}"


WRITTEN = {
    "as it is": TOKEN,
    "in other letters": TOKEN.upper(),
    "as in an address": "".join(f"%{ord(char):02x}" for char in TOKEN),
    "as in an address in an address": "".join(f"%25{ord(char):02X}" for char in TOKEN),
    "as in JSON": "".join(f"\\u{ord(char):04x}" for char in TOKEN),
    "as in HTML": "".join(f"&#x{ord(char):X};" for char in TOKEN),
    "in base64": base64.b64encode(TOKEN.encode()).decode(),
    "cut": TOKEN[:20],
}


@for_each("form", WRITTEN.values())
def test_a_secret_is_redacted_in_any_encoding(form: str) -> None:
    secret = Secret(TOKEN)
    assert str(Rejected(f"no, {form} is none")) == f"no, {MARK} is none"
    assert REDACTOR.record(f'{{"{form}": 1}}'.encode()) == f'{{"{MARK}": 1}}'.encode()
    assert secret.reveal() == TOKEN


@for_each("password", ["pa55 wörd/&c", "hunter2%!", 'a"b\\c<d>', "groß-ÄÖ1"])
@for_each(
    "write", [str, quote, quote_plus, html.escape, lambda text: orjson.dumps(text).decode()[1:-1], str.lower]
)
def test_a_password_is_redacted_in_any_encoding(password: str, write: Callable[[str], str]) -> None:
    secret = Secret(f"user:{password}")
    assert str(Rejected(f"no, {write(password)} is none")) == f"no, {MARK} is none"
    assert secret.reveal()


@for_each("password", ["pa55 wörd/&c", 'a"b\\c<d>', "0123456789abcdef"])
@for_each("write", [quote_char, html_char, json_char, str.upper])
def test_one_encoded_character_does_not_hide_a_secret(password: str, write: Callable[[str], str]) -> None:
    secret = Secret(f"user:{password}")
    for place, char in enumerate(password):
        written = password[:place] + write(char) + password[place + 1 :]
        assert REDACTOR.text(f"no, {written} is none") == f"no, {MARK} is none", written
        assert REDACTOR.record(f"no, {written} is none".encode()) == f"no, {MARK} is none".encode(), written
    assert secret.reveal()


def test_a_secret_is_redacted_anywhere_in_a_large_answer() -> None:
    secret = Secret(TOKEN)
    window = 1 << 20
    for before in (0, window - len(TOKEN) // 2, window, 2 * window + 5):
        raw = b"x" * before + f'"{TOKEN}" '.encode() + b"y" * window + f" {TOKEN}".encode()
        expected = b"x" * before + f'"{MARK}" '.encode() + b"y" * window + f" {MARK}".encode()
        assert REDACTOR.record(raw) == expected, before
    assert secret.reveal() == TOKEN


def test_a_secret_that_is_a_word_changes_no_record_and_one_that_is_short_no_message() -> None:
    secrets = Secret("proxy:library"), Secret("abcd")
    raw = b'{"title": "The library of Babel, abcd"}'
    assert REDACTOR.record(raw) == raw
    assert str(Rejected("library: abcd")) == f"{MARK}: abcd"
    del secrets
    assert str(Rejected("library: abcd")) == "library: abcd", "that secret exists no more"


@for_each(
    ("text", "redacted"),
    [
        (
            "https://b.s3.test/k?X-Amz-Credential=AK%2F1&X-Amz-Expires=9&X-Amz-Signature=ab12#x",
            f"https://b.s3.test/k?X-Amz-Credential={MARK}&X-Amz-Expires=9&X-Amz-Signature={MARK}#x",
        ),
        ("?x-amz-security-token=a/b+c==", f"?x-amz-security-token={MARK}"),
        ("?Policy=eyJ_&Signature=a~b&Key-Pair-Id=K1", f"?Policy={MARK}&Signature={MARK}&Key-Pair-Id={MARK}"),
        ("go=https%3A%2F%2Fx%3Fsig%3Dabc%26se%3D1", f"go=https%3A%2F%2Fx%3Fsig%3D{MARK}%26se%3D1"),
        ("(https://x.test/?private_link=0a1b)", f"(https://x.test/?private_link={MARK})"),
        ("https://me:word@proxy.test:3128/", f"https://{MARK}@proxy.test:3128/"),
        ("Authorization: Bearer 0123456789", f"Authorization: Bearer {MARK}"),
        ("the token = 5, design=new, tokens=3", "the token = 5, design=new, tokens=3"),
    ],
)
def test_signatures_are_removed_from_texts_and_nothing_else(text: str, redacted: str) -> None:
    assert REDACTOR.text(text) == redacted
    assert REDACTOR.text(redacted) == redacted
    assert REDACTOR.record(text.encode()) == text.encode(), "in a record they are its own"


async def test_a_token_stored_by_an_earlier_version_is_not_shown(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("run", "--item", "1", "--item", "x", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 1
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        for table in ("work", "listing_failures"):
            assert db.execute(f"UPDATE {table} SET error = 'refused: ' || ?", [TOKEN]).rowcount
    env = environment(FIGSHARE_TOKEN=TOKEN)
    failed = await harvester("failed", "--json", "-o", tmp_path, env=env)
    await harvester("export", "-o", tmp_path, env=env)
    for text in (failed.out, (tmp_path / "failures.csv").read_text(encoding="utf-8")):
        assert text.count(f"refused: {MARK}") == 2
        assert TOKEN not in text


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_no_secret(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    secret = Secret(TOKEN)
    log = set_up(as_json=as_json)
    try:
        int(f"{secret.reveal()}, as a service repeats it")
    except ValueError as error:
        print_error("".join(traceback.format_exception(error)))
        log.exception("odd")
    finally:
        log.handlers.clear()
    text = capsys.readouterr().err
    assert text.count(MARK) == (1 if as_json else 2)
    assert TOKEN not in text


async def test_the_token_is_not_in_the_list_of_processes(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0, token=TOKEN)) as sandbox:
        run = ("run", "--account", "-o", tmp_path, *at(sandbox, rate="5"))
        # A fork has the words of the process that it was forked from.
        async with started(run, False, FIGSHARE_TOKEN=TOKEN) as process:
            await until(lambda: bool(sandbox.requests))
            shown = Path(f"/proc/{process.pid}/cmdline")
            if not shown.exists():
                pytest.skip("this system lists processes in another way")
            assert b"harvester" in shown.read_bytes()
            assert TOKEN.encode() not in shown.read_bytes()


async def test_a_redirect_from_the_api_never_carries_the_token(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=8, heavy=0, token=TOKEN, redirects="api-elsewhere")) as sandbox:
        env = environment(FIGSHARE_TOKEN=TOKEN)
        ended = await harvester(
            "run", "--account", "--tasks", "metadata", "-o", tmp_path, *at(sandbox), env=env
        )
        assert ended.status == 0, ended.err
        elsewhere = sandbox.requests_to("elsewhere")
        assert len(elsewhere) >= 8
        assert not [seen for seen in elsewhere if "Authorization" in seen.headers]


@pytest.mark.parametrize("redirects", ["loop", "http", "file-scheme"])
async def test_a_forbidden_redirect_is_a_failure_of_that_file_alone(redirects: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=2, heavy=0, redirects=redirects)) as sandbox:
        env = environment(HARVESTER_RETRY_MAX_WAIT="0.01")
        ended = await harvester(
            "run", "--search", "survey", "-o", tmp_path, "--attempts", "2", *at(sandbox), env=env
        )
        assert ended.status == 1
        assert "Traceback" not in ended.err
        table = rows(tmp_path / "files.csv")
        assert {row["status"] for row in table} == {"failed"}
        assert len(rows(tmp_path / "failures.csv")) == len(table)
        assert not (tmp_path / "files").exists()


async def test_a_download_of_a_private_file_gives_the_storage_no_token(tmp_path: Path) -> None:
    few = Settings(items=4, private_items=4, heavy=0, token=TOKEN, redirects="other-host")
    async with Sandbox(few) as sandbox:
        env = environment(FIGSHARE_TOKEN=TOKEN)
        ended = await harvester("run", "--account", "-o", tmp_path, *at(sandbox), env=env)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, sandbox.world.account_ids, private=sandbox.world.account_ids)
        assert not [seen for seen in sandbox.requests_to("storage") if "Authorization" in seen.headers]


async def test_a_crash_does_not_show_the_token(tmp_path: Path) -> None:
    """A bug in a source, say: its traceback goes to a log that many can read."""
    async with Sandbox(Settings(items=5, token=TOKEN)) as sandbox:
        config = load_config(
            options={
                "sources": [{"kind": "account"}],
                "output": str(tmp_path),
                "services.api": sandbox.api,
                "services.stats": "http://127.0.0.1:9",
            },
            environ={"FIGSHARE_TOKEN": TOKEN},
        )

        async def burst(*_: object) -> None:
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError) as caught:
            await harvest(config, on_start=burst)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        assert TOKEN not in repr(config)


async def test_a_config_file_with_a_likely_token_gives_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "harvest.toml"
    file.write_text(f'# my token: {TOKEN}\noutput = "out"\n[[sources]]\nkind = "items"\nids = [1]\n')
    ended = await harvester(
        "run", "-c", file, "--api", "http://127.0.0.1:9", "--rate", "inf", "--attempts", "1", cwd=tmp_path
    )
    (warning,) = [line for line in ended.err.splitlines() if "looks like a token" in line]
    assert "harvest.toml, line 1" in warning
    assert "FIGSHARE_TOKEN" in warning
    assert TOKEN not in ended.err


@for_each(
    ("line", "number_of_lines"),
    [
        (f"x = '{TOKEN}'", 1),
        ("Authorization: token 0123456789abcdefxyz", 1),
        ('api_key = "sk-live-0123456789abcdef"', 1),
        ("the real one", 1),
        ('token_env = "MY_FIGSHARE_TOKEN_FOR_HARVESTS"', 0),
        ("query = ':title: token economies of the twentieth century'", 0),
        ('ids = [5616409, "10.6084/m9.figshare.1138718"]', 0),
        ("md5 = 'd41d8cd98f00b204e9800998ecf8427e'", 0),
    ],
)
def test_what_looks_like_a_token(line: str, number_of_lines: int) -> None:
    assert len(lines_like_tokens(f"a = 1\n{line}\n", Secret("the real one"))) == number_of_lines


@for_each("token", ["a b", "a\nb", "é", "a\x00"])
def test_a_token_that_is_invalid_in_a_header_is_reported_without_showing_it(token: str) -> None:
    config = load_config(options={"sources": [{"kind": "account"}]}, environ={"FIGSHARE_TOKEN": token})
    with pytest.raises(UsageError, match="FIGSHARE_TOKEN: holds characters that no token has") as caught:
        config.check_for("harvest")
    assert token not in str(caught.value).replace("a token", "")


@for_each("wrong", [TOKEN, f"token {TOKEN}", "a" + TOKEN[1:], "sk-live-1234", "a b", "", "5x"])
@for_each("key", ["services.token_env", "stats.credentials_env"])
def test_a_secret_in_place_of_its_variable_name_is_not_shown(key: str, wrong: str) -> None:
    sources = [{"kind": "account", "token": "x"}]
    for environ in ({}, {wrong: "another"} if wrong else {}):
        with pytest.raises(UsageError) as caught:
            load_config(options={key: wrong, "sources": sources}, environ=environ, job="harvest")
        text = str(caught.value).splitlines()
        assert f"options: {key}: expected the name of an environment variable" in text
        assert not wrong or wrong not in str(caught.value)
        assert "another" not in str(caught.value)


async def test_a_token_in_place_of_its_variable_name_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(
        f'token = "x"\n[services]\ntoken_env = "{TOKEN}"\n[[sources]]\nkind = "account"\n'
    )
    for command in ("run", "list", "plan", "status"):
        ended = await harvester(command, cwd=tmp_path)
        assert ended.status == 2
        assert TOKEN not in ended.out + ended.err
        assert "services.token_env: expected the name of an environment variable" in ended.err


# -- the credentials for an institution's statistics ----------------------------------------------

CREDENTIALS = "statistician:pa55 wörd:9c41"
PACKED = base64.b64encode(CREDENTIALS.encode()).decode()


@asynccontextmanager
async def asking(api: URL, *, stats: URL, token: str, stats_credentials: str) -> AsyncIterator[Client]:
    timeouts = Timeouts()
    async with open_session(user_agent="test", timeouts=timeouts, trusted_hosts=frozenset()) as session:
        origins = {"api": api, "stats": stats}
        sender = RequestSender(
            session,
            limiters=limiters(),
            origins=origins,
            credentials=Credentials(
                origins,
                token_check=api / "account",
                token=Secret(token),
                stats=Secret(stats_credentials),
            ),
            timeouts=timeouts,
            max_wait=1.0,
        )
        yield Client(sender, Retry(attempts=1))


def assert_statistician_is_nowhere(*texts: str, folder: Path) -> None:
    """Assert that neither the credentials, nor the password, nor what the header carries shows."""
    for secret in (CREDENTIALS, "pa55 wörd", PACKED):
        for text in texts:
            assert secret not in text
        for path in folder.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("words", [("-v",), ("--log-json",)])
async def test_the_statistics_credentials_go_only_to_the_statistics_and_are_not_shown(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    faults = {"500": 0.1, "reset": 0.1, "403-html": 0.05, "always-500": 0.1}
    settings = Settings(
        items=4, private_items=2, heavy=0, token=TOKEN, stats_credentials=CREDENTIALS, faults=faults
    )
    async with Sandbox(settings) as sandbox:
        file = tmp_path / "harvest.toml"
        file.write_text('[stats]\ninstitution = "iastate"\nsince = 2015-01-01\nuntil = 2016-02-01\n')
        tasks = "metadata,stats,timeline,breakdown,files"
        run = ("run", "-c", file, "--account", "--search", "survey", "-o", tmp_path / "out", "--tasks", tasks)
        env = environment(FIGSHARE_TOKEN=TOKEN, FIGSHARE_STATS=CREDENTIALS, HARVESTER_RETRY_MAX_WAIT="0.05")
        ended = await harvester(*run, "--attempts", "3", *words, *at(sandbox), env=env)
        assert ended.status == 1
        assert faults.keys() == {seen.fault for seen in sandbox.requests} - {None}
        assert_statistician_is_nowhere(ended.out, ended.err, folder=tmp_path)
        assert_nowhere(tmp_path / "out")
        carried = {
            (seen.service, seen.headers["Authorization"])
            for seen in sandbox.requests
            if "Authorization" in seen.headers
        }
        assert carried == {("api", f"token {TOKEN}"), ("stats", f"Basic {PACKED}")}
        for seen in sandbox.requests_to("stats"):
            assert seen.path.startswith("/iastate/") is ("Authorization" in seen.headers)


async def test_public_statistics_carry_no_credentials(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=10)) as sandbox:
        run = ("run", "--search", "survey", "--tasks", "stats", "-o", tmp_path, *at(sandbox))
        ended = await harvester(*run, env=environment(FIGSHARE_STATS=CREDENTIALS))
        assert ended.status == 0, ended.err
        assert sandbox.requests_to("stats")
        assert not [seen for seen in sandbox.requests if "Authorization" in seen.headers]


async def test_a_redirect_from_the_statistics_never_carries_a_secret() -> None:
    carried: list[tuple[str, str | None]] = []

    async def other(request: web.Request) -> web.StreamResponse:
        carried.append(("other", request.headers.get("Authorization")))
        return web.json_response({})

    async with served(other) as elsewhere:

        async def one(request: web.Request) -> web.StreamResponse:
            carried.append((request.path, request.headers.get("Authorization")))
            if request.path == "/away":
                raise web.HTTPFound(str(elsewhere / "x"))
            return web.json_response({})

        # The services may share an origin: each gets its own secret there.
        async with (
            served(one) as both,
            asking(both, stats=both, token=TOKEN, stats_credentials=CREDENTIALS) as asked,
        ):
            for service, path in (("stats", "total"), ("stats", "away"), ("api", "own"), ("api", "away")):
                await asked.json(service, "GET", both / path, orjson.loads, authorised=True)
            await asked.json("stats", "GET", both / "public", orjson.loads)
        async with (
            served(one) as api,
            asking(api, stats=elsewhere, token=TOKEN, stats_credentials=CREDENTIALS) as asked,
        ):
            await asked.json("api", "GET", api / "away", orjson.loads, authorised=True)
            await asked.json("stats", "GET", api / "lost", orjson.loads, authorised=True)
    basic, token = f"Basic {PACKED}", f"token {TOKEN}"
    assert carried == [
        ("/total", basic),
        ("/away", basic), ("other", None),
        ("/own", token),
        ("/away", token), ("other", None),
        ("/public", None),
        ("/away", token), ("other", None),
        ("/lost", None),
    ]  # fmt: skip


async def test_refused_statistics_credentials_stop_the_run_and_are_named(
    tmp_path: Path,
) -> None:
    async def refusing(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "Who are you?", "code": 401}, status=401)

    async with served(refusing) as stats, Sandbox(Settings(items=10, heavy=0)) as sandbox:
        config = load_config(
            options={
                "sources": [{"kind": "search", "query": "survey"}],
                "output": str(tmp_path),
                "tasks": ["stats"],
                "services.api": sandbox.api,
                "services.stats": str(stats),
                "stats.institution": "iastate",
            },
            environ={"FIGSHARE_STATS": CREDENTIALS},
        )
        with pytest.raises(TokenRejected, match="the credentials for the statistics were refused") as caught:
            await harvest(config)
    shown = "".join(traceback.format_exception(caught.value))
    assert_statistician_is_nowhere(shown, repr(config), folder=tmp_path)
