"""
Exporters: the output formats, each written from the ledger. A new one is a module here and a line in
`plugins.py`.

An exporter is a frozen dataclass whose fields are its options: the keys of ``[export.<format>]``. It is
synchronous code that reads the ledger and runs in a worker thread. Its module may import packages that only
an extra of the same name installs; if they are missing, the error is one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harvester.ledger.reader import Reader


class Exporter(Protocol):
    """
    One output format.

    ``format``: its name in the config.
    ``files``: what it writes, as paths or globs relative to the folder; `*` crosses ``/``.
    """

    format: ClassVar[str]

    @property
    def files(self) -> Sequence[str]: ...

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        """Write the output into `folder`, each file by atomic rename, and return the files written."""
        ...


__all__ = ["Exporter"]
