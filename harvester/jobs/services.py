"""Service construction: opens the HTTP session of a run, and builds the client and the API on it."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import getproxies

from yarl import URL

from harvester.client import (
    Client,
    ClientSession,
    Credentials,
    Lookup,
    RequestSender,
    SegmentPolicy,
    open_session,
)
from harvester.client.limits import AdaptiveRate, Limiter, Rate
from harvester.client.url_policy import Network, is_loopback, parse_networks
from harvester.config import Concurrency, Config
from harvester.config.keys import SERVICES
from harvester.config.proxies import Proxies, read_proxies
from harvester.engine.executor import Executor, LocalExecutor, Services
from harvester.errors import UsageError
from harvester.figshare.api import FigshareApi
from harvester.figshare.api_version import ApiVersion
from harvester.figshare.downloads import DOWNLOADS, DownloadRoutes
from harvester.figshare.statistics import StatsService
from harvester.figshare.v2 import V2
from harvester.jobs.output_folder import open_storage
from harvester.ledger.database.heartbeat import USUAL_TIMING, Timing
from harvester.storage.protocol import Confirm, Storage
from harvester.system.resource_limits import fitted
from harvester.system.version import __version__

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""Containers are killed 10 s after SIGTERM: the ledger is closed and the summary written before that."""


@asynccontextmanager
async def open_local_executor(config: Config, services: Services) -> AsyncIterator[Executor]:
    """Open the executor that runs the work in this process."""
    yield LocalExecutor(services, config.concurrency)


@dataclass(frozen=True)
class RunHooks:
    """
    The environment of a run, which tests can replace to inject faults.

    ``wall_clock``: returns seconds since 1970; it may jump.
    ``before_lookup``: see `client.Lookup`.
    ``storage``: opens the storage.
    ``timing``: of heartbeats, see `ledger.database.heartbeat.Timing`.
    ``api_version``: the version of figshare's API.
    ``grace_seconds``: how long work in flight may take to end when the run is stopped.
    ``log_file``: where this program logs; it may be in the output folder.
    ``executor``: opens the executor, given the config and the services of this process.
    """

    wall_clock: Callable[[], float] = time.time
    before_lookup: Lookup | None = None
    storage: Callable[[Config, Confirm], Storage] = open_storage
    timing: Timing = USUAL_TIMING
    api_version: ApiVersion = V2
    grace_seconds: float = GRACE_SECONDS
    log_file: Path | None = None
    executor: Callable[[Config, Services], AbstractAsyncContextManager[Executor]] = open_local_executor


DEFAULT_HOOKS = RunHooks()


@dataclass(frozen=True)
class Connected:
    """The client and the API of a run, usable while the session is open."""

    client: Client
    figshare: FigshareApi
    routes: DownloadRoutes
    statistics: StatsService


@asynccontextmanager
async def connect(config: Config, hooks: RunHooks = DEFAULT_HOOKS) -> AsyncIterator[Connected]:
    """Open the HTTP session of a run."""
    api, stats = URL(config.services.api), URL(config.services.stats)
    contact = f"; {config.services.contact}" if config.services.contact else ""
    agent = f"harvester/{__version__} (Python {platform.python_version()}{contact})"
    proxies = effective_proxies(config)
    networks = parse_networks(config.services.private_networks)
    named = (api.host, stats.host, proxies.proxy and proxies.proxy.host)
    hosts = frozenset(filter(None, named))
    async with open_session(
        user_agent=agent,
        timeouts=config.timeouts,
        trusted_hosts=hosts,
        private_hosts=is_loopback(api),
        private_networks=networks,
        before_lookup=hooks.before_lookup,
    ) as session:
        version = hooks.api_version
        client = _client(config, session, proxies, networks, version)
        today = datetime.fromtimestamp(hooks.wall_clock(), UTC).date()
        statistics = StatsService(client, stats=stats, settings=config.stats, today=today, version=version)
        acting_for = config.services.impersonate
        yield Connected(
            client,
            FigshareApi(client, api=api, stats=stats, impersonate=acting_for, version=version),
            DownloadRoutes(
                client, api=api, impersonate=acting_for, private_networks=networks, version=version
            ),
            statistics,
        )


def effective_proxies(config: Config) -> Proxies:
    """
    Return the proxies of the environment, or else those of the system's settings.

    Raises:
        UsageError: the system's settings name no proxy that can be used.
    """
    if config.proxies.proxy is None and sys.platform in {"darwin", "win32"}:
        settings = {
            "HTTPS_PROXY": getproxies().get("https", ""),
            "NO_PROXY": ",".join(config.proxies.exceptions),
        }
        try:
            return read_proxies(settings)
        except ValueError as exc:
            raise UsageError(f"the proxy in the system's settings: {exc}") from exc
    return config.proxies


def _client(
    config: Config,
    session: ClientSession,
    proxies: Proxies,
    networks: tuple[Network, ...],
    version: ApiVersion,
) -> Client:
    services = config.services
    account = URL(services.api) / version.account.path
    origins = {"api": URL(services.api), "stats": URL(services.stats), "files": URL(DOWNLOADS)}
    sender = RequestSender(
        session,
        limiters={name: _limiter(config, name) for name in SERVICES},
        origins=origins,
        credentials=Credentials(
            origins, token_check=account, token=config.token, stats=config.stats_credentials
        ),
        timeouts=config.timeouts,
        max_wait=config.retry.max_wait,
        proxies=proxies,
        private_networks=networks,
    )
    return Client(
        sender, config.retry, segment_policy=SegmentPolicy(connections=config.concurrency.downloads)
    )


def _limiter(config: Config, service: str) -> Limiter:
    most = config.rate.at_most(service)
    rate = AdaptiveRate(most) if config.rate.is_sought(service) else Rate(most)
    return Limiter(service, rate, longest_pause=config.retry.max_wait)


def fit_to_limits(config: Config) -> Config:
    """
    Return the config, with fewer workers and downloads if the limit on open files requires it.

    Raises what `resource_limits.fitted` raises.
    """
    wanted = config.concurrency
    workers, downloads = fitted(wanted.workers, wanted.downloads)
    if (workers, downloads) != (wanted.workers, wanted.downloads):
        log.warning(
            "open files: too few are allowed (ulimit -n): %d workers and %d downloads are used, "
            "not %d and %d",
            workers, downloads, wanted.workers, wanted.downloads,
        )  # fmt: skip
    fewer = Concurrency(workers=workers, queue=wanted.queue, downloads=downloads)
    return Config(**{**vars(config), "concurrency": fewer})
