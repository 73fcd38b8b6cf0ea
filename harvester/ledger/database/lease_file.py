"""
Lease file: the lease on file systems without locks (some cluster and network mounts). SQLite works there
without locking, so the lease file must exclude a second run before it opens the database.

The file is created with O_EXCL, and contains its process and a heartbeat. `heartbeat.py` judges whether that
process is still active.
"""

import contextlib
import errno
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple, Self

from harvester.errors import StorageError
from harvester.ledger.database.heartbeat import Sign, Watch, new_beat
from harvester.system.process import Process, is_running, this_host, this_process

_FILE_NAME = "harvest.db.claim"
_FOR_A_MOMENT = re.compile(r"\.harvest\.(?P<host>.+)\.(?P<pid>\d+)(\.x[0-9a-f]+)?\.(?P<kind>probe|aside)")
_OPENED_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LONGEST_MOMENT_SECONDS = 3600.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def locks_work(folder: Path) -> bool:
    """Return whether files in `folder` can be locked; True if the folder is not writable."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where locks always work
    except ImportError:
        return True
    try:
        with _Probe(folder) as probe:
            fcntl.lockf(probe.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno not in _NO_LOCKS
    return True


def is_leased(folder: Path) -> bool:
    """Return whether a run with a lease file is active in `folder`, or was killed there."""
    return (folder / _FILE_NAME).exists()


def find_lease(folder: Path) -> str:
    """Return the last heartbeat in the lease file of `folder`, "" if there is none."""
    try:
        return LeaseState.read(folder / _FILE_NAME).sign.beat
    except (OSError, StorageError):
        return ""


def is_trace(name: str) -> bool:
    """Return whether a file of this name can remain from a run that was killed before it had a ledger."""
    return name == _FILE_NAME or _FOR_A_MOMENT.fullmatch(name) is not None


def probe_path(folder: Path) -> Path:
    """Return an unused path for a temporary file in `folder`; a later run removes one that a kill leaves."""
    return _for_a_moment(folder, "probe")


def _for_a_moment(folder: Path, kind: str) -> Path:
    # Two containers may share host name and pid, so a random part is needed.
    return folder / f".harvest.{this_host()}.{os.getpid()}.x{os.urandom(6).hex()}.{kind}"


class _Probe:
    """A temporary file; not the database, as closing that would drop its locks."""

    def __init__(self, folder: Path) -> None:
        self._path = _for_a_moment(folder, "probe")

    def __enter__(self) -> Self:
        self.handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._remove_stale()
        return self

    def _remove_stale(self) -> None:
        for path in self._path.parent.glob(".harvest.*"):
            made_by = _FOR_A_MOMENT.fullmatch(path.name)
            if made_by is None or path == self._path:
                continue
            with contextlib.suppress(OSError):
                age = self.time - path.lstat().st_mtime
                if age > _LONGEST_MOMENT_SECONDS or (made_by["kind"] == "probe" and _is_gone(made_by)):
                    path.unlink()

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)
        self._path.unlink(missing_ok=True)

    @property
    def time(self) -> float:
        return os.fstat(self.handle).st_mtime


def _is_gone(made_by: re.Match[str]) -> bool:
    """Return whether no process here has this pid; deleting the probe of another container does no harm."""
    return made_by["host"] == this_host() and not is_running(int(made_by["pid"]))


class LeaseState(NamedTuple):
    """The content of a lease file, and when it changed last."""

    text: str
    changed_ns: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """
        Read a lease file.

        Raises:
            StorageError: it is no regular file, so opening it could block.
        """
        with os.fdopen(_open(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
            return cls(file.read(), os.fstat(file.fileno()).st_mtime_ns)

    @property
    def sign(self) -> Sign:
        """Its process, and its last heartbeat."""
        return Sign(self._made_by, f"{self.text} {self.changed_ns}")

    @property
    def _made_by(self) -> Process:
        """Host and pid; "?" and 0 if they are unknown, as before the text is written."""
        words = self.text.rsplit(" ", 5)
        if len(words) == 6 and words[1].isdecimal():
            return Process(words[0], int(words[1]), words[2].strip("-"), words[3].strip("-"))
        words = self.text.rsplit(" ", 2)  # from an earlier version
        return (
            Process(words[0], int(words[1])) if len(words) == 3 and words[1].isdecimal() else Process("?", 0)
        )


def _open(path: Path, how: int) -> int:
    handle = os.open(path, how | _OPENED_SAFELY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StorageError(f"{path}: is not a regular file; inspect and remove it")
    return handle


class LeaseFile:
    """The lease of one run on a folder without file locks."""

    def __init__(self, folder: Path, watch: Watch) -> None:
        self._folder = folder
        self._path = folder / _FILE_NAME
        self._watch = watch
        me = this_process()
        token = os.urandom(8).hex()
        self._mine = f"{me.host} {me.pid} {me.machine or '-'} {me.began or '-'} {token} "

    def take(self) -> None:
        """
        Acquire the lease; that of a dead or silent process is taken over.

        Raises:
            FolderLocked: another run is active here.
        """
        while True:
            try:
                handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                if (stale := self.find_stale()) is not None:
                    self.remove(stale)
                continue
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(self._mine + new_beat())
            except OSError:  # a full disk; the next run would watch an empty lease for a minute
                self._path.unlink(missing_ok=True)
                raise
            return

    def renew(self) -> bool:
        """Renew the heartbeat; return whether the lease is still held."""
        try:
            handle = _open(self._path, os.O_RDWR)
        except (OSError, StorageError):
            return False
        # Write only to the opened file: by now the name may belong to another run's lease.
        with os.fdopen(handle, "r+b", buffering=0) as file, contextlib.suppress(OSError):
            if file.read(len(self._mine.encode())) == self._mine.encode():
                file.write(new_beat().encode())
                return True
        return False

    def drop(self) -> None:
        """Release the lease."""
        with contextlib.suppress(OSError, StorageError):
            if LeaseState.read(self._path).text.startswith(self._mine):
                self._path.unlink()

    def find_stale(self) -> LeaseState | None:
        """
        Return the lease of a dead or silent process; None if there is none any more.

        Raises:
            FolderLocked: its process is active here.
        """
        found: LeaseState | None = None

        def look() -> Sign | None:
            nonlocal found
            try:
                found = LeaseState.read(self._path)
            except FileNotFoundError:
                return None
            return found.sign

        return found if self._watch.judge(look) is not None else None

    def remove(self, stale: LeaseState) -> None:
        """Remove the stale lease file, but not another one that has replaced it since."""
        # Only one process can rename it; only after that can it check that it was still the stale one.
        aside = _for_a_moment(self._folder, "aside")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
            if LeaseState.read(aside) == stale:
                aside.unlink()
            else:
                self._put_back(aside)

    def _put_back(self, aside: Path) -> None:
        try:
            os.link(aside, self._path)
        except FileExistsError:
            pass  # a third run has the lease; the owner of this one notices before it writes
        except OSError:  # no hard links here; a third run would notice too that it has lost the lease
            aside.rename(self._path)
            return
        aside.unlink()
