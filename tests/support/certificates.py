"""Certificates made for a test, good ones and bad ones, and what serves with them."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

CONFIG = """
[ca]
default_ca = one
[one]
database = {folder}/database
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = of_host
[any]
commonName = supplied
[of_host]
subjectAltName = {names}
[req]
distinguished_name = subject
[subject]
"""


class Certificate(NamedTuple):
    """A certificate and its key, as PEM files."""

    path: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """What a server needs of it."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*self)
        return made


def make_certificate(
    folder: Path,
    *,
    names: str = "IP:127.0.0.1",
    begins: str = "20200101000000Z",
    ends: str = "20990101000000Z",
) -> Certificate:
    """Make one that no authority vouches for; `names`: of its hosts, as OpenSSL writes them."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    folder.mkdir(parents=True)
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    (folder / "database").touch()
    (folder / "config").write_text(CONFIG.format(folder=folder, names=names))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    request = ["-subj", "/CN=server", "-keyout", made.key, "-out", folder / "request"]
    dates = ["-startdate", begins, "-enddate", ends]
    signing = ["-selfsign", "-batch", "-notext", "-keyfile", made.key, "-in", folder / "request"]
    for words in (["req", "-new", *curve, *request], ["ca", *signing, *dates, "-out", made.path]):
        command = ["openssl", *map(str, words), "-config", str(folder / "config")]
        subprocess.run(command, check=True, capture_output=True)
    return made


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    certificate: Certificate | ssl.SSLContext | None,
) -> AsyncIterator[int]:
    """Serve on a port of this machine, by plain http where there is no certificate."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        tls = certificate.context if isinstance(certificate, Certificate) else certificate
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
