"""What readers of a ledger are given: items, files and changes."""

from typing import NamedTuple

from harvester.models import FileStatus, ItemId, ItemKey


class ItemRow(NamedTuple):
    """An item, or a version of one, with its record as figshare sent it, and its files counted."""

    id: ItemId
    version: int
    raw: bytes
    file_list: bytes | None
    files: int
    bytes: int


class FileRow(NamedTuple):
    """
    A file as files.csv tells of it.

    ``path``: where it is, or would be if it were here; "" for a link.
    ``reason``: why it is skipped or withheld, "" for any other.
    ``failure_kind``: why it failed, see `errors.FailureKind`, "" for any other.
    ``url``: where figshare has it; of a link, where it leads.
    ``version``: of its item, 0 for what was never published.
    ``item_key``: the number of its item in the ledger, not ``item_id`` for a particular version.
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
    """What became of an item; ``version`` is 0 for the current one. See `models.Change`."""

    item_id: ItemId
    version: int
    change: str
    fields: str
    files: str
