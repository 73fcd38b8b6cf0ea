"""
A fork server: runs the program in processes that are forked from one which has its modules loaded.

A fork is a process of its own: descriptors, signals, environment, working directory and exit status are real.
The loading of modules is saved, most of what a short command costs. The interpreter frees no memory at its
end; what may happen then is tested with new processes.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import functools
import gc
import io
import itertools
import os
import pickle
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Protocol

import anyio

CAN_FORK = hasattr(os, "pidfd_open")
_FIXED_AT_START = ("PYTHON", "LC_", "LANG", "LOCPATH", "LD_", "MALLOC_", "SSL_CERT_")
"""Variables that an interpreter or its libraries read as they start, and never again."""
_USES_BEFORE_A_SERVER = 2
"""To start a server costs as much as three short commands, so an environment has to come up again."""
_PACKAGE = Path(__file__).parents[2] / "harvester"
_NUMBER = struct.Struct("<q")


_Fixed = frozenset[tuple[str, str]]
_Order = tuple[list[bytes], dict[bytes, bytes], bytes, int | None, list[str]]
"""
Words, environment, working directory and user of a process, and its closed streams.

It may read bytes as other characters.
"""
_STREAMS = ("stdin", "stdout", "stderr")


# -- the side of the tests ------------------------------------------------------------------------


class Process(Protocol):
    """The running program, in a process that was forked or a new one."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    def send_signal(self, signal: signal.Signals, /) -> None: ...


class ForkedProcess:
    """A process that the server forked."""

    def __init__(self, pid: int, status_pipe: int) -> None:
        self.pid = pid
        self._status_pipe = status_pipe
        self._status: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._status is None and _is_readable(self._status_pipe):
            return self.wait_blocking()
        return self._status

    async def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        if self._status is None:
            await anyio.wait_readable(self._status_pipe)
        return self.wait_blocking()

    def wait_blocking(self) -> int:
        """As `wait`, outside an event loop."""
        if self._status is None:
            self._status = _read_number(self._status_pipe)
            os.close(self._status_pipe)
        return self._status

    def send_signal(self, number: signal.Signals, /) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as the system does that has no memory left."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


def _is_readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout=0))


def choose_fork(env: Mapping[str, str]) -> bool:
    """Count a use; return whether a fork would be what a new process with this environment is, for less."""
    fixed = _fixed(env)
    if not CAN_FORK or any(name.startswith("MALLOC_") for name, _ in fixed):
        return False  # a fork does not show what memory a process takes
    return fixed == _fixed(os.environ) or _count_use(fixed) > _USES_BEFORE_A_SERVER


def expect_uses(env: Mapping[str, str]) -> None:
    """Say that an environment will come up again and again: its server starts with its first use."""
    for _ in range(_USES_BEFORE_A_SERVER):
        _count_use(_fixed(env))


def _fixed(env: Mapping[str, str]) -> _Fixed:
    return frozenset((name, text) for name, text in env.items() if name.startswith(_FIXED_AT_START))


def _count_use(fixed: _Fixed) -> int:
    return next(_counter(fixed))


@functools.cache
def _counter(_: _Fixed) -> Iterator[int]:
    return itertools.count(1)


def fork(
    words: Sequence[object],
    *,
    env: Mapping[str, str],
    streams: tuple[int | None, int | None, int | None],
    cwd: Path | None = None,
    user: int | None = None,
) -> ForkedProcess:
    """
    Start the program; ``streams``: the descriptors of its standard input, output and error, None for closed.

    ``user``: the number of another user, which only root can name.
    """
    order: _Order = (
        [os.fsencode(str(word)) for word in words],
        {os.fsencode(name): os.fsencode(text) for name, text in env.items()},
        os.fsencode(cwd or Path.cwd()),
        user,
        [name for name, stream in zip(_STREAMS, streams, strict=True) if stream is None],
    )
    status_pipe, its_end = os.pipe()
    with tempfile.TemporaryFile() as order_file:
        pickle.dump(order, order_file)
        order_file.seek(0)
        filled = [order_file.fileno() if stream is None else stream for stream in streams]
        socket.send_fds(_server(_fixed(env)), [b"!"], [order_file.fileno(), its_end, *filled])
        os.close(its_end)
        return ForkedProcess(_read_number(status_pipe), status_pipe)


@functools.cache
def _server(fixed: _Fixed) -> socket.socket:
    """Start the server of an environment, once in a process of tests; it ends with that."""
    ours, its = socket.socketpair()
    other = {name: text for name, text in os.environ.items() if not name.startswith(_FIXED_AT_START)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(its.fileno())],
        cwd=_PACKAGE.parent,
        env={**other, **dict(fixed)},
        pass_fds=[its.fileno()],
        stdin=subprocess.DEVNULL,
    )
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _read_number(descriptor: int) -> int:
    (number,) = _NUMBER.unpack(os.read(descriptor, _NUMBER.size))
    assert isinstance(number, int)
    return number


# -- the side of the server -----------------------------------------------------------------------


def _serve(channel: socket.socket) -> bool:
    """Fork for each order until the tests end; return whether this is a fork."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and with them this
    selector = selectors.DefaultSelector()
    selector.register(channel, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                _report_end(*key.data)
                selector.unregister(key.fd)
                os.close(key.fd)
                continue
            message, descriptors, _, _ = socket.recv_fds(channel, 1, 5)
            if not message:
                return False
            order_file, status_pipe, *streams = descriptors
            with open(order_file, "rb") as handle:  # noqa: PTH123 - a descriptor
                order: _Order = pickle.load(handle)
            if not (pid := os.fork()):
                selector.close()
                channel.detach()
                _become(order, streams)
                return True
            for stream in streams:
                os.close(stream)
            _write_number(status_pipe, pid)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status_pipe))


def _report_end(pid: int, status_pipe: int) -> None:
    _write_number(status_pipe, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(status_pipe)


def _write_number(descriptor: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # a test that failed does not wait for its processes
        os.write(descriptor, _NUMBER.pack(number))


def _become(order: _Order, streams: list[int]) -> None:
    """Make this process what a new one would be."""
    words, env, folder, user, closed = order
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environb.update(env)
    time.tzset()
    os.chdir(folder)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.argv = [str(_PACKAGE / "__main__.py"), *map(os.fsdecode, words)]
    sys.stdin = _stream("r", 0, sys.stdin)
    sys.stdout = _stream("w", 1, sys.stdout)
    sys.stderr = _stream("w", 2, sys.stderr)
    for name in closed:
        os.close(_STREAMS.index(name))
        setattr(sys, name, None)
    if user is not None:
        _change_user(user)


def _change_user(user: int) -> None:
    """Go on as a user without a group, who could not write what coverage measures: that is skipped."""
    atexit._clear()
    os.setgroups([])
    os.setresuid(user, user, user)


def _stream(mode: str, number: int, like: IO[str]) -> IO[str]:
    assert isinstance(like, io.TextIOWrapper)
    stream = open(  # noqa: SIM115 - for as long as the process lives
        number, mode, encoding=like.encoding, errors=like.errors, closefd=False
    )
    assert isinstance(stream, io.TextIOWrapper)
    if mode == "w":
        stream.reconfigure(line_buffering=number == 2 or stream.isatty(), write_through=like.write_through)
    return stream


def _end(status: int) -> None:
    """End as the interpreter does, but leave its memory to the system: to free it copies most of it first."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)


def _load() -> None:
    """Load every module of the program."""
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        if parts[-1] != "__main__":
            import_module(".".join(part for part in parts if part != "__init__"))
    for name in ("asyncio", "aiohttp", "anyio._backends._asyncio", "rich.live", "concurrent.futures.thread"):
        import_module(name)
    for name in ("ascii", "idna", "utf-16-be"):  # they are modules too
        codecs.lookup(name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _load()
    if _serve(socket.socket(fileno=int(sys.argv[1]))):
        from harvester.cli.main import main

        _end(main(sys.argv[1:]))
