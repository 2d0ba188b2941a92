"""`asynckaniko login` keeps credentials where docker and the registry client find them."""

import base64
import os
import stat
from pathlib import Path

import orjson
import pytest

from asynckaniko.cli.login_command import read_password, store_credentials
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import HostError, UsageError


def around(tmp_path: Path) -> Surroundings:
    return Surroundings(environment={"DOCKER_CONFIG": str(tmp_path / "docker")})


def config_of(tmp_path: Path) -> Path:
    return tmp_path / "docker/config.json"


def write_config(tmp_path: Path, text: str) -> Path:
    path = config_of(tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    return path


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin/docker-credential-keeper"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_credentials_go_into_a_private_file(tmp_path: Path) -> None:
    place = store_credentials("r.example.com", "ci", "s3cret", around(tmp_path))

    path = config_of(tmp_path)
    assert place == str(path)
    auth = base64.b64encode(b"ci:s3cret").decode()
    assert orjson.loads(path.read_bytes()) == {"auths": {"r.example.com": {"auth": auth}}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_in_the_file_stays(tmp_path: Path) -> None:
    path = write_config(
        tmp_path, '{"auths": {"a": {"auth": "x"}, "b": {"auth": "y"}}, "proxies": {"p": 1}}'
    )

    store_credentials("b", "u", "p", around(tmp_path))

    config = orjson.loads(path.read_bytes())
    assert config["proxies"] == {"p": 1}
    assert config["auths"]["a"] == {"auth": "x"}
    assert config["auths"]["b"] == {"auth": base64.b64encode(b"u:p").decode()}


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("docker.io", "https://index.docker.io/v1/"),
        ("index.docker.io", "https://index.docker.io/v1/"),
        ("https://index.docker.io/v1/", "https://index.docker.io/v1/"),
        ("https://r.example.com/", "r.example.com"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_registry_is_kept_under_dockers_key(tmp_path: Path, registry: str, key: str) -> None:
    store_credentials(registry, "u", "p", around(tmp_path))

    assert list(orjson.loads(config_of(tmp_path).read_bytes())["auths"]) == [key]


@pytest.mark.parametrize(
    "config", ['{"credsStore": "keeper"}', '{"credHelpers": {"r.io": "keeper"}}']
)
def test_helper_gets_the_credentials_if_the_file_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    path = write_config(tmp_path, config)
    helper(tmp_path, monkeypatch, f'[ "$1" = store ] && cat > {tmp_path}/kept')

    place = store_credentials("r.io", "u", "p", around(tmp_path))

    assert place == "docker-credential-keeper"
    kept = orjson.loads((tmp_path / "kept").read_bytes())
    assert kept == {"ServerURL": "r.io", "Username": "u", "Secret": "p"}
    assert path.read_text() == config


def test_failing_helper_is_an_error_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path, '{"credsStore": "keeper"}')
    helper(tmp_path, monkeypatch, "cat; exit 3")

    with pytest.raises(HostError) as caught:
        store_credentials("r.io", "u", "hunter2", around(tmp_path))

    assert "docker-credential-keeper store failed with exit status 3" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_missing_helper_is_an_error(tmp_path: Path) -> None:
    write_config(tmp_path, '{"credsStore": "nowhere-to-be-found"}')

    with pytest.raises(HostError, match="is not installed"):
        store_credentials("r.io", "u", "p", around(tmp_path))


@pytest.mark.parametrize("text", ["not json", "[]", '{"auths": []}'])
def test_file_that_is_no_config_is_left_alone(tmp_path: Path, text: str) -> None:
    path = write_config(tmp_path, text)

    with pytest.raises(UsageError, match=r"is not a docker config\.json"):
        store_credentials("r.io", "u", "p", around(tmp_path))

    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "password"), [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), ("a b\n\n", "a b\n")]
)
def test_password_from_stdin_loses_one_line_end(text: str, password: str) -> None:
    assert read_password("", from_stdin=True, read_stdin=lambda: text) == password


@pytest.mark.parametrize(
    ("given", "from_stdin", "message"),
    [
        ("p", True, "exclude each other"),
        ("", False, "give the password with --password-stdin"),
        ("", True, "the password is empty"),
    ],
)
def test_password_comes_from_one_place(given: str, from_stdin: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_password(given, from_stdin=from_stdin, read_stdin=lambda: "\n")
