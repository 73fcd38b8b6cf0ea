"""The machine and the programs of a measurement."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROGRAMS = {
    "nginx": ("nginx-light", ("nginx", "-v")),
    "wrk": ("wrk", ("wrk", "-v")),
    "aria2c": ("aria2", ("aria2c", "--version")),
    "curl": ("curl", ("curl", "--version")),
    "ip": ("iproute2", ("ip", "-V")),
    "tc": ("iproute2", ("tc", "-V")),
    "md5sum": ("coreutils", ("md5sum", "--version")),
}
"""Other programs, each with its Debian package and the command that prints its version."""
PACKAGES = ("aiohttp", "requests", "uvloop")


def missing(programs: tuple[str, ...]) -> list[str]:
    """Return the missing programs, each with the package to install."""
    return [
        f"{name} (Debian, Ubuntu: apt install {PROGRAMS[name][0]})"
        for name in programs
        if shutil.which(name) is None
    ]


def describe() -> dict[str, str]:
    """Return a description of this machine without its name and without paths."""
    found = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for name, (_, words) in PROGRAMS.items():
        if name not in {"md5sum", "tc"} and shutil.which(name):
            found[name] = _version(words)
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def _version(words: tuple[str, ...]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def revision() -> str:
    """Return git's name for what is measured, with a + where the harvester differs from what is recorded."""
    here = Path(__file__).parent.parent
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "harvester"], cwd=here, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() + ("+" if changed.stdout.strip() else "") if found.returncode == 0 else "?"
