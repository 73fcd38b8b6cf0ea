"""
Config loading: reads TOML, environment and options into typed values, and reports all faults together.

Precedence: option, environment, file, default. The known sources, tasks and export formats are arguments
(`Kinds`), as they belong to other packages.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harvester.config.addresses import address_fault
from harvester.config.certificates import untrusted
from harvester.config.environment import read_environment, variable_of
from harvester.config.faults import ENVIRONMENT, OPTIONS, Faults, Origins
from harvester.config.keys import (
    HARVEST,
    JOBS,
    NOT_KEYS,
    RENAMED,
    STATISTICS_TASKS,
    Config,
    Exporters,
    Services,
    Statistics,
    is_table,
    keys,
)
from harvester.config.proxies import NO_PROXIES, Proxies, read_proxies
from harvester.config.secrets import Secret, is_variable
from harvester.config.tables import Table, certain_faults, fields, is_required
from harvester.config.values import convert, expected
from harvester.errors import UsageError
from harvester.system.paths import contents
from harvester.text.wording import suggest, unknown

T = TypeVar("T", bound=Table)

SOURCES_HINT = " (did you mean [[sources]]?)"
MOST_BYTES = 16_000_000
"""The largest config file."""
SPELLINGS = {"license": "licence"}
"""Other accepted spellings of keys."""


class Kinds(NamedTuple):
    """
    The allowed values of ``kind``, ``tasks`` and ``formats``: sources by kind, exporters by format.

    ``always_exported``: exporters that are always written, so they are no format to choose.
    """

    sources: Mapping[str, type[Any]]
    tasks: Sequence[str]
    exporters: Mapping[str, type[Any]]
    always_exported: Sequence[str] = ()

    @property
    def formats(self) -> list[str]:
        return [name for name in self.exporters if name not in self.always_exported]


def load(
    kinds: Kinds,
    *,
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    job: str | None = None,
    option_of: Callable[[str], str | None] | None = None,
) -> Config:
    """
    Read the config from a file, the environment and options.

    `options`: a key's full name (``"concurrency.workers"``, ``"sources"``) to its value.
    `job`: one of `JOBS`; a value that it needs and that is missing (`Config.check_for`) is a fault too.
    `option_of`: the name of the option that sets a key, for messages.

    Raises:
        UsageError: there are faults; the message has a line for each.
    """
    environ = environ or {}
    tree, text = _read_toml(path) if path else ({}, "")
    origins = Origins(path, text, option_of)
    faults = Faults(origins)
    for key, value in read_environment(environ, faults).items():
        _put(tree, key, value, faults)
        origins.by_key[key] = variable_of(key)
    for key, value in (options or {}).items():
        origins.by_key[key] = OPTIONS
        if fault := _unknown_option(key):
            faults.add(key, fault)
        else:
            _put(tree, key, value, faults)
    _forbid_tokens(tree, "", tree.get("services", {}), faults)
    config = _build(tree, kinds, environ, faults)
    wrong = faults.found
    if job and not (not config.sources and faults.of(SOURCES_HINT)):
        wrong += config.lacking(job)
    if not wrong and job in JOBS:
        wrong = untrusted(environ)
    if wrong:
        raise UsageError("\n".join(wrong))
    return config


def _read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Return the tables of a file, and its text."""
    import tomllib  # noqa: PLC0415 - only if there is a file

    text = ""
    try:
        text = contents(path, most=MOST_BYTES).decode("utf-8-sig")  # Notepad writes such a mark
        return tomllib.loads(text), text
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from exc
    except (ValueError, RecursionError) as exc:  # from Python for long numbers or deep nesting
        from harvester.config.syntax import syntax_fault  # noqa: PLC0415 - only for a fault

        raise UsageError(syntax_fault(exc, str(path), text)) from exc


def _put(tree: dict[str, Any], key: str, value: Any, faults: Faults) -> None:
    table, _, name = key.rpartition(".")
    if table:
        tree = tree.setdefault(table, {})
    if isinstance(tree, dict):
        tree[name] = value
    # A value in place of a table becomes a fault when the table is read.


def _unknown_option(key: str) -> str:
    """Return what to say of a full name that no key has; "" if other checks judge it."""
    names = list(keys())
    table, _, name = key.rpartition(".")
    tables = {each.partition(".")[0] for each in names if "." in each}
    if key in {*names, *RENAMED, *NOT_KEYS, *tables} or name == "token" or table.startswith("export"):
        return ""
    same = [each for each in names if each.rpartition(".")[2] == name]
    hint = suggest(key, names) or (f' (did you mean "{same[0]}"?)' if same else "")
    of_table = [each for each in names if table and each.startswith(f"{table}.")]
    return f"unknown key{hint}; known: {', '.join(of_table or names)}"


def _forbid_tokens(table: Any, at: str, services: Any, faults: Faults) -> None:
    """Add a fault for each token in a file or a program: it would be copied, mailed and committed."""
    entries = table.items() if isinstance(table, dict) else ()
    for key, value in list(entries):
        if key == "token":
            named = services.get("token_env") if isinstance(services, dict) else None
            variable = named if isinstance(named, str) and is_variable(named) else Services.token_env
            faults.add(
                f"{at}token",
                f"a token does not belong in a config: set the environment variable {variable} "
                "(services.token_env names it)",
            )
            del table[key]
        for index, inner in enumerate(value if isinstance(value, list) else [value]):
            place = f"{key}[{index}]" if isinstance(value, list) else key
            _forbid_tokens(inner, f"{at}{place}.", services, faults)


def _build(tree: dict[str, Any], kinds: Kinds, environ: Mapping[str, str], faults: Faults) -> Config:
    sources = tree.pop("sources", [])
    options = _read_exporters(tree.get("export"), kinds, faults)
    values = _read_values(Config, tree, "", faults, leave=NOT_KEYS)
    config = Config(
        **values,
        sources=_read_sources(sources, kinds, faults),
        exporters=Exporters(kinds.exporters, options),
        token=_secret(values.get("services", Services()).token_env, environ, faults),
        stats_credentials=_credentials(values.get("stats", Statistics()), environ, faults),
        proxies=_proxies(environ, faults),
    )
    if "stats" in values or "stats" not in tree:  # else its own faults are reported
        _check_statistics(config, faults)
    _check_names(config.tasks, kinds.tasks, "tasks", faults)
    _check_names(config.export.formats, kinds.formats, "export.formats", faults)
    _check_token(config, faults)
    for name in ("api", "stats"):
        address = getattr(config.services, name)
        if address != getattr(Services, name) and (fault := address_fault(address)):
            faults.add(f"services.{name}", fault)
    return Config(**vars(config) | {"unmet": tuple(faults.unmet)})


NO_VARIABLE = "expected the name of an environment variable"
"""The message does not repeat the value, which may be the secret itself."""


def _check_token(config: Config, faults: Faults) -> None:
    """Check that there is a token if one is needed, in the configured variable."""
    services = config.services
    if not is_variable(services.token_env):
        faults.add("services.token_env", NO_VARIABLE)
        return
    if config.token is not None:
        return
    lacking = f"needs a token: set the environment variable {services.token_env}"
    for index, source in enumerate(config.sources):
        if source is not None and source.needs_token:
            if getattr(source, "subgroups", False):
                faults.need(f"sources[{index}].subgroups", lacking)
            else:
                faults.need(f"sources[{index}]", f"{source.kind} {lacking}")
    if services.impersonate:
        faults.need("services.impersonate", lacking)


def _secret(variable: str, environ: Mapping[str, str], faults: Faults) -> Secret | None:
    """Return a secret from the environment, None if there is none."""
    text = environ.get(variable, "").strip()
    if not text or not is_variable(variable):
        return None
    secret = Secret(text, variable)
    if not secret.is_sendable:
        faults.need(ENVIRONMENT, f"{variable}: holds characters that no token has")
    return secret


def _credentials(stats: Statistics, environ: Mapping[str, str], faults: Faults) -> Secret | None:
    """Return an institution's credentials; without an institution the variable is ignored."""
    variable = stats.credentials_env
    text = environ.get(variable, "").strip()
    if not text or not is_variable(variable):
        return None
    name, colon, password = text.partition(":")
    if stats.institution and not (name and colon and password and text.isprintable()):
        faults.need(ENVIRONMENT, f"{variable}: expected name:password", jobs=[HARVEST])
    return Secret(text, variable)


def _proxies(environ: Mapping[str, str], faults: Faults) -> Proxies:
    try:
        return read_proxies(environ)
    except ValueError as exc:
        faults.need(ENVIRONMENT, str(exc))
        return NO_PROXIES


def _check_statistics(config: Config, faults: Faults) -> None:
    """Check the keys that statistics tasks need."""
    stats = config.stats
    tasks = [task for task in STATISTICS_TASKS if task in config.tasks]
    if stats.since is None:
        for task in [task for task in tasks if task != "stats"][:1]:
            faults.add("stats.since", f"missing; the task {task} needs it")
    if not is_variable(stats.credentials_env):
        faults.add("stats.credentials_env", NO_VARIABLE)
    elif stats.institution and tasks and config.stats_credentials is None:
        faults.need(
            "stats.institution",
            f"needs credentials: set the environment variable {stats.credentials_env} to name:password "
            "(stats.credentials_env names it)",
            jobs=[HARVEST],
        )
    if stats.institution and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", stats.institution):
        faults.add("stats.institution", 'expected its name in addresses, such as "monash"')


def _check_names(names: Sequence[str], known: Sequence[str], key: str, faults: Faults) -> None:
    if not names:
        faults.add(key, f"empty; known: {', '.join(known)}")
    for name in names:
        if name not in known:
            faults.add(key, unknown(name, known))


def _read_sources(tables: Any, kinds: Kinds, faults: Faults) -> tuple[Any, ...]:
    if not isinstance(tables, list):
        hint = (
            "write [[sources]], with two brackets"
            if isinstance(tables, dict)
            else "expected [[sources]] tables"
        )
        faults.add("sources", hint)
        return (None,)
    found: list[Any] = []
    for index, table in enumerate(tables):
        at = f"sources[{index}]"
        found.append(
            None
        )  # an unreadable source keeps its place, so that the numbers of the others stay right
        kind = table.get("kind") if isinstance(table, dict) else None
        if not isinstance(kind, str):
            text = "missing" if kind is None else expected('a text such as "group"', kind)
            faults.add(f"{at}.kind", f"{text}; known: {', '.join(kinds.sources)}")
        elif kind not in kinds.sources:
            faults.add(f"{at}.kind", unknown(kind, kinds.sources))
        else:
            cls = kinds.sources[kind]
            rest = {key: value for key, value in table.items() if key != "kind"}
            rest = _spelled(rest, cls, f"{at}.", faults)
            found[index] = _read_table(cls, rest, f"{at}.", faults)
    return tuple(found)


def _read_exporters(table: Any, kinds: Kinds, faults: Faults) -> dict[str, Any]:
    """Remove the tables ``[export.<format>]`` from their table, and return the exporters that they define."""
    tables = table if isinstance(table, dict) else {}
    names = [name for name in tables if name in kinds.formats or isinstance(tables[name], dict)]
    found: dict[str, Any] = {}
    for name in names:
        options = tables.pop(name)
        _check_names([name], kinds.formats, f"export.{name}", faults)
        if name in kinds.formats:
            try:
                found[name] = _read_table(kinds.exporters[name], options, f"export.{name}.", faults)
            except UsageError as exc:  # a required package is not installed
                faults.add(f"export.{name}", str(exc))
    return found


def _read_table(cls: type[T], table: Any, at: str, faults: Faults) -> T | None:
    if not isinstance(table, dict):
        name = at.rstrip(".")
        faults.add(name, f"expected a table: [{name}]" if "[" not in name else "expected a table")
        return None
    before = len(faults.found)
    values = _read_values(cls, table, at, faults)
    lacking = [
        name for name in fields(cls) if name not in values and (name in table or is_required(cls, name))
    ]
    for fault in certain_faults(cls, values, lacking):  # faults that only the table's class can find
        name, _, what = fault.partition(": ")
        faults.add(f"{at}{name}", what) if name in fields(cls) else faults.add(at.rstrip("."), fault)
    return None if len(faults.found) > before else cls(**values)


def _read_values(
    cls: type[Any],
    table: dict[str, Any],
    at: str,
    faults: Faults,
    leave: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:
    """Convert the keys of a table; add a fault for each wrong or missing one."""
    known = {name: hint for name, hint in fields(cls).items() if name not in leave}
    names = [*known, "sources"] if leave else list(known)
    for key in [key for key in table if key not in known]:
        if new := RENAMED.get(f"{at}{key}"):
            faults.add(f"{at}{key}", f"is now called {new}")
        else:
            faults.add(
                f"{at}{key}", f"unknown key{_suggest_key(key, names)}; known: {', '.join(names) or 'none'}"
            )
    values: dict[str, Any] = {}
    for name, hint in known.items():
        if name not in table:
            if is_required(cls, name):
                faults.add(f"{at}{name}", "missing")
        elif is_table(hint):
            inner = _read_table(hint, table[name], f"{at}{name}.", faults)
            if inner is not None:
                values[name] = inner
        else:
            _convert(table[name], hint, f"{at}{name}", values, faults)
    return values


def _suggest_key(key: str, names: Sequence[str]) -> str:
    """Return a hint with a similar key of the table, or with the same key of another table."""
    hint = suggest(key, names)
    if '"sources"' in hint:
        return SOURCES_HINT
    elsewhere = [full for full in keys() if full.rpartition(".")[2] == key]
    return f' (did you mean "{elsewhere[0]}"?)' if elsewhere and not hint else hint


def _spelled(table: Mapping[str, Any], cls: type[Table], at: str, faults: Faults) -> dict[str, Any]:
    """Return a table with its keys in the spelling of the fields."""
    spelled = dict(table)
    for other, name in SPELLINGS.items():
        if other in spelled and name in fields(cls):
            if name in spelled:
                faults.add(f"{at}{other}", f"given twice, as {name} as well")
            spelled.setdefault(name, spelled.pop(other))
    return spelled


def _convert(value: Any, hint: Any, key: str, values: dict[str, Any], faults: Faults) -> None:
    try:
        made = convert(value, hint)
    except ValueError as exc:
        faults.add(key, str(exc))
        return
    if isinstance(made, float) and math.isnan(made):
        faults.add(key, "expected a number")
        return
    values[key.rpartition(".")[2]] = made
