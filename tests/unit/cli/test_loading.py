"""What is imported faster still verifies certificates, and leaves the process as it was."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

PROGRAM = """
import gc, json, ssl, sys
from asynckaniko.cli.loading import loading

was = vars(ssl.SSLContext).copy()
with loading():
    import asynckaniko.build.builder
    was_collecting = gc.isenabled()

import aiohttp, anyio
from asynckaniko.cli.presigned import put_text
from asynckaniko.errors import RegistryUnavailable
from asynckaniko.registry.endpoints import Direction, TlsIdentity
from asynckaniko.registry.wire import Call, Wire
from asynckaniko.settings import Retry
from yarl import URL

async def answer(work, *arguments):
    try:
        return str(await work(*arguments))
    except (aiohttp.ClientSSLError, RegistryUnavailable) as error:
        return type(error).__name__

async def by_default(url):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status

async def through_proxy(url):
    wire = Wire(lambda *_: TlsIdentity(verify=False), user_agent="test", proxy=lambda _: URL(url))
    call = Call("GET", URL("http://registry.test/v2/"), Direction.PULL, Retry())
    async with wire, wire.exchange(call) as response:
        return response.status

async def main(url):
    return {
        "default": await answer(by_default, url),
        "presigned": await answer(put_text, url, "x"),
        "proxy": await answer(through_proxy, url),
        "restored": vars(ssl.SSLContext) == was,
        "collecting": [was_collecting, gc.isenabled()],
    }

print(json.dumps(anyio.run(main, sys.argv[1])))
"""


class _Request(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def url(authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer(("localhost", 0), _Request) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_only_what_has_a_context_of_its_own_trusts_the_systems_authorities(
    url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    said = run(url, tmp_path / "ca.pem")

    assert said["default"] == "ClientConnectorCertificateError"
    assert said["presigned"] == "None"
    assert said["proxy"] == "200"
    assert said["restored"]
    assert said["collecting"] == [False, True]


def test_nothing_trusts_an_authority_that_the_system_does_not_know(
    url: str, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    said = run(url, tmp_path / "ca.pem")

    assert said["default"] == "ClientConnectorCertificateError"
    assert said["presigned"] == "RegistryUnavailable"
    assert said["proxy"] == "UntrustedCertificate"


def run(url: str, authorities: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url],
        env={"SSL_CERT_FILE": str(authorities), "SSL_CERT_DIR": str(authorities.parent / "none")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
