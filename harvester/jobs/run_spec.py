"""Run specification: what a run of a config is going to do, for a harvest and for its plan."""

from __future__ import annotations

from harvester.config import Config
from harvester.config.keys import LATEST, STATISTICS_TASKS, Statistics
from harvester.ledger.messages import RunSpec, TaskParams
from harvester.plugins import item_task_names


def run_spec(config: Config, *, refresh: frozenset[str] = frozenset(), quick: bool = False) -> RunSpec:
    """Return the specification of a run; `refresh` and `quick`: see `RunSpec`."""
    return RunSpec(
        item_tasks=frozenset(item_task_names(config.tasks)),
        with_files="files" in config.tasks,
        refresh=refresh,
        accepts=config.files.accepts,
        max_total=int(config.files.max_total),
        task_params=_task_params(config),
        max_ages=_max_ages(config),
        quick=quick,
    )


def _max_ages(config: Config) -> dict[str, float]:
    max_age = config.stats.max_age
    return {task: max_age for task in STATISTICS_TASKS if max_age and task in config.tasks}


def _task_params(config: Config) -> tuple[TaskParams, ...]:
    """Return the parameters of each item task; a run with other parameters does the task again."""
    stats = config.stats
    counters = ",".join(sorted(stats.counters))
    span = f"{counters} by {stats.granularity} since {stats.since} until {stats.until or 'today'}"
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
