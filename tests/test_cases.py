"""The scripts that reproduce faults, where they are there, and what runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.case_judges import RECORDS, TELL_NO_VERDICT, values_in
from tests.support.cases import FOLDER, NEEDS, REPOSITORY, SLOW, Cases, run_in

HERE = Cases(FOLDER)
QUICK = [name for name in HERE.names() if name not in SLOW]


@pytest.mark.nightly
@pytest.mark.skipif(not FOLDER.is_dir(), reason="the scripts that reproduce faults are not here")
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_that_was_met_is_gone(name: str) -> None:
    failure_kind = HERE.run(name)
    if failure_kind.word == "not tried":
        pytest.skip(str(failure_kind))
    assert failure_kind.word == "RIGHT", str(failure_kind)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the scripts that reproduce faults are not here")
def test_every_answer_that_is_kept_has_an_expectation() -> None:
    kept = {name for name in HERE.names() if name.startswith("records/")}
    assert kept == RECORDS.keys()
    assert NEEDS.keys() | SLOW <= set(HERE.names())


def script(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


@pytest.mark.parametrize(
    ("name", "text", "word", "reason"),
    [
        ("field/a.py", "print('RIGHT')", "RIGHT", ""),
        ("field/a.py", "print('WRONG: no end')\nraise SystemExit(1)", "WRONG", "no end"),
        ("field/a.py", "1 / 0", "WRONG", "ZeroDivisionError"),
        ("field/a.py", "import sys; sys.exit('localedef made no locale: not tried')", "not tried", "locale"),
        ("field/a.sh", "echo 'WRONG: exit status 1'", "WRONG", "exit status 1"),
        ("field/a.sh", "echo nothing", "not tried", TELL_NO_VERDICT),
        ("attack/a.py", "print('ok   one')", "RIGHT", ""),
        ("attack/a.py", "print('BAD  two')\nraise SystemExit(1)", "WRONG", "two"),
        ("attack/a.sh", "exit 0", "not tried", TELL_NO_VERDICT),
        ("records/a.json", "{}", "not tried", TELL_NO_VERDICT),
    ],
)
def test_the_result_of_a_script_is_read(name: str, text: str, word: str, reason: str, tmp_path: Path) -> None:
    failure_kind = Cases(tmp_path).run(script(tmp_path, name, text))
    assert failure_kind.word == word
    assert reason in str(failure_kind)


def test_a_case_gets_the_program_and_a_folder_of_its_own_and_no_token(tmp_path: Path) -> None:
    name = script(
        tmp_path,
        "field/a.py",
        "import os, tempfile\n"
        "assert os.environ['HARVESTER'].endswith('harvester'), os.environ['HARVESTER']\n"
        "assert 'FIGSHARE_TOKEN' not in os.environ\n"
        "assert tempfile.gettempdir() == os.getcwd()\n"
        "print('RIGHT')",
    )
    assert Cases(tmp_path).run(name).word == "RIGHT"


def test_a_missing_requirement_of_a_case_is_named(tmp_path: Path) -> None:
    for name in NEEDS:
        script(tmp_path, name, "print('RIGHT')")
        missing = Cases(tmp_path, program=Path("/nowhere/harvester")).missing(name)
        assert set(missing) <= set(NEEDS[name])
    name = "attack/r02_readonly_reader.sh"
    failure_kind = Cases(tmp_path, program=Path("/nowhere/harvester")).run(name)
    assert failure_kind.word == "not tried"
    assert "another user" in str(failure_kind)


def run_all(folder: Path, *only: str) -> tuple[int | None, str]:
    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    return run_in(folder.parent, (sys.executable, "-m", "tests.support.cases", str(folder), *only), env)


def test_one_failed_case_fails_all(tmp_path: Path) -> None:
    script(tmp_path, "field/a.py", "print('RIGHT')")
    script(tmp_path, "field/b.py", "print('WRONG: that')")
    script(tmp_path, "records/c.json", "{}")
    status, printed = run_all(tmp_path)
    assert status == 1
    assert sorted(printed.splitlines()[:-1]) == [
        "RIGHT     field/a.py",
        "WRONG     field/b.py: WRONG: that",
        f"not tried records/c.json: {TELL_NO_VERDICT}",
    ]
    assert printed.splitlines()[-1] == "1 right, 1 wrong, 1 not tried"
    assert run_all(tmp_path, "a.py") == (0, "RIGHT     field/a.py\n1 right, 0 wrong, 0 not tried\n")


def test_missing_cases_are_reported(tmp_path: Path) -> None:
    status, printed = run_all(tmp_path / "none")
    assert (status, printed.count("\n")) == (0, 1)
    assert "there are no cases at" in printed


def test_make_names_the_target() -> None:
    done = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "make cases" in done.stdout


def test_values_of_a_cell_are_told_apart() -> None:
    assert values_in("Soil; Crops") == ["Soil", "Crops"]
    assert values_in('"Sounds; ripples"; Soil') == ["Sounds; ripples", "Soil"]
