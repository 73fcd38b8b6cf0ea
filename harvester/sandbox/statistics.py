"""Statistics service: totals, timelines and breakdowns, public or in an institution's scope."""

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
    """Answers for the items of one world; `clock`: seconds since 1970, for the current month."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock

    def answer(self, request: Request) -> Answer:
        """Answer a request to the statistics."""
        if request.method == "POST" and request.path == "/count/articles":
            return self._count(request)
        path = request.path
        if scoped := _SCOPED.fullmatch(path):
            self._must_be_known(request, scoped[1])
            path = scoped[2]
        return self._usage(request, path)

    def _usage(self, request: Request, path: str) -> Answer:
        """Answer with the usage of an item; `path`: without the institution's scope."""
        if found := _TOTAL.fullmatch(path):
            totals = self._world.totals(int(found[2]))
            return json_answer(self._world.loosened({"totals": totals[found[1]]} if totals else {}))
        if found := _OVER_TIME.fullmatch(path):
            kind, granularity, counter, item_id = found.groups()
            return self._over_time(kind, granularity, counter, int(item_id), request.fields)
        raise Refusal(404, "No such endpoint")

    def _count(self, request: Request) -> Answer:
        groups = [str(group["id"]) for group in request.fields.get("groups", ())]
        more = self._world.settings.miscount
        counts = {group: len(self._world.group_items(int(group))) + more for group in groups}
        return json_answer(self._world.loosened(counts))

    def _must_be_known(self, request: Request, institution: str) -> None:
        settings, shown = self._world.settings, request.headers.get("Authorization")
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
        count = {"timeline": self._world.timeline, "breakdown": self._world.breakdown}[kind]
        usage = {kind: count(item_id, counter, granularity, start, end)}
        return json_answer(self._world.loosened(usage, item_id))

    def _window(self, granularity: str, fields: Mapping[str, Any]) -> tuple[date, date]:
        """Return the first and the last day within the service's limit; the default is the current month."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        end = date.fromisoformat(fields["end_date"]) if "end_date" in fields else today
        begin = end.replace(day=1)
        start = date.fromisoformat(fields["start_date"]) if "start_date" in fields else begin
        return start, usage.longest(granularity, start, end)
