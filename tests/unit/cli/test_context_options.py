"""read_context_options: flags and variables for contexts elsewhere."""

from pathlib import Path

import pytest

from asynckaniko.cli.context_options import bucket_context, read_context_options
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.context.options import ContextOptions
from asynckaniko.errors import UsageError


def read(
    *git: str, sub_path: str | None = None, uses_s3: bool = True, **variables: str
) -> ContextOptions:
    around = Surroundings(environment=variables)
    return read_context_options(around, sub_path=sub_path, git=git, uses_s3=uses_s3)


def test_nothing_given_is_the_default_of_the_library() -> None:
    assert read() == ContextOptions()


@pytest.mark.parametrize(
    "words",
    [
        ("branch=b", "depth=3", "single-branch=true", "recurse-submodules=1", "insecure-skip-tls"),
        ("branch=b,depth=3,single-branch,recurse-submodules,insecure-skip-tls=t",),
    ],
)
def test_git_keys(words: tuple[str, ...]) -> None:
    found = read(*words).git

    assert (found.branch, found.depth) == ("b", 3)
    assert found.single_branch
    assert found.recurse_submodules
    assert found.skip_tls_verify


@pytest.mark.parametrize("word", ["depth=x", "depth=-1", "single-branch=maybe", "nope=1"])
def test_wrong_git_key_is_an_error(word: str) -> None:
    with pytest.raises(UsageError, match=f"--git {word.partition('=')[0]}"):
        read(word)


def test_git_variables() -> None:
    found = read(
        GIT_TOKEN="t", GIT_USERNAME="u", GIT_PASSWORD="p", GIT_PULL_METHOD="http", PATH="/p", X="y"
    ).git

    assert (found.token, found.username, found.password) == ("t", "u", "p")
    assert found.pull_scheme == "http"
    assert dict(found.environment) == {"PATH": "/p"}
    assert "t" not in repr(found).replace("token", "").split("'")


def test_wrong_pull_method_is_an_error() -> None:
    with pytest.raises(UsageError, match="GIT_PULL_METHOD=ftp"):
        read(GIT_PULL_METHOD="ftp")


def test_sub_path_stays_below() -> None:
    assert read(sub_path="/a/b/").sub_path == "a/b"
    with pytest.raises(UsageError, match="--context-sub-path"):
        read(sub_path="a/../../b")


def test_bucket_is_googles_unless_it_says_otherwise() -> None:
    assert bucket_context("b/k") == "gs://b/k"
    assert bucket_context("s3://b") == "s3://b"


def test_profile_counts_where_no_variable_does(tmp_path: Path) -> None:
    directory = tmp_path / ".aws"
    directory.mkdir()
    (directory / "credentials").write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = s\naws_session_token = t\n"
    )
    (directory / "config").write_text("[default]\nregion = r\n")

    by_file = read(HOME=str(tmp_path)).object_store
    by_variable = read(HOME=str(tmp_path), AWS_ACCESS_KEY_ID="x", AWS_REGION="q").object_store

    assert by_file.s3_credentials == {
        "access_key_id": "a",
        "secret_access_key": "s",
        "session_token": "t",
    }
    assert by_file.s3_region == "r"
    assert by_variable.s3_credentials == {}
    assert by_variable.s3_region == "q"


def test_broken_profile_is_named_but_not_quoted(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("canary\n")

    with pytest.raises(UsageError) as caught:
        read(HOME=str(tmp_path))

    assert read(HOME=str(tmp_path), uses_s3=False).object_store.s3_credentials == {}
    assert ".aws/credentials" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_emulators_and_identities() -> None:
    found = read(
        STORAGE_EMULATOR_HOST="h:1",
        AZURE_CLIENT_ID="i",
        AZURE_STORAGE_ACCESS_KEY="k",
        S3_ENDPOINT="http://e",
        S3_FORCE_PATH_STYLE="true",
    ).object_store

    assert found.gcs_endpoint == "http://h:1"
    assert found.azure_identity
    assert found.azure_key == "k"
    assert (found.s3_endpoint, found.s3_force_path_style) == ("http://e", True)
