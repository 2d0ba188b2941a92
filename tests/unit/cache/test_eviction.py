from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.cache.contents import Stored
from asynckaniko.cache.eviction import Bounds, choose

NOW = 1000.0


def stored(name: str, *, size: int = 10, used: float = 0.0, **fields: object) -> Stored:
    item = Stored(kind="layer", name=name, size=size, created=0.0, last_used=used)
    return replace(item, **fields)  # type: ignore[arg-type]


def names(items: list[Stored], bounds: Bounds, *, in_use_since: float = NOW) -> list[str]:
    return [item.name for item in choose(items, bounds, in_use_since=in_use_since)]


def test_what_was_not_used_for_longest_goes_until_the_rest_fits() -> None:
    items = [stored("b", used=2), stored("a", used=1), stored("c", used=3)]

    assert names(items, Bounds(size=30)) == []
    assert names(items, Bounds(size=29)) == ["a"]
    assert names(items, Bounds(size=10)) == ["a", "b"]


def test_what_nothing_refers_to_goes_first() -> None:
    items = [stored("old", used=1), stored("lost", used=5, is_needed=False)]

    assert names(items, Bounds(size=10)) == ["lost"]


def test_what_may_be_in_use_stays_whatever_the_bounds_say() -> None:
    items = [stored("used", used=5), stored("idle", used=1)]

    for bounds in (Bounds(size=0), Bounds(everything=True), Bounds(used_since=NOW)):
        assert names(items, bounds, in_use_since=5) == ["idle"]


def test_caches_of_mounts_have_a_bound_of_their_own() -> None:
    items = [stored("layer", used=1), stored("mount", used=1, kind="mount")]

    assert names(items, Bounds(size=0)) == ["layer"]
    assert names(items, Bounds(mount_size=0)) == ["mount"]


def test_age_and_size_add_up() -> None:
    items = [stored("a", used=1), stored("b", used=2), stored("c", used=3)]

    assert names(items, Bounds(used_since=2, size=10)) == ["a", "b"]


ITEMS = st.lists(
    st.builds(
        stored,
        st.uuids().map(str),
        size=st.integers(0, 50),
        used=st.floats(0, 100),
        is_needed=st.booleans(),
    ),
    max_size=12,
)


@given(ITEMS, st.integers(0, 300))
def test_rest_fits_and_nothing_goes_that_could_have_stayed_last(
    items: list[Stored], limit: int
) -> None:
    chosen = choose(items, Bounds(size=limit), in_use_since=NOW)
    gone = {item.name for item in chosen}
    left = sum(item.size for item in items if item.name not in gone)

    assert left <= limit
    if chosen:
        assert left + chosen[-1].size > limit
