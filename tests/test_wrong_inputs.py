"""Wrong inputs: each ends with its status, and says in the user's words what is wrong and what helps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.program import environment, harvester

pytestmark = pytest.mark.anyio

TOKEN = "8f3b3ad1caaa83fd89f38f3b3ad1caaa83fd89f3"
FORBIDDEN = (
    r"\b(?:int|str|float|bool|list|dict|tuple|None|True|False|NoneType|object|null|array)\b(?![- ])",
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
    wrong("sandbox --port 99999", '--port: expected a number from 0 to 65,532, got "99999"'),
    wrong("sandbox --fault reset", "--fault: expected NAME=SHARE with a share from 0 to 1"),
    wrong("sandbox --latency soon", '--latency: expected a number of seconds, 0 or more, got "soon"'),
)


def check(err: str, case: Wrong) -> None:
    """Assert that the messages of a case are right, and in the user's words."""
    for text in case.says:
        assert text in err
    assert TOKEN[:12] not in err
    for pattern in FORBIDDEN:
        assert not (found := re.search(pattern, err)), found
    assert err.count("usage: ") <= 1
    assert len(err.splitlines()) <= 3


@pytest.mark.parametrize("case", COMMAND_LINE, ids=lambda case: case.words[:40])
async def test_a_wrong_command_line(case: Wrong, tmp_path: Path) -> None:
    ended = await harvester(*case.words.split(), cwd=tmp_path, env=environment(FIGSHARE_TOKEN=TOKEN))
    assert (ended.status, ended.out) == (case.status, "")
    check(ended.err, case)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


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
