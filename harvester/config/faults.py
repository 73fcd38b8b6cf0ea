"""Config validation: collects all faults, so that they are shown together, each with its origin and key."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harvester.config.keys import JOBS, Need

ENVIRONMENT = "environment"
"""The key of a fault in the environment."""
OPTIONS = "options"
"""The origin of a key that the caller gives."""


class Origins:
    """
    Where the values of a config come from.

    Attributes:
        by_key: the origin of each key that the environment or the caller gives.
        option_of: returns the caller's own name of a key, such as ``--workers``; None if there is none.
    """

    def __init__(
        self, path: Path | None, text: str, option_of: Callable[[str], str | None] | None = None
    ) -> None:
        self.by_key: dict[str, str] = {}
        self.option_of = option_of
        self._path = path
        self._text = text
        self._lines: Mapping[str, int] | None = None

    def describe(self, key: str) -> str:
        """Return where a key is set, for the beginning of a message."""
        if key == ENVIRONMENT:
            return key
        origin = self._origin(key)
        if origin == OPTIONS:
            option = self.option_of(key) if self.option_of else None
            return option or f"{OPTIONS}: {key}"
        if origin:
            return origin  # the name of a variable, which has the key in it
        if self._path is None:  # the command line is the only place where it could have been set
            return (self.option_of(key) if self.option_of else None) or key
        line = self._line(key)
        at = f", line {line}" if line else ""
        return f"{self._path.name}{at}: {key}"

    def file_line(self, key: str) -> int:
        """Return the line of a key in the file, 0 if it is set elsewhere."""
        return 0 if key == ENVIRONMENT or self._origin(key) or not self._path else self._line(key)

    def _origin(self, key: str) -> str | None:
        return self.by_key.get(key) or self.by_key.get(key.partition(".")[0].partition("[")[0])

    def _line(self, key: str) -> int:
        from harvester.config.toml_lines import key_lines, line_of  # noqa: PLC0415 - only for a fault in a file

        if self._lines is None:
            self._lines = key_lines(self._text)
        return line_of(key, self._lines) or 0


class Faults:
    """
    Collects faults, each with its origin and its key.

    Attributes:
        unmet: missing values that only some jobs need.
    """

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._found: list[tuple[int, str]] = []
        self.unmet: list[Need] = []

    def add(self, key: str, what: str) -> None:
        fault = (self._origins.file_line(key), self._fault(key, what))
        if fault not in self._found:  # one option may set several keys
            self._found.append(fault)

    @property
    def found(self) -> list[str]:
        """One line for each fault; those of the file in the order of its lines."""
        return [text for _, text in sorted(self._found, key=lambda fault: fault[0])]

    def of(self, words: str) -> bool:
        """Return whether a fault has these words."""
        return any(words in text for _, text in self._found)

    def need(self, key: str, what: str, jobs: Sequence[str] = JOBS) -> None:
        self.unmet.append(Need(tuple(jobs), self._fault(key, what)))

    def _fault(self, key: str, what: str) -> str:
        return f"{self._origins.describe(key)}: {what}"
