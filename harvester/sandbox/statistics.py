"""The statistics service: totals, timelines and breakdowns, for everybody or in an institution's scope."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from harvester.sandbox import usage
from harvester.sandbox.answers import Answer, json_answer
from harvester.sandbox.catalogue import INSTITUTION_NAME
from harvester.sandbox.request import Refusal, Request
from harvester.sandbox.world import World

_COUNTER = f"({'|'.join(usage.COUNTERS)})"
_GRANULARITY = f"({'|'.join(usage.GRANULARITIES)})"
_SCOPED = re.compile(r"/(?!timeline|breakdown)([\w-]+)(/(?:total|timeline|breakdown)/.*/article/.*)")
_TOTAL = re.compile(rf"/total/{_COUNTER}/article/(\d+)")
_OVER_TIME = re.compile(rf"/(timeline|breakdown)/{_GRANULARITY}/{_COUNTER}/article/(\d+)")


class Statistics:
    """Of the items of one world; `clock`: seconds since 1970, which settle the current month."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock

    def answer(self, asked: Request) -> Answer:
        """Answer a request to the statistics."""
        if asked.method == "POST" and asked.path == "/count/articles":
            return self._count(asked)
        path = asked.path
        if scoped := _SCOPED.fullmatch(path):
            self._must_be_known(asked, scoped[1])
            path = scoped[2]
        return self._uses(asked, path)

    def _uses(self, asked: Request, path: str) -> Answer:
        """Answer for the uses of an item; `path`: without the institution's scope."""
        if found := _TOTAL.fullmatch(path):
            totals = self._world.totals(int(found[2]))
            return json_answer(self._world.told({"totals": totals[found[1]]} if totals else {}))
        if found := _OVER_TIME.fullmatch(path):
            kind, granularity, counter, item_id = found.groups()
            return self._over_time(kind, granularity, counter, int(item_id), asked.fields)
        raise Refusal(404, "No such endpoint")

    def _count(self, asked: Request) -> Answer:
        groups = [str(group["id"]) for group in asked.fields.get("groups", ())]
        more = self._world.settings.miscount
        counts = {group: len(self._world.group_items(int(group))) + more for group in groups}
        return json_answer(self._world.told(counts))

    def _must_be_known(self, asked: Request, institution: str) -> None:
        settings, shown = self._world.settings, asked.headers.get("Authorization")
        expected = base64.b64encode(settings.stats_credentials.encode()).decode()
        if institution != INSTITUTION_NAME or shown != f"Basic {expected}":
            raise Refusal(403, "Unauthorized request")
        if self._world.use(shown) > settings.credentials_last:
            raise Refusal(403, "Unauthorized request")

    def _over_time(
        self, kind: str, granularity: str, counter: str, item_id: int, fields: Mapping[str, Any]
    ) -> Answer:
        start, end = self._window(granularity, fields)
        if not self._world.is_counted(item_id):
            return json_answer({})
        told = {"timeline": self._world.timeline, "breakdown": self._world.breakdown}[kind]
        uses_told = {kind: told(item_id, counter, granularity, start, end)}
        return json_answer(self._world.told(uses_told, item_id))

    def _window(self, granularity: str, fields: Mapping[str, Any]) -> tuple[date, date]:
        """Read the first and the last day, of the current month without any, as far as the service allows."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        end = date.fromisoformat(fields["end_date"]) if "end_date" in fields else today
        begin = end.replace(day=1)
        start = date.fromisoformat(fields["start_date"]) if "start_date" in fields else begin
        return start, usage.longest(granularity, start, end)
