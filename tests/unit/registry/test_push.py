import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asynckaniko.errors import (
    NotFound,
    RegistryError,
    RegistryRejected,
    RegistryUnavailable,
    Unauthorized,
)
from asynckaniko.oci.digest import Digest
from asynckaniko.registry.push import Remedy, choose_remedy
from asynckaniko.registry.retry import Interrupted
from asynckaniko.registry.uploads import (
    acknowledged,
    request_size,
    upload_location,
    with_digest,
)

WHERE = "https://registry.example/v2/a/blobs/uploads/1"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (Interrupted("PUT", WHERE, "cut"), Remedy.RESUME),
        (RegistryRejected("PUT", WHERE, 503), Remedy.RESUME),
        (RegistryRejected("PATCH", WHERE, 429), Remedy.RESUME),
        (RegistryRejected("PATCH", WHERE, 416), Remedy.RESUME),
        (NotFound("PUT", WHERE, 404, ("BLOB_UPLOAD_UNKNOWN",)), Remedy.RESTART),
        (RegistryRejected("PUT", WHERE, 400, ("BLOB_UPLOAD_INVALID",)), Remedy.RESTART),
        (RegistryRejected("PUT", WHERE, 400, ("DIGEST_INVALID",)), Remedy.RESTART),
        (RegistryRejected("PUT", WHERE, 400), Remedy.RESTART),
        (RegistryRejected("PUT", WHERE, 413), Remedy.RESTART),
        (RegistryRejected("PUT", WHERE, 400, ("NAME_INVALID",)), Remedy.NONE),
        (RegistryRejected("PUT", WHERE, 405), Remedy.NONE),
        (Unauthorized("PUT", WHERE, 401), Remedy.NONE),
        (RegistryUnavailable("gave up"), Remedy.NONE),
        (RegistryError("unusable Location"), Remedy.NONE),
    ],
)
def test_remedy_follows_from_the_error(error: RegistryError, remedy: Remedy) -> None:
    assert choose_remedy(error) is remedy


@pytest.mark.parametrize(
    ("value", "size"),
    [("0-0", 1), ("0-99", 100), ("bytes=0-99", 100), ("5-9", None), ("", None), ("0-", None)],
)
def test_range_says_how_much_is_kept(value: str, size: int | None) -> None:
    assert acknowledged(CIMultiDictProxy(CIMultiDict({"Range": value}))) == size


@given(st.text(max_size=40))
def test_any_range_is_a_size_or_nothing(value: str) -> None:
    size = acknowledged(CIMultiDictProxy(CIMultiDict({"Range": value})))

    assert size is None or size > 0


@pytest.mark.parametrize(
    ("configured", "smallest", "size"),
    [
        (0, 0, 0),
        (0, 5 << 20, 0),
        (1 << 20, 0, 1 << 20),
        (1 << 20, 5 << 20, 5 << 20),
        (8 << 20, 5 << 20, 8 << 20),
        # A server that wants chunks larger than we would hold open gets everything at once.
        (1 << 20, 10 << 30, 0),
        (128 << 20, 0, 128 << 20),
    ],
)
def test_chunks_are_as_large_as_the_registry_wants(
    configured: int, smallest: int, size: int
) -> None:
    assert request_size(configured, smallest=smallest) == size


@pytest.mark.parametrize(
    ("source", "text", "location"),
    [
        ("https://r:5000/v2/", "/v2/a?_state=x", "https://r:5000/v2/a?_state=x"),
        ("https://r:5000/v2/", "https://storage.example/a", "https://storage.example/a"),
        # The registry sits behind a proxy that ends TLS.
        ("https://r:5000/v2/", "http://r/v2/a?_state=x", "https://r:5000/v2/a?_state=x"),
        ("https://r/v2/", "http://r:5000/v2/a", "https://r/v2/a"),
        ("http://r:5000/v2/", "http://r:5000/v2/a", "http://r:5000/v2/a"),
    ],
)
def test_upload_goes_where_the_registry_says(source: str, text: str, location: str) -> None:
    assert str(upload_location(URL(source), text)) == location


@pytest.mark.parametrize("text", ["", "http://storage.example/a", "file:///x", "https://[::1"])
def test_upload_goes_nowhere_else(text: str) -> None:
    with pytest.raises(RegistryError):
        upload_location(URL("https://r:5000/v2/"), text)


def test_registrys_own_parameters_stay_as_written_beside_the_digest() -> None:
    digest = Digest.of(b"")
    state = URL("https://r/u?_state=a%2Bb%3D%3D&x=a+b", encoded=True)

    assert (
        str(with_digest(state, digest)) == f"https://r/u?_state=a%2Bb%3D%3D&x=a+b&digest={digest}"
    )
    assert str(with_digest(URL("https://r/u"), digest)) == f"https://r/u?digest={digest}"
