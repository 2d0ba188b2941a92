"""`--resume`: what counts as done is what this run wants of an image, and is there."""

import shutil
from pathlib import Path

import pytest

from tests.integration.batch.conftest import Batches

FILES = {
    "base/Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n",
    "app/Dockerfile": "FROM base\nCOPY Dockerfile /app\n",
}
BASE = "base: {context: base}"
APP = 'app: {context: app, contexts: {base: "target:base"}}'


@pytest.fixture
def resumed(batches: Batches, state_file: Path) -> "Resumed":
    return Resumed(batches, state_file)


class Resumed:
    """Runs of one batch that go on with one another."""

    def __init__(self, batches: Batches, state_file: Path) -> None:
        self.batches = batches
        self._state_file = state_file

    def write(self, *images: str) -> None:
        self.batches.write(f"images: {{{', '.join(images)}}}\n", FILES)

    def run(self, *flags: str) -> str:
        """Run the batch again, and return how many images were built, and how many kept."""
        done = self.batches.run("--resume", str(self._state_file), *flags)
        assert done.exit_code == 0, done.said
        return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_images_that_were_not_pushed_are_built_again_to_be_pushed(resumed: Resumed) -> None:
    resumed.write("base: {context: base, tags: [HOST/base:1]}")

    assert resumed.run("--no-push") == "1 built"
    assert resumed.run() == "1 built"

    assert resumed.batches.registry.has("base", "1")
    assert resumed.run() == "1 kept"


def test_images_that_were_pushed_are_done_where_nothing_is_pushed(resumed: Resumed) -> None:
    resumed.write("base: {context: base, tags: [HOST/base:1]}")

    assert resumed.run() == "1 built"
    assert resumed.run("--no-push") == "1 kept"


def test_image_without_a_place_to_go_to_is_done_once_it_was_built(resumed: Resumed) -> None:
    resumed.write(BASE)

    assert resumed.run("--no-push") == "1 built"
    assert resumed.run("--no-push") == "1 kept"


def test_output_that_is_gone_is_written_again(resumed: Resumed) -> None:
    resumed.write("base: {context: base, outputs: [{type: oci-layout, path: out}]}")
    out = resumed.batches.directory / "out"

    assert resumed.run("--no-push") == "1 built"
    assert resumed.run("--no-push") == "1 kept"
    shutil.rmtree(out)
    assert resumed.run("--no-push") == "1 built"

    assert (out / "index.json").exists()


def test_image_that_others_read_is_built_again_where_it_is_nowhere(resumed: Resumed) -> None:
    resumed.write(BASE, APP)

    assert resumed.run("--no-push") == "2 built"
    (resumed.batches.directory / "app/Dockerfile").write_text("FROM base\nCOPY . /other\n")
    assert resumed.run("--no-push") == "2 built"
