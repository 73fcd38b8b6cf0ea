"""What stands between a harvest and figshare: gateways, certificates, name servers, addresses."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web
from yarl import URL

from harvester import harvest, load_config
from harvester.addresses import LINK_LOCAL, LOOPBACK, NONE, PRIVATE, is_public, objection, parse_networks
from harvester.client import open_session
from harvester.client.session import translated
from harvester.config import Timeouts
from harvester.connecting import Surroundings
from harvester.errors import Broken, Challenged, Gone, HarvestError, UsageError
from harvester.sandbox import Sandbox, Settings
from tests.conftest import config, environment, harvester
from tests.test_client import served
from tests.test_routes import comes, is_gone, two_routes
from tests.truth import rows

pytestmark = pytest.mark.anyio


# -- a gateway that has lost its way ----------------------------------------------------------------


def is_lost(_: int) -> web.Response:
    return web.Response(status=404, text="<h1>404 Not Found</h1>", content_type="text/html")


async def test_a_gateway_that_finds_nothing_withdraws_nothing(tmp_path: Path) -> None:
    settings = Settings(items=20, heavy=0)
    async with Sandbox(settings) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        sources = [{"kind": "items", "ids": ids}]
        assert (await harvest(config(sandbox, tmp_path, sources=sources))).exit_status == 0
    async with Sandbox(Settings(items=20, heavy=0, faults={"always-404-html": 1.0})) as lost:
        with pytest.raises(HarvestError, match="not figshare's"):
            await harvest(config(lost, tmp_path, sources=sources), refresh=frozenset({"metadata"}))
        assert "withdrawn" not in {row["change"] for row in rows(tmp_path / "changes.csv")}


async def test_a_gateway_that_speaks_json_withdraws_nothing_while_the_api_gives_nothing(
    tmp_path: Path,
) -> None:
    async def lost(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no Route matched with those values"}, status=404)

    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        more = {"sources": [{"kind": "items", "ids": ids}], "tasks": ["metadata"]}
        assert (await harvest(config(sandbox, tmp_path, **more))).exit_status == 0
        async with served(lost) as gateway:
            summary = await harvest(
                config(sandbox, tmp_path, **more, **{"services.api": str(gateway / "v2")})
            )
        assert summary.exit_status == 1
        told = rows(tmp_path / "failures.csv")
        assert {int(row["item_id"]) for row in told} == set(ids)
        assert all("not taken for withdrawn" in row["error"] for row in told)
        again = await harvest(config(sandbox, tmp_path, **more))
        assert again.exit_status == 0
        assert rows(tmp_path / "failures.csv") == []


async def test_what_was_withdrawn_is_so_where_one_request_shows_that_the_api_serves(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        ids = list(sandbox.world.public_ids)[:5]
        more = {"sources": [{"kind": "items", "ids": ids}], "tasks": ["metadata"]}
        assert (await harvest(config(sandbox, tmp_path, **more))).exit_status == 0
    async with Sandbox(Settings(items=20, heavy=0, faults={"always-404": 1.0})) as sandbox:
        summary = await harvest(config(sandbox, tmp_path, **more), refresh=frozenset({"metadata"}))
        assert summary.exit_status == 0
        changes = rows(tmp_path / "changes.csv")
        assert {int(row["item_id"]) for row in changes if row["change"] == "withdrawn"} == set(ids)
        asked = [seen.path for seen in sandbox.requests if seen.path.endswith("/articles")]
        assert len(asked) == 1


async def test_where_a_gateway_has_lost_a_file_the_other_route_decides(tmp_path: Path) -> None:
    async with two_routes(is_lost, comes, tmp_path) as (download, asked, _):
        await download(1)
        assert asked == ["own", "api"]
    async with two_routes(is_lost, is_gone, tmp_path) as (download, asked, _):
        with pytest.raises(Gone):
            await download(2)
        assert asked == ["own", "api"]
    async with two_routes(is_gone, is_lost, tmp_path) as (download, asked, _):
        with pytest.raises(Gone):
            await download(3)
    async with two_routes(is_lost, is_lost, tmp_path) as (download, asked, _):
        with pytest.raises(Challenged):
            await download(4)


# -- certificates -------------------------------------------------------------------------------------


async def test_a_certificate_that_cannot_be_trusted_is_an_outage_in_its_own_words() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    ours = translated(error, URL("https://example.org/x?s=1"))
    assert isinstance(ours, Broken)
    assert "certificate verify failed: certificate has expired; set SSL_CERT_FILE" in str(ours)


async def test_a_port_that_speaks_no_tls_is_an_outage() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="plain")

    async with served(page) as address:
        url = address.with_scheme("https").with_port(address.port)
        try:
            async with session() as opened:
                await opened.get(url)
        except Exception as error:  # noqa: BLE001 - whatever it is, `translated` must know it
            ours = translated(error, url)
            assert isinstance(ours, Broken)
            assert "no secure connection" in str(ours)
        else:
            raise AssertionError("it spoke TLS")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for this machine that nobody vouches for, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


async def test_a_run_that_meets_an_untrusted_certificate_ends_with_the_reason_and_works_once_it_is_trusted(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": 1, "title": "x", "files": [], "size": 0})

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        api = f"https://127.0.0.1:{runner.addresses[0][1]}/v2"
        words = ("run", "--item", "1", "--tasks", "metadata", "--attempts", "2", "--api", api)
        ended = await harvester(*words, "-o", tmp_path / "out")
        assert ended.status == 3
        assert "certificate verify failed: self" in ended.err
        assert "set SSL_CERT_FILE" in ended.err
        assert "not an address" not in ended.err
        env = environment(SSL_CERT_FILE=str(certificate[0]))
        ended = await harvester(*words, "-o", tmp_path / "out", env=env)
        assert ended.status == 0, ended.err
    finally:
        await runner.cleanup()


def session() -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    return open_session(user_agent="x", timeouts=Timeouts(), trusted_hosts=frozenset())


# -- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
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
def test_which_addresses_are_asked(address: str, kind: str | None) -> None:
    assert objection(address) == kind
    host = f"[{address}]" if ":" in address else address
    assert is_public(URL(f"https://{host}/x")) is (kind is None)


def test_the_user_allows_private_networks_and_never_this_machine() -> None:
    networks = parse_networks(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8"])
    assert objection("10.1.2.3", networks) is None
    assert objection("fd00::1", networks) is None
    assert objection("::ffff:10.1.2.3", networks) is None
    assert objection("192.168.1.1", networks) == PRIVATE
    assert objection("127.0.0.1", networks) == LOOPBACK
    assert objection("169.254.169.254", networks) == LINK_LOCAL


def test_a_network_that_is_none_is_a_fault_of_the_config() -> None:
    with pytest.raises(UsageError, match="services.private_networks: expected networks"):
        load_config(options={"services.private_networks": ["10.0.0.1/8"]}, environ={})
    environ = {"HARVESTER_SERVICES_PRIVATE_NETWORKS": "10.0.0.0/8, fd00::/8"}
    found = load_config(environ=environ).services.private_networks
    assert found == ("10.0.0.0/8", "fd00::/8")


async def test_the_address_that_is_not_asked_is_told_with_its_reason() -> None:
    url = URL("http://localhost:9/x")
    with pytest.raises(OSError, match="Cannot connect") as caught:
        async with session() as opened:
            await opened.get(url)
    told = str(translated(caught.value, url))
    assert told.startswith("localhost/x: localhost is ")
    assert told.endswith(" here, which is a loopback address")


async def test_a_name_server_says_why_a_name_leads_nowhere(tmp_path: Path) -> None:
    async def lookup(host: str) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        at = sandbox.api.replace("127.0.0.1", "localhost")
        more = {"sources": [{"kind": "items", "ids": [1]}], "services.api": at}
        with pytest.raises(HarvestError, match="DNS lookup failed: Temporary failure in name resolution"):
            with anyio.fail_after(20):
                await harvest(
                    config(sandbox, tmp_path, **more), surroundings=Surroundings(before_lookup=lookup)
                )
