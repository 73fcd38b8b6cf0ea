"""Version filter: which versions of an item are wanted, as `versions` of the config says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harvester.config.keys import ALL, LATEST
from harvester.models import Article

BEYOND_ALL = 2**31
"""The number of no version, and greater than that of any."""
MOST_VERSIONS = 1000
"""A record that claims more versions is not believed: only those that are listed are requested."""


def number_of(article: Article) -> int:
    """Return the version number of a record; a draft has none yet: 0."""
    return 0 if article.draft_of else article.version


def end_of_earlier(article: Article) -> int:
    """Return the number below which all versions are earlier ones; every version is earlier than a draft."""
    return BEYOND_ALL if article.draft_of else article.version


def has_earlier(current: int, versions: str | tuple[int, ...]) -> bool:
    """Return whether versions before the current one may be wanted; its number is not to be trusted."""
    if isinstance(versions, str):
        return versions == ALL and current > 1
    return any(number < current for number in versions)


def is_wanted(version: int, versions: str | tuple[int, ...], *, is_current: bool) -> bool:
    """Return whether a version of an item is wanted; one that was never published has the number 0."""
    if versions == LATEST or not version:
        return is_current
    return versions == ALL or version in versions


def earlier_versions(article: Article, listed: Iterable[int], versions: str | tuple[int, ...]) -> list[int]:
    """Return the wanted versions before a record's own: those listed, and those that its number implies."""
    implied = range(1, min(article.version, MOST_VERSIONS))
    end = end_of_earlier(article)
    return [
        number
        for number in sorted({*listed, *implied})
        if number < end and is_wanted(number, versions, is_current=False)
    ]


def describe_missing(versions: Sequence[int], most: int = 10) -> str:
    """Return a message about versions that no list names, the first `most` of them; "" for none."""
    if not versions:
        return ""
    some = ", ".join(map(str, versions[:most])) + (", …" if len(versions) > most else "")
    return f"the list of versions lacks {some}, and the record's own number is higher"
