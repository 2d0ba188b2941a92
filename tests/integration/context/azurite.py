"""Blobs of Azurite, Microsoft's own emulator, as contexts. `make azurite` installs and runs it.

Its name keeps it out of `make test`: npm fetches 374 packages for it.
"""

import base64
import hashlib
import hmac
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.integration.context.conftest import Builds, archive
from tests.support.daemons import running
from tests.support.registry import free_port

PROGRAM = Path(__file__).parents[3] / ".azurite/node_modules/.bin/azurite-blob"
ACCOUNT = "devstoreaccount1"
# The documented key of every emulator:
# https://learn.microsoft.com/azure/storage/common/storage-use-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTEXT = f"https://{ACCOUNT}.blob.core.windows.net/container/deep/c.tgz"
VERSION = "2021-08-06"
LARGE = os.urandom(12 << 20).hex()
"""Compressed still more than the 8 MiB of one part."""


@contextmanager
def azurite(directory: Path) -> Iterator[str]:
    """Serve blobs; yields the endpoint of the account."""
    port = free_port()
    words = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory)]
    # Clients are newer than any emulator.
    with running([str(PROGRAM), *words, "--silent", "--skipApiVersionCheck"], port):
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def signature(text: str) -> str:
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def put(endpoint: str, path: str, content: bytes, **more: str) -> None:
    """Make a container, which is a path of one name, or a blob.

    Signed as https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key says.
    """
    is_container = "/" not in path
    query = {"restype": "container"} if is_container else {}
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION, **more}
    size = str(len(content)) if content else ""
    kind = "application/octet-stream"
    own = [f"{name}:{value}" for name, value in sorted(headers.items())]
    # With the account in the path, as emulators have it, it is there twice.
    resource = f"/{ACCOUNT}/{ACCOUNT}/{path}" + "".join(f"\n{k}:{v}" for k, v in query.items())
    text = "\n".join(["PUT", "", "", size, "", kind, *[""] * 6, *own, resource])
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature(text)}", "Content-Type": kind}
    url = f"{endpoint}/{path}?{urlencode(query)}"
    request = urllib.request.Request(url, content, headers, method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 201


def signed(endpoint: str, path: str) -> str:
    """Return an address that lets anybody read a blob for an hour.

    https://learn.microsoft.com/rest/api/storageservices/create-service-sas
    """
    ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    resource = f"/blob/{ACCOUNT}/{path}"
    fields = ["r", "", ends, resource, "", "", "", VERSION, "b", *[""] * 7]
    given = {"sp": "r", "se": ends, "sv": VERSION, "sr": "b", "sig": signature("\n".join(fields))}
    return f"{endpoint}/{path}?{urlencode(given)}"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as endpoint:
        put(endpoint, "container", b"")
        blob = {"x-ms-blob-type": "BlockBlob"}
        put(endpoint, "container/deep/c.tgz", archive({"large": LARGE}), **blob)
        yield endpoint


def test_blob_of_several_parts_is_the_context(builds: Builds, endpoint: str) -> None:
    environment = {"AZURE_STORAGE_ENDPOINT": endpoint, "AZURE_STORAGE_ACCESS_KEY": KEY}

    image = builds.read("--context", CONTEXT, environment=environment)

    assert image.tree["large"].content == LARGE.encode()


def test_signed_address_needs_no_credentials(builds: Builds, endpoint: str) -> None:
    image = builds.read("--context", signed(endpoint, "container/deep/c.tgz"))

    assert image.tree["large"].content == LARGE.encode()


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        ({"AZURE_STORAGE_ACCESS_KEY": "Y2FuYXJ5LXdyb25n"}, "azure://container/deep/c.tgz"),
        ({}, "nobody signed in: set AZURE_STORAGE_ACCESS_KEY"),
    ],
    ids=["wrong-key", "no-key"],
)
def test_whom_the_store_does_not_know_is_refused(
    builds: Builds, endpoint: str, credentials: dict[str, str], message: str
) -> None:
    environment = {"AZURE_STORAGE_ENDPOINT": endpoint, **credentials}

    done = builds.refuse("--context", CONTEXT, environment=environment)

    assert done.exit_code == 2
    assert message in done.stderr
    assert "Y2FuYXJ5LXdyb25n" not in done.said


def test_missing_blob_is_named(builds: Builds, endpoint: str) -> None:
    missing = CONTEXT.replace("c.tgz", "nothing.tgz")
    environment = {"AZURE_STORAGE_ENDPOINT": endpoint, "AZURE_STORAGE_ACCESS_KEY": KEY}

    done = builds.refuse("--context", missing, environment=environment)

    assert done.exit_code == 2
    assert "azure://container/deep/nothing.tgz: there is no such object" in done.stderr
