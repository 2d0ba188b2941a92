import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asynckaniko.errors import RegistryError
from asynckaniko.registry.wire import redirect_target

SOURCE = URL("https://registry.example:5000/v2/a/blobs/x?y=z")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?c=d", "https://registry.example:5000/b?c=d"),
        ("other", "https://registry.example:5000/v2/a/blobs/other"),
        ("//cdn.example/b", "https://cdn.example/b"),
        # A signature counts byte for byte.
        (
            "https://cdn.example/b%2Fc?sig=a%2Bb%3D&x=a+b",
            "https://cdn.example/b%2Fc?sig=a%2Bb%3D&x=a+b",
        ),
        ("https://u:p@cdn.example/b", "https://cdn.example/b"),
    ],
)
def test_redirect_is_resolved_and_loses_userinfo(location: str, target: str) -> None:
    assert str(redirect_target(SOURCE, location)) == target


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://registry.example:5000/b",
        "http://cdn.example/b",
        "file:///etc/passwd",
        "ftp://cdn.example/b",
        "https://[::1",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/x",
    ],
)
def test_redirect_that_must_not_be_followed_is_refused(location: str) -> None:
    with pytest.raises(RegistryError):
        redirect_target(SOURCE, location)


def test_plain_http_may_stay_plain_http() -> None:
    source = URL("http://registry.example/v2/")

    assert redirect_target(source, "http://minio:9000/b") == URL("http://minio:9000/b")


@given(st.text(max_size=100))
def test_any_location_is_resolved_or_refused(location: str) -> None:
    try:
        target = redirect_target(SOURCE, location)
    except RegistryError:
        return
    assert target.scheme == "https"
    assert target.host
