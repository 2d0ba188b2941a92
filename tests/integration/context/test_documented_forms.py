"""docs/contexts.md: every form of its table and every example builds, as it is printed there.

Only the hosts are others, on loopback and without TLS.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.context.conftest import DOCKERFILE, Builds, Repository, archive
from tests.integration.context.servers import SmartGit, WebFiles, serving
from tests.integration.context.stores import AzureStore, ObjectStore
from tests.support.daemons import moto, put_object
from tests.support.registry import Registry

PAGE = (Path(__file__).parents[3] / "docs/contexts.md").read_text()
TABLE = PAGE.partition("| `--context` |")[2].partition("\n\n")[0].splitlines()[2:]
FORMS = [
    form
    for row in TABLE
    for form in re.findall(r"`([^`]+)`", row.split("|")[1])
    if not form.endswith("…")
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Elsewhere:
    """Where the forms find what they name."""

    host: str
    """Of archives and of repositories."""
    commit: str
    directory: Path
    environment: dict[str, str]

    def locally(self, text: str) -> str:
        """Put this machine in the place of the example's."""
        text = text.replace("https://example.org", f"http://{self.host}")
        text = text.replace("git://example.org", f"git://{self.host}")
        text = text.replace("COMMIT", self.commit).replace(COMMIT, self.commit)
        text = text.replace("/path", str(self.directory))
        return text.replace("ACCOUNT", "account").replace("CONTAINER/BLOB", "container/blob")


@pytest.fixture
def elsewhere(builds: Builds, repositories: Path, tmp_path: Path) -> Iterator[Elsewhere]:
    project = Repository(repositories)
    (repositories / "project").symlink_to("project.git")
    files = {"Dockerfile": DOCKERFILE, "a": "x", "app/Dockerfile": DOCKERFILE, "app/a": "x"}
    commit = project.commit(files, tag="v1")
    builds.bench.write(DOCKERFILE, {"a": "x"})
    content = archive({"a": "x"})
    (builds.bench.context / "context.tar.gz").write_bytes(content)
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec git-upload-pack {project.bare}\n")
    ssh.chmod(0o755)
    git, files_served = SmartGit(repositories), WebFiles({"context.tar.gz": content})

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (git if request.path.startswith("/project") else files_served).answer(request)

    google = ObjectStore({"bucket/key": content})
    azure = AzureStore({"container/blob": content})
    with ExitStack() as servers:
        host = servers.enter_context(serving(answer))
        s3 = servers.enter_context(moto())
        put_object(f"{s3}/bucket", b"")
        put_object(f"{s3}/bucket/key", content)
        yield Elsewhere(
            host,
            commit,
            builds.bench.context,
            {
                "GIT_PULL_METHOD": "http",
                "GIT_SSH_COMMAND": str(ssh),
                "S3_ENDPOINT": s3,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "STORAGE_EMULATOR_HOST": servers.enter_context(serving(google.answer)),
                "AZURE_STORAGE_ENDPOINT": f"http://{servers.enter_context(serving(azure.answer))}",
                "AZURE_STORAGE_ACCESS_KEY": azure.key,
            },
        )


def test_table_has_all_the_forms() -> None:
    assert len(FORMS) == len(set(FORMS)) == 14


@pytest.mark.timeout(300)  # A build for each.
def test_every_form_of_the_table_is_a_context(builds: Builds, elsewhere: Elsewhere) -> None:
    content = archive({"a": "x"})
    found = {}
    for form in FORMS:
        done = run(builds, elsewhere, "--context", elsewhere.locally(form), stdin=content)
        found[form] = done.returncode, done.stderr.decode() if done.returncode else ""

    assert found == dict.fromkeys(FORMS, (0, ""))


def test_shell_example_builds(builds: Builds, elsewhere: Elsewhere, registry: Registry) -> None:
    line = PAGE.partition("```sh\n")[2].partition("\n```")[0]
    assert line.endswith("--destination registry.example.org/app")
    program = builds.bench.directory / "asynckaniko"
    state = builds.bench.state
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m asynckaniko "$@" --state-dir {state} --insecure\n'
    )
    program.chmod(0o755)
    around = {**builds.bench.environment, **elsewhere.environment}
    around["PATH"] = f"{builds.bench.directory}:{around['PATH']}"

    done = subprocess.run(
        ["sh", "-ec", line.replace("registry.example.org", registry.host)],
        cwd=elsewhere.directory,
        env=around,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert registry.has("app", "latest")


def test_dockerfile_example_builds(builds: Builds, elsewhere: Elsewhere) -> None:
    lines = PAGE.partition("```dockerfile\n")[2].partition("```")[0]
    assert lines.count("ADD ") == 3
    builds.bench.write("FROM scratch\n" + elsewhere.locally(lines))

    done = run(builds, elsewhere, "--context", ".")

    assert done.returncode == 0, done.stderr


def run(
    builds: Builds, elsewhere: Elsewhere, *arguments: str, stdin: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """Build in the context's directory, as its user would."""
    return subprocess.run(
        builds.command("--no-push", *arguments),
        cwd=elsewhere.directory,
        env={**builds.bench.environment, **elsewhere.environment},
        input=stdin,
        capture_output=True,
        check=False,
    )
