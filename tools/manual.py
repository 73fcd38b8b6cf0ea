"""Manual page generator: docs/harvester.1 in roff, made from the parser. `tools/reference.py` writes it."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from harvester.cli.arguments.examples import BY_ROLE
from harvester.cli.parser import ABOUT, build_parser, commands_of
from harvester.system.version import __version__

CHANGED = "2026-11-30"
"""The day that the page shows: of its last change in form."""
INTRO = (
    "A harvest is a folder: records, statistics and verified files, with a ledger of what is pending. "
    "The same command continues an interrupted harvest, and later fetches what has changed.",
    "Options win over environment variables, these over the config file, and the file over defaults. "
    "The token comes from the environment only.",
)
FILES = {
    "harvest.toml": "the config file, read from the current folder if there is one",
    "harvest/": "the output folder, if no other is named",
    "harvest/harvest.db": "the ledger: what was harvested and what is pending",
    "harvest/failures.csv": "what failed, and why",
    "harvest/summary.json": "what the last run did",
}


def manual_page(statuses: Iterable[tuple[str, str]], environment: Mapping[str, str]) -> str:
    """Return the page; `statuses`: exit statuses with their meaning, `environment`: variables with theirs."""
    commands = commands_of(build_parser())
    lines = [
        '.\\" Written by `make reference`. Do not edit it by hand.',
        f'.TH HARVESTER 1 {CHANGED} "harvester {__version__}" "User Commands"',
        ".SH NAME",
        rf"harvester \- {escaped(ABOUT[0].lower() + ABOUT[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B harvester",
        r"\fICOMMAND\fR [\fIoptions\fR]",
        ".SH DESCRIPTION",
        *_text(INTRO[0]),
        ".PP",
        *_text(INTRO[1]),
        ".SH COMMANDS",
    ]
    for name, parser in commands.items():
        lines += _command(name, parser, commands["run"])
    lines += [".SH EXIT STATUS", *_entries(statuses)]
    lines += [".SH ENVIRONMENT", *_entries(environment.items())]
    lines += [".SH FILES", *_entries(FILES.items())]
    lines += [".SH EXAMPLES", *_examples()]
    return "\n".join(lines) + "\n"


def _command(name: str, parser: argparse.ArgumentParser, run: argparse.ArgumentParser) -> Iterator[str]:
    yield f".SS harvester {name}"
    yield from _text(parser.description or "")
    is_like_run = (
        parser is not run and run._option_string_actions.keys() <= parser._option_string_actions.keys()
    )
    if is_like_run:
        yield from (".PP", "It takes the options of")
        yield ".BR run ,"
        yield "and:"
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if not isinstance(each, argparse._HelpAction)]
        if is_like_run:
            actions = [each for each in actions if each.option_strings[0] not in run._option_string_actions]
        if actions and group.title not in {"options", "positional arguments"}:
            yield from (".PP", f".I {escaped(str(group.title))}:")
        for action in actions:
            yield from (".TP", _option(action), *_text((action.help or "").replace("%%", "%")))


def _option(action: argparse.Action) -> str:
    value = action.metavar or action.dest
    if not action.option_strings:
        return rf"[\fI{escaped(str(value))}\fR]" if action.nargs == "?" else rf"\fI{escaped(str(value))}\fR"
    shown = f"[{value}]" if action.nargs == "?" else str(value)
    argument = "" if action.nargs == 0 else rf" \fI{escaped(shown)}\fR"
    return ", ".join(rf"\fB{escaped(option)}\fR{argument}" for option in action.option_strings)


def _entries(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, meaning in entries:
        yield from (".TP", rf"\fB{escaped(name)}\fR", *_text(_plain(meaning)))


def _plain(markdown: str) -> str:
    """Return the text of a table cell, without links and marks of code."""
    without_links = re.sub(r"\s*\(\[[^]]*\]\([^)]*\)\)|\[([^]]*)\]\([^)]*\)", r"\1", markdown)
    return without_links.replace("`", "")


def _examples() -> Iterator[str]:
    for place, (what, how) in enumerate(BY_ROLE):
        yield from [".PP"] if place else []
        yield from _text(f"{what[0].upper()}{what[1:]}:")
        yield from (".PP", ".RS 4", ".nf", escaped(how), ".fi", ".RE")


def _text(text: str) -> Iterator[str]:
    """Yield a paragraph in lines of a readable length."""
    yield from map(escaped, textwrap.wrap(text, 66, break_long_words=False, break_on_hyphens=False))


def escaped(text: str) -> str:
    """Return a text as roff shows it unchanged, in ASCII."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    text = text.replace("^", r"\(ha").replace("~", r"\(ti").replace("`", r"\(ga")
    text = "".join(each if each.isascii() else rf"\[u{ord(each):04X}]" for each in text)
    return rf"\&{text}" if text.startswith(".") else text
