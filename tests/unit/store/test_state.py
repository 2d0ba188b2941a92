"""Builds that share a state directory know each other by their locks."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from anyio import CapacityLimiter

from asynckaniko.linux.locks import create_locked
from asynckaniko.oci.digest import Digest
from asynckaniko.store.blobs import BlobStore
from asynckaniko.store.state import StateDirectory

ROUNDS = 100


def test_builds_that_begin_are_not_taken_for_dead(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    over = Event()

    def look_for_the_dead() -> None:
        while not over.is_set():
            StateDirectory(tmp_path)

    def begin() -> Iterator[bool]:
        for _ in range(ROUNDS):
            with state.new_build() as name:
                directory = state.builds / name
                directory.mkdir()
                StateDirectory(tmp_path)
                yield directory.is_dir()
                directory.rmdir()

    with ThreadPoolExecutor(5) as threads:
        looking = [threads.submit(look_for_the_dead) for _ in range(2)]
        try:
            found = list(threads.map(lambda _: list(begin()), range(3)))
        finally:
            over.set()

    assert found == [[True] * ROUNDS] * 3
    assert [future.result() for future in looking] == [None, None]
    assert list(state.builds.iterdir()) == []


def test_builds_are_alive_as_long_as_they_are_locked(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)

    with state.new_build():
        assert state.oldest_build() is not None

    assert state.oldest_build() is None


def test_what_a_killed_build_left_goes_with_the_next_start(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    (state.builds / "dead.lock").touch()
    (state.builds / "dead").mkdir()
    (state.builds / "dead/file").touch()

    StateDirectory(tmp_path)

    assert list(state.builds.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "blobs/ingest-download-0123",
        "blobs/ingest-dead-0123",
        "builds/dead.new",
        "cache/.key.json.0123",
        "listed/builds/dead",
        "listed/builds/dead.json",
        "listed/builds/dead-rehearsal",
    ],
)
def test_what_a_killed_process_had_not_finished_goes_with_the_next_start(
    tmp_path: Path, name: str
) -> None:
    StateDirectory(tmp_path)
    (tmp_path / name).touch()

    StateDirectory(tmp_path)

    assert not (tmp_path / name).exists()


def test_trees_of_a_killed_process_are_named_for_who_has_their_ids(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    builds = state.rootfs / "builds"
    builds.mkdir()
    with state.new_build() as alive:
        for name in (alive, "dead"):
            (builds / name).mkdir()
            (builds / f"{name}.json").touch()

        assert sorted(state.dead_trees()) == ["builds/dead", "builds/dead.json"]


def test_what_living_processes_have_not_finished_stays(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    draft = create_locked(state.cache / ".key.json.0123")
    blobs = BlobStore(state.blobs, disk=CapacityLimiter(1))

    with (
        state.new_build() as build,
        blobs.ingest(Digest.of(b"")),
        blobs.ingest_of_build(build),
        blobs.ingest_of_build(build) as finished,
    ):
        finished.seal()
        before = sorted(tmp_path.rglob("*"))
        StateDirectory(tmp_path)
        assert sorted(tmp_path.rglob("*")) == before
    os.close(draft)


def test_what_a_killed_build_had_packed_goes_while_another_build_runs(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    left = [state.blobs / f"ingest-{name}-0123" for name in ("dead", "download")]
    for path in left:
        path.touch()
    (state.builds / "dead.lock").touch()

    with state.new_build():
        StateDirectory(tmp_path)

    assert [path for path in left if path.exists()] == []


def test_what_a_killed_build_still_has_a_helper_pack_stays(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    packed = state.blobs / "ingest-dead-0123"
    helper = create_locked(packed)

    StateDirectory(tmp_path)

    assert packed.exists()
    os.close(helper)


def test_trees_are_dropped_when_the_same_root_has_other_ids(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)

    def claimed(*, has_one_id: bool) -> bool:
        os.close(state.claim_rootfs(os.geteuid(), has_one_id=has_one_id))
        kept = (state.rootfs / "layers/aa").exists()
        (state.rootfs / "layers/aa").mkdir(exist_ok=True)
        return kept

    found = [claimed(has_one_id=one) for one in (False, True, True, False)]

    assert found == [False, False, True, False]
