"""Through an HTTP proxy, to registries whose names only the proxy can resolve."""

from pathlib import Path

import pytest

from asynckaniko.errors import RegistryUnavailable
from asynckaniko.oci.reference import Reference, Repository
from tests.integration.registry.clients import PLATFORM, Image, connect
from tests.integration.registry.servers import TunnelProxy
from tests.support.registry import Registry, make_certificates, run_registry


async def test_https_goes_through_a_tunnel_with_the_registrys_own_certificate(
    tmp_path: Path,
) -> None:
    certificates = make_certificates(tmp_path / "certificates", "registry.test")
    image = Image.make(1 << 20)
    tag = Reference.parse("registry.test/app:1")
    with run_registry(tmp_path / "tls", certificates=certificates) as registry:
        proxy = TunnelProxy(registry.host, credentials="user:pass")
        async with (
            proxy.serve() as address,
            connect(
                https_proxy=f"http://user:pass@{address}", ca_files=(certificates.authority,)
            ) as client,
        ):
            await image.push(client, tag)
            resolved = await client.resolve(tag, PLATFORM)

    assert resolved.manifest == image.manifest
    assert {(r.method, r.target) for r in proxy.requests} == {("CONNECT", "registry.test:443")}


async def test_plain_http_is_relayed(registry: Registry) -> None:
    image, tag = Image.make(1000), Reference.parse("registry.test/app:1")
    proxy = TunnelProxy(registry.host, credentials="user:pass")

    async with (
        proxy.serve() as address,
        connect(
            http_proxy=f"user:pass@{address}", insecure_registries=frozenset({"registry.test"})
        ) as client,
    ):
        await image.push(client, tag)
        resolved = await client.resolve(tag, PLATFORM)

    assert resolved.manifest == image.manifest
    assert proxy.requests[0].target == "http://registry.test/v2/"


async def test_registry_on_this_machine_is_reached_directly(registry: Registry) -> None:
    proxy = TunnelProxy(registry.host)

    async with (
        proxy.serve() as address,
        connect(http_proxy=address, https_proxy=address) as client,
    ):
        await client.check_push(Repository(registry.host, "app"))

    assert proxy.requests == []


@pytest.mark.parametrize("status", [403, 407])
async def test_proxy_that_refuses_is_the_error(registry: Registry, status: int) -> None:
    proxy = TunnelProxy(registry.host, refusal=status)

    async with proxy.serve() as address, connect(https_proxy=f"u:canary@{address}") as client:
        with pytest.raises(
            RegistryUnavailable, match=f"registry.test.*: the proxy answered HTTP {status}"
        ) as caught:
            await client.check_push(Repository("registry.test", "app"))

    assert "canary" not in repr(caught.value)
    assert len(proxy.requests) == 1


async def test_proxy_in_trouble_is_tried_again(registry: Registry) -> None:
    proxy = TunnelProxy(registry.host, refusal=503)

    async with proxy.serve() as address, connect(https_proxy=address) as client:
        with pytest.raises(RegistryUnavailable, match="proxy answered HTTP 503; gave up after 8"):
            await client.check_push(Repository("registry.test", "app"))


async def test_proxy_that_is_not_there_is_named() -> None:
    async with connect(https_proxy="http://u:canary@127.0.0.1:1") as client:
        with pytest.raises(RegistryUnavailable, match="cannot connect to the proxy") as caught:
            await client.check_push(Repository("registry.test", "app"))

    assert "127.0.0.1:1: Connection refused" in str(caught.value)
    assert "canary" not in repr(caught.value)
