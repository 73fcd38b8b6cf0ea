"""Shell completion: the script for a shell, made by shtab from the parser and the known values of options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

import shtab

from harvester.cli.arguments.checks import SHELLS
from harvester.cli.arguments.this_run import REFRESHABLE
from harvester.cli.parser import build_parser, commands_of
from harvester.config.keys import ALL, AUTO, COUNTERS, GRANULARITIES, LATEST
from harvester.figshare.filters import ITEM_TYPES, ORDERS
from harvester.plugins import ALWAYS_EXPORTED, EXPORTERS, TASKS
from harvester.sandbox import FAULTS

VALUES: Mapping[str, Sequence[str]] = {
    "type": [name for name in ITEM_TYPES if " " not in name],  # bash cannot complete words with blanks
    "order": ORDERS,
    "tasks": tuple(TASKS),
    "versions": (LATEST, ALL),
    "rate": (AUTO, "inf"),
    "stats.counters": COUNTERS,
    "stats.granularity": GRANULARITIES,
    "export.formats": [name for name in EXPORTERS if name not in ALWAYS_EXPORTED],
    "refresh": REFRESHABLE,
    "fault": ("help", *(f"{name}=0.1" for name in FAULTS)),
}
"""The values of an option, by its destination. Others may be valid too."""
TOML_FILES = {
    **shtab.glob("*.toml"),
    "zsh": "_files -g '*.toml'",  # shtab has (*.toml), which zsh reads as qualifiers of no pattern
}
FILES: Mapping[str, Any] = {
    "FILE": shtab.FILE,
    "FOLDER": shtab.DIRECTORY,
}
"""What an option takes, by the word that stands for its value in help texts."""

_BASH_VALUES = 'compgen -W "${current_action_choices[*]}" -- "$completing_word")'
_BASH_LISTS = (
    'compgen -P "${completing_word%"${completing_word##*,}"}" -W "${current_action_choices[*]}"'
    ' -- "${completing_word##*,}")'
)


def completion_script(shell: str) -> str:
    """Return the completion script for a shell."""
    parser = build_parser()
    commands = commands_of(parser)
    for command in commands.values():
        for action in command._actions:
            _add_values(action, sorted(commands))
    return _improved(shtab.complete(parser, shell), shell)


def _improved(script: str, shell: str) -> str:
    """Complete the last entry of a list with commas in bash; show no help text with each value in fish."""
    if shell == "bash":
        return script.replace(_BASH_VALUES, _BASH_LISTS)
    if shell == "fish":
        return re.sub(r"(?m)^(complete .*) -xka (\"[^\"]*\") -d ('.*')$", r"\1 -x -d \3\n\1 -xka \2", script)
    return script


def _add_values(action: argparse.Action, commands: Sequence[str]) -> None:
    """Tell shtab what an option or a positional argument takes."""
    if action.dest in VALUES:
        action.choices = VALUES[action.dest]
    elif action.dest == "config":
        _complete(action, TOML_FILES)
    elif action.metavar == "COMMAND":
        action.choices = commands
    elif action.metavar == "SHELL":
        action.choices = SHELLS
    elif action.metavar in FILES:
        _complete(action, FILES[str(action.metavar)])


def _complete(action: argparse.Action, how: Any) -> None:
    action.complete = how  # type: ignore[attr-defined]  # shtab reads it
