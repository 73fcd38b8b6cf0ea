"""`harvester doctor`: each check says what it found, changes nothing, and shows no secret."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import orjson
import pytest
from jsonschema import Draft202012Validator

from harvester.config import Concurrency
from harvester.jobs.doctor import program
from harvester.jobs.doctor.doctor import examine
from harvester.jobs.doctor.file_system import check_folder, mounted_as
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.jobs.doctor.services import clock
from harvester.jobs.doctor.surroundings import check_locale, check_open_files, check_terminal
from harvester.jobs.services import RunHooks
from harvester.sandbox import Sandbox, Settings
from tests.support.program import Ended, at, config, environment, harvester

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
OTHER_USER = 65534


@pytest.fixture
def world() -> Settings:
    return Settings(items=20, private_items=2, heavy=0)


def checks(ended: Ended) -> dict[str, dict[str, str]]:
    """The result of each check of `doctor --json`, by its name; the document meets its schema."""
    document = orjson.loads(ended.out)
    schema = orjson.loads((ROOT / "harvester/schemas/doctor.schema.json").read_bytes())
    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    outcomes = {each["outcome"] for each in document["checks"]}
    worst = next(each for each in ("failed", "warning", "ok") if each in outcomes)
    assert document["outcome"] == worst
    assert ended.status == (1 if worst == "failed" else 0)
    return {each["check"]: each for each in document["checks"]}


async def doctor(sandbox: Sandbox, folder: Path, *words: object, **env: str) -> dict[str, dict[str, str]]:
    given = {name: value for name, value in environment(**env).items() if value}
    return checks(await harvester("doctor", "--json", "-o", folder, *at(sandbox), *words, env=given))


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


async def test_all_is_well_and_nothing_is_left_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester("doctor", "-o", tmp_path / "a" / "b", *at(sandbox))
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[-1] == f"{len(lines) - 2} checks: {len(lines) - 2} ok"
    for name in ("program", "packages", "proxy", "TLS", "disk", "open files", "terminal", "locale"):
        assert sum(line.startswith(f"ok       {name} ") for line in lines) == 1, name
    for text in ("account 1000001, institution 319", "a/b: does not exist yet; checked in"):
        assert text in ended.out
    assert list(tmp_path.iterdir()) == []
    assert len(sandbox.requests) <= 10
    assert "sandbox-token" not in ended.out


async def test_a_harvest_stays_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    item = sandbox.world.public_ids[0]
    assert (await harvester("run", "--item", item, "-o", tmp_path, *at(sandbox))).status == 0
    before = tree(tmp_path)
    found = await doctor(sandbox, tmp_path)
    assert found["output"]["text"].endswith(": holds a harvest")
    assert tree(tmp_path) == before


async def test_a_refused_token_fails_and_is_not_printed(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await harvester(
        "doctor", "-o", tmp_path, *at(sandbox), env=environment(FIGSHARE_TOKEN="wrong-token-1")
    )
    assert ended.status == 1
    assert "\nfailed   token " in ended.out
    assert "Invalid or unknown authorization token\n" in ended.out
    assert " -> make a token at figshare" in ended.out
    assert ended.out.endswith(" 1 failed\n")
    assert "wrong-token-1" not in ended.out


async def test_without_a_token_nothing_private_is_requested(sandbox: Sandbox, tmp_path: Path) -> None:
    found = await doctor(sandbox, tmp_path, FIGSHARE_TOKEN="")
    assert found["token"]["outcome"] == "ok"
    assert found["token"]["text"] == "none (environment variable FIGSHARE_TOKEN): public items only"
    assert not [request for request in sandbox.requests if request.path.startswith("/v2/account")]


async def test_a_missing_right_fails_only_if_a_source_needs_it(sandbox: Sandbox, tmp_path: Path) -> None:
    plain = {"FIGSHARE_TOKEN": sandbox.settings.plain_token}
    found = await doctor(sandbox, tmp_path, **plain)
    assert found["right: own items"]["text"] == "yes"
    assert found["right: institution"]["outcome"] == "ok"
    assert found["right: institution"]["text"].startswith("no, and no source needs it (")
    (tmp_path / "own.toml").write_text('[[sources]]\nkind = "institution"\nprivate = true\n')
    found = await doctor(sandbox, tmp_path, "-c", tmp_path / "own.toml", **plain)
    assert found["right: institution"]["outcome"] == "failed"
    assert found["right: institution"]["advice"] == "use a token of an administrator"
    found = await doctor(sandbox, tmp_path, "--impersonate", "7", **plain)
    assert found["right: impersonation of 7"]["outcome"] == "failed"


async def test_values_that_the_environment_lacks_are_failed_checks(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[[sources]]\nkind = "account"\n')
    words = ("doctor", "--offline", "-c", tmp_path / "own.toml", "-o", tmp_path)
    ended = await harvester(*words, env=environment(FIGSHARE_TOKEN=""))
    assert ended.status == 1
    assert "sources[0]: account needs a token: set the environment variable FIGSHARE_TOKEN" in ended.out
    ended = await harvester(*words, env=environment(FIGSHARE_TOKEN="a secret"))
    assert ended.status == 1
    assert "FIGSHARE_TOKEN: holds characters that no token has" in ended.out
    assert "a secret" not in ended.out
    found = await doctor(sandbox, tmp_path, FIGSHARE_TOKEN="a secret")
    assert found["token"]["text"].endswith("set, but it is no token")


async def test_statistics_of_an_institution_need_good_credentials(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[stats]\ninstitution = "iastate"\n')
    words = ("-c", tmp_path / "own.toml")
    good = {"FIGSHARE_STATS": sandbox.settings.stats_credentials}
    found = await doctor(sandbox, tmp_path, *words, **good)
    assert found["statistics"]["outcome"] == "ok"
    bad = await harvester(
        "doctor", *words, "-o", tmp_path, *at(sandbox), env=environment(FIGSHARE_STATS="me:wrong-word")
    )
    assert bad.status == 1
    assert "\nfailed   statistics " in bad.out
    assert "check stats.institution and the environment variable FIGSHARE_STATS" in bad.out
    assert "wrong-word" not in bad.out


@pytest.mark.parametrize(
    ("fault", "record", "api"),
    [
        ("always-challenge", "warning", "ok"),
        pytest.param("always-gone-file", "failed", "failed", marks=pytest.mark.nightly),
    ],
)
async def test_each_download_route_is_tried(fault: str, record: str, api: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, private_items=0, heavy=0, faults={fault: 1.0})) as sandbox:
        found = await doctor(sandbox, tmp_path, FIGSHARE_TOKEN="")
    assert (found["download: record"]["outcome"], found["download: api"]["outcome"]) == (record, api)


async def test_a_file_is_tried_by_its_first_byte_only(sandbox: Sandbox, tmp_path: Path) -> None:
    found = await doctor(sandbox, tmp_path, FIGSHARE_TOKEN="")
    for route in ("record", "api"):
        assert found[f"download: {route}"]["text"].endswith(": the first byte of a file came")
    sent = [request for request in sandbox.requests if request.service == "storage"]
    assert [request.headers.get("Range") for request in sent] == ["bytes=0-0"] * 2


async def test_an_api_that_does_not_answer_fails_soon(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v2"
        ended = await harvester("doctor", "--json", "-o", tmp_path, "--api", address)
    found = checks(ended)
    assert found["api"]["outcome"] == "failed"
    assert "Connection refused" in found["api"]["text"]
    assert found["token"]["text"].startswith("not checked: ")
    assert not {"statistics", "clock"} & found.keys()


async def test_requests_keep_to_the_rate(sandbox: Sandbox, tmp_path: Path) -> None:
    began = time.monotonic()
    await harvester("doctor", "-o", tmp_path, *at(sandbox, "5"), env=environment(FIGSHARE_TOKEN=""))
    to_api = [request for request in sandbox.requests if request.service == "api"]
    assert time.monotonic() - began >= (len(to_api) - 1) / 5


async def test_a_wrong_clock_is_a_warning(sandbox: Sandbox, tmp_path: Path) -> None:
    hooks = RunHooks(wall_clock=lambda: time.time() + 3600)
    job = config(sandbox, tmp_path)
    found = {each.check: each async for each in examine(job, environ={}, hooks=hooks)}
    assert found["clock"].outcome is Outcome.WARNING
    durations = ("1 h 00 min", *(f"59 min {seconds} s" for seconds in range(55, 60)))
    assert found["clock"].text in {f"{duration} ahead of the API's" for duration in durations}


def test_a_clock_that_is_days_off_is_told_in_days() -> None:
    served, day = "1970-02-01T00:00:00+00:00", 86400
    now = 31 * day
    assert clock(served, now + 31 * day).text == "31 days ahead of the API's"
    assert clock(served, now - 5).text == "5 s behind the API's"


def test_a_file_system_without_a_size_is_not_a_full_disk() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no /proc here")
    (disk,) = [found for found in check_folder(Path("/proc")) if found.check == "disk"]
    assert (disk.outcome, disk.text) == (Outcome.OK, "this file system does not say how much is free")


async def test_a_proxy_is_shown_without_its_password(tmp_path: Path) -> None:
    env = environment(HTTPS_PROXY="http://me:geheim1@proxy.example:3128", NO_PROXY="stats.figshare.com")
    ended = await harvester("doctor", "--offline", "-o", tmp_path, env=env)
    assert ended.status == 0
    assert (
        "http://proxy.example:3128, with a name and password (HTTPS_PROXY); api.figshare.com: by the proxy; "
        "stats.figshare.com: direct; ndownloader.figshare.com: by the proxy"
    ) in ended.out
    assert "geheim1" not in ended.out
    ended = await harvester("doctor", "--offline", "-o", tmp_path, env=environment(HTTPS_PROXY="socks5://x"))
    assert ended.status == 1
    assert "HTTPS_PROXY: socks5 proxies cannot be used" in ended.out


async def test_a_wrong_certificate_file_fails(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    env = environment(SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    ended = await harvester("doctor", "--offline", "--json", "-o", tmp_path, env=env)
    assert checks(ended)["TLS"]["outcome"] == "failed"
    assert "SSL_CERT_FILE" in checks(ended)["TLS"]["text"]


async def test_a_faulty_config_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text("[rate]\napii = 2\n")
    ended = await harvester("doctor", "--offline", cwd=tmp_path)
    assert ended.status == 2
    (tmp_path / "harvest.toml").write_text("[rate]\napi = 1\n")
    ended = await harvester("doctor", "--offline", cwd=tmp_path)
    assert "ok       config                   harvest.toml\n" in ended.out


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [each.partition(">")[0] for each in project["dependencies"]] == list(program.DEPENDENCIES)
    assert [found.outcome for found in program.check_program()] == [Outcome.OK, Outcome.OK]


# -- the folder -----------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may reach, as those of pytest may not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
async def test_a_folder_that_cannot_be_written_fails(shared: Path) -> None:
    user = OTHER_USER if os.geteuid() == 0 else None
    if user is None:
        shared.chmod(0o555)
    ended = await harvester("doctor", "--offline", "--json", "-o", shared / "new", user=user, cwd=shared)
    shared.chmod(0o755)
    found = checks(ended)["file system"]
    assert found["outcome"] == "failed"
    assert found["text"].endswith("cannot be written: Permission denied")
    assert list(shared.iterdir()) == []


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {each.check: each for each in findings}


def test_a_file_in_place_of_the_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        (found,) = check_folder(path)
        assert found.outcome is Outcome.FAILED
        assert found.text == f"{tmp_path / 'file'}: is not a folder"


def test_a_folder_that_a_run_would_refuse_fails(tmp_path: Path) -> None:
    assert by_name(check_folder(tmp_path))["output"].text == f"{tmp_path}: is empty"
    (tmp_path / "cat.jpg").write_text("meow")
    found = by_name(check_folder(tmp_path))["output"]
    assert found.outcome is Outcome.FAILED
    assert found.text == f"{tmp_path}: is not empty and holds no harvest"
    assert found.advice == "name a new or empty folder with --output"


def test_what_a_killed_check_left_is_removed_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    left = tmp_path / f".harvest.{socket.gethostname()}.{process.pid}.x0123.probe"
    left.symlink_to("nowhere")
    assert by_name(check_folder(tmp_path))["output"].text == f"{tmp_path}: is empty"
    assert list(tmp_path.iterdir()) == []


def test_the_file_system_is_tried(tmp_path: Path) -> None:
    found = by_name(check_folder(tmp_path))
    assert found["file system"].text.partition(": ")[2] == (
        "fsync yes, hard links yes, symbolic links yes, atomic rename yes, locks yes, case-sensitive yes"
    )
    free = int(found["disk"].text.partition(" ")[0].replace(",", ""))
    assert abs(free - shutil.disk_usage(tmp_path).free) < 1 << 30  # other tests write to the same disk


@pytest.mark.nightly
def test_without_locks_is_a_warning(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to play a file system without locks")
    library = tmp_path / "no_locks.so"
    source = Path(__file__).parent / "support" / "no_locks.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    env = environment(LD_PRELOAD=str(library), NO_LOCKS_BELOW=str(tmp_path))
    ended = anyio.run(_offline, tmp_path / "out", env)
    found = checks(ended)["file system"]
    assert found["outcome"] == "warning"
    assert "locks not supported" in found["text"]
    assert "a local disk is better" in found["advice"]


async def _offline(folder: Path, env: dict[str, str]) -> Ended:
    return await harvester("doctor", "--offline", "--json", "-o", folder, env=env)


def test_the_type_of_a_file_system_is_that_of_its_mount(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    lines = [
        "22 1 0:0 / /proc rw - proc proc rw",
        f"23 1 {os.major(device)}:{os.minor(device)} / / rw,relatime shared:1 - nfs4 server:/x rw",
    ]
    mounts.write_text("\n".join(lines))
    assert mounted_as(tmp_path, mounts) == "nfs4"
    mounts.write_text(lines[0])
    assert mounted_as(tmp_path, mounts) == "unknown type"
    assert mounted_as(tmp_path, tmp_path / "none") == "unknown type"


# -- the process ----------------------------------------------------------------------------------


def test_more_workers_than_open_files_are_a_warning() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)\n"
        "from harvester.config import Concurrency\n"
        "from harvester.jobs.doctor.surroundings import check_open_files\n"
        "print(check_open_files(Concurrency()).outcome)"
    )
    for number, outcome in (("64", "warning"), ("20", "failed")):
        done = subprocess.run(
            [sys.executable, "-c", code, number], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{outcome}\n"
    assert check_open_files(Concurrency(workers=1, downloads=1)).outcome is Outcome.OK
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class _Terminal(io.TextIOWrapper):
    def __init__(self, charset: str = "utf-8", *, is_terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=charset)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_a_terminal_without_capabilities_is_a_warning() -> None:
    expected: list[tuple[dict[str, Any], bool, Outcome]] = [
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, Outcome.OK),
        ({"TERM": "dumb"}, True, Outcome.WARNING),
        ({}, True, Outcome.WARNING),
        ({"TERM": "dumb"}, False, Outcome.OK),
    ]
    for environ, is_terminal, outcome in expected:
        found = check_terminal(environ, _Terminal(is_terminal=is_terminal))
        assert found.outcome is outcome, environ
        assert all(f"{name}={value}" in found.text for name, value in environ.items())


def test_a_charset_other_than_utf_8_is_a_warning() -> None:
    assert check_locale({"LANG": "C"}, _Terminal("ascii")).outcome is Outcome.WARNING
    found = check_locale({"LANG": "en_GB.UTF-8"}, _Terminal("UTF-8"))
    assert found.outcome is Outcome.OK
    assert found.text.startswith("output UTF-8, paths utf-8, ")
    assert found.text.endswith("(LANG=en_GB.UTF-8)")
