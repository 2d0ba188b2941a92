"""/dev, /proc, /sys, the files of the network, and the mount points that are not in the image."""

import socket

import pytest

from asynckaniko.errors import StepFailed
from tests.integration.isolation.conftest import HOSTS, Machine


async def test_dev_has_the_nodes_of_a_container_and_no_others(machine: Machine) -> None:
    done = await machine.run(
        "ls /dev; readlink /dev/fd; readlink /dev/ptmx; stat -c %a /dev /dev/shm"
    )

    *names, fd, ptmx, mode, shm_mode = done.stdout
    assert names == [
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    ]
    assert (fd, ptmx, mode, shm_mode) == ("/proc/self/fd", "pts/ptmx", "755", "1777")


async def test_devices_work(machine: Machine) -> None:
    done = await machine.run(
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; "
        "echo x > /dev/full || echo full; exec 5<> /dev/ptmx && ls /dev/pts | head -n 1; "
        "echo y > /dev/shm/y && cat /dev/shm/y",
        user="app",
    )

    assert done.stdout == ["4", "4", "full", "0", "y"]


async def test_proc_shows_the_steps_own_processes_only(machine: Machine) -> None:
    done = await machine.run("ls /proc | grep -E '^[0-9]+$'")

    # PID 1, the shell, and the pipeline's two.
    assert [int(pid) for pid in done.stdout] == [1, 2, 3, 4]


async def test_sys_is_there_and_read_only(machine: Machine) -> None:
    done = await machine.run(
        "test -d /sys/class && echo there; mkdir /sys/fs/cgroup/new; echo 1 > /sys/kernel/profiling"
    )

    assert done.stdout == ["there"]
    assert "Read-only file system" in "".join(done.stderr)


async def test_network_files_are_those_given_and_read_only(machine: Machine) -> None:
    done = await machine.run(
        "cat /etc/resolv.conf /etc/hosts; echo more >> /etc/hosts || echo refused"
    )

    assert done.stdout == ["nameserver 192.0.2.1", HOSTS.strip(), "refused"]
    assert await machine.read(done.upper) == {}
    assert (await machine.read(machine.lowers[0]))["etc/hosts"] == "file 644 0:0 of the image\n"


async def test_network_none_has_a_loopback_and_nothing_else(machine: Machine) -> None:
    done = await machine.run(
        "ls /sys/class/net; nc -l -p 4000 -e echo heard & "
        "until nc 127.0.0.1 4000; do sleep 0.01; done",
        network="none",
    )

    assert done.stdout == ["lo", "heard"]


async def test_network_host_reaches_the_host_and_none_does_not(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = f"nc 127.0.0.1 {server.getsockname()[1]} -e true"
        host = await machine.run(command)
        none = await machine.run(command, network="none")

    assert host.exit_status == 0
    assert none.exit_status != 0


async def test_hostname_is_the_steps_own(machine: Machine) -> None:
    done = await machine.run("uname -n; hostname other", hostname="given")

    assert done.stdout == ["given"]
    assert socket.gethostname() not in {"given", "other"}


class TestStubs:
    async def test_of_the_system_leave_no_trace(self, machine: Machine) -> None:
        done = await machine.run("ls -d /dev /sys /etc/resolv.conf")

        assert done.stdout == ["/dev", "/etc/resolv.conf", "/sys"]
        # The image has proc, etc and etc/hosts.
        assert sorted(done.stubs) == ["dev", "etc/resolv.conf", "sys"]
        assert await machine.read(done.upper) == {}

    async def test_dangling_link_to_resolv_conf_is_followed(self, machine: Machine) -> None:
        await machine.make(
            "layers/link", {"etc/resolv.conf": {"link": "../run/systemd/resolve/stub.conf"}}
        )

        done = await machine.run(
            "cat /etc/resolv.conf; readlink /etc/resolv.conf; ls /run/systemd/resolve",
            lowers=[*machine.lowers, "layers/link"],
        )

        assert done.stdout == [
            "nameserver 192.0.2.1",
            "../run/systemd/resolve/stub.conf",
            "stub.conf",
        ]
        assert "run" in done.stubs
        assert await machine.read(done.upper) == {}

    async def test_do_not_hide_the_metadata_of_their_directories(self, machine: Machine) -> None:
        await machine.make("layers/mnt", {"mnt/": {"uid": 5, "gid": 6, "mode": 0o2750}})
        tmpfs = {"type": "tmpfs", "target": "/mnt/deep/er"}

        done = await machine.run(
            "stat -c '%a %u:%g' /mnt; touch /mnt/new",
            lowers=[*machine.lowers, "layers/mnt"],
            mounts=[tmpfs],
        )

        assert done.stdout == ["2750 5:6"]
        assert await machine.read(done.upper) == {
            "mnt": "directory 2750 5:6",
            "mnt/new": "file 644 0:6 ",
        }

    async def test_become_part_of_the_image_where_a_command_writes_beside(
        self, machine: Machine
    ) -> None:
        tmpfs = {"type": "tmpfs", "target": "/run/one"}

        done = await machine.run("touch /run/two; touch /run/one/inside", mounts=[tmpfs])

        assert await machine.read(done.upper) == {
            "run": "directory 755 0:0",
            "run/two": "file 644 0:0 ",
        }

    async def test_file_in_the_way_of_a_directory_fails_the_step(self, machine: Machine) -> None:
        await machine.make("layers/bad", {"dev": "a file"})

        with pytest.raises(StepFailed, match="cannot mount a directory at /dev: a file is there"):
            await machine.run("true", lowers=[*machine.lowers, "layers/bad"])

    async def test_link_out_of_the_root_stays_in_it(self, machine: Machine) -> None:
        await machine.make("layers/bad", {"out": {"link": "../../../../../../../../tmp"}})
        cache = {"type": "cache", "directory": "caches/x", "target": "/out/escaped"}
        await machine.make("caches", {"x/": ""})

        done = await machine.run(
            "touch /tmp/escaped/file", lowers=[*machine.lowers, "layers/bad"], mounts=[cache]
        )

        assert done.exit_status == 0
        assert await machine.read("caches") == {
            "x": "directory 755 0:0",
            "x/file": "file 644 0:0 ",
        }
