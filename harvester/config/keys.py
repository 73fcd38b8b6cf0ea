"""
Config keys: their names, types, defaults and limits.

Every table is a `Table` whose fields are its keys, so that a key's name, type, default and limits are in one
place. Sources, tasks and export formats have their own packages.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.config.secrets import Secret
from harvester.config.tables import Table, fields
from harvester.config.units import ByteCount, Duration
from harvester.config.values import Rule, convert, expected, got
from harvester.errors import UsageError
from harvester.system.paths import path_fault, usable
from harvester.text.units import human_bytes
from harvester.text.wording import unknown


def at_most(most: int) -> Rule:
    """Whole numbers from 1 to `most`; more would need too much memory or time."""
    words = "an id from 1 to 2^63" if most == MOST_ID else f"a whole number from 1 to {most:,}"
    return Rule(words, lambda number: 1 <= number <= most)


MOST_ID = 2**63 - 1
MOST_SECONDS = 30 * 86400
A_DAY = 1 / 86400
"""Requests a second, at one request a day: the lowest rate."""
Seconds = Annotated[
    float,
    Rule(
        f"a number of seconds above 0, up to {MOST_SECONDS:,} (30 days)",
        lambda number: 0 < number <= MOST_SECONDS,
    ),
]
PerSecond = Annotated[
    float, Rule("a number above 0, at least one request a day", lambda number: number >= A_DAY)
]
Count = Annotated[int, Rule("a whole number above 0", lambda number: number >= 1)]
Natural = Annotated[int, Rule("a whole number, 0 or more", lambda number: number >= 0)]
Id = Annotated[int, at_most(MOST_ID)]
"""figshare's id of a group, a collection, a project or an institution."""
Pattern = Annotated[str, Rule("a pattern such as *.csv", bool)]
SingleLine = Annotated[str, Rule("a text of one line that can be printed", str.isprintable)]
_WEB = r"^https?://[^\s/]+"
Address = Annotated[str, Rule("an address that begins with https://", lambda text: re.search(_WEB, text))]

AUTO: Final = "auto"


class _Allowance:
    """Requests a second: a number, or "auto" to find out the highest accepted rate."""

    @staticmethod
    def parse(value: object) -> float | Literal["auto"]:
        if value == AUTO:
            return AUTO
        try:
            return float(convert(value, PerSecond))
        except ValueError as exc:
            words = 'a number above 0, at least one request a day, or "auto"'
            raise ValueError(expected(words, value)) from exc


Allowance = Annotated[float | Literal["auto"], _Allowance]


class _NetworkRange:
    """A network in CIDR notation, as text; `url_policy.py` applies it."""

    @staticmethod
    def parse(value: object) -> str:
        from ipaddress import ip_network  # noqa: PLC0415 - only if a network is given

        try:
            return str(ip_network(str(value)))
        except ValueError as exc:
            raise ValueError(expected('networks such as "10.0.0.0/8"', value)) from exc


class _Folder:
    """The path of a folder as the user gives it."""

    @staticmethod
    def parse(value: object) -> str:
        path = str(convert(value, str))
        if not path:
            raise ValueError('expected a path; "." is the current folder')
        # Other characters may be any byte in the user's locale, so they are allowed.
        if fault := path_fault(path):
            raise ValueError(fault)
        if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", path):
            raise ValueError(f"expected a folder on this machine: {scheme[1].lower()}:// is not supported")
        try:
            Path(usable(path)).expanduser()
        except RuntimeError as exc:
            raise ValueError(f"expected a path: {path.partition('/')[0]} is no user's home") from exc
        return path


class Services(Table):
    api: Address = "https://api.figshare.com/v2"
    stats: Address = "https://stats.figshare.com"
    token_env: str = "FIGSHARE_TOKEN"  # noqa: S105 - the name of a variable, not a token
    contact: SingleLine = ""
    impersonate: Natural = 0
    private_networks: tuple[Annotated[str, _NetworkRange], ...] = ()


class Concurrency(Table):
    workers: Annotated[int, at_most(10_000)] = 16
    queue: Annotated[int, at_most(1_000_000)] = 512
    downloads: Annotated[int, at_most(1_000)] = 8


SERVICES: Final = ("api", "stats", "files")
"""figshare's services, each with its own host and rate."""


class Rates(Table):
    """Requests a second for each service; ``ceiling``: the upper bound for "auto"."""

    api: Allowance = 1.0
    stats: Allowance = 1.0
    files: Allowance = 1.0
    ceiling: PerSecond = 10.0

    def is_sought(self, service: str) -> bool:
        """Return whether the rate of a service is "auto"."""
        return bool(getattr(self, service) == AUTO)

    def at_most(self, service: str) -> float:
        """Return the highest rate for a service, in requests a second."""
        return self.ceiling if self.is_sought(service) else float(getattr(self, service))


class Retry(Table):
    attempts: Annotated[int, at_most(1_000)] = 6
    max_wait: Seconds = 60.0
    outage_timeout: Seconds = 900.0


class Timeouts(Table):
    connect: Seconds = 30.0
    idle: Seconds = 60.0
    min_speed: ByteCount = ByteCount(1000)


class _Versions:
    """The wanted versions of items: a word, or their numbers."""

    @staticmethod
    def parse(value: object) -> Literal["latest", "all"] | tuple[int, ...]:
        if value == LATEST:
            return LATEST
        if value == ALL:
            return ALL
        try:
            numbers: tuple[int, ...] = convert(value, tuple[Count, ...])
        except ValueError:
            numbers = ()
        if not numbers:
            raise ValueError(f'expected "latest", "all" or version numbers such as 1,3, got {_joined(value)}')
        return numbers


def _joined(value: object) -> str:
    return got(",".join(map(str, value)) if isinstance(value, list | tuple) else value)


LATEST: Final = "latest"
ALL: Final = "all"
Versions = Annotated[tuple[int, ...] | Literal["latest", "all"], _Versions]

STATISTICS_TASKS: Final = ("stats", "timeline", "breakdown")
"""The tasks that request statistics; all but the first request a span of days."""
COUNTERS: Final = ("views", "downloads", "shares")
GRANULARITIES: Final = ("day", "month", "year", "total")


class _OneOf:
    """A text that is one of these words."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def parse(self, value: object) -> str:
        text = str(convert(value, str))
        if text not in self._words:
            raise ValueError(unknown(text, self._words))
        return text


class Statistics(Table):
    """
    What the tasks stats, timeline and breakdown request.

    ``max_age``: seconds after which they are requested again; 0 for never.
    """

    counters: tuple[Annotated[str, _OneOf(*COUNTERS)], ...] = ("views", "downloads")
    granularity: Annotated[str, _OneOf(*GRANULARITIES)] = "month"
    since: date | None = None
    until: date | None = None
    max_age: Duration = Duration(0)
    institution: str = ""
    credentials_env: str = "FIGSHARE_STATS"

    def faults(self) -> Iterator[str]:
        if not self.counters:
            yield f"counters: empty; known: {', '.join(COUNTERS)}"
        if self.since is not None and self.until is not None and self.since > self.until:
            yield f"since: {self.since} is after {self.until}, the last day"


class FileRules(Table):
    """Which files are fetched; sizes in bytes, 0 for no limit. ``max_total``: of all files in the folder."""

    include: tuple[Pattern, ...] = ("*",)
    exclude: tuple[Pattern, ...] = ()
    min_size: ByteCount = ByteCount(0)
    max_size: ByteCount = ByteCount(0)
    max_total: ByteCount = ByteCount(0)

    def faults(self) -> Iterator[str]:
        if 0 < self.max_size < self.min_size:
            least, most = human_bytes(self.min_size), human_bytes(self.max_size)
            yield f"min_size: {least} is more than {most}, the largest size: no file can be both"

    def accepts(self, full_name: str, size: int) -> bool:
        """Return whether a file with this ``folder/name`` and size in bytes is to be fetched."""
        if size < self.min_size or 0 < self.max_size < size:
            return False
        if self.include != ("*",) and not any(fnmatchcase(full_name, each) for each in self.include):
            return False
        return not any(fnmatchcase(full_name, each) for each in self.exclude)


class Export(Table):
    formats: tuple[str, ...] = ("jsonl", "csv")


HARVEST: Final = "harvest"
JOBS: Final = (HARVEST, "plan", "list")
"""The jobs that read the sources at figshare."""


class Need(NamedTuple):
    """A missing value that some jobs need, as the text of a fault."""

    jobs: tuple[str, ...]
    message: str


class Exporters(NamedTuple):
    """
    The exporters of a config.

    ``registry``: the class of each output format, by its name.
    ``options``: by format, the exporters that a table ``[export.<format>]`` defines.
    """

    registry: Mapping[str, type[Any]]
    options: Mapping[str, Any]


class Config(Table):
    """
    All settings of a run.

    ``sources``: instances of the classes in ``Kinds.sources``.
    ``exporters``: None for those of this package, without options.
    ``unmet``: values that the environment lacks; `check_for` decides whether a job needs them.
    """

    output: Annotated[str, _Folder] = "harvest"
    tasks: tuple[str, ...] = ("metadata", "stats", "files")
    versions: Versions = LATEST
    services: Services = Services()
    concurrency: Concurrency = Concurrency()
    rate: Rates = Rates()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    files: FileRules = FileRules()
    stats: Statistics = Statistics()
    export: Export = Export()
    sources: tuple[Any, ...] = ()
    exporters: Exporters | None = None
    token: Secret | None = None
    stats_credentials: Secret | None = None
    proxies: Proxies = NO_PROXIES
    unmet: tuple[Need, ...] = ()

    def check_for(self, job: str) -> None:
        """Raise UsageError, with a line for each missing value that this job of `JOBS` needs."""
        if lacking := self.lacking(job):
            raise UsageError("\n".join(lacking))

    def lacking(self, job: str) -> list[str]:
        """Return the missing values that a job needs, one line each."""
        nothing = [f"nothing to {job}: name a source in the config, or --search, --item, …"]
        return ([] if self.sources else nothing) + [need.message for need in self.unmet if job in need.jobs]

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(usable(self.output)).expanduser()


NOT_KEYS = {"sources", "exporters", "token", "stats_credentials", "proxies", "unmet"}
"""Fields of `Config` that are no plain keys."""
RENAMED = {"retry.patience": "retry.outage_timeout", "timeouts.slowest": "timeouts.min_speed"}
"""Keys of earlier versions, each with its replacement."""


def is_table(hint: Any) -> bool:
    """Return whether a type is a table."""
    return isinstance(hint, type) and issubclass(hint, Table)


def keys() -> dict[str, Any]:
    """Return the full name and the type of every key, except those of sources."""
    known: dict[str, Any] = {}
    for name, hint in fields(Config).items():
        if name in NOT_KEYS:
            continue
        if is_table(hint):
            known.update({f"{name}.{key}": inner for key, inner in fields(hint).items()})
        else:
            known[name] = hint
    return known
