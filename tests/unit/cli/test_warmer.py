"""kaniko's warmer: its flags and how they are understood."""

from pathlib import Path
from typing import Any

import pytest

from asynckaniko.build.warm import WarmRequest
from asynckaniko.cli.flags import Command
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.cli.warm_flags import kaniko_warmer_flags
from asynckaniko.cli.warm_options import WarmOptions
from asynckaniko.cli.warmer import read_warmer, warmer
from asynckaniko.errors import UsageError

FLAGS = """
build-arg cache-dir cache-ttl customPlatform dockerfile force image insecure-pull
insecure-registry log-format log-timestamp registry-certificate registry-client-cert registry-map
registry-mirror skip-default-registry-fallback skip-tls-verify-pull skip-tls-verify-registry
verbosity
"""
SHORT = {"-i": "image", "-c": "cache-dir", "-f": "force", "-d": "dockerfile", "-v": "verbosity"}


def read(*words: str, **environment: str) -> WarmOptions:
    seen: dict[str, Any] = {}
    command = Command("warmer", callback=seen.update, params=kaniko_warmer_flags())
    command.main(list(words), standalone_mode=False)
    return read_warmer(seen, Surroundings(environment={"HOME": "/home/x", **environment}))


def test_flags_are_kanikos_and_no_other() -> None:
    known = {name for flag in kaniko_warmer_flags() for name in flag.opts}

    assert known == {f"--{name}" for name in FLAGS.split()} | set(SHORT)


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_short_flags_are_kanikos(short: str, name: str) -> None:
    (flag,) = [flag for flag in kaniko_warmer_flags() if short in flag.opts]

    assert f"--{name}" in flag.opts


def test_usual_flags_reach_the_library() -> None:
    options = read(
        "-i", "debian", "--image=busybox:1", "-c", "/volume", "-f", "--cache-ttl=1h",
        "--customPlatform=linux/arm64", "-d", "Dockerfile", "--build-arg", "A=1",
    )  # fmt: skip

    assert options.request == WarmRequest(
        directory=Path("/volume"),
        images=("debian", "busybox:1"),
        dockerfile="Dockerfile",
        build_args={"A": "1"},
        platform="linux/arm64",
        force=True,
        ttl_seconds=3600.0,
    )


def test_directory_is_kanikos_unless_another_is_named() -> None:
    assert read("-i", "debian").request.directory == Path("/cache")


def test_only_one_of_the_mirror_variables_counts() -> None:
    options = read("-i", "x", KANIKO_REGISTRY_MIRROR="m.io", KANIKO_REGISTRY_MAP="r.io=n.io")

    assert dict(options.settings.registry.mirrors) == {"r.io": ("n.io",)}


def test_it_must_be_told_what_to_warm() -> None:
    with pytest.raises(UsageError, match="You must select at least one image to cache"):
        read()


def test_it_fails_only_if_no_image_can_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    status = warmer(["-i", "127.0.0.1:9/UPPER", "-c", str(tmp_path / "cache")])

    out, err = capsys.readouterr()
    assert status == 1
    assert out == "Failed warming cache: Failed to warm any of the given images\n"
    assert "Error while trying to warm image: 127.0.0.1:9/UPPER" in err
