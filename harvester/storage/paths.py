"""
File names and paths: names that every operating system accepts, and a unique path for each file.

File names are untrusted input. This module alone decides which names Linux, macOS and Windows accept. The
result is the same on every system, so that a harvest can be moved from one system to another.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harvester.models import RemoteFile

LONGEST_STEM = 180  # bytes; with a suffix and an id it stays below the 255 of common file systems
LONGEST_SUFFIX = 21  # bytes, with its dot
LONGEST_FOLDER = 600  # bytes; a deeper folder is dropped, as whole paths have limits too
MOST_MARKS = 16  # on one letter; APFS rejects more than 30, and no language needs that many

_FORBIDDEN = frozenset('<>:"/\\|?*')
# Control characters, lone surrogates and unassigned code points: APFS rejects these.
_NOT_TEXT = frozenset({"Cc", "Cs", "Cn"})
# Characters that Unicode calls ignorable, such as direction marks, and line ends: they are invisible, but
# change how a name is displayed, and some file systems ignore them in comparisons.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"
}
# Fast path: names that are safe on every system. Most names are like this.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{4,150}(?:\.[A-Za-z0-9]{1,20})?")
# The additional short name that Windows gives a file with a long name: LONGNA~1.TXT.
_SHORT_NAME = re.compile(r"(?=[^.]{3,8}(?:\.|$))([^.]+)~([0-9]+(?:\.[^.]{1,3})?)")


def safe_name(name: str) -> str:
    """
    Return any text as one file name that Linux, macOS and Windows all accept.

    The name is NFC and has at most 201 bytes of UTF-8. It has no separators, no reserved, control or
    invisible characters, no leading blank, no trailing dots and blanks (a leading dot stays: `.gitignore`),
    and is no Windows device or short name. Forbidden characters become "_"; assigned code points are those
    of this Python's Unicode tables. Two names may become equal: see `assign_paths`.
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
    """Return the folder of an item, or of one version of it, below the output folder."""
    return f"files/{item_id}.v{version}" if version else f"files/{item_id}"


def assign_paths(home: str, files: Sequence[RemoteFile], kept: Mapping[int, str]) -> dict[int, str]:
    """
    Return a unique path for each file of an item, relative to the output folder, with "/".

    `home`: the folder of the item. `kept`: file id to path of files that were published earlier; they keep
    their paths.

    Files that would share a path, also in another case or Unicode form, all get their id before the last
    suffix. A path has at most 900 bytes. With the output folder's own path it stays below the limits of Linux
    (4096) and macOS (1024); Windows accepts more than 260 characters only with long paths enabled.
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
    Return the new path of the file at `path` when another one gets its name: the same name with its id.

    `file_id`: 0 if it is unknown. `taken`: the paths of the item's other files.
    """
    return _with_id(path, file_id or "replaced", {_fold(each) for each in taken})


def is_same_path(one: str, other: str) -> bool:
    """Return whether two paths are equal on some file system."""
    return _fold(one) == _fold(other)


def _single(texts: Iterable[str]) -> set[str]:
    """Return the texts that occur once."""
    seen, again = set[str](), set[str]()
    for text in texts:
        (again if text in seen else seen).add(text)
    return seen - again


def _path(home: str, file: RemoteFile, files_there: set[str]) -> str:
    """Return the path of a file if there were no others; without its folder if that is not possible."""
    alone = f"{home}/{safe_name(file.name)}"
    if not file.folder:
        return alone
    folder = "/".join(safe_name(part) for part in re.split(r"[/\\]", file.folder) if part.strip(". "))
    if not folder or len(folder.encode()) > LONGEST_FOLDER:
        return alone
    path = f"{home}/{folder}/{safe_name(file.name)}"
    return path if files_there.isdisjoint(_folders([path])) else alone


def _readable(name: str) -> Iterator[str]:
    """Yield the characters of a name, "_" for those that some system rejects."""
    marks = 0
    for char in name:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MOST_MARKS:
            yield "_" if char in _FORBIDDEN or unicodedata.category(char) in _NOT_TEXT else char


def _split(name: str) -> tuple[str, str]:
    """Split a name before its last dot; a leading dot does not count."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem else (name, "")


def _cut(text: str, size: int) -> str:
    """Return a text cut to at most `size` bytes of UTF-8, between two characters."""
    return text.encode()[:size].decode(errors="ignore")


def _with_id(path: str, file_id: int | str, taken: set[str]) -> str:
    """Return a path with the file's id in it; twice if another file has that path already."""
    folder, _, name = path.rpartition("/")
    stem, suffix = _split(name)
    path = f"{folder}/{stem}~{file_id}{suffix}"
    return _with_id(path, file_id, taken) if _fold(path) in taken else path


def numbered(name: str) -> Iterator[str]:
    """Yield a name, then the same with 2, 3, … before its suffix, endlessly."""
    yield name
    stem, suffix = _split(name)
    for number in itertools.count(2):
        yield f"{stem}~{number}{suffix}"


def _folders(paths: Iterable[str]) -> set[str]:
    """Return the parent folders of paths, in the form in which file systems compare them."""
    folders = {path.rpartition("/")[0] for path in paths}
    return {_fold(step) for folder in folders for step in parents(folder)}


def parents(path: str) -> list[str]:
    """Return the path of each part of a path: ``a``, ``a/b``, ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _fold(path: str) -> str:
    """
    Return a comparison key: equal for paths that are equal on any file system.

    NTFS compares in upper case; APFS decomposes and folds case; ZFS may decompose look-alikes (NFKD). All of
    these together find more collisions than each, which only adds an id to a file's name.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFKD", path).upper().casefold()
