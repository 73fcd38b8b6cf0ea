"""
Readability check: the length of sentences on each page, and phrases that must not stand there.

``python -m tools.prose [PAGE …]`` prints what is too long. Code, tables and headings are not counted. A piece
of inline code counts as one word, a link as its text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_WORDS = 35
"""Words that the longest sentence may have."""
MEAN_BELOW = 20.0
"""Words that the sentences of a page must have fewer than on average."""

PHRASES = (
    "whoever",
    "whatever",
    "nobody",
    "in hand",
    "leads nowhere",
    "lead nowhere",
    "leads to no item",
    "lead to no item",
    "no luck",
    "without luck",
    "gives way",
    "is told",
    "are told",
    "was told",
    "not told",
    "owed",
    "left out",
    "begun anew",
    "begins anew",
    "begin anew",
    "gone on with",
    "goes on with",
    "named again",
    "had besides",
    "and is none",
    "damaged or gone",
    "this way to files",
)
"""What a reader who learnt English at school reads twice."""

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_BREAK = re.compile(r"^\s*(?:[-*+] |\d+\. |#|\||>|$|!\[|<|:::|===|---)")
_ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|cf|vs|approx|no)\.$", re.IGNORECASE)
_END = re.compile(r"[.!?](?:[\"”’)*_]*)(?=\s+(?:[\"“(*_]+\w|[A-Z0-9@]))|:(?=\s*$)")


@dataclass(frozen=True)
class Finding:
    """A fault of a page: what is wrong, and the words."""

    page: str
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.what}: {self.text}"


def pages() -> list[Path]:
    """Return every page that people read."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [*(page for page in top if page.is_file()), *sorted(ROOT.glob("docs/**/*.md")), EXAMPLE]


EXAMPLE = ROOT / "config.example.toml"


def sentences(text: str, *, is_toml: bool = False) -> list[str]:
    """Return the sentences of a page of Markdown, or of the comments of a TOML file."""
    blocks = _comments(text) if is_toml else _paragraphs(text)
    return [sentence for block in blocks for sentence in _split(block)]


def words(sentence: str) -> int:
    """Count the words of a sentence."""
    return sum(any(char.isalnum() for char in word) for word in sentence.split())


def check(page: Path) -> list[Finding]:
    """Return what is wrong with a page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    found = sentences(text, is_toml=page.suffix == ".toml")
    faults = [
        Finding(name, f"a sentence of {words(one)} words", one) for one in found if words(one) > MOST_WORDS
    ]
    if (mean := mean_length(found)) >= MEAN_BELOW:
        faults.append(Finding(name, "the mean length of a sentence", f"{mean:.1f} words"))
    for phrase in PHRASES:
        pattern = re.compile(rf"\b{phrase}\b", re.IGNORECASE)
        faults += [Finding(name, f'"{phrase}"', one) for one in found if pattern.search(one)]
    return faults


def mean_length(found: list[str]) -> float:
    """Return the mean number of words of some sentences, 0 where there are none."""
    return sum(map(words, found)) / len(found) if found else 0.0


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*(?:\n[^`\n]+)?`", "Code", _FENCE.sub("", text))


def _paragraphs(text: str) -> Iterator[str]:
    """Give each paragraph and each list item, without tables and headings, in one line."""
    plain = _plain(_without_code(text))
    block: list[str] = []
    for line in [*plain.splitlines(), ""]:
        if _BREAK.match(line):
            if block:
                yield " ".join(block)
            block = []
            if not re.match(r"^\s*(?:[-*+] |\d+\. |>)", line):
                continue
            line = re.sub(r"^\s*(?:[-*+] |\d+\. |>)", "", line)  # noqa: PLW2901
        if line.strip():
            block.append(line.strip())


def _plain(text: str) -> str:
    """Put the texts of links in the place of the links, and take emphasis away."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return text.replace("**", "")


def _comments(text: str) -> Iterator[str]:
    """Give each comment of a TOML file: those behind a key one by one, the others by paragraph."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        key = re.match(r"(?:# )?(?:\[|[a-z_]+ = )", line)
        comment = "" if key else line.lstrip("# ")
        if comment and line.startswith("#"):
            block.append(comment)
            continue
        if block:
            yield " ".join(block)
        block = []
        if key and (behind := re.search(r"\s{2,}# (.*)", line)):
            yield behind[1]


def _split(block: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(block):
        sentence = block[start : end.end()].strip()
        if _ABBREVIATIONS.search(sentence):
            continue
        start = end.end()
        if words(sentence):
            yield sentence
    if words(block[start:]):
        yield block[start:].strip()


def main(names: list[str]) -> int:
    """Print the findings of some pages, of all without a name; 1 where there are any."""
    chosen = [Path(name).resolve() for name in names] or pages()
    faults = 0
    for page in chosen:
        found = sentences(page.read_text(encoding="utf-8"), is_toml=page.suffix == ".toml")
        here = check(page)
        faults += len(here)
        length = f"{len(found)} sentences, {mean_length(found):.1f} words"
        print(f"{page.relative_to(ROOT)}: {length}, {len(here)} faults")
        for fault in here:
            print(f"  {fault.what}: {fault.text}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
