"""Programs in environments of their own, as users have them: from a wheel, bytecode compiled."""

from __future__ import annotations

import atexit
import functools
import shutil
import sys
import tempfile
from pathlib import Path

from bench import measure

ROOT = Path(__file__).parent.parent
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def environment_with(folder: Path, *packages: str) -> Path:
    """
    Create an environment in a folder and install packages; return the folder of its programs.

    Raises:
        Failed: they cannot be installed.
    """
    measure.run([sys.executable, "-m", "venv", str(folder)])
    programs = folder / "bin"
    constraints = ("--constraint", f"{ROOT}/constraints.txt")
    measure.run([f"{programs}/python", *_PIP, "install", *constraints, *packages])
    return programs


def wheel_of_this(folder: Path) -> str:
    """Build a wheel of this checkout of the harvester, and return its path."""
    measure.run([sys.executable, *_PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    return str(next(folder.glob("*.whl")))


@functools.cache
def programs(*more: str) -> Path:
    """Install this checkout of the harvester and the packages `more`, once; return its folder of programs."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return environment_with(folder / "venv", wheel_of_this(folder), *more)
