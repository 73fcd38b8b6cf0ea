"""Service addresses: validates the addresses in a config."""

from __future__ import annotations

from ipaddress import ip_address


def address_fault(address: str) -> str:
    """Return what is wrong with the address of a service, "" if it is valid."""
    from yarl import URL  # noqa: PLC0415 - only if an address is given

    try:
        url = URL(address)
        (url.origin().raw_host or "").encode(
            "idna"
        )  # as in the DNS lookup: fails if a label is empty or too long
        host = url.host or ""
    except ValueError:
        return "not an address"
    if url.raw_user is not None or url.raw_password is not None:
        return "a name or password does not belong in an address"
    if url.scheme == "http" and not _is_this_machine(host):
        return "plain http is for this machine only: use https"
    return ""


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"
