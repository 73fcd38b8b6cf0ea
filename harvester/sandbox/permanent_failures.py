"""What can never be had under permanent faults: told from the dice alone, whatever was asked so far."""

from __future__ import annotations

from collections.abc import Iterator

from harvester.sandbox.faults import FaultInjector
from harvester.sandbox.oddities import WRONG_MD5
from harvester.sandbox.records import Json
from harvester.sandbox.world import World

_COUNTERS = ("views", "downloads")


class PermanentFailures:
    """The items, counters and files that no number of attempts brings, with the faults that keep them."""

    def __init__(self, world: World, dice: FaultInjector) -> None:
        self._world = world
        self._dice = dice

    def items(self) -> dict[int, set[str]]:
        """Return the items whose record can never be had."""
        return {item_id: {fault} for item_id in self._ids() if (fault := self._item(item_id))}

    def stats(self) -> dict[int, set[str]]:
        """Return the items of which the views or the downloads can never be had."""
        found: dict[int, set[str]] = {}
        for item_id in self._ids():
            paths = (f"/total/{counter}/article/{item_id}" for counter in _COUNTERS)
            if faults := {fault for path in paths if (fault := self._dice.permanent("stats", path))}:
                found[item_id] = faults
        return found

    def files(self) -> dict[int, set[str]]:
        """
        Return the files that can never be had, by none of the routes to them.

        Not among them: files without bytes by design (links, withheld ones), files of items whose record can
        never be had, as nobody learns of them, and damage that nobody can notice: wrong bytes where no md5
        is told, and empty files.
        """
        return {
            file["id"]: faults
            for item_id in self._ids()
            if not self._world.is_withheld(item_id) and not self._item(item_id)
            for file in self._world.files(item_id)
            if not file["is_link_only"] and (faults := self._file(item_id, file))
        }

    def _ids(self) -> Iterator[int]:
        yield from self._world.public_ids
        yield from self._world.private_ids
        yield from self._world.colleague_ids

    def _item(self, item_id: int) -> str | None:
        return self._dice.permanent("api", f"/articles/{item_id}")

    def _file(self, item_id: int, file: Json) -> set[str]:
        routes = [self._dice.permanent("api", f"/file/download/{file['id']}")]
        if not self._world.is_private(item_id):
            routes.append(self._dice.permanent("files", f"/files/{file['id']}"))
        faults = {fault for fault in routes if fault}
        if None not in routes:
            return faults
        if file["computed_md5"] == WRONG_MD5:
            return {"escape-title"}
        stored = self._dice.permanent("storage", f"/{file['id']}")
        has_md5 = bool(file["computed_md5"] or file["supplied_md5"])
        if stored is None or not file["size"] or (stored == "always-wrong-md5" and not has_md5):
            return set()
        return {stored}
