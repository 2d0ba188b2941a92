"""Layouts, archives and result files."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import digest, read_layout
from tests.support.registry import Registry


def test_result_files_name_the_pushed_image(bench: Workbench, registry: Registry) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    repository = f"{registry.host}/t/a"
    files = {
        "--digest-file": bench.directory / "results/digest",
        "--image-name-with-digest-file": bench.directory / "results/name",
        "--image-name-tag-with-digest-file": bench.directory / "results/tag",
    }

    bench.build(
        "--insecure-registry", registry.host, "--destination", f"{repository}:7",
        *(f"{flag}={path}" for flag, path in files.items()),
    )  # fmt: skip

    status, manifest, _ = registry.call(
        "GET", "/v2/t/a/manifests/7", Accept="application/vnd.oci.image.manifest.v1+json"
    )
    assert status == 200
    name = digest(manifest)
    assert [path.read_text() for path in files.values()] == [
        name,
        f"{repository}@{name}\n",
        f"{repository}:7@{name}\n",
    ]


def test_archive_is_read_by_skopeo(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY a /a\nENV X=y\n", {"a": "a"})
    archive = bench.directory / "image.tar"

    bench.build("--no-push", "--tar-path", str(archive), "--destination", "example.org/t/a:1")

    copied = bench.directory / "copied"
    command = ["skopeo", "copy", f"docker-archive:{archive}", f"oci:{copied}:a"]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    image = read_layout(copied)
    assert image.tree["a"].content == b"a"
    assert "X=y" in image.runtime["Env"]
    listing = ["tar", "-xOf", str(archive), "manifest.json"]
    entries = json.loads(subprocess.run(listing, check=True, capture_output=True).stdout)
    assert entries[0]["RepoTags"] == ["example.org/t/a:1"]


def test_directories_that_outputs_are_to_be_in_are_made(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    archive, layout = bench.directory / "new/deep/image.tar", bench.directory / "other/deep/image"

    bench.build("--no-push", f"--tar-path={archive}", f"--oci-layout-path={layout}")

    assert tarfile.is_tarfile(archive)
    assert read_layout(layout).tree["a"].content == b"a"


def test_layout_replaces_the_one_before(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "first"})
    first = bench.build_layout()
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "second"})

    second = bench.build_layout()

    assert first.tree["a"].content == b"first"
    assert second.tree["a"].content == b"second"
    blobs = {path.name for path in (bench.layout / "blobs/sha256").iterdir()}
    assert first.digest.removeprefix("sha256:") not in blobs


def test_same_input_has_the_same_digest(bench: Workbench, busybox_layout: Path) -> None:
    bench.write(
        "FROM busybox\nCOPY a /a\nRUN mkdir /d && echo b > /d/b && touch /d/c\nLABEL x=y\n",
        {"a": "a"},
    )
    flags = ("--reproducible", "--build-context", f"busybox=oci-layout://{busybox_layout}")
    first = bench.build_layout(*flags)
    (bench.context / "a").touch()

    # Another state directory: nothing of the first build can be reused.
    bench.state = bench.directory / "other-state"
    second = bench.build_layout(*flags)

    assert second.digest == first.digest
    assert second.config["created"] == "1970-01-01T00:00:00Z"


def test_source_date_epoch_dates_the_image(bench: Workbench, busybox_layout: Path) -> None:
    bench.write("FROM busybox\nRUN echo b > /b\n")

    image = bench.build_layout(
        "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--rewrite-timestamp",
        "--build-context", f"busybox=oci-layout://{busybox_layout}",
    )  # fmt: skip

    assert image.config["created"] == "2023-11-14T22:13:20Z"
    assert image.tree["b"].mtime == 1_700_000_000


def test_annotations_are_those_of_the_manifest_and_not_of_the_base(
    bench: Workbench, registry: Registry
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    bench.build("-d", f"{registry.host}/t/base:1", "--annotation", "of.base=1")
    bench.write(f"FROM {registry.host}/t/base:1\nCOPY a /b\n")

    bench.build(
        *("-d", f"{registry.host}/t/noted:1", "--annotation=b=1", "--annotation=a=x=y,z"),
        "--annotation=b=2",
    )

    assert registry.manifest("t/base", "1")["annotations"] == {"of.base": "1"}
    assert registry.manifest("t/noted", "1")["annotations"] == {"a": "x=y,z", "b": "2"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--no-push", "--image-format=docker"], "Docker's manifest has no place for them"),
        (["--no-push", "--tar-path=ARCHIVE"], "has no manifest that could have annotations"),
        (["--no-push", "--annotation=word"], 'invalid --annotation "word": it must be KEY=VALUE'),
    ],
)
def test_annotations_that_nothing_could_hold_are_refused(
    bench: Workbench, flags: list[str], message: str
) -> None:
    bench.write("FROM scratch\nCOPY a /a\n", {"a": "a"})
    archive = bench.directory / "image.tar"

    words = [word.replace("ARCHIVE", str(archive)) for word in flags]
    done = bench.run(bench.command("--annotation=a=b", *words))

    assert done.exit_code == 2
    assert message in done.stderr
    assert not archive.exists()
