"""TOML, environment and options into a config; every fault with its place."""

from __future__ import annotations

import math
import os
import re
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.cli.overrides import overrides
from harvester.cli.parser import build_parser
from harvester.config import FileRules, keys
from harvester.config.keys import JOBS
from harvester.config.secrets import Secret
from harvester.config.tables import fields
from harvester.config.toml_lines import key_lines
from harvester.config.units import ByteCount
from harvester.config.values import Rule, convert
from harvester.errors import UsageError
from harvester.plugins import SOURCES, load_config
from harvester.sources.group import Group
from harvester.sources.search import Search
from tests.support.each import for_each
from tests.support.program import harvester

ROOT = Path(__file__).parent.parent


def load(tmp_path: Path, text: str, **environ: str):  # type: ignore[no-untyped-def]  # Config or an error
    path = tmp_path / "harvest.toml"
    path.write_text(text)
    return load_config(path, environ=environ)


def faults(tmp_path: Path, text: str, job: str | None = None, **environ: str) -> list[str]:
    """Return the faults without the numbers of their lines."""
    path = tmp_path / "harvest.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(path, environ=environ, job=job)
    return [
        re.sub(r"^harvest\.toml, line \d+: ", "harvest.toml: ", line)
        for line in str(caught.value).splitlines()
    ]


def test_the_example_holds_every_key_with_its_default(tmp_path: Path) -> None:
    example = load_config(ROOT / "config.example.toml", environ={})
    default = load_config(options={"sources": []}, environ={})
    assert example.sources == (Search(query=':category: "Digital Humanities"'),)
    for name in (
        "output",
        "tasks",
        "versions",
        "services",
        "concurrency",
        "rate",
        "retry",
        "timeouts",
        "files",
        "stats",
        "export",
    ):
        assert getattr(example, name) == getattr(default, name)
    text = (ROOT / "config.example.toml").read_text()
    for table in ("services", "concurrency", "rate", "retry", "timeouts", "files", "stats", "export"):
        for key, value in vars(getattr(default, table)).items():
            mark = "# " if value is None else ""
            assert f"\n{mark}{key} = " in text
    for kind, source in SOURCES.items():
        assert f'kind = "{kind}"' in text
        for key in fields(source):
            assert re.search(rf"\n(# )?{key} = ", text), f"{kind}: {key}"


def test_the_contract_s_defaults(tmp_path: Path) -> None:
    config = load_config(environ={})
    assert config.output == "harvest"
    assert config.tasks == ("metadata", "stats", "files")
    assert (config.concurrency.workers, config.concurrency.queue, config.concurrency.downloads) == (
        16,
        512,
        8,
    )
    assert (config.rate.api, config.rate.stats, config.rate.files) == (1.0, 1.0, 1.0)
    assert config.rate.ceiling == 10.0
    assert (config.retry.attempts, config.retry.max_wait) == (6, 60.0)
    assert config.export.formats == ("jsonl", "csv")


def test_all_faults_are_reported_together_each_with_its_place(tmp_path: Path) -> None:
    contents = faults(
        tmp_path,
        """
        outptu = "x"
        tasks = ["metadata", "fiels"]
        [[sources]]
        kind = "search"
        [[sources]]
        kind = "serach"
        [concurrency]
        workers = 0
        downloads = "many"
        [rate]
        api = "fast"
        [files]
        max_size = "12 parsecs"
        """,
    )
    assert sorted(contents) == [
        'harvest.toml: concurrency.downloads: expected a whole number from 1 to 1,000, got "many"',
        "harvest.toml: concurrency.workers: expected a whole number from 1 to 10,000, got 0",
        'harvest.toml: files.max_size: expected a size such as "500 MB" or "2 GiB", got "12 parsecs"',
        'harvest.toml: outptu: unknown key (did you mean "output"?); known: output, tasks, versions, '
        "services, concurrency, rate, retry, timeouts, files, stats, export, sources",
        'harvest.toml: rate.api: expected a number above 0, at least one request a day, or "auto", '
        'got "fast"',
        "harvest.toml: sources[0].query: missing",
        'harvest.toml: sources[1].kind: unknown "serach" (did you mean "search"?); '
        "known: account, search, group, institution, collection, project, items",
        'harvest.toml: tasks: unknown "fiels" (did you mean "files"?); '
        "known: metadata, stats, timeline, breakdown, files",
    ]


def test_option_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = tmp_path / "harvest.toml"
    path.write_text("[rate]\napi = 2\nstats = 2\nfiles = 2\n")
    config = load_config(
        path,
        options={"rate.api": 4.0},
        environ={"HARVESTER_RATE_API": "3", "HARVESTER_RATE_STATS": "3"},
    )
    assert (config.rate.api, config.rate.stats, config.rate.files, config.retry.attempts) == (4, 3, 2, 6)


def test_the_environment_sets_any_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "",
        HARVESTER_OUTPUT="2024",
        HARVESTER_TASKS="metadata, stats",
        HARVESTER_FILES_MAX_SIZE="1 GiB",
        HARVESTER_RATE_FILES="inf",
    )
    assert config.output == "2024"
    assert config.tasks == ("metadata", "stats")
    assert config.files.max_size == 2**30
    assert config.rate.files == math.inf


def test_rate_auto_has_a_ceiling(tmp_path: Path) -> None:
    config = load(tmp_path, '[rate]\napi = "auto"\nstats = 3', HARVESTER_RATE_CEILING="2.5")
    assert config.rate.is_sought("api")
    assert not config.rate.is_sought("stats")
    assert [config.rate.at_most(name) for name in ("api", "stats", "files")] == [2.5, 3.0, 1.0]
    config = load(tmp_path, "", HARVESTER_RATE_API="auto", HARVESTER_RATE_CEILING="inf")
    assert (config.rate.api, config.rate.at_most("api")) == ("auto", math.inf)
    assert not load_config(environ={}).rate.is_sought("api")


@pytest.mark.parametrize("value", ["fast", "Auto", "", 0, -1, True, math.nan, [1], None, 10**400])
def test_invalid_rates_are_faults(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(options={"rate.files": value, "rate.ceiling": 0}, environ={})
    files, ceiling = str(caught.value).splitlines()
    assert files.startswith(
        'options: rate.files: expected a number above 0, at least one request a day, or "auto"'
    )
    assert ceiling == "options: rate.ceiling: expected a number above 0, at least one request a day, got 0"


def options(*words: str) -> dict[str, object]:
    return overrides(build_parser().parse_args(["run", *words]))


def test_rate_auto_can_be_set_for_all_services_or_one() -> None:
    assert options("--rate", "auto") == dict.fromkeys(("rate.api", "rate.stats", "rate.files"), "auto")
    given = options("--rate", "2", "--rate", "api=auto", "--ceiling", "50")
    assert given == {"rate.api": "auto", "rate.stats": 2.0, "rate.files": 2.0, "rate.ceiling": 50.0}


def test_a_misspelt_variable_is_an_error(tmp_path: Path) -> None:
    assert faults(tmp_path, "", HARVESTER_RATE_APPI="3") == [
        'environment: HARVESTER_RATE_APPI: unknown (did you mean "HARVESTER_RATE_API"?)'
    ]


def test_a_fault_of_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert faults(tmp_path, "", HARVESTER_CONCURRENCY_WORKERS="many") == [
        'HARVESTER_CONCURRENCY_WORKERS: expected a whole number from 1 to 10,000, got "many"'
    ]


@pytest.mark.parametrize(
    "text",
    ['token = "s3cret"', '[services]\ntoken = "s3cret"', '[[sources]]\nkind = "account"\ntoken = "s3cret"'],
)
def test_a_token_in_the_file_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    printed = "\n".join(faults(tmp_path, text))
    assert "FIGSHARE_TOKEN" in printed
    assert "token_env" in printed
    assert "s3cret" not in printed


def test_a_token_comes_from_the_named_variable_and_does_not_show(tmp_path: Path) -> None:
    config = load(tmp_path, '[services]\ntoken_env = "MINE"', MINE="s3cret", FIGSHARE_TOKEN="other")
    assert config.token is not None
    assert config.token.reveal() == "s3cret"
    assert "s3cret" not in f"{config!r} {config} {config.token}"


@pytest.mark.parametrize("job", JOBS)
def test_an_account_needs_a_token(job: str, tmp_path: Path) -> None:
    text = '[[sources]]\nkind = "account"'
    message = (
        "harvest.toml, line 1: sources[0]: account needs a token: set the environment variable FIGSHARE_TOKEN"
    )
    without = load(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        without.check_for(job)
    assert str(caught.value) == message
    load(tmp_path, text, FIGSHARE_TOKEN="x").check_for(job)


LACKING = """
outptu = "x"
[services]
impersonate = 7
[stats]
institution = "iastate"
[[sources]]
kind = "acount"
[[sources]]
kind = "account"
[[sources]]
kind = "search"
query = ""
item_type = ""
order = "title"
published_since = 2020-01-01
published_before = 2020-01-01
"""


def test_missing_values_of_a_job_are_reported_with_all_other_faults(tmp_path: Path) -> None:
    wrong = {
        "outptu: unknown key",
        'sources[0].kind: unknown "acount"',
        "sources[2].query: empty",
        "sources[2].item_type: empty",
        'sources[2].order: unknown "title"',
        "sources[2].published_before: no day lies between 2020-01-01 and 2020-01-01",
    }
    token = {
        "sources[1]: account needs a token: set the environment variable FIGSHARE_TOKEN",
        "services.impersonate: needs a token: set the environment variable FIGSHARE_TOKEN",
    }
    credentials = {"stats.institution: needs credentials: set the environment variable FIGSHARE_STATS to"}

    def found(job: str | None) -> list[str]:
        return [fault.removeprefix("harvest.toml: ") for fault in faults(tmp_path, LACKING, job)]

    for job, expected in (
        (None, wrong),
        ("list", wrong | token),
        ("plan", wrong | token),
        ("harvest", wrong | token | credentials),
    ):
        assert len(found(job)) == len(expected)
        assert all(any(fault.startswith(begin) for fault in found(job)) for begin in expected)


@pytest.mark.parametrize(("job", "matters"), [("list", False), ("plan", False), ("harvest", True)])
def test_statistics_credentials_are_checked_for_a_harvest_only(
    job: str, matters: bool, tmp_path: Path
) -> None:
    text = '[stats]\ninstitution = "iastate"\n[[sources]]\nkind = "items"\nids = [1]'
    for environ in ({}, {"FIGSHARE_STATS": "no colon"}):
        config = load(tmp_path, text, **environ)
        assert bool(config.lacking(job)) is matters
        assert "no colon" not in "".join(config.lacking(job))


A_FILE_WITH_LINES = """\
# a comment with [a table]
output = "x"    # line 2

tasks = [
  "metadata",
  "stats",
]
"versions" = "all"
stats.counters = ["views"]

[ rate ]
api = 1
"files" = 2
[export.csv]
byte_order_mark = true
[[sources]]
kind = "items"
ids = [
  1,
  "10.1/x]",
]
file = '''
[not a table]
a = 1'''
[[sources]]
kind = "group"
[files]
include = [ "a" ]
"""


def test_a_key_has_the_line_where_it_stands() -> None:
    assert key_lines(A_FILE_WITH_LINES) == {
        "output": 2, "tasks": 4, "versions": 8, "stats": 9, "stats.counters": 9, "rate": 11, "rate.api": 12,
        "rate.files": 13, "export.csv": 14, "export.csv.byte_order_mark": 15, "sources": 16, "sources[0]": 16,
        "sources[0].kind": 17, "sources[0].ids": 18, "sources[0].file": 22, "sources[1]": 25,
        "sources[1].kind": 26, "files": 27, "files.include": 28,
    }  # fmt: skip
    inline = "sources = [{kind = 'group', id = 3}, {kind = 'items'}]\r\nrate = {api = 2}\r\n"
    assert key_lines(inline) == {
        "sources": 1, "sources[0]": 1, "sources[0].kind": 1, "sources[0].id": 1, "sources[1]": 1,
        "sources[1].kind": 1, "rate": 2, "rate.api": 2,
    }  # fmt: skip
    assert key_lines("[[a]]\n[a.b]\nc = 1\n[[a]]\n[[a.d]]\n[[a.d]]\ne = 1") == {
        "a": 1, "a[0]": 1, "a[0].b": 2, "a[0].b.c": 3, "a[1]": 4, "a[1].d": 5, "a[1].d[0]": 5, "a[1].d[1]": 6,
        "a[1].d[1].e": 7,
    }  # fmt: skip
    assert key_lines('a = """\nb = 1\n"""\nc = 2') == {"a": 1, "c": 4}


def test_what_is_missing_has_the_line_of_its_table(tmp_path: Path) -> None:
    text = "\n[[sources]]\nkind = 'search'\n[stats]\ncounters = []\n[[sources]]\nkind = 'items'\n"
    path = tmp_path / "harvest.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(path, environ={"HARVESTER_RATE_API": "0"})
    assert sorted(str(caught.value).splitlines()) == [
        'HARVESTER_RATE_API: expected a number above 0, at least one request a day, or "auto", got 0.0',
        "harvest.toml, line 2: sources[0].query: missing",
        "harvest.toml, line 5: stats.counters: empty; known: views, downloads, shares",
        "harvest.toml, line 6: sources[1]: ids or file: one of them is needed",
    ]
    path.write_text("[stats]\n")
    with pytest.raises(UsageError, match=r"^harvest.toml, line 1: stats.since: missing"):
        load_config(path, options={"tasks": ["timeline"]}, environ={})
    path.write_text("")
    with pytest.raises(UsageError, match=r"^harvest.toml: stats.since: missing"):
        load_config(path, options={"tasks": ["timeline"]}, environ={})


SYNTAX = (
    ("a = fast", "line 1, column 5", "expected a value: a text in quotes, a number, true, false, a day"),
    ("a =", "", "expected a value"),
    ("a = [1", "", "a ] is missing at the end of a list"),
    ("[a]\n[a]", "line 2, column 3", "a stands in the file twice"),
    ("a = {b = 1}\n[a.c]\n", "line 2, column 5", "a.c stands in the file twice"),
    ("a = {b = 1, b = 2}", "line 1, column 18", "b stands in the table twice"),
    ("a = 1\na = 2\n", "line 2, column 6", "the same key stands in the file twice"),
    ("a = 1 b", "line 1, column 7", "expected the end of the line after a value"),
    ("harvest", "", "expected = after a key"),
    ("= 1", "line 1, column 1", "expected a key or a [table]"),
    ("[a", "", "a ] is missing"),
    ("a = 'x\n", "", "a closing quotation mark is missing"),
    ('a = "C:\\data"', "line 1", "in a text in double quotes, \\ is written \\\\"),
    ('a = "\x00"', "line 1, column 6", "a character that may not stand there"),
    ("a = " + "9" * 5000, "", "a number is too long"),
    ("a = " + "[" * 5000, "", "lists or tables are nested too deeply"),
)


@for_each(("text", "place", "reason"), SYNTAX)
def test_a_fault_of_the_syntax_says_what_is_expected(
    text: str, place: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "harvest.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(path, environ={})
    at, _, what = str(caught.value).removeprefix(str(path)).partition(": not valid TOML: ")
    assert what.startswith(reason)
    assert at.startswith(f", {place}" if place else "")


@pytest.mark.parametrize("job", JOBS)
def test_a_job_without_a_source_has_nothing_to_do(job: str, tmp_path: Path) -> None:
    assert faults(tmp_path, "", job) == [
        f"nothing to {job}: name a source in the config, or --search, --item, …"
    ]
    assert faults(tmp_path, "sources = 3", job) == ["harvest.toml: sources: expected [[sources]] tables"]


def test_a_fault_of_no_single_key_names_its_table(tmp_path: Path) -> None:
    text = '[stats]\nsince = 2020-01-02\nuntil = 2020-01-01\ncounters = []\n[[sources]]\nkind = "items"'
    assert sorted(faults(tmp_path, text)) == [
        "harvest.toml: sources[0]: ids or file: one of them is needed",
        "harvest.toml: stats.counters: empty; known: views, downloads, shares",
        "harvest.toml: stats.since: 2020-01-02 is after 2020-01-01, the last day",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'kind = "institution"\nprivate = 3\nitem_type = " "\norder = "title"',
            ["private: expected true or false, got 3", "item_type: empty", 'order: unknown "title"'],
        ),
        (
            'kind = "search"\nqeury = "x"\nitem_type = 0\npublished_since = 2020\nlicence = " "',
            [
                'qeury: unknown key (did you mean "query"?)',
                "query: missing",
                "published_since: expected a day such as 2024-01-31, got 2020",
                "item_type: expected the number of a type, such as 3, got 0",
                "licence: empty",
            ],
        ),
        (
            'kind = "group"\nid = "x"\norder = "title"',
            ['id: expected an id from 1 to 2^63, got "x"', 'order: unknown "title"'],
        ),
        ('kind = "account"\nquery = ""\nsubgroups = true', ["subgroups: unknown key", "query: empty"]),
    ],
)
def test_one_fault_of_a_source_hides_no_other(text: str, expected: list[str], tmp_path: Path) -> None:
    found = faults(tmp_path, f"[[sources]]\n{text}")
    assert len(found) == len(expected)
    for fault in expected:
        assert any(each.startswith(f"harvest.toml: sources[0].{fault}") for each in found), fault


@pytest.mark.parametrize(
    "text",
    [
        'kind = "institution"\nprivate = 3',
        'kind = "institution"\nprivate = 3\nid = 7',
        'kind = "institution"\nprivate = 3\norder = "views"\nid = 7',
        'kind = "institution"\nid = "x"',
        'kind = "account"\nquery = 3\norder = "views"',
        'kind = "account"\nlicence = 3\norder = "views"',
        'kind = "items"\nids = 3',
        'kind = "items"\nfile = 3',
    ],
)
def test_a_value_that_depends_on_a_faulty_key_is_no_fault(text: str, tmp_path: Path) -> None:
    (found,) = faults(tmp_path, f"[[sources]]\n{text}")
    assert "expected" in found


def test_one_fault_of_a_table_hides_no_other(tmp_path: Path) -> None:
    text = "[stats]\nsince = 2020-01-02\nuntil = 2020-01-01\ncounters = 3\ngranularty = 'day'"
    assert sorted(fault.partition("; known")[0] for fault in faults(tmp_path, text)) == [
        'harvest.toml: stats.counters: expected a list such as ["…"], got 3',
        'harvest.toml: stats.granularty: unknown key (did you mean "granularity"?)',
        "harvest.toml: stats.since: 2020-01-02 is after 2020-01-01, the last day",
    ]


def test_plain_http_is_for_this_machine_only(tmp_path: Path) -> None:
    assert faults(tmp_path, '[services]\napi = "http://example.org/v2"') == [
        "harvest.toml: services.api: plain http is for this machine only: use https"
    ]
    for host in ("127.0.0.1:8700", "localhost:1", "[::1]:5"):
        assert load(tmp_path, f'[services]\napi = "http://{host}/v2"').services.api.endswith("/v2")
    assert faults(tmp_path, '[services]\napi = "http://localhost.evil.org/v2"')


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://localhost:x@evil.example/v2", "a name or password does not belong in an address"),
        ("https://me:s3cret@api.figshare.com/v2", "a name or password does not belong in an address"),
        ("https://s3cret@api.figshare.com/v2", "a name or password does not belong in an address"),
        ("http://127.0.0.1.evil.example/v2", "plain http is for this machine only: use https"),
        ("http://127.0.0.1\\\\@evil.example/v2", "not an address"),
        ("https://[::1/v2", "not an address"),
        ("https://api.figshare.com:99999/v2", "not an address"),
        ("https://:80/v2", "not an address"),
        ("https://?x", "not an address"),
        (f"https://{'a' * 64}.figshare.com/v2", "not an address"),
        ("https://a..figshare.com/v2", "not an address"),
        ("https://xn--a.figshare.com/v2", "not an address"),
    ],
)
def test_an_address_is_checked_by_the_requested_host(tmp_path: Path, address: str, fault: str) -> None:
    for key in ("api", "stats"):
        assert faults(tmp_path, f'[services]\n{key} = "{address}"') == [
            f"harvest.toml: services.{key}: {fault}"
        ]


def test_the_filters_of_a_listing(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [[sources]]
        kind = "group"
        id = 7
        item_type = "Dataset"
        published_since = 2024-02-03
        """,
    )
    (group,) = config.sources
    assert group == Group(id=7, item_type="Dataset", published_since=date(2024, 2, 3))
    assert group.values() == {"item_type": 3, "published_since": "2024-02-03"}
    assert "item_type: empty" in "".join(
        faults(tmp_path, '[[sources]]\nkind = "group"\nid = 7\nitem_type = ""')
    )


@pytest.mark.parametrize(
    "text",
    [
        "sources = 3",
        "sources = [3]",
        "rate = 3",
        "[services]\napi = 3",
        "tasks = 'files'",
        "[rate]\napi = nan",
    ],
)
def test_wrong_shapes_are_faults_and_no_crash(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_a_number_that_no_request_can_carry_is_a_fault(tmp_path: Path) -> None:
    text = '[[sources]]\nkind = "group"\nid = {}'
    assert faults(tmp_path, text.format(2**63)) == [
        f"harvest.toml: sources[0].id: expected an id from 1 to 2^63, got {2**63}"
    ]
    assert faults(tmp_path, text.format(-(2**63) - 1))
    assert load(tmp_path, text.format(2**63 - 1)).sources == (Group(id=2**63 - 1),)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.toml: cannot be read: No such file"):
        load_config(tmp_path / "none.toml", environ={})
    with pytest.raises(UsageError, match=r"harvest.toml, line 1, column 5: not valid TOML: expected a value"):
        load(tmp_path, "a = = 1")
    with pytest.raises(UsageError, match="not valid TOML"):
        load(tmp_path, f"a = {'9' * 5000}")
    with pytest.raises(UsageError, match="not valid TOML"):
        load(tmp_path, f"a = {'[' * 5000}")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_config(tmp_path / "bytes.toml", environ={})


words = st.text("abc123.:/ -", max_size=8)
toml_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(
    options=st.dictionaries(
        st.sampled_from(
            [
                "output",
                "tasks",
                "sources",
                "rate",
                "rate.api",
                "files.max_size",
                "services.api",
                "retry",
                "x.y",
            ]
        ),
        toml_like,
    )
)
def test_any_value_gives_a_config_or_faults(options: dict[str, object]) -> None:
    try:
        load_config(options=options, environ={})
    except UsageError as error:
        assert str(error)


@for_each(
    ("text", "size"),
    [
        ("0", 0),
        ("500 MB", 500_000_000),
        ("2 GiB", 2**31),
        ("1.5kb", 1500),
        (7, 7),
        ("1_000", 1000),
        ("3 TiB", 3 * 2**40),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert ByteCount.parse(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1 MB 2", True, None])
def test_invalid_sizes_are_faults(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        ByteCount.parse(text)


def test_rules_for_files() -> None:
    rules = FileRules(include=("*.csv", "raw/*"), exclude=("*secret*",), max_size=ByteCount(10))
    assert rules.accepts("a/b/data.csv", 10)
    assert rules.accepts("raw/deep/x.bin", 1)
    assert not rules.accepts("x.bin", 1)
    assert not rules.accepts("raw/secret.csv", 1)
    assert not rules.accepts("data.csv", 11)


def test_a_secret_is_itself_only_when_revealed() -> None:
    secret = Secret("abc")
    assert (repr(secret), f"{secret}", secret.reveal()) == ("Secret(…)", "Secret(…)", "abc")


def test_a_table_is_frozen_and_takes_its_own_fields_alone() -> None:
    rules = FileRules(include=("a",))
    assert rules == FileRules(include=("a",)) != FileRules()
    assert len({rules, FileRules(include=("a",)), FileRules()}) == 2
    with pytest.raises(AttributeError, match=r"FileRules\.include: cannot be changed"):
        rules.include = ()  # type: ignore[misc]
    with pytest.raises(TypeError, match="FileRules: has no inclued"):
        FileRules(inclued=())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Group: id is missing"):
        Group()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("value", "hint", "fault"),
    [
        (True, int, "expected a whole number, got true"),
        (1.0, int, "expected a whole number, got 1.0"),
        ("3", int, "expected a number without quotes"),
        ("3.5", float, "expected a number without quotes"),
        ("3 ", Annotated[int, Rule("a small number", bool)], "expected a number without quotes"),
        (0, Annotated[int, Rule("a small number", bool)], "expected a small number, got 0"),
        (10**400, float, "the number is too large"),
        ("x", tuple[str, ...], 'expected a list such as ["x"]'),
        ("x, y", tuple[str, ...], 'expected a list such as ["x", "y"]'),
        (["a", 1], tuple[str, ...], "expected a text in quotes, got 1 (entry 2)"),
        ([1], tuple[str, ...], "expected a text in quotes, got 1"),
        ({}, str | tuple[str, ...], 'expected a text in quotes or a list such as ["…"], got a table'),
        (None, bool, "expected true or false, got nothing"),
        (date(2024, 1, 31), str, "expected a text in quotes, got 2024-01-31"),
        (datetime(2024, 1, 1), date | None, "expected a day such as 2024-01-31, got a day with a time"),  # noqa: DTZ001  # as in TOML
        ("20240101", date | None, 'expected a day such as 2024-01-31, got "20240101"'),
        ("2024-02-30", date | None, 'there is no day "2024-02-30"'),
    ],
)
def test_wrong_values_give_the_expected_messages(value: object, hint: object, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        convert(value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "made"),
    [
        (3, float, 3.0),
        (["a"], tuple[str, ...], ("a",)),
        ([1, "b"], tuple[int | str, ...], (1, "b")),
        ("2024-02-29", date | None, date(2024, 2, 29)),
        (None, str | None, None),
    ],
)
def test_values_are_converted(value: object, hint: object, made: object) -> None:
    converted = convert(value, hint)
    assert (type(converted), converted) == (type(made), made)


# -- values that no machine, calendar or figshare has ---------------------------------------------------

ABSURD: dict[str, tuple[object, ...]] = {
    "concurrency.workers": (2**31, 10**9, -1, 0, True, 1.5, "x", [1], None),
    "concurrency.queue": (10**10, 0),
    "concurrency.downloads": (10**9, 0),
    "rate.api": (1e-308, 0, -1, math.nan, -math.inf, True, "x"),
    "rate.ceiling": (1e-308, 0, math.nan),
    "retry.attempts": (2**63, 2**63 - 1, 0, 1.5),
    "retry.max_wait": (math.inf, 1e300, math.nan, 0),
    "retry.outage_timeout": (math.inf, 1e300, -1),
    "timeouts.connect": (math.inf, math.nan, 1e300, 0),
    "timeouts.idle": (math.inf, math.nan, 1e300, 0),
    "timeouts.min_speed": ("1e400 TB", "9" * 400 + " TB", -5),
    "files.max_size": ("1e400 TB", "9" * 400 + " TB", "nan", True),
    "services.contact": ("a\r\nX-Other: y", "\0", "\x9b31m"),
    "services.impersonate": (10**30, -1),
    "output": ("a\0b", "a\nb", "~nosuchuser/x", 1),
    "stats.since": ("2024-02-30", "0000-01-01", "2024-02-01T00:00:00", "9999-13-31"),
    "versions": ([10**30], [0], [-1], [1.5], []),
}
SOURCES_WITH_AN_ID = ("group", "collection", "project", "institution")


@for_each(("key", "value"), [(key, value) for key, values in ABSURD.items() for value in values])
def test_an_absurd_value_is_one_fault_that_names_its_key(key: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(options={key: value}, environ={})
    (text,) = str(caught.value).splitlines()
    assert text.startswith(f"options: {key}: ")


@for_each("number", [10**30, 2**63, 0, -1, True, 1.5, "", "x", "\0", None, [1]])
@pytest.mark.parametrize("kind", [*SOURCES_WITH_AN_ID, "items"])
def test_an_invalid_id_is_one_fault_of_its_source(kind: str, number: object) -> None:
    if kind == "items" and number in ("x", "\0"):
        return  # a name without an item fails alone
    source = {"kind": kind, **({"ids": [number]} if kind == "items" else {"id": number})}
    with pytest.raises(UsageError) as caught:
        load_config(options={"sources": [source]}, environ={})
    assert str(caught.value).startswith("options: sources[0].id")


@pytest.mark.parametrize("words", [("--item", "1" * 30), ("--group", "1" * 30), ("-o", "~nosuchuser/x")])
@pytest.mark.anyio
async def test_an_absurd_option_leaves_nothing_on_the_disk(words: tuple[str, ...], tmp_path: Path) -> None:
    more = () if words[0] == "--item" else ("--item", "1")
    ended = await harvester("run", *more, *words, cwd=tmp_path)
    assert (ended.status, list(tmp_path.iterdir())) == (2, [])
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "large"])
def test_a_path_that_is_no_config_is_reported_without_waiting(kind: str, tmp_path: Path) -> None:
    path = {"endless": Path("/dev/zero"), "folder": tmp_path}.get(kind, tmp_path / "c.toml")
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "large":
        with path.open("wb") as handle:
            handle.truncate(1 << 30)
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(path, environ={})


def test_a_config_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'output = "x"')
    os.close(writing)
    assert load_config(Path(f"/dev/fd/{reading}"), environ={}).output == "x"
    os.close(reading)


@pytest.mark.anyio
async def test_a_command_reads_a_config_that_comes_through_a_named_pipe_once(tmp_path: Path) -> None:
    pipe = tmp_path / "c.toml"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_text, args=(f'output = "{tmp_path}/out"',), daemon=True)
    writing.start()
    ended = await harvester("status", "-c", pipe)
    assert (ended.status, "not a harvest folder" in ended.err) == (2, True)


_ANY = st.one_of(
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)


@given(key=st.sampled_from(sorted(keys())), value=_ANY)
def test_any_value_of_any_key_is_accepted_or_a_fault_of_that_key(key: str, value: object) -> None:
    try:
        load_config(options={key: value}, environ={})
    except UsageError as error:
        assert str(error).startswith(f"options: {key.partition('.')[0]}")


def test_a_key_of_an_earlier_version_is_an_error_that_names_the_new_one(tmp_path: Path) -> None:
    text = '[retry]\npatience = 60.0\n\n[timeouts]\nslowest = "2 kB"\n'
    assert sorted(faults(tmp_path, text)) == [
        "harvest.toml: retry.patience: is now called retry.outage_timeout",
        "harvest.toml: timeouts.slowest: is now called timeouts.min_speed",
    ]
    with pytest.raises(UsageError) as caught:
        load_config(environ={"HARVESTER_RETRY_PATIENCE": "60", "HARVESTER_TIMEOUTS_SLOWEST": "1 kB"})
    assert sorted(str(caught.value).splitlines()) == [
        "environment: HARVESTER_RETRY_PATIENCE: is now called HARVESTER_RETRY_OUTAGE_TIMEOUT",
        "environment: HARVESTER_TIMEOUTS_SLOWEST: is now called HARVESTER_TIMEOUTS_MIN_SPEED",
    ]


def test_license_is_accepted_for_licence(tmp_path: Path) -> None:
    source = '[[sources]]\nkind = "search"\nquery = "x"\n'
    path = tmp_path / "harvest.toml"
    path.write_text(source + 'license = "CC0"\n')
    assert load_config(path, environ={}).sources[0].licence == "CC0"
    assert faults(tmp_path, source + 'license = " "\n') == ["harvest.toml: sources[0].licence: empty"]
    assert faults(tmp_path, source + 'license = "CC0"\nlicence = "CC0"\n') == [
        "harvest.toml: sources[0].license: given twice, as licence as well"
    ]
    items = '[[sources]]\nkind = "items"\nids = [1]\nlicense = "CC0"\n'
    (fault,) = faults(tmp_path, items)
    assert fault.startswith("harvest.toml: sources[0].license: unknown key")


@for_each(
    ("text", "says"),
    [
        (
            "[[sources]]\nkind = ['group']",
            'line 2: sources[0].kind: expected a text such as "group", got a list',
        ),
        ("\ufeffoutput = 3", "line 1: output: "),
        ('output = "C:\\Users\\me"', "line 1, column 15: not valid TOML: in a text in double quotes"),
        ('\noutput = "abc', "line 2: not valid TOML: a closing quotation mark is missing"),
        ('\noutput = "abc\nx = 1', "line 2, column 14: not valid TOML: a closing quotation mark is missing"),
        ('\n\noutput = """abc\nx = 1\n', "line 3: not valid TOML: a closing quotation mark is missing"),
        ("\nversions = [1", "line 2: not valid TOML: a ] is missing at the end of a list"),
        ("[stats]\nmax_age = 30", "line 2: stats.max_age: expected a duration with its unit"),
        (
            "[files]\nmin_size = '5 GB'\nmax_size = '1 GB'",
            "line 2: files.min_size: 5.0 GB is more than 1.0 GB",
        ),
    ],
)
def test_a_wrong_file_names_the_line_and_what_is_expected(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "harvest.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_config(path, environ={})
    assert says in str(caught.value)


def test_a_mark_at_the_beginning_of_a_file_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "harvest.toml"
    path.write_text('output = "x"', encoding="utf-8-sig")
    assert load_config(path, environ={}).output == "x"


def test_faults_of_a_file_are_in_the_order_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "harvest.toml"
    path.write_text("[rate]\napi = -1\n[[source]]\nkind = 'group'\n[concurrency]\nworkers = 0\n[foo]\n")
    with pytest.raises(UsageError) as caught:
        load_config(path, environ={}, job="harvest")
    lines = re.findall(r"line (\d+): (\S+):", str(caught.value))
    assert lines == [("2", "rate.api"), ("3", "source"), ("6", "concurrency.workers"), ("7", "foo")]
    assert "nothing to harvest" not in str(caught.value)
