"""Checks of the program: versions of itself, of Python, of the system and of its dependencies."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.ledger.database.connection import SQLITE_VERSION
from harvester.system.version import __version__

DEPENDENCIES = ("aiofiles", "aiohttp", "anyio", "msgspec", "orjson", "rich", "shtab")
OPTIONAL = ("uvloop",)


def check_program() -> list[Finding]:
    """Return the versions."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    found = {name: _version(name) for name in (*DEPENDENCIES, *OPTIONAL)}
    missing = [name for name in DEPENDENCIES if not found[name]]
    text = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return [
        Finding(
            "program",
            Outcome.OK,
            f"harvester {__version__}, {python}, {platform.platform()} ({sys.platform})",
        ),
        Finding(
            "packages",
            Outcome.WARNING if missing else Outcome.OK,
            f"{text}, SQLite {SQLITE_VERSION}",
            f"the versions of {', '.join(missing)} are unknown: install harvester again" if missing else "",
        ),
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
