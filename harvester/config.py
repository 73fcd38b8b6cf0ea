"""
TOML, environment and options into typed values; all faults at once, each with its place.

Every table is a `Table` whose fields are its keys, so that a key's name, type, default and limits
stand in one place. Precedence: option, environment, file, default. The kinds of source, task
and export format come from outside (`Kinds`), as the tables of their own packages.
"""

import math
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from harvester.credentials import Secret
from harvester.errors import UsageError
from harvester.tables import Table, fields, is_required
from harvester.values import AUTO, Allowance, Rule, convert

T = TypeVar("T", bound=Table)

ENVIRONMENT_PREFIX = "HARVESTER_"

Positive = Annotated[float, Rule("> 0.0", lambda number: number > 0)]
Count = Annotated[int, Rule(">= 1", lambda number: number >= 1)]
_WEB = r"^https?://[^\s/]+"
Address = Annotated[str, Rule(f"matching regex {_WEB!r}", lambda text: re.search(_WEB, text))]

_UNITS = {"": 1, "b": 1} | {
    prefix + unit: base**power
    for unit, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}


class ByteCount(int):
    """A number of bytes, written as "500 MB" (10^6), "2 GiB" (2^30) or a plain number."""

    @classmethod
    def parse(cls, value: object) -> Self:
        match = re.fullmatch(r"\s*([\d_]+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
        if match is None or match[2] not in _UNITS or isinstance(value, bool):
            raise ValueError('expected a size such as "500 MB" or "2 GiB"')
        return cls(float(match[1]) * _UNITS[match[2]])


class Services(Table):
    api: Address = "https://api.figshare.com/v2"
    stats: Address = "https://stats.figshare.com"
    token_env: str = "FIGSHARE_TOKEN"  # noqa: S105 - the name of a variable, not a token
    contact: str = ""


class Concurrency(Table):
    workers: Count = 16
    queue: Count = 512
    downloads: Count = 8


class Rate(Table):
    """Requests a second for each service; ``ceiling`` is the most for those that are "auto"."""

    api: Allowance = 1.0
    stats: Allowance = 1.0
    files: Allowance = 1.0
    ceiling: Positive = 10.0

    def is_sought(self, service: str) -> bool:
        """Tell whether the rate of a service is to be found out."""
        return bool(getattr(self, service) == AUTO)

    def at_most(self, service: str) -> float:
        """Return the requests a second that a service may get at most."""
        return self.ceiling if self.is_sought(service) else float(getattr(self, service))


class Retry(Table):
    attempts: Count = 6
    max_wait: Positive = 60.0
    patience: Positive = 900.0


class Timeouts(Table):
    connect: Positive = 30.0
    idle: Positive = 60.0
    slowest: ByteCount = ByteCount(1000)


class FileRules(Table):
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_size: ByteCount = ByteCount(0)

    def wants(self, full_name: str, size: int) -> bool:
        """Tell whether a file of this ``folder/name`` and size in bytes is to be fetched."""
        if 0 < self.max_size < size:
            return False
        if self.include != ("*",) and not any(fnmatchcase(full_name, each) for each in self.include):
            return False
        return not any(fnmatchcase(full_name, each) for each in self.exclude)


class Export(Table):
    formats: tuple[str, ...] = ("jsonl", "csv")


class Config(Table):
    """Everything a run is told. ``sources`` holds instances of the classes in ``Kinds.sources``."""

    output: str = "harvest"
    tasks: tuple[str, ...] = ("metadata", "stats", "files")
    services: Services = Services()
    concurrency: Concurrency = Concurrency()
    rate: Rate = Rate()
    retry: Retry = Retry()
    timeouts: Timeouts = Timeouts()
    files: FileRules = FileRules()
    export: Export = Export()
    sources: tuple[Any, ...] = ()
    token: Secret | None = None

    def need_sources(self, job: str) -> None:
        """Raise UsageError where there is nothing to harvest, or to plan."""
        if not self.sources:
            raise UsageError(f"nothing to {job}: name a source in the config, or --search, --item, …")

    @property
    def folder(self) -> Path:
        """The output folder."""
        return Path(self.output).expanduser()


class Kinds(NamedTuple):
    """What the values of ``kind``, ``tasks`` and ``formats`` may be; sources by kind."""

    sources: Mapping[str, type[Any]]
    tasks: Sequence[str]
    formats: Sequence[str]


class _Faults:
    """Collects what is wrong, each with where it was said and its key."""

    def __init__(self, origins: Mapping[str, str]) -> None:
        self._origins = origins
        self.found: list[str] = []

    def add(self, key: str, what: str) -> None:
        top = key.partition(".")[0].partition("[")[0]
        origin = self._origins.get(key) or self._origins.get(top) or self._origins.get("", "")
        self.found.append(f"{origin}: {key}: {what}" if origin else f"{key}: {what}")


def load(
    kinds: Kinds,
    *,
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """
    Read the config from a file, the environment and options.

    `options` maps a key's full name (``"concurrency.workers"``, ``"sources"``) to its value.

    Raises:
        UsageError: anything is wrong; the message has a line for each fault.
    """
    environ = environ or {}
    tree = _read_toml(path) if path else {}
    origins = {"": path.name} if path else {}
    faults = _Faults(origins)
    _forbid_tokens(tree, "", tree.get("services", {}), faults)
    for key, value in _environment(environ, faults).items():
        _put(tree, key, value, faults)
        origins[key] = ENVIRONMENT_PREFIX + key.upper().replace(".", "_")
    for key, value in (options or {}).items():
        _put(tree, key, value, faults)
        origins[key] = "command line"
    config = _build(tree, kinds, environ, faults)
    if faults.found:
        raise UsageError("\n".join(faults.found))
    return config


def keys() -> dict[str, Any]:
    """Return the full name of every key that is not a source's, with its type."""
    known: dict[str, Any] = {}
    for name, hint in fields(Config).items():
        if name in {"sources", "token"}:
            continue
        if _is_table(hint):
            known.update({f"{name}.{key}": inner for key, inner in fields(hint).items()})
        else:
            known[name] = hint
    return known


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Table)


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - where there is a file

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{path}: not valid TOML: {exc}") from exc


def _environment(environ: Mapping[str, str], faults: _Faults) -> dict[str, Any]:
    """Pick the keys that stand in the environment as HARVESTER_<TABLE>_<KEY>."""
    known = {ENVIRONMENT_PREFIX + key.upper().replace(".", "_"): key for key in keys()}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if name in known:
            values[known[name]] = _from_text(text, keys()[known[name]])
        elif name.startswith(ENVIRONMENT_PREFIX):
            faults.found.append(f"environment: {name}: unknown{_suggest(name, known)}")
    return values


def _from_text(text: str, hint: Any) -> Any:
    if hint == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint in {str, Address, ByteCount}:
        return text
    try:
        return float(text) if hint in {Positive, Allowance} else int(text)
    except ValueError:
        return text


def _put(tree: dict[str, Any], key: str, value: Any, faults: _Faults) -> None:
    table, _, name = key.rpartition(".")
    if table:
        tree = tree.setdefault(table, {})
    if isinstance(tree, dict):
        tree[name] = value
    # A table that is no table is told of when it is read.


def _forbid_tokens(table: Any, at: str, services: Any, faults: _Faults) -> None:
    """A token in a file would be copied, mailed and committed with it."""
    entries = table.items() if isinstance(table, dict) else ()
    for key, value in list(entries):
        if key == "token":
            named = services.get("token_env") if isinstance(services, dict) else None
            variable = named or Services.token_env
            faults.add(
                f"{at}token",
                f"a token does not belong in a file: set the environment variable {variable} "
                "(services.token_env names it)",
            )
            del table[key]
        for index, inner in enumerate(value if isinstance(value, list) else [value]):
            place = f"{key}[{index}]" if isinstance(value, list) else key
            _forbid_tokens(inner, f"{at}{place}.", services, faults)


def _build(tree: dict[str, Any], kinds: Kinds, environ: Mapping[str, str], faults: _Faults) -> Config:
    sources = tree.pop("sources", [])
    values = _read_values(Config, tree, "", faults, leave={"sources", "token"})
    token = environ.get(values.get("services", Services()).token_env, "").strip()
    config = Config(
        **values,
        sources=_read_sources(sources, kinds, faults),
        token=Secret(token) if token else None,
    )
    if config.token is not None and not config.token.is_sendable:
        faults.found.append(f"environment: {config.services.token_env}: holds characters that no token has")
    _check_names(config.tasks, kinds.tasks, "tasks", faults)
    _check_names(config.export.formats, kinds.formats, "export.formats", faults)
    for index, source in enumerate(config.sources):
        if source is not None and source.needs_token and config.token is None:
            faults.add(
                f"sources[{index}]",
                f"{source.kind} needs a token: set the environment variable {config.services.token_env}",
            )
    for name in ("api", "stats"):
        address = getattr(config.services, name)
        if address != getattr(Services, name):
            _check_address(address, f"services.{name}", faults)
    return config


def _check_address(address: str, key: str, faults: _Faults) -> None:
    from yarl import URL  # noqa: PLC0415 - where an address is given

    from harvester.addresses import is_loopback  # noqa: PLC0415

    try:
        url = URL(address)
    except ValueError:
        faults.add(key, "not an address")
        return
    if url.raw_user is not None or url.raw_password is not None:
        faults.add(key, "a name or password does not belong in an address")
    elif url.scheme == "http" and not is_loopback(url):
        faults.add(key, "plain http is for this machine only: use https")


def _check_names(names: Sequence[str], known: Sequence[str], key: str, faults: _Faults) -> None:
    if not names:
        faults.add(key, f"empty; known: {', '.join(known)}")
    for name in names:
        if name not in known:
            faults.add(key, f"unknown {name!r}{_suggest(name, known)}; known: {', '.join(known)}")


def _read_sources(tables: Any, kinds: Kinds, faults: _Faults) -> tuple[Any, ...]:
    if not isinstance(tables, list):
        faults.add("sources", "expected [[sources]] tables")
        return ()
    found = []
    for index, table in enumerate(tables):
        at = f"sources[{index}]"
        kind = table.get("kind") if isinstance(table, dict) else None
        if not isinstance(kind, str):
            faults.add(f"{at}.kind", f"missing; known: {', '.join(kinds.sources)}")
        elif kind not in kinds.sources:
            hint = _suggest(kind, kinds.sources)
            faults.add(f"{at}.kind", f"unknown {kind!r}{hint}; known: {', '.join(kinds.sources)}")
        else:
            rest = {key: value for key, value in table.items() if key != "kind"}
            found.append(_read_table(kinds.sources[kind], rest, f"{at}.", faults))
    return tuple(found)


def _read_table(cls: type[T], table: Any, at: str, faults: _Faults) -> T | None:
    if not isinstance(table, dict):
        faults.add(at.rstrip("."), "expected a table")
        return None
    before = len(faults.found)
    values = _read_values(cls, table, at, faults)
    if len(faults.found) > before:
        return None
    try:
        return cls(**values)
    except ValueError as exc:  # what only the table's own class can tell
        faults.add(at.rstrip("."), str(exc))
        return None


def _read_values(
    cls: type[Table],
    table: dict[str, Any],
    at: str,
    faults: _Faults,
    leave: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:
    """Convert the keys that stand in a table; what is wrong or missing is told and left out."""
    known = {name: hint for name, hint in fields(cls).items() if name not in leave}
    for key in table.keys() - known.keys():
        faults.add(f"{at}{key}", f"unknown key{_suggest(key, known)}; known: {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, hint in known.items():
        if name not in table:
            if is_required(cls, name):
                faults.add(f"{at}{name}", "missing")
        elif _is_table(hint):
            inner = _read_table(hint, table[name], f"{at}{name}.", faults)
            if inner is not None:
                values[name] = inner
        else:
            _convert(table[name], hint, f"{at}{name}", values, faults)
    return values


def _convert(value: Any, hint: Any, key: str, values: dict[str, Any], faults: _Faults) -> None:
    try:
        made = convert(value, hint)
    except ValueError as exc:
        faults.add(key, str(exc))
        return
    if isinstance(made, float) and math.isnan(made):
        faults.add(key, "expected a number")
        return
    values[key.rpartition(".")[2]] = made


def _suggest(word: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 - where a word is wrong

    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
