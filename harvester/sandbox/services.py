"""Services: answer requests without I/O, from a `Request` to an `Answer`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

from harvester.sandbox import hostile
from harvester.sandbox.answers import Answer, challenge, error_answer, json_answer
from harvester.sandbox.api import Api
from harvester.sandbox.downloads import Downloads
from harvester.sandbox.request import Refusal, Request
from harvester.sandbox.settings import BLOATED
from harvester.sandbox.statistics import Statistics
from harvester.sandbox.world import World


class Services:
    """All four services over one world, and the other origin that records can redirect to."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self._world = world
        self._bloated = 0
        self._downloads = Downloads(world, clock)
        self._answers: Mapping[str, Callable[[Request], Answer]] = {
            "api": Api(world, self._downloads).answer,
            "stats": Statistics(world, clock).answer,
            "files": self._files,
            "storage": self._downloads.stored,
            "elsewhere": self._elsewhere,
        }

    def answer(self, service: str, request: Request) -> Answer:
        """Answer a request to one of the services."""
        try:
            return hostile.bloated() if self._is_bloated(request) else self._answers[service](request)
        except Refusal as refusal:
            return refusal.answer
        except (TypeError, ValueError, OverflowError) as error:
            return error_answer(422, f"One of the parameters cannot be processed: {error}")

    def signed(self, file_id: int, expires: float) -> str:
        """Return an address of the storage that is valid until `expires`."""
        return self._downloads.signed(file_id, expires)

    def _is_bloated(self, request: Request) -> bool:
        settings = self._world.settings
        if not any(re.search(BLOATED[name], request.path) for name in settings.bloated):
            return False
        self._bloated += 1
        return self._bloated > settings.bloated_after

    def _files(self, request: Request) -> Answer:
        if re.fullmatch(r"/ndownloader/files/\d+", request.path):
            return challenge()
        if found := re.fullmatch(r"/files/(\d+)", request.path):
            return self._downloads.lead(request, int(found[1]), None)
        raise Refusal(404, "No such file")

    def _elsewhere(self, request: Request) -> Answer:
        if found := re.fullmatch(r"/(account/)?articles/(\d+)", request.path):
            return json_answer(self._world.record(int(found[2]), private=bool(found[1])))
        raise Refusal(404, "No such endpoint")
