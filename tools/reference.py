"""
Reference generator: commands, config keys, variables, tables, JSON and the ledger, as the program has them.

``python -m tools.reference`` writes the generated pages of docs/reference. Options come from the parser, keys
from the tables of the config with the comments of config.example.toml. Columns come from the tables of the
exporters, keys of JSON from the schemas, and the ledger's tables from a harvest of the sandbox.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from harvester.cli.parser import build_parser
from harvester.config import Config
from harvester.config.keys import keys
from harvester.config.tables import fields
from harvester.exporters.tables import FAILURES, TABLES
from harvester.figshare.filters import Filters
from harvester.jobs.harvest import harvest
from harvester.plugins import ALWAYS_EXPORTED, EXPORTERS, SOURCES, load_config
from harvester.sandbox import FAULTS, Sandbox, Settings
from harvester.sandbox.doubts import DOUBTS
from harvester.sandbox.settings import FOR_EVER, HOSTILE, IDENTIFIERS, REDIRECTS
from tools import json_page, library_page, manual

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"
WORDS: Mapping[str, Any] = tomllib.loads(
    (Path(__file__).parent / "descriptions.toml").read_text(encoding="utf-8")
)
FILTERS = fields(Filters).keys()
_GENERATED = "<!-- Written by `make reference`. Do not edit it by hand. -->\n"


class Undescribed(Exception):
    """Something has no text in descriptions.toml, or a text there is about nothing."""


# -- Markdown -------------------------------------------------------------------------------------


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(header)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def page(title: str, *parts: str) -> str:
    """Return a page with a title."""
    return "\n".join([f"# {title}\n", _GENERATED, *parts])


# -- commands.md ----------------------------------------------------------------------------------


def commands() -> str:
    """Return the page on commands and their options."""
    parser = build_parser()
    (choices,) = [
        action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    intro = (
        "`harvester COMMAND --help` shows the same in the terminal. "
        "`harvester --version` prints the version. [Exit statuses](exit-statuses.md) says how it ends.\n"
    )
    return page("Commands", intro, *(_command(name, sub) for name, sub in choices.items()))


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    parts = [f"## harvester {name}\n", f"{parser.description}\n"]
    for group in parser._action_groups:
        rows = [
            _option(action) for action in group._group_actions if not isinstance(action, argparse._HelpAction)
        ]
        if rows:
            title = group.title or ""
            heading = (
                []
                if title in {"options", "positional arguments"}
                else [f"**{title[:1].upper()}{title[1:]}**\n"]
            )
            parts += [*heading, table(("option", "meaning"), rows)]
    return "\n".join(parts)


def _option(action: argparse.Action) -> tuple[str, str]:
    value = action.metavar or (action.dest if not action.option_strings else "")
    if action.option_strings and action.nargs == "?":
        value = f"[{value}]"
    names = [
        f"{option} {value}" if value and action.nargs != 0 else option for option in action.option_strings
    ]
    shown = ", ".join(f"`{name}`" for name in names) or f"`{value}`"
    key = f" (sets [`{action.dest}`](config.md))" if "." in action.dest else ""
    return shown, (action.help or "").replace("%%", "%") + key


# -- config.md, environment.md --------------------------------------------------------------------


class Example:
    """The comments of config.example.toml, by key, by table and by kind of source."""

    _KEY = re.compile(r"(?:# )?([a-z_]+) = (.*?)(?:\s{2,}# (.*))?$")
    _TABLE = re.compile(r"(?:# )?\[+([a-z]+)\]+$")

    def __init__(self, text: str) -> None:
        self.keys: dict[str, str] = {}
        self.tables: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self._sources: dict[str, dict[str, tuple[str, str]]] = {}
        above: list[str] = []
        self._at, self._kind = "", ""
        for line in text.splitlines():
            if found := self._TABLE.match(line):
                self._at = found[1]
                self.tables[self._at] = " ".join(above)
            elif found := self._KEY.match(line):
                self._add(found[1], found[2].strip(), found[3] or " ".join(above))
            elif line.startswith("# "):
                above.append(line[2:])
                continue
            above = []

    def _add(self, key: str, value: str, text: str) -> None:
        if self._at != "sources":
            self.keys[f"{self._at}.{key}" if self._at else key] = text
        elif key == "kind":
            self._kind = value.strip('"')
            self._sources[self._kind] = {}
            self.kinds[self._kind] = text
        else:
            self._sources[self._kind][key] = (value, text)

    def source_key(self, kind: str, key: str) -> tuple[str, str]:
        """Return an example and the meaning of a source's key."""
        if key not in self._sources[kind]:
            raise Undescribed(f"{kind}, {key}: not in config.example.toml")
        value, text = self._sources[kind][key]
        return f"`{value}`", text


def _example() -> Example:
    return Example((ROOT / "config.example.toml").read_text(encoding="utf-8"))


def config() -> str:
    """Return the page on the keys of a config."""
    example, default = _example(), Config()
    parts = [
        "`harvester init` writes a config with all of these. "
        "[Configure](../how-to/configure.md) says how files, options and variables work together.\n",
        "## Top level\n",
        table(
            ("key", "default", "meaning"), (_key(key, example, default) for key in keys() if "." not in key)
        ),
        "## `[[sources]]`\n",
        "Each source is a table with a `kind`. Several are merged, and each item is harvested once.\n",
        *_sources(example),
    ]
    for name in dict.fromkeys(key.partition(".")[0] for key in keys() if "." in key):
        parts += [f"## `[{name}]`\n", *([f"{example.tables[name]}\n"] if example.tables[name] else [])]
        ours = [key for key in keys() if key.startswith(f"{name}.")]
        parts.append(table(("key", "default", "meaning"), (_key(key, example, default) for key in ours)))
    for name in EXPORTERS.keys() - ALWAYS_EXPORTED:
        if options := dataclasses.fields(EXPORTERS[name]):
            parts += [f"## `[export.{name}]`\n", "The options of this output format.\n"]
            rows = (
                (f"`{each.name}`", f"`{_toml(each.default)}`", each.metadata["description"])
                for each in options
            )
            parts.append(table(("key", "default", "meaning"), rows))
    return page("Config keys", *parts)


def _key(key: str, example: Example, default: Config) -> tuple[str, str, str]:
    value: Any = default
    for name in key.split("."):
        value = getattr(value, name)
    return (
        f"`{key.rpartition('.')[2]}`",
        f"`{_toml(value)}`" if value is not None else "none",
        _text(example.keys, key),
    )


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _sources(example: Example) -> Iterator[str]:
    own = {kind: [key for key in fields(source) if key not in FILTERS] for kind, source in SOURCES.items()}
    for kind, source in SOURCES.items():
        takes = "" if kind == "items" else " It also takes the [filters](#filters)."
        yield f'### `kind = "{kind}"`\n'
        yield f"{(example.kinds[kind][:1].upper() + example.kinds[kind][1:]) or kind}.{takes}\n"
        if rows := [(f"`{key}`", *example.source_key(kind, key)) for key in own[kind]]:
            yield table(("key", "example", "meaning"), rows)
        assert not takes or fields(source).keys() >= FILTERS
    yield "### Filters\n"
    yield "All kinds but `items` take these. figshare filters where it can, the rest is filtered here.\n"
    rows = [(f"`{key}`", *example.source_key("search", key)) for key in fields(Filters)]
    yield table(("key", "example", "meaning"), rows)


def environment() -> str:
    """Return the page on environment variables."""
    names = (f"HARVESTER_{key.upper().replace('.', '_')}" for key in keys())
    return page(
        "Environment variables",
        "## Secrets, proxies and the system\n",
        table(("variable", "meaning"), ((f"`{name}`", text) for name, text in WORDS["environment"].items())),
        "## Config keys\n",
        "Each key but those of sources can be set by a variable. Lists are written with commas. "
        "An unknown variable that begins with `HARVESTER_` is an error.\n",
        table(
            ("variable", "key"), ((f"`{name}`", f"`{key}`") for name, key in zip(names, keys(), strict=True))
        ),
    )


# -- output.md, ledger.md -------------------------------------------------------------------------


async def small_harvest(folder: Path) -> None:
    """Harvest a few items of the sandbox, so that there is one of every file in the folder."""
    async with Sandbox(Settings(items=12)) as sandbox:
        rates = {f"rate.{name}": float("inf") for name in ("api", "stats", "files")}
        options = {
            "output": str(folder),
            "sources": [{"kind": "search", "query": "data"}],
            "services.api": sandbox.api,
            "services.stats": sandbox.stats,
            **rates,
        }
        await harvest(load_config(options=options, environ={}))


def output() -> str:
    """Return the page on the output folder."""
    parts = [(FOLDER / "output.intro.txt").read_text(encoding="utf-8")]
    for each in sorted((*TABLES, FAILURES), key=lambda table: table.name):
        parts += [f"### {each.name}.csv\n", f"{each.description}\n"]
        columns = ((f"`{column.name}`", column.type.value, column.description) for column in each.columns)
        parts.append(table(("column", "type", "meaning"), columns))
    return page("The output folder", *parts)


def json_documents() -> str:
    """Return the page on JSON documents."""
    return page("JSON documents", *json_page.sections(table))


def library() -> str:
    """Return the page on the library."""
    return page("The library", *library_page.sections(table))


def ledger(folder: Path) -> str:
    """Return the page on the tables of the ledger, after a harvest there."""
    parts = [
        "`harvest.db` is SQLite. [Query the ledger](../how-to/query-the-ledger.md) has examples, and "
        "[The ledger](../explanation/ledger.md) says how it works. "
        "Names may change with a new version of the program.\n"
    ]
    with closing(sqlite3.connect(f"{(folder / 'harvest.db').as_uri()}?mode=ro", uri=True)) as db:
        names = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            if not name.startswith("sqlite_")
        ]
        _all_described(WORDS["ledger"], names, "ledger")
        for name in names:
            columns = {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({name})")}
            words = WORDS["ledger"][name]
            _none_too_many(words, columns, name)
            parts += [f"## {name}\n", f"A row is {words['_']}.\n"]
            rows = ((f"`{column}`", kind.lower(), words.get(column, "")) for column, kind in columns.items())
            parts.append(table(("column", "type", "meaning"), rows))
    return page("The tables of the ledger", *parts)


def _text(texts: Mapping[str, str], name: str) -> str:
    if not texts.get(name):
        raise Undescribed(f"{name}: has no comment in config.example.toml")
    return texts[name]


def _all_described(words: Mapping[str, Any], names: Iterable[str], what: str) -> None:
    if lacking := [name for name in names if name not in words]:
        raise Undescribed(f"{what}: no text for {', '.join(lacking)} in tools/descriptions.toml")
    _none_too_many(words, names, what)


def _none_too_many(words: Mapping[str, Any], names: Iterable[str], what: str) -> None:
    if beyond := words.keys() - {"_", *names}:
        raise Undescribed(
            f"{what}: tools/descriptions.toml describes {', '.join(beyond)}, which is not there"
        )


# -- developers/sandbox.md ------------------------------------------------------------------------

KINDS = (
    ("Faults", 'Give each a share of the requests: `faults={"500": 0.05}`, or `--fault 500=0.05`.', FAULTS),
    ("Hostile and odd items", '`hostile=("bomb",)` adds one item of the kind.', HOSTILE),
    ("Identifiers", '`identifiers=("shared-doi",)` gives some items such names.', IDENTIFIERS),
    ("Redirects", '`redirects="loop"` sets where downloads lead.', {k: v for k, v in REDIRECTS.items() if k}),
    (
        "Doubts",
        "See [The sandbox](../explanation/sandbox.md).",
        {name: one.says for name, one in DOUBTS.items()},
    ),
)
"""What the sandbox can play: a heading, how it is used, and the texts by name."""


def sandbox() -> str:
    """Return the page on the settings of the sandbox, from the docstring that describes each."""
    defaults = {each.name: each for each in dataclasses.fields(Settings)}
    parts = ["For tests. [The sandbox](../explanation/sandbox.md) says how to use it.\n"]
    described = set()
    for heading, block in re.findall(
        r"^([A-Z]\w+):\n((?:    .+\n?)+)", inspect.getdoc(Settings) or "", re.MULTILINE
    ):
        rows = []
        for name, text in re.findall(r"^    (\w+): ((?:.+)(?:\n {8}.+)*)", block, re.MULTILINE):
            described.add(name)
            rows.append((f"`{name}`", _default(defaults[name]), re.sub(r"\s+", " ", text.replace("``", "`"))))
        parts += [f"## {heading}\n", table(("setting", "default", "meaning"), rows)]
    if described != defaults.keys():
        raise Undescribed(f"Settings: {', '.join(described ^ defaults.keys())}")
    for heading, use, texts in KINDS:
        played = ((f"`{name}`", text) for name, text in texts.items())
        parts += [f"## {heading}\n", f"{use}\n", table(("name", "what it plays"), played)]
    return page("Settings of the sandbox", *parts)


def _default(setting: dataclasses.Field[Any]) -> str:
    if setting.default is dataclasses.MISSING:
        return "none"
    endless = isinstance(setting.default, float | int) and setting.default >= FOR_EVER
    is_truth = isinstance(setting.default, bool)
    return "no limit" if endless else f"`{setting.default if is_truth else _toml(setting.default)}`"


# -- harvester.1 ----------------------------------------------------------------------------------

MANUAL = "../harvester.1"


def manual_page() -> str:
    """Return the manual page."""
    text = (FOLDER / "exit-statuses.md").read_text(encoding="utf-8")
    statuses = re.findall(r"^\| (\d+) \| ([^|]*) \|", text, re.MULTILINE)
    return manual.manual_page(statuses, WORDS["environment"])


# -- all ------------------------------------------------------------------------------------------


def pages() -> dict[str, str]:
    """Return the text of each generated page, by its path from docs/reference."""
    alone: dict[str, Callable[[], str]] = {
        "commands.md": commands,
        "config.md": config,
        "environment.md": environment,
        "output.md": output,
        "json.md": json_documents,
        "library.md": library,
        "../developers/sandbox.md": sandbox,
        MANUAL: manual_page,
    }
    made = {name: make() for name, make in alone.items()}
    with tempfile.TemporaryDirectory() as name:
        anyio.run(small_harvest, Path(name))
        return {**made, "ledger.md": ledger(Path(name))}


def main() -> None:
    """Write the generated pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
