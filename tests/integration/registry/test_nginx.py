"""docker-registry behind nginx that fails at random: the usual way registries are served."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from asynckaniko.oci.reference import Reference
from asynckaniko.settings import Retry
from tests.integration.registry.clients import PLATFORM, Image, connect, read
from tests.support.registry import Registry, free_port

_CONFIG = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  client_max_body_size {largest};
  split_clients "$request_id" $unlucky {{ {unlucky} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      if ($unlucky) {{ return 503; }}
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_request_buffering {buffering};
    }}
  }}
}}
"""


@contextmanager
def nginx(
    directory: Path, upstream: str, *, percent: int = 0, largest: str = "0", buffering: str = "off"
) -> Iterator[str]:
    directory.mkdir()
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            directory=directory,
            port=port,
            upstream=upstream,
            unlucky=f"{percent}% 1; * 0;" if percent else "* 0;",
            largest=largest,
            buffering=buffering,
        )
    )
    command = ["nginx", "-p", str(directory), "-c", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("buffering", ["on", "off"])
async def test_third_of_all_requests_may_fail(
    registry: Registry, tmp_path: Path, buffering: str
) -> None:
    image = Image.make(1 << 20, 2 << 20, 1000)
    # One in three to the power of twenty is never.
    retry = Retry(attempts=20)
    with nginx(tmp_path / "nginx", registry.host, percent=33, buffering=buffering) as host:
        tag = Reference.parse(f"{host}/app:1")
        async with connect(retry=retry) as client:
            async with anyio.create_task_group() as pushes:
                for blob in (*image.layers, image.config):
                    pushes.start_soon(client.push_blob, tag.repository, blob)
            await client.push_manifest(tag, image.manifest.content, image.manifest.media_type)
            resolved = await client.resolve(tag, PLATFORM)
            layers = [
                await read(client, tag.repository, layer) for layer in resolved.manifest.layers
            ]

    assert resolved.manifest == image.manifest
    assert layers == [blob.content for blob in image.layers]


async def test_limit_of_the_request_size_is_met_by_chunks(
    registry: Registry, tmp_path: Path
) -> None:
    image = Image.make(20 << 20)
    with nginx(tmp_path / "nginx", registry.host, largest="9m") as host:
        tag = Reference.parse(f"{host}/app:1")
        async with connect() as client:
            await image.push(client, tag)

    [blob] = image.layers
    assert registry.blob("app", blob.descriptor.digest) == blob.content
    assert [r.method for r in registry.requests()].count("PATCH") == 3
