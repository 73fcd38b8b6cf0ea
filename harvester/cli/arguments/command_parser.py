"""
Argument parser with short errors: one line says what is wrong, and one how the command is used.

What follows an unknown option may be a token, so it is never printed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from harvester.cli.arguments.help_format import Help
from harvester.errors import CommandLineError
from harvester.text.wording import may_be_secret, quoted, suggest

SECRETS = re.compile(
    r"token|passw|passphrase|(api|access)-?key|secret|credential|bearer|--auth$", re.IGNORECASE
)
"""Option names of other programs that take a secret."""
SYNONYMS = {
    "--folder": "--output", "--dir": "--output", "--directory": "--output", "--dest": "--output",
    "--destination": "--output", "--query": "--search", "--doi": "--item", "--id": "--item",
    "--article": "--item", "--articles": "--items", "--ids": "--items", "--threads": "--workers",
    "--jobs": "--workers", "--parallel": "--workers", "--retries": "--attempts", "--tries": "--attempts",
    "--limit-rate": "--rate", "--since": "--published-since", "--silent": "--quiet",
}  # fmt: skip
"""Option names of other programs, each with ours."""
_NAME = re.compile(r"--?[A-Za-z][A-Za-z-]{0,30}")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are raised as `CommandLineError`; an option cannot be abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Help, allow_abbrev=False, **settings)

    def parse_known_args(  # type: ignore[override]  # the caller's namespace is not used
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse words; those that nothing takes are an error of the command that they follow."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.fail(self._unknown(left))
        return found, left

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse has found."""
        found = re.fullmatch(r"argument (?:\S+/)?(\S+): (.*)", message, re.DOTALL)
        if missing := re.fullmatch(r"the following arguments are required: (.*)", message):
            self.fail(f"{missing[1]} is missing")
        if found is None:
            self.fail("unexpected words" if message.startswith("unrecognized") else message)
        self.fail(f"{found[1]}: {_plain(found[2])}")

    def fail(self, message: str) -> NoReturn:
        """Raise an error of this command."""
        error = CommandLineError(message)
        error.usage = f"{self.format_usage().strip()}; {self.prog} --help shows all"
        raise error

    def _unknown(self, words: Sequence[str]) -> str:
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        if options:
            return unknown_option(options[0], self._option_string_actions)
        if self._has_positional:
            return f"unexpected {quoted(words[0])}: only one is taken"
        return f"unexpected {quoted(words[0])}: {self.prog} takes options only"

    @property
    def _has_positional(self) -> bool:
        return any(not action.option_strings for action in self._actions)


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Return what to say of an unknown option, "" if it is none of a program."""
    if SECRETS.search(name) and _NAME.fullmatch(name):
        return (
            f"{name}: set the environment variable FIGSHARE_TOKEN (services.token_env names it); "
            "the value is not shown"
        )
    if not _NAME.fullmatch(name) or may_be_secret(name):
        return "unknown option, which is not shown, as it may be a token"
    ours = SYNONYMS.get(name.lower())
    hint = f' (did you mean "{ours}"?)' if ours in set(known) else suggest(name, known)
    return f"unknown option {name}{hint}"


def _plain(reason: str) -> str:
    """Return argparse's reason in plain words, without the value, which may be a secret."""
    if re.fullmatch(r"expected \w+( \w+)* arguments?", reason):
        return "expected a value"
    if reason.startswith("ignored explicit argument"):
        return "takes no value"
    return reason
