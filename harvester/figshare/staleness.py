"""
Staleness: how a record says less than the one that was harvested, as a cache or half an answer does.

Such a record is a doubt. It is a fact that an item has another version, or was changed later; not that it had
more before at the same moment.
"""

from __future__ import annotations

from msgspec.structs import asdict

from harvester.figshare.diff import VOLATILE, changed_fields, changed_files
from harvester.figshare.records import read_description
from harvester.models import Article

_TO_THE_SECOND = 19


def says_less(now: Article, raw: bytes, old: Article, before: bytes, latest: str) -> str:
    """
    Return how a record (`now`, `raw`) says less than the one here (`old`, `before`), "" where it does not.

    `latest`: ISO 8601, no date that can be believed is later.
    """
    if now.draft_of or old.draft_of:  # an owner may throw an edit away
        return ""
    if 0 < now.version < old.version:
        return f"answered with version {now.version}, and version {old.version} is here: it is kept"
    if old.files and not now.files and not now.withheld:
        return f"names none of the {len(old.files)} files of the record that is here, which is kept"
    if now.version and old.version and now.version != old.version:
        return ""
    moment, known = now.modified_date[:_TO_THE_SECOND], old.modified_date[:_TO_THE_SECOND]
    if not moment or not known or moment > known or known > latest:
        return ""
    if moment == known:
        lost = _lost(now, raw, old, before)
        return f"lacks what it had before at the same date ({lost}): what is here is kept" if lost else ""
    differs = not VOLATILE.issuperset(changed_fields(before, raw)) or changed_files(old.files, now.files)
    return f"is of {moment}, and that of {known} is here: it is kept" if differs else ""


def _lost(now: Article, raw: bytes, old: Article, before: bytes) -> str:
    """Name what a record does not tell any more: fields that tables show, and files."""
    here, there = asdict(read_description(before)), asdict(read_description(raw))
    lost = [name for name, value in here.items() if value and not there[name]]
    # An embargo that begins takes all of them out of the public's record; one that goes on takes none.
    if now.files or now.withheld in {"", old.withheld}:
        ids = {file.id for file in now.files}
        lost += [f"file {file.id}" for file in old.files if file.id not in ids][:3]
        lost += ["bytes of its size"] if now.size < old.size else []
    return ", ".join(lost)
