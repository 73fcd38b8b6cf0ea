"""The prompt of `run --prune`: shows the files that can be removed, asks the user, and prints the result."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from harvester.cli.console import print_progress_note, read_answer
from harvester.cli.render import nothing_removed, pruned_text, removable_text
from harvester.config import Config
from harvester.jobs.prune import prune_and_export, prune_blockers, removable
from harvester.storage.trash import TRASH_DAYS, dated, expired
from harvester.storage.trash_mover import Pruned


@dataclass(frozen=True)
class PrunePrompt:
    """
    The prompt before orphaned files are removed.

    Attributes:
        config: of the folder.
        says_yes: ``--yes`` was given.
        await_work: runs a coroutine to its end.
        begin_to_wait: called before the user is asked.
        trash_days: see `jobs.prune.prune`.
    """

    config: Config
    says_yes: bool
    await_work: Callable[[Callable[[], Coroutine[Any, Any, Pruned]]], Pruned]
    begin_to_wait: Callable[[], None]
    trash_days: int = TRASH_DAYS

    def make(self) -> None:
        """Show the files; remove them if the user says yes; forget files that are gone already."""
        if blockers := prune_blockers(self.config):
            print_progress_note(nothing_removed(blockers))
            return
        found = removable(self.config)
        shown = [each for each in found if not each.kept]
        today = time.strftime("%Y-%m-%d", time.gmtime())
        old = expired(dated(self.config.folder), today, self.trash_days)
        print_progress_note(removable_text(found, old, self.trash_days))
        if (shown or old) and not self._agrees():
            return
        paths = [each.path for each in shown]
        work = functools.partial(prune_and_export, self.config, paths, trash_days=self.trash_days)
        pruned = self.await_work(work)
        if shown or old:
            print_progress_note(pruned_text(pruned))

    def _agrees(self) -> bool:
        """Return the user's answer; False if there is no terminal."""
        if self.says_yes:
            return True
        if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
            print_progress_note(
                "nothing is removed: there is no terminal to ask on; --yes answers beforehand"
            )
            return False
        self.begin_to_wait()
        return read_answer("remove these? [y/N]").strip().lower() in {"y", "yes"}
