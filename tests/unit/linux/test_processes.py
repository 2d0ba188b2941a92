import os
import subprocess
import sys
import threading

import pytest

from asynckaniko.linux import processes

NESTED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("ready", flush=True)
    time.sleep(1000)
time.sleep(1000)
"""


@pytest.fixture
def tree() -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", NESTED], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_descendants_are_found_in_all_generations_and_sessions(
    tree: "subprocess.Popen[str]",
) -> None:
    with tree:
        assert tree.pid in processes.children(os.getpid())
        child, grandchild = processes.descendants(tree.pid)
        assert processes.children(child) == [grandchild]
        processes.kill_tree(tree.pid)


def test_killed_tree_has_no_survivor(tree: "subprocess.Popen[str]") -> None:
    with tree:
        family = [tree.pid, *processes.descendants(tree.pid)]

        processes.kill_tree(tree.pid)
        assert tree.stdout
        # The pipe ends when its last holder is gone.
        assert tree.stdout.read() == ""

    assert len(family) == 3
    assert tree.returncode == -9


CONTINUING = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
if os.fork():
    while True:
        signal.pause()
def multiply():
    while True:
        if os.fork() == 0:
            os.setsid()
            for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
                if open(f"/proc/{pid}/cmdline").read().find("CONTINUING") >= 0:
                    os.kill(pid, signal.SIGCONT)
            os._exit(0)
        os.wait()
for _ in range(4):
    if os.fork() == 0:
        print("ready", flush=True)
        multiply()
"""


def test_processes_that_continue_each_other_do_not_survive() -> None:
    command = [sys.executable, "-I", "-S", "-c", CONTINUING, "CONTINUING"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for _ in range(4):
            assert process.stdout.readline() == "ready\n"

        processes.kill_tree(process.pid)
        # The pipe ends when its last holder is gone.
        assert process.stdout.read() == ""


def test_all_threads_of_a_process_are_listed() -> None:
    done = threading.Event()
    others = [threading.Thread(target=done.wait) for _ in range(3)]
    for other in others:
        other.start()

    listed = processes.threads(os.getpid())

    done.set()
    assert {threading.get_native_id(), *(other.native_id for other in others)} <= set(listed)


def test_process_that_is_gone_has_no_children() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    assert processes.descendants(process.pid) == []


def test_descriptors_that_are_not_kept_are_closed() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        processes.close_all_but([writer])
        left = {int(name) for name in os.listdir("/proc/self/fd")}
        # The listing itself uses the lowest free number.
        os._exit(0 if left <= {0, 1, 2, 3, writer} and writer in left else 1)
    os.close(writer)
    os.close(reader)

    assert os.waitpid(pid, 0)[1] == 0
