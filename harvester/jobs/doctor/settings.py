"""Checks of the settings: config file, missing values, proxy and certificates."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from yarl import URL

from harvester.client.url_policy import is_loopback
from harvester.config import Config
from harvester.config.certificates import VARIABLE, untrusted
from harvester.config.proxies import Proxies
from harvester.errors import UsageError
from harvester.figshare.downloads import DOWNLOADS
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.jobs.services import effective_proxies


def check_settings(config: Config, config_file: str | None, environ: Mapping[str, str]) -> list[Finding]:
    """Return what is set, and which value is missing; no secret is among it."""
    source = config_file or "none; options, environment variables and defaults are used"
    lacking = [
        Finding("config", Outcome.FAILED, message, "see `harvester config`")
        for message in dict.fromkeys(need.message for need in config.unmet)
    ]
    return [Finding("config", Outcome.OK, source), *lacking, _proxy(config), _certificates(environ)]


def _proxy(config: Config) -> Finding:
    try:
        proxies = effective_proxies(config)
    except UsageError as error:
        return Finding("proxy", Outcome.FAILED, str(error))
    if proxies.proxy is None:
        return Finding("proxy", Outcome.OK, "none")
    ways = [f"{host}: {_way(proxies, address)}" for host, address in _addresses(config).items()]
    login = ", with a name and password" if proxies.proxy.credentials else ""
    text = f"{proxies.proxy.url}{login} ({proxies.proxy.variable}); {'; '.join(ways)}"
    return Finding("proxy", Outcome.OK, text)


def _addresses(config: Config) -> dict[str, URL]:
    urls = (URL(config.services.api), URL(config.services.stats), URL(DOWNLOADS))
    return {url.host or "": url for url in urls}


def _way(proxies: Proxies, address: URL) -> str:
    direct = is_loopback(address) or proxies.for_host(address.host or "", address.port) is None
    return "direct" if direct else "by the proxy"


def _certificates(environ: Mapping[str, str]) -> Finding:
    if faults := untrusted(environ):
        advice = "name a file with the certificates that you trust, or unset the variable"
        return Finding("TLS", Outcome.FAILED, "; ".join(faults), advice)
    paths = ssl.get_default_verify_paths()
    loaded = ssl.create_default_context().cert_store_stats()["x509_ca"]
    places = " and ".join(filter(None, (paths.cafile, paths.capath))) or "no place"
    text = f"{ssl.OPENSSL_VERSION}; {loaded} trusted certificates from {places}"
    if not loaded and paths.capath is None:  # those of a folder are loaded when they are needed
        advice = f"install your system's certificates (ca-certificates), or name a file in {VARIABLE}"
        return Finding("TLS", Outcome.FAILED, text, advice)
    return Finding("TLS", Outcome.OK, text)
