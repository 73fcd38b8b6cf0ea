"""Option values: turn the text of an option into its value, or say which form is expected."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from harvester.system.paths import as_text, path_fault
from harvester.text.wording import quoted, unknown

MOST_ID = 2**63 - 1
MOST = 999_999_999
"""The highest amount."""
_MOST_DIGITS = 1000
_ITEM_NAMES = (
    re.compile(r"[0-9]+(?:\.v[0-9]+)?", re.IGNORECASE),
    re.compile(r"(?:doi:)?10\.[0-9]+/\S+|https?://\S+", re.IGNORECASE),
)
"""The forms of identifiers: several with commas between them are a mistake; a DOI itself may hold a comma."""
LAST_PORT = 65_532
"""The sandbox takes this port and the three after it."""


def utf8_text(text: str) -> str:
    """Return a UTF-8 text; Python represents other bytes as lone surrogates, which cannot be sent."""
    try:
        return as_text(text)
    except UnicodeDecodeError as exc:
        raise argparse.ArgumentTypeError("not UTF-8 text") from exc


def folder_path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a path")
    if fault := path_fault(text):
        raise argparse.ArgumentTypeError(fault)
    return Path(text)


def file_name(text: str) -> str:
    """Return the path of a file to read; "-" is standard input."""
    return str(folder_path(text))


def item_name(text: str) -> str:
    """Return the id, DOI, handle or address of an item."""
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and any(all(map(form.fullmatch, names)) for form in _ITEM_NAMES):
        raise argparse.ArgumentTypeError(f"expected one item, got {quoted(text)}; repeat --item for several")
    return utf8_text(text)


def words(text: str) -> list[str]:
    return [word.strip() for word in utf8_text(text).split(",") if word.strip()]


def versions(text: str) -> str | list[int | str]:
    """Return a word or a list of numbers; the config reports a fault for anything else."""
    if text in {"latest", "all"}:
        return text
    return [number_or_name(word) for word in words(text)]


def number_or_name(text: str) -> int | str:
    return int(text) if _is_digits(text) and len(text) < 20 else utf8_text(text)


def identifier(text: str) -> int:
    """Return the id of a group, a collection, a project, an institution or an account."""
    if re.fullmatch(r"\s*[0-9]+(\s*,\s*[0-9]+)+\s*", text):
        raise argparse.ArgumentTypeError(
            f"expected one id, got {quoted(text)}; repeat the option for each of them"
        )
    if not _is_digits(text) or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"expected an id, a number such as 11962, got {quoted(text)}")
    if len(text) > 20 or int(text) > MOST_ID:
        raise argparse.ArgumentTypeError(f"expected an id from 1 to 2^63, got {quoted(text)}")
    return int(text)


def identifier_of(kind: str) -> Callable[[str], int]:
    """Return a function that takes an id, also in an address or a DOI of a collection or a project."""

    def accept(text: str) -> int:
        if not _is_digits(text):
            from harvester.figshare.identifiers import source_in  # noqa: PLC0415 - only for an address

            found_kind, number = source_in(text)
            if number and found_kind != kind:
                raise argparse.ArgumentTypeError(
                    f"this is the address of a {found_kind}: use --{found_kind} {number}"
                )
            if number:
                return number
            if "/" in text:
                raise argparse.ArgumentTypeError(
                    f"expected an id, a number such as 11962; none stands in {quoted(text)}"
                )
        return identifier(text)

    return accept


def whole_number(text: str) -> int:
    if not _is_digits(text.removeprefix("-")) or len(text) > _MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {quoted(text)}")
    return int(text)


def natural(text: str) -> int:
    if not _is_digits(text):
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {quoted(text)}")
    if len(text) > _MOST_DIGITS or int(text) > MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {MOST:,}, got {quoted(text)}")
    return int(text)


def port(text: str) -> int:
    if not (_is_digits(text) and len(text) < 6 and int(text) <= LAST_PORT):
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {LAST_PORT:,}, got {quoted(text)}")
    return int(text)


def positive(text: str) -> float:
    number = _number(text)
    if number is None or not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, or inf, got {quoted(text)}")
    return number


def ceiling(text: str) -> float:
    from harvester.config.keys import A_DAY  # noqa: PLC0415 - help needs no config

    number = positive(text)
    if number < A_DAY:
        raise argparse.ArgumentTypeError(f"expected at least one request a day, got {quoted(text)}")
    return number


def seconds(text: str) -> float:
    number = _number(text)
    if number is None or not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, 0 or more, got {quoted(text)}")
    return number


def duration(text: str) -> float:
    from harvester.config.units import Duration  # noqa: PLC0415 - help needs no config

    try:
        return Duration.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def interval(text: str) -> float:
    """Return seconds, more than 0; a number without a unit is seconds."""
    if not (seconds := duration(f"{text} s" if re.fullmatch(r"[0-9.]+", text.strip()) else text)):
        raise argparse.ArgumentTypeError(f"expected a duration above 0, got {quoted(text)}")
    return seconds


def rate(text: str) -> tuple[str, float | str]:
    from harvester.config.keys import A_DAY, SERVICES  # noqa: PLC0415 - help needs no config

    service, has_service, amount = text.rpartition("=")
    if has_service and service not in SERVICES:
        raise argparse.ArgumentTypeError(unknown(service, SERVICES))
    number = _number(amount)
    if amount != "auto" and (number is None or not number > 0):
        raise argparse.ArgumentTypeError(
            f"expected a number above 0, inf, auto, or SERVICE=number, got {quoted(text)}"
        )
    if number is not None and number < A_DAY:
        raise argparse.ArgumentTypeError(f"expected at least one request a day, got {quoted(text)}")
    return service, amount if number is None else number


def share(text: str) -> tuple[str, float]:
    name, has_share, amount = text.partition("=")
    number = _number(amount) if has_share else float(text == "help") or None
    if not name or number is None or not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(
            f"expected NAME=SHARE with a share from 0 to 1, such as reset=0.1, got {quoted(text)}"
        )
    return name, number


def one_of(known: Sequence[str]) -> Callable[[str], str]:
    """Return a function that accepts only these words."""

    def accept(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(unknown(text, known))
        return text

    return accept


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_digits(text: str) -> bool:
    return text.isdecimal() and text.isascii()
