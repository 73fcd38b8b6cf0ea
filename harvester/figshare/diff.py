"""Record diff: what differs between a record as harvested and as it is now, by figshare's own names."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decoding import decode_anything, strict_decoder
from harvester.models import RemoteFile

REPORTED_BY_FILE = ("files", "folder_structure")
"""Fields whose changes are reported file by file."""
VOLATILE = frozenset({"modified_date"})
"""Fields that move when the service only finishes its own work on an item."""
MOST_FIELDS = 1000
"""So many are named; figshare's records have fifty."""
_LONGEST = 1 << 20
"""Bytes of a value that is read; a longer one has changed when a single byte has."""
_decode_fields = strict_decoder(dict[str, msgspec.Raw], as_sent=True)


def changed_fields(before: bytes, now: bytes) -> tuple[str, ...]:
    """
    Name the fields of a record that have another value now, are new or are gone, in order.

    None where the record of before can no longer be read.
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
    Return what became of files, by their ids: ``added: a.csv``, ``changed: b.csv``, ``removed: c.csv``.

    One that came in the place of one with the same folder and name has changed, whatever its id.
    """
    old, new = {file.id: file for file in before}, {file.id: file for file in now}
    added = {_full_name(file): file for file in now if file.id not in old}
    removed = {_full_name(file): file for file in before if file.id not in new}
    changed = {_full_name(file) for file in now if file.id in old and not _is_same(file, old[file.id])}
    changed |= added.keys() & removed.keys()
    kinds = {"added": added.keys() - changed, "changed": changed, "removed": removed.keys() - changed}
    return tuple(f"{what}: {name}" for what, names in kinds.items() for name in sorted(names))


def has_only_new_sums(before: Sequence[RemoteFile], now: Sequence[RemoteFile]) -> bool:
    """Return whether files differ in nothing but that some have an md5 now, or have none any more."""
    old = {file.id: file for file in before}
    return old.keys() == {file.id for file in now} and (
        all(_is_same(file, old[file.id]) for file in now)
        and any(file.md5 != old[file.id].md5 for file in now)
    )


def _says_the_same(old: msgspec.Raw | None, new: msgspec.Raw | None) -> bool:
    """Return whether two values are one, however they are written; null is as good as none."""
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
    ):  # a number of 1e400 in a key that is not read, and the record was kept
        return False


def _is_same(file: RemoteFile, old: RemoteFile) -> bool:
    """Return whether nothing speaks for another content: a sum that comes later than the file does not."""
    sums_agree = file.md5 == old.md5 or file.md5 is None or old.md5 is None
    return sums_agree and _place(file) == _place(old)


def _place(file: RemoteFile) -> tuple[str, int, bool]:
    return _full_name(file), file.size, file.is_link


def _full_name(file: RemoteFile) -> str:
    return f"{file.folder}/{file.name}" if file.folder else file.name
