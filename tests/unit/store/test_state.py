"""Builds that share a state directory know each other by their locks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

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
