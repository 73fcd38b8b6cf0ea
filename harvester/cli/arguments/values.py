"""Option values: turn the text of an option into its value."""

from __future__ import annotations

import argparse
from pathlib import Path

from harvester.system.paths import as_text


def utf8_text(text: str) -> str:
    """Return a UTF-8 text; Python represents other bytes as lone surrogates, which cannot be sent."""
    try:
        return as_text(text)
    except UnicodeDecodeError as exc:
        raise argparse.ArgumentTypeError("not UTF-8 text") from exc


def folder_path(text: str) -> Path:
    if not text or any(ord(char) < 32 for char in text):
        raise argparse.ArgumentTypeError("expected a path without control characters")
    return Path(text)


def words(text: str) -> list[str]:
    return [word.strip() for word in utf8_text(text).split(",") if word.strip()]


def versions(text: str) -> str | list[int | str]:
    """Return a word or a list of numbers; the config reports a fault for anything else."""
    if text in {"latest", "all"}:
        return text
    return [number_or_name(word) for word in words(text)]


def number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else utf8_text(text)


def natural(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number is expected, 0 or more")
    return int(text)


def rate(text: str) -> tuple[str, float | str]:
    service, _, number = text.rpartition("=")
    return service, number if number == "auto" else float(number)


def share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number or 0)
