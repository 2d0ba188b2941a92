"""One RUN: what the command sees, what it leaves in the upper directory, and how it ends."""

import os
from typing import Any

import pytest

from asynckaniko.errors import HostError, StepFailed
from tests.integration.isolation.conftest import PATH, Machine


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("true", 0),
        ("exit 3", 3),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
        ("nosuchprogram", 127),
    ],
)
async def test_exit_status_is_that_of_shells(machine: Machine, command: str, status: int) -> None:
    assert (await machine.run(command)).exit_status == status


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["nosuch", "x"], 127, 'exec: "nosuch": executable file not found in $PATH'),
        (["/bin/nosuch"], 127, 'exec: "/bin/nosuch": executable file not found'),
        (["./nosuch"], 127, 'exec: "./nosuch": executable file not found'),
        ([""], 127, 'exec: "": executable file not found in $PATH'),
        ([], 127, 'exec: "": executable file not found in $PATH'),
        (["/etc/passwd"], 126, 'exec: "/etc/passwd": Permission denied'),
        (["/etc"], 126, 'exec: "/etc": Permission denied'),
        (["/etc/garbage"], 126, 'exec: "/etc/garbage": Exec format error'),
        (["/etc/orphan"], 127, 'exec: "/etc/orphan": executable file not found'),
    ],
)
async def test_program_that_cannot_be_executed_is_named(
    machine: Machine, argv: list[str], status: int, said: str
) -> None:
    await machine.make(
        "layers/odd",
        {
            "etc/garbage": {"content": "not a program", "mode": 0o755},
            "etc/orphan": {"content": "#!/no/interpreter\n", "mode": 0o755},
        },
    )

    done = await machine.run(argv, lowers=[*machine.lowers, "layers/odd"])

    assert (done.exit_status, done.stderr) == (status, [said])


async def test_program_is_found_in_the_path_of_its_environment(machine: Machine) -> None:
    script = {"content": "#!/bin/sh\necho $0 $1\n", "mode": 0o755}
    unreadable = {"content": "#!/bin/sh\necho wrong\n", "mode": 0o644}
    await machine.make("layers/tools", {"first/tool": unreadable, "second/tool": script})

    done = await machine.run(
        ["tool", "argument"],
        env=["PATH=/none:/first:/second:/bin"],
        lowers=[*machine.lowers, "layers/tools"],
    )

    assert done.stdout == ["/second/tool argument"]


async def test_output_streams_are_apart(machine: Machine) -> None:
    done = await machine.run("echo one; echo two >&2; printf 'no end'")

    assert (done.stdout, done.stderr) == (["one", "no end"], ["two"])


class TestEnvironment:
    async def test_is_exactly_what_was_given_and_home(self, machine: Machine) -> None:
        done = await machine.run(
            ["env"], env=[PATH, "A=1", "EMPTY=", "TEXT=a=b\nc", "A=2", "NAME=caf\udce9"]
        )

        assert sorted(done.stdout) == sorted(
            [PATH, "A=2", "EMPTY=", "TEXT=a=b", "c", "NAME=caf\ufffd", "HOME=/root"]
        )

    async def test_home_of_the_image_is_kept(self, machine: Machine) -> None:
        done = await machine.run("echo $HOME", env=[PATH, "HOME=/elsewhere"])

        assert done.stdout == ["/elsewhere"]

    async def test_command_starts_as_in_a_container(self, machine: Machine) -> None:
        done = await machine.run(
            "umask; pwd; hostname; readlink /proc/self/fd/0; ls /proc/self/fd; "
            "cat /proc/self/stat | cut -d' ' -f1,6",
            cwd="/tmp",
        )

        umask, directory, host, stdin, *rest = done.stdout
        assert (umask, directory, host, stdin) == ("0022", "/tmp", "buildkitsandbox", "/dev/null")
        # 3 is the directory that ls reads.
        assert rest[:4] == ["0", "1", "2", "3"]
        # PID 1 waits; the shell leads a session of its own, which its children belong to.
        assert rest[4].split()[1] == "2"

    async def test_signals_and_privileges_are_those_of_a_login(self, machine: Machine) -> None:
        done = await machine.run(["grep", "-E", "Sig(Blk|Ign)|NoNewPrivs", "/proc/self/status"])

        status = dict(line.split(":\t") for line in done.stdout)
        # glibc keeps the signals 32 and 33 to itself, and its posix_spawn leaves them ignored.
        ignored = int(status["SigIgn"], 16) & ~(0b11 << 31)
        assert (int(status["SigBlk"], 16), ignored, status["NoNewPrivs"]) == (0, 0, "0")

    async def test_root_has_dockers_capabilities(self, machine: Machine) -> None:
        done = await machine.run("grep Cap /proc/self/status | cut -f2")

        docker = "00000000a80425fb"
        assert done.stdout == ["0000000000000000", docker, docker, docker, "0000000000000000"]

    async def test_other_users_have_none(self, machine: Machine) -> None:
        done = await machine.run("grep -E 'Cap(Prm|Eff)' /proc/self/status | cut -f2", user="app")

        assert done.stdout == ["0000000000000000"] * 2


class TestUser:
    @pytest.mark.parametrize(
        ("user", "ids", "home"),
        [
            ("", "0 0 0", "/root"),
            ("root", "0 0 0", "/root"),
            ("app", "1000 1001 1001 50", "/srv/app"),
            ("1000", "1000 1001 1001 50", "/srv/app"),
            ("4711", "4711 0 0", "/"),
            ("4711:4712", "4711 4712 4712", "/"),
            ("app:staff", "1000 50 50", "/srv/app"),
        ],
    )
    async def test_is_resolved_in_the_image(
        self, machine: Machine, user: str, ids: str, home: str
    ) -> None:
        done = await machine.run("echo $(id -u) $(id -g) $(id -G); echo $HOME", user=user)

        assert done.stdout == [ids, home]

    async def test_owns_what_it_writes(self, machine: Machine) -> None:
        done = await machine.run("echo hi > /tmp/mine", user="app:staff")

        assert await machine.read(done.upper) == {
            "tmp": "directory 1777 0:0",
            "tmp/mine": "file 644 1000:50 hi\n",
        }

    async def test_may_open_its_output_again(self, machine: Machine) -> None:
        done = await machine.run("echo a > /dev/stdout; echo b > /dev/stderr", user="app")

        assert (done.stdout, done.stderr) == (["a"], ["b"])

    @pytest.mark.parametrize(
        ("user", "words"),
        [
            ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
            ("app:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ],
    )
    async def test_that_is_not_there_fails_the_step(
        self, machine: Machine, user: str, words: str
    ) -> None:
        with pytest.raises(StepFailed, match=words):
            await machine.run("true", user=user)

    async def test_whose_id_is_not_mapped_fails_the_step(self, machine: Machine) -> None:
        # The one id that stands behind root has no place of its own.
        number = machine.server.root_id

        with pytest.raises(StepFailed, match=f"cannot run as {number}:0 .*has no such ids"):
            await machine.run("true", user=f"{number}:0")

    async def test_needs_no_passwd_file(self, machine: Machine) -> None:
        done = await machine.run("id -u; echo $HOME", user="4711", lowers=[await bare(machine)])

        assert done.stdout == ["4711", "/"]

    async def test_passwd_that_is_no_file_is_named(self, machine: Machine) -> None:
        await machine.make("layers/bad", {"etc/passwd/": ""})

        with pytest.raises(StepFailed, match="/etc/passwd: not a regular file"):
            await machine.run("true", user="app", lowers=[await bare(machine), "layers/bad"])


async def bare(machine: Machine) -> str:
    return await machine.make(
        "layers/bare",
        {
            "bin/sh": {"busybox": True, "mode": 0o755},
            "bin/id": {"hardlink": "sh"},
        },
    )


async def test_missing_working_directory_fails_the_step(machine: Machine) -> None:
    with pytest.raises(
        StepFailed, match="cannot change to the working directory /nope: No such file or directory"
    ):
        await machine.run("true", cwd="/nope")


class TestUpper:
    async def test_of_a_command_that_does_nothing_is_empty(self, machine: Machine) -> None:
        done = await machine.run("true")

        assert await machine.read(done.upper) == {}

    async def test_of_a_command_that_only_reads_is_empty(self, machine: Machine) -> None:
        done = await machine.run(
            "find / -xdev > /dev/null; cat /etc/passwd /etc/hosts; ls -la /dev"
        )

        assert await machine.read(done.upper) == {}

    async def test_holds_what_was_changed(self, machine: Machine) -> None:
        done = await machine.run(
            "rm /etc/group; echo new > /etc/passwd; mkdir -p /srv/a; chmod 700 /root; "
            "ln -s /etc /srv/link; chown 12:13 /srv/a"
        )

        assert await machine.read(done.upper) == {
            "etc": "directory 755 0:0",
            "etc/group": "device 0:0",
            "etc/passwd": "file 644 0:0 new\n",
            "root": "directory 700 0:0",
            "srv": "directory 755 0:0",
            "srv/a": "directory 755 12:13",
            "srv/link": "link /etc",
        }

    async def test_is_the_next_steps_image(self, machine: Machine) -> None:
        first = await machine.run("echo 1 > /a; rm -r /root; mkdir /root; echo 2 > /root/b")
        second = await machine.run(
            "cat /a /root/b; ls /root; rm /a", lowers=[*machine.lowers, first.upper]
        )
        third = await machine.run(
            "test -e /a || echo gone", lowers=[*machine.lowers, first.upper, second.upper]
        )

        assert second.stdout == ["1", "2", "b"]
        assert third.stdout == ["gone"]

    async def test_leaves_the_image_as_it_was(self, machine: Machine) -> None:
        before = await machine.read(machine.lowers[0])

        await machine.run("rm -rf /etc /bin; echo x > /tmp/x")

        assert await machine.read(machine.lowers[0]) == before


async def test_root_directory_looks_like_the_images(machine: Machine) -> None:
    await machine.make("layers/top", {"./": {"uid": 7, "gid": 8, "mode": 0o2751}})

    done = await machine.run("stat -c '%a %u:%g' /", lowers=[*machine.lowers, "layers/top"])

    assert done.stdout == ["2751 7:8"]


async def test_two_hundred_layers_are_one_root(machine: Machine) -> None:
    layers = [
        await machine.make(f"layers/{number}", {f"numbers/{number}": "x", "last": str(number)})
        for number in range(200)
    ]

    done = await machine.run("ls /numbers | wc -l; cat /last", lowers=[*machine.lowers, *layers])

    assert done.stdout == ["200", "199"]


async def test_more_layers_than_the_kernel_mounts_are_refused(machine: Machine) -> None:
    with pytest.raises(HostError, match="the image has 499 layers; the kernel mounts 498 at most"):
        await machine.run("true", lowers=machine.lowers * 499)


async def test_empty_image_runs_what_is_mounted_into_it(machine: Machine) -> None:
    tools: dict[str, Any] = {"type": "bind", "directory": machine.lowers[0], "target": "/tools"}

    done = await machine.run(["/tools/bin/sh", "-c", "echo ran"], lowers=[], mounts=[tools])

    assert done.stdout == ["ran"]
    assert await machine.read(done.upper) == {}


async def test_huge_output_takes_no_memory(machine: Machine) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()

    lines = 200 << 20
    done = await machine.run(f"yes | tr -d '\\n' | head -c {lines} | tail -c 5", user="app")
    piped = await machine.run(f"head -c {64 << 20} /dev/zero")

    assert done.stdout == ["yyyyy"]
    assert sum(len(line) for line in piped.stdout) == 64 << 20
    assert resident() - before < 200 << 20
