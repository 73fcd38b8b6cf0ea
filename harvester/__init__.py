"""
Harvest records, statistics and verified files from figshare.

    from harvester import harvest, load_config
    summary = await harvest(load_config("harvest.toml"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harvester.job import harvest, load_config

__version__ = "0.1.0"
__all__ = ["__version__", "harvest", "load_config"]


def __getattr__(name: str) -> Any:
    """Import the library when it is used: `harvester --help` needs none of it."""
    if name in {"harvest", "load_config"}:
        from harvester import job  # noqa: PLC0415 - the reason is the docstring

        return getattr(job, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
