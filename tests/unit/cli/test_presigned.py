"""The digest goes to a presigned URL, and the signature nowhere else."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from asynckaniko.cli.presigned import put_text
from asynckaniko.errors import RegistryRejected, RegistryUnavailable

pytestmark = pytest.mark.anyio


class Bucket(HTTPServer):
    """Keeps what is put; a path that says `forbidden` is."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.kept: list[tuple[str, str | None, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    server: Bucket

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.kept.append((self.path, self.headers["Content-Type"], content))
        self.send_response(403 if "forbidden" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_text_is_put_as_it_is(bucket: Bucket) -> None:
    await put_text(f"{bucket.url}/d%2Fx?X-Amz-Signature=a%2Bb", "sha256:0")

    assert bucket.kept == [("/d%2Fx?X-Amz-Signature=a%2Bb", "text/plain", b"sha256:0")]


async def test_refusal_is_an_error_without_the_signature(bucket: Bucket) -> None:
    with pytest.raises(RegistryRejected) as caught:
        await put_text(f"{bucket.url}/forbidden?signature=hunter2", "x")

    assert caught.value.message == f"PUT {bucket.url}/forbidden: HTTP 403 (no error body)"


async def test_server_that_is_not_there_is_unavailable_without_the_signature(
    bucket: Bucket,
) -> None:
    url = bucket.url
    bucket.shutdown()
    bucket.server_close()

    with pytest.raises(RegistryUnavailable) as caught:
        await put_text(f"{url}/d?signature=hunter2", "x")

    assert "hunter2" not in caught.value.message
