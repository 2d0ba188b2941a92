from dataclasses import replace
from pathlib import Path

import orjson

from asynckaniko.cli.doctor_command import json, lines
from asynckaniko.isolation.doctor import Examination, ModeReport

WORKS = ModeReport("userns", works=True, root_id=65533, limits=("ps shows too much",))
REFUSED = ModeReport(
    "userns",
    works=False,
    reason="cannot create a user namespace to run commands in (Operation not permitted)",
    refusal="EPERM",
    pod="spec:\n  containers:\n  - securityContext:\n      seccompProfile: {type: Unconfined}\n",
)
NONE = ModeReport("none", works=True, runs_commands=False)
FACTS = (("kernel", "6.1"), ("capabilities", " ".join(["SYS_ADMIN"] * 20)))
STATE = Path("/var/lib/asynckaniko")


def shown(*modes: ModeReport) -> list[str]:
    return list(lines(Examination(FACTS, modes), STATE, columns=80))


def test_refused_mode_shows_errno_reason_and_yaml() -> None:
    found = shown(REFUSED, NONE)

    assert any(line.split()[:2] == ["userns", "EPERM"] for line in found)
    assert any(line.split()[:2] == ["none", "works"] for line in found)
    assert "Builds with RUN are refused here. Builds without RUN work, in mode none." in found
    assert "          seccompProfile: {type: Unconfined}" in found


def test_working_mode_shows_what_is_limited() -> None:
    found = shown(WORKS, NONE)

    assert "Builds with RUN work here, in mode userns." in found
    assert "userns works, but: ps shows too much" in found


def test_where_run_works_no_setting_is_asked_for() -> None:
    refused = replace(REFUSED, mode="namespaces")

    found = shown(WORKS, refused, NONE)

    assert found[3] == "No setting has to be changed."
    assert not any("What lifts it" in line for line in found)
    assert [line.split()[:2] for line in found if line.startswith("namespaces")] == [
        ["namespaces", "EPERM"]
    ]


def test_everything_fits_the_terminal() -> None:
    modes = [replace(REFUSED, mode=mode) for mode in ("userns", "single-id", "namespaces")]

    assert max(map(len, shown(*modes, NONE))) <= 80


def test_json_has_the_yaml_as_text() -> None:
    document = orjson.loads(json(Examination(FACTS, (REFUSED, NONE)), STATE))

    assert document["for_run"] is None
    assert document["without_run"] == "none"
    assert document["modes"][0]["pod"] == REFUSED.pod
    assert document["modes"][1]["runs_commands"] is False
    assert document["surroundings"]["kernel"] == "6.1"


def test_weak_mode_is_called_weak_and_what_would_be_stronger_is_shown() -> None:
    in_place = ModeReport("in-place", works=True, limits=("one stage at a time",))
    chroot = ModeReport("chroot", works=True, limits=("no /proc",))

    found = shown(REFUSED, in_place, chroot, NONE)

    assert "Builds with RUN work here, in mode in-place." in found
    assert "It does not protect the executor: build only what you trust in it." in found
    assert "          seccompProfile: {type: Unconfined}" in found
    assert "in-place works, but: one stage at a time" in found
    assert "chroot works, but: no /proc" not in found
