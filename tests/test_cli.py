"""The command line as a person meets it: what it says, and how it ends."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

import anyio
import orjson
import pytest

from harvester import __version__
from harvester.cli.lines import failed_objects
from harvester.cli.parser import build_parser
from harvester.cli.render import as_json
from harvester.ledger.database.connection import migrate
from harvester.models import Failure
from harvester.sandbox import Sandbox, Settings
from harvester.text.display import one_line
from harvester.text.units import human_bytes
from tests.support.each import for_each
from tests.support.fork_server import fork
from tests.support.forked import forked
from tests.support.program import Ended, at, environment, harvester
from tests.support.truth import rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    return Settings(items=40, private_items=2, own_public=2, heavy=0)


def only_line(err: str) -> str:
    assert err.endswith("\n")
    (line,) = [line for line in err.splitlines() if " harvester 0.1.0 · " not in line]
    assert line.startswith("harvester: ")
    return line.removeprefix("harvester: ")


async def test_help_names_every_command_and_the_exit_statuses() -> None:
    ended = await harvester("--help")
    assert ended.status == 0
    commands = (
        "run",
        "plan",
        "list",
        "status",
        "failed",
        "verify",
        "export",
        "doctor",
        "config",
        "init",
        "sandbox",
    )
    for word in (*commands, "130"):
        assert word in ended.out
    assert ended.out.count("\n    harvester ") == 3, "examples"
    for words in ((), ("help",)):
        assert await harvester(*words) == ended
    of_run = await harvester("run", "--help")
    assert of_run.out.startswith("usage: harvester run [SOURCES] [options]\n\n")
    assert of_run.out.count("\n    harvester run ") == 3
    assert await harvester("help", "run") == of_run
    assert (await harvester("--version")).out == f"harvester {__version__}\n"


def test_every_option_has_a_help_text() -> None:
    parser = build_parser()
    (commands,) = [action for action in parser._actions if action.dest == "==SUPPRESS=="]
    assert isinstance(commands.choices, dict)
    for name, command in commands.choices.items():
        for action in command._actions:
            assert action.help, f"{name} {action.option_strings}"


HEAVY = {
    "aiofiles", "aiohttp", "anyio", "asyncio", "dataclasses", "inspect", "logging", "msgspec", "orjson",
    "rich", "shutil", "socket", "yarl",
}  # fmt: skip
IMPORTS = """
import sys
before = set(sys.modules)
from harvester.cli.main import main
try:
    sys.exit(main())
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules.keys() - before}))
"""
A_CONFIG_WITH_A_FAULT = """
[rate]
apii = "2"
[[sources]]
kind = "account"
[[sources]]
kind = "search"
query = "x"
[[sources]]
kind = "group"
id = 1
[[sources]]
kind = "items"
ids = [1]
"""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help", 0),
        pytest.param("--version", 0, marks=pytest.mark.nightly),
        ("run --help", 0),
        ("status -o harvest", 0),
        ("status -o nothing", 2),
        ("run", 2),
        pytest.param("plan", 2, marks=pytest.mark.nightly),
        ("run -c faulty.toml", 2),
        pytest.param("verify -c faulty.toml", 2, marks=pytest.mark.nightly),
        ("run --item 1 --workers 0", 2),
        ("list", 2),
        pytest.param("list --help", 0, marks=pytest.mark.nightly),
        pytest.param("run --item 1 --type dataset", 2, marks=pytest.mark.nightly),
        pytest.param("run --account --subgroups", 2, marks=pytest.mark.nightly),
        ("run --search x --stats-since 2020", 2),
    ],
)
async def test_fast_commands_import_no_slow_module(words: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "harvest").mkdir()
    with closing(sqlite3.connect(tmp_path / "harvest" / "harvest.db")) as db:
        migrate(db)
    (tmp_path / "faulty.toml").write_text(A_CONFIG_WITH_A_FAULT)
    env = {key: value for key, value in environment().items() if not key.startswith("COVERAGE")}
    done = await anyio.run_process(
        [sys.executable, "-c", IMPORTS, *words.split()], cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == status, done.stderr.decode()
    imported = set(done.stdout.decode().splitlines()[-1].split())
    assert "harvester" in imported
    assert not imported & HEAVY


async def test_no_token(tmp_path: Path) -> None:
    env = environment()
    del env["FIGSHARE_TOKEN"]
    ended = await harvester("run", "--account", "-o", tmp_path / "out", env=env)
    assert ended.status == 2
    assert only_line(ended.err) == (
        "--account: account needs a token: set the environment variable FIGSHARE_TOKEN"
    )
    assert not (tmp_path / "out").exists()


OWN = """
output = "out"
tasks = ["metadata", "stats"]
[stats]
institution = "iastate"
[[sources]]
kind = "account"
"""


async def test_status_verify_and_export_need_no_token_or_credentials(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "harvest.toml").write_text(OWN)
    credentials = {"FIGSHARE_STATS": sandbox.settings.stats_credentials}
    assert (await harvester("run", *at(sandbox), cwd=tmp_path, env=environment(**credentials))).status == 0
    bare = {name: text for name, text in environment().items() if name != "FIGSHARE_TOKEN"}
    for env in (bare, {**bare, "FIGSHARE_TOKEN": "a b", "FIGSHARE_STATS": "no colon"}):
        for command in ("status", "failed", "verify", "export"):
            ended = await harvester(command, cwd=tmp_path, env=env)
            assert (ended.status, ended.err) == (0, ""), command
    sandbox.requests.clear()
    token = "harvester: harvest.toml, line 6: sources[0]: account needs a token: set the environment variable"
    needs = (
        "harvester: harvest.toml, line 5: stats.institution: needs credentials: set the environment variable"
    )
    for command, each in (("run", [needs, token]), ("plan", [token]), ("list", [token])):
        ended = await harvester(command, *at(sandbox), cwd=tmp_path, env=bare)
        assert ended.status == 2
        assert [line.partition(" FIGSHARE_")[0] for line in ended.err.splitlines()] == each
    assert sandbox.requests == []


async def test_impersonation_needs_a_token(tmp_path: Path) -> None:
    env = {name: text for name, text in environment().items() if name != "FIGSHARE_TOKEN"}
    for command in ("run", "plan", "list"):
        ended = await harvester(command, "--item", "1", "--impersonate", "7", cwd=tmp_path, env=env)
        assert ended.status == 2
        assert only_line(ended.err) == (
            "--impersonate: needs a token: set the environment variable FIGSHARE_TOKEN"
        )


async def test_refresh_accepts_only_tasks_of_the_config(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", sandbox.world.public_ids[0], "-o", tmp_path / "out", *at(sandbox))
    ended = await harvester(*words, "--refresh", "timeline", "--refresh", "stats", "--tasks", "files")
    assert ended.status == 2
    assert only_line(ended.err) == "--refresh: stats, timeline: not among the tasks: --tasks names them"
    assert not (tmp_path / "out").exists()
    ended = await harvester(*words, "--refresh", "metadata", "--tasks", "files")
    assert ended.status == 0, "files need the record"


SOME_LICENCE = """
[[sources]]
kind = "search"
query = "survey"
[[sources]]
kind = "group"
id = 11962
licence = "CC"
[[sources]]
kind = "account"
licence = "GPL"
"""


async def test_an_unknown_licence_gives_one_warning_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(SOME_LICENCE)
    async with Sandbox(Settings(items=4, private_items=1, heavy=0)) as sandbox:
        for command in ("run", "plan", "list"):
            ended = await harvester(command, *at(sandbox), cwd=tmp_path)
            assert ended.status == 0, ended.err
            for name in ('"GPL"', '"CC" (did you mean "CC0"?)'):
                message = f"--licence: unknown {name}: taken as it is, and compared with the records"
                assert ended.err.count(message) == 1, command


async def test_a_refused_token(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(FIGSHARE_TOKEN="wrong-one")
    ended = await harvester("run", "--account", "-o", tmp_path / "out", *at(sandbox), env=env)
    assert ended.status == 3
    assert only_line(ended.err) == (
        "the token was refused (environment variable FIGSHARE_TOKEN):"
        " 127.0.0.1/v2/account: refused (403): Invalid or unknown authorization token"
    )
    assert "wrong-one" not in ended.out + ended.err


async def test_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text("[rate]\napii = 2\n")
    ended = await harvester("run", "--search", "x", cwd=tmp_path)
    assert ended.status == 2
    assert only_line(ended.err) == (
        'harvest.toml, line 2: rate.apii: unknown key (did you mean "api"?); '
        "known: api, stats, files, ceiling"
    )


async def test_an_unreachable_host(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v2"
        words = ("run", "--search", "x", "-o", tmp_path / "out", "--api", address, "--attempts", "2")
        ended = await harvester(*words, "--rate", "inf", "-q")
    assert ended.status == 3
    assert only_line(ended.err) == (
        "127.0.0.1/v2/articles/search: connection failed (Connection refused); gave up after 2 attempts"
    )


async def test_a_wrong_output_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    ended = await harvester("run", "--search", "x", "-o", tmp_path / "photos")
    assert ended.status == 2
    assert "is not empty and holds no harvest" in only_line(ended.err)
    ended = await harvester("run", "--search", "x", "-o", tmp_path / "photos" / "cat.jpg")
    assert ended.status == 2
    assert "is a file" in only_line(ended.err)
    ended = await harvester("run", "--search", "x", "-o", "/proc/nowhere")
    assert ended.status == 2
    assert "/proc/nowhere: " in only_line(ended.err)
    assert "no folder can be made there" in only_line(ended.err)
    for command in ("status", "verify", "export"):
        ended = await harvester(command, "-o", tmp_path / "photos")
        assert ended.status == 2
        assert "not a harvest folder" in only_line(ended.err)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cat.jpg", "photos"]


async def test_nothing_to_harvest(tmp_path: Path) -> None:
    ended = await harvester("run", cwd=tmp_path)
    assert ended.status == 2
    assert "name a source" in only_line(ended.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["run", "--rate", "fast"], ["run", "--workers", "many"], ["go"], ["run", "--rate", "api=0"]]
)
async def test_wrong_usage_ends_with_2(words: list[str], tmp_path: Path) -> None:
    ended = await harvester(*words, cwd=tmp_path)
    assert ended.status == 2
    assert "Traceback" not in ended.err


async def test_init_writes_a_config_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    ended = await harvester("init", cwd=tmp_path)
    assert ended.status == 0
    text = (tmp_path / "harvest.toml").read_text()
    assert text == (Path(__file__).parent.parent / "config.example.toml").read_text()
    ended = await harvester("init", cwd=tmp_path)
    assert ended.status == 2
    assert "already exists" in only_line(ended.err)


async def test_a_config_in_the_current_folder_is_taken(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(
        f'tasks = ["stats"]\n[[sources]]\nkind = "items"\nids = [{sandbox.world.public_ids[0]}]\n'
    )
    ended = await harvester("run", *at(sandbox), cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert len((tmp_path / "harvest" / "stats.csv").read_text().splitlines()) == 2


async def test_plan_prints_requests_hours_and_the_limiting_service(sandbox: Sandbox, tmp_path: Path) -> None:
    query = ':category: "Digital Humanities"'
    words = ("--search", query, "-o", tmp_path / "out", *at(sandbox, "50"))
    ids = sandbox.world.search(query)
    ended = await harvester("plan", *words, "--json", "--sample", str(len(ids)))
    assert ended.status == 0, ended.err
    plan = orjson.loads(ended.out)
    files = [
        file
        for item_id in ids
        if not sandbox.world.is_withheld(item_id)
        for file in sandbox.world.files(item_id)
        if not file["is_link_only"]
    ]
    lists = sum(
        len(sandbox.world.files(item_id)) >= 10 or sandbox.world.trait(item_id) == "files null"
        for item_id in ids
    )
    assert plan["items"] == plan["items_pending"] == plan["sampled_records"] == len(ids)
    assert plan["files_pending"] == len(files)
    assert plan["bytes_pending"] == sum(file["size"] for file in files)
    # A list, of items or of files, ends with an empty page.
    assert plan["requests"] == {"api": 3 + len(ids) + 2 * lists, "stats": 2 * len(ids), "files": len(files)}
    assert plan["seconds_at_least"] == round(max(plan["requests"].values()) / 50, 1)
    assert plan["binding_service"] == max(plan["requests"], key=plan["requests"].get)
    assert not (tmp_path / "out").exists()


async def test_a_plan_equals_the_requests_of_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("--search", ":tag: tag4", "-o", tmp_path, *at(sandbox))
    plan = orjson.loads((await harvester("plan", *words, "--json", "--sample", "1000")).out)
    assert (await harvester("run", *words)).status == 0
    run = orjson.loads((tmp_path / "summary.json").read_bytes())["run"]
    assert run["requests"] == plan["requests"]
    again = await harvester("plan", *words)
    assert again.status == 0
    assert " selected, 0 to harvest" in again.out
    assert "files    0, 0 bytes" in again.out


async def test_status_prints_what_is_here_and_what_is_missing(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", ":tag: tag4", "--item", "4999999", "-o", tmp_path, *at(sandbox))
    assert (await harvester(*words)).status == 1
    contents = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
    items = len(sandbox.world.search(":tag: tag4"))
    assert contents["items"] == items + 1
    assert contents["records"] == items
    assert contents["failures"] == 1
    assert contents["last_run"]["state"] == "finished"
    assert contents["work"]["metadata"] == {"done": items, "failed": 1}
    text = (await harvester("status", "-o", tmp_path)).out
    assert f"items     {items + 1}, {items} with their record" in text
    assert "failures  1" in text


async def test_quiet_says_nothing_and_json_logs_are_json(sandbox: Sandbox, tmp_path: Path) -> None:
    item = str(sandbox.world.public_ids[0])
    ended = await harvester("run", "-q", "--item", item, "-o", tmp_path / "a", *at(sandbox))
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    words = ("run", "--log-json", "--item", item, "--item", "4999999", "-o", tmp_path / "b", *at(sandbox))
    ended = await harvester(*words)
    assert (ended.status, ended.out) == (1, "")
    contents = [orjson.loads(line) for line in ended.err.splitlines()]
    assert [entry["event"] for entry in contents] == ["start", "failure", "end"]
    assert contents[1]["message"].startswith(
        "item 4999999, metadata: 127.0.0.1/v2/articles/4999999: not found (404)"
    )


async def test_without_a_terminal_progress_is_printed_as_plain_lines(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=80, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "stats", "-o", tmp_path / "out", "--workers", "4")
        async with forked((*words, *at(sandbox, "10"), "--log-json"), tmp_path / "output") as running:
            await until(lambda: b'"progress"' in running.output.read_bytes(), every=0.2)
            running.terminate()
            assert await running.wait() == 130
        line = orjson.loads(running.output.read_bytes().splitlines()[1])
        assert line["progress"]["items_pending"] == len(sandbox.world.search("survey"))
        assert 75 <= line["progress"]["requests"]["stats"] <= 110
        assert "requests/s: api" in line["message"]


async def test_a_terminal_shows_a_live_display(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ["run", "--search", ":tag: tag4", "-o", str(tmp_path), *at(sandbox, "30")]
    command = " ".join(f"'{word}'" for word in (sys.executable, "-m", "harvester", *words))
    done = await anyio.run_process(
        ["script", "-qec", command, "/dev/null"], env=environment(TERM="xterm", COLUMNS="100"), check=False
    )
    shown = done.stdout.decode()
    assert done.returncode == 0, shown
    assert "requests/s of 30" in shown
    assert "downloads" in shown
    assert "complete: all requested data is here" in shown


@for_each("char", "\x7f\x80\x9b\u061c\u200b\u200e\u202a\u202e\u2066\u2069\u2028\ufeff\U000e0041")
def test_terminal_control_characters_are_escaped_in_json_and_blank_in_lines(char: str) -> None:
    given = {"title": f"a{char}b", char: "é…😀"}
    for text in (as_json(given), *failed_objects([Failure(char, char, "", subject=char)])):
        assert char not in text
        assert char in orjson.loads(text).values() or char in orjson.loads(text)
    assert orjson.loads(as_json(given)) == given
    assert "é…😀" in as_json(given)
    assert one_line(f"a{char}b") == "a b"


async def test_an_odd_title_is_no_escape_sequence_on_a_terminal_and_no_formula_in_a_table(
    tmp_path: Path,
) -> None:
    async with Sandbox(Settings(items=200, heavy=0)) as sandbox:
        world = sandbox.world
        odd = world.with_trait("odd title")
        assert any("\x1b" in world.title(item_id) for item_id in odd)
        words = [word for item_id in odd for word in ("--item", item_id)]
        ended = await harvester("run", *words, "-o", tmp_path, *at(sandbox), "-v")
        assert ended.status == 0
        assert "\x1b" not in ended.out + ended.err
    titles = {row["id"]: row["title"] for row in rows(tmp_path / "items.csv")}
    for item_id in odd:
        title = world.title(item_id)
        shown = f"'{title}" if title[0] in "=+-@\t\r" else title
        assert titles[str(item_id)] == shown
    assert any(title.startswith("'=") for title in titles.values())


async def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        db.execute("PRAGMA user_version = 99")
    ended = await harvester("run", "--search", "x", "-o", tmp_path)
    assert ended.status == 2
    assert "written by a newer harvester" in only_line(ended.err)


async def test_the_sandbox_lists_its_faults_and_refuses_unknown_ones() -> None:
    ended = await harvester("sandbox", "--fault", "help")
    assert ended.status == 0
    assert "challenge" in ended.out
    ended = await harvester("sandbox", "--fault", "nonsense=0.1")
    assert ended.status == 2
    assert 'unknown "nonsense"' in only_line(ended.err)


async def test_a_signal_is_the_usual_end_of_a_sandbox(tmp_path: Path) -> None:
    async with forked(("sandbox", "--items", "1", "--port", "0"), tmp_path / "output") as running:
        await until(lambda: b"# ready" in running.output.read_bytes())
        running.terminate()
        assert await running.wait() == 0
        assert b"interrupted" not in running.output.read_bytes()


async def test_the_sandbox_on_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = await harvester("sandbox", "--port", str(taken.getsockname()[1]))
    assert ended.status == 2
    assert "--port takes another" in only_line(ended.err)


def shell(line: str, folder: Path, **more: str) -> Awaitable[subprocess.CompletedProcess[bytes]]:
    """Run a line of a shell in which `harvester` is the program."""
    program = f"harvester() {{ '{sys.executable}' -m harvester \"$@\"; }}\n"
    env = {name: text for name, text in environment().items() if name != "PYTHONUNBUFFERED"} | more
    return anyio.run_process(["bash", "-c", program + line], cwd=folder, env=env, check=False)


UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
PRINTING = (
    "list --search survey --json",
    "list --search survey",
    "plan --item 5000001 --json",
    "plan --item 5000001",
    "status",
    "status --json",
    "failed",
    "failed --json",
    "verify",
    "export",
    "sandbox --fault help",
)


@pytest.mark.parametrize(
    ("unbuffered", "commands"),
    [
        ({}, (*PRINTING, "--help", "--version")),  # argparse itself hides these two where it is unbuffered
        (UNBUFFERED, PRINTING[:1]),
        pytest.param(UNBUFFERED, PRINTING[1:], marks=pytest.mark.nightly),
    ],
    ids=["buffered", "unbuffered", "unbuffered: the others"],
)
async def test_a_full_output_is_reported_in_one_line(
    unbuffered: dict[str, str], commands: Sequence[str], sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("run", "--item", sandbox.world.public_ids[0], "--item", "x", "-o", tmp_path / "harvest", "-q")
    assert (await harvester(*words, *at(sandbox))).status == 1
    env = environment(**unbuffered)
    for command in commands:
        there = at(sandbox) if command.startswith(("list", "plan")) else ()
        with Path("/dev/full").open("wb") as full:
            ended = await harvester(*command.split(), *there, cwd=tmp_path, env=env, out=full.fileno())
        assert ended.status == 3, command
        assert only_line(ended.err) == "standard output: No space left on device"


async def test_a_run_whose_output_fails_has_still_done_its_work(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--item", 5000001, "--tasks", "metadata", *at(sandbox))
    with Path("/dev/full").open("wb") as full:
        ended = await harvester(*words, cwd=tmp_path, out=full.fileno())
    assert ended.status == 3
    assert ended.err.splitlines()[-1] == "harvester: standard output: No space left on device"
    assert orjson.loads((tmp_path / "harvest" / "summary.json").read_bytes())["run"]["outcome"] == "finished"
    read = await shell("harvester status | true; exit $PIPESTATUS", tmp_path)
    assert (read.returncode, read.stderr) == (0, b""), "a reader who has gone is no error"


@pytest.mark.parametrize(
    "unbuffered",
    [{}, pytest.param(UNBUFFERED, marks=pytest.mark.nightly)],
    ids=["buffered", "unbuffered"],
)
async def test_a_broken_pipe_ends_no_work_and_changes_no_exit_status(
    unbuffered: dict[str, str], tmp_path: Path
) -> None:
    env = environment(**unbuffered)

    async def unread(*words: object) -> Ended:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            return await harvester(*words, cwd=tmp_path, env=env, out=writer)
        finally:
            os.close(writer)

    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        query = ("--search", "survey", *at(sandbox))
        ended = await unread("run", *query, "--item", "99999999")
        assert ended.status == 1, ended.err
        withdrawn = sandbox.world.search("survey")[:2]
        files = tmp_path / "harvest" / "files"
        old = [path for item_id in withdrawn for path in (files / str(item_id)).rglob("*") if path.is_file()]
        assert old
        for item_id in withdrawn:
            sandbox.world.withdraw(item_id)
        accept = ("--accept-withdrawals", len(withdrawn))
        ended = await unread("run", *query, *accept, "--prune", "--yes")
        assert ended.status == 1, "the item of the first run is nowhere yet"
        assert not any(path.exists() for path in old)
        kept = next(path for path in files.rglob("*") if path.is_file())
        kept.write_text("damaged")
        assert (await unread("verify")).status == 1
        for words in (("status",), ("failed",), ("plan", *query), ("list", *query)):
            ended = await unread(*words)
            assert (ended.status, "Traceback" in ended.err) == (0, False), words


async def without(closed: int, *words: object, folder: Path) -> tuple[int, str]:
    """Run the program in a folder with one of its streams closed; return its status, and what it prints."""
    with TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
        given, out, err = (
            None if number == closed else stream.fileno()
            for number, stream in enumerate((nothing, output, output))
        )
        process = fork(words, env=environment(), cwd=folder, streams=(given, out, err))
        status = await process.wait()
        output.seek(0)
        return status, output.read().decode()


async def test_a_closed_standard_error_changes_no_exit_status(sandbox: Sandbox, tmp_path: Path) -> None:
    lost = ("run", "--item", "99999999", "--tasks", "metadata", *at(sandbox))
    for words, status in (
        (("run", "--workers", "0", "--item", "1"), 2),
        (lost, 1),
        (("status", "-o", "nowhere"), 2),
    ):
        assert (await without(2, *words, folder=tmp_path))[0] == status, words
        reading, writing = os.pipe()
        os.close(reading)
        process = fork(words, env=environment(), cwd=tmp_path, streams=(None, writing, writing))
        os.close(writing)
        assert await process.wait() == status, words
    for form in ("2>&1 | true; exit $PIPESTATUS", "2>&-"):  # an interpreter meets it at its end, too
        ended = await shell(f"harvester status -o nowhere {form}", tmp_path)
        assert (ended.returncode, ended.stderr) == (2, b"")


async def test_a_closed_standard_input_is_no_file_of_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    there = ("--tasks", "metadata", *at(sandbox))
    with (tmp_path / "printed").open("wb") as printed:
        for words, status in (
            (("run", "--items", "-", *there), 2),  # it would read what got its descriptor
            (("run", "--item", sandbox.world.public_ids[0], *there, "--prune"), 0),
        ):
            streams = (None, printed.fileno(), printed.fileno())
            process = fork(words, env=environment(), cwd=tmp_path, streams=streams)
            assert await process.wait() == status, words
    assert (
        "harvester: standard input: cannot be read: standard input is closed\n"
        in (tmp_path / "printed").read_text()
    )
    check = (
        "import os; from harvester.cli.console import begin; begin(); "
        "print(os.path.samestat(os.fstat(0), os.stat(os.devnull)))"
    )
    ended = await shell(f"{sys.executable} -c '{check}' <&-", tmp_path)
    assert ended.stdout == b"True\n", ended.stderr


async def test_prune_forgets_files_that_are_gone_already(sandbox: Sandbox, tmp_path: Path) -> None:
    (item_id, *_) = sandbox.world.public_ids
    words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
    assert (await harvester(*words)).status == 0
    (old, *_) = sandbox.world.files(item_id, 1)
    sandbox.world.edit(item_id)
    assert (await harvester(*words)).status == 0
    stem, _, suffix = old["name"].rpartition(".")
    (tmp_path / "files" / str(item_id) / f"{stem}~{old['id']}.{suffix}").unlink()
    contents = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
    assert contents["orphaned_files"]["files"] == 1
    ended = await harvester(*words, "--prune")
    assert ended.status == 0
    assert ended.out.endswith("\nnothing to remove\n")
    contents = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
    assert contents["orphaned_files"] == {"files": 0, "bytes": 0}


async def test_an_output_that_is_closed_is_no_defect(sandbox: Sandbox, tmp_path: Path) -> None:
    there = " ".join(at(sandbox))
    ended = await shell(f"harvester run --item 5000001 --tasks metadata {there} >&-", tmp_path)
    assert ended.returncode == 0, ended.stderr
    for command in ("verify", "export"):
        assert await without(1, command, folder=tmp_path) == (0, "")
    for words in (
        ("list", "--search", "survey", *at(sandbox)),
        ("plan", "--item", "1", *at(sandbox)),
        ("status",),
        ("failed",),
    ):
        status, printed = await without(1, *words, folder=tmp_path)
        assert status == 2
        assert only_line(printed) == "standard output is closed: there is nowhere to print"


ACCOUNT = r"^(entries|items|files) +(\d+)[^:]*: (.*)$"


async def test_the_closing_lines_account_for_everything_and_add_up(tmp_path: Path) -> None:
    faults = {"always-404": 0.1, "always-403-json": 0.1, "always-gone-file": 0.1, "always-wrong-md5": 0.1}
    async with Sandbox(Settings(items=62, heavy=0, faults=faults, odd_entries=True)) as sandbox:
        twice = ("--search", ":tag: tag4", "--item", "no-such-name", "--tasks", "metadata,files")
        ended = await harvester(
            "run", "--search", "survey", *twice, "-o", tmp_path, "--exclude", "*.png", *at(sandbox)
        )
        assert ended.status == 1
        counts = {
            name: (int(total), re.findall(r"(\d+) ([a-z ,]+?)(?=, \d|$)", parts))
            for name, total, parts in re.findall(ACCOUNT, ended.out, re.MULTILINE)
        }
        assert counts.keys() == {"entries", "items", "files"}
        for total, parts in counts.values():
            assert sum(int(number) for number, _ in parts) == total
        words = {name: {word for _, word in parts} for name, (_, parts) in counts.items()}
        assert words["entries"] == {"different items", "duplicates", "unresolved"}
        assert words["items"] == {"done", "not found", "failed permanently"}
        assert words["files"] >= {
            "done", "not found", "failed permanently", "excluded by your file rules", "hosted elsewhere",
            "under embargo", "confidential", "downloads disabled",
        }  # fmt: skip
        assert re.search(r"^by design .* metadata only", ended.out, re.MULTILINE)
        folder = orjson.loads((tmp_path / "summary.json").read_bytes())["folder"]
        assert folder["items"] == counts["items"][0] == folder["listings"]["unique"]
        assert folder["failures"] == len(rows(tmp_path / "failures.csv"))
        shown = (await harvester("status", "-o", tmp_path)).out
        assert f"entries   {counts['entries'][0]}: " in shown


async def test_the_closing_lines_and_status_report_changes_since_the_last_run(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    changed, withdrawn, *others = sandbox.world.public_ids[:3]
    items = [word for item_id in (changed, withdrawn, *others) for word in ("--item", item_id)]
    words = ("run", *items, "-o", tmp_path, *at(sandbox))
    first = await harvester(*words)
    assert "changes" not in first.out, "all of it is new"
    assert "changes" not in (await harvester("status", "-o", tmp_path)).out
    sandbox.world.edit(changed)
    sandbox.world.withdraw(withdrawn)
    size = sandbox.world.size(sandbox.world.files(changed, 1)[0]["id"])
    lines = (
        "changes   1 changed, 1 withdrawn",
        f"orphans   1 file, {human_bytes(size)}, that no record lists any more",
    )
    second = (await harvester(*words)).out
    status = (await harvester("status", "-o", tmp_path)).out
    for line in lines:
        assert f"\n{line}\n" in second
        assert f"\n{line}\n" in status
    assert "1 item withdrawn since it was harvested" in second
    assert "changes" not in (await harvester(*words)).out
    contents = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
    assert contents["changes"] == {}
    assert (contents["versions"], contents["orphaned_files"]) == (0, {"files": 1, "bytes": size})


async def test_status_of_a_run_that_was_killed_before_it_had_begun(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        migrate(db)
    ended = await harvester("status", "-o", tmp_path)
    assert ended.status == 0, ended.err
    assert "last run  none" in ended.out


async def test_an_unexpected_error_ends_with_3_and_is_reported_as_a_defect(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("run", "--item", sandbox.world.public_ids[0], "-o", tmp_path, *at(sandbox))
    assert (await harvester(*words)).status == 0
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:  # what no run writes
        db.execute("UPDATE listings SET position = '[1]', complete = 0")
        db.execute("UPDATE runs SET outcome = 'interrupted'")
    ended = await harvester(*words)
    assert ended.status == 3, "1 would say that it had finished"
    *trace, what, and_then = ended.err.splitlines()
    assert "Traceback (most recent call last):" in trace
    assert trace[-1].startswith("ValueError: invalid literal for int()")
    assert what == (
        "harvester: this is a defect of the program: please report it in its repository, with these lines"
    )
    assert and_then == "harvester: the ledger has all that was done; the same command continues from there"
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        assert db.execute("SELECT outcome FROM runs ORDER BY id DESC").fetchone() == ("stopped",)


@pytest.mark.parametrize("option", ["--search", "--item"])
async def test_bytes_that_are_no_text_are_wrong_usage(option: str, tmp_path: Path) -> None:
    for command in ("run", "plan"):
        ended = await harvester(command, option, "ab\udcffc", "-o", tmp_path / "out")
        assert ended.status == 2
        assert ended.err.startswith(f"harvester: {option}: not UTF-8 text\nusage: harvester {command} ")


async def test_a_list_of_items_that_is_no_text_is_wrong_usage(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_bytes(b"12\nab\xffc\n")
    ended = await harvester("run", "--items", ids, "-o", tmp_path / "out")
    assert ended.status == 2
    assert only_line(ended.err) == f"{ids}: cannot be read: not UTF-8 text: save it as UTF-8"


async def test_a_group_with_a_number_that_no_request_can_carry_is_wrong_usage(tmp_path: Path) -> None:
    ended = await harvester("run", "--group", "9" * 20, "-o", tmp_path / "out")
    assert ended.status == 2
    assert ended.err.startswith(f'harvester: --group: expected an id from 1 to 2^63, got "{"9" * 20}"\n')


async def test_numbers_that_are_no_ids_fail_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    odd = [
        form.format(number)
        for form in ("{}", "https://figshare.com/articles/dataset/x/{}", "10.6084/m9.figshare.{}")
        for number in ("9" * 20, "9" * 5000)
    ]
    ids, folder = tmp_path / "ids.txt", tmp_path / "out"
    ids.write_text("\n".join([*odd, str(sandbox.world.public_ids[0])]))
    for _ in range(2):
        ended = await harvester("run", "--items", ids, "--tasks", "metadata", "-o", folder, *at(sandbox))
        assert ended.status == 1, ended.err
    failures = rows(folder / "failures.csv")
    assert {row["task"] for row in failures} == {"resolve"}
    assert {row["error"].partition(": ")[0] for row in failures} == {name.partition(": ")[0] for name in odd}
    assert [int(row["id"]) for row in rows(folder / "items.csv")] == [sandbox.world.public_ids[0]]


async def test_a_folder_with_a_name_that_is_not_utf8_works(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "o\udcff"
    words = ("run", "--item", sandbox.world.public_ids[0], "--tasks", "metadata", "-o", folder, *at(sandbox))
    assert (await harvester(*words)).status == 0
    env = environment(PYTHONIOENCODING="utf-8:strict")
    ended = await harvester("export", "-o", folder, env=env)
    assert ended.status == 0, ended.err
    assert f"{tmp_path}/o\\udcff/items.csv\n" in ended.out
