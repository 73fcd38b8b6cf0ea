"""
Staleness check: whether a record is older or less complete than the harvested one, for example from a cache.

Such a record is doubtful. A new version or a later date is a real change; fewer fields at the same date are
not.
"""

from __future__ import annotations

from msgspec.structs import asdict

from harvester.figshare.diff import VOLATILE, changed_fields, changed_files
from harvester.figshare.records import read_description
from harvester.models import Article
from harvester.text.wording import counted

_TO_THE_SECOND = 19


def says_less(now: Article, raw: bytes, old: Article, before: bytes, latest: str) -> str:
    """
    Return how a record (`now`, `raw`) is less complete than the stored one (`old`, `before`), "" if it is
    not.

    `latest`: ISO 8601; a later date is not credible.
    """
    if now.draft_of or old.draft_of:  # an owner may discard an edit
        return ""
    if 0 < now.version < old.version:
        return f"answered with version {now.version}, and version {old.version} is here: it is kept"
    if old.files and not now.files and not now.withheld:
        return (
            f"names none of the {counted(len(old.files), 'file')} of the record that is here, which is kept"
        )
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
    """Return the fields and files that a record no longer contains."""
    here, there = asdict(read_description(before)), asdict(read_description(raw))
    lost = [name for name, value in here.items() if value and not there[name]]
    # When an embargo begins, all files leave the public record; while it continues, none do.
    if now.files or now.withheld in {"", old.withheld}:
        ids = {file.id for file in now.files}
        lost += [f"file {file.id}" for file in old.files if file.id not in ids][:3]
        lost += ["bytes of its size"] if now.size < old.size else []
    return ", ".join(lost)
