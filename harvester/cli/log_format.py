"""Log format: lines on standard error, for people or as JSON."""

from __future__ import annotations

import argparse
import logging

import orjson

from harvester.text.display import one_line
from harvester.text.redaction import REDACTOR


def set_up(*, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> logging.Logger:
    """Enable log output, and return the logger."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("harvester")
    for old in list(logger.handlers):
        logger.removeHandler(old)
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


class Lines(logging.Formatter):
    """Log lines without control characters; a traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.text(super().format(record))  # tracebacks too

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return one_line(super().formatMessage(record))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and the progress if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": one_line(record.getMessage()),
        }
        if progress := getattr(record, "progress", None):
            line["progress"] = progress
        return orjson.dumps(line).decode()
