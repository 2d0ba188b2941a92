"""What the doctor finds, in places where this or that is allowed."""

import os
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import HostError
from asynckaniko.isolation.doctor import examine
from tests.integration.isolation.conftest import Run


def by_mode(outcome: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {report["mode"]: report for report in outcome["modes"]}


async def test_unrestricted_machine_can_do_all_and_stays_as_it_was(tmp_path: Path) -> None:
    found = await examine(tmp_path)

    assert [(report.mode, report.works, len(report.limits)) for report in found.modes] == [
        ("userns", True, 0),
        ("single-id", True, 1),
        ("namespaces", True, 1),
        ("in-place", False, 0),
        ("chroot", True, 1),
        ("none", True, 0),
    ]
    assert "only in a container of the executor image" in found.modes[3].reason
    assert found.modes[2].limits[0].startswith("commands would run as root of the machine")
    assert (found.for_commands, found.for_files) == ("userns", "userns")
    assert os.listdir(tmp_path) == []
    facts = dict(found.surroundings)
    assert facts["uid"] == "0"
    assert "SYS_ADMIN" in facts["capabilities"]
    assert facts["users"] == "the machine's"


async def test_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="missing: No such file or directory"):
        await examine(tmp_path / "missing")


def test_masked_proc_is_a_limit_with_its_cure(run: Run) -> None:
    outcome = run("five_capabilities", "doctor")

    found = by_mode(outcome)
    assert found["userns"]["works"]
    assert "procMount" in found["userns"]["limits"][0]
    assert not found["namespaces"]["works"]
    assert "hostUsers: false" in found["namespaces"]["reason"]


def test_administrator_of_a_pod_has_no_limits_without_a_further_namespace(run: Run) -> None:
    found = by_mode(run("administrator", "doctor"))

    assert found["userns"]["limits"] != []
    assert found["namespaces"]["works"]
    assert found["namespaces"]["limits"] == []


def test_ordinary_user_learns_what_is_missing(run: Run) -> None:
    outcome = run("no_subordinates", "doctor")

    found = by_mode(outcome)
    assert not found["userns"]["works"]
    assert "/etc/subuid" in found["userns"]["reason"]
    assert "runAsUser: 0" in found["userns"]["pod"]
    assert found["single-id"]["works"]
    assert "USER must be root" in found["single-id"]["limits"][0]
    assert not found["namespaces"]["works"]
    assert found["namespaces"]["refusal"] == "EPERM"
    assert "hostUsers: false\n" in found["namespaces"]["pod"]
    assert found["chroot"]["refusal"] == "EPERM"
    assert "runAsUser: 0" in found["chroot"]["pod"]
    assert found["none"]["works"]
    assert dict(outcome["surroundings"])["capabilities"] == "none"
