"""Version filter: which versions of an item are wanted, by `versions` of the config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harvester.config.keys import ALL, LATEST
from harvester.models import Article

BEYOND_ALL = 2**31
"""Greater than the number of any version."""
MOST_VERSIONS = 1000
"""If a record claims more versions, only the listed ones are requested."""


def number_of(article: Article) -> int:
    """Return the version number of a record, 0 for a draft, which has none yet."""
    return 0 if article.draft_of else article.version


def end_of_earlier(article: Article) -> int:
    """Return the number below which versions are earlier ones; all versions are earlier than a draft."""
    return BEYOND_ALL if article.draft_of else article.version


def has_earlier(current: int, versions: str | tuple[int, ...]) -> bool:
    """Return whether versions before the current one may be wanted; the record's number may be wrong."""
    if isinstance(versions, str):
        return versions == ALL and current > 1
    return any(number < current for number in versions)


def is_wanted(version: int, versions: str | tuple[int, ...], *, is_current: bool) -> bool:
    """Return whether a version of an item is wanted; 0 is an item that was never published."""
    if versions == LATEST or not version:
        return is_current
    return versions == ALL or version in versions


def earlier_versions(article: Article, listed: Iterable[int], versions: str | tuple[int, ...]) -> list[int]:
    """
    Return the wanted versions before the record's own: the listed ones, and those
    that its number implies.
    """
    implied = range(1, min(article.version, MOST_VERSIONS))
    end = end_of_earlier(article)
    return [
        number
        for number in sorted({*listed, *implied})
        if number < end and is_wanted(number, versions, is_current=False)
    ]


def describe_missing(versions: Sequence[int], most: int = 10) -> str:
    """Return a message about versions that the list lacks, the first `most` of them; "" for none."""
    if not versions:
        return ""
    some = ", ".join(map(str, versions[:most])) + (", …" if len(versions) > most else "")
    return f"the list of versions lacks {some}, and the record's own number is higher"
