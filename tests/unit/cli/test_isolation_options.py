from collections.abc import Mapping
from dataclasses import replace

import pytest

from asynckaniko.cli.isolation_options import read_isolation, read_step_limits
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.settings import IsolationOptions

NOWHERE = Surroundings.of_this_process()


def surroundings(environment: Mapping[str, str]) -> Surroundings:
    return replace(NOWHERE, environment=environment)


def test_nothing_said_is_auto_with_private_pids() -> None:
    assert read_isolation(None, None, surroundings({})) == IsolationOptions()


def test_flag_wins_over_variable() -> None:
    around = surroundings({"ASYNCKANIKO_ISOLATION": "none"})

    assert read_isolation(None, None, around).mode == "none"
    assert read_isolation("userns", "shared", around) == IsolationOptions(
        mode="userns", shared_pids=True
    )


def test_unknown_mode_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match=r"--isolation=docker: .* auto, userns, .* and none"):
        read_isolation("docker", None, surroundings({}))


def test_wrong_variable_is_named() -> None:
    with pytest.raises(UsageError, match=r"^ASYNCKANIKO_ISOLATION=docker: there is no such mode"):
        read_isolation(None, None, surroundings({"ASYNCKANIKO_ISOLATION": "docker"}))


def test_shared_pids_without_commands_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="--pid=shared"):
        read_isolation("none", "shared", surroundings({}))


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ([], {}),
        (["nofile=1024"], {"nofile": (1024, 1024)}),
        (["nofile=1024:4096", "core=0:-1"], {"nofile": (1024, 4096), "core": (0, -1)}),
        (["cpu=1", "cpu=2:3"], {"cpu": (2, 3)}),
    ],
)
def test_limits_are_read_as_docker_reads_them(
    words: list[str], limits: dict[str, tuple[int, int]]
) -> None:
    assert read_step_limits(words, None).ulimits == limits


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("100", 100),
        ("64m", 67108864),
        ("1g", 1 << 30),
        ("2KiB", 2048),
        ("3 MB", 3 << 20),
    ],
)
def test_size_of_shared_memory_has_dockers_units(text: str, size: int | None) -> None:
    assert read_step_limits([], text).shm_size == size


@pytest.mark.parametrize("word", ["nofile", "=1", "nofile=", "nofile=1:", "nofile=-2", "NOFILE=1"])
def test_word_that_is_no_limit_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=r"it must be NAME=SOFT\[:HARD\]"):
        read_step_limits([word], None)
