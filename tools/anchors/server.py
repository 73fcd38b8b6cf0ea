"""
Local server: ten files as a web folder, as a repository of the Hugging Face hub and as an item of the
Internet Archive, sent slowly, so that programs can be tried without a network.

`python -m tools.anchors.server` listens on 127.0.0.1:8790. It is also a proxy for HTTP, as `ia` needs one.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PORT = 8790
SIZES = {**{f"small_{place}.bin": 100_000 for place in range(9)}, "big.bin": 12_000_000}
RATE = 1_000_000
"""Bytes a second on each connection."""
PIECE = 50_000
COMMIT = "a" * 40
LOST = {"lost.bin": 1000}
"""What the hub and the archive list, and do not have."""


@lru_cache
def content(name: str) -> bytes:
    """Return the bytes of a file."""
    line = f"{name} ".encode()
    return (line * (SIZES[name] // len(line) + 1))[: SIZES[name]]


@lru_cache
def md5(name: str) -> str:
    """Return the checksum of a file."""
    return hashlib.md5(content(name), usedforsecurity=False).hexdigest()


def git_id(name: str) -> str:
    """Return the id that git gives a file, which the hub calls its oid."""
    body = content(name) if name in SIZES else b""
    return hashlib.sha1(b"blob %d\0%s" % (len(body), body), usedforsecurity=False).hexdigest()


def hub(path: str) -> Any:
    """Return what the hub says about a repository: its name is the last part of the path."""
    names = [*SIZES, *(LOST if "/partly" in path else ())]
    if "/tree/" in path:
        return [
            {"type": "file", "path": name, "size": (SIZES | LOST)[name], "oid": git_id(name)}
            for name in names
        ]
    return {"id": path, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}


def archive(path: str) -> Any:
    """Return what the archive says about an item."""
    name = path.rsplit("/", 1)[-1]
    if name not in {"demo", "partly"}:
        return {}
    files = [
        {"name": each, "size": str(size), "md5": md5(each), "source": "original"}
        for each, size in SIZES.items()
    ]
    if name == "partly":
        files += [{"name": each, "size": "1000", "md5": "0" * 32, "source": "original"} for each in LOST]
    return {"metadata": {"identifier": name, "mediatype": "data"}, "files": files, "dir": f"/{name}"}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        name = path.rsplit("/", 1)[-1]
        if path.startswith("/api/") and "/anchors/" in path:
            self.send_json(hub(path))
        elif path.startswith("/metadata/"):
            self.send_json(archive(path))
        elif path in {"/files/", "/partly/"}:
            names = [*SIZES, *(LOST if path == "/partly/" else ())]
            self.send_body("".join(f'<a href="{each}">{each}</a>\n' for each in names).encode(), "text/html")
        elif name in SIZES and path.startswith(("/files/", "/partly/", "/anchors/", "/download/")):
            self.send_file(name)
        elif name in LOST and self.command == "HEAD":
            self.send_body(b"x" * LOST[name], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def send_json(self, value: Any) -> None:
        self.send_body(json.dumps(value).encode(), "application/json")

    def send_body(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_file(self, name: str) -> None:
        """Send a file, or the part from a byte on, at `RATE`."""
        body = content(name)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        begin = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]) + 1 if wanted and wanted[2] else len(body), len(body))
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(body)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{md5(name)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        for place in range(begin, end, PIECE):
            self.wfile.write(body[place : min(place + PIECE, end)])
            time.sleep(PIECE / RATE)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """Prints nothing when a program goes away in the middle of a file."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing."""


if __name__ == "__main__":
    Server(("127.0.0.1", PORT), Handler).serve_forever()
