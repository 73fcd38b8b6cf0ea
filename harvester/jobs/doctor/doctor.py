"""Doctor job: runs all checks in order; the output folder is left as it was found."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TextIO

from anyio import to_thread

from harvester.config import Config
from harvester.errors import HarvestError
from harvester.jobs.doctor.file_system import check_folder
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.jobs.doctor.program import check_program
from harvester.jobs.doctor.services import check_services
from harvester.jobs.doctor.settings import check_settings
from harvester.jobs.doctor.surroundings import check_locale, check_open_files, check_terminal
from harvester.jobs.services import DEFAULT_HOOKS, RunHooks


async def examine(
    config: Config,
    *,
    config_file: str | None = None,
    is_offline: bool = False,
    environ: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
    hooks: RunHooks | None = None,
) -> AsyncIterator[Finding]:
    """
    Yield the result of each check as soon as it is known.

    `config_file`: the one that was read, None for none.
    `is_offline`: make no request. `environ`: None for that of this process.
    `stream`: where the output goes, None for standard output.
    """
    environ = os.environ if environ is None else environ
    for finding in (*check_program(), *check_settings(config, config_file, environ)):
        yield finding
    for finding in await to_thread.run_sync(_checked_folder, config):
        yield finding
    yield check_open_files(config.concurrency)
    output = stream or sys.stdout
    yield check_terminal(environ, output)
    yield check_locale(environ, output)
    if is_offline:
        yield Finding("services", Outcome.OK, "not checked: --offline")
        return
    async for finding in check_services(config, hooks or DEFAULT_HOOKS):
        yield finding


def _checked_folder(config: Config) -> list[Finding]:
    try:
        return check_folder(config.folder)
    except (OSError, HarvestError) as error:
        return [Finding("output", Outcome.FAILED, f"{config.folder}: {error}", "check the output folder")]
