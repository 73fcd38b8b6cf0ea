"""What is published works away from the repository: commands, description, source distribution."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.support.package import ROOT, build, metadata, unpacked_sdist

LINK = r"\]\((?!https?:)[^)]*\)"
"""A link or a picture in Markdown that leads to a file of the same repository."""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as opened:
        yield opened


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in an unpacked source distribution, which does not import this tree."""
    env = {**os.environ, "PYTHONPATH": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, text=True)


def test_the_program_is_also_started_by_the_name_of_the_package(wheel: zipfile.ZipFile) -> None:
    scripts = ConfigParser()
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    scripts.read_string(wheel.read(name).decode())
    started = dict(scripts["console_scripts"])
    assert started == dict.fromkeys(["harvester", "figshare-harvester"], "harvester.cli.main:main")


def test_an_installed_package_has_the_manual_page(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith("/data/share/man/man1/harvester.1")]
    assert wheel.read(name) == (ROOT / "docs" / "harvester.1").read_bytes()


def test_the_description_for_package_indexes_has_no_link_into_the_repository(sdist: Path) -> None:
    description = str(metadata(sdist).get_payload())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(LINK, readme)
    assert re.findall(LINK, description) == []
    for text in re.findall(rf"(?<!!)\[([^\]]+){LINK}", readme):
        assert text in description
    assert "[figshare](https://figshare.com)" in description


def test_the_metadata_names_who_maintains_the_program(sdist: Path) -> None:
    assert metadata(sdist)["Author"] == "The harvester maintainers"


def test_the_source_distribution_builds_the_documentation(sdist: Path, tmp_path: Path) -> None:
    built = run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path), cwd=sdist)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")}
    assert len(pages) > 30
    for page in pages:
        folder = page.parent if page.name == "index" else page
        assert (tmp_path / folder / "index.html").exists(), page


@pytest.mark.nightly
def test_the_source_distribution_runs_the_tests(sdist: Path) -> None:
    collected = run("pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", cwd=sdist)
    assert collected.returncode == 0, collected.stdout
    some = ["test_readme", "test_reference", "test_layers", "test_prose", "test_words"]
    done = run("pytest", "-p", "no:cacheprovider", *(f"tests/{name}.py" for name in some), cwd=sdist)
    assert done.returncode == 0, done.stdout
