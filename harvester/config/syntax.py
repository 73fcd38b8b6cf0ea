"""TOML syntax errors: the place in the file and what is expected there, in place of `tomllib`'s messages."""

import re
from collections.abc import Sequence

from harvester.config.toml_lines import unfinished_line

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_REASONS: Sequence[tuple[str, str]] = (
    (r"Cannot (?:declare|mutate|redefine)[^(]*\((.*)\)", "{} stands in the file twice"),
    (r"Duplicate inline table key (.*)", "{} stands in the table twice"),
    ("Cannot overwrite", "the same key stands in the file twice"),
    ("Invalid value", "expected a value: a text in quotes, a number, true, false, a day or a list"),
    ("Expected newline", "expected the end of the line after a value"),
    ("Invalid statement", "expected a key or a [table]"),
    ("Expected '='", "expected = after a key"),
    ("Invalid initial", "expected a key"),
    ("Expected '\\]", "a ] is missing"),
    ("Unclosed array", "a ] is missing at the end of a list"),
    ("Unclosed inline", "a } is missing"),
    (r"Expected|Unterminated|Illegal character '\\n'", "a closing quotation mark is missing"),
    (
        "Unescaped|Invalid hex|Escaped",
        "in a text in double quotes, \\ is written \\\\; or use single quotes",
    ),
    ("Invalid date", "there is no such day"),
    ("Illegal|Found", "a character that may not stand there"),
    ("Exceeds", "a number is too long"),
    ("maximum recursion", "lists or tables are nested too deeply"),
)


def syntax_fault(error: Exception, name: str, content: str = "") -> str:
    """Return what is wrong with the TOML of a file, with the line, and the column if it is known."""
    text = str(error)
    reason = "it cannot be read"
    for pattern, words in _REASONS:
        if found := re.match(pattern, text):
            reason = words.format(".".join(re.findall(r"'([^']*)'", "".join(found.groups()))))
            break
    place = _PLACE.search(text)
    at = f", line {place[1]}, column {place[2]}" if place else ""
    if not place and (line := unfinished_line(content)):
        at = f", line {line}"
    return f"{name}{at}: not valid TOML: {reason}"
