"""What the environment says about state, credentials, certificates and colours."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError


def around(tmp_path: Path, environment: Mapping[str, str], **more: bool) -> Surroundings:
    return Surroundings(
        environment=environment,
        system_state_dir=tmp_path / "var/asynckaniko",
        kaniko_dir=tmp_path / "kaniko",
        **more,
    )


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_root_keeps_state_in_the_system_directory(tmp_path: Path) -> None:
    found = around(tmp_path, {"HOME": "/root"}, is_root=True).state_dir()

    assert found == tmp_path / "var/asynckaniko"


def test_root_without_a_usable_system_directory_keeps_state_at_home(tmp_path: Path) -> None:
    write(tmp_path / "var")  # a file where a directory should be

    found = around(tmp_path, {"HOME": "/root"}, is_root=True).state_dir()

    assert found == Path("/root/.local/state/asynckaniko")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HOME": "/home/u"}, "/home/u/.local/state/asynckaniko"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/state"}, "/state/asynckaniko"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "rel"}, "/home/u/.local/state/asynckaniko"),
    ],
)
def test_others_keep_state_at_home(
    tmp_path: Path, environment: Mapping[str, str], expected: str
) -> None:
    assert around(tmp_path, environment).state_dir() == Path(expected)


def test_others_use_the_system_directory_if_it_was_made_for_them(tmp_path: Path) -> None:
    (tmp_path / "var/asynckaniko").mkdir(parents=True)

    found = around(tmp_path, {"HOME": "/home/u"}).state_dir()

    assert found == tmp_path / "var/asynckaniko"


def test_nowhere_to_keep_state_is_an_error_that_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--state-dir"):
        around(tmp_path, {}).state_dir()


def test_docker_config_is_a_directory(tmp_path: Path) -> None:
    config = write(tmp_path / "docker/config.json")

    assert around(tmp_path, {"DOCKER_CONFIG": str(config.parent)}).auth_files() == (config,)


def test_docker_config_may_be_the_file(tmp_path: Path) -> None:
    config = write(tmp_path / "auth.json")

    assert around(tmp_path, {"DOCKER_CONFIG": str(config)}).auth_files() == (config,)


def test_credentials_are_asked_in_order_and_only_those_that_exist(tmp_path: Path) -> None:
    home = write(tmp_path / "home/.docker/config.json")
    kaniko = write(tmp_path / "kaniko/.docker/config.json")
    registry = write(tmp_path / "registry.json")
    podman = write(tmp_path / "run/containers/auth.json")
    environment = {
        "HOME": str(tmp_path / "home"),
        "REGISTRY_AUTH_FILE": str(registry),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }

    assert around(tmp_path, environment).auth_files() == (home, kaniko, registry, podman)

    home.unlink()
    assert around(tmp_path, environment).auth_files() == (kaniko, registry, podman)


def test_docker_config_stands_in_for_the_home_directory(tmp_path: Path) -> None:
    write(tmp_path / "home/.docker/config.json")
    kaniko = write(tmp_path / "kaniko/.docker/config.json")
    environment = {"HOME": str(tmp_path / "home"), "DOCKER_CONFIG": str(tmp_path / "none")}

    assert around(tmp_path, environment).auth_files() == (kaniko,)


def test_every_file_of_a_certificate_directory_is_trusted(tmp_path: Path) -> None:
    one = write(tmp_path / "certs/ca-certificates.crt")
    two = write(tmp_path / "certs/additional-ca-cert-bundle.crt")
    (tmp_path / "certs/directory").mkdir()
    (tmp_path / "certs/dangling").symlink_to("nowhere")
    kaniko = write(tmp_path / "kaniko/ssl/certs/own.pem")

    found = around(tmp_path, {"SSL_CERT_DIR": str(tmp_path / "certs")}).ca_files()

    assert found == (two, one, kaniko)


def test_certificate_file_of_the_environment_is_trusted(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle.pem")

    assert around(tmp_path, {"SSL_CERT_FILE": str(bundle)}).ca_files() == (bundle,)


@pytest.mark.parametrize(
    ("environment", "is_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"CLICOLOR_FORCE": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_the_conventions(
    tmp_path: Path, environment: Mapping[str, str], is_terminal: bool, expected: bool
) -> None:
    assert around(tmp_path, environment, is_terminal=is_terminal).color() is expected


def test_boolean_variable_must_be_a_boolean_word(tmp_path: Path) -> None:
    found = around(tmp_path, {"YES": "1", "NO": "f", "EMPTY": "", "BAD": "maybe"})

    assert found.boolean("YES") is True
    assert found.boolean("NO") is False
    assert found.boolean("EMPTY") is None
    assert found.boolean("UNSET") is None
    with pytest.raises(UsageError, match='invalid value "maybe" of BAD'):
        found.boolean("BAD")


def test_environment_is_not_printed(tmp_path: Path) -> None:
    assert "hunter2" not in repr(around(tmp_path, {"TOKEN": "hunter2"}))
