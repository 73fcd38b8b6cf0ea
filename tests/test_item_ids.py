"""
figshare's id of an item and the ledger's number of it are two types, and mypy refuses to mix them up.

`mixed_up` is for mypy alone: if it accepted one of these lines, its ``type: ignore`` would be an unused one,
which is a fault of `make check`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.ledger.messages import FileResult, ItemResult
from harvester.models import ItemId, ItemKey, ItemRef, key_of
from harvester.states import FileStatus

if TYPE_CHECKING:
    from harvester.figshare.protocol import Figshare
    from harvester.ledger.ledger import Ledger
    from harvester.models import PendingItem


async def mixed_up(ledger: Ledger, figshare: Figshare, item: PendingItem) -> None:
    await ledger.read(ledger.queue.may_be_pending, item.item_id, 1, None)
    await ledger.read(ledger.queue.may_be_pending, item.item_key, 1, None)  # type: ignore[arg-type]
    await ledger.read(ledger.rename_journal.files_of, item.item_key)
    await ledger.read(ledger.rename_journal.files_of, item.item_id)  # type: ignore[arg-type]
    await figshare.record(item.item_id, private=False)
    await figshare.record(item.item_key, private=False)  # type: ignore[arg-type]
    ItemResult(item.item_key, {})
    ItemResult(item.item_id, {})  # type: ignore[arg-type]
    ItemResult(7, {})  # type: ignore[arg-type]
    FileResult(item.item_id, 1, FileStatus.DONE)  # type: ignore[arg-type]
    ItemRef(item.item_key)  # type: ignore[arg-type]
    key_of(item.item_key)  # type: ignore[arg-type]


def test_mypy_reports_an_unused_ignore() -> None:
    settings = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["strict"] is True, "which includes warn_unused_ignores"
    assert settings.get("warn_unused_ignores", True) is True


def test_the_key_of_an_item_is_its_id() -> None:
    assert key_of(ItemId(5000001)) == ItemKey(5000001)
