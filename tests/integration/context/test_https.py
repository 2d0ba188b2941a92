"""open_url: downloads that break, stall, wander off or are too large."""

import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from anyio import CapacityLimiter

from asynckaniko.context.https import WebOptions, download, read_url
from asynckaniko.errors import ContextError, IntegrityError, UsageError
from asynckaniko.events import Event, RequestRetried, ignore
from asynckaniko.settings import Retry
from tests.integration.context.servers import WebFiles, serving

CONTENT = os.urandom(300_000)
QUICK = Retry(attempts=2, first_wait_seconds=0.001)
IMPATIENT = replace(QUICK, stall_seconds=0.3, stall_size=100)
"""For what comes slowly: whatever else runs on the machine may be as slow."""


def options(
    *, retry: Retry = QUICK, limit: int = 1 << 30, ca_files: tuple[Path, ...] = ()
) -> WebOptions:
    return WebOptions(retry=retry, limit=limit, ca_files=ca_files)


@pytest.fixture
def content(files: WebFiles) -> WebFiles:
    files.files["x"] = CONTENT
    return files


@pytest.mark.parametrize("path", ["x", "chunks/x", "hop/10/x", "busy/1/x", "cut/100000/x"])
async def test_every_byte_arrives(content: WebFiles, web_host: str, path: str) -> None:
    assert await read_url(f"http://{web_host}/{path}", options=options(), emit=ignore) == CONTENT


async def test_cut_is_resumed_where_it_was_and_told(content: WebFiles, web_host: str) -> None:
    events: list[Event] = []

    await read_url(f"http://{web_host}/cut/100000/x", options=options(), emit=events.append)

    assert [event for event in events if isinstance(event, RequestRetried)]
    assert content.requests[1][1]["If-Range"] == f'"{len(CONTENT)}"'


async def test_server_without_ranges_is_read_from_the_start_again(
    content: WebFiles, web_host: str
) -> None:
    content.ranges = False

    found = await read_url(f"http://{web_host}/cut/100000/x", options=options(), emit=ignore)

    assert found == CONTENT


@pytest.mark.parametrize(
    ("path", "ranges", "message"),
    [
        ("cut-always/100000/x", False, "gave up after 2 attempts"),
        ("cut-chunks/100000/x", False, "gave up after 2 attempts"),
        ("busy/9/x", True, "HTTP 503; gave up after 2 attempts"),
        ("nothing", True, "HTTP 404"),
        ("hop/11/x", True, "more than 10 redirects"),
    ],
)
async def test_what_does_not_come_is_an_error(
    content: WebFiles, web_host: str, path: str, ranges: bool, message: str
) -> None:
    content.ranges = ranges

    with pytest.raises(ContextError) as caught:
        await read_url(f"http://{web_host}/{path}", options=options(), emit=ignore)

    assert message in str(caught.value)
    assert f"http://{web_host}/{path}" in str(caught.value)


async def test_drip_is_too_slow(content: WebFiles, web_host: str) -> None:
    url = f"http://{web_host}/drip/x"

    with pytest.raises(ContextError, match=f"{url}.* is too slow"):
        await read_url(url, options=options(retry=IMPATIENT), emit=ignore)


@pytest.mark.parametrize("path", ["x", "chunks/x"])
async def test_more_than_the_limit_is_refused(content: WebFiles, web_host: str, path: str) -> None:
    with pytest.raises(ContextError, match="larger than 1000 bytes"):
        await read_url(f"http://{web_host}/{path}", options=options(limit=1000), emit=ignore)


async def test_nobody_there_is_said_after_the_attempts() -> None:
    with pytest.raises(ContextError, match=r"http://127\.0\.0\.1:9/x: .*gave up after 2"):
        await read_url("http://127.0.0.1:9/x", options=options(), emit=ignore)


async def test_download_is_verified_and_named(
    content: WebFiles, web_host: str, tmp_path: Path
) -> None:
    disk = CapacityLimiter(1)
    url = f"http://{web_host}/x"
    with (tmp_path / "file").open("w+b") as file:
        found = await download(
            url, file.fileno(), checksum="", options=options(), disk=disk, emit=ignore
        )
        file.seek(0)
        assert file.read() == CONTENT
        with pytest.raises(IntegrityError, match="expected sha256:00"):
            await download(
                url,
                file.fileno(),
                checksum="sha256:" + "0" * 64,
                options=options(),
                disk=disk,
                emit=ignore,
            )

    assert (found.name, found.size, found.modified) == ("x", len(CONTENT), 1_445_412_480)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_own_authorities_are_trusted(
    content: WebFiles, server_context: ssl.SSLContext, ca_file: Path
) -> None:
    with serving(content.answer, ssl=server_context) as host:
        url = f"https://{host}/x"
        assert await read_url(url, options=options(ca_files=(ca_file,)), emit=ignore) == CONTENT
        with pytest.raises(ContextError, match="its certificate is not trusted"):
            await read_url(url, options=options(), emit=ignore)


async def test_redirect_from_https_to_http_is_refused(
    content: WebFiles, server_context: ssl.SSLContext, ca_file: Path
) -> None:
    with (
        serving(content.answer, ssl=server_context) as host,
        pytest.raises(ContextError, match="redirects from https to http"),
    ):
        await read_url(
            f"https://{host}/away/127.0.0.1:9",
            options=options(ca_files=(ca_file,)),
            emit=ignore,
        )


async def test_password_stays_with_its_host(content: WebFiles, web_host: str) -> None:
    other = WebFiles({"": b"elsewhere"})
    with serving(other.answer) as elsewhere:
        await read_url(
            f"http://user:word@{web_host}/away/{elsewhere}", options=options(), emit=ignore
        )

    assert "Authorization" in content.requests[0][1]
    assert "Authorization" not in other.requests[0][1]


async def test_authority_that_is_none_is_named(web_host: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")

    with pytest.raises(UsageError, match=r"ca\.pem"):
        await read_url(f"http://{web_host}/x", options=options(ca_files=(path,)), emit=ignore)
