"""Log format: lines on standard error, for people or as JSON."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from harvester.cli import console
from harvester.cli.events import EVENTS, LIBRARY, line, local_time
from harvester.text.display import one_line
from harvester.text.redaction import REDACTOR

DATE, TIME = "%Y-%m-%d %H:%M:%S", "%H:%M:%S"
_FORMAT = "%(asctime)s %(message)s"


def set_up(
    *,
    quiet: bool = False,
    verbose: bool = False,
    as_json: bool = False,
    file: Path | None = None,
    folder: Path | None = None,
) -> logging.Logger:
    """
    Enable log output, and return the logger.

    `file`: a log file besides, which has all lines, whatever `quiet` says. `folder`: see `LogFile`.

    Raises:
        UsageError: the file cannot be written.
    """
    logger = logging.getLogger("harvester")
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    if as_json:
        _log_events(level)
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(people_lines())
        handler.addFilter(_passes(level))
        if quiet:
            handler.addFilter(_is_no_failure)
        logger.addHandler(handler)
    if file is not None:
        from harvester.cli.log_file import LogFile  # noqa: PLC0415 - only this option needs it

        log_file = LogFile(file, JsonLines() if as_json else Lines(_FORMAT, DATE), folder=folder)
        logger.addHandler(log_file)
        if as_json:
            EVENTS.copy_to(log_file.write)
        else:
            console.copy_errors_to(log_to_file)
        level = min(level, logging.INFO)
    logger.setLevel(level)
    return logger


def set_up_as(args: argparse.Namespace) -> logging.Logger:
    """Enable log output by the options of a command; raises what `set_up` raises."""
    given = vars(args)
    return set_up(
        quiet=given.get("quiet", False),
        verbose=given.get("verbose", False),
        as_json=given.get("log_json", False),
        file=given.get("log_file"),
        folder=given.get("output_folder"),
    )


def discard_log_file() -> None:
    """Remove the log file that this command has made: wrong usage leaves nothing."""
    from harvester.cli.log_file import LogFile  # noqa: PLC0415 - only the option --log-file needs it

    for handler in logging.getLogger("harvester").handlers:
        if isinstance(handler, LogFile):
            handler.discard()


def _is_no_failure(record: logging.LogRecord) -> bool:
    """Return whether a record is no single failure: with ``--quiet`` the closing report lists them."""
    return getattr(record, "event", "") != "failure"


def people_lines() -> logging.Formatter:
    """Return the format of lines on standard error: with a date, unless a person sees them appear."""
    return Lines(_FORMAT, TIME if sys.stderr.isatty() else DATE)


def screen_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers of a logger that write to standard error."""
    return [each for each in logger.handlers if not isinstance(each, logging.FileHandler)]


def log_to_file(text: str) -> None:
    """Log lines that are printed otherwise in the log file, if there is one."""
    logger = logging.getLogger("harvester")
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            for each in text.splitlines():
                handler.handle(logger.makeRecord("harvester", logging.INFO, "", 0, "%s", (each,), None))


def _passes(level: int) -> Callable[[logging.LogRecord], bool]:
    """Return a filter for lines of a level, and for those that the user requested with a signal."""
    return lambda record: record.levelno >= level or hasattr(record, "requested")


class Lines(logging.Formatter):
    """Log lines without control characters; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.text(super().format(record))  # tracebacks too

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return one_line(super().formatMessage(record))


def _log_events(level: int) -> None:
    """Log this program and all libraries as events."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    handler = logging.StreamHandler(EVENTS)
    handler.setFormatter(JsonLines())
    handler.addFilter(_passes(level))
    root.addHandler(handler)


_EVENTS_BY_LEVEL = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}


class JsonLines(logging.Formatter):
    """One JSON object a line: see `log_events.event` for its fields."""

    def format(self, record: logging.LogRecord) -> str:
        if hasattr(record, "line"):
            return str(record.line)
        event = getattr(record, "event", _EVENTS_BY_LEVEL.get(record.levelno, "note"))
        fields = dict(getattr(record, "fields", {}))
        if progress := getattr(record, "progress", None):
            event, fields = "progress", {"progress": progress}
        if event == "error":
            fields = {"kind": LIBRARY, **fields}
        if event == "pause":
            seconds = fields["seconds"]
            fields["until"] = None if seconds is None else local_time(record.created + seconds)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return line(event, record.levelname.lower(), record.getMessage(), fields)
