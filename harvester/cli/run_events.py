"""Events of a run: its first event, also its first line for people, and the numbers of the last one."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.config.keys import AUTO, SERVICES, Rates
from harvester.exporters.summary import NAME
from harvester.figshare.listing_names import listing_name
from harvester.system.version import __version__

if TYPE_CHECKING:
    from harvester.config import Config
    from harvester.engine.progress import ProgressSnapshot
    from harvester.summary import Summary


def start_fields(args: argparse.Namespace, config: Config) -> dict[str, Any]:
    """Return the fields of the first event; of a token only whether there is one."""
    works = hasattr(args, "tasks")  # `run` and `plan`
    return {
        "command": args.command,
        "config": args.config,
        "folder": str(config.folder) if hasattr(args, "output") else None,
        "sources": [source_text(source) for source in config.sources],
        "tasks": list(config.tasks) if works else None,
        "rates": {name: _rate(config.rate, name) for name in SERVICES},
        "services": {"api": config.services.api, "stats": config.services.stats},
        "has_token": config.token is not None,
        "has_stats_credentials": config.stats_credentials is not None,
    }


def start_text(args: argparse.Namespace, config: Config) -> str:
    """Return the first line of a run, for people."""
    parts = [f"harvester {__version__}", args.config or "no config file"]
    parts += [f"→ {config.folder}"] if hasattr(args, "output") else []
    parts += [source_text(source) for source in config.sources]
    usual = Rates()
    rates = [
        f"{name} {_rate_text(config.rate, name)}"
        for name in SERVICES
        if getattr(config.rate, name) != getattr(usual, name)
    ]
    parts += [f"rate: {', '.join(rates)}"] if rates else []
    parts.append(f"token: {'set' if config.token else 'not set'}")
    return " · ".join(parts)


def source_text(source: Any) -> str:
    """Return a source and its filters, as messages name its listings."""
    if source.kind != "items":
        return " and ".join(listing_name(f"{name} {source.given()}") for name, _ in source.criteria())
    parts = [_ids(source.ids)] if source.ids else []
    parts += [f"of {source.file}"] if source.file else []
    return f"items {' and '.join(parts)}"


def _ids(ids: tuple[int | str, ...]) -> str:
    return str(ids[0]) if len(ids) == 1 else f"{ids[0]} and {len(ids) - 1} more"


def _rate(rates: Rates, service: str) -> float | str | None:
    """Return requests a second, "auto", or None for no limit."""
    if rates.is_sought(service):
        return AUTO
    most = rates.at_most(service)
    return most if math.isfinite(most) else None


def _rate_text(rates: Rates, service: str) -> str:
    rate = _rate(rates, service)
    return f"{rate:g}" if isinstance(rate, float) else rate or "unlimited"


class RunResult:
    """
    The result of a run, for the last event.

    Attributes:
        snapshot: of the run, once it has started.
        summary: of the run, once it has ended.
    """

    def __init__(self, folder: Path) -> None:
        self.snapshot: ProgressSnapshot | None = None
        self.summary: Summary | None = None
        self._path = folder / NAME
        self._before = _identity(self._path)

    def fields(self) -> dict[str, Any]:
        """Return the numbers as far as the run came, and the path of its summary if it wrote one."""
        is_written = _identity(self._path) not in {None, self._before}
        return {"counts": self._counts(), "summary": str(self._path) if is_written else None}

    def _counts(self) -> dict[str, Any] | None:
        if self.snapshot is None:
            return None
        state = self.snapshot.state()
        return {
            **{name: state[name] for name in ("items_done", "items_failed", "files_done", "files_failed")},
            "failures": None if self.summary is None else self.summary.folder.failures,
            "bytes": state["file_bytes"],
            "requests": {name: state["requests"].get(name, 0) for name in SERVICES},
            "seconds": state["seconds"],
        }


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what another file at the path would have otherwise; None for no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
