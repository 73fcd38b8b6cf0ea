"""The log file: what is in it, and when a new one begins."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harvester.cli.log_file import OLD_FILES, LogFile
from harvester.cli.log_format import set_up
from harvester.errors import UsageError
from harvester.jobs.output_folder import folder_fault, make_folder
from tests.support.each import for_each
from tests.support.program import harvester


def test_a_new_file_begins_at_its_size_and_five_old_ones_stay(tmp_path: Path) -> None:
    handler = LogFile(tmp_path / "log", logging.Formatter("%(message)s"), most_bytes=100)
    for number in range(40):
        handler.handle(logging.makeLogRecord({"msg": f"line {number:2} of forty in all, and it is long"}))
    handler.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "log",
        *(f"log.{n}" for n in range(1, OLD_FILES + 1)),
    ]
    assert (tmp_path / "log").read_text().splitlines()[-1].startswith("line 39")
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())


def test_the_file_has_all_lines_with_dates_though_the_terminal_is_quiet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = set_up(quiet=True, file=tmp_path / "log")
    try:
        logger.info("%s", "10 of 20 items")
        logger.warning("%s", "a warning")
    finally:
        set_up()
    lines = (tmp_path / "log").read_text().splitlines()
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(date + "10 of 20 items", lines[0])
    assert re.fullmatch(date + "a warning", lines[1])
    assert re.fullmatch(date + "a warning\n", capsys.readouterr().err)


def test_a_file_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--log-file: .*/none/log: No such file or directory$"):
        set_up(file=tmp_path / "none" / "log")
    set_up()


@pytest.mark.anyio
async def test_the_file_says_why_a_run_could_not_continue(tmp_path: Path) -> None:
    refused = ("--account", "--api", "http://127.0.0.1:9/v2", "--attempts", 1)
    ended = await harvester("run", *refused, "-o", tmp_path / "out", "--log-file", tmp_path / "log", "-q")
    assert ended.status == 3
    said = ended.err.splitlines()[-1].removeprefix("harvester: ")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1].endswith(f" {said}")
    assert "token: set" in lines[0], "and with which settings"


@pytest.mark.anyio
async def test_the_file_may_be_in_a_new_output_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.log.1").touch()
    refused = ("run", "--account", "--api", "http://127.0.0.1:9/v2", "--attempts", 1, "-o", out)
    ended = await harvester(*refused, "--log-file", out / "run.log", cwd=tmp_path)
    assert ended.status == 3
    assert (out / "run.log").exists()
    assert (out / "harvest.db").exists()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "words", ["run -o new --items none.txt", "run -o empty --items none.txt", "verify new"]
)
async def test_nothing_is_left_of_the_file_after_wrong_usage(words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder = "empty" if "empty" in words else "new"
    ended = await harvester(*words.split(), "--log-file", f"{folder}/logs/run.log", cwd=tmp_path)
    assert ended.status == 2, ended.err
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["empty"]


def test_a_file_that_was_there_before_stays_when_it_is_discarded(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("earlier\n")
    for name in ("old", "new"):
        handler = LogFile(tmp_path / name, logging.Formatter("%(message)s"))
        handler.handle(logging.makeLogRecord({"msg": "first"}))
        handler.discard()
        handler.handle(logging.makeLogRecord({"msg": "too late"}))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "earlier\nfirst\n"


def test_only_the_log_file_of_a_run_may_be_in_a_new_folder(tmp_path: Path) -> None:
    for name in ("run.log", "run.log.1", "run.log.5"):
        (tmp_path / name).touch()
    assert folder_fault(tmp_path, log_file=tmp_path / "run.log") == ""
    for log_file in (None, tmp_path / "other.log", tmp_path.parent / "run.log"):
        assert folder_fault(tmp_path, log_file=log_file).startswith("is not empty")
    (tmp_path / "run.logs").touch()
    assert folder_fault(tmp_path, log_file=tmp_path / "run.log").startswith("is not empty")


@for_each("path", ["a", "a/b", "a/b/c", "/proc/x"])
def test_a_path_where_no_folder_can_be_is_wrong_usage(path: str) -> None:
    with TemporaryDirectory() as above:
        (Path(above) / "a").touch()
        with pytest.raises(
            UsageError, match="is a file; --output names a folder|no folder can be made there"
        ):
            make_folder(Path(above) / path, "--output")
