"""
Polite HTTP client: the only `import aiohttp`, the only retry loop, and where foreign errors are mapped.

- `client.py`: the facade. `retry.py`: attempts. `health.py` and `breaker.py`: outages.
- `sender.py`: one request. `traffic.py`: counters. `url_policy.py`: allowed URLs.
- `credentials.py`, `token_check.py`: authentication.
- `responses.py`: what a status means. `error_map.py`: what a failed connection means.
- `json_body.py`, `json_size.py`, `memory_gate.py`: the bytes of JSON, and their limit in memory.
- `session.py`, `deadlines.py`: connections and how long they may take.
- `limits/`: rate limiters. `download/`: files, over one connection or several.
"""

from aiohttp import ClientSession

from harvester.client.client import Client, Reply
from harvester.client.credentials import Credentials
from harvester.client.download.segment_policy import SegmentPolicy
from harvester.client.download.single import ExpectedBody, RangeMismatch, is_progress
from harvester.client.download.slots import SlotUsage
from harvester.client.json_body import JSON_LIMIT
from harvester.client.sender import RequestSender
from harvester.client.session import Lookup, open_session
from harvester.client.traffic import BYTES, Traffic, Transfer, Unit, note_files, working_on

__all__ = [
    "BYTES",
    "JSON_LIMIT",
    "Client",
    "ClientSession",
    "Credentials",
    "ExpectedBody",
    "Lookup",
    "RangeMismatch",
    "Reply",
    "RequestSender",
    "SegmentPolicy",
    "SlotUsage",
    "Traffic",
    "Transfer",
    "Unit",
    "is_progress",
    "note_files",
    "open_session",
    "working_on",
]
