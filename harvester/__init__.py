"""
Harvest records, statistics and verified files from figshare.

    import asyncio
    from harvester import harvest, load_config

    config = load_config(search="climate", output="climate")
    summary = asyncio.run(harvest(config))  # in a notebook: await harvest(config)
    print(summary.folder.items, "items; exit status", summary.exit_status)

`load_config` makes a `Config`. `plan`, `harvest`, `verify`, `export` and `status` are the commands of these
names. `open` reads what was harvested. Every error is a `HarvestError`.

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
    from harvester.exporters.rows import (
        Change,
        Failure,
        File,
        Item,
        Stats,
        StatsBreakdown,
        StatsHistory,
        StatsShares,
        StatsTimeline,
        Version,
    )
    from harvester.jobs.export import export
    from harvester.jobs.harvest import harvest
    from harvester.jobs.harvest_folder import HarvestFolder, Rows
    from harvester.jobs.harvest_folder import open as open  # noqa: A004 - exported, not in __all__
    from harvester.jobs.plan import plan
    from harvester.jobs.plan_totals import Plan
    from harvester.jobs.progress import Progress
    from harvester.jobs.status import status
    from harvester.jobs.verify import Verified, verify
    from harvester.plugins import load_config
    from harvester.summary import Status, Summary

# Without `open`: `from harvester import *` must not replace Python's own.
__all__ = [
    "Change",
    "Config",
    "ExitStatus",
    "Failure",
    "FatalError",
    "File",
    "FolderLocked",
    "HarvestError",
    "HarvestFolder",
    "Item",
    "Plan",
    "Progress",
    "ResourceLimit",
    "Rows",
    "Stats",
    "StatsBreakdown",
    "StatsHistory",
    "StatsShares",
    "StatsTimeline",
    "Status",
    "StorageError",
    "Summary",
    "TokenRejected",
    "Unreachable",
    "UsageError",
    "Verified",
    "Version",
    "__version__",
    "export",
    "harvest",
    "load_config",
    "plan",
    "status",
    "verify",
]

_PLACES = {
    "Change": "exporters.rows",
    "Config": "config",
    "ExitStatus": "errors",
    "Failure": "exporters.rows",
    "FatalError": "errors",
    "File": "exporters.rows",
    "FolderLocked": "errors",
    "HarvestError": "errors",
    "HarvestFolder": "jobs.harvest_folder",
    "Item": "exporters.rows",
    "Plan": "jobs.plan_totals",
    "Progress": "jobs.progress",
    "ResourceLimit": "errors",
    "Rows": "jobs.harvest_folder",
    "Stats": "exporters.rows",
    "StatsBreakdown": "exporters.rows",
    "StatsHistory": "exporters.rows",
    "StatsShares": "exporters.rows",
    "StatsTimeline": "exporters.rows",
    "Status": "summary",
    "StorageError": "errors",
    "Summary": "summary",
    "TokenRejected": "errors",
    "Unreachable": "errors",
    "UsageError": "errors",
    "Verified": "jobs.verify",
    "Version": "exporters.rows",
    "export": "jobs.export",
    "harvest": "jobs.harvest",
    "load_config": "plugins",
    "open": "jobs.harvest_folder",
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
