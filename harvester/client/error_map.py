"""Error mapping: what aiohttp, the TLS library and the system raise becomes one of our own errors."""

from __future__ import annotations

import os
import ssl
import time

import aiohttp
from yarl import URL

from harvester.client.responses import display_url
from harvester.client.session import AddressForbidden
from harvester.config.proxies import Proxy
from harvester.errors import ConnectionFailed, HarvestError, InvalidResponse
from harvester.system import resource_limits
from harvester.text.display import one_line

TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, ssl.SSLError, ValueError)
"""What aiohttp raises during a request, also for an invalid address; `map_error` turns it into ours."""

_EXPIRED, _NOT_YET_VALID = 10, 9
_OF_ANOTHER_HOST = (62, 64)
"""OpenSSL's codes for a certificate of another name, and of another address (X509_V_ERR_…)."""
_NO_TLS = ("wrong version number", "packet length too long", "http request", "record layer failure")
_OTHER_TLS = ("unsupported protocol", "protocol version", "no protocols available", "handshake failure")


def map_error(error: Exception, url: URL, proxy: Proxy | None = None) -> HarvestError:
    """Return our error for a foreign one; a lack of file descriptors is not the fault of the address."""
    if isinstance(error, OSError | aiohttp.ClientConnectorError) and resource_limits.are_used_up():
        return resource_limits.shortage(display_url(url))
    mapped = _mapped(error, url, proxy)
    if isinstance(error, aiohttp.ClientConnectorError | ssl.SSLError):  # before the service saw the request
        mapped.common_cause = str(mapped).replace(display_url(url), url.host or "", 1)
    return mapped


def _mapped(error: Exception, url: URL, proxy: Proxy | None) -> HarvestError:
    """Return our error for one of aiohttp or the system about `url`; `proxy`: the one that was used."""
    who = f"{display_url(url)}: {_proxy_at_fault(error, url, proxy)}"
    if message := _insecure(error):  # first, as errors of certificates are ValueErrors too
        return ConnectionFailed(f"{who}{message}")
    match error:
        case ValueError():  # aiohttp's own for addresses is a subclass
            return InvalidResponse(f"{who}not an address")
        case aiohttp.ClientConnectorDNSError():
            return ConnectionFailed(f"{who}{_lost(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return ConnectionFailed(f"{who}connection failed ({_why(error.os_error)})")
        case aiohttp.ClientHttpProxyError():
            return ConnectionFailed(f"{who}{_refused_by(proxy, error.status)}")
        case aiohttp.ClientResponseError():  # its own text repeats what was sent
            return ConnectionFailed(f"{who}the response is not HTTP, or its headers are too large")
        case TimeoutError():  # aiohttp's own are subclasses
            return ConnectionFailed(f"{who}timed out")
        case aiohttp.ClientPayloadError():
            return ConnectionFailed(f"{who}connection closed before the end of the body")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return ConnectionFailed(f"{who}the connection was closed")
        case _:
            return ConnectionFailed(f"{who}{type(error).__name__}")


def _proxy_at_fault(error: Exception, url: URL, proxy: Proxy | None) -> str:
    """Return the name of the proxy if the error is about it, and not about the host behind it; else ""."""
    if proxy is None:
        return ""
    is_its_own = isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError) or (
        isinstance(error, aiohttp.ClientConnectorError) and error.host == proxy.host != url.host
    )
    return f"the proxy of {proxy.variable}: " if is_its_own else ""


def _refused_by(proxy: Proxy | None, status: int) -> str:
    """Return the message for a proxy that refused to connect."""
    if status != 407 or proxy is None:
        return f"answered {status}"
    if proxy.credentials is not None:
        return f"rejected the name and password in {proxy.variable} (407)"
    # Without a scheme: redaction takes what stands between "http://" and "@" for credentials.
    return f"requires a name and password (407): set {proxy.variable} to name:password@host:port"


def authorisation(proxy: Proxy) -> aiohttp.BasicAuth | None:
    """Return the credentials of a proxy, None if it has none."""
    if proxy.credentials is None:
        return None
    name, _, password = proxy.credentials.reveal().partition(":")
    return aiohttp.BasicAuth(name, password, "utf-8")


def _insecure(error: Exception) -> str:
    """Return why there is no secure connection, "" for an error of another kind."""
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _distrust(reason)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return f"TLS handshake failed ({_why(reason)})"
    return ""


def _distrust(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not trusted, with advice."""
    why = one_line(getattr(error, "verify_message", "") or str(error)).rstrip(".")
    return f"certificate verify failed: {why}; {_advice(getattr(error, 'verify_code', 0))}"


def _advice(code: int) -> str:
    if code in {_EXPIRED, _NOT_YET_VALID}:
        now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        return f"either its owner must renew it, or this machine's clock is wrong: it says {now}"
    if code in _OF_ANOTHER_HOST:
        return "another server answers in place of that host, for example the login page of a network"
    return "set SSL_CERT_FILE to the certificates to trust; a proxy that inspects TLS has its own certificate"


def _lost(error: OSError) -> str:
    """Return why a DNS lookup failed."""
    if isinstance(error, AddressForbidden):
        return str(error.strerror)
    return f"DNS lookup failed: {one_line(error.strerror or str(error))}"


def _why(error: object) -> str:
    """Return the system's reason why there is no connection; the texts of asyncio show addresses."""
    if isinstance(error, ssl.SSLError):
        return _without_tls(one_line(error.reason or error.strerror or "no TLS").replace("_", " ").lower())
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else str(error) or "the connection was closed"


def _without_tls(reason: str) -> str:
    if any(each in reason for each in _NO_TLS):
        return f"{reason}: the server does not speak TLS; perhaps plain http"
    if any(each in reason for each in _OTHER_TLS):
        return f"{reason}: the server supports no secure TLS version"
    return reason
