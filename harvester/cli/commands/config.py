"""`harvester config`: every value that a run would use, and where it was set; no secret is shown."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from harvester.cli.arguments.common import config_file
from harvester.cli.console import print_json, print_text
from harvester.cli.overrides import overrides
from harvester.cli.parser import option_names
from harvester.cli.render import as_json
from harvester.config import Config
from harvester.config.origins import SECRETS, Origin, Place, Setting, settings
from harvester.errors import ExitStatus


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the values, as in TOML or as JSON."""
    file = config_file(args)
    found = list(
        settings(config, path=Path(file) if file else None, options=overrides(args), environ=os.environ)
    )
    named = [each._replace(origin=_with_option(each.origin)) for each in found]
    if args.json:
        print_json(as_json({"config_file": file, "settings": [_document(each) for each in named]}))
    else:
        print_text("\n".join(_lines(named)))
    return ExitStatus.COMPLETE


def _with_option(origin: Origin) -> Origin:
    """Return an origin with the option in place of the key that it sets."""
    if origin.place is not Place.OPTION:
        return origin
    return origin._replace(name=option_names().get(origin.name, "command line"))


def _lines(found: list[Setting]) -> list[str]:
    keys = max(len(setting.key) for setting in found)
    return [f"{each.key:{keys}}  {_shown(each):32}  {origin_text(each.origin)}" for each in found]


def _shown(setting: Setting) -> str:
    return str(setting.value) if setting.key in SECRETS else toml(setting.value)


def toml(value: object) -> str:
    """Return a value as it is written in a config file; "none" for none."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)


def origin_text(origin: Origin) -> str:
    """Return where a value was set, for people."""
    if origin.place is Place.FILE:
        return f"{origin.name}, line {origin.line}" if origin.line else origin.name
    return {
        Place.OPTION: origin.name,
        Place.ENVIRONMENT: f"environment variable {origin.name}",
        Place.DEFAULT: "default",
    }[origin.place]


def _document(setting: Setting) -> dict[str, Any]:
    return {
        "key": setting.key,
        "value": _json_value(setting.value),
        "origin": str(setting.origin.place),
        "name": setting.origin.name or None,
        "line": setting.origin.line or None,
    }


def _json_value(value: object) -> Any:
    if isinstance(value, list):
        return [_json_value(each) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf"  # JSON has no such number
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
