"""The proxy of the environment: which values are one, for which hosts, and what a failure says."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener

from harvester import load_config
from harvester.config.proxies import NO_PROXIES, read_proxies
from harvester.errors import UsageError
from harvester.sandbox import Sandbox, Settings
from tests.support.certificates import Certificate, make_certificate, serving
from tests.support.each import for_each
from tests.support.program import Ended, at, environment, harvester

pytestmark = pytest.mark.anyio

PASSWORD = "pa55/wörd@x"
ESCAPED = "pa55%2Fw%C3%B6rd%40x"


# -- which one it is ----------------------------------------------------------------------------------


@for_each(
    ("text", "url", "credentials"),
    [
        ("proxy:3128", "http://proxy:3128", None),
        ("http://proxy:3128", "http://proxy:3128", None),
        ("HTTP://Proxy.Example.org:3128/", "http://Proxy.Example.org:3128", None),
        (" proxy:3128\n", "http://proxy:3128", None),
        ("proxy", "http://proxy:1080", None),
        ("https://proxy", "https://proxy:443", None),
        ("10.1.2.3:80", "http://10.1.2.3:80", None),
        ("[::1]:3128", "http://[::1]:3128", None),
        ("me:word@proxy:3128", "http://proxy:3128", "me:word"),
        (f"http://me:{ESCAPED}@proxy:3128/x", "http://proxy:3128", f"me:{PASSWORD}"),
        ("http://me:p@ss:w@proxy:3128", "http://proxy:3128", "me:p@ss:w"),
        ("http://me@proxy:3128", "http://proxy:3128", "me:"),
        ("http://proxy.example.org.:3128", "http://proxy.example.org.:3128", None),
    ],
)
def test_a_proxy_is_read_as_curl_reads_it(text: str, url: str, credentials: str | None) -> None:
    proxy = read_proxies({"HTTPS_PROXY": text}).proxy
    assert proxy is not None
    assert proxy.url == url
    assert (proxy.credentials and proxy.credentials.reveal()) == credentials
    assert "word" not in repr(proxy)


@for_each(
    "text",
    [
        "http://me:geheim1@", "http://me:geheim1@proxy:99999", "http://me:geheim1@proxy:0",
        "http://me:geheim1@proxy:31x8", "http://me:geheim1@pro xy:3128", "ftp://me:geheim1@proxy:3128",
        "http://me:geheim1@[::g]:3128", "http://me:geheim1@proxy..org:3128", "me:geheim1", "http://", "://geheim1",
        "http:///geheim1", "http://me:geheim1%00@proxy:3128", "http://me:geheim1%ff@proxy:3128",
        "http://me:geheim1\udcff@proxy:3128", "http://me:geheim1@" + "a" * 70 + ":3128", "socks5://me:geheim1@proxy",
    ],
)  # fmt: skip
@for_each("variable", ["HTTPS_PROXY", "all_proxy"])
def test_an_invalid_proxy_is_reported_by_its_variable_and_not_shown(text: str, variable: str) -> None:
    options = {"sources": [{"kind": "items", "ids": [1]}]}
    for job in ("harvest", "plan", "list"):
        with pytest.raises(UsageError) as caught:
            load_config(options=options, environ={variable: text}, job=job)
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"environment: {variable}: ")
        assert "geheim1" not in line
    load_config(options=options, environ={variable: text})  # a config without requests needs no proxy
    assert read_proxies({variable: text, "NO_PROXY": "*"}) == (None, ("*",))


@for_each(
    ("environ", "variable"),
    [
        ({"HTTPS_PROXY": "a", "https_proxy": "b", "ALL_PROXY": "c", "all_proxy": "d"}, "https_proxy"),
        ({"HTTPS_PROXY": "a", "ALL_PROXY": "c", "all_proxy": "d"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "", "https_proxy": " ", "ALL_PROXY": "c", "all_proxy": "d"}, "all_proxy"),
        ({"ALL_PROXY": "c"}, "ALL_PROXY"),
        ({"https_proxy": "a", "ALL_PROXY": "socks5://c"}, "https_proxy"),
    ],
)
def test_which_variable_names_the_proxy(environ: Mapping[str, str], variable: str) -> None:
    proxy = read_proxies(environ).proxy
    assert proxy is not None
    assert proxy.variable == variable


def test_plain_http_has_no_proxy() -> None:
    assert read_proxies({"HTTP_PROXY": "a", "http_proxy": "b"}) == NO_PROXIES


@for_each(
    ("exceptions", "host", "is_excepted"),
    [
        ("example.org", "example.org", True),
        ("example.org", "api.example.org", True),
        ("example.org", "badexample.org", False),
        (".example.org", "example.org", True),
        (".example.org", "api.example.org", True),
        ("*.example.org", "api.example.org", True),
        ("Example.ORG.", "api.example.org", True),
        ("example.org", "example.org.", True),
        ("a.test, b.test c.test", "c.test", True),
        ("example.org:443", "example.org", True),
        ("example.org:8443", "example.org", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("2.3", "10.1.2.3", False),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("fd00:0::1", "fd00::1", True),
        ("fd00::/8", "fd00::1", True),
        ("*", "anything.test", True),
        ("", "anything.test", False),
        (",:,[,/", "anything.test", False),
    ],
)
def test_which_hosts_need_no_proxy(exceptions: str, host: str, is_excepted: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        proxies = read_proxies({"HTTPS_PROXY": "proxy:1", name: exceptions})
        assert (proxies.for_host(host, 443) is None) is is_excepted


# -- what a run says ----------------------------------------------------------------------------------

SOCKS = "socks5://me:geheim1@127.0.0.1:1080"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        (
            "HTTPS_PROXY",
            "http://me:geheim1@proxy:99999",
            "not the address of a proxy: expected http://host:port",
        ),
        ("ALL_PROXY", SOCKS, "socks5 proxies cannot be used: name an HTTP proxy in HTTPS_PROXY"),
        ("all_proxy", SOCKS.replace("5", "5h", 1), "socks5h proxies cannot be used"),
        ("https_proxy", SOCKS.replace("5", "4", 1), "socks4 proxies cannot be used"),
        ("SSL_CERT_FILE", "/no/such/file", "/no/such/file: cannot be read: No such file or directory"),
        ("SSL_CERT_FILE", __file__, "test_proxies.py: holds no certificates in PEM format"),
    ],
)
async def test_an_environment_that_is_wrong_is_wrong_usage_and_leaves_nothing(
    variable: str, text: str, expected: str, tmp_path: Path
) -> None:
    plain = {name: value for name, value in environment().items() if "proxy" not in name.lower()}
    ended = await harvester("run", "--item", "1", "-o", tmp_path / "out", env={**plain, variable: text})
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(f"harvester: environment: {variable}: ")
    assert expected in line
    assert "geheim1" not in ended.err
    assert list(tmp_path.iterdir()) == []


@dataclass
class Gate:
    """A proxy that leads every tunnel to one port of this machine, or answers in its own words."""

    behind: int = 0
    answer: str = ""
    asked: list[str] = field(default_factory=list)
    authorised: list[str] = field(default_factory=list)
    port: int = 0

    async def lead(self, stream: anyio.abc.ByteStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            self.asked.append(head.split(b"\r\n")[0].decode())
            found = re.search(rb"Proxy-Authorization: Basic (\S+)", head)
            self.authorised.append(base64.b64decode(found[1]).decode() if found else "")
            if self.answer:
                said = f"HTTP/1.1 {self.answer} {self.authorised[-1]}\r\nContent-Length: 0\r\n\r\n"
                await stream.send(said.encode())
                return
            async with await anyio.connect_tcp("127.0.0.1", self.behind) as other:
                await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
                async with anyio.create_task_group() as group:
                    group.start_soon(_copy, other, stream, group.cancel_scope)
                    await _copy(stream, other, group.cancel_scope)


async def _copy(one: anyio.abc.ByteStream, other: anyio.abc.ByteStream, scope: anyio.CancelScope) -> None:
    try:
        async for piece in one:
            await other.send(piece)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def gate(
    behind: int = 0, answer: str = "", certificate: Certificate | None = None
) -> AsyncIterator[Gate]:
    made = Gate(behind, answer)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    made.port = listener.extra(SocketAttribute.local_port)
    served = (
        TLSListener(listener, certificate.context, standard_compatible=False) if certificate else listener
    )
    async with served, anyio.create_task_group() as group:
        group.start_soon(served.serve, made.lead)
        yield made
        group.cancel_scope.cancel()


async def run_through(address: str, folder: Path, **more: str) -> Ended:
    env = environment(HTTPS_PROXY=address, HARVESTER_RETRY_MAX_WAIT="0.05", **more)
    for name in ("https_proxy", "all_proxy", "no_proxy", "NO_PROXY"):
        env.pop(name, None)
    words = ("run", "--item", "1", "--tasks", "metadata", "--attempts", "2", "--rate", "inf")
    return await harvester(*words, "--api", "https://api.example.org/v2", "-o", folder, env=env)


@pytest.mark.parametrize("scheme", ["http://", "https://", pytest.param("", marks=pytest.mark.nightly)])
async def test_a_run_goes_through_a_proxy(scheme: str, tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"id": 1, "title": "x", "files": [], "size": 0})

    made = make_certificate(tmp_path / "tls", names="DNS:api.example.org,IP:127.0.0.1")
    async with (
        serving(answer, made) as port,
        gate(port, certificate=made if "s:" in scheme else None) as proxy,
    ):
        address = f"{scheme}me:{ESCAPED}@127.0.0.1:{proxy.port}"
        ended = await run_through(address, tmp_path / "out", SSL_CERT_FILE=str(made.path))
    assert ended.status == 0, ended.err
    assert set(proxy.asked) == {"CONNECT api.example.org:443 HTTP/1.1"}
    assert set(proxy.authorised) == {f"me:{PASSWORD}"}


@pytest.mark.parametrize(
    ("answer", "credentials", "expected"),
    [
        ("407 Who", "", "the proxy of HTTPS_PROXY: requires a name and password (407)"),
        ("407 Not", f"me:{ESCAPED}@", "rejected the name and password in HTTPS_PROXY (407)"),
        ("502 Bad", f"me:{ESCAPED}@", "the proxy of HTTPS_PROXY: answered 502"),
        ("403 No", f"me:{ESCAPED}@", "the proxy of HTTPS_PROXY: answered 403"),
    ],
)
async def test_a_proxy_that_refuses_to_connect_is_an_outage_that_names_its_variable(
    answer: str, credentials: str, expected: str, tmp_path: Path
) -> None:
    async with gate(answer=answer) as proxy:
        ended = await run_through(f"{credentials}127.0.0.1:{proxy.port}", tmp_path / "out")
    assert ended.status == 3
    assert expected in ended.err
    assert "pa55" not in ended.err
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["folder"]["failures"] == 0, "nothing is given up"


async def test_an_unreachable_proxy_is_reported_by_its_variable(tmp_path: Path) -> None:
    ended = await run_through("127.0.0.1:9", tmp_path / "a")
    assert ended.status == 3
    assert "the proxy of HTTPS_PROXY: connection failed (Connection refused)" in ended.err
    ended = await run_through("proxy.invalid:9", tmp_path / "b")
    assert ended.status == 3
    assert "the proxy of HTTPS_PROXY: DNS lookup failed" in ended.err


async def test_a_proxy_with_an_untrusted_certificate_is_reported_as_such(tmp_path: Path) -> None:
    async with gate(certificate=make_certificate(tmp_path / "tls")) as proxy:
        ended = await run_through(f"https://127.0.0.1:{proxy.port}", tmp_path / "out")
    assert ended.status == 3
    assert "the proxy of HTTPS_PROXY: certificate verify failed: self-signed certificate" in ended.err


async def test_this_machine_is_reached_without_a_proxy(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox, gate(answer="502 Bad") as proxy:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        ended = await harvester(*words, env=environment(HTTPS_PROXY=f"127.0.0.1:{proxy.port}"))
    assert ended.status == 0, ended.err
    assert proxy.asked == []
