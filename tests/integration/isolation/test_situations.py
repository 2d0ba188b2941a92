"""What becomes of a command where less, or something else, is allowed."""

import pytest

from tests.integration.isolation.conftest import Run
from tests.integration.isolation.situations import USER
from tests.support import processes

WORKING = [
    "ordinary",
    "masked_proc",
    "shared_pids",
    "identity",
    "five_capabilities",
    "subordinate",
    "administrator",
]
OWN_PIDS = [situation for situation in WORKING if situation != "shared_pids"]


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


@pytest.mark.parametrize("situation", OWN_PIDS)
def test_kill_of_everything_reaches_nothing(run: Run, situation: str) -> None:
    assert run(situation, "kill -9 -1; echo survived")["stdout"] == ["survived"]


@pytest.mark.parametrize("situation", WORKING)
def test_command_cannot_look_into_the_executor(run: Run, situation: str) -> None:
    outcome = run(
        situation,
        "for process in /proc/[0-9]*; do "
        "cat $process/environ | tr '\\0' '\\n' | grep REGISTRY; ls $process/root/root; done; "
        "echo survived",
    )

    assert outcome["exit_status"] == 0
    assert [line for line in outcome["stdout"] if "REGISTRY" in line] == []
    assert outcome["stdout"][-1] == "survived"


@pytest.mark.parametrize("situation", ["masked_proc", "shared_pids", "five_capabilities"])
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


def test_processes_find_themselves_where_pids_are_shared(run: Run) -> None:
    assert run("shared_pids", "cat /proc/$$/comm; true")["stdout"] == ["sh"]
    assert run("masked_proc", "cat /proc/$$/comm; true")["stdout"] != ["sh"]


def test_kill_of_everything_ends_only_the_build_where_pids_are_shared(run: Run) -> None:
    outcome = run("shared_pids", "kill -9 -1")

    # The executor is there to say so.
    assert outcome["error"] == "HostError"
    assert "the fork server died (signal 9)" in outcome["message"]


@pytest.mark.parametrize("situation", WORKING)
def test_daemons_end_with_their_command(run: Run, situation: str) -> None:
    seconds = processes.seconds_of_its_own(3)
    command = f"(setsid sleep {seconds} &); setsid sh -c 'sleep {seconds} & sleep {seconds}' &"

    outcome = run(situation, command)

    assert outcome["exit_status"] == 0
    assert processes.running("sleep", seconds) == []


def test_kernels_settings_are_read_only_for_a_root_that_is_the_machines(run: Run) -> None:
    outcome = run(
        "identity",
        "cat /proc/sys/kernel/core_pattern > /dev/null && echo readable; "
        "echo x > /proc/sys/kernel/core_pattern; echo 0 > /sys/kernel/profiling",
    )

    assert outcome["root_id"] == 0
    assert outcome["stdout"] == ["readable"]
    assert len([line for line in outcome["stderr"] if "Read-only" in line]) == 2


def test_administrator_of_a_pod_needs_no_further_user_namespace(run: Run) -> None:
    outcome = run("administrator", "set -- /proc/[0-9]*; echo $#; ls /proc/scsi")

    # PID 1 and the shell: a /proc of its own, though the Pod's is masked.
    assert outcome["stdout"][0] == "2"
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
        ("no_namespaces", "user.max_user_namespaces"),
    ],
)
def test_refusal_says_what_is_missing(run: Run, situation: str, words: str) -> None:
    outcome = run(situation)

    assert outcome["error"] == "IsolationUnavailable"
    assert words in outcome["message"]
