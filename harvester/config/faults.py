"""Config validation: collects all faults, so that they are shown together, each with its origin and key."""

from collections.abc import Mapping, Sequence

from harvester.config.keys import JOBS, Need

ENVIRONMENT = "environment"
"""The key of a fault in the environment."""


class Faults:
    """
    Collects faults, each with its origin and its key.

    Attributes:
        found: one line for each fault.
        unmet: missing values that only some jobs need.
    """

    def __init__(self, origins: Mapping[str, str]) -> None:
        self._origins = origins
        self.found: list[str] = []
        self.unmet: list[Need] = []

    def add(self, key: str, what: str) -> None:
        self.found.append(self._line(key, what))

    def need(self, key: str, what: str, jobs: Sequence[str] = JOBS) -> None:
        self.unmet.append(Need(tuple(jobs), self._line(key, what)))

    def _line(self, key: str, what: str) -> str:
        top = key.partition(".")[0].partition("[")[0]
        origin = self._origins.get(key) or self._origins.get(top) or self._origins.get("", "")
        return f"{origin}: {key}: {what}" if origin and key != ENVIRONMENT else f"{key}: {what}"
