"""Help formatter: help as wide as the terminal."""

from __future__ import annotations

import argparse
import os
import sys


class Help(argparse.HelpFormatter):
    """
    Help as wide as the terminal; a text of several lines keeps them.

    argparse creates one of these for every option; its own class imports shutil for the width, which takes 2
    ms.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(f"{indent}{line}\n" for line in text.splitlines())
        return super()._fill_text(text, width, indent)


def _columns() -> int:
    """Return the width of the terminal, as `shutil.get_terminal_size` does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):  # missing, closed, or no terminal
        return 80
