"""The cache flags, with kaniko's meaning."""

from pathlib import Path
from typing import Any

import pytest

from asynckaniko.build.request import Cache
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.cache_options import read_cache
from asynckaniko.errors import InvalidReference, UsageError
from asynckaniko.oci.reference import Reference


def cache(*destinations: str, **flags: Any) -> Cache | None:
    arguments = flags.pop("build_args", {})
    references = [Reference.parse(text) for text in destinations]
    return read_cache(BuildFlags(**flags), references, arguments)


def test_nothing_is_cached_unless_asked_for() -> None:
    assert cache("r.io/app", cache_repo="r.io/cache") is None
    assert cache("r.io/app", cache=False) is None


def test_repository_is_below_the_first_destination() -> None:
    assert cache("r.io/app:1", "r.io/other:1", cache=True) == Cache(repository="r.io/app/cache")


def test_named_repository_wins() -> None:
    found = cache("r.io/app:1", cache=True, cache_repo="cache")

    assert found == Cache(repository="docker.io/library/cache")


def test_without_repository_and_destination_the_state_directory_is_used() -> None:
    assert cache(cache=True) == Cache(repository="", local=True)


def test_flags_say_what_is_cached_and_for_how_long() -> None:
    found = cache(
        cache=True,
        cache_run_layers=False,
        cache_copy_layers=True,
        cache_ttl=3600.0,
        no_push_cache=True,
    )

    assert found == Cache(run_layers=False, copy_layers=True, ttl_seconds=3600.0, write=False)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("oci:", UsageError, "the path is missing"),
        ("r.io/cache:tag", UsageError, "it must be a repository, without a tag"),
        ("R.io/Cache", InvalidReference, "names are lower case"),
    ],
)
def test_repository_that_cannot_be_used_is_an_error(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cache(cache=True, cache_repo=text)


def test_layouts_can_be_the_cache() -> None:
    found = cache("r.io/app", cache=True, cache_repo="oci:/volume/cache")

    assert found == Cache(repository="oci:/volume/cache")


def test_images_can_be_sources_without_any_other_cache() -> None:
    found = cache("r.io/app", cache_from=("app:main", ""))

    assert found == Cache(local=False, sources=("docker.io/library/app:main",))


@pytest.mark.parametrize(
    "asked", [{"cache_to_inline": True}, {"build_args": {"BUILDKIT_INLINE_CACHE": "1"}}]
)
def test_keys_go_into_the_image_only_when_they_are_asked_for(asked: dict[str, Any]) -> None:
    assert cache("r.io/app", **asked) == Cache(local=False, inline=True)
    assert cache("r.io/app", build_args={"BUILDKIT_INLINE_CACHE": "0"}) is None
    both = cache(cache=True)
    assert both is not None
    assert not both.inline


def test_base_images_come_from_a_directory_with_or_without_a_cache() -> None:
    found = cache(cache_dir="/warm")

    assert found == Cache(local=False, base_directory=Path("/warm"))
