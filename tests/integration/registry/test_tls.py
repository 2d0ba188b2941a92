"""https with an own authority, without any trust, with client certificates; http on loopback."""

import datetime as dt
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from asynckaniko.errors import RegistryUnavailable, UsageError
from asynckaniko.oci.reference import Repository
from asynckaniko.registry.endpoints import TlsIdentity
from asynckaniko.registry.failures import UntrustedCertificate
from asynckaniko.registry.tls import make_context
from tests.integration.registry.clients import QUICK, SkippedTime, connect
from tests.integration.registry.servers import Answer, Connection, listen
from tests.support.registry import Certificates, Registry, make_certificates, run_registry


@dataclass
class Tls:
    registry: Registry
    certificates: Certificates

    @property
    def host(self) -> str:
        return self.registry.host

    @property
    def repository(self) -> Repository:
        return Repository(self.host, "app")


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Tls]:
    certificates = make_certificates(tmp_path / "certificates")
    with run_registry(tmp_path / "tls", certificates=certificates) as registry:
        yield Tls(registry, certificates)


async def test_authority_of_the_registry_is_trusted(tls: Tls) -> None:
    async with connect(certificates={tls.host: tls.certificates.authority}) as client:
        await client.check_push(tls.repository)


async def test_authority_for_all_is_trusted(tls: Tls) -> None:
    async with connect(ca_files=(tls.certificates.authority,)) as client:
        await client.check_push(tls.repository)


async def test_unknown_authority_is_named_and_not_tried_again(tls: Tls) -> None:
    time = SkippedTime()

    async with connect(time=time) as client:
        with pytest.raises(UntrustedCertificate, match=f"{tls.host}.*not trusted.*give its CA"):
            await client.check_push(tls.repository)

    assert time.sleeps == []


async def test_authority_of_another_registry_is_not_trusted(tls: Tls) -> None:
    async with connect(certificates={"other.example": tls.certificates.authority}) as client:
        with pytest.raises(UntrustedCertificate):
            await client.check_push(tls.repository)


async def test_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates", "other.example")
    with run_registry(tmp_path / "tls", certificates=certificates) as registry:
        async with connect(ca_files=(certificates.authority,)) as client:
            with pytest.raises(UntrustedCertificate, match="IP address mismatch"):
                await client.check_push(Repository(registry.host, "app"))


async def test_expired_certificate_is_not_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_after=yesterday)
    files = Certificates(tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "a.pem")
    files.certificate.write_bytes(expired.cert_chain_pems[0].bytes())
    expired.private_key_pem.write_to_path(str(files.key))
    authority.cert_pem.write_to_path(str(files.authority))

    with run_registry(tmp_path / "tls", certificates=files) as registry:
        async with connect(ca_files=(files.authority,)) as client:
            with pytest.raises(UntrustedCertificate, match="expired"):
                await client.check_push(Repository(registry.host, "app"))


@pytest.mark.parametrize(
    "option",
    ["skip_tls_verify_push", "skip_tls_verify_registries"],
)
async def test_verification_is_skipped_where_it_was_said(tls: Tls, option: str) -> None:
    options: dict[str, Any] = {option: True if "push" in option else frozenset({tls.host})}

    async with connect(**options) as client:
        await client.check_push(tls.repository)


async def test_skipping_for_pulls_does_not_skip_for_pushes(tls: Tls) -> None:
    async with connect(skip_tls_verify_pull=True) as client:
        with pytest.raises(UntrustedCertificate):
            await client.check_push(tls.repository)


async def test_insecure_registry_may_speak_https_after_all(tls: Tls) -> None:
    options: dict[str, Any] = {"insecure_registries": frozenset({tls.host})}

    async with connect(ca_files=(tls.certificates.authority,), **options) as client:
        await client.check_push(tls.repository)


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[tuple[Tls, dict[str, tuple[Path, Path]]]]:
    """A registry that wants a client certificate, and the option that gives one."""
    clients = trustme.CA()
    client = clients.issue_cert("client@example.test")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(client.cert_chain_pems[0].bytes())
    client.private_key_pem.write_to_path(str(key))
    clients.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    server = make_certificates(tmp_path / "certificates")
    server = Certificates(
        server.certificate, server.key, server.authority, tmp_path / "clients.pem"
    )
    with run_registry(tmp_path / "tls", certificates=server) as registry:
        yield Tls(registry, server), {registry.host: (certificate, key)}


async def test_client_certificate_is_shown(
    mutual: tuple[Tls, dict[str, tuple[Path, Path]]],
) -> None:
    tls, client_certificates = mutual

    async with connect(
        ca_files=(tls.certificates.authority,), client_certificates=client_certificates
    ) as client:
        await client.check_push(tls.repository)


async def test_missing_client_certificate_is_an_error_that_says_so(
    mutual: tuple[Tls, dict[str, tuple[Path, Path]]],
) -> None:
    tls, _ = mutual

    async with connect(ca_files=(tls.certificates.authority,)) as client:
        with pytest.raises(RegistryUnavailable, match="TLS refused by the server"):
            await client.check_push(tls.repository)


async def test_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    async with connect(ca_files=(tmp_path / "none.pem",)) as client:
        with pytest.raises(UsageError, match=r"none\.pem: No such file"):
            await client.check_push(Repository("127.0.0.1:1", "app"))


def test_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("hello")

    with pytest.raises(UsageError, match=r"text\.pem: not usable as PEM"):
        make_context(TlsIdentity(ca_files=(tmp_path / "text.pem",)))


def test_client_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("hello")

    with pytest.raises(UsageError, match=r"client certificate .*text\.pem"):
        make_context(TlsIdentity(client=(tmp_path / "text.pem", tmp_path / "text.pem")))


def test_old_versions_of_tls_are_not_spoken() -> None:
    assert make_context(TlsIdentity()).minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_other_hosts_are_never_spoken_to_over_http() -> None:
    heard = []

    async def plain(connection: Connection) -> None:
        heard.append(await connection.reader.read(100))
        await connection.send(Answer(400).encode())

    async with listen(plain) as host, connect() as client:
        # An address of this machine that does not look like one.
        name = host.replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(RegistryUnavailable, match="no TLS there"):
            await client.check_push(Repository(name, "app"))

    assert heard
    assert not any(text.startswith(b"GET") for text in heard)


async def test_unknown_host_is_an_error_at_once() -> None:
    time = SkippedTime()

    async with connect(time=time) as client:
        with pytest.raises(RegistryUnavailable, match=r"registry\.invalid"):
            await client.check_push(Repository("registry.invalid", "app"))


async def test_closed_port_is_an_error_after_the_last_attempt() -> None:
    time = SkippedTime()

    async with connect(time=time) as client:
        with pytest.raises(RegistryUnavailable, match=r"Connection refused.*8 attempts"):
            await client.check_push(Repository("localhost:1", "app"))

    assert len(time.sleeps) == QUICK.attempts - 1
