"""Resource limits of this process (rlimits): open files and threads, and how much work fits below them."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from harvester.errors import ResourceLimit

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

OWN = 24
"""Open files of the program itself: the ledger, its WAL, a reader of both, the event loop, imports."""
OF_A_DOWNLOAD = 8
"""One file in transfer and one being verified, each with its folders, and their connections."""
ENOUGH = 4096
ADVICE = "allow more (ulimit -n), or lower concurrency.workers and concurrency.downloads, and run again"


def fitted(workers: int, downloads: int) -> tuple[int, int]:
    """
    Raise the limit on open files as far as possible; return how many workers and downloads fit.

    Raises:
        ResourceLimit: not even one item and one file fit.
    """
    limit = _raised()
    free = limit - OWN
    if free >= workers + OF_A_DOWNLOAD * downloads:
        return workers, downloads
    if free < OF_A_DOWNLOAD:
        raise ResourceLimit(f"open files: {limit} are too few, {OWN + OF_A_DOWNLOAD} are needed; {ADVICE}")
    fewer_downloads = max(1, min(downloads, free // 2 // OF_A_DOWNLOAD))
    return max(1, min(workers, free - OF_A_DOWNLOAD * fewer_downloads)), fewer_downloads


def open_files() -> str:
    """Return how many files this process may open now, and how many at most, for display."""
    if resource is None:
        return "no limit"
    numbers = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = ("no limit" if each == resource.RLIM_INFINITY else str(each) for each in numbers)
    return f"{soft} (at most {hard})"


def _raised() -> int:
    if resource is None:
        return ENOUGH
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return ENOUGH if soft == resource.RLIM_INFINITY else soft
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft


def are_used_up() -> bool:
    """Return whether this process has reached its limit on open files; libraries hide such errors."""
    try:
        os.close(os.dup(2))
    except OSError as exc:
        return exc.errno in {errno.EMFILE, errno.ENFILE}
    return False


def shortage(what: str) -> ResourceLimit:
    """Return the error for too few open files; `what`: the operation that failed."""
    return ResourceLimit(f"{what}: too many open files for this process; {ADVICE}")


def no_threads(error: Exception) -> ResourceLimit | None:
    """Return our error if `error` says that no thread could start, else None."""
    if not isinstance(error, RuntimeError) or "can't start new thread" not in str(error):
        return None
    return ResourceLimit(
        "threads: the system gives this process no more of them; allow more (ulimit -u, or the pids of its"
        " container) and run again"
    )
