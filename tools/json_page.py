"""The page on JSON documents, made from the JSON Schemas that ship in the package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

Schema = Mapping[str, Any]
Table = Callable[[Iterable[str], Iterable[Iterable[str]]], str]

FOLDER = resources.files("harvester") / "schemas"
ORDER = (
    "summary",
    "status",
    "plan",
    "list-line",
    "failed-line",
    "verify",
    "export",
    "doctor",
    "config",
    "log-line",
    "metadata-line",
)
CONTENTS = "common.schema.json#/$defs/contents"
"""What both summary.json and ``status --json`` say of a folder: a section of its own."""
FEW_KEYS = 5
"""An object of at most this many numbers is described in one row."""

INTRO = """\
These documents have a JSON Schema (draft 2020-12) in the package, in the folder
`harvester/schemas/`. This prints where the package is:

```sh
python -c "import harvester; print(harvester.__path__[0])"    # schemas/summary.schema.json is below it
```

A new version may add keys. Do not depend on their order. Text from outside is escaped, so that it cannot
control a terminal. Errors that end a command are plain
text, unless `--log-json` makes them objects too.
"""


def load(name: str) -> Any:
    """Return a schema by its name."""
    return json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))


def sections(table: Table) -> Iterator[str]:
    """Give the parts of the page; `table` writes a table in Markdown."""
    yield INTRO
    for name in ORDER:
        schema = load(name)
        yield f"## {schema['title']}\n"
        yield f"{schema['description']} The schema is `{name}.schema.json`.\n"
        if schema.get("$ref") == CONTENTS:
            yield "It has the keys of [what a folder holds](#what-a-folder-holds), and these:\n"
        yield table(("key", "type", "meaning"), _rows(schema, ""))
        if name == "summary":
            yield "## What a folder holds\n"
            yield "The keys of `folder` in summary.json, and keys of `status --json`.\n"
            yield table(("key", "type", "meaning"), _rows(load("common")["$defs"]["contents"], ""))


def _rows(schema: Schema, above: str) -> Iterator[tuple[str, str, str]]:
    for key, given in schema.get("properties", {}).items():
        if given.get("$ref") == CONTENTS:
            yield f"`{key}`", "object", f"{given['description']} See [below](#what-a-folder-holds)."
            continue
        inner = _resolved(given)
        keys = inner.get("properties", {})
        is_short = 0 < len(keys) <= FEW_KEYS and not any(
            "properties" in _resolved(each) for each in keys.values()
        )
        meaning = inner["description"] + _words(inner)
        if is_short and not inner.get("patternProperties") and above:
            meaning += f" Keys: {', '.join(f'`{name}`' for name in keys)}."
        yield f"`{above}{key}`", _type(inner), meaning
        if not (is_short and above):
            yield from _rows(inner, f"{above}{key}.")
        for reason in inner.get("patternProperties", {}).values():
            yield f"`{above}{key}.…`", _type(reason), reason["description"]


def _resolved(schema: Schema) -> Schema:
    """Return a schema with what it refers to; its own description is the better one."""
    if "$ref" not in schema:
        return schema
    return {**load("common")["$defs"][schema["$ref"].rpartition("/")[2]], **schema}


def _words(schema: Schema) -> str:
    return f" One of {', '.join(f'`{word}`' for word in schema['enum'])}." if "enum" in schema else ""


def _type(schema: Schema) -> str:
    types = schema.get("type", "any")
    return types if isinstance(types, str) else " or ".join(types)
