"""
Harvest records, statistics and verified files from figshare.

    from harvester import harvest, load_config
    summary = await harvest(load_config("harvest.toml"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harvester.system.version import __version__

if TYPE_CHECKING:
    from harvester.jobs.harvest import harvest
    from harvester.plugins import load_config

__all__ = ["__version__", "harvest", "load_config"]

_PLACES = {"harvest": "harvester.jobs.harvest", "load_config": "harvester.plugins"}


def __getattr__(name: str) -> Any:
    """Import the library on first use: `harvester --help` needs none of it."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
