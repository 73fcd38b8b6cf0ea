"""What stands between a harvest and figshare: gateways, certificates, name servers, addresses."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from yarl import URL

from harvester import harvest, load_config
from harvester.client import open_session
from harvester.client.error_map import map_error
from harvester.client.url_policy import (
    LINK_LOCAL,
    LOOPBACK,
    NONE,
    PRIVATE,
    is_public,
    parse_networks,
    refusal_reason,
    why_not_public,
)
from harvester.config import Timeouts
from harvester.errors import (
    Blocked,
    ConnectionFailed,
    FailureKind,
    HarvestError,
    NotFound,
    Rejected,
    UsageError,
)
from harvester.jobs.services import RunHooks
from harvester.sandbox import Sandbox, Settings
from tests.support.certificates import make_certificate, serving
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.program import config, environment, harvester
from tests.support.routes import comes, is_gone, two_routes
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


# -- a gateway that has lost its way ----------------------------------------------------------------


def is_lost(_: int) -> web.Response:
    return web.Response(status=404, text="<h1>404 Not Found</h1>", content_type="text/html")


async def test_a_gateway_that_finds_nothing_withdraws_nothing(tmp_path: Path) -> None:
    settings = Settings(items=5, heavy=0)
    async with Sandbox(settings) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        sources = [{"kind": "items", "ids": ids}]
        assert (await harvest(config(sandbox, tmp_path, sources=sources))).exit_status == 0
    async with Sandbox(Settings(items=5, heavy=0, faults={"always-404-html": 1.0})) as lost:
        with pytest.raises(HarvestError, match="not in figshare's JSON"):
            await harvest(config(lost, tmp_path, sources=sources), refresh=frozenset({"metadata"}))
        assert "withdrawn" not in {row["change"] for row in rows(tmp_path / "changes.csv")}


async def test_a_json_404_withdraws_nothing_while_the_api_serves_nothing(
    tmp_path: Path,
) -> None:
    async def lost(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no Route matched with those values"}, status=404)

    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        more = {"sources": [{"kind": "items", "ids": ids}], "tasks": ["metadata"]}
        assert (await harvest(config(sandbox, tmp_path, **more))).exit_status == 0
        async with served(lost) as gateway:
            summary = await harvest(
                config(sandbox, tmp_path, **more, **{"services.api": str(gateway / "v2")})
            )
        assert summary.exit_status == 1
        table = rows(tmp_path / "failures.csv")
        assert {int(row["item_id"]) for row in table} == set(ids)
        assert all("the api does not return known items either" in row["error"] for row in table)
        again = await harvest(config(sandbox, tmp_path, **more))
        assert again.exit_status == 0
        assert rows(tmp_path / "failures.csv") == []


async def test_an_item_is_withdrawn_if_one_request_shows_that_the_api_serves(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        more = {"sources": [{"kind": "items", "ids": ids}], "tasks": ["metadata"]}
        assert (await harvest(config(sandbox, tmp_path, **more))).exit_status == 0
    async with Sandbox(Settings(items=5, heavy=0, faults={"always-404": 1.0})) as sandbox:
        summary = await harvest(
            config(sandbox, tmp_path, **more), refresh=frozenset({"metadata"}), accept_withdrawals=len(ids)
        )
        assert summary.exit_status == 0
        changes = rows(tmp_path / "changes.csv")
        assert {int(row["item_id"]) for row in changes if row["change"] == "withdrawn"} == set(ids)
        asked = [seen.path for seen in sandbox.requests if seen.path.endswith("/articles")]
        assert len(asked) == 1


async def test_a_gateways_404_for_a_file_is_decided_by_the_other_route(tmp_path: Path) -> None:
    async with two_routes(is_lost, comes, tmp_path) as (download, asked, _):
        await download(1)
        assert asked == ["own", "api"]
    async with two_routes(is_lost, is_gone, tmp_path) as (download, asked, _):
        with pytest.raises(NotFound):
            await download(2)
        assert asked == ["own", "api"]
    async with two_routes(is_gone, is_lost, tmp_path) as (download, asked, _):
        with pytest.raises(NotFound):
            await download(3)
    async with two_routes(is_lost, is_lost, tmp_path) as (download, asked, _):
        with pytest.raises(Blocked):
            await download(4)


# -- certificates -------------------------------------------------------------------------------------


async def test_a_port_that_speaks_no_tls_is_an_outage() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="plain")

    async with served(page) as address:
        url = address.with_scheme("https").with_port(address.port)
        try:
            async with session() as opened:
                await opened.get(url)
        except Exception as error:  # noqa: BLE001 - whatever it is, `map_error` must know it
            ours = map_error(error, url)
            assert isinstance(ours, ConnectionFailed)
            assert "TLS handshake failed" in str(ours)
            assert "does not speak TLS; perhaps plain http" in str(ours)
        else:
            raise AssertionError("it spoke TLS")


async def one_item(request: web.Request) -> web.StreamResponse:
    return web.json_response({"id": int(request.path.rpartition("/")[2]), "title": "x", "files": []})


def only(address: str, folder: Path) -> tuple[object, ...]:
    words = ("run", "--item", "1", "--tasks", "metadata", "--attempts", "2", "--rate", "inf")
    return (*words, "--api", f"{address}/v2", "-o", folder)


SHORT = {"HARVESTER_RETRY_MAX_WAIT": "0.05"}
DISTRUSTED: Mapping[str, tuple[Mapping[str, str], str]] = {
    "self-signed": ({}, "self-signed certificate; set SSL_CERT_FILE to the certificates to trust"),
    "expired": (
        {"begins": "20200101000000Z", "ends": "20210101000000Z"},
        "certificate has expired; either its owner must renew it, or this machine's clock is",
    ),
    "not yet valid": (
        {"begins": "20980101000000Z"},
        "certificate is not yet valid; either its owner must renew it, or this machine's clock",
    ),
    "of another host": (
        {"names": "DNS:login.example.org"},
        "IP address mismatch, certificate is not valid for",
    ),
}


@pytest.mark.parametrize(
    "kind",
    [
        "self-signed",
        *(pytest.param(kind, marks=pytest.mark.nightly) for kind in DISTRUSTED if DISTRUSTED[kind][0]),
    ],
)
async def test_an_untrusted_certificate_is_an_outage_with_its_own_message(kind: str, tmp_path: Path) -> None:
    made, found = DISTRUSTED[kind]
    certificate = make_certificate(tmp_path / "tls", **made)
    trusted = {} if kind == "self-signed" else {"SSL_CERT_FILE": str(certificate.path)}
    async with serving(one_item, certificate) as port:
        ended = await harvester(
            *only(f"https://127.0.0.1:{port}", tmp_path / "out"), env=environment(**SHORT, **trusted)
        )
    assert ended.status == 3
    assert f"certificate verify failed: {found}" in ended.err
    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["folder"]["failures"] == 0, "nothing is given up"


@pytest.mark.parametrize("kind", [kind for kind in DISTRUSTED if DISTRUSTED[kind][0]])
async def test_it_is_told_why_a_certificate_is_not_trusted(kind: str, tmp_path: Path) -> None:
    made, found = DISTRUSTED[kind]
    certificate = make_certificate(tmp_path / "tls", **made)
    trusted = ssl.create_default_context(cafile=certificate.path)
    async with serving(one_item, certificate) as port, session() as opened:
        url = URL(f"https://127.0.0.1:{port}/x")
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await opened.get(url, ssl=trusted)
    error = map_error(caught.value, url)
    assert isinstance(error, ConnectionFailed)
    assert f"certificate verify failed: {found}" in str(error)


async def test_a_certificate_works_once_it_is_trusted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "tls")
    async with serving(one_item, certificate) as port:
        words = only(f"https://127.0.0.1:{port}", tmp_path / "out")
        assert (await harvester(*words, env=environment(**SHORT))).status == 3
        ended = await harvester(*words, env=environment(**SHORT, SSL_CERT_FILE=str(certificate.path)))
        assert ended.status == 0, ended.err


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            r"TLS handshake failed \(.*: the server supports no secure TLS version\)",
        ),
        (b"SSH-2.0-OpenSSH_9.9\r\n", r"TLS handshake failed \(.*: the server does not speak TLS"),
        (
            b"",
            r"connection failed \((the connection was closed|Connection reset by peer)\)",
        ),
    ],
    ids=["too old", "another protocol", "cut"],
)
async def test_an_outdated_tls_version_is_an_outage_with_its_own_message(
    answer: bytes, expected: str, tmp_path: Path
) -> None:
    async def old(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, old)
        address = f"https://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        ended = await harvester(*only(address, tmp_path / "out"), env=environment(**SHORT))
        group.cancel_scope.cancel()
    assert ended.status == 3
    assert re.search(expected, ended.err), ended.err


@pytest.mark.parametrize("service", ["files", "stats"])
async def test_an_untrusted_certificate_of_one_service_does_not_stop_the_others(
    service: str, tmp_path: Path
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "/file/download/" in request.path:
            raise web.HTTPFound(f"https://127.0.0.1:{port}/f")
        if "/total/" in request.path:
            return web.json_response({"totals": 5})
        file = {"id": 7, "name": "a.csv", "size": 1, "download_url": f"https://127.0.0.1:{port}/7"}
        return web.json_response({"id": 1, "title": "x", "size": 1, "files": [file]})

    async def body(_: web.Request) -> web.StreamResponse:
        return web.json_response({"totals": 5}) if service == "stats" else web.Response(body=b"a")

    certificate = make_certificate(tmp_path / "tls")
    async with serving(body, certificate) as port, serving(answer, None) as plain:
        api, out = f"http://127.0.0.1:{plain}", tmp_path / "out"
        stats = f"https://127.0.0.1:{port}" if service == "stats" else api
        tasks = f"metadata,{service}"
        words = ("run", "--item", "1", "--tasks", tasks, "--attempts", "2", "--rate", "inf", "-o", out)
        ended = await harvester(*words, "--api", f"{api}/v2", "--stats", stats, env=environment(**SHORT))
        assert ended.status == 1
        (failure,) = rows(out / "failures.csv")
        assert failure["task"] == service
        assert "certificate verify failed: self-signed certificate; set SSL_CERT_FILE" in failure["error"]
        assert (out / "metadata.jsonl").read_bytes().count(b"\n") == 1
        done = await harvester("failed", "--json", "-o", out)
        assert orjson.loads(done.out)["failure_kind"] == FailureKind.TRANSIENT
        if service == "files":  # of the other service it is no different
            env = environment(**SHORT, SSL_CERT_FILE=str(certificate.path))
            ended = await harvester(*words, "--api", f"{api}/v2", "--stats", stats, env=env)
            assert ended.status == 0, ended.err


def session() -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    return open_session(user_agent="x", timeouts=Timeouts(), trusted_hosts=frozenset())


# -- addresses ----------------------------------------------------------------------------------------


@for_each(
    ("address", "kind"),
    [
        ("93.184.216.34", None),
        ("2606:4700::1", None),
        ("198.18.0.5", None),
        ("198.19.255.255", None),
        ("100.64.0.1", None),
        ("::ffff:198.18.0.5", None),
        ("64:ff9b::5db8:d822", None),  # NAT64 of 93.184.216.34
        ("2002:5db8:d822::1", None),  # 6to4 of the same
        ("10.1.2.3", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("198.20.0.1", None),
        ("192.0.2.1", PRIVATE),
        ("fd00::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("::ffff:10.1.2.3", PRIVATE),
        ("::10.1.2.3", PRIVATE),
        ("64:ff9b::a01:203", PRIVATE),
        ("64:ff9b:1::a01:203", PRIVATE),
        ("2002:a01:203::1", PRIVATE),
        ("64:ff9b:1:a01:2:300::", PRIVATE),  # NAT64 of the local network, 10.1.2.3 behind 48 bits
        ("64:ff9b:1:aa0a:1:203::", PRIVATE),  # behind 56
        ("64:ff9b:1:aaaa:a:102:300:0", PRIVATE),  # behind 64
        ("64:ff9b:1:aaaa::a01:203", PRIVATE),  # behind 96
        ("64:ff9b:1:aaaa::5db8:d822", None),
        ("64:ff9b:1:7f00:0:100::", LOOPBACK),
        ("64:ff9b:1::a9fe:a9fe", LINK_LOCAL),
        ("::ffff:0:10.1.2.3", PRIVATE),  # translated
        ("2606:4700::5efe:10.1.2.3", PRIVATE),  # ISATAP
        ("2606:4700::200:5efe:127.0.0.1", LOOPBACK),
        ("2606:4700::5efe:93.184.216.34", None),
        ("fe80::5efe:93.184.216.34", LINK_LOCAL),
        ("2001:0:7f00:1::a247:27dd", LOOPBACK),  # Teredo of a server at 127.0.0.1
        ("2001:0:5db8:d822::f5fe:fdfc", PRIVATE),  # Teredo of a client at 10.1.2.3
        ("127.0.0.1", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("169.254.169.254", LINK_LOCAL),
        ("100.100.100.200", LINK_LOCAL),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
        ("2002:a9fe:a9fe::1", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("0.0.0.0", NONE),
        ("::", NONE),
        ("224.0.0.1", NONE),
    ],
)
def test_which_addresses_are_requested(address: str, kind: str | None) -> None:
    assert refusal_reason(address) == kind
    host = f"[{address}]" if ":" in address else address
    assert is_public(URL(f"https://{host}/x")) is (kind is None)


@for_each(
    ("host", "kind"),
    [
        ("2130706433", LOOPBACK),
        ("127.1", LOOPBACK),
        ("0x7f.1", LOOPBACK),
        ("0X7F000001", LOOPBACK),
        ("0177.0.0.1", LOOPBACK),
        ("017700000001", LOOPBACK),
        ("127.0.0.1.", LOOPBACK),
        ("127.0.0.1..", LOOPBACK),
        ("１２７.０.０.１", LOOPBACK),
        ("127。0。0。1", LOOPBACK),
        ("[::ffff:7f00:1]", LOOPBACK),
        ("[::127.0.0.1]", LOOPBACK),
        ("[0:0:0:0:0:ffff:127.0.0.1]", LOOPBACK),
        ("localhost.", LOOPBACK),
        ("LOCALHOST", LOOPBACK),
        ("storage.localhost", LOOPBACK),
        ("10.66051", PRIVATE),
        ("012.1.2.3", PRIVATE),
        ("0xa9fea9fe", LINK_LOCAL),
        ("[fe80::1%25eth0]", LINK_LOCAL),
        ("%31%32%37.0.0.1", NONE),
        ("0", NONE),
        ("93.184.216.34", None),
        ("1572395042", None),
        ("localhost.example.org", None),
        ("127.0.0.1.example.org", None),
        ("0x7f.0.0.1.2", None),  # no address in any reading
        ("1.2.3.999", None),
    ],
)
def test_no_spelling_hides_an_address(host: str, kind: str | None) -> None:
    assert why_not_public(URL(f"https://{host}/x")) == kind


@pytest.mark.parametrize(
    "host", ["127.1", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0x7f.1"]
)
async def test_a_redirect_to_this_machine_is_refused_however_it_is_written(host: str) -> None:
    asked: list[str] = []

    async def lead(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound(f"https://{host}:{request.url.port}/secrets")

    async with served(lead) as here, client(URL("https://api.example.org"), stats=here) as asking:
        with pytest.raises(Rejected, match="redirects to .*, which is a loopback address"):
            await asking.json("stats", "GET", here / "x", orjson.loads)
    assert asked == ["/x"]


def test_the_user_allows_private_networks_and_never_this_machine() -> None:
    networks = parse_networks(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8"])
    assert refusal_reason("10.1.2.3", networks) is None
    assert refusal_reason("fd00::1", networks) is None
    assert refusal_reason("::ffff:10.1.2.3", networks) is None
    assert refusal_reason("192.168.1.1", networks) == PRIVATE
    assert refusal_reason("127.0.0.1", networks) == LOOPBACK
    assert refusal_reason("169.254.169.254", networks) == LINK_LOCAL


def test_a_network_that_is_none_is_a_fault_of_the_config() -> None:
    with pytest.raises(UsageError, match="services.private_networks: expected networks"):
        load_config(options={"services.private_networks": ["10.0.0.1/8"]}, environ={})
    environ = {"HARVESTER_SERVICES_PRIVATE_NETWORKS": "10.0.0.0/8, fd00::/8"}
    found = load_config(environ=environ).services.private_networks
    assert found == ("10.0.0.0/8", "fd00::/8")


async def test_a_forbidden_address_is_reported_with_its_reason() -> None:
    url = URL("http://localhost:9/x")
    with pytest.raises(OSError, match="Cannot connect") as caught:
        async with session() as opened:
            await opened.get(url)
    text = str(map_error(caught.value, url))
    assert text.startswith("localhost/x: localhost is ")
    assert text.endswith(" here, which is a loopback address")


async def test_a_dns_failure_is_reported_with_its_reason(tmp_path: Path) -> None:
    async def lookup(host: str) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        at = sandbox.api.replace("127.0.0.1", "localhost")
        more = {"sources": [{"kind": "items", "ids": [1]}], "services.api": at}
        with pytest.raises(HarvestError, match="DNS lookup failed: Temporary failure in name resolution"):
            with anyio.fail_after(20):
                await harvest(config(sandbox, tmp_path, **more), hooks=RunHooks(before_lookup=lookup))
