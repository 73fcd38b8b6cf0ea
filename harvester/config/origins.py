"""
Config provenance: where each value was set, by option, environment variable or a line of the file.

The order of precedence is that of `loading.py`.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from harvester.config.environment import variable_of
from harvester.config.keys import Config, keys
from harvester.config.loading import MOST_BYTES, SPELLINGS
from harvester.config.tables import fields, is_required
from harvester.config.toml_lines import key_lines
from harvester.system.paths import contents


class Place(StrEnum):
    """The kinds of places that set a value."""

    OPTION = "option"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Origin(NamedTuple):
    """
    Where a value was set.

    Attributes:
        place: the kind of place.
        name: the option's key, the variable or the file, "" for a default.
        line: the line of the file, 0 for any other place or an unknown line.
    """

    place: Place
    name: str = ""
    line: int = 0


DEFAULT = Origin(Place.DEFAULT)
SET, NOT_SET = "set", "not set"
SECRETS = ("token", "statistics credentials")
"""The names of settings whose value is only `SET` or `NOT_SET`."""


class Setting(NamedTuple):
    """A value that a run would use; ``value``: as in TOML, None for none. A secret is only "set"."""

    key: str
    value: Any
    origin: Origin


def settings(
    config: Config, *, path: Path | None, options: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[Setting]:
    """Yield every value of a config, in the order of the keys; `path`, `options` and `environ` made it."""
    origins = _Origins(path, options, environ)
    for key in keys():
        value = config
        for name in key.split("."):
            value = getattr(value, name)
        yield origins.setting(key, value, has_default=value == _default(key))
    yield from _of_sources(config, origins)
    yield from _of_formats(config, origins)
    yield from _secrets(config)


def _default(key: str) -> Any:
    table, _, name = key.rpartition(".")
    return getattr(getattr(Config, table) if table else Config, name)


class _Origins:
    """Finds where a key was set."""

    def __init__(self, path: Path | None, options: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._path = path
        self._options = options
        self._environ = environ
        self._lines = {} if path is None or not path.is_file() else _lines(path)
        self._can_read_again = path is None or path.is_file()  # a pipe can be read only once

    def setting(self, key: str, value: Any, *, has_default: bool) -> Setting:
        """Return a value with its origin; `has_default`: it is the same without any setting."""
        plain = list(value) if isinstance(value, tuple) else value
        return Setting(key, plain, self._origin(key, has_default=has_default))

    def _origin(self, key: str, *, has_default: bool) -> Origin:
        top = key.partition("[")[0]
        if top in self._options:
            return Origin(Place.OPTION, top)
        if variable_of(key) in self._environ:
            return Origin(Place.ENVIRONMENT, variable_of(key))
        if key in self._lines or not (self._can_read_again or has_default):
            return Origin(Place.FILE, str(self._path), self._lines.get(key, 0))
        return DEFAULT


def _lines(path: Path) -> dict[str, int]:
    lines = key_lines(contents(path, most=MOST_BYTES).decode("utf-8-sig"))
    for key, line in list(lines.items()):
        above, _, name = key.rpartition(".")
        if name in SPELLINGS:
            lines[f"{above}.{SPELLINGS[name]}"] = line
    return lines


def _of_sources(config: Config, origins: _Origins) -> Iterator[Setting]:
    """Yield what each source was given; a filter that it lacks has no value."""
    for index, source in enumerate(config.sources):
        yield origins.setting(f"sources[{index}].kind", source.kind, has_default=False)
        for name in fields(type(source)):
            value = getattr(source, name)
            if is_required(type(source), name) or value != getattr(type(source), name):
                yield origins.setting(f"sources[{index}].{name}", value, has_default=False)


def _of_formats(config: Config, origins: _Origins) -> Iterator[Setting]:
    """Yield the options of the wanted output formats."""
    if config.exporters is None:
        return
    registry, options = config.exporters
    for format_name in config.export.formats:
        cls = registry[format_name]
        exporter = options.get(format_name) or cls()
        for name in fields(cls):
            value = getattr(exporter, name)
            key = f"export.{format_name}.{name}"
            yield origins.setting(key, value, has_default=value == getattr(cls, name))


def _secrets(config: Config) -> Iterator[Setting]:
    """Yield whether each secret is set, and the proxy without its password."""
    secrets = (
        (config.token, config.services.token_env),
        (config.stats_credentials, config.stats.credentials_env),
    )
    for name, (secret, variable) in zip(SECRETS, secrets, strict=True):
        yield Setting(name, NOT_SET if secret is None else SET, Origin(Place.ENVIRONMENT, variable))
    proxy = config.proxies.proxy
    if proxy is not None:
        yield Setting("proxy", proxy.url, Origin(Place.ENVIRONMENT, proxy.variable))
