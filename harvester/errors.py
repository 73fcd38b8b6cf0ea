"""
Every error raised on purpose. The class says what follows; the message is one line for a person.

    HarvestError
    ├── UsageError           the command line or the config is wrong: nothing was begun    (exit 2)
    ├── StopRun              the run cannot go on; what was done is saved                   (exit 3)
    │   ├── TokenRefused
    │   ├── Unreachable      the api did not answer, again and again
    │   ├── DiskTrouble      full, read-only or gone
    │   ├── MachineLimit     no more open files or threads for this process
    │   └── FolderInUse      another run holds this folder
    ├── GiveUp               this item or file cannot be had, however often it is asked for
    │   ├── Gone             404, 410
    │   ├── Refused          400, 403 in JSON, 422
    │   │   ├── BadRequest   400, 422: what was asked for is what it does not take
    │   │   ├── NotAllowed   401, or a 403 in JSON, to what carried a token or credentials
    │   │   └── Closed       the same to what carried none
    │   ├── Misshapen        JSON that is not what the documents promise, or far too large
    │   ├── Unverified       the same wrong bytes came twice
    │   ├── NoRoom           this file does not fit on the disk; others may
    │   ├── PutOff           this file comes slowly and others wait: it is to be asked for behind them
    │   └── Doubtful         says less than is known already: no fact, asked for again later
    └── TryAgain             may succeed when asked again; raised past the client only after the last try
        ├── Throttled        429: the service wants everybody to wait
        ├── Challenged       a page for browsers where data was promised, or a block
        │   └── Unfounded    404, 410 without figshare's own words: some gateway's
        ├── Broken           connection refused, cut, stalled, too slow; a body that ends early
        ├── Damaged          a whole body that is not the promised one
        └── ServerFailed     5xx

What could not be had ends with the verdict of its error: see `Verdict`.
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


class Verdict(StrEnum):
    """Why something could not be had, in the words of the summary."""

    GONE = "gone"  # the service knows nothing of it
    BLOCKED = "blocked"  # a wall stands before it, not a decision about it
    FOR_NOW = "failed for now"  # it may well come when it is asked for again
    SUSPECTED = "suspected"  # harvested before and not found: whether it is withdrawn is decided at the end
    FOR_GOOD = "failed for good"  # asking again has no prospect, though the next run does it once


class HarvestError(Exception):
    """
    Anything this program raises on purpose; whatever others put into its message, no secret is in it.

    ``attempts``: how many requests were made before it was raised to the caller of the client.
    """

    attempts = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(REDACTOR.text(message))


class UsageError(HarvestError):
    """The command line or the config is wrong."""


class StopRun(HarvestError):
    """The run cannot go on; its state is saved."""


class TokenRefused(StopRun):
    """The api does not accept the token."""


class Unreachable(StopRun):
    """A service without which nothing can go on does not answer."""


class DiskTrouble(StopRun):
    """The output folder cannot take what has to be written."""


class MachineLimit(StopRun):
    """The system gives this process no more open files or threads."""


class FolderInUse(StopRun):
    """Another run is writing to this folder."""


class GiveUp(HarvestError):
    """This item or file cannot be had, however often it is asked for."""

    verdict: ClassVar[Verdict] = Verdict.FOR_GOOD


class Gone(GiveUp):
    """The service knows nothing of it (any more)."""

    verdict = Verdict.GONE


class Refused(GiveUp):
    """The service understood and said no."""


class BadRequest(Refused):
    """The service does not take what was asked for: 400, 422."""


class NotAllowed(Refused):
    """
    What was asked for with a token or credentials was refused: 401, or 403 in JSON.

    ``service`` and ``address``: what was asked for, "" where nobody noted it. Past the client the credentials
    are good: it has asked, see `client.credentials_check`.
    """

    service = ""
    address = ""


class Closed(Refused):
    """What was asked for without a token or credentials is not for everybody: 401, or 403 in JSON."""


class Misshapen(GiveUp):
    """The answer is not what the documents promise."""


class Unverified(GiveUp):
    """The same bytes came twice, and they are not the promised ones."""


class NoRoom(GiveUp):
    """This file does not fit on the disk; others may."""

    verdict = Verdict.FOR_NOW


class PutOff(GiveUp):
    """A file comes so slowly that others go before it; it is asked for behind them."""

    verdict = Verdict.FOR_NOW


class Doubtful(GiveUp):
    """An answer that says less than the ledger, the record or an earlier page knows: not believed for now."""

    verdict = Verdict.FOR_NOW


class TryAgain(HarvestError):
    """
    May succeed when asked again.

    ``retry_after``: seconds the service asks to wait, or None. ``made_progress``: what was asked for has come
    nearer all the same, so that this was no attempt in vain.
    """

    made_progress = False
    verdict: ClassVar[Verdict] = Verdict.FOR_NOW

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(TryAgain):
    """The service wants everybody to wait."""


class Challenged(TryAgain):
    """A page for browsers, or a block, where data was promised."""

    verdict = Verdict.BLOCKED


class Unfounded(Challenged):
    """A 404 or 410 without figshare's own words: a gateway's, and no word on what was asked for."""


class Broken(TryAgain):
    """The connection failed, or the body ended early."""


class Damaged(TryAgain):
    """
    A whole body arrived, and it is not the promised one.

    ``md5``: of what arrived.
    """

    def __init__(self, message: str, *, md5: str) -> None:
        super().__init__(message)
        self.md5 = md5


class ServerFailed(TryAgain):
    """The service failed inside."""


def exit_status(error: HarvestError) -> ExitStatus:
    """Return the exit status of a command that ended with `error`."""
    return ExitStatus.USAGE if isinstance(error, UsageError) else ExitStatus.STOPPED
