"""What a config may name, the sources, tasks and formats that there are, and how one is read with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harvester import config as configuration
from harvester.config import Config, Kinds
from harvester.exporters import SINKS
from harvester.sources import SOURCES
from harvester.tasks import TASKS

KINDS = Kinds(sources=SOURCES, tasks=tuple(TASKS), formats=tuple(SINKS))


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    job: str | None = None,
) -> Config:
    """
    Read a config file; `options` override its keys by their full names (``"rate.api"``).

    `job`: what the config is for, "harvest", "plan" or "list"; what it lacks for that is told too.

    Raises:
        UsageError: anything is wrong; the message has a line for each fault.
    """
    return configuration.load(
        KINDS, path=Path(path) if path is not None else None, options=options, environ=environ, job=job
    )
