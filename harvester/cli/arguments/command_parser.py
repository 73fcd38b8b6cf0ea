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
    "--limit-rate": "--rate", "--since": "--published-since", "--silent": "--quiet", "-V": "--version",
    "--no-files": "--tasks metadata,stats", "--skip-files": "--tasks metadata,stats",
}  # fmt: skip
"""Option names of other programs, each with ours."""
FORMS = {
    "TIME": 'a duration such as "5 min"',
    "DAY": "a day such as 2024-01-31",
    "SIZE": 'a size such as "500 MB"',
    "N": "a number, 0 or more",
}
"""What an option without a value expects, by its metavar."""
LISTS = {"LIST", "WHICH"}
"""The metavars of options that take several values, separated by commas."""
_DASHES = re.compile(r"[\u2010-\u2015\u2212]+(?=[A-Za-z])")
"""What a word processor makes of the dashes of an option."""
_NAME = re.compile(r"--?[A-Za-z][A-Za-z-]{0,30}")


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are raised as `CommandLineError`; an option cannot be abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Help, allow_abbrev=False, **settings)
        self._option_string_actions["--help"].help = "print this help"
        self.given: dict[str, object] = {}
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)

    def parse_known_args(  # type: ignore[override]  # the caller's namespace is not used
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse words; those that nothing takes are an error of the command that they follow."""
        self.given.clear()
        self._check_dashes(args or ())
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.fail(self._unknown(left, list(args or ())))
        return found, left

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse has found."""
        found = re.fullmatch(r"argument (?:\S+/)?(\S+): (.*)", message, re.DOTALL)
        if missing := re.fullmatch(r"the following arguments are required: (.*)", message):
            self.fail(f"{missing[1]} is missing")
        if found is None:
            self.fail("unexpected words" if message.startswith("unrecognized") else message)
        action = self._option_string_actions.get(found[1])
        self.fail(f"{found[1]}: {_plain(found[2], FORMS.get(str(action.metavar)) if action else None)}")

    def check_once(self, action: argparse.Action, value: object) -> None:
        """Raise an error if an option with one value was given before, with another value."""
        if self.given.setdefault(action.dest, value) != value:
            how = "separate several values with commas" if action.metavar in LISTS else "it takes one value"
            self.fail(f"{action.option_strings[-1]}: given twice; {how}")

    def fail(self, message: str) -> NoReturn:
        """Raise an error of this command."""
        error = CommandLineError(message)
        error.usage = f"{self.format_usage().strip()}; {self.prog} --help shows all"
        raise error

    def _unknown(self, words: Sequence[str], all_words: Sequence[str]) -> str:
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        if options:
            return unknown_option(options[0], self._option_string_actions)
        if option := self._repeatable_before(words[0], all_words):
            return f"unexpected {quoted(words[0])}: repeat {option} for several"
        if self._has_positional:
            return f"unexpected {quoted(words[0])}: only one is taken"
        return f"unexpected {quoted(words[0])}: {self.prog} takes options only"

    def _check_dashes(self, words: Sequence[str]) -> None:
        """Raise an error for an option with a typographic dash, which would be taken for a value."""
        for place, word in enumerate(words):
            before = self._option_string_actions.get(words[place - 1]) if place else None
            is_value = before is not None and before.nargs is None
            if not is_value and (meant := meant_option(word, self._option_string_actions)):
                self.fail(meant)

    def _repeatable_before(self, word: str, words: Sequence[str]) -> str:
        """Return the option whose value stands before a word, if it may be given several times, else ""."""
        place = words.index(word) if word in words else 0
        name = words[place - 2] if place > 1 else ""
        action = self._option_string_actions.get(name)
        return name if isinstance(action, argparse._AppendAction) else ""

    @property
    def _has_positional(self) -> bool:
        return any(not action.option_strings for action in self._actions)


class _StoreOnce(argparse.Action):
    """Stores the value of an option; a second, different one is an error, as it would replace the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        if option is not None and isinstance(parser, CommandParser):
            parser.check_once(self, values)
        setattr(namespace, self.dest, values)


def meant_option(word: str, known: Iterable[str]) -> str:
    """Return what to say of an option with a typographic dash, "" for any other word."""
    name = "--" + _DASHES.sub("", word).partition("=")[0]
    if _DASHES.match(word) is None or name not in set(known):
        return ""
    return f'{quoted(word.partition("=")[0])}: written with a long dash (did you mean "{name}"?)'


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Return what to say of an unknown option, "" if it is none of a program."""
    if SECRETS.search(name) and _NAME.fullmatch(name):
        return (
            f"{name}: set the environment variable FIGSHARE_TOKEN (services.token_env names it); "
            "the value is not shown"
        )
    if not _NAME.fullmatch(name) or may_be_secret(name):
        return "unknown option, which is not shown, as it may be a token"
    ours = SYNONYMS.get(name) or SYNONYMS.get(name.lower(), "")
    is_ours = ours.partition(" ")[0] in set(known)
    return f"unknown option {name}" + (f' (did you mean "{ours}"?)' if is_ours else suggest(name, known))


def _plain(reason: str, form: str | None) -> str:
    """Return argparse's reason in plain words, without the value, which may be a secret."""
    if re.fullmatch(r"expected \w+( \w+)* arguments?", reason):
        return f"expected {form or 'a value'}"
    if reason.startswith("ignored explicit argument"):
        return "takes no value"
    return reason
