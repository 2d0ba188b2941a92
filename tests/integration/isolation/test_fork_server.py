"""One child per call: what reaches it, what comes back, and that nothing stays."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, fail_after, move_on_after, wait_readable

from asynckaniko.errors import CommandFailed, HostError, OutOfSpace
from asynckaniko.isolation.fork_server import ForkServer
from tests.integration.isolation.conftest import JOBS, PRELOAD
from tests.support import processes
from tests.support.waiting import wait_until

KINDS = pytest.mark.parametrize("namespaces", [False, True], ids=["outer", "inner"])
SECONDS = processes.seconds_of_its_own(1)
"""To know the processes by."""


@pytest.fixture
async def server(namespaces: bool, tmp_path: Path) -> AsyncIterator[ForkServer]:
    async with ForkServer.start(
        directory=tmp_path, preload=PRELOAD, namespaces=namespaces
    ) as started:
        yield started


def server_processes() -> list[int]:
    """Find the fork server among the children of this process."""
    return [
        pid
        for pid in _children_of(os.getpid())
        if b"isolation.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def ended(reader: int) -> bool:
    try:
        return os.read(reader, 100) == b""
    except BlockingIOError:
        return False


@KINDS
@pytest.mark.parametrize(
    "value",
    [None, {"name": "caf\udce9", "list": [1, 2.5, True]}, "x" * 3_000_000],
    ids=["nothing", "a name that is not UTF-8", "megabytes"],
)
async def test_values_go_there_and_back(server: ForkServer, value: Any) -> None:
    assert await server.call(f"{JOBS}:echo", {"value": value}) == value


@KINDS
async def test_many_calls_at_once_get_their_own_results(server: ForkServer) -> None:
    results: dict[int, Any] = {}

    async def call(number: int) -> None:
        results[number] = await server.call(f"{JOBS}:echo", {"value": number})

    async with create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(call, number)

    assert results == {number: number for number in range(60)}


@KINDS
async def test_descriptors_arrive_open(server: ForkServer) -> None:
    reader, writer = os.pipe()

    await server.call(f"{JOBS}:write", {"text": "two"}, fds=[writer, writer])

    os.close(writer)
    assert os.read(reader, 100) == b"twotwo"
    # It ends: no process has kept the other end.
    assert os.read(reader, 100) == b""
    os.close(reader)


@KINDS
async def test_child_has_nothing_of_the_caller(
    server: ForkServer, namespaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    secret = os.memfd_create("secret")
    os.set_inheritable(secret, True)

    found = await server.call(f"{JOBS}:surroundings", {})

    os.close(secret)
    assert set(found["environment"]) <= {"PATH", "LC_CTYPE"}
    assert not any("secret" in target for target in found["open"].values())
    # The server leads the session. Where its child's pid namespace does not have it, that reads 0.
    [leader] = server_processes()
    assert os.getsid(leader) == leader
    assert found["session"] == (0 if namespaces else leader)
    assert {"asyncio", "anyio", "aiohttp"}.isdisjoint(found["modules"])


@KINDS
async def test_signals_that_the_caller_ignores_or_blocks_work_in_the_child(
    namespaces: bool, tmp_path: Path
) -> None:
    previous = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        async with ForkServer.start(
            directory=tmp_path, preload=PRELOAD, namespaces=namespaces
        ) as server:
            found = await server.call(f"{JOBS}:surroundings", {})
    finally:
        signal.signal(signal.SIGQUIT, previous)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})

    assert found["blocked"] == []
    assert found["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]


async def test_environment_of_the_server_is_empty_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    async with ForkServer.start(directory=tmp_path, preload=PRELOAD, namespaces=True):
        (pid,) = server_processes()
        environments = [_environment_of(process) for process in (pid, *_children_of(pid))]

    assert len(environments) == 2
    assert not any(b"hunter2" in environment for environment in environments)


def _environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_outer_is_the_caller_without_namespaces(tmp_path: Path) -> None:
    async with ForkServer.start(directory=tmp_path, preload=PRELOAD, namespaces=False) as server:
        found = await server.call(f"{JOBS}:surroundings", {})

        assert server.root_id == 0
        assert found["directory"] == str(tmp_path)
        assert found["ids"][:2] == [os.getuid(), os.getgid()]
        assert found["pid"] != 1
        assert len(found["open"]) == 4


async def test_inner_is_root_over_nobodys_id(tmp_path: Path) -> None:
    async with ForkServer.start(directory=tmp_path, preload=PRELOAD, namespaces=True) as server:
        found = await server.call(f"{JOBS}:surroundings", {})
        await server.call(f"{JOBS}:make_tree", {"directory": "made", "files": {"by": "root"}})

        assert found["ids"] == [0, 0, []]
        assert found["pid"] == 1
        assert found["umask"] == 0
        assert len(found["open"]) == 4
        assert server.root_id not in {0, os.getuid()}
        for path in (tmp_path, tmp_path / "made/by"):
            assert os.stat(path).st_uid == os.stat(path).st_gid == server.root_id


@KINDS
async def test_error_of_the_job_arrives_whole(server: ForkServer) -> None:
    with pytest.raises(CommandFailed) as caught:
        await server.call(f"{JOBS}:fail", {"how": "typed"})

    assert (caught.value.exit_status, caught.value.output) == (7, ("last", "words"))


@KINDS
@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("missing", HostError, "^no/such/file: No such file or directory"),
        ("full", OutOfSpace, "^layers/a -> layers/b: No space left on device; free space"),
        ("bug", RuntimeError, "(?s)KeyError: 'the key'.*jobs.py:[0-9]+ in fail"),
        ("exit", RuntimeError, "SystemExit: 5"),
        ("vanish", RuntimeError, "ended with 5"),
    ],
)
async def test_other_failures_are_translated(
    server: ForkServer, how: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        await server.call(f"{JOBS}:fail", {"how": how})

    assert type(caught.value) is kind


async def test_killed_child_is_an_error_of_the_host(tmp_path: Path) -> None:
    async with ForkServer.start(directory=tmp_path, preload=PRELOAD, namespaces=False) as server:
        with pytest.raises(HostError, match=r"killed by signal 9 \(out of memory, most likely\)"):
            await server.call(f"{JOBS}:fail", {"how": "signal"})


@KINDS
async def test_function_outside_the_preloaded_modules_is_refused(server: ForkServer) -> None:
    with pytest.raises(RuntimeError, match="calendar is not among the fork server's preloaded"):
        await server.call("calendar:main", {})


async def test_module_that_cannot_be_loaded_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No module named 'no_such_module'"):
        async with ForkServer.start(
            directory=tmp_path, preload=["no_such_module"], namespaces=False
        ):
            pytest.fail("started")


async def test_directory_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="missing: No such file or directory"):
        async with ForkServer.start(
            directory=tmp_path / "missing", preload=PRELOAD, namespaces=True
        ):
            pytest.fail("started")


@KINDS
async def test_daemons_of_a_call_are_gone_when_it_returns(server: ForkServer) -> None:
    reader, writer = os.pipe()

    await server.call(f"{JOBS}:leave_daemons", {"seconds": SECONDS, "stay": False}, fds=[writer])

    assert processes.running("sleep", SECONDS) == []
    os.close(reader)
    os.close(writer)


@KINDS
async def test_cancelled_call_returns_when_its_tree_is_gone(server: ForkServer) -> None:
    reader, writer = os.pipe()

    with fail_after(20):
        async with create_task_group() as tasks:
            tasks.start_soon(_stay, server, writer)
            await wait_readable(reader)
            wait_until(lambda: len(processes.running("sleep", SECONDS)) == 3, "no daemons")
            tasks.cancel_scope.cancel()

    assert processes.running("sleep", SECONDS) == []
    assert await server.call(f"{JOBS}:echo", {"value": "still serving"}) == "still serving"
    os.close(reader)
    os.close(writer)


async def _stay(server: ForkServer, writer: int) -> None:
    await server.call(f"{JOBS}:leave_daemons", {"seconds": SECONDS, "stay": True}, fds=[writer])


@KINDS
async def test_call_cancelled_at_once_leaves_the_server_usable(server: ForkServer) -> None:
    for _ in range(20):
        with move_on_after(0):
            await server.call(f"{JOBS}:echo", {"value": 1})

    assert await server.call(f"{JOBS}:echo", {"value": 2}) == 2


@KINDS
async def test_leaving_the_block_ends_running_calls(namespaces: bool, tmp_path: Path) -> None:
    reader, writer = os.pipe()

    async def stay(server: ForkServer) -> None:
        with pytest.raises(HostError, match="the fork server was stopped"):
            await _stay(server, writer)

    with fail_after(20):
        async with create_task_group() as tasks:
            async with ForkServer.start(
                directory=tmp_path, preload=PRELOAD, namespaces=namespaces
            ) as server:
                tasks.start_soon(stay, server)
                await wait_readable(reader)
            assert processes.running("sleep", SECONDS) == []

    os.close(reader)
    os.close(writer)


@KINDS
async def test_death_of_the_server_fails_all_calls(server: ForkServer) -> None:
    reader, writer = os.pipe()

    async def kill() -> None:
        await wait_readable(reader)
        (pid,) = server_processes()
        os.kill(pid, signal.SIGKILL)

    with fail_after(20):
        async with create_task_group() as tasks:
            tasks.start_soon(kill)
            with pytest.raises(HostError, match=r"the fork server died \(signal 9\)"):
                await server.call(f"{JOBS}:say_and_stay", {}, fds=[writer])
    with pytest.raises(HostError, match="the fork server died"):
        await server.call(f"{JOBS}:echo", {"value": 1})

    os.close(writer)
    # It ends: the call is over, too.
    os.set_blocking(reader, False)
    wait_until(partial(ended, reader), "the call survives")
    os.close(reader)


@pytest.mark.parametrize("victim", ["launcher", "server proper"])
async def test_death_of_the_inner_server_ends_everything_below_it(
    tmp_path: Path, victim: str
) -> None:
    reader, writer = os.pipe()

    async def kill() -> None:
        await wait_readable(reader)
        (launcher,) = server_processes()
        (proper,) = _children_of(launcher)
        os.kill(launcher if victim == "launcher" else proper, signal.SIGKILL)

    with fail_after(20):
        async with ForkServer.start(directory=tmp_path, preload=PRELOAD, namespaces=True) as server:
            async with create_task_group() as tasks:
                tasks.start_soon(kill)
                with pytest.raises(HostError, match="the fork server died"):
                    await _stay(server, writer)
            wait_until(lambda: not processes.running("sleep", SECONDS), "daemons survive")

    os.close(reader)
    os.close(writer)


@KINDS
def test_kill_of_the_main_process_leaves_nothing(namespaces: bool, tmp_path: Path) -> None:
    script = f"""
        import os, sys
        from pathlib import Path
        import anyio
        from asynckaniko.isolation.fork_server import ForkServer

        async def main():
            async with ForkServer.start(
                directory=Path(sys.argv[1]), preload=[{JOBS!r}], namespaces={namespaces}
            ) as server:
                arguments = {{"seconds": {SECONDS!r}, "stay": True}}
                await server.call("{JOBS}:leave_daemons", arguments, fds=[1])

        anyio.run(main)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    top = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=top) as main:
        try:
            assert main.stdout
            assert main.stdout.read(7) == b"started"
            wait_until(lambda: len(processes.running("sleep", SECONDS)) == 3, "no daemons")
        finally:
            main.kill()
        # The pipe ends when the last process that holds it is gone.
        main.stdout.read()

    wait_until(lambda: not processes.running("sleep", SECONDS), "daemons survive")
    wait_until(lambda: not processes.belonging_to(tmp_path), "helpers survive")
