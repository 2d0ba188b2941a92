"""--build-arg, --label, --secret and --ssh as Docker and kaniko write them."""

import socket
from pathlib import Path

import pytest

from asynckaniko.build.request import Secret
from asynckaniko.cli.inputs import read_build_args, read_pairs, read_secrets, read_ssh
from asynckaniko.errors import UsageError


def test_build_arg_keeps_everything_after_the_first_equals_sign() -> None:
    assert read_build_args(["A=1=2", "B=", "C=a,b"], {}) == {"A": "1=2", "B": "", "C": "a,b"}


def test_build_arg_without_value_comes_from_the_environment() -> None:
    found = read_build_args(["TOKEN", "UNSET"], {"TOKEN": "t"})

    assert found == {"TOKEN": "t"}


def test_build_arg_without_name_is_an_error() -> None:
    with pytest.raises(UsageError, match='invalid --build-arg "=x"'):
        read_build_args(["=x"], {})


def test_last_of_two_equal_keys_wins() -> None:
    assert read_pairs(["a=1", "a=2"], flag="--label", form="KEY=VALUE") == {"a": "2"}


@pytest.mark.parametrize("value", ["a", "=1"])
def test_pair_without_key_or_equals_sign_is_an_error(value: str) -> None:
    with pytest.raises(UsageError, match=f'invalid --label "{value}": it must be KEY=VALUE'):
        read_pairs([value], flag="--label", form="KEY=VALUE")


@pytest.mark.parametrize(
    "text", ["id=npm,src={file}", "id=npm,source={file}", "type=file,id=npm,src={file}"]
)
def test_secret_from_a_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "npmrc"
    file.write_text("x")

    assert read_secrets([text.format(file=file)], {}) == {"npm": Secret(path=file)}


@pytest.mark.parametrize(
    "text", ["id=t,env=TOKEN", "id=t,type=env,env=TOKEN", "id=t,type=env,src=TOKEN"]
)
def test_secret_from_a_variable(text: str) -> None:
    assert read_secrets([text], {"TOKEN": "s3cret"}) == {"t": Secret(value=b"s3cret")}


def test_secret_by_id_alone_is_the_variable_of_that_name() -> None:
    assert read_secrets(["id=TOKEN"], {"TOKEN": "x"}) == {"TOKEN": Secret(value=b"x")}


def test_secret_by_id_alone_is_else_the_file_of_that_name(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x")

    assert read_secrets([f"id={file}"], {}) == {str(file): Secret(path=file)}


def test_secret_value_need_not_be_unicode() -> None:
    value = b"\xff\xfe".decode(errors="surrogateescape")

    assert read_secrets(["id=t,env=T"], {"T": value}) == {"t": Secret(value=b"\xff\xfe")}


def test_quoted_field_of_a_secret_may_hold_a_comma(tmp_path: Path) -> None:
    file = tmp_path / "a,b"
    file.write_text("x")

    assert read_secrets([f'id=t,"src={file}"'], {}) == {"t": Secret(path=file)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["src=/etc/passwd"], "it needs id=ID"),
        (["id=a,src=/no/such"], "--secret id=a: there is no file /no/such"),
        (["id=a,env=UNSET"], "--secret id=a: the variable UNSET is not set"),
        (["id=a,env=A,src=/etc/passwd"], "src and env exclude each other"),
        (["id=a,type=file,env=A"], "a secret of type file has src, not env"),
        (["id=a,type=vault"], 'type "vault" must be file or env'),
        (["id=a,env=A", "id=a,env=A"], '--secret: id "a" is given twice'),
        (["id=a,hunter2"], "its fields are id, type, src, source, env"),
        (["id=a,password=hunter2"], "its fields are id, type, src, source, env"),
    ],
)
def test_wrong_secret_is_an_error_that_does_not_repeat_it(values: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_secrets(values, {"A": "1"})

    assert message in caught.value.message
    assert "hunter2" not in caught.value.message


def test_ssh_agent_is_the_one_of_the_environment(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(agent))

        assert read_ssh(["default"], {"SSH_AUTH_SOCK": str(agent)}) == {"default": agent}
        assert read_ssh([f"git={agent}"], {}) == {"git": agent}


def test_ssh_key_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    key.write_text("key")

    with pytest.raises(UsageError, match=r"only agents can be offered.*ssh-add"):
        read_ssh([f"default={key}"], {})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("default", "no agent is running"),
        ("git=/no/such/socket", "there is no socket /no/such/socket"),
    ],
)
def test_missing_ssh_agent_is_an_error(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_ssh([value], {})
