"""
Prune: moves orphaned files into the trash (`storage/trash.py`), and nothing else.

Orphaned files are on disk but no longer belong to the harvest. The ledger lists them (`Reader.removable`),
and the user has seen each of them. A file that belongs to the harvest again by then stays, and links are not
followed. Expired trash is permanently deleted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from anyio import CancelScope, to_thread

from harvester.config import Config
from harvester.exporters.summary import SummaryFile
from harvester.jobs.export import export, is_output, make_exporters, write_outputs
from harvester.jobs.output_folder import open_storage
from harvester.ledger.ledger import Ledger
from harvester.ledger.reader import Reader
from harvester.plugins import ALWAYS_EXPORTED
from harvester.states import FileStatus
from harvester.storage.trash import TRASH_DAYS
from harvester.storage.trash_mover import Pruned, Pruner
from harvester.system.paths import is_there
from harvester.tasks.placement import Placement

AT_ONCE = 500
"""Files that are moved in one step, before the ledger records them; after a crash `recover` finds them."""


class Removable(NamedTuple):
    """
    An orphaned file; ``path`` relative to the folder, ``size`` in bytes.

    ``kept``: why it stays, if it is the only copy; "" if it may be removed.
    """

    path: str
    size: int
    why: str
    kept: str = ""


def removable(config: Config) -> list[Removable]:
    """
    Return the orphaned files.

    Raises:
        UsageError: the folder contains no harvest.
    """
    with Reader(config.folder) as reader:
        # A file that a killed run may or may not have renamed is included.
        return [each for each in _find(reader, config) if is_there(config.folder, each.path)]


def prune_blockers(config: Config) -> list[str]:
    """Return why nothing may be removed now, as the last run may be incomplete."""
    with Reader(config.folder) as reader:
        return reader.prune_blockers()


async def prune(config: Config, paths: Sequence[str], *, trash_days: int = TRASH_DAYS) -> Pruned:
    """
    Move files that `removable` returned to the trash; a file that belongs to the harvest again stays.

    Files in the trash for more than `trash_days` days are permanently deleted; with 0 all of them. If there
    are `prune_blockers`, nothing is moved or deleted.

    Raises:
        UsageError: the folder contains no harvest.
        FolderLocked: another run holds the folder.
    """
    ledger = Ledger(config.folder)
    with Reader(config.folder) as reader:
        async with ledger.hold("prune", if_cancelled="interrupted"):
            return await _prune(config, reader, ledger, paths, trash_days)


async def _prune(
    config: Config, reader: Reader, ledger: Ledger, paths: Sequence[str], trash_days: int
) -> Pruned:
    await Placement(ledger, open_storage(config, ledger.confirm)).recover()
    today = ledger.now()[:10]
    pruner = Pruner(config.folder, today)
    found = await to_thread.run_sync(_find, reader, config)
    await ledger.change(
        ledger.files.pruned, await to_thread.run_sync(_gone, config.folder, [each.path for each in found])
    )
    if why := "; ".join(reader.prune_blockers()):
        return Pruned(kept=tuple(f"{path}: the last run had doubts: {why}" for path in paths))
    kept = {each.path: each.kept for each in found if each.kept}
    may_go = {each.path for each in found}.difference(kept)
    pruned = Pruned(kept=tuple(f"{path}: {kept[path]}" for path in paths if path in kept))
    wanted = [path for path in paths if path not in kept]
    for start in range(0, len(wanted), AT_ONCE):
        some = await to_thread.run_sync(pruner.prune, wanted[start : start + AT_ONCE], may_go)
        with CancelScope(shield=True):  # they are moved, which must be recorded
            await ledger.change(ledger.files.pruned, some.removed)
        pruned += some
    return pruned + await to_thread.run_sync(pruner.empty, today, trash_days)


async def recover(folder: Path, ledger: Ledger) -> None:
    """Record the files that an interrupted prune moved before it could record them."""
    with Reader(folder) as reader:
        if reader.prune_was_cut_off():
            gone = await to_thread.run_sync(_gone, folder, [path for path, *_ in reader.removable()])
            await ledger.change(ledger.files.pruned, gone)


def _gone(folder: Path, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not is_there(folder, path)]


def _find(reader: Reader, config: Config) -> list[Removable]:
    """
    Return every file that may be removed.

    A file of an output format stays, and one whose path equals that of a harvested file on some file system.
    """
    found = {each[0]: Removable(*each) for each in reader.removable()}
    exporters = make_exporters(config, ALWAYS_EXPORTED) if found else []
    found = {path: each for path, each in found.items() if not is_output(exporters, path)}
    if found:
        as_one = {unicodedata.normalize("NFC", path).casefold(): path for path in found}
        for file in reader.files(FileStatus.DONE):
            twin = as_one.get(unicodedata.normalize("NFC", file.path).casefold())
            if twin is not None and twin != file.path:
                found.pop(twin, None)
    return list(found.values())


async def prune_and_export(config: Config, paths: Sequence[str], *, trash_days: int = TRASH_DAYS) -> Pruned:
    """
    Move orphaned files to the trash, and write all outputs again.

    `paths`: some of those that `removable` returned. `trash_days`: see `prune`.
    """
    pruned = await prune(config, paths, trash_days=trash_days)
    if pruned.removed:
        await export(config)
    elif pruned.deleted:
        await write_outputs(config, [SummaryFile()])
    return pruned
