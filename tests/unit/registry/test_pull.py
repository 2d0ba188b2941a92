import pytest

from asynckaniko.errors import IntegrityError
from asynckaniko.oci.digest import Digest
from asynckaniko.registry.download import first_byte
from asynckaniko.registry.pull import check_digest

WHERE = "blob"


@pytest.mark.parametrize(
    ("status", "headers", "start"),
    [
        (200, {}, 0),
        (200, {"Content-Length": "100"}, 0),
        (206, {"Content-Range": "bytes 40-99/100"}, 40),
        (206, {"Content-Range": "bytes 40-99/*"}, 40),
        # Unusable: the whole blob is asked for again.
        (206, {}, None),
        (206, {"Content-Range": "bytes */100"}, None),
        (206, {"Content-Range": "items 40-99/100"}, None),
        (416, {"Content-Range": "bytes */100"}, None),
    ],
)
def test_response_says_where_it_starts(
    status: int, headers: dict[str, str], start: int | None
) -> None:
    assert first_byte(status, headers, 100, WHERE) == start


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content-Length": "99"}),
        (200, {"Content-Length": "101"}),
        (206, {"Content-Range": "bytes 40-100/101"}),
    ],
)
def test_response_about_a_blob_of_another_size_is_refused(
    status: int, headers: dict[str, str]
) -> None:
    with pytest.raises(IntegrityError, match="the manifest says 100"):
        first_byte(status, headers, 100, WHERE)


def test_document_must_have_the_digest_that_asked_for_it() -> None:
    check_digest(b"x", wanted=Digest.of(b"x"), headers={}, where=WHERE)

    with pytest.raises(IntegrityError, match="expected"):
        check_digest(b"x", wanted=Digest.of(b"y"), headers={}, where=WHERE)


def test_document_must_have_the_digest_that_the_registry_claims() -> None:
    claimed = {"Docker-Content-Digest": Digest.of(b"y")}

    with pytest.raises(IntegrityError, match="calls it"):
        check_digest(b"x", wanted=None, headers=claimed, where=WHERE)


def test_claim_in_another_algorithm_says_nothing() -> None:
    claimed = {"Docker-Content-Digest": "sha512:" + "0" * 128}

    check_digest(b"x", wanted=None, headers=claimed, where=WHERE)
