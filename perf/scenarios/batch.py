"""Ten images on one base, by one process; beside it, one of the ten alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from perf.contenders import ROOT, of_checkout
from perf.growth.series import BATCH, write_images
from perf.scenarios.source import Place, Source

ONE_IMAGE = "one-image"
_IMAGES, _FILES = 10, 500


def batch(directory: Path, base: str) -> None:
    """Protects: what images have in common is done once, above all pull and unpack of the base."""
    write_images(directory, base, images=_IMAGES, files=_FILES)


@contextmanager
def batch_source(place: Place) -> Iterator[Source]:
    """Another program without a command for `batch` builds the ten one after the other."""
    one = of_checkout(ONE_IMAGE, ROOT).in_place_of("{context}", "{context}/000")
    images = tuple(f"{number:03d}" for number in range(_IMAGES))
    context = str(place.directory)
    alone = replace(one, program=(), commands={"batch": one.template})
    yield Source(context, peers=(alone,), words=tuple(BATCH.split()), images=images)
