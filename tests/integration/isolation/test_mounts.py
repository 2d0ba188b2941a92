"""RUN --mount: each type, its options, and what it does not leave behind."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import StepFailed
from tests.integration.isolation.conftest import PATH, Machine

SECRET = b"s3cr3t \xff bytes"


@pytest.fixture
def secret() -> Iterator[int]:
    descriptor = os.memfd_create("secret")
    os.write(descriptor, SECRET)
    yield descriptor
    os.close(descriptor)


def files_with(directory: Path, content: bytes) -> list[Path]:
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and content in path.read_bytes()
    ]


class TestBind:
    @pytest.fixture
    async def tree(self, machine: Machine) -> str:
        files = {"top": "1", "sub/file": {"content": "2", "mode": 0o640, "uid": 9}, "sub/in/": ""}
        files["link"] = {"link": "/sub"}
        files["out"] = {"link": "/../../../etc/passwd"}
        return await machine.make("context", files)

    async def test_shows_a_directory_read_only(self, machine: Machine, tree: str) -> None:
        done = await machine.run(
            "cat /src/top /src/sub/file; touch /src/new; rm /src/top; mkdir /src/sub/x",
            mounts=[{"type": "bind", "directory": tree, "target": "/src"}],
        )

        assert done.stdout == ["12"]
        assert len(done.stderr) == 3
        assert all("Read-only file system" in line for line in done.stderr)
        assert await machine.read(done.upper) == {}

    @pytest.mark.parametrize("source", ["sub", "/sub/", "./sub", "link", "../sub"])
    async def test_shows_a_part(self, machine: Machine, tree: str, source: str) -> None:
        mount = {"type": "bind", "directory": tree, "source": source, "target": "/src"}

        done = await machine.run("ls /src", mounts=[mount])

        assert done.stdout == ["file", "in"]

    async def test_shows_a_file(self, machine: Machine, tree: str) -> None:
        mount = {"type": "bind", "directory": tree, "source": "sub/file", "target": "/a/b"}

        done = await machine.run("stat -c '%a %u' /a/b; cat /a/b; echo x > /a/b", mounts=[mount])

        assert done.stdout == ["640 9", "2"]
        assert "Read-only" in done.stderr[0]

    async def test_shows_an_image(self, machine: Machine) -> None:
        await machine.make("layers/over", {"etc/hosts": "newer\n"})
        lowers = [*machine.lowers, "layers/over"]
        mount = {"type": "bind", "lowers": lowers, "source": "/etc", "target": "/other"}

        done = await machine.run("cat /other/hosts; head -n 1 /other/group", mounts=[mount])

        assert done.stdout == ["newer", "root:x:0:"]

    async def test_shows_nothing_of_an_empty_image(self, machine: Machine) -> None:
        done = await machine.run(
            "ls -A /other; echo listed",
            mounts=[{"type": "bind", "lowers": [], "target": "/other"}],
        )

        assert done.stdout == ["listed"]

    @pytest.mark.parametrize("source", ["", "sub"])
    async def test_writes_are_thrown_away(self, machine: Machine, tree: str, source: str) -> None:
        before = await machine.read(tree)
        mount = {"type": "bind", "directory": tree, "source": source, "target": "/src"}

        done = await machine.run(
            "echo new > /src/new; cat /src/new; rm -r /src/[a-m]*; stat -c '%a %u' /src",
            mounts=[mount | {"readonly": False}],
        )

        assert done.stdout == ["new", "755 0"]
        assert done.exit_status == 0
        assert await machine.read(tree) == before
        assert await machine.read(done.upper) == {}

    async def test_writes_to_a_file_are_thrown_away(self, machine: Machine, tree: str) -> None:
        mount = {"type": "bind", "directory": tree, "source": "sub/file", "target": "/a"}

        done = await machine.run(
            "stat -c '%a %u' /a; echo 3 >> /a; cat /a", mounts=[mount | {"readonly": False}]
        )

        assert done.stdout == ["640 9", "23"]
        assert (await machine.read(tree))["sub/file"] == "file 640 9:0 2"

    async def test_link_out_of_the_tree_stays_in_it(self, machine: Machine, tree: str) -> None:
        mount = {"type": "bind", "directory": tree, "source": "out", "target": "/a"}

        with pytest.raises(StepFailed, match="--mount=type=bind,source=out: not found"):
            await machine.run("cat /a", mounts=[mount])

    async def test_missing_source_is_named(self, machine: Machine, tree: str) -> None:
        mount = {"type": "bind", "directory": tree, "source": "nope/x", "target": "/a"}

        with pytest.raises(StepFailed, match="--mount=type=bind,source=nope/x: not found"):
            await machine.run("true", mounts=[mount])


class TestCache:
    async def test_keeps_what_steps_write(self, machine: Machine) -> None:
        await machine.make("caches", {})
        cache = {"type": "cache", "directory": "caches/a", "target": "/var/cache/x"}

        first = await machine.run("echo 1 > /var/cache/x/file", mounts=[cache])
        second = await machine.run("cat /var/cache/x/file", mounts=[cache])

        assert second.stdout == ["1"]
        assert await machine.read(first.upper) == {}

    async def test_is_made_as_asked_and_left_so(self, machine: Machine) -> None:
        await machine.make("caches", {})
        cache = {"type": "cache", "directory": "caches/a", "target": "/x", "mode": 0o1770}
        ids = {"uid": 7, "gid": 8}

        done = await machine.run("stat -c '%a %u:%g' /x; chown 9 /x", mounts=[cache | ids])
        again = await machine.run("stat -c '%a %u:%g' /x", mounts=[cache | ids])

        assert (done.stdout, again.stdout) == (["1770 7:8"], ["1770 9:8"])

    async def test_can_be_read_only(self, machine: Machine) -> None:
        await machine.make("caches", {"a/file": "1"})
        cache = {"type": "cache", "directory": "caches/a", "target": "/x", "readonly": True}

        done = await machine.run("cat /x/file; touch /x/new", mounts=[cache])

        assert done.stdout == ["1"]
        assert "Read-only" in done.stderr[0]

    async def test_part_of_it_is_mounted(self, machine: Machine) -> None:
        await machine.make("caches", {"a/part/file": "1", "a/up": {"link": "../../layers"}})
        cache = {"type": "cache", "directory": "caches/a", "target": "/x", "source": "part"}

        done = await machine.run("ls /x", mounts=[cache])

        assert done.stdout == ["file"]
        with pytest.raises(StepFailed, match="--mount=type=cache,source=up: not found"):
            await machine.run("ls /x", mounts=[cache | {"source": "up"}])


class TestTmpfs:
    async def test_is_empty_writable_by_all_and_gone_afterwards(self, machine: Machine) -> None:
        done = await machine.run(
            "ls -A /etc; stat -c %a /etc; echo x > /etc/x",
            mounts=[{"type": "tmpfs", "target": "/etc/conf.d/../../run"}],
            cwd="/run",
            user="app",
        )
        other = await machine.run(
            "ls -A /tmp; stat -c %a /tmp; echo x > /tmp/x; cat /tmp/x",
            mounts=[{"type": "tmpfs", "target": "/tmp"}],
            user="app",
        )

        assert done.exit_status != 0
        assert other.stdout == ["1777", "x"]
        assert await machine.read(other.upper) == {}

    async def test_has_the_size_asked_for(self, machine: Machine) -> None:
        done = await machine.run(
            "head -c 3000000 /dev/zero > /t/big || echo full",
            mounts=[{"type": "tmpfs", "target": "/t", "size": 1 << 20}],
        )

        assert done.stdout == ["full"]


class TestSecret:
    async def test_is_a_file_with_the_mode_and_owner_asked_for(
        self, machine: Machine, secret: int
    ) -> None:
        mounts: list[dict[str, Any]] = [
            {"type": "secret", "fd": 2, "target": "/run/secrets/a"},
            {
                "type": "secret",
                "fd": 2,
                "target": "/b",
                "mode": 0o440,
                "uid": 5,
                "gid": 6,
            },
        ]

        done = await machine.run(
            "stat -c '%a %u:%g %s' /run/secrets/a /b; echo x > /b; rm /b",
            mounts=mounts,
            fds=[secret],
        )

        size = len(SECRET)
        assert done.stdout == [f"400 0:0 {size}", f"440 5:6 {size}"]
        assert "Read-only" in done.stderr[0]
        assert await machine.read(done.upper) == {}
        assert sorted(done.stubs) == ["b", "dev", "etc/resolv.conf", "run", "sys"]

    async def test_is_a_variable_without_a_file(self, machine: Machine, secret: int) -> None:
        done = await machine.run(
            "echo $TOKEN; ls /run/secrets",
            mounts=[{"type": "secret", "fd": 2, "env": "TOKEN"}],
            env=[PATH, "TOKEN=old"],
            fds=[secret],
        )

        assert done.stdout == ["s3cr3t \ufffd bytes"]

    async def test_with_a_zero_byte_cannot_be_a_variable(self, machine: Machine) -> None:
        descriptor = os.memfd_create("secret")
        os.write(descriptor, b"a\0b")

        with pytest.raises(StepFailed, match="TOKEN contains a NUL byte; mount it as a file"):
            await machine.run(
                "true", mounts=[{"type": "secret", "fd": 2, "env": "TOKEN"}], fds=[descriptor]
            )
        os.close(descriptor)

    async def test_is_on_no_disk(self, machine: Machine, secret: int, directory: Path) -> None:
        await machine.run(
            "cat /s > /dev/null", mounts=[{"type": "secret", "fd": 2, "target": "/s"}], fds=[secret]
        )

        assert files_with(directory, SECRET) == []
        assert files_with(directory, b"of the image") != []


async def test_socket_can_be_spoken_to(machine: Machine, directory: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(directory / "log"))
        os.chmod(directory / "log", 0o666)
        done = await machine.run(
            "logger heard; ls -l /dev/log | cut -c1",
            mounts=[{"type": "socket", "path": "log", "target": "/dev/log"}],
            user="app",
        )
        said = server.recv(1000)

    assert said.endswith(b"heard")
    assert done.stdout == ["s"]
    assert await machine.read(done.upper) == {}


class TestTogether:
    async def test_mounts_nest_in_any_order(self, machine: Machine, secret: int) -> None:
        await machine.make("context", {"file": "1"})
        await machine.make("caches", {})
        mounts: list[dict[str, Any]] = [
            {"type": "secret", "fd": 2, "target": "/src/deep/token", "mode": 0o444},
            {"type": "cache", "directory": "caches/a", "target": "/src/cache"},
            {"type": "tmpfs", "target": "/src/cache/tmp"},
            {"type": "bind", "directory": "context", "target": "/src"},
        ]

        done = await machine.run(
            "cd /src; cat file; wc -c < deep/token; echo kept > cache/kept; "
            "echo lost > cache/tmp/x; touch new; touch deep/new",
            mounts=mounts,
            fds=[secret],
        )

        assert done.stdout == [f"1{len(SECRET)}"]
        assert [line for line in done.stderr if "Read-only" not in line] == []
        assert len(done.stderr) == 2
        assert await machine.read("context") == {"file": "file 644 0:0 1"}
        assert await machine.read("caches") == {
            "a": "directory 755 0:0",
            "a/kept": "file 644 0:0 kept\n",
            "a/tmp": "directory 755 0:0",
        }
        assert await machine.read(done.upper) == {}

    @pytest.mark.parametrize("target", ["", "/", "/..", "/a/.."])
    async def test_root_is_no_target(self, machine: Machine, target: str) -> None:
        with pytest.raises(StepFailed, match="type=tmpfs: the target must not be the root"):
            await machine.run("true", mounts=[{"type": "tmpfs", "target": target}])
