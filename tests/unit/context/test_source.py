"""open_context and read_dockerfile: what --context and --dockerfile find."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from asynckaniko.context.source import open_context, read_dockerfile
from asynckaniko.errors import ContextError

LIMIT = 1000


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    root.mkdir(exist_ok=True)
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a working directory that is not the context."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return write(tmp_path / "context", {})


@pytest.mark.parametrize("form", ["{0}", "dir://{0}", "{0}/", "{0}/sub/.."])
def test_context_is_a_directory_with_or_without_scheme(context: Path, form: str) -> None:
    (context / "sub").mkdir()

    opened = open_context(form.format(context))

    assert opened.directory.samefile(context)
    assert opened.directory.is_absolute()
    assert opened.ignore == ()


def test_relative_context_starts_from_the_working_directory(here: Path) -> None:
    write(here / "sub", {})

    assert open_context("sub").directory == here / "sub"
    assert open_context(".").directory == here


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "build context nowhere: No such file or directory"),
        ("file", "build context file: is a file, not a directory"),
        ("file/below", "build context file/below: Not a directory"),
        ("", "build context: the path is empty"),
        ("dir://nowhere", "build context nowhere: No such file"),
        ("s3://user:password@bucket/x.tar.gz", "build context s3://bucket/x.tar.gz: this is no"),
        ("s3://bucket/x.tar.gz", "build context s3://...: this kind"),
        ("https://token@host/x", "build context https://...: this kind"),
    ],
)
def test_what_is_no_context_is_said_without_secrets(here: Path, source: str, message: str) -> None:
    (here / "file").touch()

    with pytest.raises(ContextError) as caught:
        open_context(source)

    assert message in str(caught.value)
    assert "password" not in str(caught.value)
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "ignore"),
    [
        ({}, []),
        ({".dockerignore": "# comment\na\n!b\n"}, ["a", "!b"]),
        ({".dockerignore": "a", "Dockerfile.dockerignore": "b"}, ["b"]),
        ({".dockerignore": "a", "Dockerfile.dockerignore": ""}, []),
        ({".dockerignore": "a", "other.dockerignore": "b"}, ["a"]),
    ],
)
def test_ignore_file_beside_the_dockerfile_replaces_the_contexts(
    context: Path, files: Mapping[str, str], ignore: Sequence[str]
) -> None:
    write(context, files)

    assert list(open_context(str(context), dockerfile=context / "Dockerfile").ignore) == ignore


def test_ignore_file_belongs_to_the_dockerfile_wherever_that_is(here: Path, context: Path) -> None:
    write(context, {".dockerignore": "a", "Dockerfile.dockerignore": "b"})
    write(here, {"my.dockerfile.dockerignore": "c"})

    opened = open_context(str(context), dockerfile=here / "my.dockerfile")

    assert opened.ignore == ("c",)


def test_named_context_uses_its_own_ignore_file(context: Path) -> None:
    write(context, {".dockerignore": "a", "Dockerfile.dockerignore": "b"})

    assert open_context(str(context)).ignore == ("a",)


def test_ignore_file_that_cannot_be_one_is_named(context: Path) -> None:
    write(context, {".dockerignore": "x" * 70_000})

    with pytest.raises(ContextError, match=r"context/\.dockerignore: .*longer"):
        open_context(str(context))


@pytest.mark.parametrize("what", ["directory", "fifo"])
def test_special_ignore_file_is_refused_without_waiting(context: Path, what: str) -> None:
    path = context / ".dockerignore"
    path.mkdir() if what == "directory" else os.mkfifo(path)

    with pytest.raises(ContextError, match=r"\.dockerignore: is "):
        open_context(str(context))


def found(name: str, context: Path, limit: int = LIMIT) -> str:
    return read_dockerfile(name, context=str(context), limit=limit).content.decode()


@pytest.mark.parametrize(
    ("name", "in_context", "in_here", "expected"),
    [
        ("Dockerfile", {"Dockerfile": "context"}, {}, "context"),
        ("Dockerfile", {}, {"Dockerfile": "here"}, "here"),
        ("Dockerfile", {"Dockerfile": "context"}, {"Dockerfile": "here"}, "context"),
        ("./Dockerfile", {"Dockerfile": "context"}, {"Dockerfile": "here"}, "here"),
        ("my.file", {"my.file": "context"}, {}, "context"),
        ("my.file", {"my.file": "context"}, {"my.file": "here"}, "here"),
        ("build/Dockerfile", {"build/Dockerfile": "context"}, {}, "context"),
        ("/build/x", {"build/x": "context"}, {}, "context"),
        ("Dockerfile", {"dockerfile": "lower"}, {}, "lower"),
        ("Dockerfile", {"dockerfile": "lower", "Dockerfile": "upper"}, {}, "upper"),
        ("build/Dockerfile", {"build/dockerfile": "lower"}, {}, "lower"),
    ],
)
def test_dockerfile_is_looked_for_here_and_in_the_context(
    here: Path,
    context: Path,
    name: str,
    in_context: Mapping[str, str],
    in_here: Mapping[str, str],
    expected: str,
) -> None:
    write(here, in_here)
    write(context, in_context)

    assert found(name, context) == expected


@pytest.mark.parametrize("name", ["Dockerfiles", "my.Dockerfile"])
def test_other_names_have_no_lower_case_form(here: Path, context: Path, name: str) -> None:
    write(context, {name.lower(): "lower"})

    with pytest.raises(ContextError, match="there is no Dockerfile"):
        found(name, context)


def test_source_says_where_it_was_and_how_it_was_called(here: Path, context: Path) -> None:
    write(context, {"build/x": "FROM scratch"})

    source = read_dockerfile("build/x", context=f"dir://{context}", limit=LIMIT)

    assert (source.path, source.name) == (context / "build/x", "build/x")


def test_link_to_a_dockerfile_is_followed(here: Path, context: Path) -> None:
    write(context, {"common/base": "common"})
    (context / "Dockerfile").symlink_to("common/base")

    assert found("Dockerfile", context) == "common"


def test_missing_dockerfile_says_where_it_was_looked_for(here: Path, context: Path) -> None:
    with pytest.raises(ContextError) as caught:
        found("my.file", context)

    assert str(caught.value) == (
        f"there is no Dockerfile: tried my.file and {context}/my.file; name it with --dockerfile"
    )


def test_dangling_link_is_no_dockerfile(here: Path, context: Path) -> None:
    (context / "Dockerfile").symlink_to("nowhere")

    with pytest.raises(ContextError, match="there is no Dockerfile"):
        found("Dockerfile", context)


def test_dockerfile_has_a_size_limit(here: Path, context: Path) -> None:
    write(context, {"Dockerfile": "x" * 11})

    assert found("Dockerfile", context, limit=11) == "x" * 11
    with pytest.raises(ContextError, match="Dockerfile: larger than the limit of 10 bytes"):
        found("Dockerfile", context, limit=10)


def test_directory_is_no_dockerfile(here: Path, context: Path) -> None:
    write(context, {"Dockerfile/x": ""})

    with pytest.raises(ContextError, match="Dockerfile: is "):
        found("Dockerfile", context)
