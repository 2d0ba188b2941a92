import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asynckaniko.errors import RegistryError
from asynckaniko.registry.auth import (
    Access,
    Challenge,
    merge_scopes,
    parse_challenges,
    token_realm,
)
from asynckaniko.registry.endpoints import Direction, Endpoint
from asynckaniko.settings import Retry


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="Registry"', Challenge("basic", "Registry")),
        ("basic", Challenge("basic")),
        (
            'Bearer realm="https://auth.example/token",service="r.example",scope="repository:a:pull"',
            Challenge(
                "bearer",
                "https://auth.example/token",
                "r.example",
                "repository:a:pull",
            ),
        ),
        # Spaces around everything, names in any case, no quotes.
        (
            "BEARER  Realm = https://auth.example/token , SERVICE=s",
            Challenge("bearer", "https://auth.example/token", "s"),
        ),
        # A comma is missing: seen from home-made token servers.
        (
            'Bearer realm="https://a.example" service="s"',
            Challenge("bearer", "https://a.example", "s"),
        ),
        # Escapes within quotes; parameters that mean nothing to us; the first of two counts.
        (
            r'Bearer realm="https://a.example/\"x\"",error="invalid_token",realm="https://b.example"',
            Challenge("bearer", 'https://a.example/"x"'),
        ),
    ],
)
def test_challenge_is_read(header: str, expected: Challenge) -> None:
    assert parse_challenges([header]) == (expected,)


def test_several_challenges_may_share_a_header_or_have_their_own() -> None:
    bearer, basic = Challenge("bearer", "https://a.example", "s"), Challenge("basic", "r")

    shared = parse_challenges(['Bearer realm="https://a.example",service="s", Basic realm="r"'])
    apart = parse_challenges(['Bearer realm="https://a.example",service="s"', 'Basic realm="r"'])

    assert shared == apart == (bearer, basic)


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_text_is_read_without_an_exception(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""


@given(st.text(alphabet='Bearl"=,\\ sicm\t', max_size=300))
def test_text_that_looks_like_challenges_is_read_without_an_exception(header: str) -> None:
    parse_challenges([header])


def test_scopes_of_one_resource_become_one_scope() -> None:
    scopes = ["repository:a/b:push,pull", "repository:c:pull repository:a/b:pull", ""]

    assert merge_scopes(scopes) == ("repository:a/b:pull,push", "repository:c:pull")


def test_scope_keeps_a_port_in_the_resource() -> None:
    assert merge_scopes(["repository:host:5000/a:pull"]) == ("repository:host:5000/a:pull",)


def test_scope_without_a_resource_is_kept() -> None:
    assert merge_scopes(["aws"]) == ("aws",)


def _access(origin: str) -> Access:
    url = URL(origin)
    endpoint = Endpoint(url.authority, (url.scheme,), Direction.PULL, account=url.authority)
    return Access(url, endpoint, "a/b", frozenset(), Retry())


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry.example", "https://auth.example/token"),
        ("https://registry.example", "https://registry.example/token"),
        ("https://registry.example", "/token"),
        ("http://registry.example:5000", "http://registry.example:8080/token"),
        ("http://registry.example:5000", "https://auth.example/token"),
        ("http://127.0.0.1:5000", "http://localhost:5001/token"),
    ],
)
def test_token_server_is_asked_over_tls_or_on_the_registrys_own_host(
    registry: str, realm: str
) -> None:
    allowed = token_realm(Challenge("bearer", realm), _access(registry))

    assert allowed == URL(registry).join(URL(realm))


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry.example", "http://registry.example/token"),
        ("https://registry.example", "http://auth.example/token"),
        ("https://registry.example", "http://127.0.0.1:8080/token"),
        ("http://registry.example", "http://auth.example/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.2:5000/token"),
        ("https://registry.example", "https://169.254.169.254/token"),
        ("https://registry.example", "https://[fe80::1]/token"),
        ("https://registry.example", "file:///etc/passwd"),
        ("https://registry.example", ""),
        ("https://registry.example", "https://[/token"),
    ],
)
def test_token_server_that_could_be_anybody_is_refused(registry: str, realm: str) -> None:
    with pytest.raises(RegistryError, match="refused"):
        token_realm(Challenge("bearer", realm), _access(registry))


def test_userinfo_in_a_realm_is_dropped() -> None:
    realm = token_realm(
        Challenge("bearer", "https://user:pass@auth.example/token#x"),
        _access("https://registry.example"),
    )

    assert realm == URL("https://auth.example/token")
