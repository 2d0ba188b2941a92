"""Each credential of a build is unique, and afterwards none is where somebody could look."""

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import Image, decompress, read_layout
from tests.support.registry import Registry, run_registry

CANARIES = {
    name: f"canary-{name}-7c1d09e4"
    for name in (
        "basic",
        "helper",
        "wrong",
        "identity",
        "registrytoken",
        "text",
        "variable",
        "gitlab",
        "azure",
        "aws",
        "google",
        "proxy",
        "git",
    )
}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    with run_registry(tmp_path / "guarded", users={"u": CANARIES["basic"]}) as server:
        server.headers = {"Authorization": "Basic " + encoded(f"u:{CANARIES['basic']}")}
        yield server


@pytest.fixture
def helped(tmp_path: Path) -> Iterator[Registry]:
    """A registry whose password comes from a credential helper."""
    with run_registry(tmp_path / "helped", users={"u": CANARIES["helper"]}) as server:
        server.headers = {"Authorization": "Basic " + encoded(f"u:{CANARIES['helper']}")}
        yield server


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Registry]:
    """A registry with another password than the one that it is given."""
    with run_registry(tmp_path / "refusing", users={"u": "another"}) as server:
        server.headers = {"Authorization": "Basic " + encoded("u:another")}
        yield server


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def credentials(
    directory: Path, guarded: Registry, helped: Registry, refusing: Registry
) -> dict[str, str]:
    """Write every file that holds a credential; return the variables that name or hold one."""
    config = directory / "docker"
    config.mkdir()
    auths = {
        guarded.host: {"auth": encoded(f"u:{CANARIES['basic']}")},
        refusing.host: {"auth": encoded(f"u:{CANARIES['wrong']}")},
        "identity.example": {"identitytoken": CANARIES["identity"]},
        "token.example": {"registrytoken": CANARIES["registrytoken"]},
    }
    document = {"auths": auths, "credHelpers": {helped.host: "canary"}}
    (config / "config.json").write_text(json.dumps(document))
    program = directory / "bin/docker-credential-canary"
    program.parent.mkdir()
    answer = json.dumps({"Username": "u", "Secret": CANARIES["helper"]})
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{answer}'\n")
    program.chmod(0o755)
    google = directory / "google.json"
    google.write_text(json.dumps({"type": "authorized_user", "refresh_token": CANARIES["google"]}))
    text = {"auths": {"text.example": {"auth": encoded(f"u:{CANARIES['text']}")}}}
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "DOCKER_CONFIG": str(config),
        "DOCKER_AUTH_CONFIG": json.dumps(text),
        "KANIKO_VARIABLE_EXAMPLE_USER": "u",
        "KANIKO_VARIABLE_EXAMPLE_PASSWORD": CANARIES["variable"],
        "CI_REGISTRY": "gitlab.example",
        "CI_REGISTRY_USER": "u",
        "CI_REGISTRY_PASSWORD": CANARIES["gitlab"],
        "AZURE_CLIENT_SECRET": CANARIES["azure"],
        "AWS_SECRET_ACCESS_KEY": CANARIES["aws"],
        "GOOGLE_APPLICATION_CREDENTIALS": str(google),
        "HTTPS_PROXY": f"http://u:{CANARIES['proxy']}@proxy.example:3128",
        "GIT_TOKEN": CANARIES["git"],
    }


@contextmanager
def watched_commands(found: set[str]) -> Iterator[None]:
    """Collect the argument vectors of all processes of this machine until the block ends."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        found.add((entry / "cmdline").read_bytes().decode(errors="replace"))
                    except OSError:  # it ended
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def files_below(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file, and what is in those that are compressed."""
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            yield str(path), content
            if content[:2] == b"\x1f\x8b":
                yield f"{path}, unpacked", decompress(content)


def leaks(texts: Mapping[str, bytes]) -> list[str]:
    found = []
    for name, canary in CANARIES.items():
        forms = {canary, encoded(f"u:{canary}"), encoded(canary).rstrip("=")}
        for where, content in texts.items():
            if any(form.encode() in content for form in forms):
                found.append(f"{name} in {where}")
    return found


@pytest.mark.parametrize(
    "display", [("-v", "trace", "--progress=plain"), ("--progress=json",), ("--log-format=json",)]
)
def test_no_credential_is_seen_by_anybody(
    bench: Workbench,
    busybox_image: Image,
    guarded: Registry,
    helped: Registry,
    refusing: Registry,
    tmp_path: Path,
    display: tuple[str, ...],
) -> None:
    base = busybox_image.push(guarded, "base")
    environment = bench.environment | credentials(tmp_path, guarded, helped, refusing)
    bench.write(f"FROM {base}\nRUN env > /environment; sleep 0.2\nCOPY a /a\n", {"a": "a"})
    commands: set[str] = set()
    outputs: dict[str, bytes] = {}

    def build(name: str, *destinations: str) -> int:
        flags = [
            *(f"--destination={destination}" for destination in destinations),
            *("--oci-layout-path", str(bench.layout)),
            *("--metadata-file", str(tmp_path / f"{name}-metadata.json")),
            *("--timings", str(tmp_path / f"{name}.html")),
            *("--cache", f"--cache-repo={guarded.host}/cache"),
        ]
        done = subprocess.run(
            bench.command(*flags, *display),
            cwd=bench.directory,
            env=environment,
            capture_output=True,
            timeout=100,
        )
        outputs[f"stdout of {name}"], outputs[f"stderr of {name}"] = done.stdout, done.stderr
        for suffix in ("-metadata.json", ".html"):
            file = tmp_path / f"{name}{suffix}"
            if file.exists():
                outputs[file.name] = file.read_bytes()
        return done.returncode

    with watched_commands(commands):
        good = build("good", f"{guarded.host}/app:1", f"{helped.host}/app:1")
        bad = build("bad", f"{refusing.host}/app:1")

    assert good == 0, outputs["stderr of good"].decode()
    assert bad == 4, outputs["stderr of bad"].decode()
    assert b"HTTP 401" in outputs["stderr of bad"]
    # What is scanned is what it should be.
    assert any("asynckaniko" in command for command in commands)
    assert b"PATH=" in read_layout(bench.layout).tree["environment"].content
    assert leaks({"the test's own config": (tmp_path / "docker/config.json").read_bytes()})
    texts = dict(outputs)
    texts["arguments"] = "\n".join(commands).encode()
    for place in (bench.layout, bench.state, tmp_path / "guarded/data", tmp_path / "helped/data"):
        texts |= dict(files_below(place))
    for registry in ("guarded", "helped", "refusing"):
        for log in ("access.log", "error.log"):
            texts[f"{registry}/{log}"] = (tmp_path / registry / log).read_bytes()
    assert leaks(texts) == []
