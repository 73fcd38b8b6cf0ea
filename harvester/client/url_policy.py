"""
SSRF guard: which addresses may be requested, so that no record or redirect reaches a private service.

This is the only place where that is decided, for an address in a URL and for the result of a DNS lookup. A
VPN or a proxy in fake-IP mode resolves every name to one of `SHARED`, and passes traffic on to the real host.
The certificate proves the host, so these are allowed. Loopback and link-local addresses never are: cloud
machines serve their secrets there.
"""

from __future__ import annotations

import ipaddress
import re
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
_METADATA = ipaddress.ip_address(
    "100.100.100.200"
)  # one of the shared: a cloud's secrets, as 169.254.169.254
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_ISATAP = (0x00005EFE, 0x02005EFE)
"""What precedes the IPv4 address of a host in an ISATAP address (RFC 5214)."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # deprecated (RFC 4291), and still routed by some
_LOW_32_BITS = 0xFFFFFFFF

LOOPBACK = "a loopback address"
LINK_LOCAL = "a link-local address"
PRIVATE = "a private address"
NONE = "not the address of a host"
NOT_HTTPS = "not https"


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """
    Read networks such as "10.0.0.0/8".

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ipaddress.ip_network(text) for text in texts)


def is_loopback(url: URL) -> bool:
    """Return whether an address is this machine's own."""
    host = url.host or ""
    try:
        return any(address.is_loopback for address in _meant(ipaddress.ip_address(host)))
    except ValueError:
        return host.rstrip(".") == "localhost"


def is_public(url: URL, networks: Sequence[Network] = ()) -> bool:
    """Return whether an address is https and its host is no forbidden IP address; see `refusal_reason`."""
    return why_not_public(url, networks) is None


def why_not_public(url: URL, networks: Sequence[Network] = ()) -> str | None:
    """Return why an address is not public, None if it is."""
    if is_loopback(url):
        return LOOPBACK
    if url.scheme != "https":
        return NOT_HTTPS
    host = url.host or ""
    try:
        return refusal_reason(host, networks)
    except ValueError:
        if host.rstrip(".").endswith(".localhost"):
            return LOOPBACK
        return None if host and "%" not in host else NONE  # a proxy might read what is escaped there


def with_remedy(kind: str) -> str:
    """Return the kind of address, with the config key that allows it if there is one."""
    return f"{kind}; services.private_networks allows it" if kind == PRIVATE else kind


def refusal_reason(text: str, networks: Sequence[Network] = ()) -> str | None:
    """
    Return the kind of a forbidden address, None for one that may be requested.

    `networks`: those that the user allows. An address that contains another one is judged by both.

    Raises:
        ValueError: it is the name of a host.
    """
    found = (_objection(address, networks) for address in _meant(_parsed(text)))
    return next(filter(None, found), None)


def _parsed(host: str) -> Address:
    """
    Parse an address as the system and proxies do: ``127.1``, ``0x7f.0.0.1``, ``2130706433`` are loopback too.

    Raises:
        ValueError: it is the name of a host.
    """
    host = host.rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        *first, last = (_number(part) for part in host.split("."))
        value = last
        for place, number in enumerate(first):
            if number > 0xFF:
                raise
            value |= number << 8 * (3 - place)
        if len(first) > 3 or last >= 1 << 8 * (4 - len(first)):
            raise
        return ipaddress.IPv4Address(value)


def _number(text: str) -> int:
    """Parse a number as C does: 0x is hexadecimal, 0 octal."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,22}", text):
        raise ValueError(text)
    if text[:2] in {"0x", "0X"}:
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)


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
    Return the addresses that a packet to this one may reach: the IPv4 addresses in it, if any, or itself.

    A Teredo address contains two, of a server and of a client. In a NAT64 address of a local network their
    place depends on its prefix, which is not known here.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    low = _held(address, 96)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or address in _TRANSLATED:
        return (low,)
    if address in _LOCAL_NAT64:
        held = tuple(_held(address, length) for length in (48, 56, 64, 96))
        return tuple(each for each in held if int(each) >> 24) or (
            low,
        )  # what begins with 0 stands elsewhere
    if address in _COMPATIBLE and int(address) > 1:  # 0 and 1 are no host and this one
        return (low,)
    if int(address) >> 32 & _LOW_32_BITS in _ISATAP:
        return (address, low)
    return (address,)


def _held(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """Return the IPv4 address after a prefix of `length` bits; bits 64 to 71 are skipped (RFC 6052, 2.2)."""
    bits = f"{int(address):0128b}"
    behind = bits[length:] if length > 64 else bits[length:64] + bits[72:]
    return ipaddress.IPv4Address(int(behind[:32], 2))
