"""The application once more, by a machine that never saw it: every step is in a remote cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perf.scenarios.app import app
from perf.scenarios.source import Place, Source

_BUILD = (
    "build {context} --state-dir {state} --insecure-registry {registry}"
    " --destination {destination} --cache --cache-copy-layers --cache-repo {cache}"
)


def cached(directory: Path, base: str) -> None:
    """Protects: where all steps are hits, no layer is pulled and nothing is unpacked."""
    app(directory, base)


@contextmanager
def cached_source(place: Place) -> Iterator[Source]:
    """Let every command fill a cache of its own first, outside the measurement."""
    yield Source(str(place.directory), words=tuple(_BUILD.split()), fills_cache=True)
