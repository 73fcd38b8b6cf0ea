"""
What files are called: names that every system takes, and paths that no two files share.

Names come from strangers. What Linux, macOS and Windows take is decided here and nowhere else, and is
the same everywhere, so that a harvest can be carried from one system to another.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harvester.models import RemoteFile

LONGEST_STEM = 180  # bytes; with a suffix and an id it stays below the 255 of common file systems
LONGEST_SUFFIX = 21  # bytes, with its dot
LONGEST_FOLDER = 600  # bytes; deeper ones are left out, as whole paths have limits too
MOST_MARKS = 16  # on one letter; APFS refuses more than 30, and no language needs as many

_FORBIDDEN = frozenset('<>:"/\\|?*')
# Control characters, halves of surrogate pairs and what Unicode has not assigned: APFS refuses these.
_NOT_TEXT = frozenset({"Cc", "Cs", "Cn"})
# What Unicode calls ignorable, marks of direction among it, and ends of lines: not seen, but they
# change how a name reads, and some file systems do not tell names apart by them.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"
}
# What is the same everywhere, and needs no second look; most names are like this.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{4,150}(?:\.[A-Za-z0-9]{1,20})?")
# The second, short name that Windows gives a file with a long one: LONGNA~1.TXT.
_SHORT_NAME = re.compile(r"(?=[^.]{3,8}(?:\.|$))([^.]+)~([0-9]+(?:\.[^.]{1,3})?)")


def safe_name(name: str) -> str:
    """
    Turn any text into one file name that Linux, macOS and Windows all accept.

    NFC; no separators, reserved or control characters, nothing unseen, no blank before it, no dots
    and blanks after it (a dot before it stays: `.gitignore`), no device of Windows' nor what looks
    like one of its short names, at most 201 bytes of UTF-8. What is forbidden becomes "_"; what Unicode
    has assigned is judged by the tables of this Python. Two names may become one: see `assign_paths`.
    """
    if _PLAIN.fullmatch(name) and name.partition(".")[0].upper() not in _DEVICES:
        return name
    name = unicodedata.normalize("NFC", _UNSEEN.sub("", name))
    name = "".join(_readable(name)).strip(" ").rstrip(". ")
    stem, suffix = _split(name)
    if len(suffix.encode()) > LONGEST_SUFFIX:
        stem, suffix = name, ""
    stem = _cut(stem, LONGEST_STEM)
    if stem.partition(".")[0].rstrip(" ").upper() in _DEVICES:
        stem = "_" + _cut(stem, LONGEST_STEM - 1)
    name = (stem + suffix).rstrip(". ") or "_"
    short = _SHORT_NAME.fullmatch(name)
    return f"{short[1]}_{short[2]}" if short else name


def item_dir(item_id: int, version: int = 0) -> str:
    """Name the folder of an item, or of one version of it, below the output folder."""
    return f"files/{item_id}.v{version}" if version else f"files/{item_id}"


def assign_paths(home: str, files: Sequence[RemoteFile], kept: Mapping[int, str]) -> dict[int, str]:
    """
    Give every file of an item its own path, relative to the output folder, with "/"; `home`: its folder.

    Files that would share a path, also by case or Unicode form, all get their id before the last
    suffix; one that was published earlier (`kept`: file id to path) keeps its path. A path has at most
    900 bytes, which leaves room for the output folder's own below the limits of Linux (4096) and macOS
    (1024); Windows takes those above 260 characters only where long paths are switched on.
    """
    files_there = {_fold(path) for path in kept.values()}
    wanted = {file.id: _path(home, file, files_there) for file in files if file.id not in kept}
    folded = {file_id: _fold(path) for file_id, path in wanted.items()}
    taken = files_there | _folders([*kept.values(), *wanted.values()])
    alone = _single(folded.values()) - taken
    taken |= alone
    placed = {file.id: kept[file.id] for file in files if file.id in kept}
    for file_id, path in wanted.items():
        placed[file_id] = path if folded[file_id] in alone else _with_id(path, file_id, taken)
    return placed


def aside(path: str, file_id: int, taken: Iterable[str]) -> str:
    """
    Return where the file at `path` goes when another one gets its name: beside it, by its id.

    `file_id`: 0 where it is not known. `taken`: the paths of the item's other files.
    """
    return _with_id(path, file_id or "replaced", {_fold(each) for each in taken})


def is_same_path(one: str, other: str) -> bool:
    """Return whether some file system takes two paths for one."""
    return _fold(one) == _fold(other)


def _single(texts: Iterable[str]) -> set[str]:
    """Return those that come once."""
    seen, again = set[str](), set[str]()
    for text in texts:
        (again if text in seen else seen).add(text)
    return seen - again


def _path(home: str, file: RemoteFile, files_there: set[str]) -> str:
    """Return the path a file would have if it were alone; its folder is left out where that cannot be."""
    alone = f"{home}/{safe_name(file.name)}"
    if not file.folder:
        return alone
    folder = "/".join(safe_name(part) for part in re.split(r"[/\\]", file.folder) if part.strip(". "))
    if not folder or len(folder.encode()) > LONGEST_FOLDER:
        return alone
    path = f"{home}/{folder}/{safe_name(file.name)}"
    return path if files_there.isdisjoint(_folders([path])) else alone


def _readable(name: str) -> Iterator[str]:
    """Give the characters of a name, "_" for those that some system refuses."""
    marks = 0
    for char in name:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MOST_MARKS:
            yield "_" if char in _FORBIDDEN or unicodedata.category(char) in _NOT_TEXT else char


def _split(name: str) -> tuple[str, str]:
    """Part a name before its last dot; one that it begins with parts nothing."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _cut(text: str, size: int) -> str:
    """Shorten a text to at most `size` bytes of UTF-8, between two characters."""
    return text.encode()[:size].decode(errors="ignore")


def _with_id(path: str, file_id: int | str, taken: set[str]) -> str:
    """Put its id into a file's path; twice where another file has such a name already."""
    folder, _, name = path.rpartition("/")
    stem, suffix = _split(name)
    path = f"{folder}/{stem}~{file_id}{suffix}"
    return _with_id(path, file_id, taken) if _fold(path) in taken else path


def numbered(name: str) -> Iterator[str]:
    """Give a name, then the same with 2, 3, … before its suffix, without end."""
    yield name
    stem, suffix = _split(name)
    for number in itertools.count(2):
        yield f"{stem}~{number}{suffix}"


def _folders(paths: Iterable[str]) -> set[str]:
    """Return the folders that paths lead through, as file systems compare them."""
    folders = {path.rpartition("/")[0] for path in paths}
    return {_fold(step) for folder in folders for step in parents(folder)}


def parents(path: str) -> list[str]:
    """Return the ways to each part of a path: ``a``, ``a/b``, ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _fold(path: str) -> str:
    """
    Return what is equal for paths that any file system takes as equal.

    NTFS compares in upper case; APFS decomposes and folds case; ZFS may decompose what only looks
    alike. All at once finds more twins than each, which costs a file no more than an id in its name.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFKD", path).upper().casefold()
