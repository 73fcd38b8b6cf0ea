"""
Which addresses may be asked: this machine's own, the public network's, those of private networks.

The only place where that is decided, for what stands in an address itself and for what a name server says.
A VPN or proxy in fake-IP mode answers every name with one of `SHARED`, and leads what is sent there to the
real host; the certificate proves the host, so these are asked. What only a machine or its neighbours answer
(loopback, link-local) never is, as the secrets of a cloud machine are served there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SHARED: tuple[Network, ...] = (
    ipaddress.ip_network("198.18.0.0/15"),  # benchmarking (RFC 2544); where fake-IP modes take theirs from
    ipaddress.ip_network("100.64.0.0/10"),  # shared address space (RFC 6598); cloud proxies
)
_METADATA = ipaddress.ip_address("100.100.100.200")  # among the shared: a cloud's secrets, as 169.254.169.254
_NAT64 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # long given up (RFC 4291), and still routed by some
_LOW_32_BITS = 0xFFFFFFFF

LOOPBACK = "a loopback address"
LINK_LOCAL = "a link-local address"
PRIVATE = "a private address"
NONE = "no address of a host"
NOT_HTTPS = "not https"


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """
    Read networks such as "10.0.0.0/8".

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_loopback(url: URL) -> bool:
    """Tell whether an address is this machine's own."""
    host = url.host or ""
    try:
        return any(address.is_loopback for address in _meant(ipaddress.ip_address(host)))
    except ValueError:
        return host == "localhost"


def is_public(url: URL, networks: Sequence[Network] = ()) -> bool:
    """Tell whether an address is https and not literally one that is not asked; see `objection`."""
    return why_not_public(url, networks) is None


def why_not_public(url: URL, networks: Sequence[Network] = ()) -> str | None:
    """Say what an address is that is not public, None for one that is."""
    if is_loopback(url):
        return LOOPBACK
    if url.scheme != "https":
        return NOT_HTTPS
    try:
        return objection(url.host, networks) if url.host else NONE
    except ValueError:
        return None


def with_remedy(kind: str) -> str:
    """Return what kind of address one is, with the key that allows it, should there be one."""
    return f"{kind}; services.private_networks allows it" if kind == PRIVATE else kind


def objection(text: str, networks: Sequence[Network] = ()) -> str | None:
    """
    Say what kind of address that is not asked this one is, None where it is asked.

    `networks`: those that the user allows. An address that holds another one is judged by that too.

    Raises:
        ValueError: it is the name of a host.
    """
    found = (_objection(address, networks) for address in _meant(ipaddress.ip_address(text)))
    return next(filter(None, found), None)


def _objection(address: Address, networks: Sequence[Network]) -> str | None:
    if address.is_loopback:
        return LOOPBACK
    if address.is_link_local or address == _METADATA:
        return LINK_LOCAL
    if address.is_unspecified or address.is_multicast:
        return NONE
    if any(address in network for network in (*SHARED, *networks)):
        return None
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return None if address.is_global and not is_site_local else PRIVATE


def _meant(address: Address) -> tuple[Address, ...]:
    """
    Return the addresses that a packet to this one may reach: the IPv4 ones that it holds, if any, or itself.

    Teredo holds two, of a server and of a client.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    low = ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if any(address in network for network in _NAT64):
        return (low,)
    if address in _COMPATIBLE and int(address) > 1:  # 0 and 1 are no host and this one
        return (low,)
    return (address,)
