import os
import subprocess
import sys

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


def test_process_that_is_gone_has_no_children() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    assert processes.descendants(process.pid) == []
