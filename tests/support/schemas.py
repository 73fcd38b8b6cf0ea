"""The JSON Schemas of the package, and documents that are checked against them."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

SCHEMAS: dict[str, Any] = {
    file.name.removesuffix(".schema.json"): json.loads(file.read_text(encoding="utf-8"))
    for file in (resources.files("harvester") / "schemas").iterdir()
    if file.name.endswith(".schema.json")
}
REGISTRY = Registry().with_resources(
    (f"{name}.schema.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
)


@functools.cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name], registry=REGISTRY, format_checker=FormatChecker())


def check(name: str, text: str | bytes) -> Any:
    """Validate one document, and return it."""
    document = json.loads(text)
    assert [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)] == []
    return document


def check_lines(name: str, text: str | bytes) -> list[Any]:
    return [check(name, line) for line in text.splitlines()]


def check_events(text: str | bytes) -> list[Any]:
    """Validate what a command with `--log-json` wrote to standard error, from its first event to its last."""
    events = check_lines("log-line", text)
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("start", "end"), names
    assert (names.count("start"), names.count("end")) == (1, 1), names
    return events
