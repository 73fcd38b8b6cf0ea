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
    Make an environment in a folder and install packages; give the folder of its programs.

    Raises:
        Failed: they cannot be had.
    """
    measure.run([sys.executable, "-m", "venv", str(folder)])
    programs = folder / "bin"
    constraints = ("--constraint", f"{ROOT}/constraints.txt")
    measure.run([f"{programs}/python", *_PIP, "install", *constraints, *packages])
    return programs


def wheel_of_this(folder: Path) -> str:
    """Build a wheel of the harvester as it stands here, and give its path."""
    measure.run([sys.executable, *_PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    return str(next(folder.glob("*.whl")))


@functools.cache
def programs(*more: str) -> Path:
    """Install the harvester as it stands here, with `more` beside it, once; give its folder of programs."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return environment_with(folder / "venv", wheel_of_this(folder), *more)
