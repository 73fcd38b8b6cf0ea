"""Every command in the README is run, every config in it is loaded."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio
import pytest

from harvester.cli.parser import build_parser
from harvester.errors import FailureKind
from harvester.figshare.identifiers import item_in
from harvester.plugins import SOURCES, load_config
from harvester.sandbox import FAULTS, Sandbox, Settings, World
from harvester.sandbox.catalogue import COLLECTIONS, GROUPS, INSTITUTION, PROJECTS
from harvester.system.version import __version__
from tests.support.cells import run_cells
from tests.support.each import for_each
from tests.support.faults import PASSING
from tests.support.forked import forked
from tests.support.package import unpacked_sdist
from tests.support.program import Ended, environment, harvester
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for path in [
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
    ]
}


@pytest.fixture
def world() -> Settings:
    return Settings(items=24, private_items=2, own_public=4, heavy=0)


BY_PYTHON_ALONE = ("python3 -m venv .env", ". .env/bin/activate", "python3 -m pip install .")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def against(sandbox: Sandbox) -> dict[str, str]:
    """The environment that points the README's own commands at a sandbox."""
    rates = {f"HARVESTER_RATE_{name}": "inf" for name in ("API", "STATS", "FILES")}
    return environment(HARVESTER_SERVICES_API=sandbox.api, HARVESTER_SERVICES_STATS=sandbox.stats, **rates)


def on_path(folder: Path, env: dict[str, str]) -> dict[str, str]:
    """An environment in which a shell finds `harvester`."""
    program = folder / "harvester"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m harvester "$@"\n')
    program.chmod(0o755)
    return {**env, "PATH": f"{folder}:{env['PATH']}"}


async def run_line(line: str, folder: Path, env: dict[str, str]) -> Ended:
    """Run a line of a page as it stands, without a shell where none is needed."""
    line = line.replace("--rate 20", "--rate inf")
    if line.startswith("harvester ") and "|" not in line:
        return await harvester(*shlex.split(line)[1:], cwd=folder, env=env)
    done = await anyio.run_process(["sh", "-c", line], cwd=folder, env=env, check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


async def test_every_harvester_command_runs_as_it_stands_and_in_its_order(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    lines = [line for line in commands() if line.startswith(("harvester ", "printf "))]
    assert len(lines) >= 10
    env = on_path(tmp_path, against(sandbox))
    for line in lines:
        ended = await run_line(line, tmp_path, env)
        assert ended.status == 0, f"{line}: {ended.err}"
        assert "no item found" not in ended.err, line


@pytest.mark.nightly
async def test_every_command_of_a_guide_that_names_an_id_runs_as_it_stands(tmp_path: Path) -> None:
    lines = [
        line
        for name in ("select-items", "statistics", "versions")
        for block in blocks("sh", PAGES[Path(f"docs/how-to/{name}.md")])
        for line in block.splitlines()
        if re.search(r"--(group|collection|project|item|institution) [0-9]", line)
    ]
    assert len(lines) >= 8
    async with Sandbox(Settings(items=24, private_items=0, heavy=0, together=1)) as sandbox:
        env = {**on_path(tmp_path, against(sandbox)), "FIGSHARE_STATS": "sandbox:sandbox-password"}
        for line in lines:
            ended = await run_line(line, tmp_path, env)
            assert ended.status == 0, f"{line}: {ended.err}"
            assert "no item found" not in ended.err, line


async def test_the_config_harvests_what_it_names(sandbox: Sandbox, tmp_path: Path) -> None:
    (block,) = blocks("toml")
    (tmp_path / "harvest.toml").write_text(block)
    ended = await harvester("run", cwd=tmp_path, env=against(sandbox))
    assert ended.status == 0, ended.err
    ids = {row.split(",")[0] for row in (tmp_path / "humanities" / "items.csv").read_text().splitlines()[1:]}
    assert ids >= {"5616409", "1138718", "14763051"}
    assert len(ids) > 3


def named(option: str) -> set[str]:
    """What the commands of all pages give to an option, in quotes or not."""
    commands = "\n".join(line for text in PAGES.values() for line in text.splitlines() if "harvester" in line)
    return {found.strip("'\"") for found in re.findall(rf"{option} ([^\s`|]+)", commands)}


def sources_in_configs() -> list[dict[str, Any]]:
    """The sources of all configs that the pages and the example show, also those in comments."""
    texts = [block for text in PAGES.values() for block in blocks("toml", text)]
    texts.append((ROOT / "config.example.toml").read_text(encoding="utf-8"))
    table = r"^(?:# )?\[\[sources\]\]\n((?:(?:# )?[a-z_]+ = .*\n)+)"
    tables = re.findall(table, "\n".join(texts), re.MULTILINE)
    return [tomllib.loads(re.sub(r"^# ", "", table, flags=re.MULTILINE)) for table in tables]


def test_every_id_on_a_page_exists_in_the_sandbox(world: Settings) -> None:
    here = World(world)
    configs = sources_in_configs()
    known = {"collection": COLLECTIONS, "project": PROJECTS, "group": dict.fromkeys(row[0] for row in GROUPS)}
    known["institution"] = {INSTITUTION: None}
    for kind, ids in known.items():
        found = {int(number) for number in named(f"--{kind}") if number.isdecimal()}
        found |= {source["id"] for source in configs if source["kind"] == kind}
        assert found, kind
        assert found <= ids.keys(), kind
    items = named("--item") | {str(name) for source in configs for name in source.get("ids", ())}
    assert len(items) >= 4
    for name in items:
        identifier = item_in(name)
        with_handle = [each for each in here.public_ids if name == f"hdl:{here.handle(each)}"]
        item_id = identifier.id if identifier else next(iter(with_handle), 0)
        assert here.exists(item_id), name
        assert not identifier or identifier.version in {0, *here.versions(item_id)}, name


def test_what_is_no_harvester_command_is_known() -> None:
    others = [line for line in commands() if not line.startswith(("harvester ", "printf "))]
    assert others == [
        "pipx install .",
        *BY_PYTHON_ALONE,
        "make demo",
        ". .venv/bin/activate",
        "export FIGSHARE_TOKEN=your-token",
        "make test",
    ]
    makefile = (ROOT / "Makefile").read_text()
    for text in PAGES.values():
        for target in re.findall(r"`make ([a-z]+)`", text):
            assert f"\n{target}:" in makefile


@pytest.mark.nightly
def test_the_lines_for_python_alone_install_both_commands(tmp_path: Path) -> None:
    source = unpacked_sdist(tmp_path)
    packages = str(Path(pytest.__file__).parent.parent)  # what an index would send is here
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": packages}
    script = " && ".join([*BY_PYTHON_ALONE, "harvester --version", "figshare-harvester --version"])
    words, env = ["sh", "-c", script], environment(**offline)
    done = subprocess.run(words, cwd=source, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"harvester {__version__}"] * 2
    assert (source / ".env" / "bin" / "figshare-harvester").exists()


@pytest.mark.nightly
def test_the_demo_ends_with_a_harvest_of_everything(tmp_path: Path) -> None:
    env = on_path(tmp_path, environment(BIN=str(tmp_path)))
    done = subprocess.run(
        ["sh", ROOT / "docs" / "demo.sh"],
        cwd=tmp_path,
        env=env,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "complete: all requested data is here" in done.stdout
    assert "\n  . .venv/bin/activate" in done.stdout
    assert (tmp_path / "demo" / "harvest" / "items.csv").exists()


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_config_loads(block: str, tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(block)
    load_config(tmp_path / "harvest.toml", environ={"FIGSHARE_TOKEN": "x"})


async def test_the_library_examples_run(sandbox: Sandbox, tmp_path: Path) -> None:
    script, notebook = blocks("python")
    (tmp_path / "harvest.toml").write_text(
        f'[[sources]]\nkind = "items"\nids = [{sandbox.world.public_ids[0]}]\n'
    )
    ended = await run_cells([script, notebook, "print(summary.folder.items)"], tmp_path, against(sandbox))
    (first, second) = ended.out.splitlines()
    assert first == "1 items; exit status 0", ended.err
    assert int(second) > 1


async def test_the_sandbox_commands_of_the_documents_start(tmp_path: Path) -> None:
    pages = [PAGES[Path("docs") / name] for name in ("explanation/sandbox.md", "how-to/find-the-rate.md")]
    documented = re.findall(r"harvester sandbox[^`\n]*", "".join([README, *pages]))
    started = 0
    for words in (shlex.split(line)[2:] for line in documented):
        if not words:
            continue
        async with forked(("sandbox", *words, "--port", "0"), tmp_path / "output") as running:
            await until(lambda: b"# ready" in running.output.read_bytes())
            assert running.process.returncode is None
            started += 1
    assert started == 2


@for_each("page", PAGES)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", PAGES[page]):
        there = (ROOT / page.parent / target) if target else ROOT / page
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), (
            f"{page}: {target}#{anchor}"
        )


def anchors(text: str) -> set[str]:
    """The names of the headings of a page, as its readers' programs make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings]
    return {re.sub(r"\s+", "-", each.strip()) for each in plain} | set(re.findall(r'<a id="(\w+)">', text))


@for_each("page", [page for page in PAGES if "how-to" in page.parts])
def test_every_command_of_a_guide_is_understood(page: Path) -> None:
    lines = [line for block in blocks("sh", PAGES[page]) for line in block.splitlines()]
    for line in lines:
        for command in re.findall(r"(?:^|[|=] ?|\w )harvester ((?!is|ended)[a-z].*?)(?:\||$|2>|;)", line):
            words = shlex.split(command)
            assert build_parser().parse_args(words).command == words[0], line


def test_the_page_on_reliability_names_every_fault_and_every_failure_kind() -> None:
    page = PAGES[Path("docs/explanation/reliability.md")]
    for fault, made_of_it in PASSING.items():
        assert f"| `{fault}` – {FAULTS[fault]} | {made_of_it} |" in page
    for failure_kind in FailureKind:
        assert f"| {failure_kind} | " in page


def test_the_exit_statuses_and_services_of_the_help_are_in_the_readme() -> None:
    for status in ("0", "1", "2", "3", "130"):
        assert f"\n| {status} | " in README


def test_the_claims_name_existing_tests() -> None:
    named = re.findall(r"(?:(test_\w+)\.py)?(?:::)?(test_\w+)?`", PAGES[Path("docs/developers/claims.md")])
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")}
    assert len([test for _, test in named if test]) > 40
    for file, test in named:
        assert not file or file in files, file
        if test:
            texts = [files[file]] if file else files.values()
            assert any(f"def {test}(" in text for text in texts), test


def test_the_page_on_selecting_has_every_source() -> None:
    page = PAGES[Path("docs/how-to/select-items.md")]
    for kind in SOURCES:
        assert f"| `{kind}`" in page
