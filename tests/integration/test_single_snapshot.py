"""--single-snapshot: the steps of a stage make one layer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import ReadImage, decompress, digest
from tests.support.registry import Registry

DOCKERFILE = """\
FROM busybox AS first
RUN mkdir /d && echo secret > /d/secret && echo one > /d/one && ln /d/one /d/two && chown 5:6 /d
COPY file /d/file
RUN rm /d/secret && echo changed > /d/one
ENV A=b
FROM first
WORKDIR /w
RUN rm -r /d && mkdir /d && echo new > /d/new && rm /bin/ls
LABEL x=y
"""
SWITCH = "--single-snapshot"


def from_busybox(layout: Path) -> tuple[str, str]:
    return "--build-context", f"busybox=oci-layout://{layout}"


def facts(image: ReadImage) -> dict[str, Any]:
    return {
        path: (entry.kind, entry.content, entry.mode, entry.uid, entry.gid, entry.target)
        for path, entry in image.tree.items()
    }


@pytest.mark.parametrize("isolation", ["userns", "chroot"])
def test_each_stage_makes_one_layer_with_the_same_files(
    bench: Workbench, busybox_layout: Path, isolation: str
) -> None:
    bench.write(DOCKERFILE, {"file": "f"})
    flags = (*from_busybox(busybox_layout), f"--isolation={isolation}")
    usual = bench.build_layout(*flags)

    image = bench.build_layout(*flags, SWITCH)

    below = len(usual.layers) - 5
    assert len(image.layers) == below + 2
    assert image.layers[:below] == usual.layers[:below]
    assert facts(image) == facts(usual)
    assert "d/secret" not in image.layers[below]
    assert "d/one" in image.layers[below]
    assert [entry["created_by"] for entry in image.config["history"]] == [
        entry["created_by"] for entry in usual.config["history"]
    ]
    own = image.config["history"][-7:]
    has_layer = [not entry.get("empty_layer") for entry in own]
    assert has_layer == [False, False, True, False, False, True, False]
    assert image.runtime == usual.runtime


def test_layers_of_a_cache_are_merged_as_those_of_steps_are(
    bench: Workbench, busybox_layout: Path
) -> None:
    bench.write(
        "FROM busybox\nRUN head -c 9 /dev/urandom > /r\nRUN cp /r /s\nCOPY file /f\n", {"file": "f"}
    )
    flags = (*from_busybox(busybox_layout), SWITCH, "--cache", "--build-arg=SOURCE_DATE_EPOCH=5")
    first = bench.build_layout(*flags)
    # COPY is not cached: it is carried out above the layers that were found.
    second = bench.build_layout(*flags)

    assert first.tree["r"].content == first.tree["s"].content
    assert second.layers[-1]["r"] == first.layers[-1]["r"]
    assert list(second.layers[-1]) == list(first.layers[-1])
    assert "f" in second.layers[-1]


def test_pushed_layer_has_the_compression_that_was_asked_for(
    bench: Workbench, registry: Registry, busybox_layout: Path
) -> None:
    bench.write("FROM busybox\nRUN echo 1 > /a\nRUN echo 2 > /a\n")

    bench.build(
        "-d", f"{registry.host}/one:1", SWITCH, "--compression=zstd", *from_busybox(busybox_layout)
    )

    last = registry.manifest("one", "1")["layers"][-1]
    assert last["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert (
        digest(decompress(registry.blob("one", last["digest"])))
        == config(registry)["rootfs"]["diff_ids"][-1]
    )


def config(registry: Registry) -> Any:
    return json.loads(registry.blob("one", registry.manifest("one", "1")["config"]["digest"]))


def test_stage_without_files_of_its_own_adds_no_layer(
    bench: Workbench, busybox_layout: Path
) -> None:
    bench.write("FROM busybox\nLABEL a=b\n")
    flags = from_busybox(busybox_layout)

    assert bench.build_layout(*flags, SWITCH).layers == bench.build_layout(*flags).layers


def test_image_of_one_layer_cannot_be_its_own_cache(bench: Workbench) -> None:
    bench.write("FROM scratch\nCOPY Dockerfile /\n")

    done = bench.run(bench.command("--no-push", SWITCH, "--cache-to-inline"))

    assert done.exit_code == 2
    assert "--cache-to-inline or --single-snapshot" in done.stderr
