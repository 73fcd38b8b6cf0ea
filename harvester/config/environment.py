"""Environment variables that set keys of the config: ``HARVESTER_<TABLE>_<KEY>``."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, get_args, get_origin

from harvester.config.faults import ENVIRONMENT, Faults
from harvester.config.keys import ALL, LATEST, RENAMED, Allowance, Versions, keys
from harvester.config.units import ByteCount, Duration
from harvester.system.paths import as_text
from harvester.text.wording import suggest

ENVIRONMENT_PREFIX = "HARVESTER_"
PATHS = {"output"}
"""Keys whose values are not decoded: a path need not be UTF-8."""


def read_environment(environ: Mapping[str, str], faults: Faults) -> dict[str, Any]:
    """Return the keys that are set in the environment as HARVESTER_<TABLE>_<KEY>."""
    known = {variable_of(key): key for key in keys()}
    renamed = {variable_of(old): variable_of(new) for old, new in RENAMED.items()}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if name in known:
            key = known[name]
            try:
                values[key] = _value_of(text if key in PATHS else as_text(text), keys()[key])
            except UnicodeError:
                faults.add(ENVIRONMENT, f"{name}: not UTF-8 text")
        elif name in renamed:
            faults.add(ENVIRONMENT, f"{name}: is now called {renamed[name]}")
        elif name.startswith(ENVIRONMENT_PREFIX):
            faults.add(ENVIRONMENT, f"{name}: {_not_a_key(name, known)}")
    return values


def variable_of(key: str) -> str:
    """Return the environment variable that sets a key."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "_")


def _not_a_key(name: str, known: Iterable[str]) -> str:
    """Return what to say of a variable that sets no key."""
    word = name.removeprefix(ENVIRONMENT_PREFIX)
    if word.endswith("TOKEN"):
        return "unknown; the token belongs in FIGSHARE_TOKEN (services.token_env names it)"
    if word.startswith("SOURCE"):
        return "sources have no variable: name them in the config, or with options such as --search"
    if word.startswith("CONFIG"):
        return "unknown; use --config to name the config file"
    return f"unknown{suggest(name, known, prefix=ENVIRONMENT_PREFIX)}"


def _value_of(text: str, hint: Any) -> Any:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if get_origin(hint) is tuple:
        return parts
    if hint == Versions and text not in {LATEST, ALL}:
        return [int(part) if part.isdecimal() and len(part) < 20 else part for part in parts]
    if hint in {str, ByteCount, Duration, date | None} or get_args(hint)[:1] == (str,):
        return text
    try:
        return float(text) if hint == Allowance or get_args(hint)[:1] == (float,) else int(text)
    except ValueError:
        return text
