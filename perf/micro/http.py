"""A blob comes from a registry, and goes to one (registry.client), over loopback.

The other end is a process of its own and does not count. curl does not look at the bytes.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.media_types import OCI_LAYER_GZIP
from asynckaniko.oci.reference import Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Limits, RegistryOptions, Retry
from perf.micro._peer import BLOCK, peer
from perf.micro._result import Result, rate, rate_of

_SIZE = 256 << 20
_READ_SIZE = 512 * 1024


def run() -> Iterator[Result]:
    amount = _SIZE / 1e6
    content = BLOCK * (_SIZE // len(BLOCK))
    hashed = rate("sha256 alone", amount, "MB", partial(hashlib.sha256, content))
    digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
    blob = _Blob(Descriptor(OCI_LAYER_GZIP, digest, _SIZE))
    with peer(_SIZE) as host, tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        place = Repository(host, "x")
        url = f"http://{host}/v2/x/blobs"
        curl = rate_of("curl in", amount, "MB", ["curl", "-sf", f"{url}/1", "-o", "/dev/null"])
        yield curl
        stream = rate("asyncio streams in", amount, "MB", partial(_asyncio_in, host))
        yield stream.beside(curl)
        for verify, limit in ((False, curl), (True, hashed)):
            name = "in, verified" if verify else "in, digest left to the reader"
            work = partial(_pull, place, blob.descriptor, verify)
            yield rate(name, amount, "MB", partial(_with_client, host, work)).beside(limit)
        send = ["curl", "-sf", "-T", file.name, "-H", "Expect:", f"{url}/uploads/1"]
        curl = rate_of("curl out", amount, "MB", send)
        yield curl
        push = rate("out", amount, "MB", partial(_with_client, host, partial(_push, place, blob)))
        yield push.beside(curl)


@dataclass(frozen=True)
class _Blob:
    """BLOCK again and again."""

    descriptor: Descriptor

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        assert offset % len(BLOCK) == 0
        for _ in range(offset, self.descriptor.size, len(BLOCK)):
            yield BLOCK


def _with_client(host: str, work: Callable[[RegistryClient], Awaitable[None]]) -> None:
    async def connected() -> None:
        options = RegistryOptions(insecure_registries=frozenset({host}))
        async with RegistryClient(options, retry=Retry(), limits=Limits()) as client:
            await work(client)

    anyio.run(connected, backend_options={"use_uvloop": True})


async def _pull(place: Repository, blob: Descriptor, verify: bool, client: RegistryClient) -> None:
    received = 0
    async with client.read_blob(place, blob, verify=verify) as chunks:
        async for chunk in chunks:
            received += len(chunk)
    assert received == blob.size


async def _push(place: Repository, blob: _Blob, client: RegistryClient) -> None:
    await client.push_blob(place, blob)


def _asyncio_in(host: str) -> None:
    async def read() -> None:
        address, _, port = host.partition(":")
        reader, writer = await asyncio.open_connection(address, int(port), limit=_READ_SIZE)
        writer.write(b"GET /v2/x/blobs/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        left = _SIZE
        while left:
            left -= len(await reader.read(_READ_SIZE))
        writer.close()
        await writer.wait_closed()

    anyio.run(read, backend_options={"use_uvloop": True})
