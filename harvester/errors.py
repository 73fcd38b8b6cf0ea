"""
Every error raised on purpose. The class says what follows; the message is one line for a person.

    HarvestError
    ├── UsageError                      wrong command line or config: nothing was begun (exit 2)
    ├── FatalError                      the run cannot go on; what was done is saved (exit 3)
    │   ├── TokenRejected
    │   ├── Unreachable                 the api did not answer, again and again
    │   ├── StorageError                full, read-only or gone
    │   ├── ResourceLimit               no more open files or threads for this process
    │   └── FolderLocked                another run holds this folder
    ├── PermanentError                  this item or file cannot be had, however often it is asked for
    │   ├── NotFound                    404, 410
    │   ├── Rejected                    400, 403 in JSON, 422
    │   │   ├── BadRequest              400, 422: what was asked for is what it does not take
    │   │   ├── Forbidden               401, or a 403 in JSON, to what carried a token or credentials
    │   │   └── AuthenticationRequired  the same to what carried none
    │   ├── InvalidResponse             JSON that is not what the documents promise, or far too large
    │   ├── ChecksumMismatch            the same wrong bytes came twice
    │   ├── InsufficientSpace           this file does not fit on the disk; others may
    │   ├── Deferred                    comes slowly while others wait: asked for behind them
    │   └── DoubtfulResponse            says less than is known already: no fact, asked for again later
    ├── NotModified                     304: no failure, what is here is what the service has
    └── TransientError                  may succeed when asked again; raised after the last attempt
        ├── RateLimited                 429: the service wants all requests to wait
        ├── Blocked                     a page for browsers where data was promised, or a block
        │   └── UnprovenNotFound        404, 410 without figshare's own words: some gateway's
        ├── ConnectionFailed            connection refused, cut, stalled, too slow; a body that ends early
        ├── CorruptBody                 a whole body that is not the promised one
        └── ServerError                 5xx

What could not be had ends with the failure kind of its error: see `FailureKind`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar

from harvester.text.redaction import REDACTOR


class ExitStatus(IntEnum):
    """The exit status of a command."""

    COMPLETE = 0  # all that was asked for is there
    FAILURES = 1  # it finished, and some items or files could not be had
    USAGE = 2  # wrong usage or config: nothing was begun
    STOPPED = 3  # it could not go on; what was done is saved
    INTERRUPTED = 130  # Ctrl-C or SIGTERM; what was done is saved


class FailureKind(StrEnum):
    """Why something could not be had, in the words of the summary."""

    NOT_FOUND = "not_found"  # the service knows nothing of it
    BLOCKED = "blocked"  # a wall stands before it, not a decision about it
    TRANSIENT = "transient"  # it may well come when it is asked for again
    SUSPECTED = "suspected"  # harvested before and not found: whether it is withdrawn is decided at the end
    PERMANENT = "permanent"  # asking again has no prospect, though the next run does it once


class HarvestError(Exception):
    """
    Anything this program raises on purpose; whatever others put into its message, no secret is in it.

    ``attempts``: how many requests were made before it was raised to the caller of the client.
    """

    attempts = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(REDACTOR.text(message))

    def __reduce__(self) -> tuple[object, ...]:
        # Work may run in another process, and not every error can be made of its message alone.
        return _restore, (type(self), self.args, vars(self))


def _restore(
    cls: type[HarvestError], args: tuple[object, ...], attributes: dict[str, object]
) -> HarvestError:
    """Return an error that was pickled."""
    error = cls.__new__(cls, *args)
    vars(error).update(attributes)
    return error


class UsageError(HarvestError):
    """The command line or the config is wrong."""


class FatalError(HarvestError):
    """The run cannot go on; its state is saved."""


class TokenRejected(FatalError):
    """The api does not accept the token."""


class Unreachable(FatalError):
    """A service without which nothing can go on does not answer."""


class StorageError(FatalError):
    """The output folder cannot take what has to be written."""


class ResourceLimit(FatalError):
    """The system gives this process no more open files or threads."""


class FolderLocked(FatalError):
    """Another run is writing to this folder."""


class PermanentError(HarvestError):
    """This item or file cannot be had, however often it is asked for."""

    failure_kind: ClassVar[FailureKind] = FailureKind.PERMANENT


class NotFound(PermanentError):
    """The service knows nothing of it (any more)."""

    failure_kind = FailureKind.NOT_FOUND


class Rejected(PermanentError):
    """The service understood and said no."""


class BadRequest(Rejected):
    """The service does not take what was asked for: 400, 422."""


class Forbidden(Rejected):
    """
    What was asked for with a token or credentials was refused: 401, or 403 in JSON.

    ``service`` and ``address``: what was requested, "" where that is not known. Past the client the
    credentials are good: it has checked, see `client.token_check`.
    """

    service = ""
    address = ""


class AuthenticationRequired(Rejected):
    """What was requested without a token or credentials is not public: 401, or 403 in JSON."""


class InvalidResponse(PermanentError):
    """The answer is not what the documents promise."""


class ChecksumMismatch(PermanentError):
    """The same bytes came twice, and they are not the promised ones."""


class InsufficientSpace(PermanentError):
    """This file does not fit on the disk; others may."""

    failure_kind = FailureKind.TRANSIENT


class Deferred(PermanentError):
    """A file comes so slowly that others go before it; it is asked for behind them."""

    failure_kind = FailureKind.TRANSIENT


class DoubtfulResponse(PermanentError):
    """An answer that says less than the ledger, the record or an earlier page knows: not believed for now."""

    failure_kind = FailureKind.TRANSIENT


class NotModified(HarvestError):
    """A conditional request (`if_none_match`) was answered with 304: what is here is what the service has."""


class TransientError(HarvestError):
    """
    May succeed when asked again.

    ``retry_after``: seconds the service asks to wait, or None. ``made_progress``: what was asked for has come
    nearer all the same, so that this was no attempt in vain.
    """

    made_progress = False
    failure_kind: ClassVar[FailureKind] = FailureKind.TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(TransientError):
    """The service wants all requests to wait."""


class Blocked(TransientError):
    """A page for browsers, or a block, where data was promised."""

    failure_kind = FailureKind.BLOCKED


class UnprovenNotFound(Blocked):
    """A 404 or 410 without figshare's own words: a gateway's, and no word on what was asked for."""


class ConnectionFailed(TransientError):
    """The connection failed, or the body ended early."""


class CorruptBody(TransientError):
    """
    A whole body arrived, and it is not the promised one.

    ``md5``: of what arrived.
    """

    def __init__(self, message: str, *, md5: str) -> None:
        super().__init__(message)
        self.md5 = md5


class ServerError(TransientError):
    """The service failed inside."""


def exit_status(error: HarvestError) -> ExitStatus:
    """Return the exit status of a command that ended with `error`."""
    return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
