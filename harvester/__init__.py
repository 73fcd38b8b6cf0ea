"""
Harvest records, statistics and verified files from figshare.

    import asyncio
    from harvester import harvest, load_config

    config = load_config(search="climate", output="climate")
    summary = asyncio.run(harvest(config))  # in a notebook: await harvest(config)
    print(summary.folder.items, "items; exit status", summary.exit_status)

`load_config` makes a `Config`. `plan`, `harvest`, `verify`, `export` and `status` are the commands of these
names. Every error is a `HarvestError`.

This module is the public API; other modules may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harvester.system.version import __version__

if TYPE_CHECKING:
    from harvester.config import Config
    from harvester.errors import (
        ExitStatus,
        FatalError,
        FolderLocked,
        HarvestError,
        ResourceLimit,
        StorageError,
        TokenRejected,
        Unreachable,
        UsageError,
    )
    from harvester.jobs.export import export
    from harvester.jobs.harvest import harvest
    from harvester.jobs.plan import plan
    from harvester.jobs.plan_totals import Plan
    from harvester.jobs.progress import Progress
    from harvester.jobs.status import status
    from harvester.jobs.verify import Verified, verify
    from harvester.plugins import load_config
    from harvester.summary import Status, Summary

__all__ = [
    "Config",
    "ExitStatus",
    "FatalError",
    "FolderLocked",
    "HarvestError",
    "Plan",
    "Progress",
    "ResourceLimit",
    "Status",
    "StorageError",
    "Summary",
    "TokenRejected",
    "Unreachable",
    "UsageError",
    "Verified",
    "__version__",
    "export",
    "harvest",
    "load_config",
    "plan",
    "status",
    "verify",
]

_PLACES = {
    "Config": "config",
    "ExitStatus": "errors",
    "FatalError": "errors",
    "FolderLocked": "errors",
    "HarvestError": "errors",
    "Plan": "jobs.plan_totals",
    "Progress": "jobs.progress",
    "ResourceLimit": "errors",
    "Status": "summary",
    "StorageError": "errors",
    "Summary": "summary",
    "TokenRejected": "errors",
    "Unreachable": "errors",
    "UsageError": "errors",
    "Verified": "jobs.verify",
    "export": "jobs.export",
    "harvest": "jobs.harvest",
    "load_config": "plugins",
    "plan": "jobs.plan",
    "status": "jobs.status",
    "verify": "jobs.verify",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # else a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name on first use: `harvester --help` needs none of them."""
        if name in _PLACES:
            return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PLACES})
