"""Dockerfiles as real projects have them, each in a directory beside this file."""

import gzip
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest, OciLayout, Secret
from asynckaniko.events import BuildWarning
from tests.conformance.case import GONE, Is, Outcome, has, is_directory, is_link
from tests.support.images import ReadImage, make_tar, read_layout

HERE = Path(__file__).parent
WARNINGS = {"alpine": ["LegacyKeyValueFormat:11"]}
BUSYBOX_HISTORY = ("layer 0", True)

Project: TypeAlias = Callable[..., Awaitable[ReadImage]]


@pytest.fixture
def project(builder: Builder, busybox_layout: Path, tmp_path: Path) -> Project:
    """Build a directory and read the image; what `FROM busybox` means is known."""

    async def build(
        name: str,
        *,
        bases: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
        output: str = "layout",
        **request: Any,
    ) -> ReadImage:
        context = tmp_path / "projects" / name
        shutil.copytree(HERE / name, context, dirs_exist_ok=True)
        for path, content in (files or {}).items():
            (context / path).write_bytes(content)
        warnings: list[str] = []

        def note(event: object) -> None:
            if isinstance(event, BuildWarning):
                warnings.append(f"{event.rule}:{event.line}")

        await builder.build(
            BuildRequest(
                context=str(context),
                build_contexts={"busybox": f"oci-layout://{busybox_layout}", **(bases or {})},
                outputs=(OciLayout(path=tmp_path / output),),
                **request,
            ),
            on_event=note,
        )
        assert warnings == WARNINGS.get(name, [])
        return read_layout(tmp_path / output)

    return build


@pytest.fixture
async def stand_in(project: Project, tmp_path: Path) -> Callable[..., Awaitable[str]]:
    """Make the base image of an ecosystem: busybox with scripts under the programs' names."""

    async def make(name: str, *directories: str) -> str:
        dockerfile = (
            "FROM busybox\nCOPY --chmod=0755 --exclude=Dockerfile . /usr/local/bin/\n"
            f"RUN mkdir -p {' '.join(directories)}\n"
        )
        await project(
            f"stand_ins/{name}", files={"Dockerfile": dockerfile.encode()}, output=f"base-{name}"
        )
        return f"oci-layout://{tmp_path}/base-{name}"

    return make


async def test_node_service(project: Project, stand_in: Callable[..., Awaitable[str]]) -> None:
    image = await project("node", bases={"node:22-slim": await stand_in("node", "/root/.npm")})

    expected = Outcome(
        tree={
            "app": is_directory(0o755, (0, 0)),
            "app/node_modules": is_directory(0o755, (1001, 1001)),
            "app/node_modules/express/index.js": Is(
                content="module.exports = 'express'\n", owner=(1001, 1001)
            ),
            "app/node_modules/bundler": GONE,
            "app/dist/server.js": Is(content="// first\n// second\n", owner=(1001, 1001)),
            "app/package.json": has(mode=0o644, owner=(1001, 1001)),
            "app/src": GONE,
            "app/debug.txt": GONE,
            "root/.npm/express": GONE,
        },
        config={
            "User": "app",
            "WorkingDir": "/app",
            "ExposedPorts": {"3000/tcp": {}},
            "Entrypoint": ["node"],
            "Cmd": ["dist/server.js"],
            "Healthcheck": {
                "Test": ["CMD", "node", "dist/health.js"],
                "Interval": 30_000_000_000,
                "Timeout": 3_000_000_000,
            },
        },
        env={"NODE_ENV": "production"},
        history=(
            BUSYBOX_HISTORY,
            ("COPY", True),
            ("RUN", True),
            ("ENV NODE_ENV=production", False),
            ("WORKDIR /app", True),
            ("RUN /bin/sh -c echo 'app:x:1001:'", True),
            ("COPY --chown=app:app /app/node_modules ./node_modules", True),
            ("COPY --chown=app:app /app/dist ./dist", True),
            ("COPY --chown=app:app package.json ./", True),
            ("USER app", False),
            ("EXPOSE [3000/tcp]", False),
            ("HEALTHCHECK", False),
            ("ENTRYPOINT", False),
            ("CMD", False),
        ),
    )
    assert expected.differences(image) == []
    assert b"app:x:1001:1001" in image.tree["etc/passwd"].content


async def test_python_service(project: Project, stand_in: Callable[..., Awaitable[str]]) -> None:
    base = await stand_in("python", "/root/.cache/pip")

    image = await project("python", bases={"python:3.13-slim": base})

    packages = "usr/local/lib/python3.13/site-packages"
    expected = Outcome(
        tree={
            f"{packages}/flask/__init__.py": "flask==3.1\n",
            f"{packages}/requests/__init__.py": "requests==2.32\n",
            "srv/app": is_directory(0o755, (0, 0)),
            "srv/app/__main__.py": Is(content='print("app")\n', mode=0o644, owner=(0, 0)),
            "srv/app/tests": GONE,
            "srv/app/old.pyc": GONE,
            "wheels/flask==3.1.whl": GONE,
            "src": GONE,
            "root/.cache/pip/flask==3.1": GONE,
        },
        config={
            "User": "10001:10001",
            "WorkingDir": "/srv",
            "StopSignal": "SIGINT",
            "Cmd": ["python", "-m", "app"],
        },
        env={"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PIP_NO_INPUT": None},
    )
    assert expected.differences(image) == []


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
async def test_go_service_for_two_platforms(
    project: Project, stand_in: Callable[..., Awaitable[str]], architecture: str
) -> None:
    base = await stand_in("golang", "/go/pkg/mod", "/root/.cache/go-build")

    image = await project(
        "go",
        bases={"golang:1.25": base},
        platform=f"linux/{architecture}",
        build_args={"VERSION": "1.2.3"},
    )

    expected = Outcome(
        tree={
            "server": Is(
                content=f"linux/{architecture} 1.2.3\npackage main\n", mode=0o555, owner=(0, 0)
            ),
            "etc/passwd": has(mode=0o644),
            "go.mod": GONE,
            "bin": GONE,
        },
        config={
            "User": "65534:65534",
            "Entrypoint": ["/server"],
            "Cmd": None,
            "Labels": {
                "org.opencontainers.image.version": "1.2.3",
                "org.opencontainers.image.title": "A server",
            },
        },
        history=(
            ("ARG VERSION=1.2.3", False),
            ("LABEL", False),
            ("COPY /etc/passwd /etc/group /etc/", True),
            ("COPY --chmod=0555 /server /server", True),
            ("USER 65534:65534", False),
            ("EXPOSE [8080/tcp 9090/tcp]", False),
            ("ENTRYPOINT", False),
        ),
    )
    assert expected.differences(image) == []
    assert image.config["architecture"] == architecture


async def test_java_service(project: Project, stand_in: Callable[..., Awaitable[str]]) -> None:
    settings = "<settings><password>the-password-of-the-repository</password></settings>"

    image = await project(
        "java",
        bases={"maven:3-eclipse-temurin-21": await stand_in("maven", "/root/.m2")},
        secrets={"maven_settings": Secret(value=settings.encode())},
    )

    expected = Outcome(
        tree={
            "application/lib/library.jar": "library\n",
            "application/app.jar": "class A {}\n",
            "build": GONE,
            "root/.m2/settings.xml": GONE,
            "root/.m2/repository/library.jar": GONE,
        },
        config={
            "Volumes": {"/tmp": {}},
            "User": "nobody",
            "Entrypoint": ["sh", "-c", "exec java $JAVA_OPTS -jar app.jar"],
        },
        env={"JAVA_OPTS": "-XX:MaxRAMPercentage=75"},
    )
    assert expected.differences(image) == []
    assert not [
        path
        for layer in image.layers
        for path, entry in layer.items()
        if b"the-password" in entry.content
    ]


async def test_packages_of_debian(project: Project, debian_layout: Path) -> None:
    image = await project("apt", bases={"debian:bookworm": f"oci-layout://{debian_layout}"})

    expected = Outcome(
        tree={
            "usr/bin/hello": has(mode=0o755, owner=(0, 0)),
            "greeting": "Hello, world!\n",
            "etc/apt/apt.conf.d/keep-cache": Is(),
        },
        config={"Cmd": ["bash"]},
    )
    assert expected.differences(image) == []
    assert b"/var/cache/apt/archives/hello_" in image.tree["kept"].content
    own = {path for layer in image.layers[-4:] for path in layer}
    assert not [path for path in own if path.startswith(("var/cache/apt/", "var/lib/apt/lists/"))]


async def test_scripts_in_heredocs(project: Project) -> None:
    image = await project("heredoc", build_args={"NAME": "everyone"})

    expected = Outcome(
        tree={
            "srv/data/lines": "line 1\nline 2\nline 3\n",
            "srv/RUN": Is(
                content='#!/bin/sh\nexec cat "$@" # $NAME stays\n', mode=0o755, owner=(2000, 2000)
            ),
            "srv/SETTINGS": Is(content="name = everyone\n", mode=0o755, owner=(2000, 2000)),
            "srv/count": "3\n",
            "srv/loud": Is(content="QUIET\n", mode=0o600, owner=(0, 0)),
            "run/heredoc": GONE,
        },
        config={
            "User": "worker",
            "Shell": ["/bin/sh", "-euo", "pipefail", "-c"],
            "Cmd": ["/srv/RUN", "/srv/SETTINGS"],
        },
    )
    assert expected.differences(image) == []


async def test_base_with_triggers(project: Project, tmp_path: Path) -> None:
    base = await project("onbuild/base", output="triggers")
    assert base.runtime["OnBuild"][1] == "COPY src/ ./"

    image = await project(
        "onbuild/child",
        bases={"base-with-triggers": f"oci-layout://{tmp_path}/triggers"},
        build_args={"REVISION": "r7"},
    )

    expected = Outcome(
        tree={
            "app/main": "main\n",
            "app/built": "base r7\nbuilt\nmain\n",
            "app/extra": Is(content="extra\n", mode=0o640),
        },
        config={"OnBuild": None, "Labels": {"revision": "r7"}, "Cmd": ["cat", "built"]},
        env={"STAGE": "child", "REVISION": None},
        history=(
            BUSYBOX_HISTORY,
            ("WORKDIR /app", True),
            ("ENV STAGE=base", False),
            ("CMD", False),
            ("ARG REVISION=r7", False),
            ("COPY src/ ./", True),
            ("RUN |1 REVISION=r7 /bin/sh -c", True),
            ("LABEL revision=r7", False),
            ("ENV STAGE=child", False),
            ("COPY --chmod=0640 extra .", True),
        ),
    )
    assert expected.differences(image) == []


async def test_service_in_the_manner_of_alpine(project: Project) -> None:
    image = await project("alpine")

    expected = Outcome(
        tree={
            "data": is_directory(0o755, (100, 101)),
            "var/redis": is_link("/data"),
            "usr/local/bin/docker-entrypoint.sh": has(mode=0o755, owner=(0, 0)),
        },
        config={
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["redis-server"],
        },
        env={"REDIS_VERSION": "7.4"},
    )
    assert expected.differences(image) == []
    assert b"redis:x:100:101" in image.tree["etc/passwd"].content


@pytest.mark.parametrize("target", ["api", "worker"])
async def test_monorepo_of_named_contexts(project: Project, target: str) -> None:
    contexts = {name: str(HERE / "monorepo" / name) for name in ("app", "shared")}

    image = await project("monorepo", bases=contexts, target=target)

    trees: dict[str, dict[str, str | None]] = {
        "api": {
            "api/start.sh": "echo api\n",
            "api/worker.sh": "echo worker\n",
            "api/README.md": GONE,
            "api/version": "4.2\n",
            "worker": GONE,
        },
        "worker": {"worker/worker.sh": "echo worker\n", "api": GONE},
    }
    expected = Outcome(
        tree={
            **trees[target],
            "tools/version.sh": 'cat "$1"\n',
            "tools/notes.txt": GONE,
            "tools/x.tmp": GONE,
            "shared/VERSION": GONE,
        },
        config={"Cmd": ["sh", f"/{target}/{'start' if target == 'api' else 'worker'}.sh"]},
    )
    assert expected.differences(image) == []


async def test_static_site(project: Project) -> None:
    theme = make_tar({"style.css": "h1 {}\n", "head.html": "<head>\n"})

    image = await project("site", files={"theme.tar.gz": gzip.compress(theme)})

    root = "usr/share/nginx/html"
    expected = Outcome(
        tree={
            root: is_directory(0o755, (101, 101)),
            f"{root}/index.html": Is(
                content="<head>\n<h1>Welcome</h1>\n", mode=0o644, owner=(101, 101)
            ),
            f"{root}/guide.html": "<head>\n<h1>Guide</h1>\n",
            f"{root}/style.css": Is(content="h1 {}\n", mode=0o644, owner=(101, 101)),
            "etc/nginx/conf.d/default.conf": Is(
                content="server { listen 80; root /usr/share/nginx/html; }\n", mode=0o644
            ),
            "site": GONE,
            "theme": GONE,
        },
        config={
            "ExposedPorts": {"80/tcp": {}, "8443/tcp": {}, "8444/tcp": {}},
            "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["NONE"]},
            "Cmd": ["/bin/sh", "-c", "httpd -f -h /usr/share/nginx/html"],
        },
    )
    assert expected.differences(image) == []
