"""
Folders on file systems without locks (some cluster and network mounts): SQLite works there when it is
told not to lock, and then something else must keep two runs apart before either opens the database.

That is a file made with O_EXCL, which holds who made it and whose time of change is the sign of life.
Ages are taken between two files of the same folder, so that it is the server's clock alone that counts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from harvester.errors import FolderInUse
from harvester.ledger.claim import is_alive

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def locks_work(folder: Path) -> bool:
    """Tell whether files in `folder` can be locked; a folder that cannot be written to says yes."""
    try:
        import fcntl  # noqa: PLC0415 - Windows has none, and its locks always work
    except ImportError:
        return True
    try:
        with _Probe(folder) as probe:
            fcntl.lockf(probe.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno not in _NO_LOCKS
    return True


class _Probe:
    """A file that is there for a moment; never the database: closing that would drop its real locks."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f".harvest.{socket.gethostname()}.{os.getpid()}.probe"

    def __enter__(self) -> _Probe:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self.handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)
        self._path.unlink(missing_ok=True)

    @property
    def time(self) -> float:
        return os.fstat(self.handle).st_mtime


class ClaimFile:
    """Holds a folder for one run where nothing can be locked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "harvest.db.claim"
        self._mine = f"{socket.gethostname()} {os.getpid()} {os.urandom(8).hex()}"

    def take(self) -> None:
        """
        Claim the folder; the claim of a process that is gone or silent is taken over.

        Raises:
            FolderInUse: another run is at work here.
        """
        while True:
            try:
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                self._refuse_or_remove()
                continue
            with os.fdopen(handle, "w") as file:
                file.write(self._mine)
            return

    def renew(self) -> bool:
        """Give a sign of life; tell whether the folder is still held."""
        try:
            if self._path.read_text() != self._mine:
                return False
            os.utime(self._path)
        except OSError:
            return False
        return True

    def drop(self) -> None:
        """Let the folder go."""
        with contextlib.suppress(OSError):
            if self._path.read_text() == self._mine:
                self._path.unlink()

    def _refuse_or_remove(self) -> None:
        try:
            host, pid, _ = (self._path.read_text() or "? 0 ?").split(" ")
            beat = self._path.stat().st_mtime
        except FileNotFoundError:
            return
        with _Probe(self._folder) as probe:
            silent = probe.time - beat
        if is_alive(host, int(pid), silent):
            raise FolderInUse(
                f"{self._folder}: another run (process {pid} on {host}) is at work here; wait for it, or "
                "give this one its own folder with --output"
            )
        # Renamed before it is removed: of two that find it stale only one can, and neither removes a new one.
        stale = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(stale)
            stale.unlink()
