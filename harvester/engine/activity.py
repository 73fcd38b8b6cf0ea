"""Activity: what a job other than a run is doing, in words."""

from __future__ import annotations

from collections.abc import Callable


class Activity:
    """The present step of a job; `describe` returns it in words, "" before the first one."""

    def __init__(self) -> None:
        self.describe: Callable[[], str] = str

    def begin(self, describe: Callable[[], str]) -> None:
        """Begin a step; `describe` is called whenever the step is shown."""
        self.describe = describe
