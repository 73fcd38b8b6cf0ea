"""
Proxy settings from the environment, read as curl reads them: the proxy, and the hosts to reach without it.

Only https requests use the proxy: plain http is for this machine only.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harvester.config.secrets import Secret

VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""In order of precedence; an empty variable counts as missing."""
_EXCEPTIONS = ("no_proxy", "NO_PROXY")
_PORTS = {"http": 1080, "https": 443}
_EXPECTED = (
    # Without a scheme: redaction treats the text between "http://" and "@" as credentials.
    "not the address of a proxy: expected http://host:port, or name:password@host:port where it asks for "
    "them, with %40 for an @ in the password"
)

_INSTEAD = "name an HTTP proxy in HTTPS_PROXY, or the hosts that need none in NO_PROXY (* for all)"


class Proxy(NamedTuple):
    """A proxy; ``variable``: the environment variable that sets it."""

    variable: str
    scheme: str
    host: str
    port: int
    credentials: Secret | None = None

    @property
    def url(self) -> str:
        """Its address, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Proxies(NamedTuple):
    """The proxy, None for none; ``exceptions``: hosts, domains and networks to reach without it."""

    proxy: Proxy | None = None
    exceptions: Sequence[str] = ()

    def for_host(self, host: str, port: int | None) -> Proxy | None:
        """Return the proxy for requests to a host, None for none."""
        if self.proxy is None or any(_covers(each, host.rstrip("."), port) for each in self.exceptions):
            return None
        return self.proxy


NO_PROXIES = Proxies()


def read_proxies(environ: Mapping[str, str]) -> Proxies:
    """
    Return the proxy settings of an environment.

    Raises:
        ValueError: the value is no proxy, or one of an unsupported kind; the message does not contain it.
    """
    exceptions = next(filter(None, (environ.get(name, "").strip() for name in _EXCEPTIONS)), "")
    hosts = tuple(each.lower() for each in re.split(r"[\s,]+", exceptions) if each)
    for name in VARIABLES:
        if "*" not in hosts and (text := environ.get(name, "").strip()):
            try:
                return Proxies(_parse(name, text), hosts)
            except UnicodeError:
                raise ValueError(f"{name}: {_EXPECTED}") from None
            except ValueError as exc:
                raise ValueError(f"{name}: {exc}") from None
    return Proxies(None, hosts)


def _parse(variable: str, text: str) -> Proxy:
    scheme, has_scheme, rest = text.partition("://")
    scheme, rest = (scheme.lower(), rest) if has_scheme else ("http", text)
    if re.fullmatch(r"socks\w*", scheme):
        raise ValueError(f"{scheme} proxies cannot be used: {_INSTEAD}")
    found = re.fullmatch(
        r"(?:(.*)@)?"  # a password may contain an @
        r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::([0-9]{0,5}))?(?:[/?#].*)?",
        rest,
    )
    if found is None or scheme not in _PORTS:
        raise ValueError(_EXPECTED)
    port = int(found[4] or _PORTS[scheme])
    if not 0 < port < 1 << 16:
        raise ValueError(_EXPECTED)
    return Proxy(variable, scheme, _host(found[2], found[3]), port, _credentials(variable, found[1]))


def _host(in_brackets: str | None, name: str | None) -> str:
    try:
        if in_brackets is not None:
            return str(ipaddress.IPv6Address(in_brackets))
        return (
            (name or "").encode("idna").decode()
        )  # as in the DNS lookup: fails if a label is empty or too long
    except ValueError as exc:
        raise ValueError(_EXPECTED) from exc


def _credentials(variable: str, text: str | None) -> Secret | None:
    if not text:
        return None
    name, _, password = text.partition(":")
    secret = f"{_unescaped(name)}:{_unescaped(password)}"
    if not secret.isprintable():
        raise ValueError(_EXPECTED)
    return Secret(secret, variable)


def _unescaped(text: str) -> str:
    raw = re.sub(rb"%([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return raw.decode()


def _covers(exception: str, host: str, port: int | None) -> bool:
    """Return whether an entry matches a host: example.org, .example.org, example.org:443, 10.0.0.0/8."""
    found = re.fullmatch(r"(?:\*?\.)?(?:\[([^]]+)\]|([^:]+|[^:]*(?::[^:]*){2,}))(?::([0-9]+))?", exception)
    if found is None or (found[3] and found[3] != str(port)):
        return False
    named = (found[1] or found[2]).rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == named or host.endswith(f".{named}")
    try:
        return address in ipaddress.ip_network(named, strict=False)
    except ValueError:
        return False
