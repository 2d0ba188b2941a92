"""Limits of single commands: --ulimit and --shm-size, in real builds."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.integration.conftest import Finished, Workbench

MODES = ("userns", "chroot")
Run: TypeAlias = Callable[..., Finished]


@pytest.fixture
def run(bench: Workbench, busybox_layout: Path) -> Run:
    def run(dockerfile: str, *flags: str) -> Finished:
        bench.write(f"FROM busybox\n{dockerfile}")
        context = ("--build-context", f"busybox=oci-layout://{busybox_layout}")
        return bench.run(bench.command("--no-push", "--progress=plain", *context, *flags))

    return run


@pytest.mark.parametrize("isolation", MODES)
@pytest.mark.parametrize("user", ["0", "1000"])
def test_commands_have_the_limits(run: Run, isolation: str, user: str) -> None:
    show = "for f in n c f t; do echo $f $(ulimit -S$f) $(ulimit -H$f)%; done"

    done = run(
        f"USER {user}\nRUN {show}\nRUN {show}\n",
        *(f"--isolation={isolation}", "--ulimit=nofile=100:200", "--ulimit", "core=0"),
        *("--ulimit=fsize=512000", "--ulimit=cpu=50", "--ulimit=cpu=60:70"),
    )

    assert done.exit_code == 0, done.said
    # busybox counts sizes in blocks of 512 bytes.
    for line in ("n 100 200%", "c 0 0%", "f 1000 1000%", "t 60 70%"):
        assert done.stderr.count(f" {line}\n") == 2


def test_file_that_grows_beyond_its_limit_ends_the_command(run: Run) -> None:
    done = run("RUN head -c 9000 /dev/zero > /zeros\n", "--ulimit=fsize=4096")

    assert done.exit_code == 128 + 25  # SIGXFSZ
    assert "exit code: 153" in done.stderr


@pytest.mark.parametrize(
    ("isolation", "user"), [("userns", "0"), ("userns", "77"), ("chroot", "77")]
)
def test_fork_bomb_stops_at_the_limit(run: Run, isolation: str, user: str) -> None:
    # Sixty-three processes if nothing stops it.
    grow = "b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; echo here; sleep 1; }"

    done = run(
        f'USER {user}\nRUN {grow}; (b 5; wait) 2>&1 | grep -v here; echo "over"\n',
        *(f"--isolation={isolation}", "--ulimit=nproc=20"),
    )

    assert "Resource temporarily unavailable" in done.stderr


def test_limit_of_processes_that_nobody_would_keep_is_refused(run: Run) -> None:
    done = run("RUN true\n", "--isolation=chroot", "--ulimit=nproc=20")

    assert done.exit_code == 3
    assert "the kernel does not count processes of the machine's root" in done.stderr
    assert "Dockerfile:2" in done.stderr


def test_memory_for_sharing_has_the_size(run: Run) -> None:
    show = "RUN df -k /dev/shm | tail -n 1 | awk '{print $2 \" blocks\"}'\n"

    assert " 65536 blocks\n" in run(show).stderr
    assert " 131072 blocks\n" in run(show, "--shm-size=128m").stderr


def test_memory_for_sharing_is_refused_where_nothing_can_be_mounted(run: Run) -> None:
    done = run("RUN true\n", "--isolation=chroot", "--shm-size=1g")

    assert done.exit_code == 3
    assert "/dev/shm is no file system of the command's own" in done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--ulimit=nofile", "it must be NAME=SOFT[:HARD]"),
        ("--ulimit=nofile=1:x", "it must be NAME=SOFT[:HARD]"),
        ("--ulimit=files=1", "ulimit files: there is no such limit; there is core, cpu, data"),
        ("--ulimit=nofile=9:8", "the soft limit is above the hard one"),
        ("--ulimit=nofile=-1", "the hard limit of this process is"),
        ("--shm-size=0", "it must be more than 0"),
        ("--shm-size=big", "it must be a size like 256m or 1g"),
    ],
)
def test_limits_that_cannot_be_are_an_error_before_the_build(
    run: Run, flag: str, message: str
) -> None:
    done = run("RUN true\n", flag)

    assert done.exit_code == 2
    assert message in done.stderr
