"""What becomes of a command where less, or something else, is allowed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.isolation.situations import TOP, USER

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(situation: str, command: str = "true", network: str = "host") -> dict[str, Any]:
        directory = tmp_path / "rootfs"
        directory.mkdir()
        module = "tests.integration.isolation.situations"
        done = subprocess.run(
            [sys.executable, "-m", module, situation, directory, command, network],
            cwd=TOP,
            env={**os.environ, "REGISTRY_PASSWORD": "hunter2"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        return outcome

    return run


WORKING = ["ordinary", "masked_proc", "five_capabilities", "subordinate", "administrator"]


@pytest.mark.parametrize("situation", WORKING)
def test_command_is_root_over_all_ids(run: Run, situation: str) -> None:
    outcome = run(
        situation,
        "id -u; mkdir /made; cd /made; echo x > file; chown 33:65500 file; chmod 4755 file; "
        "rm /etc/group; rm -r /etc/deep; mkdir /etc/deep",
    )

    assert outcome["stdout"] == ["0"]
    assert outcome["stderr"] == ["rm: can't remove '/etc/deep': No such file or directory"]
    assert outcome["upper"] == {
        "etc": "directory 755 0:0",
        "etc/deep": "directory 755 0:0",
        "etc/group": "device 0:0",
        "made": "directory 755 0:0",
        "made/file": "file 4755 33:65500 x\n",
    }


@pytest.mark.parametrize("situation", WORKING)
def test_command_cannot_reach_the_executor(run: Run, situation: str) -> None:
    outcome = run(
        situation,
        "kill -9 -1; for process in /proc/[0-9]*; do "
        "cat $process/environ | tr '\\0' '\\n' | grep REGISTRY; ls $process/root/root; done; "
        "echo survived",
    )

    assert outcome["exit_status"] == 0
    assert [line for line in outcome["stdout"] if "REGISTRY" in line] == []
    assert outcome["stdout"][-1] == "survived"


@pytest.mark.parametrize("situation", ["masked_proc", "five_capabilities"])
def test_masked_proc_is_bound_and_works(run: Run, situation: str) -> None:
    outcome = run(
        situation, "test -e /proc/1/stat && readlink /proc/self/exe; ls /proc/scsi; ls /dev/fd"
    )

    assert outcome["stdout"][0].startswith("/bin/")
    assert outcome["stdout"][1:4] == ["0", "1", "2"]


@pytest.mark.parametrize("situation", WORKING)
def test_network_none_has_a_working_loopback(run: Run, situation: str) -> None:
    outcome = run(
        situation,
        "grep -c : /proc/net/dev; nc -l -p 4000 -e echo heard & "
        "until nc 127.0.0.1 4000; do sleep 0.01; done",
        "none",
    )

    assert outcome["stdout"] == ["1", "heard"]


def test_administrator_of_a_pod_needs_no_further_user_namespace(run: Run) -> None:
    outcome = run("administrator", "ls /proc | grep -cE '^[0-9]+$'; ls /proc/scsi")

    # PID 1, the shell, and the pipeline's two: a /proc of its own, though the Pod's is masked.
    assert outcome["stdout"][0] == "4"
    assert outcome["root_id"] == 0


def test_user_with_subordinate_ids_is_root_itself(run: Run) -> None:
    outcome = run("subordinate", "cat /proc/self/uid_map")

    assert (outcome["uid"], outcome["root_id"]) == (USER, USER)
    assert [line.split() for line in outcome["stdout"]] == [
        ["0", str(USER), "1"],
        ["1", "200000", "65536"],
    ]


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        ("unnamed_subordinate", f"uid {USER} needs a line in /etc/passwd"),
        ("no_subordinates", f"uid {USER} has no subordinate ids"),
        ("no_namespaces", "user.max_user_namespaces"),
    ],
)
def test_refusal_says_what_is_missing(run: Run, situation: str, words: str) -> None:
    outcome = run(situation)

    assert outcome["error"] == "IsolationUnavailable"
    assert words in outcome["message"]
