"""Repositories with files in Git LFS: the real git-lfs, against a server of its batch API."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.context.conftest import DOCKERFILE, Builds, Repository
from tests.integration.context.servers import SmartGit, serving

CONTENT = os.urandom(300_000)
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


def pointer(content: bytes) -> str:
    """Write a pointer, as git-lfs's docs/spec.md has it."""
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"


@pytest.fixture
def project(repositories: Path) -> Repository:
    made = Repository(repositories)
    made.commit({"Dockerfile": DOCKERFILE, ".gitattributes": ATTRIBUTES, "x.bin": pointer(CONTENT)})
    return made


@pytest.fixture
def server(repositories: Path, project: Repository) -> SmartGit:
    return SmartGit(repositories, large_files={hashlib.sha256(CONTENT).hexdigest(): CONTENT})


@pytest.fixture
def url(server: SmartGit) -> Iterator[str]:
    with serving(server.answer) as host:
        yield f"http://{host}/project.git"


def test_large_files_have_their_content(builds: Builds, url: str) -> None:
    image = builds.read("--context", url)

    assert image.tree["x.bin"].content == CONTENT


def test_large_files_are_fetched_with_the_credentials_of_the_repository(
    builds: Builds, server: SmartGit, url: str
) -> None:
    server.password = "user:canary-word"

    image = builds.read(
        "--context", url, environment={"GIT_USERNAME": "user", "GIT_PASSWORD": "canary-word"}
    )

    assert image.tree["x.bin"].content == CONTENT
    assert not [name for name, entry in image.tree.items() if b"canary" in entry.content]


def test_add_of_a_repository_has_large_files(builds: Builds, url: str) -> None:
    builds.bench.write(f"FROM scratch\nADD {url} /\n")

    image = builds.read("--context", str(builds.bench.context))

    assert image.tree["x.bin"].content == CONTENT


@pytest.mark.parametrize(
    "config",
    [
        "[lfs]\n\turl = http://{other}/project.git/info/lfs\n",
        '[remote "origin"]\n\tlfsurl = http://{other}/project.git/info/lfs\n',
        "[lfs]\n\tfetchexclude = *\n",
        "[lfs]\n\tfetchinclude = nothing\n",
        '[lfs]\n\tstandalonetransferagent = evil\n[lfs "customtransfer.evil"]\n\tpath = {canary}\n',
        '[credential]\n\thelper = "!touch {canary}; true"\n',
        '[core]\n\tsshCommand = "touch {canary}"\n',
    ],
)
def test_configuration_in_the_repository_has_no_effect(
    builds: Builds,
    project: Repository,
    server: SmartGit,
    url: str,
    tmp_path: Path,
    config: str,
) -> None:
    server.password = "user:word"
    canary = tmp_path / "canary"
    other = SmartGit(server.root, large_files=dict(server.large_files))
    with serving(other.answer) as elsewhere:
        project.commit({".lfsconfig": config.format(other=elsewhere, canary=canary)})
        image = builds.read(
            "--context", url, environment={"GIT_USERNAME": "user", "GIT_PASSWORD": "word"}
        )

    assert image.tree["x.bin"].content == CONTENT
    assert other.requests == []
    assert not canary.exists()


@pytest.mark.parametrize("excuse", ["", "[lfs]\n\tskipdownloaderrors = true\n"])
def test_large_file_that_the_server_does_not_have_is_an_error(
    builds: Builds, project: Repository, server: SmartGit, url: str, excuse: str
) -> None:
    server.large_files.clear()
    if excuse:
        project.commit({".lfsconfig": excuse})

    done = builds.refuse("--context", url)

    assert done.exit_code == 2
    assert f"git repository {url}: git lfs: " in done.stderr
    assert hashlib.sha256(CONTENT).hexdigest() in done.stderr


def test_large_file_with_other_content_is_an_error(
    builds: Builds, server: SmartGit, url: str
) -> None:
    server.large_files[hashlib.sha256(CONTENT).hexdigest()] = bytes(len(CONTENT))

    done = builds.refuse("--context", url)

    assert done.exit_code == 2
    assert f"git repository {url}: git lfs: " in done.stderr


@pytest.fixture
def without_lfs(tmp_path: Path) -> str:
    """Give a PATH with git and without git-lfs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "sh"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    return str(programs)


def test_missing_git_lfs_is_said(builds: Builds, url: str, without_lfs: str) -> None:
    done = builds.refuse("--context", url, environment={"PATH": without_lfs})

    assert done.exit_code == 2
    assert "install git-lfs" in done.stderr


def test_pointers_stay_where_that_is_asked_for(builds: Builds, url: str, without_lfs: str) -> None:
    image = builds.read(
        "--context", url, environment={"PATH": without_lfs, "GIT_LFS_SKIP_SMUDGE": "1"}
    )

    assert image.tree["x.bin"].content == pointer(CONTENT).encode()
