import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.errors import InvalidReference
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Reference

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("registry.example/app@" + DIGEST, "registry.example/app@" + DIGEST),
        ("registry.example/app:v1@" + DIGEST, "registry.example/app:v1@" + DIGEST),
        ("UPPER/app", "UPPER/app:latest"),
    ],
)
def test_short_forms_mean_what_docker_takes_them_for(text: str, full: str) -> None:
    assert str(Reference.parse(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "a//b",
        "app:",
        "app:" + "t" * 129,
        "app:bad tag",
        "app@sha256:12",
        "app@md5:" + "0" * 32,
        "app@SHA256:" + "0F" * 32,
        "../etc/passwd",
        "registry.example/../app",
        "a" * 2000,
        "https://registry.example/app",
        "-app",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


@given(
    st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,2}(:[0-9]{2,5})?", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?){0,2}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
)
def test_full_form_is_read_back_as_the_same(host: str, name: str, tag: str) -> None:
    reference = Reference.parse(f"{host}/{name}:{tag}")

    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=80))
def test_no_other_text_gets_through_as_a_digest(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidReference:
        return
    assert digest == text
    assert len(digest.hex) == 64
    assert set(digest.hex) <= set("0123456789abcdef")
