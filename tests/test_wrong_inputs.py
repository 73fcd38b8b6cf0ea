"""Wrong inputs: each ends with its status, and says in the user's words what is wrong and what helps."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from harvester.cli.overrides import option_finder, overrides
from harvester.cli.parser import build_parser, commands_of
from harvester.errors import CommandLineError, UsageError
from harvester.plugins import load_config
from harvester.sandbox import Sandbox, Settings
from tests.support.each import for_each
from tests.support.program import Ended, at, environment, harvester
from tests.support.schemas import check_events

pytestmark = pytest.mark.anyio

TOKEN = "8f3b3ad1caaa83fd89f38f3b3ad1caaa83fd89f3"
FORBIDDEN = (
    r"\b(?:int|str|float|bool|dict|tuple|None|True|False|NoneType|object|null|array)\b(?![- ])",
    r"argparse|msgspec|RFC ?\d|aiohttp|OSError|\w+Error\b|errno|regex|Traceback",
    r"\{\}|\{'|\['|\('|\$\[|\\d|\\s|\(\?|'[^' ]*' \(|unrecognized arguments|invalid \w+ value|invalid choice",
)
"""Python's types, texts and patterns, and the names of libraries."""


class Wrong(NamedTuple):
    """An input, and what is said of it; each text of `says` stands in standard error."""

    words: str
    says: tuple[str, ...]
    status: int = 2


def wrong(words: str, *says: str, status: int = 2) -> Wrong:
    return Wrong(words, says, status)


USAGE = "usage: harvester run [SOURCES] [options]; harvester run --help shows all"
COMMAND_LINE = (
    wrong("ru", 'unknown command "ru" (did you mean "run"?)', "harvester --help shows all"),
    wrong("fetch", 'unknown command "fetch"'),
    wrong(TOKEN, "unknown command"),
    wrong("help ruin", 'unknown command "ruin" (did you mean "run"?)'),
    wrong("--versoin", 'unknown option --versoin (did you mean "--version"?)'),
    wrong("--search x", "--search: stands after a command, such as: harvester run --search …"),
    wrong("--serch x", 'unknown option --serch (did you mean "--search"?)'),
    wrong("run --serch x", 'unknown option --serch (did you mean "--search"?)', USAGE),
    wrong("run --sea data --tas metadata", 'unknown option --sea (did you mean "--search"?)'),
    wrong("run --doi 10.1/x", 'unknown option --doi (did you mean "--item"?)'),
    wrong(f"run --token {TOKEN}", "--token: set the environment variable FIGSHARE_TOKEN"),
    wrong(f"run --token={TOKEN}", "FIGSHARE_TOKEN (services.token_env names it)"),
    wrong(f"run --tokne {TOKEN}", "unknown option --tokne"),
    wrong(f"run --password {TOKEN}", "--password: set the environment variable FIGSHARE_TOKEN"),
    wrong(f"list --api-key={TOKEN}", "--api-key: set the environment variable FIGSHARE_TOKEN"),
    wrong(f"status --figshare-token {TOKEN}", "--figshare-token: set the environment variable"),
    wrong(f"run -{TOKEN}", "unknown option, which is not shown"),
    wrong(f"run --account {TOKEN}", "unexpected a text that is not shown, as it may be a token"),
    wrong(f"run --group {TOKEN}", "--group: expected an id, a number such as 11962, got a text"),
    wrong("run mine", 'unexpected "mine": harvester run takes options only', USAGE),
    wrong("status mine other", 'unexpected "other": only one is taken'),
    wrong("status mine -o other", "FOLDER and --output name two folders: give one of them"),
    wrong("run --quick=yes", "--quick: takes no value", USAGE),
    wrong("run -o", "--output: expected a value", USAGE),
    wrong("run --rate fast", '--rate: expected a number above 0, inf, auto, or SERVICE=number, got "fast"'),
    wrong("run --rate 1,5", '--rate: expected a number above 0, inf, auto, or SERVICE=number, got "1,5"'),
    wrong("run --rate api=", 'SERVICE=number, got "api="'),
    wrong("run --rate fils=1", '--rate: unknown "fils" (did you mean "files"?); known: api, stats, files'),
    wrong("run --rate nan", 'got "nan"'),
    wrong("plan --ceiling 0", '--ceiling: expected a number above 0, or inf, got "0"'),
    wrong("run --group abc", '--group: expected an id, a number such as 11962, got "abc"'),
    wrong("run --group 11962,11963", '--group: expected one id, got "11962,11963"; repeat the option'),
    wrong("run --collection 0", '--collection: expected an id, a number such as 11962, got "0"'),
    wrong("run --workers many", '--workers: expected a whole number, got "many"'),
    wrong("plan --sample -3", '--sample: expected a whole number, 0 or more, got "-3"'),
    wrong(
        "run --refresh stat",
        '--refresh: unknown "stat" (did you mean "stats"?); known: metadata, stats, timeline, breakdown',
    ),
    wrong("run --trash-days 1.5 --prune", '--trash-days: expected a whole number, 0 or more, got "1.5"'),
    wrong("run --item 1 --yes", "--yes requires --prune"),
    wrong("run --item 1 --dry-run --prune", "--prune does not go with --dry-run"),
    wrong("run --account --subgroups", "--subgroups requires --group"),
    wrong(
        "run --item 1 --progress-every soon",
        'expected a duration such as "90 s", "5 min", "12 h" or "30 days", got "soon"\nusage: ',
    ),
    wrong("sandbox --fault resett=0.1", '--fault: unknown "resett" (did you mean "reset"?); --fault help'),
    wrong("sandbox --port 99999", '--port: expected a number from 0 to 65,532, got "99999"'),
    wrong("sandbox --fault reset", "--fault: expected NAME=SHARE with a share from 0 to 1"),
    wrong("sandbox --latency soon", '--latency: expected a number of seconds, 0 or more, got "soon"'),
)


OPTIONS = (
    wrong("run --search x --workers 0", "--workers: expected a whole number from 1 to 10,000, got 0"),
    wrong("run --search x --attempts -1", "--attempts: expected a whole number from 1 to 1,000, got -1"),
    wrong(
        "run --search x --published-since 31.01.2024",
        '--published-since: expected a day such as 2024-01-31, got "31.01.2024"',
    ),
    wrong("plan --group 1 --modified-since yesterday", "--modified-since: expected a day such as 2024-01-31"),
    wrong(
        "list --search x --published-before 2024-02-30", '--published-before: there is no day "2024-02-30"'
    ),
    wrong(
        "run --search x --api 127.0.0.1:8700/v2",
        '--api: expected an address that begins with https://, got "127.0.0.1:8700/v2"',
    ),
    wrong("run --search x --stats http://example.org", "--stats: plain http is for this machine only"),
    wrong(
        "run --search x --counters view", '--counters: unknown "view" (did you mean "views"?); known: views'
    ),
    wrong(
        "run --search x --granularity mnth",
        '--granularity: unknown "mnth" (did you mean "month"?); known: day, month, year, total',
    ),
    wrong("run --search x --tasks metdata", '--tasks: unknown "metdata" (did you mean "metadata"?)'),
    wrong("run --search x --tasks ,", "--tasks: empty; known: metadata, stats, timeline, breakdown, files"),
    wrong("run --search x --tasks timeline", "--stats-since: missing; the task timeline needs it"),
    wrong("export --formats cvs", '--formats: unknown "cvs" (did you mean "csv"?); known: jsonl, csv'),
    wrong("run --search x --order downlods", '--order: unknown "downlods" (did you mean "downloads"?)'),
    wrong("run --collection 4 --order views", "--order: figshare lists a collection in an order of its own"),
    wrong("run --search x --versions newest", '--versions: expected "latest", "all" or version numbers'),
    wrong(
        "run --search x --max-size huge",
        '--max-size: expected a size such as "500 MB" or "2 GiB", got "huge"',
    ),
    wrong(f"run --item {TOKEN}", "--item: entry 1: expected an id, DOI or address, got a text that is not"),
    wrong("run --item=", '--item: entry 1: expected an id, DOI or address, got ""'),
    wrong(
        "run --group 3 --subgroups", "--subgroups: needs a token: set the environment variable FIGSHARE_TOKEN"
    ),
    wrong("list --account", "--account: account needs a token: set the environment variable FIGSHARE_TOKEN"),
    wrong("run --item 3 --type dataset", "--type: no source on the command line supports this filter"),
    wrong("run", "nothing to harvest: name a source in the config, or --search, --item"),
    wrong("status nothing", "nothing: not a harvest folder"),
    wrong("run -c none.toml", "none.toml: cannot be read: No such file or directory"),
    wrong("run -c .", "cannot be read"),
    wrong("run --items none.txt", "none.txt: cannot be read: No such file or directory"),
    wrong("run --item 99999999999999999999", "--item: entry 1: expected an id from 1 to 2^63, got"),
    wrong(
        "run --search x --stats-since 2021-01-01 --stats-until 2020-12-31",
        "--stats-since: 2021-01-01 is after 2020-12-31, the last day",
    ),
)
SOURCE = '[[sources]]\nkind = "search"\nquery = "x"\n'
CONFIGS = (
    ("[[source]]\nkind = 'search'", "harvest.toml, line 1: source: unknown key (did you mean [[sources]]?)"),
    ("[sources]\nkind = 'search'", "harvest.toml, line 1: sources: write [[sources]], with two brackets"),
    ("outptu = 'x'", 'line 1: outptu: unknown key (did you mean "output"?)'),
    ("workers = 3", 'line 1: workers: unknown key (did you mean "concurrency.workers"?)'),
    ("tasks = 'metadata'", 'harvest.toml, line 1: tasks: expected a list such as ["metadata"]'),
    ("tasks = [1, 2]", "line 1: tasks: expected a text in quotes, got 1 (entry 1)"),
    (
        "\n[[sources]]\nkind = 'group'\nid = '11962'",
        "line 4: sources[0].id: expected a number without quotes",
    ),
    ("\n[[sources]]\nkind = 'group'", "line 2: sources[0].id: missing"),
    ("[[sources]]\nkind = 'serach'", 'line 2: sources[0].kind: unknown "serach" (did you mean "search"?)'),
    (
        "[[sources]]\nkind = 'search'\nquery = 3",
        "line 3: sources[0].query: expected a text in quotes or a list",
    ),
    ("[files]\n\nmax_size = '12 parsecs'", 'line 3: files.max_size: expected a size such as "500 MB"'),
    ("[files]\ninclude = '*.csv'", 'line 2: files.include: expected a list such as ["*.csv"]'),
    ("[concurrency]\nworkers = '4'", "line 2: concurrency.workers: expected a number without quotes"),
    ("concurrency = 4", "line 1: concurrency: expected a table: [concurrency]"),
    ("[rate]\napi = 'fast'", "line 2: rate.api: expected a number above 0, at least one request a day"),
    (
        "[timeouts]\nidle = true",
        "line 2: timeouts.idle: expected a number of seconds above 0, up to 2,592,000",
    ),
    (
        "[stats]\nsince = 2024-01-31T00:00:00",
        "line 2: stats.since: expected a day such as 2024-01-31, got a day",
    ),
    ("[stats]\ncounters = ['view']", 'line 2: stats.counters: unknown "view" (did you mean "views"?)'),
    ("[services]\nprivate_networks = ['x']", "line 2: services.private_networks: expected networks such as"),
    (f"[services]\ntoken_env = '{TOKEN}'", "line 2: services.token_env: expected the name of an environment"),
    (f"token = '{TOKEN}'", "line 1: token: a token does not belong in a config"),
    (f"[services]\napi = '{TOKEN}'", "line 2: services.api: expected an address that begins with https://"),
    ("[export.cvs]\n", 'line 1: export.cvs: unknown "cvs" (did you mean "csv"?)'),
    ("output = fast", "line 1, column 10: not valid TOML: expected a value"),
    ("[rate]\n[rate]", "line 2, column 6: not valid TOML: rate stands in the file twice"),
    ('output = "a\\qb"', "not valid TOML: in a text in double quotes"),
    ("a = \udcff", "cannot be read: not UTF-8 text"),
    ("\0", "not valid TOML"),
)
ENVIRONMENT = (
    (
        "HARVESTER_CONCURRENCY_WORKERS",
        "many",
        "HARVESTER_CONCURRENCY_WORKERS: expected a whole number from 1 to",
    ),
    ("HARVESTER_RATE_APPI", "3", 'HARVESTER_RATE_APPI: unknown (did you mean "HARVESTER_RATE_API"?)'),
    ("HARVESTER_STATS_SINCE", "2024", "HARVESTER_STATS_SINCE: expected a day such as 2024-01-31"),
    ("HARVESTER_TASKS", "fiels", 'HARVESTER_TASKS: unknown "fiels" (did you mean "files"?)'),
    ("HARVESTER_OUTPUT", "a\nb", "HARVESTER_OUTPUT: expected a path without control characters"),
    ("HTTPS_PROXY", f"socks5://user:{TOKEN}@proxy", "HTTPS_PROXY: socks5 proxies cannot be used"),
    ("SSL_CERT_FILE", "none.pem", "SSL_CERT_FILE: none.pem: cannot be read: No such file or directory"),
    ("FIGSHARE_TOKEN", f"{TOKEN} x", "FIGSHARE_TOKEN: holds characters that no token has"),
)


QUIET = {"run", "list"}


async def answer(words: Sequence[str], cwd: Path, env: dict[str, str]) -> Ended:
    """
    Return how a command ends.

    With `--quiet` it says the same, and with `--log-json` each line is an event, the last with the status.
    """
    ended = await harvester(*words, cwd=cwd, env=env)
    if words[0] in QUIET:
        quiet = await harvester(*words, "-q", cwd=cwd, env=env)
        assert (quiet.status, bool(quiet.err)) == (ended.status, bool(ended.err))
    logged = await harvester(*words, "--log-json", cwd=cwd, env=env)
    events = check_events(logged.err)
    assert (logged.status, events[-1]["exit_status"]) == (ended.status, ended.status)
    for event in events:
        in_plain_words(event["message"])
    return ended


def in_plain_words(text: str) -> None:
    """Assert that a text has no token and no words of Python or a library."""
    assert TOKEN[:12] not in text
    for pattern in FORBIDDEN:
        assert not (found := re.search(pattern, text)), found


def check(err: str, case: Wrong) -> None:
    """Assert that the messages of a case are right, and in the user's words."""
    for text in case.says:
        assert text in err
    in_plain_words(err)
    assert err.count("usage: ") <= 1
    assert len(err.splitlines()) <= 3


@pytest.mark.parametrize("case", COMMAND_LINE, ids=lambda case: case.words[:40])
async def test_a_wrong_command_line(case: Wrong, tmp_path: Path) -> None:
    ended = await harvester(*case.words.split(), cwd=tmp_path, env=environment(FIGSHARE_TOKEN=TOKEN))
    assert (ended.status, ended.out) == (case.status, "")
    check(ended.err, case)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: case.words[:40])
async def test_a_wrong_value_of_an_option(case: Wrong, tmp_path: Path) -> None:
    env = {key: text for key, text in environment().items() if key != "FIGSHARE_TOKEN"}
    ended = await harvester(*case.words.split(), cwd=tmp_path, env=env)
    assert (ended.status, ended.out) == (case.status, "")
    check(ended.err, case)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.mark.parametrize(("text", "says"), CONFIGS, ids=lambda text: repr(text[:30]))
async def test_a_wrong_value_in_a_config(text: str, says: str, tmp_path: Path) -> None:
    more = "" if "sources" in text else f"\n{SOURCE}"
    (tmp_path / "harvest.toml").write_bytes(f"{text}{more}\n".encode(errors="surrogateescape"))
    ended = await answer(["plan"], tmp_path, environment())
    assert (ended.status, ended.out) == (2, "")
    check(ended.err, wrong("", says))
    assert [path.name for path in tmp_path.iterdir()] == ["harvest.toml"], "nothing is left"


@pytest.mark.parametrize(("name", "text", "says"), ENVIRONMENT, ids=lambda text: repr(text[:30]))
async def test_a_wrong_variable(name: str, text: str, says: str, tmp_path: Path) -> None:
    ended = await answer(["plan", "--search", "x"], tmp_path, environment(**{name: text}))
    assert (ended.status, ended.out) == (2, "")
    check(ended.err, wrong("", says))
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def expected_under(option: str) -> list[Wrong]:
    """The cases whose command has an option."""
    commands = {"--log-json": "sandbox help", "-q": "sandbox plan status export ru fetch help"}[
        option
    ].split()
    cases = [case for case in (*COMMAND_LINE, *OPTIONS) if case.words.split()[0] not in commands]
    return [case for case in cases if option == "--log-json" or case.words.startswith(("run", "list"))]


async def test_a_wrong_input_is_one_error_in_json(tmp_path: Path) -> None:
    env = {key: text for key, text in environment().items() if key != "FIGSHARE_TOKEN"}
    for case in expected_under("--log-json"):
        ended = await harvester(*case.words.split(), "--log-json", cwd=tmp_path, env=env)
        assert (ended.status, ended.out) == (case.status, ""), case
        _, error, end = check_events(ended.err)
        assert (error["event"], error["kind"]) == ("error", "usage_error")
        assert (end["exit_status"], end["outcome"]) == (2, "refused")
        for text in case.says:  # the line of usage that people get is no part of the event
            said = text.partition("\nusage:")[0]
            assert said in error["message"] or "--help shows all" in said, case
        assert TOKEN[:12] not in ended.err
    assert list(tmp_path.iterdir()) == [], "nothing is left"


async def test_a_wrong_input_says_the_same_when_quiet(tmp_path: Path) -> None:
    env = {key: text for key, text in environment().items() if key != "FIGSHARE_TOKEN"}
    for case in expected_under("-q"):
        ended = await harvester(*case.words.split(), "-q", cwd=tmp_path, env=env)
        assert (ended.status, ended.out) == (case.status, ""), case
        check(ended.err, case)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


AT_FIGSHARE = (
    wrong("run --account", "the token was refused (environment variable FIGSHARE_TOKEN)", status=3),
    wrong("list --collection 999", "collection 999: ", "not found", status=1),
    wrong("plan --project 998 --type dataset", "project 998 (type dataset): ", "not found", status=1),
    wrong("run --collection 999 -o a", "collection 999: incomplete: ", "not found", status=1),
    wrong(
        "run --item 10.6084/m9.figshare.c.4000001 -o b", "a collection: use --collection 4000001", status=1
    ),
    wrong(
        "run --item https://figshare.com/projects/x/113166 -o c", "a project: use --project 113166", status=1
    ),
    wrong("run --item https://ndownloader.figshare.com/files/1234 -o d", "a file: name the item", status=1),
    wrong("run --item 1 -o e", "item 1, metadata: ", "not found", status=1),
    wrong("run --item no-such-thing -o f", "neither an item's id, nor a DOI or handle", status=1),
    wrong("run --search ':categry: soil' -o g --fail-if-empty", "no item found: check the query", status=1),
    wrong("run --group 999999 -o h --fail-if-empty", "group 999999: no item found", status=1),
    wrong(
        "run --search survey --type dateset -o i --tasks metadata",
        'unknown "dateset" (did you mean "dataset"?)',
        status=0,
    ),
)


@pytest.fixture
def world() -> Settings:
    return Settings(items=6, private_items=1, heavy=0)


@pytest.mark.parametrize("case", AT_FIGSHARE, ids=lambda case: case.words[:40])
async def test_what_figshare_does_not_have_or_refuses(case: Wrong, sandbox: Sandbox, tmp_path: Path) -> None:
    words = [*shlex.split(case.words), *at(sandbox), "--attempts", "1"]
    env = environment(FIGSHARE_TOKEN=TOKEN) if "--account" in words else environment()
    ended = await answer(words, tmp_path, env)
    assert ended.status == case.status, ended.err
    for text in case.says:
        assert text in ended.err + ended.out
    in_plain_words(ended.err)
    in_plain_words(ended.out)
    for path in tmp_path.glob("*/failures.csv"):
        in_plain_words(path.read_text())


async def test_a_token_in_the_place_of_a_name_or_a_query_is_not_shown(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text(f"{TOKEN}\n")
    words = ("--search", TOKEN, "--licence", TOKEN, "--items", tmp_path / "names.txt", "-o", tmp_path / "out")
    ended = await harvester("run", *words, *at(sandbox), "--attempts", "1", "--log-json")
    assert ended.status == 1
    written = [path.read_text() for path in (tmp_path / "out").glob("*.csv")]
    for text in (ended.out, ended.err, (tmp_path / "out" / "summary.json").read_text(), *written):
        assert TOKEN[:12] not in text
    assert "[not shown: it may be a token]" in ended.err + "".join(written)


async def test_an_address_where_nothing_answers(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{unused.getsockname()[1]}/v2"
        words = ["run", "--search", "x", "--api", api, "--attempts", "1"]
        ended = await answer(words, tmp_path, environment())
    assert ended.status == 3
    assert "127.0.0.1/v2/articles/search: connection failed (Connection refused)" in ended.err
    in_plain_words(ended.err)


PARSER = build_parser()
OPTIONS_WITH_A_VALUE = {
    action.option_strings[-1]: command
    for command, parser in commands_of(PARSER).items()
    for action in parser._actions
    if action.option_strings and action.nargs != 0 and command != "config"
}


@for_each(("option", "command"), OPTIONS_WITH_A_VALUE.items())
def test_any_value_of_any_option_is_taken_or_refused_in_plain_words(option: str, command: str) -> None:
    for value in ("", "x", "1,5", "nan", "-1", "9" * 30, "\udcff", "a\nb", "{}", "None", TOKEN):
        try:
            args = PARSER.parse_args([command, f"{option}={value}"])
            if hasattr(args, "config"):
                load_config(options=overrides(args), environ={}, option_of=option_finder(args))
        except UsageError as error:
            message = str(error)
            assert message.startswith(("--", "nothing to")), message
            in_plain_words(message.replace(f'"{value}"', ""))
            if isinstance(error, CommandLineError):
                assert message.startswith(option)
                assert error.usage.startswith(f"usage: harvester {command} ")


def test_python_s_words_are_found() -> None:
    for text in (
        "expected int, got str",
        "invalid _rate value: 'fast'",
        "collection 999 {'item_type': 3}: not found",
        "expected str matching regex '^https?://[^\\s/]+'",
        "Invalid RFC3339 encoded date",
        "expected array - at $[0]",
    ):
        assert any(re.search(pattern, text) for pattern in FORBIDDEN), text
