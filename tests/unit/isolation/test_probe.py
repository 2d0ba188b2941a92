import errno
import os

import pytest

from asynckaniko.errors import IsolationUnavailable, UnsuitableStateDir
from asynckaniko.isolation import probe
from asynckaniko.isolation.id_maps import identity_map, subordinate_map

WHOLE = ((0, 0, 100),)


def error(number: int) -> OSError:
    return OSError(number, "internal wording")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "user.max_user_namespaces"),
        (errno.EINVAL, "built without user namespaces"),
        (errno.EPERM, "appArmorProfile: {type: Unconfined}"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_refused_namespace_says_what_allows_it(number: int, words: str) -> None:
    said = str(probe.explain_unshare(error(number)))

    assert said.startswith("cannot create a user namespace to run commands in (")
    assert words in said


def test_refused_map_lists_each_attempt_and_what_helps() -> None:
    said = str(
        probe.explain_maps([(identity_map(WHOLE, WHOLE), OSError(errno.EPERM, "not permitted"))])
    )

    assert "identity: not permitted" in said
    assert "add: [CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID]" in said


def test_refused_helper_says_how_to_install_it() -> None:
    made = subordinate_map(1000, 1000, [(0, 1, 2)], [(0, 1, 2)])
    assert made

    said = str(probe.explain_maps([(made, OSError(errno.EPERM, "newuidmap: write failed"))]))

    assert "subordinate: newuidmap: write failed" in said
    assert "setcap cap_setuid=ep" in said


def test_missing_ids_come_with_the_line_to_add() -> None:
    assert "1234:100000:65536" in str(probe.explain_missing_ids(1234))


def test_overlay_without_room_for_changes_is_about_the_state_directory() -> None:
    raised = probe.explain_overlay(error(errno.EINVAL), "/proc")

    assert isinstance(raised, UnsuitableStateDir)
    assert str(raised).startswith("/proc is on proc, which cannot hold the layers of an image")
    assert os.strerror(errno.EINVAL) in str(raised)
    assert "emptyDir" in str(raised)


def test_forbidden_mount_is_not_about_the_state_directory() -> None:
    raised = probe.explain_overlay(error(errno.EACCES), "/proc")

    assert isinstance(raised, IsolationUnavailable)
    assert "AppArmor" in str(raised)


def test_refusals_carry_errno_and_the_part_of_a_pod_that_lifts_them() -> None:
    refused = probe.explain_direct(error(errno.EPERM))

    assert refused.refusal == "EPERM"
    assert refused.pod == (
        "spec:\n"
        "  hostUsers: false\n"
        "  containers:\n"
        "  - securityContext:\n"
        "      capabilities: {add: [SYS_ADMIN]}\n"
    )


def test_refused_memory_is_nothing_that_a_pod_can_lift() -> None:
    refused = probe.explain_unshare(error(errno.ENOMEM))

    assert (refused.refusal, refused.pod) == ("ENOMEM", "")
