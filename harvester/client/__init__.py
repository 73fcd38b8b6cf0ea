"""
One polite HTTP client: the only `import aiohttp`, the only retry loop, the only place where foreign errors
become ours.

`client.py` is its front, `persistence.py` asks again, `asking.py` makes one request, `answers.py` knows what
an answer means, `bodies.py` puts JSON together, `weighing.py` tells what it would take in memory, `turns.py`
keeps large answers apart, `session.py` opens connections and translates their errors.
`transfer.py` fetches files, over one connection or several as `splitting.py` finds best, `receiving.py` reads
what one brings, `lanes.py` says whose turn it is.
"""

from harvester.client.client import Client, Reply
from harvester.client.download.segment_policy import SegmentPolicy
from harvester.client.download.single import Unfit, Wanted, is_progress
from harvester.client.download.slots import Holding
from harvester.client.json_body import JSON_LIMIT
from harvester.client.sender import Traffic
from harvester.client.session import Lookup, open_session

__all__ = [
    "JSON_LIMIT",
    "Client",
    "Holding",
    "Lookup",
    "Reply",
    "SegmentPolicy",
    "Traffic",
    "Unfit",
    "Wanted",
    "is_progress",
    "open_session",
]
