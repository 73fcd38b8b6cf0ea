"""Log format: lines on standard error, for people or as JSON."""

from __future__ import annotations

import argparse
import logging

from harvester.cli.events import EVENTS, LIBRARY, line, local_time
from harvester.text.display import one_line
from harvester.text.redaction import REDACTOR


def set_up(*, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> logging.Logger:
    """Enable log output, and return the logger."""
    logger = logging.getLogger("harvester")
    for old in list(logger.handlers):
        logger.removeHandler(old)
    if as_json:
        _log_events()
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(Lines("%(asctime)s %(message)s", "%H:%M:%S"))
        if quiet:
            handler.addFilter(_is_no_failure)
        logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    return logger


def set_up_as(args: argparse.Namespace) -> logging.Logger:
    """Enable log output by the options of a command."""
    given = vars(args)
    return set_up(
        quiet=given.get("quiet", False),
        verbose=given.get("verbose", False),
        as_json=given.get("log_json", False),
    )


def _is_no_failure(record: logging.LogRecord) -> bool:
    """Return whether a record is no single failure: with ``--quiet`` the closing report lists them."""
    return getattr(record, "event", "") != "failure"


class Lines(logging.Formatter):
    """Log lines without control characters; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.text(super().format(record))  # tracebacks too

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return one_line(super().formatMessage(record))


def _log_events() -> None:
    """Log this program and all libraries as events."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    handler = logging.StreamHandler(EVENTS)
    handler.setFormatter(JsonLines())
    root.addHandler(handler)


_EVENTS_BY_LEVEL = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}


class JsonLines(logging.Formatter):
    """One JSON object a line: see `log_events.event` for its fields."""

    def format(self, record: logging.LogRecord) -> str:
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
