"""Rows for readers of a ledger: items, files and changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from harvester.models import ItemId, ItemKey
    from harvester.states import FileStatus


class ItemRow(NamedTuple):
    """
    An item, or a version of one, with its record as figshare sent it, and the number
    and bytes of its files.
    """

    id: ItemId
    version: int
    raw: bytes
    file_list: bytes | None
    files: int
    bytes: int


class FileRow(NamedTuple):
    """
    A file as in files.csv.

    ``path``: where it is or will be; "" for a link.
    ``reason``: why it is skipped or withheld, "" for any other file.
    ``failure_kind``: why it failed, see `errors.FailureKind`, "" for any other file.
    ``url``: its address at figshare; of a link, the target.
    ``version``: of its item, 0 if the item was never published.
    ``item_key``: the key of its item in the ledger; for a particular version it is not ``item_id``.
    """

    item_id: ItemId
    file_id: int
    name: str
    path: str
    size: int
    md5: str | None
    status: FileStatus
    reason: str
    failure_kind: str
    url: str
    version: int
    item_key: ItemKey


class ChangeRow(NamedTuple):
    """The change of an item; ``version`` is 0 for the current one. See `models.Change`."""

    item_id: ItemId
    version: int
    change: str
    fields: str
    files: str
