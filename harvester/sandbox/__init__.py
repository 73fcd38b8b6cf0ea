"""
Sandbox: a figshare look-alike on localhost, for trials, tuning and tests.

    async with Sandbox(Settings(items=300)) as sandbox:
        ...  # send requests to sandbox.api, sandbox.stats; compare with sandbox.world and sandbox.requests
"""

from harvester.sandbox.server import Sandbox, Seen, serve
from harvester.sandbox.settings import FAULTS, HOSTILE, IDENTIFIERS, REDIRECTS, Settings
from harvester.sandbox.world import World

__all__ = ["FAULTS", "HOSTILE", "IDENTIFIERS", "REDIRECTS", "Sandbox", "Seen", "Settings", "World", "serve"]
