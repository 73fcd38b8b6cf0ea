"""
nginx from the distribution as the server of a world: static replies, so that it is never what is measured.

Every port serves everything; three of them, so that the harvester sees three services.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.measure import Failed
from bench.world import World
from harvester.sandbox.catalogue import Addresses

_CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
    log_format times '$msec $request_time $status $bytes_sent';
    access_log {log};
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    default_type application/json;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    keepalive_timeout 600s;
    open_file_cache max=100000 inactive=600s;
    open_file_cache_valid 600s;
    map "$http_x_cursor|$arg_page" $page {{ "~^([0-9]+)[|]" $1; "~^[|]([0-9]+)$" $1; default 1; }}
    map $page $next {{ {following} default ""; }}
    server {{
        {listen}
        root {folder}/root;
        location = /v2/articles/search {{ {search} }}
        location /v2/ {{ {answer} }}
        location /total/ {{ {answer} }}
        location /files/ {{ default_type application/octet-stream; {limit} }}
        location /answer/v2/articles/search {{ internal; rewrite ^ /listing/$page.json last; }}
        location /answer/v2/account/articles {{ internal; rewrite ^ /listing/$page.json last; }}
        location ~ ^/answer/v2/(?:account/)?articles/([0-9]+)$ {{
            internal; alias {folder}/root/records/$1.json;
        }}
        location ~ ^/answer/v2/(?:account/)?articles/([0-9]+)/files$ {{
            internal; alias {folder}/root/lists/$1.json;
        }}
        location /answer/v2/file/download/ {{
            internal; default_type application/octet-stream; alias {folder}/root/files/;
        }}
        location /answer/total/ {{ internal; rewrite ^ /total.json last; }}
        location /listing/ {{ internal; add_header X-Cursor $next; try_files $uri /listing/empty.json; }}
        location = /total.json {{ internal; }}
    }}
}}
"""
_AT_ONCE = "rewrite ^(.*)$ /answer$1 last;"
_SEARCH = "error_page 405 =200 /answer$uri?$args; return 405;"
"""A static reply to a POST: nginx refuses it, and the error page is the requested body."""
_LATE = (
    "auth_basic late; auth_basic_user_file {folder}/no-users; auth_delay {milliseconds}ms; "
    "error_page 401 =200 /answer$uri?$args;"
)
"""Delayed answers by nginx's timer for refused logins: all requests are refused late, and get the answer."""


@dataclass(frozen=True)
class Served:
    """A world that is being served. ``log``: times of requests, if logging is on."""

    world: World
    at: Addresses
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def cpu(self) -> float:
        """Processor seconds that nginx has taken so far."""
        return measure.cpu_seconds(self.process.pid)


@contextmanager
def serve(
    world: World,
    *,
    within: Sequence[str] = (),
    logged: bool = False,
    late_seconds: float = 0.0,
    limit: str = "",
) -> Iterator[Served]:
    """
    Write a world and serve it while the context lasts.

    `within`: words before the command, which lead into a network namespace; `late_seconds`: before every
    answer but files'; `limit`: directives for files, such as ``limit_rate 10m;``; `logged`: write down when
    each request was answered.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        ports = _free_ports(3)
        base = [f"http://127.0.0.1:{port}" for port in ports]
        at = Addresses(f"{base[0]}/v2", base[1], base[2], base[2])
        (folder / "root").mkdir()
        world.write(folder / "root", at)
        config = _config(world, folder, ports, logged=logged, late_seconds=late_seconds, limit=limit)
        (folder / "nginx.conf").write_text(config)
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen([*within, "nginx", "-c", f"{folder}/nginx.conf"], stderr=said)
        try:
            _wait_until_ready(folder, process)
            yield Served(world, at, process, folder)
        finally:
            process.terminate()
            process.wait()


def _config(
    world: World, folder: Path, ports: Sequence[int], *, logged: bool, late_seconds: float, limit: str
) -> str:
    late = _LATE.format(folder=folder, milliseconds=round(1000 * late_seconds))
    return _CONFIG.format(
        folder=folder,
        log=f"{folder}/log times" if logged else "off",
        following=" ".join(f"{page} {after};" for page, after in world.next_pages().items()),
        listen=" ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in ports),
        search=late if late_seconds else _SEARCH,
        answer=late if late_seconds else _AT_ONCE,
        limit=limit,
    )


def _free_ports(number: int) -> list[int]:
    """Return free ports; in a new namespace all ports are free."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for the pid, which nginx writes once it listens."""
    for _ in range(500):
        if (folder / "pid").is_file() and (folder / "pid").stat().st_size:
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    process.kill()
    raise Failed(f"nginx does not serve: {(folder / 'said').read_text()}")
