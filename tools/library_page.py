"""The page on the library: functions, results, tables and errors, from their signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import harvester
from harvester import summary
from harvester.errors import HarvestError

FUNCTIONS = ("load_config", "plan", "harvest", "verify", "export", "status", "open")
FOR_THE_PROGRAM = {"on_start", "hooks", "exporters", "option_of"}
"""Arguments that only the command line and tests use."""
RESULTS = (
    summary.Summary, summary.RunTotals, summary.FolderTotals, summary.ListingTotals, summary.Outcomes,
    summary.TaskTotals, summary.FileTotals, summary.KeptStatistics, harvester.Progress, harvester.Status,
    summary.LastRun, harvester.Plan, harvester.Verified,
)  # fmt: skip
Table = Callable[[Iterable[str], Iterable[Iterable[str]]], str]


def sections(table: Table) -> Iterator[str]:
    """Return the parts of the page."""
    yield (
        "Import everything from `harvester`. All of it is typed, for `mypy --strict` too. "
        "[Use it as a library](../how-to/use-as-a-library.md) has examples.\n"
    )
    yield "## Functions\n"
    for name in FUNCTIONS:
        yield from _function(name, getattr(harvester, name))
    yield "## Results\n"
    yield "`Config` has the [config keys](config.md) as attributes: `config.rate.api`.\n"
    for cls in RESULTS:
        yield from _result(cls, table)
    yield "## What `open` returns\n"
    yield from _text(harvester.HarvestFolder)
    yield table(("method", "returns", "meaning"), _methods(harvester.HarvestFolder))
    yield "The columns of each row are its attributes: see [the output folder](output.md#tables).\n"
    yield from _text(harvester.Rows)
    yield table(("method", "returns", "meaning"), _methods(harvester.Rows))
    yield "## Errors\n"
    yield table(("error", "is a", "meaning"), _errors())


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    kind = "await " if inspect.iscoroutinefunction(function) else ""
    signature = inspect.signature(function)
    shown = [each for each in signature.parameters.values() if each.name not in FOR_THE_PROGRAM]
    lines = [f"    {each}," for each in map(_argument, shown)]
    if first := next((place for place, each in enumerate(shown) if each.kind is each.KEYWORD_ONLY), None):
        lines.insert(first, "    *,")
    yield f"### {name}\n"
    body = "\n".join(lines)
    yield f"```python\n{kind}harvester.{name}(\n{body}\n) -> {signature.return_annotation}\n```\n"
    yield from _text(function)


def _argument(argument: inspect.Parameter) -> str:
    if argument.default is argument.empty:
        return f"{argument.name}: {argument.annotation}"
    is_plain = isinstance(argument.default, str | int | float | None)
    default = repr(argument.default) if is_plain else "…"
    return f"{argument.name}: {argument.annotation} = {default}"


def _text(documented: object) -> Iterator[str]:
    """Return a docstring as Markdown: lines that begin with a name become a list."""
    text = (inspect.getdoc(documented) or "").replace("``", "`")
    for paragraph in text.split("\n\n"):
        heading, _, raised = paragraph.partition(":\n")
        if heading == "Raises":
            paragraph = re.sub(r"^    (\w+):", r"`\1`:", raised, flags=re.MULTILINE)  # noqa: PLW2901 - the same in Markdown
        parts = re.split(r"\n(?=`\w+`[:, ])|(?<=\.)\s(?=`\w+`: )", paragraph)
        lines = [re.sub(r"\s+", " ", part) for part in parts if not _is_for_the_program(part)]
        named = [f"- {line}" for line in lines if re.match(r"`\w+`(, `\w+`| and `\w+`)*:", line)]
        plain = lines[: len(lines) - len(named)]
        yield from ("Raises:\n",) if heading == "Raises" else ()
        yield from (f"{line}\n" for line in plain)
        yield from ("".join(f"{line}\n" for line in named),) if named else ()


def _is_for_the_program(text: str) -> bool:
    return any(text.startswith(f"`{name}`:") for name in FOR_THE_PROGRAM)


def _result(cls: type[Any], table: Table) -> Iterator[str]:
    yield f"### {cls.__name__}\n"
    yield from _text(cls)
    hints = inspect.get_annotations(cls).items()
    fields = ((f"`{name}`", f"`{getattr(hint, '__forward_arg__', hint)}`") for name, hint in hints)
    yield table(("attribute", "type"), fields)
    if properties := [
        (f"`{name}`", f"`{each.fget.__annotations__['return']}`", _first_line(each))
        for name, each in vars(cls).items()
        if isinstance(each, property) and each.fget and not name.startswith("_")
    ]:
        yield table(("computed", "type", "meaning"), properties)


def _methods(cls: type[Any]) -> Iterator[tuple[str, str, str]]:
    for name, each in vars(cls).items():
        if inspect.isfunction(each) and not name.startswith("_"):
            yield f"`{name}()`", f"`{each.__annotations__['return']}`", _first_line(each)


def _errors() -> Iterator[tuple[str, str, str]]:
    for name in harvester.__all__:
        error = getattr(harvester, name)
        if inspect.isclass(error) and issubclass(error, HarvestError):
            above = error.__mro__[1].__name__
            yield f"`{name}`", f"`{above}`", _first_line(error)


def _first_line(documented: object) -> str:
    first, _, _ = (inspect.getdoc(documented) or "").partition("\n\n")
    return first.replace("``", "`").replace("\n", " ")
