"""A folder with files that no record lists any more, and words that run the program on it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from harvester.config import Config
from harvester.jobs.harvest import harvest
from harvester.plugins import load_config
from harvester.sandbox import Sandbox, Settings
from tests.support.program import TOKEN, at


def config_of(sandbox: Sandbox, folder: Path, *sources: dict[str, Any], **options: object) -> Config:
    given = {
        "output": str(folder),
        "sources": list(sources),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
        **{key.replace("__", "."): value for key, value in options.items()},
    }
    return load_config(options=given, environ={"FIGSHARE_TOKEN": TOKEN})


EDITED, WITHDRAWN = 5_000_001, 5_000_007
ASIDE = f"file_00~{EDITED}00.csv"
"""Where the file goes that an edit replaces."""


def here(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "files").rglob("*") if not path.is_dir()}


async def harvest_with_orphans(sandbox: Sandbox, folder: Path) -> tuple[set[str], set[str]]:
    """Harvest twice; return what belongs to the harvest and what does not any more."""
    config = config_of(sandbox, folder, {"kind": "items", "ids": [EDITED, 5_000_004, WITHDRAWN]})
    await harvest(config)
    replaced = {f"files/{EDITED}/{ASIDE}"}
    old = replaced | {path for path in here(folder) if f"/{WITHDRAWN}/" in path}
    assert old - replaced < here(folder)
    sandbox.world.edit(EDITED)
    sandbox.world.withdraw(WITHDRAWN)
    assert (await harvest(config)).exit_status == 0
    return here(folder) - old, old


@dataclass(frozen=True)
class Orphans:
    """A folder with files that no record lists any more (``old``), and the sandbox that is closed since."""

    folder: Path
    sandbox: Sandbox
    old: set[str]

    def copy(self, folder: Path) -> Config:
        """Copy the folder; return a config for it."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return config_of(self.sandbox, folder)


def make_orphans(folder: Path) -> Orphans:
    """Make a folder with orphans, for tests without requests."""

    async def make() -> Orphans:
        async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
            _, old = await harvest_with_orphans(sandbox, folder)
            return Orphans(folder, sandbox, old)

    return anyio.run(make)


def run_words(sandbox: Sandbox, folder: Path, *more: str) -> tuple[object, ...]:
    ids = [word for item_id in (EDITED, 5_000_004, WITHDRAWN) for word in ("--item", item_id)]
    return ("run", *ids, "-o", folder, *at(sandbox), *more)
