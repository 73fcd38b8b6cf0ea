"""The program as a user starts it, and the options that point it at a sandbox."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import anyio

from harvester import harvest, load_config
from harvester.cli.closing import closing
from harvester.cli.overrides import option_finder, overrides
from harvester.cli.parser import build_parser
from harvester.config import Config
from harvester.errors import HarvestError, exit_status
from harvester.sandbox import Sandbox
from tests.support.fork_server import Process, choose_fork, fork

TOKEN = "sandbox-token"


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of a user with the sandbox's token and nothing of the harvester's."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("HARVESTER_", "FIGSHARE_"))
    }
    return {**kept, "FIGSHARE_TOKEN": TOKEN, **more}


async def harvester(
    *words: object,
    cwd: Path | None = None,
    stdin: str = "",
    env: dict[str, str] | None = None,
    out: int | None = None,
    user: int | None = None,
) -> Ended:
    """
    Run the program to its end, in a forked process where that is the same as a new one.

    ``out``: a descriptor for its standard output, which is then not returned. ``user``: as in `fork`.
    """
    env = environment() if env is None else env
    if user is not None or choose_fork(env):
        return await _forked(words, env, cwd, stdin, out, user)
    done = await anyio.run_process(
        [sys.executable, "-m", "harvester", *map(str, words)],
        cwd=cwd,
        input=stdin.encode(),
        stdout=subprocess.PIPE if out is None else out,
        env=env,
        check=False,
    )
    return Ended(done.returncode, _text(done.stdout or b""), _text(done.stderr))


async def _forked(
    words: Sequence[object],
    env: Mapping[str, str],
    cwd: Path | None,
    stdin: str,
    instead: int | None,
    user: int | None,
) -> Ended:
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        streams = (given.fileno(), out.fileno() if instead is None else instead, err.fileno())
        process = fork(words, env=env, cwd=cwd, streams=streams, user=user)
        try:
            status = await process.wait()
        finally:
            process.kill()
        for stream in (out, err):
            stream.seek(0)
        return Ended(status, _text(out.read()), _text(err.read()))


_parser = functools.cache(build_parser)


async def harvested(*words: object, env: Mapping[str, str] | None = None) -> Ended:
    """
    Do the job of `harvester run …` in this process, in half the time of a program.

    For tests that are not about the command line. ``out`` is its report, ``err`` the error that ended it.
    """
    args = _parser().parse_args([str(word) for word in words])
    assert (args.command, args.prune) == ("run", False), "the rest is not the job's"
    try:
        config = load_config(
            args.config,
            options=overrides(args),
            environ=env or environment(),
            job="harvest",
            option_of=option_finder(args),
        )
        summary = await harvest(
            config,
            refresh=frozenset(args.refresh),
            quick=args.quick,
            accept_withdrawals=args.accept_withdrawals,
            rebuild=args.rebuild,
        )
    except HarvestError as error:
        return Ended(exit_status(error), "", str(error))
    return Ended(summary.exit_status, closing(summary, config), "")


def _text(printed: bytes) -> str:
    return printed.decode(errors="backslashreplace")


def at(sandbox: Sandbox, rate: str = "inf") -> tuple[str, ...]:
    """The options that point the program at a sandbox, unlimited unless a test is about limits."""
    return ("--api", sandbox.api, "--stats", sandbox.stats, "--rate", rate)


def config(sandbox: Sandbox, folder: Path, **more: object) -> Config:
    """Everything, with short waits: the sandbox's faults pass at once."""
    options = {
        "sources": [{"kind": "search", "query": "survey"}],
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        "rate.api": float("inf"),
        "rate.stats": float("inf"),
        "rate.files": float("inf"),
        "retry.max_wait": 0.05,
        "timeouts.connect": 2.0,
        "timeouts.idle": 0.5,
        **more,
    }
    return load_config(options=options, environ={})


Program = Callable[..., Awaitable[Ended]]


@asynccontextmanager
async def started(words: Sequence[object], may_fork: bool = True, /, **more: str) -> AsyncIterator[Process]:
    """Start the program and leave it running; it is killed at the end if it still runs."""
    env = environment(**more)
    with Path(os.devnull).open("r+b") as nowhere:
        process: Process
        if may_fork and choose_fork(env):
            process = fork(words, env=env, streams=(nowhere.fileno(),) * 3)
        else:
            command = [sys.executable, "-m", "harvester", *map(str, words)]
            process = await anyio.open_process(
                command, env=env, stdin=nowhere, stdout=nowhere, stderr=nowhere
            )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
