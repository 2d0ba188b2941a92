from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asynckaniko.errors import UsageError
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.endpoints import (
    Direction,
    Endpoints,
    TlsIdentity,
    canonical_host,
    host_name,
    is_link_local,
    is_loopback,
)
from asynckaniko.settings import RegistryOptions

HUB = Reference.parse("busybox").repository
QUAY = Repository("quay.example", "a/b")


def test_docker_hub_is_served_by_another_host() -> None:
    [endpoint] = Endpoints(RegistryOptions()).pull(HUB)

    assert endpoint.host == "registry-1.docker.io"
    assert endpoint.account == "docker.io"
    assert endpoint.schemes == ("https",)
    assert endpoint.name(HUB) == "library/busybox"


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]:5000", "reg.localhost"],
)
def test_this_machine_may_speak_http_where_it_speaks_no_https(host: str) -> None:
    assert Endpoints(RegistryOptions()).push(Repository(host, "a")).schemes == ("https", "http")


@pytest.mark.parametrize(
    "host", ["localhost.example", "notlocalhost", "10.0.0.1:5000", "192.168.1.1", "[::2]:5000"]
)
def test_other_hosts_speak_https_only(host: str) -> None:
    assert Endpoints(RegistryOptions()).push(Repository(host, "a")).schemes == ("https",)


def test_insecure_registry_is_spoken_to_over_http_in_both_directions() -> None:
    endpoints = Endpoints(RegistryOptions(insecure_registries=frozenset({"Quay.Example"})))

    assert endpoints.push(QUAY).schemes == endpoints.pull(QUAY)[0].schemes == ("http", "https")
    assert endpoints.push(Repository("quay.example:80", "a")).schemes == ("https",)


def test_insecure_push_does_not_make_pulls_insecure() -> None:
    endpoints = Endpoints(RegistryOptions(insecure_push=True))

    assert endpoints.push(QUAY).schemes == ("http", "https")
    assert endpoints.pull(QUAY)[0].schemes == ("https",)


def test_insecure_pull_does_not_make_pushes_insecure() -> None:
    endpoints = Endpoints(RegistryOptions(insecure_pull=True))

    assert endpoints.pull(QUAY)[0].schemes == ("http", "https")
    assert endpoints.push(QUAY).schemes == ("https",)


def test_mirrors_are_tried_in_order_before_the_registry_and_only_for_pulls() -> None:
    mirrors = {"index.docker.io": ("http://cache:5000", "mirror.example/hub/proxy/")}
    endpoints = Endpoints(RegistryOptions(mirrors=mirrors))

    first, second, origin = endpoints.pull(HUB)

    assert (first.host, first.schemes, first.account) == ("cache:5000", ("http",), "cache:5000")
    assert (second.host, second.schemes) == ("mirror.example", ("https",))
    assert second.name(HUB) == "hub/proxy/library/busybox"
    assert first.is_mirror
    assert second.is_mirror
    assert not origin.is_mirror
    assert endpoints.push(HUB).host == "registry-1.docker.io"
    assert [e.host for e in endpoints.pull(QUAY)] == ["quay.example"]


def test_registry_is_left_out_where_mirrors_must_do() -> None:
    options = RegistryOptions(mirrors={"docker.io": ("a", "b")}, fall_back_to_origin=False)

    assert [e.host for e in Endpoints(options).pull(HUB)] == ["a", "b"]
    assert [e.host for e in Endpoints(options).pull(QUAY)] == ["quay.example"]


@pytest.mark.parametrize("mirror", ["", "ftp://a", "a b", "http://", "https://u:p@host", "a:b:c"])
def test_mirror_that_is_no_host_is_refused(mirror: str) -> None:
    endpoints = Endpoints(RegistryOptions(mirrors={"docker.io": (mirror,)}))

    with pytest.raises(UsageError, match="registry mirror"):
        endpoints.pull(HUB)


def test_certificates_belong_to_their_host() -> None:
    options = RegistryOptions(
        certificates={"quay.example": Path("quay.pem")},
        client_certificates={"quay.example:8443": (Path("c.pem"), Path("c.key"))},
        ca_files=(Path("all.pem"),),
    )
    endpoints = Endpoints(options)

    def identity(url: str) -> TlsIdentity:
        return endpoints.tls(URL(url), Direction.PULL)

    assert identity("https://quay.example/v2/").ca_files == (Path("all.pem"), Path("quay.pem"))
    assert identity("https://quay.example:8443/").ca_files == (Path("all.pem"),)
    assert identity("https://quay.example:8443/").client == (Path("c.pem"), Path("c.key"))
    assert identity("https://quay.example/").client is None
    assert identity("https://other.example/") == TlsIdentity(True, (Path("all.pem"),))


def test_verification_is_skipped_where_it_was_said() -> None:
    one = Endpoints(RegistryOptions(skip_tls_verify_registries=frozenset({"quay.example"})))
    pulls = Endpoints(RegistryOptions(skip_tls_verify_pull=True))
    pushes = Endpoints(RegistryOptions(skip_tls_verify_push=True))
    quay, other = URL("https://quay.example/"), URL("https://cdn.example/")

    assert not one.tls(quay, Direction.PUSH).verify
    assert one.tls(other, Direction.PUSH).verify
    assert not pulls.tls(other, Direction.PULL).verify
    assert pulls.tls(other, Direction.PUSH).verify
    assert not pushes.tls(quay, Direction.PUSH).verify
    assert pushes.tls(quay, Direction.PULL).verify


def test_settings_for_docker_hub_hold_for_the_host_that_serves_it() -> None:
    endpoints = Endpoints(RegistryOptions(skip_tls_verify_registries=frozenset({"docker.io"})))

    assert not endpoints.tls(URL("https://registry-1.docker.io/v2/"), Direction.PULL).verify


@pytest.mark.parametrize("name", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
def test_link_local_addresses_are_known(name: str) -> None:
    assert is_link_local(name)


@pytest.mark.parametrize("name", ["10.0.0.1", "metadata.internal", "", "::1"])
def test_other_names_are_not_link_local(name: str) -> None:
    assert not is_link_local(name)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example:5000", "a.example"),
        ("a.example", "a.example"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
    ],
)
def test_host_name_is_without_port_and_brackets(host: str, name: str) -> None:
    assert host_name(host) == name


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_not_without_an_exception(text: str) -> None:
    is_loopback(text)
    is_link_local(text)
    assert canonical_host(canonical_host(text)) == canonical_host(text)
