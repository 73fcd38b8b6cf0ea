"""What is published: the wheel and the source distribution, as built from this tree."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def build(kind: str, folder: Path) -> Path:
    """Build a "wheel" or an "sdist" into a folder; return the file. Nothing is downloaded."""
    backend = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(backend, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def unpacked_sdist(folder: Path) -> Path:
    """Build the source distribution and unpack it; return its top folder."""
    with tarfile.open(build("sdist", folder / "built")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (top,) = (folder / "unpacked").iterdir()
    return top


def metadata(top: Path) -> Message:
    """Return what a package index shows, from an unpacked source distribution."""
    return Parser().parsestr((top / "PKG-INFO").read_text(encoding="utf-8"))
