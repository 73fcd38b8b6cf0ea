"""Permanent failures: the items, counters and files that fail in every attempt, computed from the seed."""

from __future__ import annotations

from collections.abc import Iterator

from harvester.sandbox.faults import FaultInjector
from harvester.sandbox.oddities import WRONG_MD5
from harvester.sandbox.records import Json
from harvester.sandbox.world import World

_COUNTERS = ("views", "downloads")


class PermanentFailures:
    """The items, counters and files that fail in every attempt, with their permanent faults."""

    def __init__(self, world: World, injector: FaultInjector) -> None:
        self._world = world
        self._injector = injector

    def items(self) -> dict[int, set[str]]:
        """Return the items whose record always fails."""
        return {item_id: {fault} for item_id in self._ids() if (fault := self._item(item_id))}

    def stats(self) -> dict[int, set[str]]:
        """Return the items whose views or downloads always fail."""
        found: dict[int, set[str]] = {}
        for item_id in self._ids():
            paths = (f"/total/{counter}/article/{item_id}" for counter in _COUNTERS)
            if faults := {fault for path in paths if (fault := self._injector.permanent("stats", path))}:
                found[item_id] = faults
        return found

    def files(self) -> dict[int, set[str]]:
        """
        Return the files that always fail, on every route.

        Not included are files without bytes by design (links, withheld files), files of items whose record
        always fails, as they stay unknown, and damage that cannot be noticed: wrong bytes without an md5, and
        empty files.
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
        return self._injector.permanent("api", f"/articles/{item_id}")

    def _file(self, item_id: int, file: Json) -> set[str]:
        routes = [self._injector.permanent("api", f"/file/download/{file['id']}")]
        if not self._world.is_private(item_id):
            routes.append(self._injector.permanent("files", f"/files/{file['id']}"))
        faults = {fault for fault in routes if fault}
        if None not in routes:
            return faults
        if file["computed_md5"] == WRONG_MD5:
            return {"escape-title"}
        stored = self._injector.permanent("storage", f"/{file['id']}")
        has_md5 = bool(file["computed_md5"] or file["supplied_md5"])
        if stored is None or not file["size"] or (stored == "always-wrong-md5" and not has_md5):
            return set()
        return {stored}
