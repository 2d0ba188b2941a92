"""Caches of RUN mounts in a directory of their own, which outlives every state directory."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from tests.integration.conftest import Finished, Workbench

MODES = ("userns", "namespaces", "chroot")
WRITE = "RUN --mount=type=cache,id=stuff,target=/c echo kept > /c/file && chown 12:34 /c/file"
READ = "RUN --mount=type=cache,id=stuff,target=/c grep kept /c/file && stat -c %u:%g /c/file > /ids"
CACHE = [sys.executable, "-m", "asynckaniko", "cache"]


class Site:
    """Builds that share nothing but a base and the directory of caches."""

    def __init__(self, bench: Workbench, busybox: Path) -> None:
        self.bench = bench
        self.caches = bench.directory / "caches"
        self._base = f"base=oci-layout://{busybox}"

    def command(self, state: str, mode: str, *lines: str, caches: Path | None = None) -> list[str]:
        """Return a build of these lines, with a state directory that has a name of its own."""
        context = self.bench.directory / f"context-{state}"
        context.mkdir()
        (context / "Dockerfile").write_text("\n".join(("FROM base", *lines, "")))
        program = [sys.executable, "-m", "asynckaniko", "build", str(context), "--no-push"]
        place = caches or self.caches
        return [
            *(*program, f"--isolation={mode}", f"--state-dir={self.bench.directory / state}"),
            *(f"--cache-mount-dir={place}", "--build-context", self._base),
        ]

    def build(self, state: str, mode: str, *lines: str, caches: Path | None = None) -> Finished:
        return self.bench.run(self.command(state, mode, *lines, caches=caches))

    def cache(self, *words: str) -> Finished:
        """Run `cache list` or `prune` with a state directory that is new."""
        places = (f"--state-dir={self.bench.directory / 'empty'}",)
        return self.bench.run([*CACHE, *words, *places, f"--cache-mount-dir={self.caches}"])


@pytest.fixture
def site(bench: Workbench, busybox_layout: Path) -> Iterator[Site]:
    site = Site(bench, busybox_layout)
    yield site
    assert not list(site.caches.glob("*/.*"))


@pytest.mark.parametrize("mode", MODES)
def test_builds_with_state_directories_of_their_own_share_a_cache(site: Site, mode: str) -> None:
    first = site.build("one", mode, WRITE)
    second = site.build("two", mode, READ, "RUN grep -x 12:34 /ids")

    assert first.exit_code == 0, first.said
    assert second.exit_code == 0, second.said
    for state in ("one", "two"):
        for side in ("rootfs", "listed"):
            assert names(site.bench.directory / state / side / "caches") == []


def names(directory: Path) -> Sequence[str]:
    return os.listdir(directory) if directory.exists() else []


@pytest.mark.parametrize("mode", MODES)
def test_locked_cache_is_used_by_one_process_at_a_time(site: Site, mode: str) -> None:
    mount = "RUN --mount=type=cache,target=/c,sharing=locked"
    commands = [
        site.command(f"state{number}", mode, f"{mount} mkdir /c/busy && sleep 1 && rmdir /c/busy")
        for number in range(3)
    ]

    builds = [site.bench.start(command) for command in commands]

    assert [build.wait() for build in builds] == [0, 0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_cache_begins_with_files_of_a_stage_once_for_all_builds(site: Site, mode: str) -> None:
    seed = ("RUN mkdir /s && echo seed > /s/f", "FROM base")
    mount = "RUN --mount=type=cache,target=/c,from=0,source=/s"

    first = site.build("one", mode, *seed, f"{mount} grep seed /c/f && echo changed > /c/f")
    second = site.build("two", mode, *seed, f"{mount} grep changed /c/f")

    assert first.exit_code == 0, first.said
    assert second.exit_code == 0, second.said


@pytest.mark.parametrize(("mode", "kind"), [("userns", "mount"), ("chroot", "plain mount")])
def test_caches_are_listed_and_pruned_there(site: Site, mode: str, kind: str) -> None:
    assert site.build("one", mode, WRITE).exit_code == 0

    listed = site.cache("list", "--format=json")
    pruned = site.cache("prune", "--max-mount-size=0")

    (item,) = map(orjson.loads, listed.stdout.splitlines())
    assert (item["kind"], item["what"]) == (kind, "stuff")
    assert item["size"] > 0
    assert pruned.stdout.startswith("removed 1 item"), pruned.said
    assert site.cache("list").stdout == "0 items, 0 B\n"
    assert [names(site.caches / side) for side in ("rootfs", "listed", "mounts")] == [[], [], []]


def test_caches_of_builds_with_another_root_are_pruned_too(site: Site) -> None:
    assert site.build("one", "namespaces", WRITE).exit_code == 0

    pruned = site.cache("prune", "--all")

    assert pruned.stdout.startswith("removed 1 item"), pruned.said
    assert names(site.caches / "rootfs") == []


@pytest.mark.parametrize("mode", MODES)
def test_id_is_no_path(site: Site, mode: str) -> None:
    mount = "RUN --mount=type=cache,id=../../../out,target=/c"

    build = site.build("one", mode, f"{mount} echo kept > /c/file")

    assert build.exit_code == 0, build.said
    assert list(site.bench.directory.rglob("out")) == []
    side = "listed" if mode == "chroot" else "rootfs"
    (name,) = names(site.caches / side)
    assert (site.caches / side / name / "file").read_text() == "kept\n"


@pytest.mark.parametrize("mode", MODES)
def test_cache_that_is_a_link_is_not_followed(site: Site, mode: str) -> None:
    assert site.build("one", mode, WRITE).exit_code == 0
    secret = site.bench.directory / "secret"
    secret.mkdir(mode=0o777)
    (secret / "file").write_text("kept")
    (cache,) = (*site.caches.glob("rootfs/*"), *site.caches.glob("listed/*"))
    cache.rename(site.bench.directory / "away")
    cache.symlink_to(secret)

    read = site.build("two", mode, READ)
    listed = site.cache("list")

    assert read.exit_code == 6, read.said
    assert f"{cache.name}: Not a directory" in read.said
    assert listed.stdout == "0 items, 0 B\n"
    assert names(secret) == ["file"]


def test_bound_of_a_build_holds_there(site: Site) -> None:
    first = site.build("one", "userns", WRITE)
    kept = names(site.caches / "rootfs")
    second = site.bench.run([*site.command("two", "userns", "RUN true"), "--mount-size=0"])

    assert [first.exit_code, second.exit_code] == [0, 0], first.said + second.said
    assert len(kept) == 1
    assert names(site.caches / "rootfs") == []


def test_another_owner_is_refused_and_nothing_of_the_first_is_lost(site: Site) -> None:
    assert site.build("one", "userns", WRITE).exit_code == 0
    record = site.caches / "map"
    owner = record.read_text()
    assert os.stat(site.caches / "rootfs").st_uid == int(owner)
    record.write_text("31337")

    refused = site.build("two", "userns", READ)

    assert refused.exit_code == 6, refused.said
    assert f"its caches belong to builds whose root is id 31337 of this machine, and here it is id {owner}" in refused.said  # noqa: E501  # fmt: skip
    record.write_text(owner)
    again = site.build("three", "userns", READ)
    assert again.exit_code == 0, again.said


def test_file_in_its_place_is_an_error_that_names_the_flag(site: Site) -> None:
    file = site.bench.directory / "file"
    file.write_text("")

    build = site.build("one", "chroot", WRITE, caches=file)

    assert build.exit_code == 6, build.said
    assert f"--cache-mount-dir {file}: {file}/rootfs: Not a directory; name a" in build.said


def test_place_in_the_state_directory_is_refused(site: Site) -> None:
    build = site.build("one", "chroot", WRITE, caches=site.bench.directory / "one/caches")

    assert build.exit_code == 6, build.said
    assert "it is in the state directory" in build.said
