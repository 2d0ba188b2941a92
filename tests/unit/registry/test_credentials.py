import base64
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.errors import UsageError
from asynckaniko.registry.credentials import AuthConfig, AuthFile, Credential, Credentials, Secret

WriteHelper = Callable[[str, str], None]


def config(**document: object) -> AuthConfig:
    return AuthConfig.parse(orjson.dumps(document), where="config.json")


def basic(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


async def found(config: AuthConfig, registry: str, name: str = "a/b") -> tuple[str, str] | None:
    credential = await config.find(registry, name)
    return (credential.username, credential.password.reveal()) if credential else None


@pytest.mark.parametrize(
    "key",
    ["r.example", "https://r.example", "http://r.example/", "https://r.example/v2/", "R.Example"],
)
async def test_host_is_found_however_its_key_is_written(key: str) -> None:
    assert await found(config(auths={key: basic("u:p")}), "r.example") == ("u", "p")


@pytest.mark.parametrize(
    "key",
    ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io"],
)
async def test_docker_hub_has_many_keys(key: str) -> None:
    assert await found(config(auths={key: basic("u:p")}), "docker.io") == ("u", "p")


async def test_longest_path_counts() -> None:
    auths = {
        "r.example": basic("host:p"),
        "r.example/team": basic("team:p"),
        "r.example/team/app": basic("app:p"),
        "r.example/te": basic("wrong:p"),
    }

    for name, user in [
        ("team/app", "app"),
        ("team/app/x", "app"),
        ("team/b", "team"),
        ("t", "host"),
    ]:
        assert await found(config(auths=auths), "r.example", name) == (user, "p")


async def test_port_is_part_of_the_host() -> None:
    auths = {"r.example": basic("a:p"), "r.example:5000": basic("b:p")}

    assert await found(config(auths=auths), "r.example:5000") == ("b", "p")
    assert await found(config(auths=auths), "r.example:5001") is None


async def test_password_may_hold_colons_and_lose_its_padding() -> None:
    auth = base64.b64encode(b"u:p:q\0\0").decode().rstrip("=")

    assert await found(config(auths={"r": {"auth": auth}}), "r") == ("u", "p:q")


async def test_username_and_password_may_stand_alone() -> None:
    entry = {"username": "u", "password": "p"}

    assert await found(config(auths={"r": entry}), "r") == ("u", "p")


async def test_tokens_are_found() -> None:
    auths = {"i": basic("u:") | {"identitytoken": "I"}, "r": {"registrytoken": "R"}}

    identity = await config(auths=auths).find("i", "")
    token = await config(auths=auths).find("r", "")

    assert identity == Credential("u", identity_token=Secret("I"))
    assert token == Credential(registry_token=Secret("R"))


async def test_empty_entry_is_none() -> None:
    assert await found(config(auths={"r": {}}), "r") is None


@pytest.mark.parametrize("auth", ["!!!", "dXNlcg==", "/w=="])
async def test_malformed_auth_is_an_error_without_its_value(auth: str) -> None:
    with pytest.raises(UsageError, match=r"config.json \(r\): auth is not base64") as caught:
        await config(auths={"r": {"auth": auth}}).find("r", "")

    assert auth not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"auths": []}', b'{"credsStore": 1}', b"\xff"])
def test_file_of_another_kind_is_an_error_that_names_it(content: bytes) -> None:
    with pytest.raises(UsageError, match=r"auth file /x/config.json: not"):
        AuthConfig.parse(content, where="/x/config.json")


def test_empty_file_knows_nothing() -> None:
    AuthConfig.parse(b" \n", where="config.json")


async def test_first_file_that_knows_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_bytes(orjson.dumps({"auths": {"a": basic("first:p")}}))
    second.write_bytes(orjson.dumps({"auths": {"a": basic("2:p"), "b": basic("second:p")}}))
    missing = tmp_path / "none" / "config.json"
    credentials = Credentials([AuthFile(missing), AuthFile(first), AuthFile(second)])

    users = [await credentials.find(host, "") for host in ("a", "b", "c")]

    assert [user and user.username for user in users] == ["first", "second", None]
    assert users[0]
    assert users[0].source == f"{first} (a)"


async def test_file_is_read_again_after_forgetting(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(orjson.dumps({"auths": {"a": basic("u:old")}}))
    credentials = Credentials([AuthFile(file)])
    await credentials.find("a", "")
    file.write_bytes(orjson.dumps({"auths": {"a": basic("u:new")}}))

    kept = await credentials.find("a", "")
    credentials.forget()
    renewed = await credentials.find("a", "")

    assert kept == Credential("u", Secret("old"))
    assert renewed == Credential("u", Secret("new"))


async def test_auth_file_that_is_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        await AuthFile(tmp_path).find("a", "")


@pytest.fixture
def write_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteHelper:
    """Put a program `docker-credential-NAME` with this shell script on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(name: str, script: str) -> None:
        program = tmp_path / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return write


ANSWER = """read server; echo "$1 $server" >> "$0.log"
echo '{"ServerURL": "'$server'", "Username": "u", "Secret": "from-helper"}'"""


async def test_helper_of_the_host_is_asked(write_helper: WriteHelper, tmp_path: Path) -> None:
    write_helper("one", ANSWER)
    file = config(credHelpers={"r.example:5000": "one"})

    assert await found(file, "r.example:5000") == ("u", "from-helper")
    assert (tmp_path / "docker-credential-one.log").read_text() == "get r.example:5000\n"


async def test_default_helper_is_asked_about_docker_hub_by_its_old_name(
    write_helper: WriteHelper, tmp_path: Path
) -> None:
    write_helper("all", ANSWER)

    assert await found(config(credsStore="all"), "docker.io") == ("u", "from-helper")
    assert (tmp_path / "docker-credential-all.log").read_text() == (
        "get https://index.docker.io/v1/\n"
    )


async def test_helper_is_asked_once_until_its_answer_is_refused(
    write_helper: WriteHelper, tmp_path: Path
) -> None:
    write_helper("one", ANSWER)
    source = tmp_path / "config.json"
    source.write_bytes(orjson.dumps({"credHelpers": {"r": "one"}}))
    file = AuthFile(source)

    for _ in range(3):
        await file.find("r", "a")
    file.forget()
    await file.find("r", "a")

    assert (tmp_path / "docker-credential-one.log").read_text() == "get r\n" * 2


async def test_helper_may_give_an_identity_token(write_helper: WriteHelper) -> None:
    write_helper("one", """echo '{"Username": "<token>", "Secret": "I"}'""")

    assert await config(credHelpers={"r": "one"}).find("r", "") == Credential(
        identity_token=Secret("I")
    )


@pytest.mark.parametrize(
    "script",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo nonsense",
        "echo '[]'",
        "echo '{}'",
        "kill -9 $$",
    ],
)
async def test_helper_without_an_answer_leaves_the_file_to_answer(
    write_helper: WriteHelper, script: str
) -> None:
    write_helper("one", script)
    file = config(credHelpers={"r": "one"}, auths={"r": basic("u:p")})

    assert await found(file, "r") == ("u", "p")


async def test_missing_helper_is_no_error_but_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert await found(config(credsStore="not-installed"), "r") is None
    assert "docker-credential-not-installed: No such file" in caplog.text


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", " "])
async def test_helper_name_cannot_be_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="no credential helper's name"):
        await config(credHelpers={"r": name}).find("r", "")


async def test_entry_of_the_file_goes_before_the_default_helper(write_helper: WriteHelper) -> None:
    write_helper("all", ANSWER)

    assert await found(config(credsStore="all", auths={"r": basic("u:p")}), "r") == ("u", "p")


@given(st.text(min_size=1))
def test_secret_is_in_no_representation(value: str) -> None:
    secret = Secret(f"canary-{value}")
    credential = Credential("u", secret, secret, secret)

    for shown in (repr(secret), str(secret), f"{secret}", repr(credential), str(credential)):
        assert "canary" not in shown


def test_every_form_of_a_credential_is_known_for_blacking_out() -> None:
    credential = Credential("u", Secret("pass"), Secret("identity"), Secret("token"))

    assert set(credential.secrets) == {
        "pass",
        "identity",
        "token",
        base64.b64encode(b"u:pass").decode(),
    }
