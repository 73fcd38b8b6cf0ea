"""What the services answer. Pure: a request as data goes in, an `Answer` comes out."""

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
    """All four over one world, and the place elsewhere that records can lead to."""

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

    def answer(self, service: str, asked: Request) -> Answer:
        """Answer a request to one of the services."""
        try:
            return hostile.bloated() if self._is_bloated(asked) else self._answers[service](asked)
        except Refusal as refusal:
            return refusal.answer
        except (TypeError, ValueError, OverflowError) as error:
            return error_answer(422, f"One of the parameters cannot be processed: {error}")

    def signed(self, file_id: int, expires: float) -> str:
        """Return an address of the storage that lives until `expires`."""
        return self._downloads.signed(file_id, expires)

    def _is_bloated(self, asked: Request) -> bool:
        settings = self._world.settings
        if not any(re.search(BLOATED[name], asked.path) for name in settings.bloated):
            return False
        self._bloated += 1
        return self._bloated > settings.bloated_after

    def _files(self, asked: Request) -> Answer:
        if re.fullmatch(r"/ndownloader/files/\d+", asked.path):
            return challenge()
        if found := re.fullmatch(r"/files/(\d+)", asked.path):
            return self._downloads.lead(asked, int(found[1]), None)
        raise Refusal(404, "No such file")

    def _elsewhere(self, asked: Request) -> Answer:
        if found := re.fullmatch(r"/(account/)?articles/(\d+)", asked.path):
            return json_answer(self._world.record(int(found[2]), private=bool(found[1])))
        raise Refusal(404, "No such endpoint")
