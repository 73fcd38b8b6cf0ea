"""
Checks of figshare's services: API, clock, token and its rights, statistics, and each download route.

A handful of requests, each made once and within the rate limits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import anyio
from yarl import URL

from harvester.config import Config, Retry, Timeouts
from harvester.errors import HarvestError
from harvester.figshare.access_check import AccessCheck
from harvester.figshare.api import PROBED_ITEM
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.jobs.services import RunHooks, connect
from harvester.models import ItemId
from harvester.text.units import human_seconds
from harvester.text.wording import counted

T = TypeVar("T")

ANSWER_SECONDS = 30.0
"""How long one check waits for the rate limit and its answer."""
CONNECT_SECONDS = 10.0
MOST_CLOCK_SECONDS = 60.0
"""A clock that differs by more is a warning: certificates and dates of statistics depend on it."""
_NETWORK = "check the lines proxy and TLS, the network and the firewall"


class _Answer(NamedTuple, Generic[T]):
    """What was answered; ``error``: why nothing was, "" if there is a value."""

    value: T | None
    error: str = ""


async def _ask(request: Callable[[], Awaitable[T]]) -> _Answer[T]:
    try:
        with anyio.fail_after(ANSWER_SECONDS):
            return _Answer(await request())
    except TimeoutError:
        return _Answer(None, f"no answer within {ANSWER_SECONDS:.0f} s")
    except HarvestError as error:
        return _Answer(None, str(error))


def _hasty(config: Config) -> Config:
    """Return the config with one attempt a request, and short timeouts."""
    timeouts = Timeouts(
        connect=min(config.timeouts.connect, CONNECT_SECONDS),
        idle=min(config.timeouts.idle, CONNECT_SECONDS),
        min_speed=config.timeouts.min_speed,
    )
    retry = Retry(attempts=1, max_wait=config.retry.max_wait, outage_timeout=config.retry.outage_timeout)
    return Config(**{**vars(config), "timeouts": timeouts, "retry": retry})


async def check_services(config: Config, hooks: RunHooks) -> AsyncIterator[Finding]:
    """Yield what the services answer; after the API itself has failed, nothing else is requested from it."""
    config = _hasty(config)
    async with connect(config, hooks) as connected:
        access = AccessCheck(
            connected.client,
            api=URL(config.services.api),
            stats=URL(config.services.stats),
            settings=config.stats,
            impersonate=config.services.impersonate,
            version=hooks.api_version,
        )
        listed = await _ask(access.public_items)
        if listed.value is None:
            yield Finding("api", Outcome.FAILED, listed.error, _NETWORK)
            yield Finding("token", Outcome.WARNING, f"not checked: {_token_text(config)}")
            return
        yield Finding("api", Outcome.OK, f"{config.services.api} answers")
        yield clock(listed.value.served_at, hooks.wall_clock())
        async for finding in _token(config, access):
            yield finding
        ids = [ItemId(entry.id) for entry in listed.value.value.entries]
        yield await _statistics(config, access, ids)
        async for finding in _downloads(access, ids):
            yield finding


def clock(served_at: str, now: float) -> Finding:
    """Return how far this machine's clock is from the API's; `served_at`: ISO 8601, "" if it is unknown."""
    if not served_at:
        return Finding("clock", Outcome.OK, "the API does not say its time")
    seconds = now - datetime.fromisoformat(served_at).timestamp()
    text = f"{_duration(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} the API's"
    if abs(seconds) > MOST_CLOCK_SECONDS:
        advice = "set this machine's clock: certificates and dates of statistics depend on it"
        return Finding("clock", Outcome.WARNING, text, advice)
    return Finding("clock", Outcome.OK, text)


def _duration(seconds: float) -> str:
    days = round(seconds / 86400)
    return counted(days, "day") if days > 1 else human_seconds(seconds)


def _token_text(config: Config) -> str:
    named = f"environment variable {config.services.token_env}"
    return f"{named}, set" if config.token else f"none ({named}): public items only"


async def _token(config: Config, access: AccessCheck) -> AsyncIterator[Finding]:
    if config.token is None:
        yield Finding("token", Outcome.OK, _token_text(config))
        return
    if not config.token.is_sendable:  # a missing value of the config says so
        yield Finding("token", Outcome.FAILED, f"{_token_text(config)}, but it is no token", _NEW_TOKEN)
        return
    account = await _ask(access.account)
    if account.value is None:
        yield Finding("token", Outcome.FAILED, account.error, _NEW_TOKEN)
        return
    institution = account.value.institution_id
    of = f"account {account.value.id}" + (f", institution {institution}" if institution else "")
    yield Finding("token", Outcome.OK, f"{_token_text(config)}: {of}")
    yield await _right("own items", access.list_account, is_needed=_needs(config, "account"))
    yield await _right(
        "institution",
        access.list_institution,
        is_needed=_needs(config, "institution"),
        of="of an administrator",
    )
    if number := config.services.impersonate:
        yield await _right(f"impersonation of {number}", access.impersonated, is_needed=True)


_NEW_TOKEN = "make a token at figshare (Account, Applications), and set the variable to it"  # noqa: S105


def _needs(config: Config, kind: str) -> bool:
    """Return whether a source of this kind lists with the token."""
    return any(source.kind == kind and source.needs_token for source in config.sources)


async def _right(
    what: str, request: Callable[[], Awaitable[object]], *, is_needed: bool, of: str = "of this account"
) -> Finding:
    """Return whether the token may do something; a missing right that nothing needs is no fault."""
    answer = await _ask(request)
    if not answer.error:
        return Finding(f"right: {what}", Outcome.OK, "yes")
    if not is_needed:
        return Finding(f"right: {what}", Outcome.OK, f"no, and no source needs it ({answer.error})")
    return Finding(f"right: {what}", Outcome.FAILED, answer.error, f"use a token {of}")


async def _statistics(config: Config, access: AccessCheck, ids: list[ItemId]) -> Finding:
    answer = await _ask(partial(access.statistics, ids[0] if ids else ItemId(PROBED_ITEM)))
    named = f"environment variable {config.stats.credentials_env}"
    scope = "no institution is set, so no credentials are needed"
    if config.stats.institution:
        scope = f"institution {config.stats.institution}, credentials in the {named}"
    if not answer.error:
        return Finding("statistics", Outcome.OK, f"{config.services.stats} answers; {scope}")
    advice = f"check stats.institution and the {named}" if config.stats.institution else _NETWORK
    return Finding("statistics", Outcome.FAILED, f"{answer.error}; {scope}", advice)


async def _downloads(access: AccessCheck, ids: list[ItemId]) -> AsyncIterator[Finding]:
    """Yield whether each route to a file gives its first byte; one that works is enough for a run."""
    file = await _ask(partial(access.any_file, ids))
    if file.value is None:
        reason = file.error or f"the {len(ids)} items that were read have no file"
        yield Finding("downloads", Outcome.WARNING, f"not checked: {reason}")
        return
    routes = access.routes(file.value)
    answers = {name: await _ask(partial(access.first_byte, url)) for name, url in routes.items()}
    works = [name for name, answer in answers.items() if not answer.error]
    for name, url in routes.items():
        yield _route(f"download: {name}", url, answers[name].error, has_other=bool(works))


def _route(check: str, url: URL, error: str, *, has_other: bool) -> Finding:
    if not error:
        return Finding(check, Outcome.OK, f"{url.host}: the first byte of a file came")
    if has_other:
        return Finding(check, Outcome.WARNING, error, f"the other route is used; {_NETWORK}")
    return Finding(check, Outcome.FAILED, error, _NETWORK)
