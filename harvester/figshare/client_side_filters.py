"""
Client-side filters: conditions that an item's record has to meet if its listing cannot filter by them.

The ledger stores a condition as JSON text, the same text for the same filters. A record is excluded only if
it has another value than the condition; a record without the value is kept.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from harvester.figshare.decoding import strict_decoder
from harvester.figshare.filters import is_before


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    The values that a record must have; a field at its default is not checked.

    ``type_name``: the name of a type whose number is unknown. Dates are ISO 8601.
    """

    group: int = 0
    project: int = 0
    item_type: int = 0
    type_name: str = ""
    published_since: str = ""
    published_before: str = ""
    modified_since: str = ""
    licence: str = ""

    @classmethod
    def read(cls, text: str) -> Condition:
        return msgspec.json.decode(text, type=cls)

    def write(self) -> str:
        """Return it as the ledger stores it, "" if nothing is to be checked."""
        return msgspec.json.encode(self).decode() if self != Condition() else ""

    def only(self, fields: frozenset[str]) -> Condition:
        """Return the condition on these fields alone."""
        return Condition(**{name: value for name, value in structs.asdict(self).items() if name in fields})


class _Facts(msgspec.Struct, frozen=True):
    """The fields of a record that are compared, of any type: an unreadable value counts as absent."""

    group_id: Any = None
    project_id: Any = None
    defined_type: Any = None
    defined_type_name: Any = None
    published_date: Any = None
    modified_date: Any = None
    license: Any = None
    status: Any = None


_LONGEST_NUMBER = 19
"""Digits of the longest number that the ledger can store; Python parses none of more than 4,300."""
_decode = strict_decoder(_Facts)


def is_wanted_by(raw: bytes, conditions: tuple[str, ...], *, private: bool) -> bool:
    """
    Return whether a record meets at least one of the conditions, or there are none.

    `private`: it is the account's own record; without a date of publication it is a draft.
    """
    if not conditions:
        return True
    facts = _decode(raw)
    return any(_is_met(Condition.read(text), facts, private=private) for text in conditions)


def _is_met(wanted: Condition, facts: _Facts, *, private: bool) -> bool:
    name = facts.license.get("name") if isinstance(facts.license, dict) else None
    return (
        _is_number(facts.group_id, wanted.group)
        and _is_number(facts.project_id, wanted.project)
        and _is_number(facts.defined_type, wanted.item_type)
        and _is_word(facts.defined_type_name, wanted.type_name)
        and _is_word(name, wanted.licence)
        and _is_published(wanted, facts, private=private)
        and _is_since(facts.modified_date, wanted.modified_since)
    )


def _is_number(value: object, wanted: int) -> bool:
    """Return whether a value is the wanted number, or no number; figshare writes 0 for none."""
    text = str(value).strip() if isinstance(value, int | str) else ""
    return not wanted or not text.isdecimal() or len(text) > _LONGEST_NUMBER or int(text) in {0, wanted}


def _is_word(value: object, wanted: str) -> bool:
    """Return whether a name is the wanted one, ignoring case, or absent."""
    if not wanted or not isinstance(value, str) or not value.strip():
        return True
    return value.strip().casefold() == wanted.strip().casefold()


def _is_published(wanted: Condition, facts: _Facts, *, private: bool) -> bool:
    if not (wanted.published_since or wanted.published_before):
        return True
    date = facts.published_date
    if not isinstance(date, str) or not date:
        return not private and facts.status != "draft"
    is_early = not wanted.published_before or is_before(date, wanted.published_before)
    return is_early and _is_since(date, wanted.published_since)


def _is_since(value: object, wanted: str) -> bool:
    return not wanted or not isinstance(value, str) or not value or value >= wanted
