"""What the tasks of a config are asked for, in words that are the same for the same wish."""

from __future__ import annotations

from harvester.config import Config
from harvester.config.keys import LATEST, Statistics
from harvester.ledger.messages import TaskParams


def task_params(config: Config) -> tuple[TaskParams, ...]:
    """Return what each task on items is asked for; a run with other parameters does the task again."""
    asked = config.stats
    counters = ",".join(sorted(asked.counters))
    span = f"{counters} by {asked.granularity} since {asked.since} until {asked.until or 'today'}"
    return (
        TaskParams("metadata", _versions(config.versions), usual=LATEST),
        TaskParams("stats", counters, usual=",".join(sorted(Statistics.counters)), adds_up=True),
        TaskParams("timeline", span),
        TaskParams("breakdown", span),
    )


def _versions(versions: str | tuple[int, ...]) -> str:
    if isinstance(versions, str):
        return versions
    return ",".join(str(number) for number in sorted(set(versions)))
