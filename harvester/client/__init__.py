"""
One polite HTTP client: the only `import aiohttp`, the only retry loop, the only place where foreign errors
become ours.

`client.py` sends and receives, `persistence.py` asks again, `answers.py` knows what an answer means,
`session.py` opens connections and translates their errors.
"""

from harvester.client.answers import is_loopback, is_public, printable
from harvester.client.client import Client, Reply, Sink, Traffic
from harvester.client.session import open_session

__all__ = ["Client", "Reply", "Sink", "Traffic", "is_loopback", "is_public", "open_session", "printable"]
