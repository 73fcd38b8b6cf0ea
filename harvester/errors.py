"""
Errors: every error that this program raises. The class decides what happens next; the message is one line.

    HarvestError
    ├── UsageError                      wrong command line or config: nothing was started (exit 2)
    │   └── CommandLineError            a word of the command line is wrong
    ├── FatalError                      the run cannot continue; its state is saved (exit 3)
    │   ├── TokenRejected
    │   ├── Unreachable                 the API did not answer for too long
    │   ├── StorageError                full, read-only or gone
    │   ├── ResourceLimit               no more open files or threads for this process
    │   └── FolderLocked                another run holds this folder
    ├── PermanentError                  a retry cannot succeed
    │   ├── NotFound                    404, 410
    │   ├── Rejected                    400, 403 in JSON, 422
    │   │   ├── BadRequest              400, 422: the service does not accept the request
    │   │   ├── Forbidden               401, or 403 with JSON, to a request with a token or credentials
    │   │   └── AuthenticationRequired  the same to a request without them
    │   ├── InvalidResponse             JSON that is not as documented, or far too large
    │   ├── ChecksumMismatch            the same wrong bytes were received twice
    │   ├── InsufficientSpace           this file does not fit on the disk; smaller ones may
    │   ├── Deferred                    slow while others wait: moved to the end of the queue
    │   └── DoubtfulResponse            less complete than known data: requested again later
    ├── NotModified                     304: no failure, the stored record is current
    └── TransientError                  a retry may succeed; raised after the last attempt
        ├── RateLimited                 429: the service wants all requests to wait
        ├── Blocked                     a web page instead of data, or a block
        │   └── UnprovenNotFound        404, 410 without figshare's JSON: from a gateway
        ├── ConnectionFailed            connection refused, closed, stalled, too slow; a body that ends early
        ├── CorruptBody                 a complete body with the wrong checksum
        └── ServerError                 5xx

A failed item or file gets the failure kind of its error: see `FailureKind`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

from harvester.text.redaction import REDACTOR


class ExitStatus(IntEnum):
    """The exit status of a command."""

    COMPLETE = 0  # everything requested is here
    FAILURES = 1  # it finished, and some items or files failed
    USAGE = 2  # wrong usage or config: nothing was started
    STOPPED = 3  # it could not continue; its state is saved
    INTERRUPTED = 130  # Ctrl-C, SIGTERM or SIGHUP; its state is saved


class FailureKind(StrEnum):
    """Why an item or file failed, as in the summary."""

    NOT_FOUND = "not_found"  # the service does not know it
    BLOCKED = "blocked"  # a firewall or bot protection blocked the request
    TRANSIENT = "transient"  # a retry may succeed
    SUSPECTED = (
        "suspected"  # harvested before, and not found now: the end of the run decides if it is withdrawn
    )
    PERMANENT = "permanent"  # a retry cannot succeed, though the next run tries once


class HarvestError(Exception):
    """
    The base class of all errors. Its message is redacted, so it contains no secret.

    ``attempts``: how many requests were made before the client raised it.
    ``common_cause``: what fails many items or files alike, such as a full disk; "" for any other.
    """

    attempts = 1
    common_cause = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(REDACTOR.text(message))

    def __reduce__(self) -> tuple[object, ...]:
        # Work may run in another process, and not every error can be rebuilt from its message alone.
        return _restore, (type(self), self.args, vars(self))


def _restore(
    cls: type[HarvestError], args: tuple[object, ...], attributes: dict[str, object]
) -> HarvestError:
    """Rebuild a pickled error."""
    error = cls.__new__(cls, *args)
    vars(error).update(attributes)
    return error


class UsageError(HarvestError):
    """The command line or the config is wrong."""


class CommandLineError(UsageError):
    """
    A word of the command line is wrong.

    ``usage``: one line that says how the command is used.
    """

    usage = ""


class FatalError(HarvestError):
    """The run cannot continue; its state is saved."""


class TokenRejected(FatalError):
    """The API does not accept the token."""


class Unreachable(FatalError):
    """A service that the run needs does not answer."""


class StorageError(FatalError):
    """Writing to the output folder failed."""


class ResourceLimit(FatalError):
    """The system gives this process no more open files or threads."""


class FolderLocked(FatalError):
    """Another run is writing to this folder."""


class PermanentError(HarvestError):
    """The item or file failed, and a retry cannot succeed."""

    failure_kind: ClassVar[FailureKind] = FailureKind.PERMANENT


class NotFound(PermanentError):
    """The service does not know it, or no longer."""

    failure_kind = FailureKind.NOT_FOUND


class Rejected(PermanentError):
    """The service refused the request."""


class BadRequest(Rejected):
    """The service does not accept the request: 400, 422."""


class Forbidden(Rejected):
    """
    A request with a token or credentials was refused: 401, or 403 with JSON.

    ``service`` and ``address``: of the request, "" if unknown. When the client raises this error, it has
    checked that the credentials are good: see `client.token_check`.
    """

    service = ""
    address = ""


class AuthenticationRequired(Rejected):
    """A request without a token or credentials was refused: 401, or 403 with JSON."""


class InvalidResponse(PermanentError):
    """The answer is not as documented."""


class ChecksumMismatch(PermanentError):
    """The same wrong bytes were received twice."""


class InsufficientSpace(PermanentError):
    """This file does not fit on the disk; smaller ones may."""

    common_cause = "not enough space on the disk"
    failure_kind = FailureKind.TRANSIENT


class Deferred(PermanentError):
    """A file is so slow that it was moved behind all others in the queue."""

    failure_kind = FailureKind.TRANSIENT


class DoubtfulResponse(PermanentError):
    """An answer that is less complete than the ledger, the record or an earlier page: not trusted for now."""

    failure_kind = FailureKind.TRANSIENT


class NotModified(HarvestError):
    """A conditional request (`if_none_match`) was answered with 304: the stored record is current."""


class TransientError(HarvestError):
    """
    A retry may succeed.

    ``retry_after``: seconds the service asks to wait, or None.
    ``made_progress``: the attempt failed, but received new bytes, so it does not count.
    """

    made_progress = False
    failure_kind: ClassVar[FailureKind] = FailureKind.TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(TransientError):
    """The service wants all requests to wait."""


class Blocked(TransientError):
    """A web page instead of data, or a block."""

    failure_kind = FailureKind.BLOCKED


class UnprovenNotFound(Blocked):
    """A 404 or 410 without figshare's JSON: it comes from a gateway and proves nothing about the item."""


class ConnectionFailed(TransientError):
    """The connection failed, or the body ended early."""


class CorruptBody(TransientError):
    """
    A complete body was received, and its checksum is wrong.

    ``md5``: of the received bytes.
    """

    def __init__(self, message: str, *, md5: str) -> None:
        super().__init__(message)
        self.md5 = md5


class ServerError(TransientError):
    """The service had an internal error."""


def exit_status(error: HarvestError) -> ExitStatus:
    """Return the exit status of a command that ended with `error`."""
    return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
