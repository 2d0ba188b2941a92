import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asynckaniko.errors import BlobUnknown, NotFound, RegistryRejected, Unauthorized
from asynckaniko.registry.rejection import ErrorBody, printable, rejection

WHERE = URL("https://registry.example/v2/a/manifests/1?_state=SECRET")


def body(*errors: object) -> bytes:
    return orjson.dumps({"errors": errors})


def test_registrys_codes_and_messages_are_read() -> None:
    content = body(
        {"code": "DENIED", "message": "requested access is denied", "detail": None},
        {"code": "UNKNOWN", "message": "boo", "detail": {"digest": "sha256:0"}},
    )

    said = ErrorBody.read(content)

    assert said.codes == ("DENIED", "UNKNOWN")
    assert said.detail == 'DENIED: requested access is denied; UNKNOWN: boo ({"digest":"sha256:0"})'


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", ""),
        (b"upstream timed out\n", "upstream timed out"),
        (b"<html><h1>502 Bad Gateway</h1>nginx</html>", "502 Bad Gateway nginx"),
        (b'{"details": "incorrect username or password"}', "incorrect username or password"),
        (b'{"error": "invalid_grant", "error_description": "expired"}', "expired; invalid_grant"),
        (b'{"errors": "odd"}', "odd"),
        (b'{"errors": [1, 2]}', ""),
        (b"[]", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x1b[31mred\r\nline", "a [31mred line"),
    ],
)
def test_other_bodies_say_what_they_can(content: bytes, detail: str) -> None:
    assert ErrorBody.read(content) == ErrorBody((), detail)


@given(st.binary(max_size=300))
def test_any_body_is_read_without_an_exception(content: bytes) -> None:
    assert ErrorBody.read(content).detail.isprintable()


def test_long_bodies_are_cut() -> None:
    assert len(ErrorBody.read(b"x" * 100_000).detail) < 1000


def test_secrets_that_are_echoed_are_blacked_out() -> None:
    content = body({"code": "DENIED", "message": "token canary-token is bad"})

    said = ErrorBody.read(content, secrets=["canary-token"])

    assert said.detail == "DENIED: token *** is bad"


@pytest.mark.parametrize(
    ("method", "status", "codes", "kind"),
    [
        ("GET", 401, (), Unauthorized),
        ("PUT", 403, ("DENIED",), Unauthorized),
        ("GET", 404, ("MANIFEST_UNKNOWN",), NotFound),
        ("PUT", 400, ("MANIFEST_BLOB_UNKNOWN",), BlobUnknown),
        ("PUT", 404, ("BLOB_UNKNOWN",), BlobUnknown),
        ("GET", 404, ("BLOB_UNKNOWN",), NotFound),
        ("PUT", 400, ("MANIFEST_INVALID",), RegistryRejected),
        ("GET", 503, (), RegistryRejected),
    ],
)
def test_class_follows_status_and_codes(
    method: str, status: int, codes: tuple[str, ...], kind: type[RegistryRejected]
) -> None:
    error = rejection(method, WHERE, status, ErrorBody(codes, "said"))

    assert type(error) is kind
    assert error.codes == codes
    assert str(error) == f"{method} https://registry.example/v2/a/manifests/1: HTTP {status} (said)"


def test_printed_url_has_no_userinfo_query_or_fragment() -> None:
    url = URL("https://user:canary@registry.example:5000/v2/a?X-Amz-Signature=canary#canary")

    assert printable(url) == "https://registry.example:5000/v2/a"
