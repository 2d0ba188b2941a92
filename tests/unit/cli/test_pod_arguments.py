from pathlib import Path

import pytest

from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.pod_arguments import PodArguments, pod_arguments
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError


def arguments(flags: BuildFlags, **environment: str) -> PodArguments:
    return pod_arguments(flags, Surroundings(environment=environment))


def test_pods_are_told_nothing_where_nothing_was_given() -> None:
    assert arguments(BuildFlags()) == PodArguments()


def test_flags_that_say_nothing_about_registries_or_git_stay_here() -> None:
    flags = BuildFlags(state_dir="/here", progress="plain", insecure=True, git=("depth=1",))

    assert arguments(flags).words == ("--git=depth=1", "--insecure=true")


def test_private_key_never_gets_into_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nTop Secret\n")

    with pytest.raises(UsageError, match="there is a private key in it") as refusal:
        arguments(BuildFlags(registry_certificate=(f"r.io={file}",)))

    assert "Top Secret" not in str(refusal.value)


def test_certificate_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        arguments(BuildFlags(registry_certificate=(f"r.io={tmp_path}/missing.pem",)))
