"""
Record diff: the differences between the harvested record and the current one, by
figshare's field names.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decoding import decode_anything, strict_decoder
from harvester.models import RemoteFile

REPORTED_BY_FILE = ("files", "folder_structure")
"""Fields whose changes are reported file by file."""
VOLATILE = frozenset({"modified_date"})
"""Fields that change when figshare itself processes an item."""
MOST_FIELDS = 1000
"""Fields named at most; figshare's records have fifty."""
_LONGEST = 1 << 20
"""Bytes; a longer value is compared byte by byte, without decoding."""
_decode_fields = strict_decoder(dict[str, msgspec.Raw], as_sent=True)


def changed_fields(before: bytes, now: bytes) -> tuple[str, ...]:
    """
    Return the fields of a record that have changed, are new or are gone, in order.

    None if the old record can no longer be read.
    """
    try:
        old = _decode_fields(before)
    except (ConnectionFailed, InvalidResponse):
        return ()
    new = _decode_fields(now)
    names = (old.keys() | new.keys()).difference(REPORTED_BY_FILE)
    changed = sorted(name for name in names if not _says_the_same(old.get(name), new.get(name)))
    return tuple(changed[:MOST_FIELDS])


def changed_files(before: Sequence[RemoteFile], now: Sequence[RemoteFile]) -> tuple[str, ...]:
    """
    Return the changes of files, found by their ids: ``added: a.csv``, ``changed: b.csv``, ``removed: c.csv``.

    A file that replaces one with the same folder and name counts as changed, even with another id.
    """
    old, new = {file.id: file for file in before}, {file.id: file for file in now}
    added = {_full_name(file): file for file in now if file.id not in old}
    removed = {_full_name(file): file for file in before if file.id not in new}
    changed = {_full_name(file) for file in now if file.id in old and not _is_same(file, old[file.id])}
    changed |= added.keys() & removed.keys()
    kinds = {"added": added.keys() - changed, "changed": changed, "removed": removed.keys() - changed}
    return tuple(f"{what}: {name}" for what, names in kinds.items() for name in sorted(names))


def has_only_new_sums(before: Sequence[RemoteFile], now: Sequence[RemoteFile]) -> bool:
    """Return whether files differ only in that some have gained or lost an md5."""
    old = {file.id: file for file in before}
    return old.keys() == {file.id for file in now} and (
        all(_is_same(file, old[file.id]) for file in now)
        and any(file.md5 != old[file.id].md5 for file in now)
    )


def _says_the_same(old: msgspec.Raw | None, new: msgspec.Raw | None) -> bool:
    """Return whether two values are equal, in any JSON spelling; null equals an absent value."""
    before, now = (bytes(value) if value is not None else b"null" for value in (old, new))
    if before == now:
        return True
    if max(len(before), len(now)) > _LONGEST:
        return False
    try:
        return decode_anything(before) == decode_anything(now)
    except (
        ConnectionFailed,
        InvalidResponse,
    ):  # a number such as 1e400 in a key that is not decoded
        return False


def _is_same(file: RemoteFile, old: RemoteFile) -> bool:
    """
    Return whether a file's content is the same as far as is known.

    An md5 that appears later is no change.
    """
    sums_agree = file.md5 == old.md5 or file.md5 is None or old.md5 is None
    return sums_agree and _place(file) == _place(old)


def _place(file: RemoteFile) -> tuple[str, int, bool]:
    return _full_name(file), file.size, file.is_link


def _full_name(file: RemoteFile) -> str:
    return f"{file.folder}/{file.name}" if file.folder else file.name
