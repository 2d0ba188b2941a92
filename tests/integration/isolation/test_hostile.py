"""Commands that mean harm: nothing outside their step is touched, and nothing of them stays."""

import os
import time
from pathlib import Path

import pytest
from anyio import create_task_group, fail_after

from tests.integration.isolation.conftest import Machine, until
from tests.support import processes

SECONDS = processes.seconds_of_its_own(2)
"""To know the processes by."""


@pytest.mark.parametrize(
    "command",
    [
        "sleep SECONDS &",
        "setsid sleep SECONDS &",
        "(setsid sh -c '(sleep SECONDS &) ; sleep SECONDS' &)",
        "trap '' TERM HUP INT; nohup sleep SECONDS > /dev/null 2>&1 &",
        "setsid sh -c 'exec > /dev/null 2>&1 < /dev/null; sleep SECONDS' &",
    ],
)
async def test_daemons_end_with_their_command(machine: Machine, command: str) -> None:
    done = await machine.run(command.replace("SECONDS", SECONDS) + "\nexit 4")

    assert done.exit_status == 4
    assert processes.running("sleep", SECONDS) == []


async def test_cancelled_step_is_gone_when_the_call_returns(machine: Machine) -> None:
    # A counted loop: whatever goes wrong here must not take the machine with it.
    daemons = f"i=0; while [ $i -lt 100 ]; do (setsid sleep {SECONDS} &); i=$((i+1)); done"
    command = f"trap '' TERM INT HUP; {daemons}; while :; do sleep 1; done"

    with fail_after(20):
        async with create_task_group() as tasks:
            tasks.start_soon(machine.run, command)
            await until(lambda: len(processes.running("sleep", SECONDS)) >= 20)
            tasks.cancel_scope.cancel()

    assert processes.running("sleep", SECONDS) == []
    assert (await machine.run("echo still serving")).stdout == ["still serving"]


async def test_tree_of_forks_ends_when_it_is_cancelled(machine: Machine) -> None:
    # As a fork bomb grows, but only seven generations deep: no limit holds for root of the host.
    grow = "b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 1000; }"
    command = f"{grow}; b 6; wait"

    with fail_after(30):
        async with create_task_group() as tasks:
            tasks.start_soon(machine.run, command)
            await until(lambda: len(processes.running("sh", "-c", command)) >= 50)
            tasks.cancel_scope.cancel()

    assert processes.running("sh", "-c", command) == []


async def test_fork_bomb_stops_at_its_limit_and_ends_with_its_command(machine: Machine) -> None:
    # Two thousand processes if nothing stops it. What waits for the first refusal must not fork.
    grow = "b() { [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 1000; }"
    command = f"{grow}; b 10 2> /refused & while ! read line < /refused; do :; done; echo $line"

    done = await machine.run(command, limits={"nproc": [60, 60]})

    assert done.exit_status == 0
    assert len(done.stdout) == 1
    assert "Resource temporarily unavailable" in done.stdout[0]
    assert processes.running("sh", "-c", command) == []


async def test_kill_of_everything_reaches_the_step_only(machine: Machine) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(machine.run, f"sleep {SECONDS}")
        await until(lambda: bool(processes.running("sleep", SECONDS)))

        done = await machine.run(
            "sleep 1000 & kill -9 -1; kill -9 1; kill -INT 1; kill -QUIT 1; wait; echo survived"
        )

        assert done.stdout == ["survived"]
        assert len(processes.running("sleep", SECONDS)) == 1
        tasks.cancel_scope.cancel()


async def test_pid_1_is_closed_to_root_of_the_step(machine: Machine) -> None:
    done = await machine.run(
        "for secret in environ maps mem root/etc/passwd cwd/x fd/3 ns/user; do "
        "cat /proc/1/$secret > /dev/null && echo read $secret; done; "
        "ls /proc/1/fd/; ls /proc/1/map_files/"
    )

    assert done.stdout == []
    assert len(done.stderr) == 9


async def test_nothing_of_the_executor_is_in_reach(machine: Machine, directory: Path) -> None:
    (directory.parent / "credentials").write_text("hunter2")
    done = await machine.run(
        "cat /proc/self/mountinfo; ls -d /work /home /host /.old /proc/1/cwd/.. ; "
        "cat /proc/self/environ | tr '\\0' '\\n'; find / -name credentials 2>/dev/null"
    )

    seen = "\n".join(done.stdout)
    assert "credentials" not in seen
    assert str(directory.parent) not in seen
    assert "PYTEST" not in seen


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /tmp",
        "mount --bind /bin /tmp",
        "mount -o remount,rw /sys",
        "umount /etc/hosts",
        "umount /proc",
        "umount -l /",
        "mknod /tmp/disk b 8 0",
        "mknod /tmp/null c 1 3",
        "hostname other",
        "echo core > /proc/sys/kernel/core_pattern",
        "echo c > /proc/sysrq-trigger",
        "ip link add dummy0 type dummy",
        "dmesg",
        "swapoff -a",
        "chroot /proc/1/root ls",
        "nsenter -t 1 -m true",
        "unshare -U true",
        "unshare -U -r -m true",
    ],
)
async def test_root_of_the_step_may_not(machine: Machine, command: str) -> None:
    before = core_pattern()

    done = await machine.run(command)

    assert done.exit_status != 0
    assert core_pattern() == before


def core_pattern() -> str:
    return Path("/proc/sys/kernel/core_pattern").read_text()


async def test_chroot_dance_stays_in_the_root(machine: Machine, directory: Path) -> None:
    climb = "../" * 40

    done = await machine.run(
        f"mkdir /tmp/in; cp /bin/busybox /tmp/in/; cd /; "
        f"chroot /tmp/in /busybox ls {climb}; ls {climb}"
    )

    assert "bin" in done.stdout
    assert directory.name not in done.stdout


async def test_executors_files_are_unowned_and_unreadable(
    machine: Machine, directory: Path
) -> None:
    """Even a file that is bound into the step by mistake belongs to nobody in it."""
    (directory / "mine").write_text("hunter2")
    os.chmod(directory / "mine", 0o600)
    mount = {"type": "bind", "directory": ".", "source": "mine", "target": "/mine"}

    done = await machine.run("stat -c %u /mine; cat /mine; chmod 666 /mine", mounts=[mount])

    assert done.stdout == ["65534"]
    assert len(done.stderr) == 2


async def test_ownership_and_modes_cannot_stop_the_clean_up(
    machine: Machine, directory: Path
) -> None:
    done = await machine.run(
        "mkdir -p /a/b/c; touch /a/b/c/d; chown -R 12345:12345 /a; chmod 000 /a/b/c /a/b /a",
    )

    assert done.exit_status == 0
    assert (await machine.read(done.upper))["a/b/c/d"] == "file 644 12345:12345 "


async def test_steps_do_not_see_each_other(machine: Machine) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(machine.run, f"touch /dev/shm/mine /tmp/mine; sleep {SECONDS}")
        await until(lambda: bool(processes.running("sleep", SECONDS)))

        done = await machine.run("ls /dev/shm /tmp; ps | grep -c '[s]leep'")

        assert done.stdout == ["/dev/shm:", "", "/tmp:", "0"]
        tasks.cancel_scope.cancel()


async def test_cancelling_takes_no_grace(machine: Machine) -> None:
    started = time.monotonic()

    async with create_task_group() as tasks:
        tasks.start_soon(machine.run, f"trap '' TERM; sleep {SECONDS} & wait; sleep {SECONDS}")
        await until(lambda: bool(processes.running("sleep", SECONDS)))
        tasks.cancel_scope.cancel()

    # It would sleep for half a day.
    assert time.monotonic() - started < 60
