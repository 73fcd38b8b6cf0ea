"""Whose addresses are whose: this machine's own, the public network's, neither."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yarl import URL


def is_loopback(url: URL) -> bool:
    """Tell whether an address is this machine's own."""
    host = url.host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public(url: URL) -> bool:
    """Tell whether an address is https and not literally one of a private network."""
    if url.scheme != "https" or not url.host or is_loopback(url):
        return False
    try:
        return ipaddress.ip_address(url.host).is_global
    except ValueError:
        return True
