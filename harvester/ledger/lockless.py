"""
Folders on file systems without locks (some cluster and network mounts): SQLite works there when it is
told not to lock, and then something else must keep two runs apart before either opens the database.

That is a file made with O_EXCL, which holds who made it and whose time of change is the sign of life.
Ages are taken between two files of the same folder, so that it is the server's clock alone that counts.
"""

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import NamedTuple, Self

from harvester.errors import FolderInUse
from harvester.ledger.claim import is_alive, this_host

_CLAIM = "harvest.db.claim"
_FOR_A_MOMENT = re.compile(r"\.harvest\.(?P<host>.+)\.(?P<pid>\d+)\.(probe|aside)")
_LONGEST_MOMENT_SECONDS = 3600.0
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


def is_claimed(folder: Path) -> bool:
    """Tell whether a run that does not trust in locks is at work in `folder`, or was killed there."""
    return (folder / _CLAIM).exists()


def is_trace(name: str) -> bool:
    """Tell whether a file of this name is what a run leaves that is killed before it has a ledger."""
    return name == _CLAIM or _FOR_A_MOMENT.fullmatch(name) is not None


def _for_a_moment(folder: Path, kind: str) -> Path:
    return folder / f".harvest.{this_host()}.{os.getpid()}.{kind}"


class _Probe:
    """A file that is there for a moment; never the database: closing that would drop its real locks."""

    def __init__(self, folder: Path) -> None:
        self._path = _for_a_moment(folder, "probe")

    def __enter__(self) -> Self:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self.handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._remove_those_of_the_dead()
        return self

    def _remove_those_of_the_dead(self) -> None:
        for path in self._path.parent.glob(".harvest.*"):
            made_by = _FOR_A_MOMENT.fullmatch(path.name)
            if made_by is None or path == self._path:
                continue
            with contextlib.suppress(OSError):
                age = self.time - path.stat().st_mtime
                if age > _LONGEST_MOMENT_SECONDS or not is_alive(made_by["host"], int(made_by["pid"]), 0.0):
                    path.unlink()

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)
        self._path.unlink(missing_ok=True)

    @property
    def time(self) -> float:
        return os.fstat(self.handle).st_mtime


class Judged(NamedTuple):
    """A claim as it was found: what stood in it and its last sign of life."""

    text: str
    beat_ns: int

    @classmethod
    def read(cls, path: Path) -> Self:
        with path.open(encoding="utf-8", errors="replace") as file:
            return cls(file.read(), os.fstat(file.fileno()).st_mtime_ns)

    @property
    def made_by(self) -> tuple[str, int]:
        """Host and process; "?" and 0 where it cannot be told, as before the text is written."""
        words = self.text.split(" ")
        return (words[0], int(words[1])) if len(words) == 3 and words[1].isdecimal() else ("?", 0)


class ClaimFile:
    """Holds a folder for one run where nothing can be locked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _CLAIM
        self._mine = f"{this_host()} {os.getpid()} {os.urandom(8).hex()}"

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
                if (stale := self.find_stale()) is not None:
                    self.remove(stale)
                continue
            with os.fdopen(handle, "w") as file:
                file.write(self._mine)
            return

    def renew(self) -> bool:
        """Give a sign of life; tell whether the folder is still held."""
        try:
            if Judged.read(self._path).text != self._mine:
                return False
            os.utime(self._path)
        except OSError:
            return False
        return True

    def drop(self) -> None:
        """Let the folder go."""
        with contextlib.suppress(OSError):
            if Judged.read(self._path).text == self._mine:
                self._path.unlink()

    def find_stale(self) -> Judged | None:
        """
        Find the claim of a process that is gone or silent; None where there is no claim any more.

        Raises:
            FolderInUse: whoever made it is at work here.
        """
        try:
            found = Judged.read(self._path)
        except FileNotFoundError:
            return None
        with _Probe(self._folder) as probe:
            silent = probe.time - found.beat_ns / 1e9
        host, pid = found.made_by
        if is_alive(host, pid, silent):
            raise FolderInUse(
                f"{self._folder}: another run (process {pid} on {host}) is at work here; wait for it, or "
                "give this one its own folder with --output"
            )
        return found

    def remove(self, stale: Judged) -> None:
        """Remove the claim that was found stale, and no other that has taken its place since."""
        # Only one can rename it; whether it was still the stale one can be seen no sooner than after that.
        aside = _for_a_moment(self._folder, "aside")
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
            if Judged.read(aside) == stale:
                aside.unlink()
            else:
                self._put_back(aside)

    def _put_back(self, aside: Path) -> None:
        try:
            os.link(aside, self._path)
        except FileExistsError:
            pass  # of a third one; the owner of this one sees that before it writes
        except OSError:  # no hard links here; a third one would see as well that it has lost its claim
            aside.rename(self._path)
            return
        aside.unlink()
