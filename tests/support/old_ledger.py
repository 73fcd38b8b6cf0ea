"""Ledgers that earlier versions made, kept as fixtures."""

from __future__ import annotations

import lzma
from pathlib import Path

from harvester.ledger.database.connection import NAME

FIXTURES = Path(__file__).parents[1] / "fixtures"


def unpack(name: str, folder: Path) -> Path:
    """Put the ledger of a fixture into a folder; return its path."""
    path = folder / NAME
    path.write_bytes(lzma.decompress((FIXTURES / f"{name}.db.xz").read_bytes()))
    return path
